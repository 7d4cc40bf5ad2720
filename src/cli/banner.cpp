#include "cli/banner.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/counted.h"
#include "cli/quantity.h"
#include "cli/version.h"
#include "engine/limits.h"

namespace weft::cli {
namespace {

constexpr size_t kRankRows = 10, kAskedLines = 3, kWarningLines = 4, kProcessLines = 8;

std::string range_text(Range range) {
  if (range.empty()) return "none";
  if (range.size() == 1) return fmt::format("{}", range.begin);
  return fmt::format("{}-{}", range.begin, range.end - 1);
}

// The cells of a rank without its number: equal cells make neighbours one row.
std::vector<std::string> share_cells(const engine::RankShare& share, bool kv_per_token) {
  return {fmt::format("{}", share.stage),
          range_text(share.layers),
          share.heads,
          share.kv_heads,
          share.ffn,
          fmt::format("{}", share.vocab_rows),
          bytes_text(share.weight_bytes),
          bytes_text(kv_per_token ? share.kv_bytes_per_token : share.kv_bytes),
          bytes_text(share.logits_bytes),
          bytes_text(share.step_bytes)};
}

// At most `most` of `lines`; the last one then counts those that are left out.
std::vector<std::string> shortened(std::vector<std::string> lines, size_t most,
                                   const std::string& what) {
  if (lines.size() <= most) return lines;
  const size_t left_out = lines.size() - most + 1;
  lines.resize(most - 1);
  lines.push_back(fmt::format("  ... and {} more {}", left_out, what));
  return lines;
}

// Of layers that keep a window.
std::vector<std::string> window_lines(const engine::SplitReport& split, int64_t num_layers) {
  std::vector<std::string> lines;
  for (const engine::KvGroup& group : split.kv_groups) {
    if (group.window > 0)
      lines.push_back(fmt::format("         {} of {} layers keep the last {} tokens: {} blocks",
                                  group.num_layers, num_layers, group.window, group.num_blocks));
  }
  return lines;
}

// Which processes run the ranks, where several do.
std::vector<std::string> process_lines(const engine::SplitReport& split) {
  std::vector<std::string> lines;
  for (const engine::ProcessShare& process : split.processes)
    lines.push_back(fmt::format("{}{}: {} {}, {}", lines.empty() ? "hosts    " : "         ",
                                process.host, process.ranks.size() == 1 ? "rank" : "ranks",
                                range_text(process.ranks), process.isa));
  return lines;
}

std::string sums_line(const engine::SplitReport& split) {
  return fmt::format(
      "sums     rounded to {} between processes: which ranks they run shows in the bits "
      "(--reduce int64: it does not)",
      split.rounded_sums);
}

std::string split_line(const engine::Engine& engine) {
  const engine::SplitReport& split = engine.split();
  const size_t ranks = split.ranks.size();
  const int threads = engine.threads_per_rank();
  const std::string how = engine.pooled() ? "on one pool of threads"
                                          : fmt::format("of {}{}", counted(threads, "thread"),
                                                        ranks == 1 ? "" : " each");
  return fmt::format("split    {}: {} {}; the slowest holds {:.2f} times the mean of its stage",
                     split.topology, counted(static_cast<int64_t>(ranks), "rank"), how,
                     split.imbalance);
}

}  // namespace

std::string model_line(const engine::ModelReport& model) {
  const std::string& name = model.name.empty() ? model.path : model.name;
  return fmt::format("{}: {}, {}, {} parameters, {}", name, model.architecture, model.file_type,
                     count_text(model.num_parameters), bytes_text(model.file_bytes));
}

std::string shape_line(const engine::ModelReport& model) {
  return fmt::format(
      "{}, hidden {}, {} and {} of {}, FFN {}, vocabulary {}{}", counted(model.num_layers, "layer"),
      model.hidden_size, counted(model.num_heads, "head"), counted(model.num_kv_heads, "KV head"),
      model.head_dim, model.ffn_size, model.vocab_size, model.tied_embeddings ? " (tied)" : "");
}

std::string draft_line(const engine::SplitReport& split) {
  engine::RankShare all;
  for (const engine::RankShare& rank : split.draft_ranks) {
    all.weight_bytes += rank.weight_bytes;
    all.kv_bytes += rank.kv_bytes;
    all.logits_bytes += rank.logits_bytes;
    all.step_bytes += rank.step_bytes;
  }
  return fmt::format("{} guesses tokens ahead, on {}: weights {}, KV cache {}, logits {}, step {}",
                     split.draft_model,
                     counted(static_cast<int64_t>(split.draft_ranks.size()), "rank"),
                     bytes_text(all.weight_bytes), bytes_text(all.kv_bytes),
                     bytes_text(all.logits_bytes), bytes_text(all.step_bytes));
}

std::vector<std::string> rank_lines(const std::vector<engine::RankShare>& ranks, size_t max_rows,
                                    bool kv_per_token) {
  TextTable table({"rank", "stage", "layers", "heads", "KV heads", "FFN", "vocabulary", "weights",
                   kv_per_token ? "KV/token" : "KV cache", "logits", "step"});
  size_t rows = 0, shown = 0;
  for (size_t begin = 0; begin < ranks.size() && rows < max_rows; ++rows) {
    std::vector<std::string> cells = share_cells(ranks[begin], kv_per_token);
    size_t end = begin + 1;
    while (end < ranks.size() && share_cells(ranks[end], kv_per_token) == cells) ++end;
    cells.insert(cells.begin(), range_text({ranks[begin].rank, ranks[end - 1].rank + 1}));
    table.add_row(std::move(cells));
    begin = shown = end;
  }
  std::vector<std::string> lines = table.lines();
  if (shown < ranks.size()) {
    lines.push_back(fmt::format("  ... and {} (weft inspect shows them all)",
                                counted(static_cast<int64_t>(ranks.size() - shown), "more rank")));
  }
  return lines;
}

std::vector<std::string> banner_lines(const engine::Engine& engine,
                                      const engine::EngineOptions& options) {
  const engine::ModelReport& model = engine.model();
  const engine::WeightLoading loading = engine.weight_loading();
  const engine::SplitReport& split = engine.split();
  std::vector<std::string> lines = {fmt::format("weft {}  {}", version(), model_line(model)),
                                    "model    " + shape_line(model), split_line(engine)};
  const auto append = [&](const std::vector<std::string>& more) {
    lines.insert(lines.end(), more.begin(), more.end());
  };
  append(rank_lines(split.ranks, kRankRows - (split.draft_ranks.empty() ? 0 : 1), false));
  if (!split.draft_ranks.empty()) lines.push_back("draft    " + draft_line(split));
  append(shortened(process_lines(split), kProcessLines - (split.rounded_sums.empty() ? 0 : 1),
                   "processes"));
  if (!split.rounded_sums.empty()) lines.push_back(sums_line(split));
  std::vector<std::string> asked;
  for (const std::string& line : split.asked_and_got) asked.push_back("  " + line);
  append(shortened(std::move(asked), kAskedLines, "ranks"));
  const int64_t longest = engine.max_model_len();
  lines.push_back(fmt::format(
      "cache    {} tokens fit ({}), {} blocks; {} of {} tokens, the longest",
      engine.kv_cache_tokens(), kernels::name(options.kv_type), engine.kv_cache_blocks(),
      counted(engine::requests_that_fit(split, longest, options.block_size), "request"), longest));
  append(window_lines(split, model.num_layers));
  lines.push_back(fmt::format("kernels  {}", engine.isa()));
  lines.push_back(
      fmt::format("loaded   in {:.2f} s; weights {} in {:.2f} s, {:.2f} GB/s",
                  engine.load_seconds(), loading.mapped ? "mapped" : "repacked", loading.seconds,
                  per_second(static_cast<double>(loading.source_bytes), loading.seconds) / 1e9));
  std::vector<std::string> warnings;
  for (const std::string& warning : split.warnings) warnings.push_back("warning: " + warning);
  append(shortened(std::move(warnings), kWarningLines, "warnings"));
  return lines;
}

}  // namespace weft::cli
