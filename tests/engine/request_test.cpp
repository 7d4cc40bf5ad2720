// What a request may ask for, how an answer ends, and that answers leave nothing behind.
#include <gmock/gmock.h>

#include <algorithm>
#include <limits>
#include <span>

#include "base/error.h"
#include "checkpoint/model_files.h"
#include "engine/patched_model.h"
#include "engine/tiny_engine.h"

namespace weft::engine {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

// ---- requests that cannot be served

std::string usage_error(Engine& engine, const Request& request) {
  try {
    engine.generate(request);
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kUsage);
    return error.summary();
  }
  ADD_FAILURE() << "the request was served";
  return "";
}

TEST(RequestErrors, NameBothNumbers) {
  SKIP_WITHOUT_TINY_MODELS();
  const auto engine = Engine::load(tiny_options(tiny_path("llama.F32")));
  EXPECT_THAT(usage_error(*engine, greedy({}, 4)), HasSubstr("empty"));
  const std::string too_long = usage_error(*engine, greedy(some_ids(201), 4));
  EXPECT_THAT(too_long, HasSubstr("201"));
  EXPECT_THAT(too_long, HasSubstr("200"));
  EXPECT_THAT(usage_error(*engine, greedy({3, 515}, 4)), HasSubstr("515"));
  EXPECT_THAT(usage_error(*engine, greedy({3, -1}, 4)), HasSubstr("-1"));
  EXPECT_THAT(usage_error(*engine, greedy({3}, 0)), HasSubstr("0"));
  EXPECT_THAT(usage_error(*engine, greedy({3}, -5)), HasSubstr("-5"));
  Request request = greedy({3}, 4);
  request.sampling.temperature = -0.5f;
  EXPECT_THAT(usage_error(*engine, request), HasSubstr("temperature"));
  request.sampling.temperature = std::numeric_limits<float>::quiet_NaN();
  EXPECT_THAT(usage_error(*engine, request), HasSubstr("temperature"));
  request = greedy({3}, 4);
  request.sampling.logprobs = 129;
  EXPECT_THAT(usage_error(*engine, request), AllOf(HasSubstr("129"), HasSubstr("logprobs")));
  request.sampling.logprobs.reset();
  request.sampling.prompt_logprobs = 129;
  EXPECT_THAT(usage_error(*engine, request), AllOf(HasSubstr("129"), HasSubstr("prompt_logprobs")));
  // and the engine still answers
  EXPECT_EQ(engine->generate(greedy({3}, 4)).token_ids.size(), 4u);
}

// Which option helps depends on what holds the context back.
TEST(RequestErrors, APromptThatIsTooLongIsToldWhatHelps) {
  SKIP_WITHOUT_TINY_MODELS();
  const auto mend = [](EngineOptions options, int64_t* length) {
    try {
      const auto engine = Engine::load(options);
      *length = engine->max_model_len();
      engine->generate(greedy(std::vector<int32_t>(static_cast<size_t>(*length) + 1, 5), 4));
    } catch (const Error& error) {
      return error.mend();
    }
    return std::string("it was served");
  };
  EngineOptions options = tiny_options(tiny_path("llama.F32"));
  const int64_t context = inspect(options).model.context_length;
  int64_t length = 0;
  EXPECT_THAT(mend(options, &length), HasSubstr("raise --max-model-len"));
  for (const int64_t asked : {context, int64_t{0}}) {
    options.max_model_len = asked;
    EXPECT_THAT(mend(options, &length),
                AllOf(HasSubstr("a longer context"), Not(HasSubstr("--max-model-len"))));
    EXPECT_EQ(length, context);
  }
  options.kv_cache_bytes = 100 * inspect(options).split.ranks[0].kv_bytes_per_token;
  EXPECT_THAT(mend(options, &length), HasSubstr("raise --kv-cache-memory-bytes"));
  EXPECT_LT(length, context);
}

TEST(RequestErrors, PromptsCanBeCheckedBeforeWeightsAreRead) {
  SKIP_WITHOUT_TINY_MODELS();
  int64_t loaded = 0;
  const auto refusal = [&](const std::vector<int32_t>& ids) {
    try {
      Engine::load(
          tiny_options(tiny_path("llama.F32")), [&](int64_t done, int64_t) { loaded = done; },
          [&](const OpenedModel& model) {
            EXPECT_EQ(model.max_model_len, 200);
            model.check_prompt(ids);
          });
    } catch (const Error& error) {
      return error.summary();
    }
    return std::string("loaded");
  };
  EXPECT_THAT(refusal(some_ids(201)), HasSubstr("201"));
  EXPECT_THAT(refusal({3, 515}), HasSubstr("515"));
  EXPECT_THAT(refusal({}), HasSubstr("empty"));
  EXPECT_EQ(loaded, 0);
  EXPECT_EQ(refusal(some_ids(200)), "loaded");
  EXPECT_GT(loaded, 0);
}

TEST(RequestErrors, OptionsAreChecked) {
  SKIP_WITHOUT_TINY_MODELS();
  const auto refused = [](auto&& change) {
    EngineOptions options = tiny_options(tiny_path("llama.F32"));
    change(options);
    try {
      Engine::load(options);
    } catch (const Error& error) {
      return error.kind();
    }
    return ErrorKind::kInternal;
  };
  EXPECT_EQ(refused([](auto& o) { o.max_model_len = 1 << 20; }), ErrorKind::kUsage);
  EXPECT_EQ(refused([](auto& o) { o.max_num_batched_tokens = 0; }), ErrorKind::kUsage);
  EXPECT_EQ(refused([](auto& o) { o.block_size = 17; }), ErrorKind::kUsage);
  EXPECT_EQ(refused([](auto& o) { o.kv_cache_bytes = 1000; }), ErrorKind::kMemory);
  EXPECT_EQ(refused([](auto& o) { o.topology.pipeline_parallel = "6"; }), ErrorKind::kUsage);
  EXPECT_EQ(refused([](auto& o) { o.model_path += ".absent"; }), ErrorKind::kModel);
}

// ---- how answers end

TEST(Answer, EndsAtMaxTokens) {
  SKIP_WITHOUT_TINY_MODELS();
  const auto engine = Engine::load(tiny_options(tiny_path("llama.F32")));
  const GenerationResult result = engine->generate(greedy(some_ids(9), 7));
  EXPECT_EQ(result.token_ids.size(), 7u);
  EXPECT_EQ(result.finish_reason, FinishReason::kLength);
  EXPECT_EQ(result.text, engine->tokenizer().decode(result.token_ids, false));
}

// The last position of the context still predicts a token.
TEST(Answer, EndsWithTheContext) {
  SKIP_WITHOUT_TINY_MODELS();
  const auto engine = Engine::load(tiny_options(tiny_path("llama.F32")));
  const GenerationResult full = engine->generate(greedy(some_ids(200), 50));
  EXPECT_EQ(full.token_ids.size(), 1u);
  EXPECT_EQ(full.finish_reason, FinishReason::kLength);
  EXPECT_EQ(engine->generate(greedy(some_ids(190), 50)).token_ids.size(), 11u);
}

class EndOfText : public checkpoint::FolderTest {};

// <|im_end|> is what the files name; <|endoftext|> is known by its spelling.
TEST(EndIds, AreThoseOfTheFilesAndThoseKnownByTheirSpelling) {
  SKIP_WITHOUT_TINY_MODELS();
  for (const std::string& path :
       {tiny_path("llama.F32"), std::string(tiny_folder()) + "/mistral.F32"}) {
    const ModelReport model = inspect(tiny_options(path)).model;
    EXPECT_THAT(model.end_ids, testing::ElementsAre(0, 2)) << path;
    EXPECT_EQ(model.eos_id, 2) << path;
  }
}

TEST_F(EndOfText, StopsUnlessIgnored) {
  SKIP_WITHOUT_TINY_MODELS();
  const std::string original = tiny_path("llama.F32");
  const auto plain = Engine::load(tiny_options(original))->generate(greedy(some_ids(9), 20));
  // The fifth token becomes the one that ends a text.
  const int32_t end_id = plain.token_ids[4];
  const auto first = std::find(plain.token_ids.begin(), plain.token_ids.end(), end_id);
  PatchedModel model(original);
  model.set_number("tokenizer.ggml.eos_token_id", static_cast<uint32_t>(end_id));
  const auto engine = Engine::load(tiny_options(model.write(folder_ / "model.gguf")));
  EXPECT_EQ(engine->model().eos_id, end_id);

  Request request = greedy(some_ids(9), 20);
  EXPECT_EQ(engine->generate(request).token_ids, plain.token_ids);
  request.sampling.ignore_eos = false;
  const GenerationResult stopped = engine->generate(request);
  EXPECT_EQ(stopped.finish_reason, FinishReason::kStop);
  EXPECT_EQ(stopped.token_ids, std::vector<int32_t>(plain.token_ids.begin(), first + 1));
  // The text is that before the end-of-text token.
  EXPECT_EQ(stopped.text,
            engine->tokenizer().decode(
                std::span(stopped.token_ids).first(stopped.token_ids.size() - 1), false));
}

// Three letters from inside `text`; random models also write bytes that are no characters.
std::string letters_inside(const std::string& text) {
  const auto is_letter = [](char c) { return c > ' ' && c <= '~'; };
  for (size_t at = 3; at + 3 < text.size(); ++at) {
    const std::string three = text.substr(at, 3);
    if (std::all_of(three.begin(), three.end(), is_letter) && text.find(three) == at) return three;
  }
  return "";
}

TEST(Answer, EndsAtAStopString) {
  SKIP_WITHOUT_TINY_MODELS();
  const auto engine = Engine::load(tiny_options(tiny_path("llama.F32")));
  Request request = greedy(some_ids(9), 60);
  const std::string text = engine->generate(request).text;
  const std::string stop = letters_inside(text);
  ASSERT_FALSE(stop.empty()) << text;
  request.sampling.stop = {"a string that does not come", stop};
  const GenerationResult stopped = engine->generate(request);
  EXPECT_EQ(stopped.finish_reason, FinishReason::kStop);
  EXPECT_EQ(stopped.text, text.substr(0, text.find(stop)));
  EXPECT_LT(stopped.token_ids.size(), 60u);
}

TEST(Answer, StreamsItsText) {
  SKIP_WITHOUT_TINY_MODELS();
  const auto engine = Engine::load(tiny_options(tiny_path("llama.F32")));
  std::string streamed;
  const GenerationResult result = engine->generate(greedy(some_ids(9), 30), [&](const auto& text) {
    streamed += text;
    return true;
  });
  EXPECT_FALSE(streamed.empty());
  EXPECT_EQ(streamed, result.text);
}

// ---- cancelling

TEST(Cancel, EndsTheAnswerAtTheNextToken) {
  SKIP_WITHOUT_TINY_MODELS();
  const auto engine = Engine::load(tiny_options(tiny_path("llama.F32")));
  int num_pieces = 0;
  const auto cancelled = engine->generate(greedy(some_ids(9), 100), [&](const std::string&) {
    if (++num_pieces == 3) engine->cancel();
    return true;
  });
  EXPECT_EQ(cancelled.finish_reason, FinishReason::kCancelled);
  EXPECT_EQ(num_pieces, 3);
  EXPECT_LT(cancelled.token_ids.size(), 100u);

  const auto refused =
      engine->generate(greedy(some_ids(9), 100), [](const std::string&) { return false; });
  EXPECT_EQ(refused.finish_reason, FinishReason::kCancelled);
  EXPECT_LT(refused.token_ids.size(), cancelled.token_ids.size());
  // A cancelled answer is no matter to the next one.
  const auto next = engine->generate(greedy(some_ids(9), 30));
  EXPECT_EQ(next.finish_reason, FinishReason::kLength);
}

// ---- one engine, many answers

// Two that say the same fill a block in the same step, which is the last: of the two copies one
// goes back, and nothing stays behind that is neither free nor kept for prefixes.
TEST(Engine, AccountsForEveryBlockWhenItIsIdle) {
  SKIP_WITHOUT_TINY_MODELS();
  for (const char* model : {"llama.Q4_1", "gemma3.BF16"}) {
    const auto engine = Engine::load(tiny_options(tiny_path(model)));
    for (int i = 0; i < 2; ++i) engine->submit(greedy(some_ids(20), 13));  // 32 are computed
    while (engine->step({})) {
    }
    const EngineStats stats = engine->stats();
    EXPECT_EQ(stats.num_free_blocks + stats.num_idle_blocks, stats.num_blocks) << model;
    EXPECT_EQ(stats.num_free_window_blocks + stats.num_idle_window_blocks, stats.num_window_blocks);
  }
}

TEST(Engine, ForgetsEarlierRequests) {
  SKIP_WITHOUT_TINY_MODELS();
  for (const char* model : {"llama.Q4_1", "gemma3.BF16"}) {
    for (const int tp : {1, 3}) {
      EngineOptions options = tiny_options(tiny_path(model));
      options.topology.tensor_parallel_size = tp;
      const auto fresh = Engine::load(options)->generate(greedy(some_ids(60), 20));
      const auto used = Engine::load(options);
      used->generate(greedy(some_ids(180, 3), 20));
      used->generate(greedy(some_ids(1, 9), 1));
      used->generate(greedy(some_ids(33, 4), 50), [](const std::string&) { return false; });
      const auto again = used->generate(greedy(some_ids(60), 20));
      EXPECT_EQ(again.token_ids, fresh.token_ids) << model << " tp " << tp;
      EXPECT_EQ(again.logits_hash, fresh.logits_hash) << model << " tp " << tp;
    }
  }
}

}  // namespace
}  // namespace weft::engine
