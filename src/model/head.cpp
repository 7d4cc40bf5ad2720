#include "model/head.h"

#include <algorithm>
#include <bit>
#include <cmath>

#include "base/error.h"

namespace weft::model {
namespace {

using kernels::Candidate;

constexpr double kInverseFixedPoint = 0x1p-40;  // exp_sum's unit

float logprob_of(float logit, float max, int64_t sum) {
  const double log_sum = kernels::log_double(static_cast<double>(sum) * kInverseFixedPoint);
  return static_cast<float>(static_cast<double>(logit) - static_cast<double>(max) - log_sum);
}

bool wants_logprobs(const LogitRow& row, const RowResult& result) {
  return row.num_logprobs >= 0 && !result.bad_logits;
}

bool wants_rank(const LogitRow& row) { return row.target >= 0 && row.num_logprobs != kAllLogprobs; }

// Ids of a shard that are not worse than `last`. At an infinite temperature all of them weigh the
// same, so that a sum of weights is their number.
int64_t count_not_worse(const kernels::KernelTable& table, const LogitShards::Shard& shard,
                        int64_t local, float max, const Candidate& last) {
  kernels::KeptIds kept;
  kept.max = max;
  kept.inv_temperature = 0.0f;
  kept.last = last;
  return table.kept_sum(shard.row(local), shard.size(), shard.first_id(), kept) >> 40;
}

// How many of a shard's best the row's summary takes: the very best always; for logprobs, unless
// the whole row will be gathered; for the choice.
int top_count(const LogitRow& row) {
  const int logprobs = row.num_logprobs == kAllLogprobs ? 0 : row.num_logprobs;
  return std::max({1, logprobs, Chooser::num_raw_best(row)});
}

int64_t logit_bytes(const Stage& stage) {
  int64_t bytes = 0;
  for (const ShardWeights& shard : stage.weights().shards()) bytes += Head::logits_bytes(shard);
  return std::max<int64_t>(64, bytes);
}

std::vector<LogitShards::Shard> place_logits(const Stage& stage, float* memory) {
  std::vector<LogitShards::Shard> shards;
  for (const ShardWeights& shard : stage.weights().shards()) {
    shards.push_back({shard.vocab, memory, shard.head->weight.padded_rows()});
    memory += Head::logits_bytes(shard) / 4;
  }
  return shards;
}

}  // namespace

Head::Head(Stage& stage)
    : stage_(stage),
      map_(tensor::InputMap::whole(stage.config().hidden_size)),
      matmul_(stage.table()),
      logits_memory_(logit_bytes(stage), "logits"),
      logits_(stage.table(), stage.team(), stage.communicator(), stage.clock(),
              place_logits(stage, logits_memory_.as<float>())),
      chooser_(logits_, stage.config().vocab_size) {
  int64_t activation_bytes = 0;
  for (const ShardWeights& shard : stage.weights().shards()) {
    const parallel::ColumnLinear& head = *shard.head;
    if (head.weight.empty()) continue;
    activation_bytes =
        std::max(activation_bytes,
                 kernels::activation_bytes(head.weight.activation_type(), kRowsAtOnce, map_));
  }
  input_ = tensor::Buffer(std::max<int64_t>(64, activation_bytes), "inputs of the head");
  normed_ = tensor::Buffer(
      stage.team().num_threads() * round_up(stage.config().hidden_size, 16) * 4, "final norm");
  top_.resize(logits_.size() * kRowsAtOnce * kMaxLogprobs);
}

int64_t Head::logits_bytes(const ShardWeights& shard) {
  return kRowsAtOnce * shard.head->weight.padded_rows() * 4;
}

int64_t Head::logits_bytes(int64_t shard_index) const {
  return kRowsAtOnce * logits_[static_cast<size_t>(shard_index)].stride * 4;
}

Candidate* Head::top(size_t shard, int64_t local) {
  return top_.data() + (shard * kRowsAtOnce + static_cast<size_t>(local)) * kMaxLogprobs;
}

void Head::run(const Batch& batch, std::vector<RowResult>& results) {
  const int64_t num_rows = static_cast<int64_t>(batch.rows.size());
  results.resize(batch.rows.size());
  for (int64_t begin = 0; begin < num_rows; begin += kRowsAtOnce) {
    const Range rows{begin, std::min(num_rows, begin + kRowsAtOnce)};
    run_rows(
        batch, rows,
        std::span(results).subspan(static_cast<size_t>(begin), static_cast<size_t>(rows.size())));
  }
}

void Head::read_states(const Batch& batch, std::vector<float>& states) const {
  const ModelConfig& config = stage_.config();
  const HiddenState hidden = stage_.hidden();
  states.resize(batch.states.size() * static_cast<size_t>(config.hidden_size));
  stage_.team().parallel_for(static_cast<int64_t>(batch.states.size()), [&](int64_t i, int) {
    stage_.table().rms_norm(hidden.residual + batch.states[static_cast<size_t>(i)] * hidden.stride,
                            stage_.weights().output_norm().data(), config.norm_eps,
                            states.data() + i * config.hidden_size, config.hidden_size);
  });
}

void Head::run_rows(const Batch& batch, Range rows, std::span<RowResult> results) {
  compute_logits(batch, rows);
  summarise(batch, rows);
  merge_summaries(batch, rows, results);
  sum_logprobs(batch, rows, results);
  for (size_t i = 0; i < results.size(); ++i) {
    const LogitRow& row = batch.rows[static_cast<size_t>(rows.begin) + i];
    if (row.full_logits && !results[i].bad_logits)
      gather_logits(static_cast<int64_t>(i), results[i].logits);
  }
  choose(batch, rows, results);
  for (const size_t i : with_logprobs_) {
    if (!results[i].no_choice)
      results[i].logprob = logprob_of(target_logit_[i], row_max_[i], exp_sum_[i]);
  }
}

void Head::compute_logits(const Batch& batch, Range rows) {
  const ModelConfig& config = stage_.config();
  const kernels::KernelTable& table = stage_.table();
  const HiddenState hidden = stage_.hidden();
  const std::vector<ShardWeights>& shards = stage_.weights().shards();
  for (const ShardWeights& shard : shards) {  // all shards cut one tensor: one activation type
    if (shard.head->weight.empty()) continue;
    activations_ = kernels::place_activations(shard.head->weight.activation_type(), rows.size(),
                                              map_, input_.data());
  }
  stage_.team().parallel_for(rows.size(), [&](int64_t i, int thread) {
    const LogitRow& row = batch.rows[static_cast<size_t>(rows.begin + i)];
    float* normed = normed_.as<float>() + thread * hidden.stride;
    table.rms_norm(hidden.residual + row.token * hidden.stride,
                   stage_.weights().output_norm().data(), config.norm_eps, normed,
                   config.hidden_size);
    if (activations_.num_groups > 0)
      table.prepare(map_, normed, activations_, i, {0, activations_.num_groups});
  });
  for (size_t s = 0; s < shards.size(); ++s)
    matmul_.add(*shards[s].head, activations_, logits_[s].logits);
  matmul_.run(stage_.team());
}

void Head::summarise(const Batch& batch, Range rows) {
  const kernels::KernelTable& table = stage_.table();
  const float softcap = stage_.config().logit_softcap;
  const auto num_rows = static_cast<size_t>(rows.size());
  partials_.resize(logits_.size() * num_rows);
  logits_.for_each(num_rows, [&](size_t s, size_t i) {
    const LogitRow& row = batch.rows[static_cast<size_t>(rows.begin) + i];
    const LogitShards::Shard& shard = logits_[s];
    const int64_t local = static_cast<int64_t>(i);
    float* values = shard.row(local);
    if (softcap > 0.0f) table.softcap(values, softcap, shard.size());
    Partial& part = partials_[s * num_rows + i];
    part = Partial{};
    Candidate* best = top(s, local);
    table.top_k(values, shard.size(), shard.first_id(), top_count(row), best, &part.num_nan);
    part.best = best[0];
    if (shard.vocab.contains(row.target)) {
      part.has_target = 1;
      part.target_logit = values[row.target - shard.vocab.begin];
    }
    if (row.hash)
      part.hash = table.hash_logits(values, shard.size(), row.position, shard.first_id());
  });
}

void Head::merge_summaries(const Batch& batch, Range rows, std::span<RowResult> results) {
  const auto all = logits_.gather(std::span<const Partial>(partials_));
  for (size_t i = 0; i < results.size(); ++i) {
    const LogitRow& row = batch.rows[static_cast<size_t>(rows.begin) + i];
    RowResult& result = results[i];
    Candidate best;
    int64_t num_nan = 0;
    result.hash = 0;
    result.top.clear();
    result.logits.clear();
    for (size_t p = i; p < all.size(); p += results.size()) {
      const Partial& part = all[p];
      if (part.best.id >= 0 && (best.id < 0 || better(part.best, best))) best = part.best;
      num_nan += part.num_nan;
      result.hash += part.hash;
      if (part.has_target != 0) target_logit_[i] = part.target_logit;
    }
    result.bad_logits = num_nan != 0 || best.id < 0 || !std::isfinite(best.logit);
    result.no_choice = false;
    result.rank = 0;
    result.id = row.target >= 0 ? row.target : best.id;
    row_max_[i] = best.logit;
    if (row.target < 0) target_logit_[i] = best.logit;
  }
}

// Of the raw distribution, before the choice adjusts it.
void Head::sum_logprobs(const Batch& batch, Range rows, std::span<RowResult> results) {
  with_logprobs_.clear();
  for (size_t i = 0; i < results.size(); ++i) {
    const LogitRow& row = batch.rows[static_cast<size_t>(rows.begin) + i];
    if (wants_logprobs(row, results[i])) with_logprobs_.push_back(i);
  }
  if (with_logprobs_.empty()) return;
  const size_t count = with_logprobs_.size();
  sums_.assign(logits_.size() * 2 * count, 0);
  logits_.for_each(count, [&](size_t s, size_t k) {
    const size_t i = with_logprobs_[k];
    const auto local = static_cast<int64_t>(i);
    const LogitRow& row = batch.rows[static_cast<size_t>(rows.begin) + i];
    int64_t* sums = &sums_[s * 2 * count];
    sums[k] = stage_.table().exp_sum(logits_[s].row(local), logits_[s].size(), row_max_[i], 1.0f);
    if (wants_rank(row))
      sums[count + k] = count_not_worse(stage_.table(), logits_[s], local, row_max_[i],
                                        {target_logit_[i], row.target});
  });
  for (size_t k = 2 * count; k < sums_.size(); ++k) sums_[k % (2 * count)] += sums_[k];
  logits_.add_up(std::span(sums_).first(2 * count));
  for (size_t k = 0; k < count; ++k) {
    exp_sum_[with_logprobs_[k]] = sums_[k];
    results[with_logprobs_[k]].rank = sums_[count + k];
  }
  for (const size_t i : with_logprobs_)
    list_logprobs(batch.rows[static_cast<size_t>(rows.begin) + i], static_cast<int64_t>(i),
                  results[i]);
}

void Head::list_logprobs(const LogitRow& row, int64_t local, RowResult& result) {
  if (row.num_logprobs == 0) return;
  if (row.num_logprobs == kAllLogprobs) {
    gather_logits(local, whole_row_);
    for (size_t id = 0; id < whole_row_.size(); ++id)
      result.top.push_back({whole_row_[id], static_cast<int32_t>(id)});
  } else {
    const auto count = static_cast<size_t>(row.num_logprobs);
    merged_.clear();
    for (size_t s = 0; s < logits_.size(); ++s)
      merged_.insert(merged_.end(), top(s, local), top(s, local) + count);
    for (const Candidate& candidate : logits_.gather(std::span<const Candidate>(merged_)))
      if (candidate.id >= 0) result.top.push_back(candidate);
  }
  std::sort(result.top.begin(), result.top.end(), kernels::better);
  if (result.top.size() > static_cast<size_t>(row.num_logprobs))
    result.top.resize(static_cast<size_t>(row.num_logprobs));
  const auto i = static_cast<size_t>(local);
  for (Candidate& candidate : result.top)
    candidate.logit = logprob_of(candidate.logit, row_max_[i], exp_sum_[i]);
}

void Head::choose(const Batch& batch, Range rows, std::span<RowResult> results) {
  static_assert(kMaxLogprobs >= Chooser::kMostCandidates);
  chooser_.run(batch, rows, std::span(row_max_).first(results.size()),
               {top_.data(), kRowsAtOnce * kMaxLogprobs, kMaxLogprobs}, results);
  for (const size_t i : with_logprobs_) {
    if (!Chooser::has_work(batch.rows[static_cast<size_t>(rows.begin) + i])) continue;
    return find_chosen_logits(batch, rows, results);
  }
}

void Head::find_chosen_logits(const Batch& batch, Range rows, std::span<RowResult> results) {
  chosen_.assign(logits_.size() * results.size(), {});
  for (size_t k = 0; k < chosen_.size(); ++k) {
    const size_t s = k / results.size(), i = k % results.size();
    const LogitRow& row = batch.rows[static_cast<size_t>(rows.begin) + i];
    if (!Chooser::has_work(row) || !logits_[s].vocab.contains(results[i].id)) continue;
    chosen_[k] = {chooser_.raw_logit(batch, row, static_cast<int64_t>(i), s, results[i].id), 1};
  }
  const auto all = logits_.gather(std::span<const ChosenLogit>(chosen_));
  for (size_t k = 0; k < all.size(); ++k)
    if (all[k].held != 0) target_logit_[k % results.size()] = all[k].logit;
}

// A whole row, only where it was asked for; in slots of equal size, since shards are not.
void Head::gather_logits(int64_t local, std::vector<float>& out) {
  const size_t vocab_size = static_cast<size_t>(stage_.config().vocab_size);
  const size_t slot = vocab_size + 2;  // first and end of the shard's rows, as bits, then the row
  row_copies_.assign(slot * logits_.size(), 0.0f);
  for (size_t s = 0; s < logits_.size(); ++s) {
    const Range vocab = logits_[s].vocab;
    float* copy = row_copies_.data() + s * slot;
    copy[0] = std::bit_cast<float>(static_cast<int32_t>(vocab.begin));
    copy[1] = std::bit_cast<float>(static_cast<int32_t>(vocab.end));
    std::copy_n(logits_[s].row(local), vocab.size(), copy + 2);
  }
  out.resize(vocab_size);
  const auto all = logits_.gather(std::span<const float>(row_copies_));
  for (size_t p = 0; p < all.size(); p += slot) {
    const int32_t begin = std::bit_cast<int32_t>(all[p]), end = std::bit_cast<int32_t>(all[p + 1]);
    std::copy_n(&all[p + 2], end - begin, out.begin() + begin);
  }
}

}  // namespace weft::model
