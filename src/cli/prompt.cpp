#include "cli/prompt.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/error.h"
#include "base/option_values.h"

namespace weft::cli {

std::vector<int32_t> PromptWriter::conversation_ids(std::span<const text::Message> messages) const {
  WEFT_CHECK(!messages.empty());
  if (chat_template == nullptr) return plain_ids(messages.back().content);
  return tokenizer.encode(chat_template->render(messages, true), false, true);
}

std::vector<int32_t> PromptWriter::plain_ids(std::string_view text) const {
  return tokenizer.encode(text, true, true);
}

PromptWriter writer_of(const engine::Engine& engine) {
  return {engine.tokenizer(), engine.chat_template()};
}

std::vector<int32_t> parse_ids(std::string_view option, std::string_view list, int64_t vocab_size) {
  std::vector<int32_t> ids;
  size_t begin = 0;
  while (begin <= list.size()) {
    const size_t end = std::min(list.find(',', begin), list.size());
    std::string_view word = list.substr(begin, end - begin);
    while (!word.empty() && word.front() == ' ') word.remove_prefix(1);
    while (!word.empty() && word.back() == ' ') word.remove_suffix(1);
    const auto id = parse_whole_number(word);
    if (!id || *id < 0 || *id >= vocab_size) {
      throw Error(ErrorKind::kUsage, fmt::format("{} holds '{}'", option, word),
                  fmt::format("whole numbers from 0 to {}, separated by commas, are expected",
                              vocab_size - 1));
    }
    ids.push_back(static_cast<int32_t>(*id));
    begin = end + 1;
  }
  return ids;
}

void fit_answer(const engine::Engine& engine, engine::Request* request) {
  const int64_t room = engine.max_model_len() - static_cast<int64_t>(request->prompt_ids.size());
  engine::SamplingParams& p = request->sampling;
  p.max_tokens = std::max<int64_t>(1, std::min(p.max_tokens, room));
  p.min_tokens = std::min(p.min_tokens, p.max_tokens);
}

size_t forget_oldest_pair(std::vector<text::Message>* messages) {
  const size_t first = messages->size() > 1 && messages->front().role == "system" ? 1 : 0;
  if (messages->size() <= first + 1) return 0;
  // A question leaves together with its answer: templates demand that roles alternate.
  const size_t pair = std::min<size_t>(2, messages->size() - first - 1);
  const auto begin = messages->begin() + static_cast<std::ptrdiff_t>(first);
  messages->erase(begin, begin + static_cast<std::ptrdiff_t>(pair));
  return pair;
}

size_t forget_oldest(const engine::Engine& engine, std::vector<text::Message>* messages) {
  // A quarter of the context is kept for the answer.
  const int64_t room = engine.max_model_len() - engine.max_model_len() / 4;
  const PromptWriter writer = writer_of(engine);
  size_t forgotten = 0;
  while (static_cast<int64_t>(writer.conversation_ids(*messages).size()) > room) {
    const size_t pair = forget_oldest_pair(messages);
    if (pair == 0) break;
    forgotten += pair;
  }
  return forgotten;
}

}  // namespace weft::cli
