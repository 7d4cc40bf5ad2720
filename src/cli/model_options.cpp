#include "cli/model_options.h"

#include <algorithm>

#include "base/error.h"
#include "cli/named_model.h"

namespace weft::cli {
namespace {

// With a draft model; as many as vLLM's examples take.
constexpr int64_t kUsualGuesses = 5;
constexpr int64_t kMaxCacheBytes = int64_t{1} << 50;  // beyond any machine, and sums stay in range

}  // namespace

void ModelOptions::declare(OptionSet* options) {
  declare_split(options);
  declare_placement(options);
  declare_memory(options);
  options->environment_only(
      "WEFT_ISA", "forces a kernel table: avx512, avx2, neon or portable; all give the same bits");
}

void ModelOptions::declare_split(OptionSet* options) {
  parallel::TopologyRequest& topology = engine.topology;
  options->positional("MODEL", &model,
                      "a .gguf or .safetensors file, a folder, a name that weft pull knows, or one "
                      "of a hub: user/repo, user/repo:Q4_K_M, user/repo@revision",
                      "--hf-repo");

  options->group("Model");
  options->name_positional("--model",
                           {.unit = "MODEL", .help = "names MODEL as well", .may_be_empty = false});
  options->add("--hf-repo,-hf,-hfr", &hf_repo,
               {.unit = "NAME",
                .help = "user/repo or user/repo:Q4_K_M of a hub, in place of MODEL",
                .may_be_empty = false});
  options->exclude("--hf-repo", "--model");
  options->environment_only("HF_ENDPOINT, HF_TOKEN, HF_HOME, HF_HUB_CACHE, HF_HUB_OFFLINE",
                            "the hub, and where its models are kept, as for huggingface_hub");
  options->group("Splitting");
  options->add("--tensor-parallel-size,--tp,-tp", &topology.tensor_parallel_size,
               {"N", "ranks that share every layer; any number", "1"}, 1,
               parallel::kMaxRanksPerStage);
  options->add("--pipeline-parallel-size,--pp,-pp", &topology.pipeline_parallel,
               {.unit = "N|LIST",
                .help = "number of stages, or the layers of each: 13,13,4",
                .unset = "1",
                .may_be_empty = false});
  options->add("--pp-balance", &pp_balance,
               {"WORK",
                "what --pp N balances the stages for: decode counts the head for every token, "
                "prefill for the last of a prompt alone, mixed in between",
                parallel::name(parallel::kDefaultBalance),
                {"decode", "prefill", "mixed"}});
  options->add("--tp-weights", &topology.tp_weights,
               {.unit = "LIST",
                .help = "shares of unequal ranks: 2,1,1",
                .unset = "equal",
                .may_be_empty = false});
  options->add("--stages", &topology.stages,
               {.unit = "LIST",
                .help = "layers@ranks of each stage, in place of --tp and --pp: 12@1,14@3,4@2",
                .may_be_empty = false});
  for (const char* other : {"--tensor-parallel-size", "--pipeline-parallel-size", "--tp-weights"})
    options->exclude("--stages", other);
  options->exclude("--pp-balance", "--stages");
  options->exclude("--pp-balance", "--pipeline-parallel-size", [&topology] {
    return topology.pipeline_parallel.find(',') != std::string::npos;
  });
  options->exclude("--tensor-parallel-size", "--tp-weights", [&topology] {
    return topology.tensor_parallel_size !=
           std::count(topology.tp_weights.begin(), topology.tp_weights.end(), ',') + 1;
  });
}

void ModelOptions::declare_placement(OptionSet* options) {
  options->add("--threads,-t", &engine.threads_per_rank,
               {"N", "threads of each rank", "cores / ranks, at least 1"}, 1, 1024);
  options->add(
      "--devices", &engine.devices,
      {.unit = "LIST",
       .help = "cores or NUMA nodes to use, 0-3 or numa:0; more ranks than these is an error",
       .unset = "all cores, which ranks may share",
       .may_be_empty = false});
  options->add("--placement", &placement,
               {"HOW",
                "a team of threads for each rank, or one pool that runs them all",
                "",
                {"auto", "dedicated", "pooled"}});
  options->add("--distributed-timeout-seconds", &timeout_s,
               {"S", "how long a rank waits for another before the run ends with an error"}, 1,
               86'400);
  options->add("--ranks-per-process", &engine.ranks_per_process,
               {.unit = "LIST",
                .help = "under mpirun: ranks of each process, where hosts differ: 3,1",
                .unset = "as even as can be",
                .may_be_empty = false});
  options->add("--reduce", &reduce,
               {"TYPE",
                "under mpirun, for slow links: how sums travel between processes; all but int64 "
                "round them, and the split then shows in the bits",
                "",
                {"int64", "f32", "bf16", "q8"}});
  options->add("--verify-weights", &engine.verify_weights,
               {"", "under mpirun: compare every byte of the model between hosts, not samples"});
}

void ModelOptions::declare_memory(OptionSet* options) {
  options->group("Memory");
  declare_context("the model's, as memory allows", options);
  options->add("--max-num-batched-tokens", &engine.max_num_batched_tokens,
               {"TOKENS", "prompt tokens that are computed in one step"}, 1, 8192);
  options->add("--block-size", &engine.block_size,
               {"TOKENS", "tokens of one cache block, a multiple of 16"}, 16, 256);
  options->add("--kv-cache-memory-bytes,--kv-cache-memory", &engine.kv_cache_bytes,
               {"BYTES", "cache of all ranks together: 512M, 4G", "a share of the free memory"}, 1,
               kMaxCacheBytes);
  options->add("--num-kv-blocks", &engine.num_blocks,
               {"N", "blocks of the cache, in place of its bytes", "by memory"}, 1,
               int64_t{1} << 30);
  options->exclude("--num-kv-blocks", "--kv-cache-memory-bytes");
}

void ModelOptions::declare_context(const std::string& unset, OptionSet* options) {
  options->add("--max-model-len", &engine.max_model_len,
               {"TOKENS", "longest prompt and answer together", unset}, 1, engine::kMaxModelLen);
  options->add("--disable-hybrid-kv-cache-manager", &no_window_groups,
               {"", "keep all tokens in layers that see only a sliding window, too"});
  options->add("--kv-cache-dtype", &kv_cache_dtype,
               {"TYPE",
                "how keys and values are kept; auto: bf16",
                "",
                {"auto", "f32", "f16", "bf16", "q8"}});
}

void ModelOptions::declare_scheduling(OptionSet* options) {
  options->group("Scheduling");
  options->add("--max-num-seqs", &engine.max_num_seqs,
               {"N", "answers that are generated at a time"}, 1, 4096);
  options->add("--schedule-policy", &schedule_policy,
               {"HOW",
                "who is let in first: by arrival, by cached prefix, or the shortest prompt",
                "",
                {"fcfs", "prefix", "shortest"}});
  options->add("--micro-batch-size", &engine.micro_batch_size,
               {"N", "answers of one step of a pipeline", "by measured step times"}, 1, 4096);
  declare_draft(options);
  options->add("--num-speculative-tokens", &num_speculative_tokens,
               {"N",
                "tokens guessed ahead by the draft model, or without one from what came before, "
                "and verified in one step; gives up by itself where it loses",
                "5 with --speculative-model, otherwise 0"},
               0, 32);
  options->add("--always-speculate", &engine.always_speculate,
               {"", "let the draft model guess also where it loses, to compare with"});
  options->add("--no-prefix-caching", &no_prefix_caching,
               {"", "compute every prompt anew, even where the cache knows its beginning"});
  options->add("--no-chunked-prefill", &no_chunked_prefill,
               {"", "compute a prompt whole before any running answer goes on"});
}

void ModelOptions::declare_draft(OptionSet* options) {
  options->add("--speculative-model", &speculative_model,
               {.unit = "MODEL",
                .help = "a small model of the same vocabulary that guesses tokens ahead",
                .unset = "none",
                .may_be_empty = false});
  options->add("--draft-tensor-parallel-size,--speculative-draft-tensor-parallel-size",
               &engine.draft_tensor_parallel_size,
               {"N", "ranks that share every layer of the draft model", "1"}, 1,
               parallel::kMaxRanksPerStage);
}

engine::EngineOptions ModelOptions::resolve(const Context& context, bool quiet) const {
  if (!model.empty() && !hf_repo.empty()) {
    throw Error(ErrorKind::kUsage, "MODEL and --hf-repo are both given", "", "give one of the two");
  }
  engine::EngineOptions resolved = engine;
  resolved.model_path = hf_repo.empty() ? obtain_model(model, context, quiet)
                                        : obtain_hub_model(hf_repo, context, quiet);
  resolved.placement = placement == "dedicated" ? engine::Placement::kDedicated
                       : placement == "pooled"  ? engine::Placement::kPooled
                                                : engine::Placement::kAuto;
  resolved.kv_type = kv_cache_dtype == "f16"   ? kernels::KvType::kF16
                     : kv_cache_dtype == "f32" ? kernels::KvType::kF32
                     : kv_cache_dtype == "q8"  ? kernels::KvType::kQ8
                                               : kernels::KvType::kBF16;
  resolved.schedule_policy = schedule_policy == "prefix"     ? engine::SchedulePolicy::kPrefix
                             : schedule_policy == "shortest" ? engine::SchedulePolicy::kShortest
                                                             : engine::SchedulePolicy::kFcfs;
  resolved.num_speculative_tokens = num_speculative_tokens >= 0 ? num_speculative_tokens
                                    : speculative_model.empty() ? 0
                                                                : kUsualGuesses;
  // Of no guesses it would have no part in.
  if (!speculative_model.empty() && resolved.num_speculative_tokens > 0)
    resolved.speculative_model = obtain_model(speculative_model, context, quiet);
  resolved.reduce = reduce == "f32"    ? comm::SumWire::kF32
                    : reduce == "bf16" ? comm::SumWire::kBF16
                    : reduce == "q8"   ? comm::SumWire::kQ8
                                       : comm::SumWire::kInt64;
  resolved.job = context.engine.job;
  resolved.prefix_caching = !no_prefix_caching;
  resolved.window_groups = !no_window_groups;
  resolved.chunked_prefill = !no_chunked_prefill;
  if (!pp_balance.empty())
    resolved.topology.balance = pp_balance == "prefill" ? parallel::PipelineBalance::kPrefill
                                : pp_balance == "mixed" ? parallel::PipelineBalance::kMixed
                                                        : parallel::PipelineBalance::kDecode;
  resolved.deadline_ms = timeout_s * 1000;
  return resolved;
}

}  // namespace weft::cli
