// Answers as people save them, in one form: whole or as the events of a stream, of whatever route.
// Their choices have `text` or `message`, `token_ids`, `finish_reason`, `logprobs` and so on as a
// whole answer of /v1/chat/completions or /v1/completions has them, and `usage` its names. Beside
// its `message` the choice of a response has `items`: what people read of its output, item by item.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>

namespace weft::serve {

// JSON of a file that anybody may have written; a discarded value where it is none. Error(kUsage)
// where it is nested more deeply than any body of these routes: what walks through it is recursive.
nlohmann::ordered_json parse_saved(std::string_view text);

// Whether a text begins as server-sent events do, such as curl -N saves.
bool is_event_stream(std::string_view text);

// Joins the pieces of a stream. Error(kUsage) where it was cut before its end, ended with an error,
// or is none of these routes'; of /v1/responses also where its pieces are not what its last event
// says.
nlohmann::ordered_json join_stream(std::string_view events);

// A whole answer, or a joined one. Error(kUsage) for a response that has not ended.
nlohmann::ordered_json as_choices(nlohmann::ordered_json answer);

}  // namespace weft::serve
