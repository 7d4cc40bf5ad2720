// Bodies of requests, as every route reads them: JSON to checked values. The first byte of an input
// chooses the route, and which calls of tools the template knows; the rest is the body. What is
// refused must be refused as a user's mistake, in an error object that is JSON; what is accepted
// must be within the limits and fit for the engine.
#pragma once

#include <cstdio>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "engine/sampling.h"
#include "serve/chat_tools.h"
#include "serve/embedding_body.h"
#include "serve/prompt_fields.h"
#include "serve/request_body.h"
#include "serve/request_error.h"
#include "serve/response_body.h"

namespace weft::fuzz {

using namespace weft::serve;

enum class RequestVerdict { kAccepted, kRefused };

inline void require(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "a request must not: %s\n", what);
  std::abort();
}

inline text::ChatProfile profile_of(unsigned choice) {
  using text::ToolFormat;
  constexpr ToolFormat kFormats[] = {ToolFormat::kHermes,        ToolFormat::kLlama3Json,
                                     ToolFormat::kMistral,       ToolFormat::kMistralNamed,
                                     ToolFormat::kFunctionGemma, ToolFormat::kPythonic};
  text::ChatProfile profile;
  profile.tools = kFormats[choice % 6];
  profile.takes_system = choice % 2 == 0;
  profile.takes_tools = profile.takes_calls = choice % 3 == 0;
  profile.wants_short_ids = choice % 6 == 2;
  return profile;
}

inline void check_accepted(const RequestBody& body, const BodyLimits& limits) {
  const engine::SamplingParams& p = body.sampling;
  require(p.n >= 1 && p.n <= limits.choices && p.num_choices() <= limits.choices, "make more");
  require(p.max_tokens >= 1 && p.min_tokens >= 0, "ask for fewer than no tokens");
  require(static_cast<int64_t>(body.prompts.size()) <= limits.prompts, "have more prompts");
  require(body.is_chat || !body.prompts.empty(), "have no prompt");
  require(static_cast<int64_t>(p.logit_bias.size()) <= limits.biases, "have more biases");
  require(static_cast<int64_t>(p.stop.size()) <= limits.stops, "have more stops");
  require(!p.logprobs || (*p.logprobs >= 0 && *p.logprobs <= limits.logprobs), "see more");
  require(!body.grammar || static_cast<int64_t>(body.grammar->source.size()) <=
                               text::GrammarLimits().source_bytes,
          "become a grammar that is longer than any that is compiled");
  if (body.is_chat) {
    require(nlohmann::json::parse(body.messages).is_array(), "have messages that are no list");
    require(nlohmann::json::parse(body.template_variables).is_object(), "set no variables");
  }
  try {  // with a vocabulary, as the engine does
    engine::check_sampling(p, 1000);
  } catch (const Error& error) {
    require(error.kind() == ErrorKind::kUsage, "be the engine's fault");
  }
}

inline void read_generation(std::string_view text, bool is_chat, unsigned choice) {
  const BodyLimits limits;
  const nlohmann::json json = parse_json(text, "the body");
  const Fields fields(json, "", "", text);
  RequestBody body;
  is_chat ? read_chat(fields, limits, &body) : read_completion(fields, limits, &body);
  check_accepted(body, limits);
  if (!is_chat) return;
  const ChatTools tools = read_tools(text);
  const ChatInput input =
      chat_input(tools, profile_of(choice), body.messages, body.template_variables);
  require(nlohmann::json::parse(input.messages).is_array(), "lose its messages");
  require(nlohmann::json::parse(input.variables).is_object(), "lose its variables");
}

inline void read_response_and_chat(std::string_view text, unsigned choice) {
  const ResponseRequest request =
      read_response(text, [](const std::string& id) -> std::optional<std::string> {
        if (id != "resp_1") return {};
        return R"([{"role":"user","content":"a"},{"role":"assistant","content":"b"}])";
      });
  read_generation(request.chat_body, true, choice);
}

inline void read_tokens(std::string_view text) {
  const nlohmann::json json = parse_json(text, "the body");
  const Fields fields(json, "");
  RequestBody body;
  if (fields.has("messages")) read_messages(fields, {}, &body);
  for (const int32_t id : fields.ids("tokens").value_or(std::vector<int32_t>()))
    require(id >= 0, "name an id below 0");
}

inline void read_route(unsigned route, unsigned choice, std::string_view text) {
  if (route < 2) return read_generation(text, route == 0, choice);
  if (route == 2) return read_response_and_chat(text, choice);
  if (route == 4) return read_tokens(text);
  const nlohmann::json json = parse_json(text, "the body");
  const EmbeddingBody body = read_embedding(Fields(json, ""), 4096);
  require(!body.inputs.empty() && body.inputs.size() <= 2048, "embed nothing, or more");
}

// routes: '0' a chat, '1' a completion, '2' a response, '3' embeddings, '4' tokens.
inline RequestVerdict run_request(std::string_view input) {
  if (input.empty()) return RequestVerdict::kRefused;
  const unsigned first = static_cast<unsigned char>(input[0]) - '0';
  const std::string_view text = input.substr(1);
  try {
    read_route(first % 5, first / 5, text);
    return RequestVerdict::kAccepted;
  } catch (const Error& error) {
    require(error.kind() == ErrorKind::kUsage, "fail by anything but a mistake in it");
    const ErrorObject object = error_object(error);
    require(object.status >= 400 && object.status < 500, "be the server's fault");
    require(!object.message.empty(), "fail without a word");
    require(nlohmann::json::accept(error_json(object)), "be refused in what is no JSON");
    return RequestVerdict::kRefused;
  }
}

}  // namespace weft::fuzz
