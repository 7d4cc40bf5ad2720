#include "serve/lark_pieces.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>

#include "base/error.h"
#include "serve/lark_marks.h"
#include "text/grammar.h"

namespace weft::serve {
namespace {

using Word = LarkPieces::Word;
using Piece = LarkPieces::Piece;

bool is_regular(const Piece& piece) {
  return std::ranges::all_of(piece, [](const Word& word) { return word.is_regular; });
}

// Between slashes; empty for what matches the empty text alone.
std::string between_slashes(std::string_view source) {
  if (source.starts_with('^')) source.remove_prefix(1);
  std::string text;
  for (size_t i = 0; i < source.size(); ++i) {
    const char c = source[i];
    if (c == '$' && i + 1 == source.size()) break;
    if (c == '\n') {
      text += "\\n";
      continue;
    }
    if (c == '/') text += '\\';
    text += c;
    if (c == '\\' && i + 1 < source.size()) text += source[++i];
  }
  return text.empty() ? text : fmt::format("/{}/", text);
}

std::string joined(const std::vector<std::string>& words, std::string_view mark) {
  return fmt::format("{}", fmt::join(words, mark));
}

}  // namespace

bool LarkPieces::is_token_name(std::string_view name) {
  if (name.size() < 3 || name.front() != '<' || name.back() != '>' || name[1] == '[') return false;
  return std::ranges::none_of(name.substr(1, name.size() - 2), [](unsigned char c) {
    return c <= ' ' || c == '<' || c == '>' || c == '"' || c == 0x7f;
  });
}

bool LarkPieces::is_special(std::string_view mark) {
  return mark.size() > 4 && mark.starts_with("<|") && mark.ends_with("|>") && is_token_name(mark);
}

Piece LarkPieces::text(std::string_view text) const {
  if (text.empty()) return {};
  return {{lark_literal(text), true}};
}

Piece LarkPieces::mark(std::string_view mark) const {
  return is_special(mark) ? Piece{{std::string(mark), false}} : text(mark);
}

Piece LarkPieces::token(int64_t id) const { return {{fmt::format("<[{}]>", id), false}}; }

Piece LarkPieces::regex(std::string_view source) const {
  const std::string regex = between_slashes(source);
  return regex.empty() ? Piece{} : Piece{{regex, true}};
}

bool LarkPieces::is_regex(std::string_view source) {
  const size_t last = source.find_last_not_of('\\') + 1;  // 0 where there is no other
  return !source.empty() && (source.size() - last) % 2 == 0;
}

Piece LarkPieces::free_text(const std::vector<std::string>& stops,
                            std::optional<int64_t> most_chars, int64_t least_chars) {
  if (most_chars == 0) return {};
  const std::string any = most_chars ? fmt::format("/(?s:.{{{},{}}})/", least_chars, *most_chars)
                          : least_chars > 0 ? fmt::format("/(?s:.{{{},}})/", least_chars)
                                            : std::string("/(?s:.*)/");
  if (stops.empty()) return {{any, true}};
  std::vector<std::string> texts;
  for (const std::string& stop : stops) texts.push_back(lark_literal(stop));
  return {
      named_terminal(fmt::format("{} & ~(/(?s:.*)/ ({}) /(?s:.*)/)", any, joined(texts, " | ")))};
}

Piece LarkPieces::json(std::string_view schema) {
  return {named_rule(fmt::format("%json {}", schema))};
}

Piece LarkPieces::grammar(std::string_view source) {
  return {named_rule(fmt::format("%grammar {}", lark_literal(source)))};
}

Piece LarkPieces::sequence(std::vector<Piece> pieces) {
  Piece all;
  for (Piece& piece : pieces) std::ranges::move(piece, std::back_inserter(all));
  return all;
}

// Those that are regular stand for one another in one terminal: one may begin another.
Piece LarkPieces::either(const std::vector<Piece>& pieces) {
  if (pieces.size() == 1) return pieces[0];
  std::vector<std::string> regular, all;
  for (const Piece& piece : pieces)
    if (is_regular(piece)) regular.push_back(in_terminal(piece));
  if (!regular.empty()) all.push_back(named_terminal(joined(regular, " | ")).text);
  if (regular.size() == pieces.size()) return {{all[0], true}};
  for (const Piece& piece : pieces)
    if (!is_regular(piece)) all.push_back(in_rule(piece));
  return {named_rule(joined(all, " | "))};
}

Piece LarkPieces::repeat(const Piece& piece, int64_t least, std::optional<int64_t> most,
                         bool as_rule) {
  if (piece.empty() || most == 0) return {};
  const bool regular = is_regular(piece);
  const Word once = regular ? named_terminal(in_terminal(piece)) : named_rule(in_rule(piece));
  const std::string body = most ? fmt::format("{}{{{},{}}}", once.text, least, *most)
                                : fmt::format("{}{{{},}}", once.text, least);
  return {regular && !as_rule ? named_terminal(body) : named_rule(body)};
}

std::string LarkPieces::source(const Piece& start) const {
  LarkPieces rest(*this);
  const std::string body = rest.in_rule(start);
  return fmt::format("start: {}\n{}", body, rest.lines_);
}

std::string LarkPieces::in_terminal(const Piece& piece) const {
  if (piece.empty()) return "\"\"";
  std::vector<std::string> words;
  for (const Word& word : piece) words.push_back(word.text);
  return joined(words, " ");
}

std::string LarkPieces::in_rule(const Piece& piece) {
  if (piece.empty()) return "\"\"";
  std::vector<std::string> words;
  for (auto at = piece.begin(); at != piece.end();) {
    const auto end = std::find_if(at, piece.end(), [](const Word& w) { return !w.is_regular; });
    if (end - at > 1) {
      words.push_back(named_terminal(in_terminal(Piece(at, end))).text);
    } else {
      words.push_back(at->text);
    }
    at += std::max<std::ptrdiff_t>(1, end - at);
  }
  return joined(words, " ");
}

Word LarkPieces::named_terminal(const std::string& body) {
  return {add_line(fmt::format("T{}", num_names_), body), true};
}

Word LarkPieces::named_rule(const std::string& body) {
  return {add_line(fmt::format("r{}", num_names_), body), false};
}

// Pieces that are written more than once, such as the end of a tag, could multiply without end.
std::string LarkPieces::add_line(std::string name, const std::string& body) {
  const int64_t most = text::GrammarLimits().source_bytes;
  ++num_names_;
  lines_ += fmt::format("{}: {}\n", name, body);
  if (static_cast<int64_t>(lines_.size()) > most)
    throw Error(ErrorKind::kUsage,
                fmt::format("the structural_tag makes a grammar of more than {} bytes", most),
                "ends and texts that are left out count wherever free text stops at them");
  return name;
}

}  // namespace weft::serve
