#include "checkpoint/gguf_parser.h"

#include <limits>

#include "checkpoint/model_files.h"

namespace weft::checkpoint {
namespace {

using tensor::DType;
using tensor::RawTensor;
using testing::HasSubstr;

GgufContents parse(const std::string& bytes) { return parse_gguf(as_bytes(bytes), "m.gguf"); }

std::string refusal_of(const std::string& bytes) {
  return refusal([&] { parse(bytes); });
}

template <typename T>
void expect_value(const GgufContents& contents, const std::string& key, const T& expected) {
  const auto found = contents.values.find(key);
  ASSERT_NE(found, contents.values.end()) << key;
  ASSERT_TRUE(std::holds_alternative<T>(found->second)) << key;
  EXPECT_EQ(std::get<T>(found->second), expected) << key;
}

TEST(GgufParser, NumbersOfAllWidthsArriveAsInt64OrDouble) {
  GgufWriter writer;
  writer.value("u8", kGgufU8, uint8_t{255}).value("i8", kGgufI8, int8_t{-128});
  writer.value("u16", kGgufU16, uint16_t{65535}).value("i16", kGgufI16, int16_t{-32768});
  writer.value("u32", kGgufU32, uint32_t{4294967295u}).value("i32", kGgufI32, int32_t{-5});
  writer.value("u64", kGgufU64, uint64_t{1} << 62);
  writer.value("i64", kGgufI64, std::numeric_limits<int64_t>::min());
  writer.value("f32", kGgufF32, 0.5f).value("f64", kGgufF64, 1e300);
  const std::string bytes = writer.bytes();
  const GgufContents contents = parse(bytes);
  expect_value<int64_t>(contents, "u8", 255);
  expect_value<int64_t>(contents, "i8", -128);
  expect_value<int64_t>(contents, "u16", 65535);
  expect_value<int64_t>(contents, "i16", -32768);
  expect_value<int64_t>(contents, "u32", 4294967295);
  expect_value<int64_t>(contents, "i32", -5);
  expect_value<int64_t>(contents, "u64", int64_t{1} << 62);
  expect_value<int64_t>(contents, "i64", std::numeric_limits<int64_t>::min());
  expect_value<double>(contents, "f32", 0.5);
  expect_value<double>(contents, "f64", 1e300);
}

TEST(GgufParser, TextTruthValuesAndArrays) {
  GgufWriter writer;
  writer.value("yes", kGgufBool, uint8_t{1}).value("no", kGgufBool, uint8_t{0});
  writer.value("text", kGgufString, std::string("a\0b", 3));
  writer.array<uint32_t>("heads", kGgufU32, {8, 0, 4});
  writer.array<int8_t>("small", kGgufI8, {-1, 2});
  writer.array<float>("scores", kGgufF32, {-1.5f, 0.0f});
  writer.array<uint8_t>("flags", kGgufBool, {1, 0, 1});
  writer.array<std::string>("tokens", kGgufString, {"<s>", "", "\xe4\xb8\xad"});
  writer.array<std::string>("none", kGgufString, {});
  const std::string bytes = writer.bytes(2);
  const GgufContents contents = parse(bytes);
  expect_value(contents, "yes", true);
  expect_value(contents, "no", false);
  expect_value(contents, "text", std::string("a\0b", 3));
  expect_value(contents, "heads", std::vector<int64_t>{8, 0, 4});
  expect_value(contents, "small", std::vector<int64_t>{-1, 2});
  expect_value(contents, "scores", std::vector<double>{-1.5, 0.0});
  expect_value(contents, "flags", std::vector<bool>{true, false, true});
  expect_value(contents, "tokens", std::vector<std::string>{"<s>", "", "\xe4\xb8\xad"});
  expect_value(contents, "none", std::vector<std::string>{});
}

TEST(GgufParser, ShapesAreRowsFirstAndBytesAreTheTensorsOwn) {
  GgufWriter writer;
  writer.value("general.architecture", kGgufString, std::string("llama"));
  writer.tensor("matrix", {3, 2}, 0, floats(1, 6));
  writer.tensor("experts", {32, 4, 2}, 2, std::string(8 * 18, '\x11'));
  writer.tensor("norm", {1}, 0, floats(42, 1));
  const std::string bytes = writer.bytes();
  const GgufContents contents = parse(bytes);
  ASSERT_EQ(contents.tensors.list().size(), 3u);
  const RawTensor& matrix = contents.tensors.list()[0];
  EXPECT_EQ(matrix.name, "matrix");
  EXPECT_EQ(matrix.shape, (std::vector<int64_t>{2, 3}));
  EXPECT_EQ(std::memcmp(matrix.data, floats(1, 6).data(), 24), 0);
  const RawTensor* experts = contents.tensors.find("experts");
  ASSERT_NE(experts, nullptr);
  EXPECT_EQ(experts->dtype, DType::kQ4_0);
  EXPECT_EQ(experts->shape, (std::vector<int64_t>{2, 4, 32}));
  EXPECT_EQ(experts->num_bytes(), 8 * 18);
  EXPECT_EQ(experts->data[0], std::byte{0x11});
  EXPECT_EQ(std::memcmp(contents.tensors.find("norm")->data, floats(42, 1).data(), 4), 0);
  EXPECT_EQ(contents.tensors.find("absent"), nullptr);
}

TEST(GgufParser, DataBeginsAtTheFilesOwnAlignment) {
  for (const uint64_t alignment : {8, 16, 64, 4096}) {
    const std::string bytes = GgufWriter(alignment)
                                  .tensor("a", {3}, 0, floats(7, 3))
                                  .tensor("b", {1}, 0, floats(9, 1))
                                  .bytes();
    const GgufContents contents = parse(bytes);
    const std::byte* a = contents.tensors.find("a")->data;
    EXPECT_EQ(static_cast<uint64_t>(a - as_bytes(bytes).data()) % alignment, 0u);
    EXPECT_EQ(std::memcmp(a, floats(7, 3).data(), 12), 0) << alignment;
    EXPECT_EQ(std::memcmp(contents.tensors.find("b")->data, floats(9, 1).data(), 4), 0)
        << alignment;
  }
}

TEST(GgufParser, EveryFileCutShortIsRefused) {
  GgufWriter writer;
  writer.value("general.architecture", kGgufString, std::string("llama"));
  writer.array<std::string>("tokens", kGgufString, {"a", "bc"});
  writer.tensor("a", {4}, 0, floats(1, 4)).tensor("b", {4}, 0, floats(1, 4));
  const std::string whole = writer.bytes();
  parse(whole);
  for (size_t size = 0; size < whole.size(); ++size) {
    SCOPED_TRACE(size);
    EXPECT_THAT(refusal_of(whole.substr(0, size)), HasSubstr("m.gguf: "));
  }
}

TEST(GgufParser, AnUnsupportedTypeIsNamedWithItsTensor) {
  const std::string known =
      refusal_of(GgufWriter().tensor("blk.0.ffn_up.weight", {256}, 16, std::string(66, 0)).bytes());
  EXPECT_THAT(known, HasSubstr("'blk.0.ffn_up.weight'"));
  EXPECT_THAT(known, HasSubstr("IQ2_XXS (ggml type 16)"));
  EXPECT_THAT(known, HasSubstr("to mend:"));
  EXPECT_THAT(refusal_of(GgufWriter().tensor("x", {4}, 77, std::string(64, 0)).bytes()),
              HasSubstr("tensor 'x' has the type ggml type 77"));
}

TEST(GgufParser, ErrorsNameTheTensorAndBothNumbers) {
  EXPECT_THAT(refusal_of(GgufWriter().tensor("a", {5}, 0, floats(1, 4)).bytes()),
              HasSubstr("tensor 'a' takes 20 bytes from byte 0 of the data, which has 16"));
  EXPECT_THAT(refusal_of(GgufWriter().tensor("a", {288}, 12, std::string(200, 0)).bytes()),
              HasSubstr("rows of 288 elements, not a multiple of Q4_K's 256"));
  EXPECT_THAT(
      refusal_of(
          GgufWriter().tensor("a", {9}, 0, floats(1, 8)).tensor("b", {8}, 0, floats(1, 8)).bytes()),
      HasSubstr("tensors 'a' and 'b' overlap: the first takes 36 bytes, the second begins 32"));
  EXPECT_THAT(refusal_of(GgufWriter().tensor("a", {uint64_t{1} << 62}, 0, floats(1, 8)).bytes()),
              HasSubstr("more bytes than 64 bits can count"));
  EXPECT_THAT(refusal_of(GgufWriter().tensor("a", {uint64_t{1} << 63}, 0, floats(1, 8)).bytes()),
              HasSubstr("a dimension of -9223372036854775808 elements"));
}

TEST(GgufParser, KeysAndTensorsAreThereOnce) {
  EXPECT_THAT(
      refusal_of(
          GgufWriter().value("k", kGgufU8, uint8_t{1}).value("k", kGgufU8, uint8_t{1}).bytes()),
      HasSubstr("the value of 'k' is there twice"));
  EXPECT_THAT(
      refusal_of(
          GgufWriter().tensor("a", {4}, 0, floats(1, 4)).tensor("a", {4}, 0, floats(1, 4)).bytes()),
      HasSubstr("tensor 'a' is there twice"));
}

TEST(GgufParser, OtherVersionsAndByteOrdersAreRefusedByName) {
  std::string big_endian = GgufWriter().bytes();
  std::swap(big_endian[4], big_endian[7]);
  EXPECT_THAT(refusal_of(big_endian), HasSubstr("big-endian"));
  EXPECT_THAT(refusal_of(GgufWriter().bytes(1)), HasSubstr("GGUF version 1"));
  EXPECT_THAT(refusal_of(GgufWriter().bytes(4)), HasSubstr("GGUF version 4"));
  EXPECT_THAT(refusal_of("<!DOCTYPE html>"),
              AllOf(HasSubstr("it is not a GGUF file"), HasSubstr("begins with the bytes 3c 21 44 "
                                                                  "4f, not with \"GGUF\"")));
}

TEST(GgufParser, ALieAboutACountAllocatesNothing) {
  std::string bytes = GgufWriter().array<uint8_t>("k", kGgufU8, {1, 2, 3}).bytes();
  const uint64_t lie = uint64_t{1} << 60;
  std::memcpy(bytes.data() + bytes.size() - 3 - sizeof(lie), &lie, sizeof(lie));
  EXPECT_THAT(refusal_of(bytes), HasSubstr("'k' counts 1152921504606846976 elements of at least 1 "
                                           "bytes, 3 bytes are left"));
}

TEST(GgufParser, NamesOutOfAFileCannotDriveTheTerminal) {
  const std::string text =
      refusal_of(GgufWriter().value("a\x1b[31m\nb", kGgufBool, uint8_t{2}).bytes());
  EXPECT_THAT(text, HasSubstr("'a\\x1b[31m\\x0ab'"));
  const std::string longest =
      refusal_of(GgufWriter().value(std::string(5000, 'x'), kGgufBool, uint8_t{2}).bytes());
  EXPECT_LT(longest.size(), 400u);
}

}  // namespace
}  // namespace weft::checkpoint
