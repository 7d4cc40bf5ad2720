// Opens the two real models where WEFT_TEST_MODELS names the folder that holds them.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <string>

#include "checkpoint/checkpoint.h"

namespace weft::checkpoint {
namespace {

using tensor::DType;

class RealModels : public testing::Test {
 protected:
  std::unique_ptr<Checkpoint> open(const std::string& file_name) {
    const char* folder = std::getenv("WEFT_TEST_MODELS");
    if (folder == nullptr) return nullptr;
    return Checkpoint::open(std::filesystem::path(folder) / file_name);
  }
};

#define OPEN_OR_SKIP(file_name)       \
  const auto model = open(file_name); \
  if (model == nullptr) GTEST_SKIP() << "WEFT_TEST_MODELS names no folder with " file_name

template <typename T>
T value_of(const Checkpoint& model, std::string_view key) {
  const Value* value = model.find_value(key);
  if (value == nullptr || !std::holds_alternative<T>(*value)) {
    ADD_FAILURE() << key << " is absent or of another type";
    return T{};
  }
  return std::get<T>(*value);
}

TEST_F(RealModels, SmolLM2) {
  OPEN_OR_SKIP("SmolLM2-135M-Instruct.Q4_1.gguf");
  EXPECT_EQ(model->format(), FileFormat::kGguf);
  EXPECT_EQ(model->file_bytes(), 98362432);
  EXPECT_EQ(model->tensors().size(), 272u);
  EXPECT_EQ(value_of<std::string>(*model, "general.architecture"), "llama");
  EXPECT_EQ(value_of<int64_t>(*model, "llama.block_count"), 30);
  EXPECT_EQ(value_of<int64_t>(*model, "llama.attention.head_count"), 9);
  EXPECT_EQ(value_of<int64_t>(*model, "llama.attention.head_count_kv"), 3);
  EXPECT_EQ(value_of<std::vector<std::string>>(*model, "tokenizer.ggml.tokens").size(), 49152u);

  const tensor::RawTensor& down = model->require("blk.29.ffn_down.weight");
  EXPECT_EQ(down.shape, (std::vector<int64_t>{576, 1536}));
  EXPECT_EQ(model->require("blk.0.attn_k.weight").shape, (std::vector<int64_t>{192, 576}));
  EXPECT_EQ(model->require("blk.0.attn_k.weight").dtype, DType::kQ4_1);
  EXPECT_EQ(model->require("output_norm.weight").dtype, DType::kF32);
  EXPECT_EQ(model->find("output.weight"), nullptr);
}

TEST_F(RealModels, Gemma3) {
  const auto begin = std::chrono::steady_clock::now();
  OPEN_OR_SKIP("gemma-3-270m.Q4_K_M.gguf");
  const auto took = std::chrono::steady_clock::now() - begin;
  EXPECT_LT(took, std::chrono::seconds(1)) << "262,144 tokens must not make opening slow";
  EXPECT_EQ(model->file_bytes(), 253113024);
  EXPECT_EQ(model->tensors().size(), 236u);
  EXPECT_EQ(value_of<std::string>(*model, "general.architecture"), "gemma3");
  EXPECT_EQ(value_of<int64_t>(*model, "gemma3.block_count"), 18);
  EXPECT_EQ(value_of<int64_t>(*model, "gemma3.attention.head_count_kv"), 1);
  EXPECT_EQ(value_of<std::vector<std::string>>(*model, "tokenizer.ggml.tokens").size(), 262144u);
  EXPECT_EQ(value_of<std::vector<double>>(*model, "tokenizer.ggml.scores").size(), 262144u);
  EXPECT_EQ(model->require("token_embd.weight").shape, (std::vector<int64_t>{262144, 640}));
  EXPECT_EQ(model->require("blk.17.attn_q_norm.weight").num_bytes(), 256 * 4);
}

}  // namespace
}  // namespace weft::checkpoint
