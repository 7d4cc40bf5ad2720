// The topologies, batches and tables that the parity suite runs, as words:
//
//   "tp3 pp2 threads2 chunk7 pooled isa=avx2 block32 weights=2,1,1 stages=12@1,18@2 pp=13,13,4
//   t0.8"
#pragma once

#include <filesystem>
#include <stdexcept>
#include <string>
#include <vector>

#include "comm/job.h"
#include "engine/engine.h"
#include "parity/answer.h"

namespace weft::parity {

struct Case {
  engine::EngineOptions options;
  int num_processes = 1;
  comm::JobOptions job_options;
  Work work;
};

inline Case parse_case(const std::string& words, const std::string& model_path) {
  Case c;
  engine::EngineOptions& o = c.options;
  o.model_path = model_path;
  o.threads_per_rank = 1;
  o.max_model_len = 400;
  size_t begin = 0;
  while (begin < words.size()) {
    const size_t end = std::min(words.find(' ', begin), words.size());
    const std::string word = words.substr(begin, end - begin);
    begin = end + 1;
    const auto after = [&](const char* prefix) {
      return word.starts_with(prefix) ? word.substr(std::string(prefix).size()) : std::string();
    };
    if (word == "long")
      c.work.prompt_tokens = 1100, o.max_model_len = 1200;
    else if (word == "norows")
      c.work.prompt_logprobs = false;
    else if (word == "noprefix")
      o.prefix_caching = false;
    else if (word == "nogroups")
      o.window_groups = false;
    else if (word == "unchunked")
      o.chunked_prefill = false;
    else if (word == "shortest")
      o.schedule_policy = engine::SchedulePolicy::kShortest;
    else if (word == "prefix")
      o.schedule_policy = engine::SchedulePolicy::kPrefix;
    else if (word == "pooled")
      o.placement = engine::Placement::kPooled;
    else if (word == "dedicated")
      o.placement = engine::Placement::kDedicated;
    else if (word == "traced")
      o.num_kept_events = o.num_kept_steps = 5000;
    else if (word == "sleepy")  // three stages
      o.stage_seconds = {0.001, 0.0, 0.002};
    else if (word == "always")
      o.always_speculate = true;
    else if (word == "kvf32")
      o.kv_type = kernels::KvType::kF32;
    else if (word == "kvf16")
      o.kv_type = kernels::KvType::kF16;
    else if (word == "kvbf16")
      o.kv_type = kernels::KvType::kBF16;
    else if (word == "kvq8")
      o.kv_type = kernels::KvType::kQ8;
    else if (word == "isa=avx2")
      o.isa = kernels::Isa::kAvx2;
    else if (word == "isa=avx512")
      o.isa = kernels::Isa::kAvx512;
    else if (word == "isa=portable")
      o.isa = kernels::Isa::kPortable;
    else if (auto w = after("wcache"); !w.empty())
      o.num_window_blocks = std::stoi(w);
    else if (auto v = after("weights="); !v.empty())
      o.topology.tp_weights = v;
    else if (v = after("stages="); !v.empty())
      o.topology.stages = v;
    else if (word == "prefill")
      o.topology.balance = parallel::PipelineBalance::kPrefill;
    else if (word == "decode")
      o.topology.balance = parallel::PipelineBalance::kDecode;
    else if (v = after("pp="); !v.empty())
      o.topology.pipeline_parallel = v;
    else if (v = after("pp"); !v.empty())
      o.topology.pipeline_parallel = v;
    else if (v = after("threads"); !v.empty())
      o.threads_per_rank = std::stoi(v);
    else if (v = after("tp"); !v.empty())
      o.topology.tensor_parallel_size = std::stoi(v);
    else if (v = after("chunk"); !v.empty())
      o.max_num_batched_tokens = std::stoi(v);
    else if (v = after("block"); !v.empty())
      o.block_size = std::stoi(v);
    else if (v = after("seqs"); !v.empty())
      o.max_num_seqs = std::stoi(v);
    else if (v = after("draft="); !v.empty())  // a model beside this one
      o.speculative_model =
          (std::filesystem::path(model_path).parent_path() / (v + ".gguf")).string();
    else if (v = after("drafttp"); !v.empty())
      o.draft_tensor_parallel_size = std::stoi(v);
    else if (v = after("guess"); !v.empty())
      o.num_speculative_tokens = std::stoi(v);
    else if (v = after("over"); !v.empty())  // processes
      c.num_processes = std::stoi(v);
    else if (word == "apart")  // on machines of their own, which share no memory
      c.job_options.shares_memory = false;
    else if (word == "reduce=f32")
      o.reduce = comm::SumWire::kF32;
    else if (word == "reduce=bf16")
      o.reduce = comm::SumWire::kBF16;
    else if (word == "reduce=q8")
      o.reduce = comm::SumWire::kQ8;
    else if (v = after("micro"); !v.empty())
      o.micro_batch_size = std::stoi(v);
    else if (v = after("cache"); !v.empty())
      o.num_blocks = std::stoi(v) / 16, o.max_model_len = 300;
    else if (v = after("t"); !v.empty())
      c.work.temperature = std::stof(v);
    else
      throw std::invalid_argument("unknown word in a parity case: " + word);
  }
  // Where nothing is said, half of the cases get a team a rank even where ranks outnumber the
  // cores, so that the exchange between ranks is tested as often as the pool.
  if (o.placement == engine::Placement::kAuto && words.size() % 2 == 0)
    o.placement = engine::Placement::kDedicated;
  return c;
}

}  // namespace weft::parity
