// What every request of a load has beside its prompt, and what its record says of itself, under the
// names that `vllm bench serve` gives them: parameters of the sampling, fields and headers of the
// user's own, words for the JSON file.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "base/options.h"

namespace weft::cli {

class LoadExtras {
 public:
  void declare_request(OptionSet* options);
  void declare_record(OptionSet* options);

  // Fields of each body, as an object of JSON; those of --extra-body win. is_chat: of a chat.
  // options: where they were declared. Error(kUsage) where --extra-body is no object.
  std::string fields(const OptionSet& options, bool is_chat) const;
  // "name: value" lines. Error(kUsage) for what is no header.
  std::vector<std::string> headers() const;
  const std::string& request_id_prefix() const { return request_id_prefix_; }

  const std::string& label() const { return label_; }  // may be empty
  bool appends() const { return append_result_; }
  // Error(kUsage) for what is no KEY=VALUE.
  std::vector<std::pair<std::string, std::string>> metadata() const;

 private:
  float temperature_ = 0.0F, top_p_ = 1.0F, min_p_ = 0.0F, repetition_penalty_ = 1.0F,
        presence_penalty_ = 0.0F, frequency_penalty_ = 0.0F;
  int top_k_ = 0, logprobs_ = 0;
  bool ignore_eos_ = false, append_result_ = false;
  std::string extra_body_, request_id_prefix_, label_;
  std::vector<std::string> headers_, metadata_;
};

}  // namespace weft::cli
