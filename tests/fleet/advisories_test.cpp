// What broke elsewhere, tried on an engine with its ranks: docs/advisories.md says which advisory
// each test stands for.
#include <gtest/gtest.h>

#include <filesystem>
#include <set>
#include <string>
#include <system_error>

#include "engine/tiny_engine.h"
#include "fleet/collected.h"
#include "fleet/local_engine.h"

namespace weft::fleet {
namespace {

using engine::tiny_folder;

// Sockets of this process, whatever they are for.
std::set<std::string> sockets() {
  std::set<std::string> found;
  for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) {
    std::error_code gone;
    const std::string target = std::filesystem::read_symlink(entry.path(), gone);
    if (target.starts_with("socket:")) found.insert(target);
  }
  return found;
}

// Others' ranks took addresses and sizes from whoever reached their port.
TEST(AdvisoriesOfEngines, RanksOfOneProcessTalkOverNoSocket) {
  SKIP_WITHOUT_TINY_MODELS();
  const std::set<std::string> before = sockets();
  LocalEngineOptions options{"tiny", "fp_0", engine::tiny_options(engine::tiny_path("llama.F32"))};
  options.engine.topology.tensor_parallel_size = 2;
  const auto client = LocalEngine::start(
      std::move(options), [](const engine::EngineOptions& o) { return engine::Engine::load(o); });
  Generate request;
  request.prompt_ids = engine::some_ids(40, 5);
  request.sampling = engine::greedy({1}, 4).sampling;
  Collected answer;
  client->generate(std::move(request), answer.on_event());
  ASSERT_TRUE(answer.wait_until_ended());
  EXPECT_EQ(answer.token_ids().size(), 4u);
  EXPECT_EQ(sockets(), before);
}

}  // namespace
}  // namespace weft::fleet
