// The arguments of a call as some families write them, each between marks of its own: the styles
// that xgrammar has of a json_schema beside "json".
//
//   qwen_xml      <parameter=city>Paris</parameter>
//   minimax_xml   <parameter name="city">Paris</parameter>
//   glm_xml       <arg_key>city</arg_key><arg_value>Paris</arg_value>
//
// The schema is that of an object. Its properties come in the order of their author, those that are
// not required may be left out, and no others come. A text stands as it is, up to the closing mark;
// every other value is JSON. One blank, or a line break and its indentation, may stand before a
// mark and around what is no free text.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string_view>

#include "serve/lark_pieces.h"
#include "serve/request_fields.h"

namespace weft::serve {

bool is_xml_style(std::string_view style);

// schema: found in `fields` under json_schema. RequestError for what no such text can be held to.
LarkPieces::Piece xml_parameters(std::string_view style, const nlohmann::ordered_json& schema,
                                 const Fields& fields, LarkPieces& lark);

}  // namespace weft::serve
