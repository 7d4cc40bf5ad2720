// Opens the two real models where WEFT_TEST_MODELS names the folder that holds them.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <filesystem>
#include <numeric>
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

std::array<float, 3> first_floats(const tensor::RawTensor& tensor) {
  std::array<float, 3> floats;
  std::memcpy(floats.data(), tensor.data, sizeof(floats));
  return floats;
}

int64_t byte_sum(const tensor::RawTensor& tensor) {
  return std::accumulate(
      tensor.data, tensor.data + tensor.num_bytes(), int64_t{0},
      [](int64_t sum, std::byte b) { return sum + std::to_integer<int64_t>(b); });
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

  // Bytes as gguf-py reads them.
  EXPECT_EQ(model->tensors().front().name, "token_embd.weight");
  EXPECT_EQ(model->tensors().back().name, "output_norm.weight");
  EXPECT_EQ(first_floats(model->require("output_norm.weight")),
            (std::array{1.7578125f, 1.8203125f, 1.78125f}));
  EXPECT_EQ(byte_sum(down), 69307170);
  EXPECT_EQ(byte_sum(model->require("blk.0.attn_k.weight")), 8735540);
  EXPECT_EQ(value_of<double>(*model, "llama.rope.freq_base"), 100000.0);
  EXPECT_EQ(value_of<bool>(*model, "tokenizer.ggml.add_bos_token"), false);
}

TEST_F(RealModels, Gemma3) {
  const std::clock_t begin = std::clock();  // of this process, so that a busy machine is no failure
  OPEN_OR_SKIP("gemma-3-270m.Q4_K_M.gguf");
  const double seconds = static_cast<double>(std::clock() - begin) / CLOCKS_PER_SEC;
  EXPECT_LT(seconds, 1.0) << "262,144 tokens must not make opening slow";
  EXPECT_EQ(model->file_bytes(), 253113024);
  EXPECT_EQ(model->tensors().size(), 236u);
  EXPECT_EQ(value_of<std::string>(*model, "general.architecture"), "gemma3");
  EXPECT_EQ(value_of<int64_t>(*model, "gemma3.block_count"), 18);
  EXPECT_EQ(value_of<int64_t>(*model, "gemma3.attention.head_count_kv"), 1);
  EXPECT_EQ(value_of<std::vector<std::string>>(*model, "tokenizer.ggml.tokens").size(), 262144u);
  EXPECT_EQ(value_of<std::vector<double>>(*model, "tokenizer.ggml.scores").size(), 262144u);
  EXPECT_EQ(model->require("token_embd.weight").shape, (std::vector<int64_t>{262144, 640}));
  EXPECT_EQ(model->require("blk.0.ffn_down.weight").dtype, DType::kQ6_K);

  // Bytes as gguf-py reads them.
  EXPECT_EQ(model->tensors().front().name, "output_norm.weight");
  EXPECT_EQ(model->tensors().back().name, "blk.17.post_ffw_norm.weight");
  EXPECT_EQ(first_floats(model->require("output_norm.weight")),
            (std::array{7.125f, 9.5625f, 47.0f}));
  EXPECT_EQ(byte_sum(model->require("blk.17.attn_q_norm.weight")), 53937);
  const tensor::RawTensor& embedding = model->require("token_embd.weight");
  EXPECT_EQ(embedding.data[0], std::byte{0xf2});
  EXPECT_EQ(embedding.data[embedding.num_bytes() - 1], std::byte{0xea});
}

}  // namespace
}  // namespace weft::checkpoint
