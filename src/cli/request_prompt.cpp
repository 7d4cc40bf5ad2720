#include "cli/request_prompt.h"

#include <algorithm>
#include <filesystem>

namespace weft::cli {
namespace {

// A word is forbidden as it begins a text and as it stands after a space, where that is as many
// tokens that begin differently (vLLM's rule).
void add_bad_word(const std::string& word, const text::Tokenizer& tokenizer,
                  std::vector<std::vector<int32_t>>* sequences) {
  const std::string bare = word.substr(std::min(word.find_first_not_of(' '), word.size()));
  const std::vector<int32_t> first = tokenizer.encode(bare, false, false);
  const std::vector<int32_t> later = tokenizer.encode(" " + bare, false, false);
  sequences->push_back(first);
  if (!first.empty() && later.size() == first.size() && later[0] != first[0])
    sequences->push_back(later);
}

std::vector<int32_t> chat_ids(const RequestLine& line, const engine::Engine& engine) {
  const text::ChatTemplate* chat = engine.chat_template();
  if (chat == nullptr) return engine.tokenizer().encode(line.last_content, true, true);
  const std::string text =
      chat->render_json(line.messages, line.add_generation_prompt, line.template_variables);
  return engine.tokenizer().encode(text, line.add_special_tokens, true);
}

}  // namespace

std::string model_name(const engine::ModelReport& model) {
  if (!model.name.empty()) return model.name;
  return std::filesystem::path(model.path).filename().string();
}

std::vector<std::vector<int32_t>> prompt_ids_of(const RequestLine& line,
                                                const engine::Engine& engine) {
  if (line.is_chat) return {chat_ids(line, engine)};
  std::vector<std::vector<int32_t>> ids;
  for (const LinePrompt& prompt : line.prompts) {
    const std::string* text = std::get_if<std::string>(&prompt);
    ids.push_back(text == nullptr
                      ? std::get<std::vector<int32_t>>(prompt)
                      : engine.tokenizer().encode(*text, line.add_special_tokens, true));
  }
  return ids;
}

engine::Request request_of(const RequestLine& line, const std::vector<int32_t>& prompt_ids,
                           const engine::Engine& engine) {
  engine::Request request;
  request.prompt_ids = prompt_ids;
  request.sampling = line.sampling;
  request.priority = line.priority;
  request.cache_salt = line.cache_salt;
  request.hash_logits = line.hash_logits;
  for (const std::string& word : line.bad_words)
    add_bad_word(word, engine.tokenizer(), &request.sampling.bad_words);
  const int64_t room = engine.max_model_len() - static_cast<int64_t>(prompt_ids.size());
  int64_t& most = request.sampling.max_tokens;
  most = std::max<int64_t>(1, std::min(most, room));
  return request;
}

}  // namespace weft::cli
