#include "hub/file_choice.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace weft::hub {
namespace {

using ::testing::ElementsAre;

std::vector<std::string> quants(const std::vector<GgufModel>& models) {
  std::vector<std::string> names;
  for (const GgufModel& model : models) names.push_back(model.quant);
  return names;
}

TEST(GgufModels, AreNamedByTheirType) {
  const std::vector<std::string> names = {"Qwen3-0.6B-Q8_0.gguf",
                                          "m.IQ4_XS.gguf",
                                          "m-q4_k_m.gguf",
                                          "m_TQ2_0.gguf",
                                          "UD/m-UD-Q4_K_XL.gguf",
                                          "plain.gguf",
                                          "mmproj-F16.gguf",
                                          "m.imatrix.gguf",
                                          "m-BF16-00001-of-00002.gguf",
                                          "m-BF16-00002-of-00002.gguf",
                                          "config.json"};
  EXPECT_THAT(quants(gguf_models(names)),
              ::testing::UnorderedElementsAre("Q8_0", "IQ4_XS", "Q4_K_M", "TQ2_0", "UD-Q4_K_XL",
                                              "plain", "BF16"));
}

TEST(GgufModels, OfSeveralFilesAreOne) {
  const std::vector<std::string> whole = {"m-F16-00002-of-00002.gguf", "m-F16-00001-of-00002.gguf"};
  const auto models = gguf_models(whole);
  ASSERT_EQ(models.size(), 1u);
  EXPECT_TRUE(models[0].is_whole);
  EXPECT_THAT(models[0].files,
              ElementsAre("m-F16-00001-of-00002.gguf", "m-F16-00002-of-00002.gguf"));
  EXPECT_FALSE(
      gguf_models(std::vector<std::string>{"m-00001-of-00003.gguf", "m-00003-of-00003.gguf"})
          .front()
          .is_whole);
}

TEST(GgufModels, MatchAWholeTypeAndNoPartOfOne) {
  const auto models =
      gguf_models(std::vector<std::string>{"m-Q4_K_M.gguf", "m-Q4_K_S.gguf", "m-UD-Q4_K_XL.gguf"});
  EXPECT_THAT(quants(matching_models(models, "q4_k_m")), ElementsAre("Q4_K_M"));
  EXPECT_THAT(quants(matching_models(models, "Q4_K_XL")), ElementsAre("UD-Q4_K_XL"));
  EXPECT_THAT(quants(matching_models(models, "M-Q4_K_S.gguf")), ElementsAre("Q4_K_S"));
  EXPECT_TRUE(matching_models(models, "Q4_K").empty());
  EXPECT_EQ(matching_models(models, "").size(), 3u);
}

TEST(Safetensors, OneFileHoldsTheWeights) {
  using Names = std::vector<std::string>;
  EXPECT_EQ(single_weights(Names{"consolidated.safetensors", "model.safetensors"}),
            "model.safetensors");
  EXPECT_EQ(single_weights(Names{"consolidated.safetensors", "weights.safetensors"}),
            "weights.safetensors");
  EXPECT_EQ(single_weights(Names{"a.safetensors", "b.safetensors"}), "");
  EXPECT_EQ(single_weights(Names{"x/model.safetensors"}), "");
}

TEST(Safetensors, AnIndexThatLeavesTheFolderIsNone) {
  EXPECT_THAT(*indexed_weights(R"({"weight_map": {"a": "2.safetensors", "b": "1.safetensors",
                                  "c": "1.safetensors"}})"),
              ElementsAre("1.safetensors", "2.safetensors"));
  for (const char* text : {"", "[]", "{}", R"({"weight_map": {}})", R"({"weight_map": {"a": 1}})",
                           R"({"weight_map": {"a": "../x"}})", R"({"weight_map": {"a": "/x"}})",
                           R"({"weight_map": {"a": "x/y"}})"}) {
    EXPECT_FALSE(indexed_weights(text)) << text;
  }
}

}  // namespace
}  // namespace weft::hub
