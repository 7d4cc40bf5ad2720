#include "checkpoint/checkpoint.h"

#include "checkpoint/mapped_checkpoint.h"
#include "checkpoint/model_files.h"

namespace weft::checkpoint {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;

class CheckpointOpen : public FolderTest {
 protected:
  static std::string gguf() {
    return GgufWriter()
        .value("general.name", kGgufString, std::string("tiny"))
        .value("general.architecture", kGgufString, std::string("llama"))
        .tensor("a", {4}, 0, floats(1, 4))
        .bytes();
  }
  // Part `number` (from zero) of `count` holding the tensor `name`.
  static std::string part(uint16_t number, uint16_t count, const std::string& name,
                          int32_t num_tensors) {
    GgufWriter writer;
    writer.value("split.no", kGgufU16, number).value("split.count", kGgufU16, count);
    writer.value("split.tensors.count", kGgufI32, num_tensors);
    if (number == 0) writer.value("general.name", kGgufString, std::string("split"));
    return writer.tensor(name, {2}, 0, floats(static_cast<float>(number), 2)).bytes();
  }
  static std::string safetensors(const std::string& name) {
    return safetensors_file("{\"" + name + R"(":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})",
                            floats(5, 2));
  }
  static std::string refusal_of(const std::filesystem::path& path) {
    return refusal([&] { Checkpoint::open(path); });
  }
};

TEST_F(CheckpointOpen, AGgufFile) {
  const auto path = write("tiny.gguf", gguf());
  const auto model = Checkpoint::open(path);
  EXPECT_EQ(model->format(), FileFormat::kGguf);
  EXPECT_EQ(model->path(), path);
  EXPECT_EQ(model->file_bytes(), static_cast<int64_t>(gguf().size()));
  EXPECT_THAT(model->keys(), ElementsAre("general.architecture", "general.name"));
  ASSERT_NE(model->find_value("general.name"), nullptr);
  EXPECT_EQ(std::get<std::string>(*model->find_value("general.name")), "tiny");
  EXPECT_EQ(model->find_value("general"), nullptr);
  EXPECT_EQ(&model->require("a"), model->find("a"));
  EXPECT_EQ(std::memcmp(model->require("a").data, floats(1, 4).data(), 16), 0);
  EXPECT_EQ(model->find("b"), nullptr);
  EXPECT_THAT(refusal([&] { model->require("b"); }), HasSubstr("has no tensor 'b'"));
  EXPECT_EQ(model->side_file("config.json"), std::nullopt);
}

TEST_F(CheckpointOpen, ASplitGgufByItsFirstPart) {
  const auto first = write("m-00001-of-00003.gguf", part(0, 3, "a", 3));
  write("m-00002-of-00003.gguf", part(1, 3, "b", 3));
  write("m-00003-of-00003.gguf", part(2, 3, "c", 3));
  for (const auto& path : {first, folder_}) {
    const auto model = Checkpoint::open(path);
    ASSERT_EQ(model->tensors().size(), 3u);
    EXPECT_EQ(model->tensors()[2].name, "c");
    EXPECT_EQ(std::memcmp(model->require("b").data, floats(1, 2).data(), 8), 0);
    EXPECT_EQ(std::memcmp(model->require("c").data, floats(2, 2).data(), 8), 0);
    EXPECT_EQ(std::get<std::string>(*model->find_value("general.name")), "split");
    EXPECT_GT(model->file_bytes(), 300);
  }
}

TEST_F(CheckpointOpen, ASplitGgufIsRefusedWhereItsPartsDisagree) {
  const auto first = write("m-00001-of-00002.gguf", part(0, 2, "a", 2));
  EXPECT_THAT(refusal_of(first), HasSubstr("m-00002-of-00002.gguf is not beside it"));

  const auto second = write("m-00002-of-00002.gguf", part(1, 2, "b", 2));
  EXPECT_THAT(refusal_of(second), HasSubstr("open m-00001-of-00002.gguf"));

  write("m-00002-of-00002.gguf", part(0, 2, "b", 2));
  EXPECT_THAT(refusal_of(first),
              HasSubstr("is part 1 of 2 by its metadata, part 2 of 2 by its name"));

  write("m-00002-of-00002.gguf", part(1, 2, "a", 2));
  EXPECT_THAT(refusal_of(first), HasSubstr("tensor 'a' is there twice"));

  write("m-00001-of-00002.gguf", part(0, 2, "c", 5));
  EXPECT_THAT(refusal_of(first), HasSubstr("split.tensors.count is 5, the 2 parts hold 2"));

  EXPECT_THAT(refusal_of(write("renamed.gguf", part(0, 2, "a", 2))),
              HasSubstr("rename it to NAME-00001-of-00002.gguf"));
  EXPECT_THAT(refusal_of(write("wrong.gguf", part(2, 2, "a", 2))),
              HasSubstr("split.no is 2 and split.count 2"));
}

TEST_F(CheckpointOpen, ASafetensorsFolderWithItsSideFiles) {
  const auto path = write("model.safetensors", safetensors("w"));
  write("config.json", "{\"model_type\":\"llama\"}");
  write("empty.json", "");
  for (const auto& opened : {path, folder_}) {
    const auto model = Checkpoint::open(opened);
    EXPECT_EQ(model->format(), FileFormat::kSafetensors);
    EXPECT_EQ(model->path(), path);
    EXPECT_EQ(std::memcmp(model->require("w").data, floats(5, 2).data(), 8), 0);
    EXPECT_EQ(model->side_file("config.json"), "{\"model_type\":\"llama\"}");
    EXPECT_EQ(model->side_file("empty.json"), "");
    EXPECT_EQ(model->side_file("tokenizer.json"), std::nullopt);
    EXPECT_TRUE(model->keys().empty());
    EXPECT_EQ(model->find_value("general.name"), nullptr);
  }
}

TEST_F(CheckpointOpen, SafetensorsByTheirIndex) {
  const auto first = write("model-00001-of-00002.safetensors", safetensors("a"));
  EXPECT_THAT(refusal_of(first), HasSubstr("model.safetensors.index.json is not beside it"));
  const auto index = write("model.safetensors.index.json",
                           R"({"weight_map":{"a":"model-00001-of-00002.safetensors",
                                             "b":"model-00002-of-00002.safetensors"}})");
  EXPECT_THAT(refusal_of(index),
              HasSubstr("names 'model-00002-of-00002.safetensors', which is not"));
  write("model-00002-of-00002.safetensors", safetensors("b"));
  for (const auto& path : {first, index, folder_}) {
    const auto model = Checkpoint::open(path);
    EXPECT_EQ(model->tensors().size(), 2u);
    EXPECT_EQ(model->path(), index);
    EXPECT_NE(model->find("b"), nullptr);
  }
  write("model-00002-of-00002.safetensors", safetensors("c"));
  EXPECT_THAT(refusal_of(index), HasSubstr("model-00002-of-00002.safetensors: lacks tensor 'b'"));
  write("model-00002-of-00002.safetensors",
        safetensors_file(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},
                             "b":{"dtype":"F32","shape":[2],"data_offsets":[8,16]}})",
                         floats(1, 4)));
  EXPECT_THAT(refusal_of(index), HasSubstr("tensor 'a' is there twice"));
}

TEST_F(CheckpointOpen, AnIndexMustPlaceATensorInTheFileThatHoldsIt) {
  write("x.safetensors", safetensors("a"));
  write("y.safetensors", safetensors("b"));
  const auto index = write("model.safetensors.index.json",
                           R"({"weight_map":{"a":"y.safetensors","b":"x.safetensors"}})");
  EXPECT_THAT(refusal_of(index), HasSubstr("x.safetensors: lacks tensor 'b'"));
}

TEST_F(CheckpointOpen, AFolderHoldsExactlyOneModel) {
  EXPECT_THAT(refusal_of(folder_), HasSubstr("holds no model"));
  write("one.gguf", gguf());
  write("README.md", "text");
  EXPECT_EQ(Checkpoint::open(folder_)->path(), folder_ / "one.gguf");
  write("two.gguf", gguf());
  write("model.safetensors", safetensors("w"));
  write("consolidated.safetensors", safetensors("w"));  // model.safetensors speaks for both
  EXPECT_THAT(refusal_of(folder_),
              AllOf(HasSubstr("holds 3 models"), HasSubstr("one.gguf"), HasSubstr("two.gguf"),
                    HasSubstr("model.safetensors"), Not(HasSubstr("consolidated"))));
}

TEST_F(CheckpointOpen, OtherPathsAreRefused) {
  EXPECT_THAT(refusal_of(folder_ / "absent.gguf"), HasSubstr("no such file or folder"));
  EXPECT_THAT(refusal_of(write("model.bin", "x")), HasSubstr("neither a .gguf nor a .safetensors"));
  EXPECT_THAT(refusal_of(write("empty.gguf", "")), HasSubstr("empty.gguf"));
  EXPECT_THAT(refusal_of(write("empty.safetensors", "")), HasSubstr("empty.safetensors"));
}

TEST(PartName, IsFiveDigitsOfFiveDigits) {
  const auto name = parse_part_name("a-b-00002-of-00012.gguf", ".gguf");
  ASSERT_TRUE(name.has_value());
  EXPECT_EQ(name->stem, "a-b");
  EXPECT_EQ(name->number, 2);
  EXPECT_EQ(name->count, 12);
  for (const char* other :
       {"a.gguf", "-of-00002.gguf", "a-00003-of-00002.gguf", "a-00000-of-00002.gguf",
        "a-0001-of-00002.gguf", "a-+0001-of-00002.gguf", "a-00001-of-0000x.gguf",
        "a-00001-of-00002.safetensors", "a_00001-of-00002.gguf", "a-00001_of_00002.gguf", ""}) {
    EXPECT_FALSE(parse_part_name(other, ".gguf").has_value()) << other;
  }
}

}  // namespace
}  // namespace weft::checkpoint
