// The two real models. Skipped where WEFT_TEST_MODELS does not name a folder that holds them.
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "text/gguf_vocab_file.h"
#include "text/text.h"

namespace weft::text {
namespace {

using Ids = std::vector<int32_t>;

TEST(RealModels, SmolLm2RendersAndEncodesItsChatTemplate) {
  const auto path = find_test_model(kSmolLm2);
  if (!path) GTEST_SKIP() << "WEFT_TEST_MODELS names no folder with " << kSmolLm2;
  const GgufVocabFile file = read_gguf_vocab(*path);
  const auto tokenizer = Tokenizer::from_gguf(file.vocab);
  EXPECT_EQ(tokenizer->vocab_size(), 49152);
  EXPECT_EQ(tokenizer->description(), "gpt2/smollm");
  EXPECT_EQ(tokenizer->find_token("<|im_end|>"), 2);
  EXPECT_TRUE(tokenizer->is_special(2));
  EXPECT_EQ(tokenizer->encode("Hello  world<|im_end|> it's 1234\n\n  x", true, true),
            (Ids{19556, 216, 905, 2, 357, 506, 216, 33, 34, 35, 36, 8866, 1792}));

  const auto chat = ChatTemplate::compile(file.chat_template, tokenizer->piece(1, true),
                                          tokenizer->piece(2, true));
  const std::vector<Message> messages{{"user", "What is the capital of France?"}};
  EXPECT_EQ(chat->render(messages, true),
            "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging "
            "Face<|im_end|>\n<|im_start|>user\nWhat is the capital of France?<|im_end|>\n"
            "<|im_start|>assistant\n");
}

TEST(RealModels, Gemma3HasItsSize) {
  const auto path = find_test_model(kGemma3);
  if (!path) GTEST_SKIP() << "WEFT_TEST_MODELS names no folder with " << kGemma3;
  const auto tokenizer = Tokenizer::from_gguf(read_gguf_vocab(*path).vocab);
  EXPECT_EQ(tokenizer->vocab_size(), 262144);
  EXPECT_EQ(tokenizer->description(), "llama/default");
  EXPECT_FALSE(tokenizer->strips_leading_space());
  EXPECT_EQ(tokenizer->encode("", true, true), (Ids{2}));
  EXPECT_EQ(tokenizer->piece(107, false), "\n");
}

}  // namespace
}  // namespace weft::text
