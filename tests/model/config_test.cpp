// What the families read from GGUF keys and config.json, and what they refuse.
#include "model/config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <memory>
#include <nlohmann/json.hpp>

#include "checkpoint/checkpoint.h"
#include "checkpoint/model_files.h"
#include "model/family.h"
#include "model/keys.h"

namespace weft::model {
namespace {

using checkpoint::GgufWriter;
using checkpoint::refusal;
using nlohmann::json;
using testing::ElementsAre;
using testing::HasSubstr;

constexpr int64_t kVocab = 4, kHidden = 32;

class Config : public checkpoint::FolderTest {
 protected:
  // A safetensors folder with this config.json and an embedding.
  ModelConfig read_folder(const std::string& config) {
    write("config.json", config);
    const json header = {{"model.embed_tokens.weight",
                          {{"dtype", "F32"},
                           {"shape", {kVocab, kHidden}},
                           {"data_offsets", {0, kVocab * kHidden * 4}}}}};
    write("model.safetensors",
          checkpoint::safetensors_file(header.dump(), checkpoint::floats(0, kVocab * kHidden)));
    const auto file = checkpoint::Checkpoint::open(folder_);
    return read_config(Keys(*file));
  }
  ModelConfig read_folder(const json& config) { return read_folder(config.dump()); }

  // A GGUF file with these keys and an embedding.
  ModelConfig read_gguf(GgufWriter writer, const std::string& embedding = "token_embd.weight") {
    writer.tensor(embedding, {kHidden, kVocab}, 0, checkpoint::floats(0, kVocab * kHidden));
    const auto file = checkpoint::Checkpoint::open(write("model.gguf", writer.bytes()));
    return read_config(Keys(*file));
  }

  std::string refused(const json& config) {
    return refusal([&] { read_folder(config); });
  }
};

json llama_json() {
  return {{"architectures", {"LlamaForCausalLM"}},
          {"num_hidden_layers", 3},
          {"hidden_size", kHidden},
          {"num_attention_heads", 4},
          {"num_key_value_heads", 2},
          {"intermediate_size", 96},
          {"max_position_embeddings", 512},
          {"rms_norm_eps", 1e-6},
          {"rope_theta", 5e5}};
}

GgufWriter llama_gguf(const std::string& arch = "llama") {
  GgufWriter writer;
  writer.value("general.architecture", checkpoint::kGgufString, arch);
  const auto number = [&](const std::string& key, uint32_t value) {
    writer.value(arch + key, checkpoint::kGgufU32, value);
  };
  number(".block_count", 3);
  number(".embedding_length", kHidden);
  number(".attention.head_count", 4);
  number(".attention.head_count_kv", 2);
  number(".feed_forward_length", 96);
  number(".context_length", 512);
  writer.value(arch + ".attention.layer_norm_rms_epsilon", checkpoint::kGgufF32, 1e-6f);
  writer.value(arch + ".rope.freq_base", checkpoint::kGgufF32, 5e5f);
  return writer;
}

void expect_llama(const ModelConfig& c) {
  EXPECT_EQ(c.family, "llama");
  EXPECT_EQ(c.num_layers, 3);
  EXPECT_EQ(c.hidden_size, kHidden);
  EXPECT_EQ(c.num_heads, 4);
  EXPECT_EQ(c.num_kv_heads, 2);
  EXPECT_EQ(c.head_dim, 8);
  EXPECT_EQ(c.ffn_size, 96);
  EXPECT_EQ(c.vocab_size, kVocab);
  EXPECT_EQ(c.context_length, 512);
  EXPECT_FLOAT_EQ(c.norm_eps, 1e-6f);
  EXPECT_TRUE(c.tied_embeddings);
  EXPECT_FLOAT_EQ(c.attention_scale, 1.0f / std::sqrt(8.0f));
  ASSERT_EQ(c.ropes.size(), 1u);
  EXPECT_EQ(c.ropes[0].base, 5e5);
  EXPECT_EQ(c.ropes[0].rotary_dim, 8);
  EXPECT_EQ(c.ropes[0].scaling, RopeScaling::kNone);
  EXPECT_THAT(c.layer_window, ElementsAre(0, 0, 0));
}

TEST_F(Config, LlamaFromBothForms) {
  const ModelConfig folder = read_folder(llama_json());
  expect_llama(folder);
  EXPECT_EQ(folder.rope_layout, kernels::RopeLayout::kHalves);
  const ModelConfig gguf = read_gguf(llama_gguf());
  expect_llama(gguf);
  EXPECT_EQ(gguf.rope_layout, kernels::RopeLayout::kInterleaved);
}

TEST_F(Config, MistralSlidesInEveryLayer) {
  json config = llama_json();
  config["architectures"] = {"MistralForCausalLM"};
  config["sliding_window"] = 16;
  EXPECT_THAT(read_folder(config).layer_window, ElementsAre(16, 16, 16));
  config["sliding_window"] = nullptr;  // Mistral 0.2 and later
  EXPECT_THAT(read_folder(config).layer_window, ElementsAre(0, 0, 0));
}

TEST_F(Config, Qwen2UsesWindowsOnlyWhereSwitchedOn) {
  json config = llama_json();
  config["architectures"] = {"Qwen2ForCausalLM"};
  config["sliding_window"] = 16;
  config["max_window_layers"] = 2;
  config["use_sliding_window"] = false;
  EXPECT_THAT(read_folder(config).layer_window, ElementsAre(0, 0, 0));
  config["use_sliding_window"] = true;
  EXPECT_THAT(read_folder(config).layer_window, ElementsAre(0, 0, 16));
}

TEST_F(Config, Gemma3HasTwoRopesAndWindows) {
  json config = llama_json();
  config["architectures"] = {"Gemma3ForCausalLM"};
  config["num_hidden_layers"] = 7;
  config["sliding_window"] = 16;
  config["rope_theta"] = 1e6;
  config["query_pre_attn_scalar"] = 64;
  const ModelConfig c = read_folder(config);
  EXPECT_THAT(c.layer_window, ElementsAre(16, 16, 16, 16, 16, 0, 16));
  EXPECT_THAT(c.layer_rope, ElementsAre(1, 1, 1, 1, 1, 0, 1));
  ASSERT_EQ(c.ropes.size(), 2u);
  EXPECT_EQ(c.ropes[0].base, 1e6);
  EXPECT_EQ(c.ropes[1].base, 1e4);
  EXPECT_FLOAT_EQ(c.attention_scale, 1.0f / 8.0f);
  EXPECT_FLOAT_EQ(c.embedding_scale, std::sqrt(static_cast<float>(kHidden)));
  EXPECT_EQ(c.norm_weight_offset, 1.0f);
  EXPECT_TRUE(c.qk_norm);
  EXPECT_TRUE(c.post_norms);
  // GGUF adds the one to the norms itself.
  GgufWriter writer = llama_gguf("gemma3");
  writer.value("gemma3.attention.sliding_window", checkpoint::kGgufU32, uint32_t{16});
  EXPECT_EQ(read_gguf(std::move(writer)).norm_weight_offset, 0.0f);
}

TEST_F(Config, RopeScalingsAreRead) {
  json config = llama_json();
  config["rope_scaling"] = {{"type", "linear"}, {"factor", 4.0}};
  EXPECT_EQ(read_folder(config).ropes[0].scaling, RopeScaling::kLinear);
  EXPECT_EQ(read_folder(config).ropes[0].factor, 4.0);
  config["rope_scaling"] = {{"rope_type", "llama3"},
                            {"factor", 8.0},
                            {"low_freq_factor", 1.0},
                            {"high_freq_factor", 4.0},
                            {"original_max_position_embeddings", 128}};
  EXPECT_EQ(read_folder(config).ropes[0].scaling, RopeScaling::kLlama3);
  EXPECT_EQ(read_folder(config).ropes[0].original_context, 128);
  config["rope_scaling"] = {{"rope_type", "yarn"}, {"factor", 4.0}};
  EXPECT_EQ(read_folder(config).ropes[0].scaling, RopeScaling::kYarn);
  EXPECT_EQ(read_folder(config).ropes[0].original_context, 512);
  // transformers 5 puts the base there too
  config.erase("rope_scaling");
  config.erase("rope_theta");
  config["rope_parameters"] = {{"rope_type", "default"}, {"rope_theta", 7e4}};
  EXPECT_EQ(read_folder(config).ropes[0].base, 7e4);
}

// ---- refusals, each naming what is wrong

TEST_F(Config, RefusesMissingNumbers) {
  for (const char* key : {"num_hidden_layers", "hidden_size", "num_attention_heads",
                          "intermediate_size", "max_position_embeddings", "rms_norm_eps"}) {
    json config = llama_json();
    config.erase(key);
    EXPECT_THAT(refused(config), HasSubstr(key));
  }
}

TEST_F(Config, RefusesNumbersOutOfRange) {
  const std::pair<const char*, json> wrong[] = {{"num_hidden_layers", 0},
                                                {"num_hidden_layers", 1 << 20},
                                                {"num_hidden_layers", "three"},
                                                {"num_hidden_layers", 2.5},
                                                {"hidden_size", -32},
                                                {"hidden_size", int64_t{1} << 40},
                                                {"num_attention_heads", 0},
                                                {"num_key_value_heads", 0},
                                                {"intermediate_size", 0},
                                                {"max_position_embeddings", 0},
                                                {"rms_norm_eps", -1.0},
                                                {"rms_norm_eps", "small"},
                                                {"rope_theta", 0.0},
                                                {"head_dim", 1 << 20}};
  for (const auto& [key, value] : wrong) {
    json config = llama_json();
    config[key] = value;
    EXPECT_THAT(refused(config), HasSubstr(key)) << value;
  }
}

TEST_F(Config, RefusesShapesThatDoNotFit) {
  json config = llama_json();
  config["num_key_value_heads"] = 3;
  EXPECT_THAT(refused(config), HasSubstr("4 query heads do not divide into 3 KV heads"));
  config = llama_json();
  config["head_dim"] = 12;
  EXPECT_THAT(refused(config), HasSubstr("head size of 12"));
  config["head_dim"] = 7;
  EXPECT_THAT(refused(config), HasSubstr("head size of 7 is odd"));
}

TEST_F(Config, RefusesUnknownArchitecturesAndScalings) {
  json config = llama_json();
  config["architectures"] = {"MambaForCausalLM"};
  EXPECT_THAT(refused(config), HasSubstr("MambaForCausalLM"));
  EXPECT_THAT(refused(config), HasSubstr("LlamaForCausalLM"));
  config["architectures"] = json::array();
  EXPECT_THAT(refused(config), HasSubstr("architectures"));
  config = llama_json();
  config["rope_scaling"] = {{"rope_type", "spiral"}, {"factor", 2.0}};
  EXPECT_THAT(refused(config), HasSubstr("spiral"));
  config["rope_scaling"] = {{"rope_type", "linear"}, {"factor", 0.0}};
  EXPECT_THAT(refused(config), HasSubstr("factor"));
  config["rope_scaling"] = {{"rope_type", 3}, {"factor", 2.0}};
  EXPECT_THAT(refused(config), HasSubstr("rope_type is no string"));
  config["rope_scaling"] = {{"rope_type", nullptr}, {"type", "linear"}, {"factor", 2.0}};
  EXPECT_EQ(read_folder(config).ropes[0].scaling, RopeScaling::kLinear);
}

TEST_F(Config, RefusesWhatIsNoConfig) {
  EXPECT_THAT(refusal([&] { read_folder(std::string("{\"architectures\": [")); }),
              HasSubstr("config.json"));
  EXPECT_THAT(refusal([&] { read_folder(std::string("[1, 2]")); }), HasSubstr("config.json"));
}

TEST_F(Config, RefusesGgufWithoutItsKeys) {
  GgufWriter nameless;
  EXPECT_THAT(refusal([&] { read_gguf(nameless); }), HasSubstr("general.architecture"));
  GgufWriter unknown;
  unknown.value("general.architecture", checkpoint::kGgufString, std::string("mamba"));
  EXPECT_THAT(refusal([&] { read_gguf(unknown); }), HasSubstr("mamba"));
  GgufWriter bare;
  bare.value("general.architecture", checkpoint::kGgufString, std::string("llama"));
  EXPECT_THAT(refusal([&] { read_gguf(bare); }), HasSubstr("llama.block_count"));
  EXPECT_THAT(refusal([&] { read_gguf(llama_gguf(), "some.weight"); }),
              HasSubstr("token_embd.weight"));
  GgufWriter scaled = llama_gguf();
  scaled.value("llama.rope.scaling.type", checkpoint::kGgufString, std::string("spiral"));
  EXPECT_THAT(refusal([&] { read_gguf(scaled); }), HasSubstr("spiral"));
}

// Layers that differ in their heads are not run, and said to be so.
TEST_F(Config, RefusesLayersThatDiffer) {
  GgufWriter writer;
  writer.value("general.architecture", checkpoint::kGgufString, std::string("llama"));
  writer.value("llama.block_count", checkpoint::kGgufU32, uint32_t{3});
  writer.value("llama.embedding_length", checkpoint::kGgufU32, uint32_t{kHidden});
  GgufWriter differing = writer;
  differing.array<uint32_t>("llama.attention.head_count", checkpoint::kGgufU32, {4, 4, 2});
  EXPECT_THAT(refusal([&] { read_gguf(differing); }), HasSubstr("differs between layers"));
  GgufWriter short_list = writer;
  short_list.array<uint32_t>("llama.attention.head_count", checkpoint::kGgufU32, {4, 4});
  EXPECT_THAT(refusal([&] { read_gguf(short_list); }), HasSubstr("2 layers of 3"));
}

TEST_F(Config, RefusesBrokenFrequencyFactors) {
  const auto with_factors = [](std::initializer_list<float> factors) {
    GgufWriter writer = llama_gguf();
    std::string bytes;
    for (const float f : factors) bytes.append(reinterpret_cast<const char*>(&f), sizeof(f));
    writer.tensor("rope_freqs.weight", {factors.size()}, 0, bytes);
    return writer;
  };
  EXPECT_THAT(read_gguf(with_factors({1, 2, 3, 4})).ropes[0].frequency_factors,
              ElementsAre(1, 2, 3, 4));
  EXPECT_THAT(refusal([&] { read_gguf(with_factors({1, 2, 3})); }), HasSubstr("rope_freqs.weight"));
  EXPECT_THAT(refusal([&] { read_gguf(with_factors({1, 0, 3, 4})); }), HasSubstr("not positive"));
  EXPECT_THAT(refusal([&] {
                read_gguf(with_factors({1, std::nanf(""), 3, 4}));
              }),
              HasSubstr("not positive"));
}

}  // namespace
}  // namespace weft::model
