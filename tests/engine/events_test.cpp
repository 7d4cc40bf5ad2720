// What on_event may do to the requests whose news it is told: cancel them, and each other.
#include <gtest/gtest.h>

#include <map>
#include <stdexcept>

#include "engine/tiny_engine.h"

namespace weft::engine {
namespace {

Request sampled(uint64_t seed, int64_t n, int64_t max_tokens) {
  Request request;
  request.prompt_ids = some_ids(20, static_cast<int32_t>(seed));
  request.sampling.n = n;
  request.sampling.seed = seed;
  request.sampling.max_tokens = max_tokens;
  request.sampling.ignore_eos = true;
  return request;
}

// Steps to the end; how many last events each request had.
std::map<uint64_t, int> ends(Engine& engine, const OnEvent& on_event) {
  std::map<uint64_t, int> ends;
  int64_t most = 1000;
  while (engine.step([&](const RequestEvent& event) {
    if (event.request.ended) ++ends[event.request.id];
    on_event(event);
  })) {
    if (--most < 0) {
      ADD_FAILURE() << "no end in sight";
      break;
    }
  }
  return ends;
}

// Each is on the list of news when the other cancels it, told already or yet to be told.
TEST(Events, MayCancelEachOther) {
  SKIP_WITHOUT_TINY_MODELS();
  const auto engine = Engine::load(tiny_options(tiny_path("llama.F32")));
  for (int round = 0; round < 8; ++round) {
    const uint64_t a = engine->submit(sampled(1, 1, 20)), b = engine->submit(sampled(2, 1, 20));
    const auto found = ends(*engine, [&](const RequestEvent& event) {
      const Choice& choice = event.request.choices.front();
      if (choice.token_ids.size() >= 4) engine->cancel(event.request.id == a ? b : a);
    });
    EXPECT_EQ(found, (std::map<uint64_t, int>{{a, 1}, {b, 1}}));
  }
}

TEST(Events, MayCancelWhatHasJustEnded) {
  SKIP_WITHOUT_TINY_MODELS();
  const auto engine = Engine::load(tiny_options(tiny_path("llama.F32")));
  for (int round = 0; round < 8; ++round) {
    const uint64_t a = engine->submit(sampled(1, 1, 3));
    const auto found = ends(*engine, [&](const RequestEvent& event) {
      if (event.request.ended) engine->cancel(a);
    });
    EXPECT_EQ(found, (std::map<uint64_t, int>{{a, 1}}));
  }
}

// The first choice ends by a stop token; its event cancels the others, which then have their last.
TEST(Events, MayCancelTheOtherChoices) {
  SKIP_WITHOUT_TINY_MODELS();
  const auto engine = Engine::load(tiny_options(tiny_path("llama.F32")));
  std::vector<int32_t> first;
  engine->submit(sampled(1, 2, 8));
  ends(*engine, [&](const RequestEvent& e) { first = e.request.choices[0].token_ids; });
  ASSERT_EQ(first.size(), 8u);
  Request request = sampled(1, 2, 8);
  request.sampling.stop_token_ids = {first[3]};
  const uint64_t id = engine->submit(request);
  FinishReason last = FinishReason::kStop;
  const auto found = ends(*engine, [&](const RequestEvent& event) {
    if (event.request.choices[event.choice].finish == FinishReason::kStop) engine->cancel(id);
    if (event.request.ended) last = event.request.choices[1].finish.value();
  });
  EXPECT_EQ(found, (std::map<uint64_t, int>{{id, 1}}));
  EXPECT_EQ(last, FinishReason::kCancelled);
}

TEST(Events, MayThrow) {
  SKIP_WITHOUT_TINY_MODELS();
  const auto engine = Engine::load(tiny_options(tiny_path("llama.F32")));
  const uint64_t a = engine->submit(sampled(1, 1, 3)), b = engine->submit(sampled(2, 1, 3));
  EXPECT_THROW(engine->step([](const RequestEvent&) { throw std::runtime_error("full disk"); }),
               std::runtime_error);
  EXPECT_EQ(ends(*engine, [](const RequestEvent&) {}), (std::map<uint64_t, int>{{a, 1}, {b, 1}}));
}

}  // namespace
}  // namespace weft::engine
