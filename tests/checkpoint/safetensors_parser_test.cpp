#include "checkpoint/safetensors_parser.h"

#include "checkpoint/model_files.h"

namespace weft::checkpoint {
namespace {

using tensor::DType;
using testing::HasSubstr;

TensorTable parse(const std::string& bytes) {
  return parse_safetensors(as_bytes(bytes), "m.safetensors");
}

std::string refusal_of(const std::string& header, const std::string& data) {
  return refusal([&] { parse(safetensors_file(header, data)); });
}

TEST(SafetensorsParser, TypesShapesAndBytes) {
  const std::string bytes = safetensors_file(
      R"({"__metadata__":{"format":"pt"},
          "b":{"dtype":"BF16","shape":[2,3,1],"data_offsets":[20,32]},
          "a":{"data_offsets":[0,16],"shape":[1,4],"dtype":"F32"},
          "h":{"dtype":"F16","shape":[2],"data_offsets":[16,20]},
          "s":{"dtype":"F16","shape":[],"data_offsets":[32,34]}})",
      floats(3, 4) + "0123" + std::string(12, 'b') + "ss");
  const TensorTable tensors = parse(bytes);
  ASSERT_EQ(tensors.list().size(), 4u);
  EXPECT_EQ(tensors.list()[0].name, "b");  // the order of the header
  EXPECT_EQ(tensors.find("a")->shape, (std::vector<int64_t>{1, 4}));
  EXPECT_EQ(std::memcmp(tensors.find("a")->data, floats(3, 4).data(), 16), 0);
  EXPECT_EQ(tensors.find("b")->dtype, DType::kBF16);
  EXPECT_EQ(tensors.find("b")->num_rows(), 6);
  EXPECT_EQ(tensors.find("b")->data[11], std::byte{'b'});
  EXPECT_EQ(tensors.find("h")->dtype, DType::kF16);
  EXPECT_EQ(std::memcmp(tensors.find("h")->data, "0123", 4), 0);
  EXPECT_EQ(tensors.find("s")->num_bytes(), 2);
  EXPECT_EQ(tensors.find("__metadata__"), nullptr);
}

TEST(SafetensorsParser, EveryFileCutShortIsRefused) {
  const std::string whole =
      safetensors_file(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})", floats(1, 2));
  parse(whole);
  for (size_t size = 0; size < whole.size(); ++size) {
    SCOPED_TRACE(size);
    EXPECT_THAT(refusal([&] { parse(whole.substr(0, size)); }), HasSubstr("m.safetensors: "));
  }
}

TEST(SafetensorsParser, AnUnsupportedTypeIsNamedWithItsTensor) {
  const std::string text =
      refusal_of(R"({"q.qweight":{"dtype":"I32","shape":[2],"data_offsets":[0,8]}})", floats(1, 2));
  EXPECT_THAT(text, HasSubstr("tensor 'q.qweight' has the type 'I32'"));
  EXPECT_THAT(text, HasSubstr("AWQ, GPTQ"));
}

TEST(SafetensorsParser, ErrorsNameTheTensorAndBothNumbers) {
  EXPECT_THAT(
      refusal_of(R"({"a":{"dtype":"F32","shape":[3],"data_offsets":[0,8]}})", floats(1, 2)),
      HasSubstr("tensor 'a' takes 12 bytes by its shape, bytes 0 to 8 by its data_offsets"));
  EXPECT_THAT(
      refusal_of(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[8,16]}})", floats(1, 2)),
      HasSubstr("takes 8 bytes from byte 8 of the data, which has 8"));
  EXPECT_THAT(refusal_of(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})", floats(1, 3)),
              HasSubstr("the tensors take 8 bytes, the data has 12"));
  EXPECT_THAT(refusal_of(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},
                             "b":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}})",
                         floats(1, 2)),
              HasSubstr("tensors 'a' and 'b' overlap"));
  EXPECT_THAT(
      refusal_of(R"({"h":{"dtype":"F16","shape":[1],"data_offsets":[0,2]},
                             "a":{"dtype":"F32","shape":[1],"data_offsets":[2,6]}})",
                 "012345"),
      HasSubstr("tensor 'a' begins at an address that its 4 bytes an element do not divide"));
}

TEST(SafetensorsParser, NamesAreThereOnce) {
  const std::string entry = R"({"dtype":"F32","shape":[2],"data_offsets":[0,8]})";
  EXPECT_THAT(refusal_of("{\"a\":" + entry + ",\"a\":" + entry + "}", floats(1, 2)),
              HasSubstr("tensor 'a' is there twice"));
}

TEST(SafetensorsParser, DeepNestingIsRefusedAtItsSecondLevel) {
  EXPECT_THAT(refusal_of(R"({"a":{"shape":)" + std::string(1000000, '['), ""),
              HasSubstr("tensor 'a' holds a list where none belongs"));
}

TEST(SafetensorsIndex, SaysWhichFileHoldsATensor) {
  const std::string text =
      R"({"metadata":{"total_size":8},"weight_map":{"b":"y.safetensors","a":"x.safetensors"}})";
  const auto file_of = parse_safetensors_index(as_bytes(text), "index.json");
  ASSERT_EQ(file_of.size(), 2u);
  EXPECT_EQ(file_of.at("a"), "x.safetensors");
  EXPECT_EQ(file_of.at("b"), "y.safetensors");
}

TEST(SafetensorsIndex, FilesOutsideItsFolderAreRefused) {
  for (const char* name : {"../x.safetensors", "/x.safetensors", "a/x.safetensors",
                           "..\\\\x.safetensors", "x.bin", "x.safetensors\\u0000"}) {
    const std::string text = std::string(R"({"weight_map":{"a":")") + name + "\"}}";
    EXPECT_THAT(refusal([&] { parse_safetensors_index(as_bytes(text), "index.json"); }),
                HasSubstr("no plain name"))
        << name;
  }
}

}  // namespace
}  // namespace weft::checkpoint
