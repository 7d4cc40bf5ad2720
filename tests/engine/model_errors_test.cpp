// Files whose tensors do not fit their own metadata: refused before a weight is read, naming the
// tensor and both shapes.
#include <gmock/gmock.h>

#include "base/error.h"
#include "checkpoint/model_files.h"
#include "engine/patched_model.h"
#include "engine/tiny_engine.h"

namespace weft::engine {
namespace {

using testing::AllOf;
using testing::HasSubstr;

class ModelErrors : public checkpoint::FolderTest {
 protected:
  // What loading and inspecting llama.F32 says where a number of its metadata is another.
  std::string refused(const std::string& key, uint32_t value) {
    PatchedModel model(tiny_path("llama.F32"));
    model.set_number(key, value);
    const EngineOptions options = tiny_options(model.write(folder_ / "model.gguf"));
    const std::string text = checkpoint::refusal([&] { Engine::load(options); });
    EXPECT_EQ(checkpoint::refusal([&] { inspect(options); }), text);
    return text;
  }
};

TEST_F(ModelErrors, NameTheTensorAndBothShapes) {
  SKIP_WITHOUT_TINY_MODELS();
  EXPECT_THAT(refused("llama.feed_forward_length", 640),
              AllOf(HasSubstr("ffn_gate.weight"), HasSubstr("512 x 256"), HasSubstr("640 x 256")));
  EXPECT_THAT(refused("llama.attention.head_count_kv", 2),
              AllOf(HasSubstr("attn_k.weight"), HasSubstr("128 x 256"), HasSubstr("64 x 256")));
  EXPECT_THAT(refused("llama.block_count", 5), HasSubstr("blk.4."));
  EXPECT_THAT(refused("llama.attention.head_count", 0), HasSubstr("head_count"));
}

// A file that ends in the middle of its weights.
TEST_F(ModelErrors, TruncatedFilesAreRefused) {
  SKIP_WITHOUT_TINY_MODELS();
  const std::filesystem::path copy = folder_ / "model.gguf";
  std::filesystem::copy_file(tiny_path("llama.F32"), copy);
  std::filesystem::resize_file(copy, std::filesystem::file_size(copy) / 2);
  EXPECT_THAT(checkpoint::refusal([&] { Engine::load(tiny_options(copy)); }),
              HasSubstr("model.gguf"));
}

}  // namespace
}  // namespace weft::engine
