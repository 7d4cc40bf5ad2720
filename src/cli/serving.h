// Requests driven through an engine's door, and when their tokens came.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "engine/engine.h"

namespace weft::cli {

enum class Batching {
  kContinuous,  // the engine lets requests in and out as it can
  // To compare with: so many at a time, the next ones only when all have ended.
  kStatic,      // rectangular: every slot is computed until the longest answer ends
  kStaticDrop,  // ended answers leave their slot, nobody takes it
};

struct ServingOptions {
  Batching batching = Batching::kContinuous;
  int64_t batch_size = 1;       // of static batches
  int64_t max_concurrency = 0;  // requests submitted and not ended; 0: all
  // After each step: how many requests ended in it.
  std::function<void(int64_t num_ended)> on_step = {};
};

// One request as it was served. Seconds since the run began.
struct Served {
  double arrived_s = 0;          // when the engine could have begun
  std::vector<double> tokens_s;  // [asked for] when each token came
  double ended_s = 0;
  int64_t prompt_tokens = 0, cached_tokens = 0;
};

struct ServingRun {
  std::vector<Served> requests;  // in the order given
  double seconds = 0;
};

// Answers all of them; one choice each. Throws the error of a request that fails.
ServingRun serve(engine::Engine& engine, const std::vector<engine::Request>& requests,
                 const ServingOptions& options);

}  // namespace weft::cli
