// A model opened but not loaded: the file, its configuration, its tokenizer and chat template.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "checkpoint/checkpoint.h"
#include "engine/engine.h"
#include "model/config.h"
#include "text/text.h"

namespace weft::engine {

struct ModelSource {
  std::unique_ptr<checkpoint::Checkpoint> checkpoint;
  model::ModelConfig config;
  std::unique_ptr<text::Tokenizer> tokenizer;
  std::unique_ptr<text::ChatTemplate> chat_template;  // null where the model ships none
  std::vector<int32_t> end_ids;                       // as of ModelReport
  int32_t eos_id = -1;
};

// Reads metadata; touches no weight. Throws Error(kModel).
ModelSource open_model(const std::string& path);

// What the file says of itself, for `inspect` and the banner.
ModelReport report_model(const ModelSource& source);

}  // namespace weft::engine
