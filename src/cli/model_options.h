// The options that say which model is loaded and how it is split: the same for every command that
// holds a model.
#pragma once

#include <string>

#include "base/options.h"
#include "cli/commands.h"
#include "engine/engine.h"

namespace weft::cli {

struct ModelOptions {
  std::string model;    // as typed: a path, a name of the catalogue or of a hub
  std::string hf_repo;  // as typed, in place of `model`: a name of a hub
  engine::EngineOptions engine;
  std::string pp_balance;  // empty: not given
  std::string placement = "auto", kv_cache_dtype = "auto", schedule_policy = "fcfs";
  std::string reduce = "int64";
  std::string speculative_model;        // as typed
  int64_t num_speculative_tokens = -1;  // as typed; < 0: not given
  bool no_prefix_caching = false, no_chunked_prefill = false, no_window_groups = false;
  int64_t timeout_s = 60;

  // Adds MODEL and the groups "Splitting" and "Memory" to `options`.
  void declare(OptionSet* options);
  // Parts of it, for a command that loads nothing: MODEL and how it is cut; the size of a context.
  // unset: what a context that is not given stands for.
  void declare_split(OptionSet* options);
  void declare_context(const std::string& unset, OptionSet* options);
  // The draft model and its split; no figures of running.
  void declare_draft(OptionSet* options);
  // The group "Scheduling", for commands that answer many requests.
  void declare_scheduling(OptionSet* options);
  // What the engine is asked for: the models' names resolved, words turned into values. A model of
  // a hub that is not on this machine is fetched; quiet: without saying so.
  engine::EngineOptions resolve(const Context& context, bool quiet) const;

 private:
  void declare_placement(OptionSet* options);
  void declare_memory(OptionSet* options);
};

}  // namespace weft::cli
