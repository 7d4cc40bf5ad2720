#include "text/reasoning.h"

#include <array>
#include <utility>

namespace weft::text {
namespace {

using Kind = AnswerPart::Kind;

// Line breaks at the end of reasoning that are held back; models write one or two.
constexpr size_t kMostHeldBreaks = 256;

struct FormatRow {
  ReasoningFormat format;
  std::string_view name;
  ReasoningMarks marks;
};
constexpr std::array kFormats = {
    FormatRow{ReasoningFormat::kQwen3, "qwen3", {"<think>", "</think>"}},
    FormatRow{ReasoningFormat::kDeepSeekR1, "deepseek_r1", {"<think>", "</think>"}},
    FormatRow{ReasoningFormat::kMistral, "mistral", {"[THINK]", "[/THINK]"}},
};

bool is_blank(char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r'; }

}  // namespace

std::string_view name(ReasoningFormat format) { return kFormats[static_cast<size_t>(format)].name; }
ReasoningMarks reasoning_marks(ReasoningFormat format) {
  return kFormats[static_cast<size_t>(format)].marks;
}

std::optional<ReasoningFormat> find_reasoning_format(std::string_view name) {
  for (const FormatRow& row : kFormats)
    if (row.name == name) return row.format;
  return {};
}

std::vector<std::string> reasoning_format_names() {
  std::vector<std::string> names;
  for (const FormatRow& row : kFormats) names.emplace_back(row.name);
  return names;
}

bool opens_reasoning(ReasoningFormat format, std::string_view prompt) {
  while (!prompt.empty() && is_blank(prompt.back())) prompt.remove_suffix(1);
  return prompt.ends_with(reasoning_marks(format).begin);
}

ReasoningSplitter::ReasoningSplitter(ReasoningFormat format, bool opened)
    : begin_(reasoning_marks(format).begin),
      end_(std::string(reasoning_marks(format).end)),
      state_(opened ? State::kReasoning : State::kStart),
      always_(format == ReasoningFormat::kDeepSeekR1) {}

void ReasoningSplitter::push(std::string_view text, AnswerParts& parts) {
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (state_ == State::kContent) return append_text(parts, Kind::kContent, text.substr(i));
    if (state_ == State::kStart && at_start(c, parts)) continue;
    if (state_ == State::kReasoning) {
      in_reasoning(c, parts);
    } else if (state_ == State::kBehind && c != '\n' && c != '\r') {
      state_ = State::kContent;
      --i;
    }
  }
}

void ReasoningSplitter::finish(AnswerParts& parts) {
  append_text(parts, state_ == State::kReasoning ? Kind::kReasoning : Kind::kContent, held_);
  held_.clear();
}

// True where the byte is taken; otherwise the state has changed, and in reasoning the byte is still
// to be looked at.
bool ReasoningSplitter::at_start(char c, AnswerParts& parts) {
  if (begin_matched_ == 0 && is_blank(c) && held_.size() < kMostHeldBreaks) {
    held_ += c;
    return true;
  }
  if (c == begin_[begin_matched_]) {
    held_ += c;
    if (++begin_matched_ == begin_.size()) {
      state_ = State::kReasoning;
      held_.clear();
    }
    return true;
  }
  state_ = always_ ? State::kReasoning : State::kContent;
  const std::string held = std::exchange(held_, {});
  if (!always_) append_text(parts, Kind::kContent, held + c);
  if (always_)
    for (const char byte : held) in_reasoning(byte, parts);
  return !always_;
}

void ReasoningSplitter::in_reasoning(char c, AnswerParts& parts) {
  if (!told_ && held_.empty() && (c == '\n' || c == '\r')) return;
  held_ += c;
  if (end_.advance(c)) {
    std::string_view last(held_);
    last.remove_suffix(end_.text().size());
    while (!last.empty() && (last.back() == '\n' || last.back() == '\r')) last.remove_suffix(1);
    append_text(parts, Kind::kReasoning, last);
    held_.clear();
    state_ = State::kBehind;
    return;
  }
  size_t keep = end_.matched();
  while (keep < held_.size() && keep < kMostHeldBreaks &&
         (held_[held_.size() - keep - 1] == '\n' || held_[held_.size() - keep - 1] == '\r'))
    ++keep;
  const size_t certain = held_.size() - keep;
  if (certain == 0) return;
  append_text(parts, Kind::kReasoning, std::string_view(held_).substr(0, certain));
  held_.erase(0, certain);
  told_ = true;
}

}  // namespace weft::text
