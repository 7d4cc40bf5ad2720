// The options that say how answers are chosen (engine/sampling.h): the same for one prompt, a chat
// and the lines of a file. Names are vLLM's, beside them llama.cpp's where they differ.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/options.h"
#include "cli/chat_parameters.h"
#include "engine/sampling.h"

namespace weft::cli {

class GenerationOptions {
 public:
  // Adds the group "Generation". `options` is asked later which of them were given, and must
  // outlive this.
  void declare(OptionSet* options);
  // Error(kUsage) naming the flag, for what no range of a single option can say.
  void check() const;

  // Of a prompt and a chat. Ids are not compared with a vocabulary yet: the engine does.
  engine::SamplingParams sampling() const;
  // Of a line of a file: what was given, over what is there.
  void apply_given(engine::SamplingParams* params) const;
  // As the fields of a chat's requests. only_given: without the defaults of this program, which a
  // server need not share.
  ChatParameters parameters(bool only_given) const;
  uint64_t seed() const { return seed_; }

 private:
  // The filters, penalties and ends, whose defaults are the engine's own.
  void apply_shared(engine::SamplingParams* params) const;

  const OptionSet* options_ = nullptr;
  int64_t max_tokens_ = 512, min_tokens_ = 0;
  float temperature_ = 0.0f, top_p_ = 1.0f, min_p_ = 0.0f, typical_p_ = 1.0f;
  int top_k_ = 0;
  float repetition_penalty_ = 1.0f, presence_penalty_ = 0.0f, frequency_penalty_ = 0.0f;
  uint64_t seed_ = 0;
  std::vector<std::string> stop_;
  std::optional<std::string> stop_token_ids_;
  bool ignore_eos_ = false;
  int logprobs_ = -1, prompt_logprobs_ = -1;
};

}  // namespace weft::cli
