// A prompt's vector is what the head reads: its products with the head's rows are the logits.
#include <gmock/gmock.h>

#include <cmath>

#include "checkpoint/checkpoint.h"
#include "engine/tiny_engine.h"

namespace weft::engine {
namespace {

std::vector<float> vector_of(Engine& engine, const std::vector<int32_t>& ids, Pooling pooling) {
  Request request;
  request.prompt_ids = ids;
  request.pooling = pooling;
  engine.submit(std::move(request));
  std::vector<float> vector;
  while (engine.step([&](const RequestEvent& event) { vector = event.request.embedding; })) {
  }
  return vector;
}

TEST(Embedding, IsWhatTheHeadReads) {
  SKIP_WITHOUT_TINY_MODELS();
  const std::string path = tiny_path("llama.F32");
  const auto engine = Engine::load(tiny_options(path));
  const std::vector<int32_t> ids = some_ids(50);
  Request whole = greedy(ids, 1);
  whole.full_prompt_logits = true;
  const std::vector<std::vector<float>> logits = engine->generate(whole).prompt_logits;
  ASSERT_EQ(logits.size(), ids.size());
  const std::vector<float> mean = vector_of(*engine, ids, Pooling::kMean);
  const std::vector<float> last = vector_of(*engine, ids, Pooling::kLast);
  const auto model = checkpoint::Checkpoint::open(path);
  const tensor::RawTensor* head = model->find("output.weight");
  if (head == nullptr) head = &model->require("token_embd.weight");
  ASSERT_EQ(head->dtype, tensor::DType::kF32);
  ASSERT_EQ(static_cast<int64_t>(last.size()), head->num_cols());
  const auto* rows = reinterpret_cast<const float*>(head->data);
  for (size_t id = 0; id < static_cast<size_t>(head->num_rows()); id += 37) {
    double of_last = 0, of_mean = 0, mean_logit = 0;
    for (size_t i = 0; i < last.size(); ++i) {
      of_last += static_cast<double>(rows[id * last.size() + i]) * last[i];
      of_mean += static_cast<double>(rows[id * last.size() + i]) * mean[i];
    }
    for (const std::vector<float>& row : logits) mean_logit += row[id] / double(logits.size());
    EXPECT_NEAR(of_last, logits.back()[id], 1e-3 * (1 + std::abs(of_last)));
    EXPECT_NEAR(of_mean, mean_logit, 1e-3 * (1 + std::abs(of_mean)));
  }
}

TEST(Embedding, RefusesWhatHasNoMeaningForAVector) {
  SKIP_WITHOUT_TINY_MODELS();
  const auto engine = Engine::load(tiny_options(tiny_path("llama.F32")));
  Request request;
  request.prompt_ids = some_ids(5);
  request.pooling = Pooling::kMean;
  request.sampling.n = 2;
  EXPECT_THROW(engine->submit(request), Error);
  request.sampling.n = 1;
  request.sampling.prompt_logprobs = 1;
  EXPECT_THROW(engine->submit(request), Error);
}

}  // namespace
}  // namespace weft::engine
