// weft pack, from the engine's side: the split of a packed model, what is refused, and that neither
// the source nor memory for weights is needed afterwards. (tests/parity/packed_test.cpp compares
// the bits.)
#include "engine/packing.h"

#include <gmock/gmock.h>

#include <fstream>

#include "base/error.h"
#include "checkpoint/model_files.h"
#include "checkpoint/packed_checkpoint.h"
#include "engine/tiny_engine.h"

namespace weft::engine {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

class Packing : public checkpoint::FolderTest {
 protected:
  PackRequest request(const std::string& model, parallel::TopologyRequest topology) const {
    PackRequest request;
    request.engine = tiny_options(model);
    request.engine.topology = std::move(topology);
    request.folder = folder_ / "out.packed";
    return request;
  }
  std::string packed(parallel::TopologyRequest topology) const {
    return pack(request(tiny_path("llama.Q4_0"), std::move(topology))).folder;
  }
  static std::string usage_error(const std::function<void()>& run) {
    try {
      run();
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::kUsage);
      return error.what();
    }
    return "nothing was refused";
  }
};

TEST_F(Packing, ReportsWhatItWrote) {
  SKIP_WITHOUT_TINY_MODELS();
  int64_t last = 0, total = 0;
  const PackReport report = pack(request(tiny_path("llama.Q4_0"), {.tensor_parallel_size = 3}),
                                 [&](int64_t done, int64_t all) {
                                   EXPECT_LT(last, done);
                                   last = done;
                                   total = all;
                                   return true;
                                 });
  EXPECT_EQ(last, total);
  EXPECT_EQ(total, report.packed_bytes);
  EXPECT_EQ(report.topology, "tp=3");
  EXPECT_EQ(report.num_ranks, 3);
  EXPECT_EQ(report.model_bytes, static_cast<int64_t>(fs::file_size(tiny_path("llama.Q4_0"))));
  const SplitReport split = inspect(tiny_options(report.folder)).split;
  EXPECT_EQ(split.topology, "tp=3");
  EXPECT_EQ(split.ranks.size(), 3u);
}

TEST_F(Packing, TheSourceIsNotNeededAfterwards) {
  SKIP_WITHOUT_TINY_MODELS();
  const fs::path source = folder_ / "source.gguf";
  fs::copy_file(tiny_path("llama.Q4_0"), source);
  const auto expected = Engine::load(tiny_options(source))->generate(greedy(some_ids(20), 8));
  const std::string folder = pack(request(source, {.tp_weights = "2,1"})).folder;
  fs::remove(source);
  const auto engine = Engine::load(tiny_options(folder));
  EXPECT_EQ(engine->split().topology, "tp-weights=2,1");
  const auto got = engine->generate(greedy(some_ids(20), 8));
  EXPECT_EQ(got.token_ids, expected.token_ids);
  EXPECT_EQ(got.logits_hash, expected.logits_hash);
}

TEST_F(Packing, AnotherSplitIsAUsageErrorThatSaysHow) {
  SKIP_WITHOUT_TINY_MODELS();
  EngineOptions options =
      tiny_options(packed({.tensor_parallel_size = 3, .pipeline_parallel = "2"}));
  EXPECT_EQ(inspect(options).split.topology, "tp=3 pp=2,2");
  options.topology = {.tensor_parallel_size = 3, .pipeline_parallel = "2"};
  EXPECT_EQ(inspect(options).split.topology, "tp=3 pp=2");
  options.topology = {.stages = "2@3,2@3"};  // the same cut in other words
  EXPECT_EQ(inspect(options).split.ranks.size(), 6u);
  for (const parallel::TopologyRequest& other :
       {parallel::TopologyRequest{.tensor_parallel_size = 3},
        {.tp_weights = "2,1,1"},
        {.stages = "1@3,3@3"},
        {.tensor_parallel_size = 3, .pipeline_parallel = "3,1"}}) {
    options.topology = other;
    const std::string text = usage_error([&] { inspect(options); });
    EXPECT_THAT(text, HasSubstr("was packed for tp=3 pp=2,2, not for"));
    EXPECT_THAT(text, HasSubstr("pack llama.Q4_0.gguf again: weft pack MODEL --"));
    EXPECT_EQ(usage_error([&] { Engine::load(options); }), text);
  }
}

// Balanced layers are kept as they came out, so that a balance that weighs otherwise moves none of
// them; asking for a balance is asking for layers.
TEST_F(Packing, KeepsTheLayersThatABalanceGave) {
  SKIP_WITHOUT_TINY_MODELS();
  constexpr auto kPrefill = parallel::PipelineBalance::kPrefill;
  const std::string source = tiny_path("layers29.Q8_0");
  const PackReport report = pack(request(source, {.pipeline_parallel = "2", .balance = kPrefill}));
  EXPECT_EQ(report.topology, "pp=2 pp-balance=prefill");
  std::ifstream file(fs::path(report.folder) / "packed.json");
  const std::string manifest{std::istreambuf_iterator<char>(file), {}};
  EXPECT_THAT(manifest, HasSubstr(R"("pipeline_parallel": "15,14")"));
  EngineOptions options = tiny_options(report.folder);
  for (const parallel::TopologyRequest& same : {parallel::TopologyRequest{},
                                                {.balance = kPrefill},
                                                {.pipeline_parallel = "2", .balance = kPrefill},
                                                {.pipeline_parallel = "15,14"}}) {
    options.topology = same;
    EXPECT_EQ(inspect(options).split.ranks.at(0).layers.size(), 15);
  }
  PackRequest by_hand = request(source, {.pipeline_parallel = "20,9"});
  by_hand.folder = folder_ / "hand.packed";
  options.model_path = pack(by_hand).folder;
  options.topology = {.balance = kPrefill};
  EXPECT_THAT(usage_error([&] { inspect(options); }),
              testing::AllOf(HasSubstr("was packed for pp=20,9, not for pp=2 pp-balance=prefill"),
                             HasSubstr("--pp 2 --pp-balance prefill")));
}

TEST_F(Packing, APackedModelIsNotPackedAgain) {
  SKIP_WITHOUT_TINY_MODELS();
  const std::string folder = packed({});
  PackRequest again = request(folder, {});
  again.folder = folder_ / "again.packed";
  EXPECT_THAT(usage_error([&] { pack(again); }), HasSubstr("is packed already"));
  EXPECT_FALSE(fs::exists(again.folder));
}

TEST_F(Packing, StoppingLeavesNothing) {
  SKIP_WITHOUT_TINY_MODELS();
  int calls = 0;
  const PackReport report = pack(request(tiny_path("llama.Q4_0"), {.tensor_parallel_size = 2}),
                                 [&](int64_t, int64_t) { return ++calls < 20; });
  EXPECT_TRUE(report.stopped);
  EXPECT_EQ(calls, 20);
  EXPECT_TRUE(fs::is_empty(folder_));
}

// A manifest whose split is not that of its panels: every rank's table says so.
TEST_F(Packing, PanelsOfAnotherSplitAreRefused) {
  SKIP_WITHOUT_TINY_MODELS();
  const fs::path folder = packed({.tensor_parallel_size = 2});
  std::ifstream file(folder / "packed.json");
  const std::string manifest{std::istreambuf_iterator<char>(file), {}};
  const auto refused_as = [&](const std::string& from, const std::string& to) {
    std::string changed = manifest;
    const size_t at = changed.find(from);
    EXPECT_NE(at, std::string::npos) << from;
    std::ofstream(folder / "packed.json") << changed.replace(at, from.size(), to);
    return checkpoint::refusal([&] { Engine::load(tiny_options(folder)); });
  };
  EXPECT_THAT(refused_as("\"tensor_parallel_size\": 2", "\"tensor_parallel_size\": 3"),
              HasSubstr("lists 2 ranks, its split tp=3 has 3"));
  EXPECT_THAT(refused_as("\"tensor_parallel_size\": 2", "\"tensor_parallel_size\": 65"),
              HasSubstr("the split cannot be"));
  EXPECT_THAT(refused_as("\"tp_weights\": \"\"", "\"tp_weights\": \"3,1\""),
              testing::AnyOf(HasSubstr("rows"), HasSubstr("holds panels of")));
  EXPECT_THAT(refused_as("\"tensor_parallel_size\": 2", "\"tensor_parallel_size\": 1"),
              HasSubstr("lists 2 ranks"));
  // A matrix in place of a vector would have no bytes.
  EXPECT_THAT(refused_as("\"name\": \"blk.0.attn_q.weight\"", "\"name\": \"blk.9.attn_q.weight\""),
              HasSubstr("blk.0.attn_q.weight"));
}

TEST_F(Packing, VerifyingFindsAChangedByteOfAnyRank) {
  SKIP_WITHOUT_TINY_MODELS();
  const fs::path folder = packed({.tensor_parallel_size = 3});
  int64_t last = 0, total = 0;
  const VerifyReport report = verify_packed(folder, 2, [&](int64_t done, int64_t all) {
    EXPECT_LT(last, done);
    last = done;
    total = all;
    return true;
  });
  EXPECT_EQ(report.num_ranks, 3);
  EXPECT_EQ(report.num_bytes, last);
  EXPECT_EQ(last, total);
  EXPECT_FALSE(report.stopped);
  EXPECT_TRUE(verify_packed(folder, 2, [](int64_t, int64_t) { return false; }).stopped);
  for (const char* name : {"rank-0000.panels", "rank-0002.panels"}) {
    const auto checkpoint = checkpoint::Checkpoint::open(folder);
    const size_t rank = name[8] == '0' ? 0 : 2;
    const checkpoint::PanelEntry entry = checkpoint->packed()->ranks.at(rank).entries().back();
    std::fstream file(folder / name, std::ios::in | std::ios::out | std::ios::binary);
    file.seekg(entry.bytes.end - 1);
    const auto byte = static_cast<char>(file.get());
    const auto put = [&](char value) {
      file.seekp(entry.bytes.end - 1);
      file.put(value).flush();
    };
    put(static_cast<char>(byte ^ 4));
    EXPECT_THAT(checkpoint::refusal([&] { verify_packed(folder, 1); }),
                testing::AllOf(HasSubstr(name), HasSubstr(entry.tensor)));
    put(byte);
  }
  EXPECT_EQ(verify_packed(folder, 1).num_bytes, total);
  EXPECT_THAT(usage_error([] { verify_packed(tiny_path("llama.Q4_0"), 1); }),
              HasSubstr("is no packed model"));
}

// Nothing of a run's memory, and not the number of threads, is in what is written.
TEST_F(Packing, AnyNumberOfThreadsWritesTheSameBytes) {
  SKIP_WITHOUT_TINY_MODELS();
  std::vector<fs::path> folders;
  for (const int threads : {1, 3}) {
    PackRequest each = request(tiny_path("llama.Q4_0"), {.tensor_parallel_size = 3});
    each.engine.threads_per_rank = threads;
    each.folder = folder_ / std::to_string(threads);
    folders.emplace_back(pack(each).folder);
  }
  const auto bytes_of = [](const fs::path& path) {
    std::ifstream file(path, std::ios::binary);
    return std::string{std::istreambuf_iterator<char>(file), {}};
  };
  int num_files = 0;
  for (const auto& entry : fs::directory_iterator(folders[0])) {
    EXPECT_TRUE(bytes_of(entry.path()) == bytes_of(folders[1] / entry.path().filename()))
        << entry.path();
    ++num_files;
  }
  EXPECT_EQ(num_files, 5);
}

TEST_F(Packing, NamesItsFolderAfterModelAndSplit) {
  SKIP_WITHOUT_TINY_MODELS();
  const fs::path before = fs::current_path();
  fs::current_path(folder_);
  PackRequest named =
      request(tiny_path("llama.Q4_0"), {.tensor_parallel_size = 2, .pipeline_parallel = "3,1"});
  named.folder.clear();
  const PackReport report = pack(named);
  EXPECT_EQ(report.folder, "llama.Q4_0.tp2-pp3,1.packed");
  EXPECT_TRUE(fs::exists(folder_ / report.folder / "packed.json"));
  fs::current_path(before);
}

}  // namespace
}  // namespace weft::engine
