#include "serve/request_body.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "serve/grammar_fields.h"
#include "serve/prompt_fields.h"
#include "serve/sampling_fields.h"

namespace weft::serve {
namespace {

using nlohmann::json;

// null, false, "", [] and {} ask for nothing.
bool asks(const json* value) {
  if (value == nullptr) return false;
  if (value->is_boolean()) return value->get<bool>();
  if (value->is_string()) return !value->get_ref<const std::string&>().empty();
  return !value->is_structured() || !value->empty();
}

void refuse_what_is_missing(const Fields& fields) {
  if (asks(fields.find("functions")))
    fields.refuse_as_missing("functions", "tools are their successor");
  if (asks(fields.find("chat_template")))
    fields.refuse_as_missing("chat_template", "templates are the server's, not a request's");
  for (const char* name :
       {"suffix", "audio", "use_beam_search", "prompt_embeds", "logits_processors",
        "web_search_options", "logprob_token_ids", "kv_transfer_params"}) {
    if (asks(fields.find(name))) fields.refuse_as_missing(name);
  }
}

void read_stream(const Fields& fields, RequestBody* body) {
  body->streams = fields.flag("stream").value_or(false);
  const json* options = fields.find("stream_options");
  if (options == nullptr) return;
  const Fields inner = fields.inside(*options, "stream_options");
  if (!body->streams && !options->empty())
    fields.fail("stream_options", "stream_options is given without stream");
  body->include_usage = inner.flag("include_usage").value_or(false);
  body->continuous_usage_stats =
      inner.flag("continuous_usage_stats").value_or(false) && body->include_usage;
}

}  // namespace

void read_terms(const Fields& fields, const BodyLimits& limits, RequestBody* body) {
  refuse_what_is_missing(fields);
  body->model = fields.text("model").value_or("");
  read_sampling(fields, limits, body);
  read_stream(fields, body);
  body->grammar = read_grammar(fields, &body->grammar_name);
}

void read_chat(const Fields& fields, const BodyLimits& limits, RequestBody* body) {
  body->is_chat = true;
  read_messages(fields, limits, body);
  read_terms(fields, limits, body);
}

void read_completion(const Fields& fields, const BodyLimits& limits, RequestBody* body) {
  body->is_chat = false;
  read_prompts(fields, limits, body);
  read_terms(fields, limits, body);
}

}  // namespace weft::serve
