// The options that say which model is loaded and how it is split: the same for every command that
// holds a model.
#pragma once

#include <string>

#include "base/options.h"
#include "engine/engine.h"

namespace weft::cli {

struct ModelOptions {
  std::string model;  // as typed: a path, or a name of the catalogue
  engine::EngineOptions engine;
  std::string placement = "auto", kv_cache_dtype = "f32";
  int64_t timeout_s = 60;

  // Adds MODEL and the groups "Splitting" and "Memory" to `options`.
  void declare(OptionSet* options);
  // What the engine is asked for: the model's name resolved, words turned into values.
  engine::EngineOptions resolve(const Environment& environment) const;
};

}  // namespace weft::cli
