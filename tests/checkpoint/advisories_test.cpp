// What broke elsewhere, tried on model files: docs/advisories.md says which advisory each test
// stands for.
#include <sys/inotify.h>
#include <unistd.h>

#include <set>

#include "checkpoint/checkpoint.h"
#include "checkpoint/gguf_parser.h"
#include "checkpoint/model_files.h"
#include "checkpoint/packed_manifest.h"

namespace weft::checkpoint {
namespace {

using testing::HasSubstr;
using testing::StartsWith;

class Advisories : public testing::Test {
 protected:
  Advisories() {
    std::string name = (std::filesystem::temp_directory_path() / "weft-advisories-XXXXXX").string();
    folder_ = mkdtemp(name.data());
  }
  ~Advisories() override { std::filesystem::remove_all(folder_); }

  std::filesystem::path write(const std::string& name, const std::string& bytes) const {
    std::ofstream(folder_ / name, std::ios::binary) << bytes;
    return folder_ / name;
  }
  std::filesystem::path folder_;
};

// torch.load of a pickle, or of a zip with one inside, runs what it says.
TEST_F(Advisories, PicklesAreNoModels) {
  static constexpr char kBytes[] =
      "\x80\x02"
      "cposix\nsystem\nq\0X\x04\0\0\0ranq\1\x85q\2Rq\3.";
  const std::string pickle(kBytes, sizeof kBytes - 1);
  for (const char* name : {"pytorch_model.bin", "model.pt", "model.pth", "model.ckpt", "model.pkl"})
    EXPECT_THAT(refusal([&] { Checkpoint::open(write(name, pickle)); }),
                HasSubstr("neither a .gguf nor a .safetensors"))
        << name;
  EXPECT_THAT(refusal([&] { Checkpoint::open(folder_); }), HasSubstr("holds no model"));
  // Under a name that is opened, too: its first bytes are taken for no file of that kind.
  EXPECT_THAT(refusal([&] { Checkpoint::open(write("model.gguf", pickle)); }),
              HasSubstr("begins with the bytes 80 02 63 70, not with \"GGUF\""));
  EXPECT_THAT(refusal([&] { Checkpoint::open(write("model.safetensors", pickle)); }),
              HasSubstr("it is no safetensors file"));
}

// Names of files in a folder that are opened while it lives.
class OpenedFiles {
 public:
  explicit OpenedFiles(const std::filesystem::path& folder) : fd_(inotify_init1(IN_NONBLOCK)) {
    EXPECT_GE(inotify_add_watch(fd_, folder.c_str(), IN_OPEN), 0);
  }
  ~OpenedFiles() { close(fd_); }
  OpenedFiles(const OpenedFiles&) = delete;
  OpenedFiles& operator=(const OpenedFiles&) = delete;

  std::set<std::string> names() const {
    std::set<std::string> found;
    alignas(inotify_event) char events[16 * 1024];
    const ssize_t size = read(fd_, events, sizeof events);
    for (ssize_t at = 0; at < size;) {
      const auto* event = reinterpret_cast<const inotify_event*>(events + at);
      if (event->len > 0) found.insert(event->name);  // 0: the folder itself
      at += static_cast<ssize_t>(sizeof *event + event->len);
    }
    return found;
  }

 private:
  int fd_;
};

// auto_map names Python beside the weights. Nothing but the weights and a few texts of fixed names
// is even opened.
TEST_F(Advisories, CodeBesideWeightsIsNotOpened) {
  write("model.safetensors",
        safetensors_file(R"({"w":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})",
                         std::string(8, '\0')));
  write("config.json", R"({"model_type":"llama","auto_map":{"AutoModel":"evil.Model"}})");
  for (const char* name : {"evil.py", "modeling_evil.py", "__init__.py", "pytorch_model.bin"})
    write(name, "raise SystemExit('ran')");
  const OpenedFiles opened(folder_);
  const auto model = Checkpoint::open(folder_);
  for (const std::string_view name : kSideFiles) model->side_file(name);
  EXPECT_THAT(opened.names(), testing::UnorderedElementsAre("model.safetensors", "config.json"));
}

// Sizes that come out small once they have passed 64 bits: a row's bytes, a tensor's, its end.
TEST_F(Advisories, SizesThatWrapAreRefused) {
  const auto with = [](const std::vector<uint64_t>& shape, uint32_t type, uint64_t offset) {
    std::string bytes("GGUF\3\0\0\0\1\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 24);
    const auto append = [&](auto value) {
      bytes.append(reinterpret_cast<const char*>(&value), sizeof value);
    };
    append(uint64_t{1});
    bytes += 'w';
    append(static_cast<uint32_t>(shape.size()));
    for (const uint64_t size : shape) append(size);
    append(type);
    append(offset);
    bytes.resize((bytes.size() + 31) / 32 * 32 + 64);
    return bytes;
  };
  constexpr uint32_t kF32 = 0, kQ4_0 = 2;
  EXPECT_NO_THROW(parse_gguf(as_bytes(with({16}, kF32, 0)), "m.gguf"));
  const std::vector<uint64_t> shapes[] = {{uint64_t{1} << 62},
                                          {(uint64_t{1} << 62) + 1},
                                          {uint64_t{1} << 63},
                                          {~uint64_t{0}},
                                          {uint64_t{1} << 32, uint64_t{1} << 32},
                                          {uint64_t{1} << 31, uint64_t{1} << 31, 4},
                                          {65536, 65536, 65536, 65536},
                                          {0xaaaaaaaaaaaaaac0, 2},
                                          // Below zero twice: few bytes, or a block, in all.
                                          {~uint64_t{0}, ~uint64_t{0}},
                                          {~uint64_t{31}, ~uint64_t{0}}};
  for (const auto& shape : shapes)
    for (const uint32_t type : {kF32, kQ4_0})
      EXPECT_THAT(refusal([&] { parse_gguf(as_bytes(with(shape, type, 0)), "m.gguf"); }),
                  StartsWith("m.gguf"))
          << shape[0];
  for (const uint64_t offset : {uint64_t{32}, uint64_t{1} << 62, ~uint64_t{0} - 31})
    EXPECT_THAT(refusal([&] { parse_gguf(as_bytes(with({16}, kF32, offset)), "m.gguf"); }),
                StartsWith("m.gguf"))
        << offset;
}

}  // namespace
}  // namespace weft::checkpoint
