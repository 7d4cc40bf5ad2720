// The promise, tested: the same prompt gives the same bits under every topology, batch, chunking,
// placement, thread count and kernel table. Not one tolerance in this file.
//
// Real models are looked for in $WEFT_TEST_MODELS, tiny ones in $WEFT_TINY_MODELS
// (`make test` fetches and makes both). ctest runs the cases of a model in one process, or in a
// few (tests/parity/CMakeLists.txt), so that they share that model's references.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <ostream>
#include <string_view>

#include "parity/cases.h"

namespace weft::parity {
namespace {

struct Param {
  std::string folder_variable;  // environment variable that names the folder
  std::string file;
  std::string words;
};

void PrintTo(const Param& param, std::ostream* out) { *out << param.file << ", " << param.words; }

std::string name_of(const testing::TestParamInfo<Param>& info) {
  std::string name = info.param.file + "_" + info.param.words;
  for (char& c : name) {
    if (std::isalnum(static_cast<unsigned char>(c)) == 0) c = '_';
  }
  return name;
}

// The answer of one rank, one thread, one chunk, computed once a model and kind of work.
const Answer& reference(const std::string& path, const Case& c) {
  static std::map<std::string, Answer> known;
  const std::string key =
      fmt::format("{} {} {} {} {}", path, c.work.temperature, c.work.prompt_tokens,
                  c.work.prompt_logprobs, static_cast<int>(c.options.kv_type));
  auto it = known.find(key);
  if (it == known.end()) {
    Case plain = parse_case("tp1 chunk512", path);
    plain.work = c.work;
    plain.options.max_model_len = c.options.max_model_len;
    plain.options.kv_type = c.options.kv_type;
    plain.options.window_groups = false;  // every layer keeps everything
    auto engine = engine::Engine::load(plain.options);
    it = known.emplace(key, answer(*engine, plain.work)).first;
  }
  return it->second;
}

class Parity : public testing::TestWithParam<Param> {};

TEST_P(Parity, SameBits) {
  const char* folder = std::getenv(GetParam().folder_variable.c_str());
  if (folder == nullptr) GTEST_SKIP() << GetParam().folder_variable << " is not set";
  const std::string path = std::string(folder) + "/" + GetParam().file;
  ASSERT_TRUE(std::filesystem::exists(path)) << path;
  const Case c = parse_case(GetParam().words, path);
  if (c.options.isa && kernels::table_for(*c.options.isa) == nullptr)
    GTEST_SKIP() << "this processor cannot run " << GetParam().words;
  const Answer& expected = reference(path, c);
  auto engine = engine::Engine::load(c.options);
  const Answer got = answer(*engine, c.work);
  EXPECT_EQ(got.logits_hash, expected.logits_hash);
  EXPECT_EQ(got.token_ids, expected.token_ids);
  EXPECT_EQ(got.logprob_bits, expected.logprob_bits);
  EXPECT_EQ(got.text, expected.text);
  EXPECT_EQ(static_cast<int64_t>(got.token_ids.size()), c.work.generated_tokens);
}

// Topologies of a real model, split by its number of layers.
std::vector<std::string> real_cases(int64_t num_layers) {
  std::vector<std::string> cases;
  for (int tp = 1; tp <= 8; ++tp) {
    cases.push_back(fmt::format("tp{} threads1", tp));
    cases.push_back(fmt::format("tp{} threads2 chunk64", tp));
  }
  const std::string by_hand =
      fmt::format("pp={},{},4", (num_layers - 4) / 2, num_layers - 4 - (num_layers - 4) / 2);
  const std::string stages = fmt::format("stages={}@1,{}@3,4@2", num_layers / 2 - 3,
                                         num_layers - 4 - (num_layers / 2 - 3));
  for (const std::string& words : {std::string("tp1 threads3"),
                                   std::string("tp1 threads4"),
                                   std::string("pp2"),
                                   std::string("pp3 chunk16"),
                                   by_hand,
                                   by_hand + " dedicated chunk64",
                                   fmt::format("pp{}", num_layers),
                                   std::string("tp3 pp2"),
                                   std::string("tp2 pp3 chunk7"),
                                   std::string("tp5 pp4 threads2"),
                                   std::string("tp8 pp2 chunk16"),
                                   std::string("weights=2,1,1"),
                                   std::string("weights=3,1 chunk16"),
                                   std::string("weights=1,2,3 pp2"),
                                   stages,
                                   stages + " dedicated",
                                   stages + " chunk16 threads2",
                                   std::string("tp1 chunk1"),
                                   std::string("tp1 chunk7"),
                                   std::string("tp1 chunk16"),
                                   std::string("tp1 chunk64"),
                                   std::string("tp3 chunk1"),
                                   std::string("tp3 chunk7 dedicated"),
                                   std::string("tp3 chunk16"),
                                   std::string("tp7 chunk7 threads3 pp2"),
                                   std::string("tp4 dedicated"),
                                   std::string("tp2 pooled threads3"),
                                   std::string("tp6 dedicated threads2 chunk64"),
                                   std::string("tp3 block32"),
                                   std::string("tp2 block64 chunk7"),
                                   std::string("tp3 isa=avx2"),
                                   std::string("tp2 pp2 isa=avx2 chunk16"),
                                   std::string("tp1 kvf32 chunk16"),
                                   std::string("tp5 kvf32"),
                                   std::string("tp4 kvf16 chunk7"),
                                   std::string("pp2 kvf16"),
                                   std::string("tp1 kvq8 chunk16"),
                                   std::string("tp5 pp2 kvq8"),
                                   std::string("tp3 threads2 kvq8 chunk7 isa=avx2"),
                                   std::string("long norows tp2 kvq8 chunk256"),
                                   std::string("tp1 t0.8 chunk7"),
                                   std::string("tp3 t0.8"),
                                   std::string("tp7 pp2 t0.8"),
                                   std::string("tp12"),
                                   std::string("tp16 pp2"),
                                   std::string("long norows tp3 pp2 chunk64"),
                                   std::string("long tp2 chunk256"),
                                   std::string("norows tp4 chunk7 dedicated"),
                                   std::string("norows tp1 chunk1")})
    cases.push_back(words);
  return cases;
}

bool runs_all() { return std::getenv("WEFT_FULL_TESTS") != nullptr; }

// `make test-full`: every small model, and both real ones, under each of these besides their own.
const std::vector<std::string>& full_cases() {
  static const std::vector<std::string> cases =
      !runs_all() ? std::vector<std::string>{}
                  : std::vector<std::string>{
                        "tp2 dedicated chunk1",        "tp3 pooled chunk16 threads2",
                        "tp4 dedicated chunk64 kvf16", "tp5 pp2 dedicated",
                        "tp6 pooled norows chunk7",    "tp7 dedicated threads2 norows",
                        "tp8 pooled isa=avx2",         "weights=5,3,2 dedicated chunk16",
                        "tp9 pp2 pooled t0.8",         "tp16 pooled kvf32 chunk64"};
  return cases;
}

std::vector<Param> real_params() {
  std::vector<Param> params;
  const std::pair<const char*, int64_t> models[] = {{"SmolLM2-135M-Instruct.Q4_1.gguf", 30},
                                                    {"gemma-3-270m.Q4_K_M.gguf", 18}};
  for (const auto& [file, num_layers] : models) {
    // Of Gemma's, which take twice as long, every third but in `make test-full`, from the second
    // on, so that long prompts are among them. The tiny models of that family are in many more.
    const bool thinned = std::string_view(file).starts_with("gemma") && !runs_all();
    const std::vector<std::string> cases = real_cases(num_layers);
    for (size_t i = thinned ? 1 : 0; i < cases.size(); i += thinned ? 3 : 1)
      params.push_back({"WEFT_TEST_MODELS", file, cases[i]});
    for (const std::string& words : full_cases())
      params.push_back({"WEFT_TEST_MODELS", file, words});
  }
  return params;
}

// tests/parity/tiny_models.txt: "preset type: case; case; …" a line; '#' begins a comment.
std::vector<Param> tiny_params() {
  std::vector<Param> params;
  std::ifstream list(WEFT_SOURCE_DIR "/tests/parity/tiny_models.txt");
  for (std::string line; std::getline(list, line);) {
    if (line.empty() || line[0] == '#') continue;
    const size_t space = line.find(' '), colon = line.find(": ");
    if (space == std::string::npos || colon == std::string::npos)
      throw std::invalid_argument("tests/parity/tiny_models.txt: " + line);
    const std::string file =
        fmt::format("{}.{}.gguf", line.substr(0, space), line.substr(space + 1, colon - space - 1));
    for (size_t begin = colon + 2; begin < line.size();) {
      const size_t end = std::min(line.find("; ", begin), line.size());
      params.push_back({"WEFT_TINY_MODELS", file, line.substr(begin, end - begin)});
      begin = end + 2;
    }
    for (const std::string& words : full_cases())
      params.push_back({"WEFT_TINY_MODELS", file, words});
  }
  return params;
}

INSTANTIATE_TEST_SUITE_P(Real, Parity, testing::ValuesIn(real_params()), name_of);
INSTANTIATE_TEST_SUITE_P(Tiny, Parity, testing::ValuesIn(tiny_params()), name_of);

}  // namespace
}  // namespace weft::parity
