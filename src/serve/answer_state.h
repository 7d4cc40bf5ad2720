// An answer as far as its events have told it, kept as the engine itself keeps it.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "engine/request.h"
#include "fleet/engine_client.h"

namespace weft::serve {

// What every object of one answer repeats.
struct AnswerHead {
  std::string id;  // "chatcmpl-..."
  int64_t created = 0;
  std::string model, fingerprint;
};

// One prompt of a body and its answers.
struct AnsweredPart {
  std::vector<int32_t> prompt_ids;
  engine::RequestState state;  // choices: [n]
};

// num_choices: n of the body.
AnsweredPart make_part(std::vector<int32_t> prompt_ids, int64_t num_choices);
void apply_event(const fleet::Event& event, AnsweredPart* part);

}  // namespace weft::serve
