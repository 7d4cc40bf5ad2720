// Rows of words in aligned columns: text to the left, numbers to the right.
#pragma once

#include <string>
#include <vector>

namespace weft::cli {

class TextTable {
 public:
  // A heading that begins with '<' (dropped) makes its column left-aligned.
  explicit TextTable(std::vector<std::string> headings);
  void add_row(std::vector<std::string> cells);
  // One line each, the headings first, every line indented by two spaces, none ending in spaces.
  std::vector<std::string> lines() const;

 private:
  std::vector<std::vector<std::string>> rows_;
  std::vector<bool> left_;
};

}  // namespace weft::cli
