// Grammars in llguidance's Lark, put together from pieces that follow one another or stand for one
// another.
//
// Regular pieces that follow one another become one terminal. The lexer matches a terminal as a
// whole, but takes the longest text of each: free text that was cut off from the mark behind it
// would swallow the mark. For the same reason a piece that is free has to know what it stops at.
//
// Error(kUsage) where it becomes longer than a grammar's source may be.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace weft::serve {

class LarkPieces {
 public:
  struct Word {
    std::string text;         // an atom of Lark
    bool is_regular = false;  // it may stand in a terminal
  };
  using Piece = std::vector<Word>;  // one after the other; none: the empty text

  Piece text(std::string_view text) const;
  // A special token where it has the form <|...|>, else text.
  Piece mark(std::string_view mark) const;
  static bool is_special(std::string_view mark);
  // Whether it can name a special token in Lark: <...>, nothing of which ends it.
  static bool is_token_name(std::string_view name);
  Piece token(int64_t id) const;
  // Of Rust's syntax, matched as a whole: its anchors say nothing more.
  Piece regex(std::string_view source) const;
  // Whether that can be between marks: its last \ escapes something.
  static bool is_regex(std::string_view source);
  // Text in which none of `stops` is found, of so many characters.
  Piece free_text(const std::vector<std::string>& stops,
                  std::optional<int64_t> most_chars = std::nullopt, int64_t least_chars = 0);
  Piece json(std::string_view schema);
  Piece grammar(std::string_view source);  // Lark or GBNF (text/grammar.h)

  static Piece sequence(std::vector<Piece> pieces);
  Piece either(const std::vector<Piece>& pieces);
  // most: none for any number. as_rule: not as a part of a terminal.
  Piece repeat(const Piece& piece, int64_t least, std::optional<int64_t> most,
               bool as_rule = false);

  // The whole grammar.
  std::string source(const Piece& start) const;

 private:
  // As a terminal stands it, all of it regular; as a rule does.
  std::string in_terminal(const Piece& piece) const;
  std::string in_rule(const Piece& piece);
  Word named_terminal(const std::string& body);
  Word named_rule(const std::string& body);
  std::string add_line(std::string name, const std::string& body);

  std::string lines_;
  int num_names_ = 0;
};

}  // namespace weft::serve
