#include "cli/other_names.h"

#include <string_view>

namespace weft::cli {
namespace {

// What means the same.
struct Same {
  std::string_view option;
  const char* names;
};
constexpr Same kSame[] = {
    // vLLM
    {"--no-prefix-caching", "--no-enable-prefix-caching"},
    {"--no-chunked-prefill", "--no-enable-chunked-prefill"},
    {"--schedule-policy", "--scheduling-policy"},
    // llama.cpp
    {"--model", "-m"},
    {"--max-model-len", "--ctx-size,-c"},
    {"--max-tokens", "--predict"},
    {"--system", "--system-prompt,-sys"},
    {"--max-num-seqs", "--parallel,-np"},
    {"--max-num-batched-tokens", "--ubatch-size,-ub"},
    {"--no-prefix-caching", "--no-cache-prompt"},
    {"--disable-hybrid-kv-cache-manager", "--swa-full"},
    {"--speculative-model", "--model-draft,-md"},
    {"--num-speculative-tokens", "--draft-max,--draft"},
    {"--served-model-name", "--alias,-a"},
    {"--ssl-certfile", "--ssl-cert-file"},
    {"--ssl-keyfile", "--ssl-key-file"},
};

// What says the opposite of a switch.
constexpr Same kOpposite[] = {
    {"--no-prefix-caching", "--enable-prefix-caching,--cache-prompt"},
    {"--no-chunked-prefill", "--enable-chunked-prefill"},
    {"--disable-hybrid-kv-cache-manager", "--no-disable-hybrid-kv-cache-manager"},
};

// The rest concerns commands that have this option: those that load a model, the server, and the
// load generator.
constexpr std::string_view kLoads = "--max-model-len", kServes = "--served-model-name",
                           kMeasures = "--goodput";

// What asks for that which holds anyway. value: the only one, of an option that has values.
struct Held {
  std::string_view where;
  const char *names, *unit, *value, *why;
};
constexpr Held kHeld[] = {
    {kLoads, "--dtype", "TYPE", "auto",
     "the model's file decides: weights keep the type that it holds, and another type is another "
     "file, user/repo:BF16 say; --kv-cache-dtype is the type of the cache"},
    {kLoads, "--enforce-eager", "", "", "nothing is captured in graphs"},
    {kLoads, "--jinja", "", "", "chat templates are Jinja"},
    {kServes, "--enable-auto-tool-choice", "", "",
     "a model may always call the tools that it is given"},
    {kServes, "--disable-log-stats", "", "", "figures are at /metrics alone"},
    {kServes, "--metrics", "", "", "/metrics is always there"},
    {kServes, "--cont-batching,-cb", "", "", "batches are always continuous"},
    {kMeasures, "--trust-remote-code", "", "", "no code that comes with a model is ever run"},
    {kMeasures, "--tokenizer-mode", "MODE", "auto", "the server counts tokens"},
};

// What has no counterpart, or one that says it otherwise.
struct Missing {
  std::string_view where;
  const char *names, *why, *instead;
};
constexpr Missing kMissing[] = {
    {kLoads, "--gpu-memory-utilization",
     "there is no GPU, and the cache takes half of the memory that the weights leave free",
     "leave it out, or give the cache its bytes: --kv-cache-memory 4G"},
    {kLoads, "--n-gpu-layers,--gpu-layers,-ngl",
     "there is no GPU: ranks and their threads compute every layer",
     "leave it out; --tp and --pp split the model over ranks, --threads gives each its cores"},
    {kLoads, "--tensor-split,-ts", "there is no GPU to give a share to",
     "give unequal ranks their shares with --tp-weights 2,1,1"},
    {kLoads, "--split-mode,-sm", "both ways are there at once",
     "--tp splits every layer, --pp splits between layers"},
    {kLoads, "--main-gpu,-mg", "there is no GPU", "leave it out"},
    {kLoads, "--flash-attn,-fa", "attention is always computed block by block", "leave it out"},
    {kLoads, "--cache-type-k,-ctk,--cache-type-v,-ctv", "keys and values are kept in one type",
     "give it with --kv-cache-dtype f32, f16, bf16 or q8"},
    {kLoads, "--batch-size,-b", "it could mean two things",
     "--max-num-batched-tokens is the prompt tokens of a step, --max-num-seqs the answers that "
     "are generated at a time"},
    {kLoads, "--threads-batch,-tb", "the same threads read prompts and generate",
     "give --threads alone"},
    {kLoads, "--mlock,--no-mmap", "weights are repacked into memory of their own",
     "leave it out; weft pack writes a model that is mapped as it is"},
    {kLoads, "--quantization,--load-format", "the model's file says how its weights are stored",
     "leave it out"},
    {kLoads, "--trust-remote-code", "no code that comes with a model is ever run", "leave it out"},
    {kLoads, "--tokenizer", "the tokenizer is the model's own", "leave it out"},
    {kLoads, "--revision", "it is part of the model's name", "give MODEL as user/repo@REVISION"},
    {kLoads, "--hf-file,-hff", "it is part of the model's name", "give MODEL as user/repo:Q4_K_M"},
    {kLoads, "--download-dir", "models lie where huggingface_hub keeps them",
     "name another place in HF_HUB_CACHE"},
    {kLoads, "--swap-space,--cpu-offload-gb", "weights and cache lie in this machine's memory",
     "leave it out; --kv-cache-memory 4G sets the size of the cache"},
    {kLoads, "--speculative-config", "its parts are options of their own",
     "give --speculative-model and --num-speculative-tokens"},
    {kLoads, "--enable-lora,--lora-modules,--lora", "adapters cannot be applied yet",
     "give a model into which they are merged"},
    {kLoads, "--enable-expert-parallel", "mixtures of experts cannot be run yet", "leave it out"},
    {kServes, "--data-parallel-size,-dp", "a server has one replica",
     "start a server for each, and share requests out before them"},
    {kServes, "--disable-log-requests,--no-enable-log-requests",
     "the log has a line for each request, without its text",
     "leave that out with --no-access-log"},
    {kMeasures, "--tokenizer",
     "the server counts tokens: in /tokenize, and in what it says was used", "leave it out"},
    {kMeasures, "--no-stream", "the times of tokens are those of a stream", "leave it out"},
    {kMeasures, "--profile", "what the ranks did is told by the server's --admin-port",
     "ask there for /trace?seconds=10"},
    {kMeasures, "--use-beam-search", "no answer is searched for so", "leave it out"},
    {kMeasures, "--lora-modules,--lora-assignment", "one model is asked for",
     "give it with --model"},
    {kServes, "--reasoning-format", "it goes by vLLM's name", "give --reasoning-parser"},
    // The last, since it is what tells a server.
    {kMeasures, "--served-model-name", "--model is the name that the server knows",
     "give that with --model"},
};

// Where a command has a name for something else, that stays.
bool has_any(const OptionSet& options, std::string_view names) {
  while (!names.empty()) {
    const size_t end = names.find(',');
    if (options.has(names.substr(0, end))) return true;
    names = end == std::string_view::npos ? "" : names.substr(end + 1);
  }
  return false;
}

}  // namespace

void add_other_names(OptionSet* options) {
  for (const Same& same : kSame)
    if (options->has(same.option) && !has_any(*options, same.names))
      options->also_called(same.option, same.names);
  for (const Same& opposite : kOpposite)
    if (options->has(opposite.option)) options->undone_by(opposite.option, opposite.names);
  options->group("Accepted, since it holds anyway");
  for (const Held& held : kHeld)
    if (options->has(held.where) && !has_any(*options, held.names))
      options->accept(held.names, {.unit = held.unit, .help = held.why}, held.value);
  for (const Missing& missing : kMissing)
    if (options->has(missing.where) && !has_any(*options, missing.names))
      options->decline(missing.names, missing.why, missing.instead);
}

}  // namespace weft::cli
