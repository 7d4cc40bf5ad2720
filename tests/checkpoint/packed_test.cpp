// A packed folder as a whole: what its writer puts there opens again with equal metadata, vectors
// and panels; folders whose files do not belong together are refused; nothing half is ever left.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <nlohmann/json.hpp>

#include "checkpoint/model_files.h"
#include "checkpoint/packed_checkpoint.h"
#include "checkpoint/packed_writer.h"

namespace weft::checkpoint {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

// A GGUF with every type of value, a vector and a matrix.
std::string small_gguf() {
  return GgufWriter()
      .value("general.architecture", kGgufString, std::string("llama"))
      .value("a.u8", kGgufU8, uint8_t{200})
      .value("a.i32", kGgufI32, int32_t{-7})
      .value("a.f32", kGgufF32, 0.1f)
      .value("a.bool", kGgufBool, true)
      .value("split.count", kGgufU16, uint16_t{1})
      .array("b.words", kGgufString, std::vector<std::string>{"x", "", "long \n word"})
      .array("b.ints", kGgufU32, std::vector<uint32_t>{1, 2, 3})
      .array("b.reals", kGgufF32, std::vector<float>{0.5f, -2.25f})
      .array("b.flags", kGgufBool, std::vector<uint8_t>{1, 0})
      .array("b.none", kGgufString, std::vector<std::string>{})
      .tensor("norm", {4}, 0, floats(1, 4))
      .tensor("matrix", {4, 2}, 0, floats(5, 8))
      .bytes();
}

PanelEntry entry_of(const std::string& tensor, int64_t num_bytes) {
  PanelEntry entry;
  entry.tensor = tensor;
  entry.rows = {0, 2};
  entry.inputs = {0, 4};
  entry.num_units = 1;
  entry.bytes = {0, num_bytes};
  return entry;
}

class Packed : public FolderTest {
 protected:
  // Two ranks whose panels of "matrix" are the text `panels`, with the rank's number in front.
  fs::path pack(const std::string& name, const std::string& panels, bool replace = false) const {
    const auto source = Checkpoint::open(write("source.gguf", small_gguf()));
    PackedWriter writer(folder_ / name, replace, 1);
    writer.write_rest(*source, {source->find("norm")});
    for (int rank = 0; rank < 2; ++rank) {
      const std::string text = std::to_string(rank) + panels;
      writer.begin_rank({entry_of("matrix", static_cast<int64_t>(text.size()))});
      writer.append(as_bytes(text).first(3));
      writer.append(as_bytes(text).subspan(3));
      writer.end_rank();
    }
    Manifest manifest;
    manifest.model = "Small";
    manifest.source = "source.gguf";
    manifest.split.tensor_parallel_size = 2;
    manifest.matrices = {*source->find("matrix")};
    writer.finish(std::move(manifest));
    fs::remove(folder_ / "source.gguf");
    return folder_ / name;
  }
  std::vector<std::string> names_in(const fs::path& folder) const {
    std::vector<std::string> names;
    for (const auto& file : fs::directory_iterator(folder))
      names.push_back(file.path().filename().string());
    std::sort(names.begin(), names.end());
    return names;
  }
  static std::string opened(const fs::path& path) {
    return refusal([&] { Checkpoint::open(path); });
  }
  static std::string read(const fs::path& path) {
    std::ifstream file(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
  }
};

TEST_F(Packed, OpensWithEqualMetadataVectorsAndPanels) {
  const std::string panels(5000, 'p');
  const fs::path folder = pack("model.packed", panels);
  EXPECT_EQ(names_in(folder_), std::vector<std::string>{"model.packed"});
  const auto source = Checkpoint::open(write("source.gguf", small_gguf()));
  for (const fs::path& path : {folder, folder / "packed.json"}) {
    const auto packed = Checkpoint::open(path);
    EXPECT_EQ(packed->format(), FileFormat::kGguf);
    for (const std::string& key : source->keys()) {
      if (key.starts_with("split.")) continue;
      ASSERT_NE(packed->find_value(key), nullptr) << key;
      EXPECT_EQ(*packed->find_value(key), *source->find_value(key)) << key;
    }
    EXPECT_EQ(packed->keys().size() + 1, source->keys().size());
    const tensor::RawTensor& norm = packed->require("norm");
    ASSERT_NE(norm.data, nullptr);
    EXPECT_EQ(std::memcmp(norm.data, source->find("norm")->data, 16), 0);
    const tensor::RawTensor& matrix = packed->require("matrix");
    EXPECT_EQ(matrix.data, nullptr);
    EXPECT_EQ(matrix.shape, source->find("matrix")->shape);
    ASSERT_NE(packed->packed(), nullptr);
    EXPECT_EQ(packed->packed()->manifest.split.tensor_parallel_size, 2);
    for (size_t rank = 0; rank < 2; ++rank) {
      const PanelFile& file = packed->packed()->ranks.at(rank);
      const std::byte* found = file.panels(entry_of("matrix", 5001));
      EXPECT_EQ(reinterpret_cast<uintptr_t>(found) % 4096, 0u);
      EXPECT_EQ(std::string(reinterpret_cast<const char*>(found), 5001),
                std::to_string(rank) + panels);
    }
  }
}

TEST_F(Packed, SafetensorsKeepTheirSideFiles) {
  const std::string header = R"({"odd":{"dtype":"BF16","shape":[3],"data_offsets":[0,6]},)"
                             R"("norm":{"dtype":"F32","shape":[2],"data_offsets":[8,16]},)"
                             R"("gap":{"dtype":"BF16","shape":[1],"data_offsets":[6,8]}})";
  write("model.safetensors", safetensors_file(header, "abcdefgh" + floats(3, 2)));
  write("config.json", R"({"a": 1})");
  write("tokenizer.json", "{}");
  const auto source = Checkpoint::open(folder_);
  {
    PackedWriter writer(folder_ / "out", false, 1);
    std::vector<const tensor::RawTensor*> vectors;
    for (const tensor::RawTensor& tensor : source->tensors()) vectors.push_back(&tensor);
    writer.write_rest(*source, vectors);
    writer.begin_rank({entry_of("matrix", 64)});
    writer.append(as_bytes(std::string(64, 'x')));
    writer.end_rank();
    Manifest manifest;
    manifest.container = FileFormat::kSafetensors;
    manifest.matrices.push_back({"matrix", tensor::DType::kF32, {2, 4}, nullptr});
    writer.finish(std::move(manifest));
  }
  const auto packed = Checkpoint::open(folder_ / "out");
  EXPECT_EQ(packed->side_file("config.json"), R"({"a": 1})");
  EXPECT_EQ(packed->side_file("tokenizer.json"), "{}");
  EXPECT_EQ(packed->side_file("chat_template.jinja"), std::nullopt);
  for (const tensor::RawTensor& tensor : source->tensors()) {
    const tensor::RawTensor& again = packed->require(tensor.name);
    ASSERT_EQ(again.num_bytes(), tensor.num_bytes());
    EXPECT_EQ(std::memcmp(again.data, tensor.data, static_cast<size_t>(tensor.num_bytes())), 0);
  }
}

TEST_F(Packed, TheSameModelGivesTheSameBytes) {
  const fs::path first = pack("first", "some panels"), second = pack("second", "some panels");
  for (const std::string& name : names_in(first))
    EXPECT_EQ(read(first / name), read(second / name)) << name;
}

TEST_F(Packed, PanelsOfAnotherPartAreRefused) {
  const auto packed = Checkpoint::open(pack("model.packed", "panels"));
  const PanelFile& file = packed->packed()->ranks[0];
  EXPECT_THAT(refusal([&] { file.panels(entry_of("another", 7)); }),
              HasSubstr("holds no panels of 'another'"));
  PanelEntry wanted = entry_of("matrix", 7);
  wanted.rows = {0, 3};
  EXPECT_THAT(refusal([&] { file.panels(wanted); }),
              testing::AllOf(HasSubstr("rows 0 to 2"), HasSubstr("rows 0 to 3")));
}

TEST_F(Packed, FilesThatDoNotBelongTogetherAreRefused) {
  const fs::path folder = pack("a", "panels"), other = pack("b", "others");
  const auto overwrite = fs::copy_options::overwrite_existing;
  fs::copy_file(other / "rank-0001.panels", folder / "rank-0001.panels", overwrite);
  EXPECT_THAT(opened(folder),
              HasSubstr("rank-0001.panels: is not the file that packed.json names"));
  fs::copy_file(folder / "rank-0000.panels", folder / "rank-0001.panels", overwrite);
  EXPECT_THAT(opened(folder), HasSubstr("rank-0001.panels"));
  fs::remove(folder / "rank-0001.panels");
  EXPECT_THAT(opened(folder), HasSubstr("lacks rank-0001.panels"));
}

TEST_F(Packed, DamagedFilesAreRefused) {
  const fs::path folder = pack("a", "panels");
  std::string vectors = read(folder / "vectors.gguf");
  vectors.back() ^= 1;
  std::ofstream(folder / "vectors.gguf", std::ios::binary) << vectors;
  EXPECT_THAT(opened(folder), HasSubstr("vectors.gguf: is not the file"));
  std::ofstream(folder / "vectors.gguf", std::ios::binary) << vectors + "x";
  EXPECT_THAT(opened(folder), HasSubstr("bytes long, packed.json says"));
  fs::resize_file(folder / "rank-0000.panels", 4096);
  const fs::path again = pack("a", "panels", /*replace=*/true);
  fs::resize_file(again / "rank-0000.panels", 4096);
  EXPECT_THAT(opened(again), HasSubstr("rank-0000.panels: the panels of 'matrix' take"));
}

TEST_F(Packed, AManifestThatLiesIsRefused) {
  const fs::path folder = pack("a", "panels");
  const auto whole = nlohmann::ordered_json::parse(read(folder / "packed.json"));
  const auto refused_with = [&](const std::string& pointer, const nlohmann::ordered_json& value) {
    auto changed = whole;
    changed[nlohmann::ordered_json::json_pointer(pointer)] = value;
    std::ofstream(folder / "packed.json") << changed;
    return opened(folder);
  };
  EXPECT_THAT(refused_with("/format", "x"), HasSubstr("weft packed model"));
  EXPECT_THAT(refused_with("/format_version", 2), HasSubstr("is version 2 of the packed format"));
  EXPECT_THAT(refused_with("/panel_layout_version", 99), HasSubstr("of the panel layout"));
  EXPECT_THAT(refused_with("/container", "zip"), HasSubstr("'zip' is not known"));
  EXPECT_THAT(refused_with("/split", 3), HasSubstr("split is no object"));
  EXPECT_THAT(refused_with("/split/tensor_parallel_size", -1), HasSubstr("from 0 to"));
  EXPECT_THAT(refused_with("/split/tensor_parallel_size", 1e300), HasSubstr("from 0 to"));
  EXPECT_THAT(refused_with("/split/stages", nullptr), HasSubstr("is no text"));
  EXPECT_THAT(refused_with("/vectors/bytes", ~uint64_t{0}), HasSubstr("vectors.bytes"));
  EXPECT_THAT(refused_with("/vectors/sha256", "00"), HasSubstr("no SHA-256"));
  EXPECT_THAT(refused_with("/matrices/0/type", "Q9"), HasSubstr("'Q9'"));
  EXPECT_THAT(refused_with("/matrices/0/shape", {0}), HasSubstr("no number"));
  EXPECT_THAT(refused_with("/matrices/0/shape", {1, 1, 1, 1, 1}), HasSubstr("list of 1 to 4"));
  const int64_t large = int64_t{1} << 40;
  EXPECT_THAT(refused_with("/matrices/0/shape", {large, large}), HasSubstr("64 bits"));
  EXPECT_THAT(refused_with("/matrices/0/name", "norm"), HasSubstr("'norm' is there twice"));
  EXPECT_THAT(refused_with("/ranks", nlohmann::ordered_json::array()), HasSubstr("ranks"));
  EXPECT_THAT(refused_with("/ranks/0/bytes", 8192 * 2), HasSubstr("packed.json says 16384"));
  std::ofstream(folder / "packed.json") << "{\"format\": ";
  EXPECT_THAT(opened(folder), HasSubstr("is not JSON"));
}

// Texts out of a manifest come back in messages: none may write to the terminal as it likes.
TEST_F(Packed, AManifestDoesNotSpeakToTheTerminal) {
  const fs::path folder = pack("a", "panels");
  auto changed = nlohmann::ordered_json::parse(read(folder / "packed.json"));
  changed["source"] = "x\x1b[2J\n.gguf";
  changed["model"] = "y\x07";
  std::ofstream(folder / "packed.json") << changed;
  const auto packed = Checkpoint::open(folder);
  EXPECT_EQ(packed->packed()->manifest.source, "x?[2J?.gguf");
  EXPECT_EQ(packed->packed()->manifest.model, "y?");
  for (const char* key : {"pipeline_parallel", "tp_weights", "stages"}) {
    auto lying = changed;
    lying["split"][key] = "1,\x1b[2J";
    std::ofstream(folder / "packed.json") << lying;
    EXPECT_THAT(opened(folder), HasSubstr(std::string("split.") + key)) << key;
  }
}

TEST_F(Packed, SumsOfPanelsAreCompared) {
  const fs::path folder = pack("a", std::string(5000, 'p'));
  const auto is_intact = [&](size_t rank) {
    const auto packed = Checkpoint::open(folder);
    const PanelFile& file = packed->packed()->ranks.at(rank);
    int64_t bytes = 0;
    const bool intact = file.is_intact(file.entries()[0], [&](int64_t num_bytes) {
      bytes += num_bytes;
      return true;
    });
    EXPECT_EQ(bytes, 5001);
    return intact;
  };
  EXPECT_TRUE(is_intact(0));
  EXPECT_TRUE(is_intact(1));
  // One bit of the last byte of a panel: opening does not see it.
  const fs::path path = folder / "rank-0001.panels";
  std::string bytes = read(path);
  bytes.at(4096 + 5000) ^= 1;
  std::ofstream(path, std::ios::binary) << bytes;
  EXPECT_TRUE(is_intact(0));
  EXPECT_FALSE(is_intact(1));
}

TEST_F(Packed, OtherSideFilesAreRefused) {
  write("model.safetensors",
        safetensors_file(R"({"norm":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})",
                         floats(3, 2)));
  write("config.json", R"({"a": 1})");
  write("generation_config.json", "");
  const auto source = Checkpoint::open(folder_);
  const fs::path out = folder_ / "out";
  {
    PackedWriter writer(out, false, 1);
    writer.write_rest(*source, {source->find("norm")});
    writer.begin_rank({entry_of("matrix", 64)});
    writer.append(as_bytes(std::string(64, 'x')));
    writer.end_rank();
    Manifest manifest;
    manifest.container = FileFormat::kSafetensors;
    manifest.matrices.push_back({"matrix", tensor::DType::kF32, {2, 4}, nullptr});
    writer.finish(std::move(manifest));
  }
  EXPECT_EQ(Checkpoint::open(out)->side_file("generation_config.json"), "");
  // A template beside it that the model never had says nothing.
  std::ofstream(out / "chat_template.jinja") << "x";
  EXPECT_EQ(Checkpoint::open(out)->side_file("chat_template.jinja"), std::nullopt);
  std::ofstream(out / "config.json") << R"({"a": 2})";
  EXPECT_THAT(opened(out), HasSubstr("config.json: is not the file that packed.json names"));
  fs::remove(out / "config.json");
  EXPECT_THAT(opened(out), HasSubstr("lacks config.json"));
  auto lying = nlohmann::ordered_json::parse(read(out / "packed.json"));
  lying["side_files"][0]["name"] = "../config.json";
  std::ofstream(out / "packed.json") << lying;
  EXPECT_THAT(opened(out), HasSubstr("the side file '../config.json' is not known"));
  // Folders from before side files were listed open as they did.
  lying.erase("side_files");
  std::ofstream(out / "packed.json") << lying;
  EXPECT_EQ(Checkpoint::open(out)->side_file("chat_template.jinja"), "x");
}

// What somebody else put beside a packed model is not thrown away with it.
TEST_F(Packed, OtherFilesBesideAPackedModelAreNotLost) {
  const fs::path folder = pack("a", "panels");
  std::ofstream(folder / "notes.txt") << "mine";
  const auto refusal_of = [&] {
    try {
      pack("a", "newer", /*replace=*/true);
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::kUsage);
      return std::string(error.what());
    }
    return std::string("replaced");
  };
  EXPECT_THAT(refusal_of(), HasSubstr("it holds 'notes.txt', which would be lost"));
  fs::remove(folder / "notes.txt");
  fs::create_directory(folder / "rank-0009.panels");
  EXPECT_THAT(refusal_of(), HasSubstr("rank-0009.panels"));
  fs::remove(folder / "rank-0009.panels");
  EXPECT_EQ(refusal_of(), "replaced");
}

// Two at once: the first is there when the second is done, which then does as it was asked to.
TEST_F(Packed, OfTwoPackersTheSecondFindsTheFirst) {
  const auto source = Checkpoint::open(write("source.gguf", small_gguf()));
  const auto begin = [&](PackedWriter& writer, const std::string& panels) {
    writer.write_rest(*source, {source->find("norm")});
    writer.begin_rank({entry_of("matrix", static_cast<int64_t>(panels.size()))});
    writer.append(as_bytes(panels));
    writer.end_rank();
  };
  const auto finish = [&](PackedWriter& writer) {
    Manifest manifest;
    manifest.matrices = {*source->find("matrix")};
    writer.finish(std::move(manifest));
  };
  const auto size_of_panels = [&] {
    return Checkpoint::open(folder_ / "a")->packed()->ranks[0].entries()[0].bytes.size();
  };
  {
    PackedWriter first(folder_ / "a", false, 1), second(folder_ / "a", false, 1),
        third(folder_ / "a", true, 1);
    begin(first, "1");
    begin(second, "22");
    begin(third, "333");
    finish(first);
    EXPECT_EQ(size_of_panels(), 1);
    EXPECT_THROW(finish(second), Error);
    EXPECT_EQ(size_of_panels(), 1);
    finish(third);
    EXPECT_EQ(size_of_panels(), 3);
  }
  EXPECT_EQ(names_in(folder_), (std::vector<std::string>{"a", "source.gguf"}));
}

TEST_F(Packed, ALinkStandsForItsTarget) {
  pack("a", "panels");
  fs::create_directory_symlink(folder_ / "a", folder_ / "link");
  pack("link", "newer", /*replace=*/true);
  EXPECT_TRUE(fs::is_symlink(folder_ / "link"));
  EXPECT_EQ(Checkpoint::open(folder_ / "a")->packed()->ranks[0].entries()[0].bytes.size(), 6);
  EXPECT_EQ(names_in(folder_), (std::vector<std::string>{"a", "link"}));
  fs::remove_all(folder_ / "a");
  EXPECT_THROW(pack("link", "newest"), Error);
  EXPECT_EQ(names_in(folder_), (std::vector<std::string>{"link", "source.gguf"}));
}

TEST_F(Packed, FilesAreOpenToWhomTheUmaskLets) {
  const mode_t before = ::umask(027);
  const fs::path folder = pack("a", "panels");
  ::umask(before);
  EXPECT_EQ(fs::status(folder).permissions(), fs::perms(0750));
  for (const std::string& name : names_in(folder))
    EXPECT_EQ(fs::status(folder / name).permissions(), fs::perms(0640)) << name;
}

// What a killed packer leaves is no model, and not in the next one's way.
TEST_F(Packed, APartialFolderIsNoModel) {
  const fs::path folder = pack("a", "panels");
  fs::copy(folder, folder_ / "a.partial-123456");
  fs::remove(folder_ / "a.partial-123456" / "packed.json");
  const auto left = Checkpoint::open(folder_ / "a.partial-123456");
  EXPECT_EQ(left->packed(), nullptr);
  EXPECT_EQ(left->find("matrix"), nullptr);
  pack("a", "newer", /*replace=*/true);
  EXPECT_EQ(names_in(folder_), (std::vector<std::string>{"a", "a.partial-123456"}));
}

TEST_F(Packed, OnlyPackedModelsAreReplacedAndOnlyWhenAsked) {
  const auto refused = [&](const fs::path& folder, bool replace) {
    try {
      PackedWriter writer(folder, replace, 1);
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::kUsage);
      return std::string(error.what());
    }
    return std::string();
  };
  fs::create_directory(folder_ / "mine");
  EXPECT_THAT(refused(folder_ / "mine", true), HasSubstr("no packed model"));
  EXPECT_THAT(refused(write("file", "x"), true), HasSubstr("no packed model"));
  pack("a", "panels");
  EXPECT_THAT(refused(folder_ / "a", false), HasSubstr("--force"));
  pack("a", "newer", /*replace=*/true);
  const auto packed = Checkpoint::open(folder_ / "a");
  EXPECT_EQ(packed->packed()->ranks[0].entries()[0].bytes.size(), 6);
  EXPECT_EQ(names_in(folder_), (std::vector<std::string>{"a", "file", "mine"}));
}

TEST_F(Packed, WhatIsNotFinishedIsGone) {
  {
    PackedWriter writer(folder_ / "a/", false, 1);
    writer.begin_rank({entry_of("matrix", 64)});
    EXPECT_EQ(names_in(folder_).size(), 1u);
  }
  EXPECT_TRUE(names_in(folder_).empty());
  EXPECT_THAT(refusal([&] { PackedWriter(folder_ / "no" / "such", false, 1); }),
              HasSubstr("cannot write"));
  EXPECT_THAT(refusal([&] { PackedWriter(folder_ / "a", false, int64_t{1} << 60); }),
              HasSubstr("not enough room"));
  EXPECT_TRUE(names_in(folder_).empty());
}

}  // namespace
}  // namespace weft::checkpoint
