// Where a field's value stands in the text of a JSON object. Parsed objects sort their keys; what
// is handed on as text (a schema, whose properties an answer has in its order; tools, as a template
// writes them) keeps the order that its author chose. Linear in the text.
#pragma once

#include <string_view>

namespace weft::serve {

// object: text of a valid JSON object. name: letters, digits and signs of ASCII. The value of the
// last field of this name, with escapes in it or without, as it is written: the value that a parser
// keeps. Empty where there is none.
std::string_view json_source(std::string_view object, std::string_view name);

}  // namespace weft::serve
