#include "cli/request_prompt.h"

#include "cli/prompt.h"
#include "serve/prompt_ids.h"

namespace weft::cli {
std::vector<std::vector<int32_t>> prompt_ids_of(const RequestLine& line,
                                                const engine::Engine& engine) {
  return serve::prompt_ids_of(line,
                              {engine.tokenizer(), engine.chat_template(), engine.max_model_len()});
}

engine::Request request_of(const RequestLine& line, const std::vector<int32_t>& prompt_ids,
                           const engine::Engine& engine) {
  engine::Request request;
  request.prompt_ids = prompt_ids;
  request.sampling = line.sampling;
  request.priority = line.priority;
  request.cache_salt = line.cache_salt;
  request.hash_logits = line.hash_logits;
  request.sampling.bad_words = serve::bad_word_ids(line, engine.tokenizer());
  fit_answer(engine, &request);
  return request;
}

}  // namespace weft::cli
