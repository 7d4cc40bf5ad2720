#include "model/head.h"

#include <algorithm>
#include <bit>
#include <cmath>

#include "base/error.h"
#include "base/random.h"

namespace weft::model {
namespace {

using kernels::Candidate;

constexpr int64_t kTopStride = Head::kMaxLogprobs + 1;
constexpr double kInverseFixedPoint = 0x1p-40;  // exp_sum's unit

// floor(uniform * total / 2^64): a point of [0, total), the same for any cut of the vocabulary.
int64_t locate_point(uint64_t uniform, int64_t total) {
  __extension__ using Wide = unsigned __int128;
  return static_cast<int64_t>(static_cast<Wide>(uniform) * static_cast<uint64_t>(total) >> 64);
}

float logprob_of(float logit, float max, int64_t sum) {
  const double log_sum = kernels::log_double(static_cast<double>(sum) * kInverseFixedPoint);
  return static_cast<float>(static_cast<double>(logit) - static_cast<double>(max) - log_sum);
}

}  // namespace

Head::Head(Stage& stage)
    : stage_(stage),
      map_(tensor::InputMap::whole(stage.config().hidden_size)),
      matmul_(stage.table()) {
  int64_t floats = 0, activation_bytes = 0;
  for (const ShardWeights& shard : stage.weights().shards()) {
    logit_offset_.push_back(floats);
    const parallel::ColumnLinear& head = *shard.head;
    floats += logits_bytes(shard) / 4;
    if (head.weight.empty()) continue;
    activation_bytes =
        std::max(activation_bytes,
                 kernels::activation_bytes(head.weight.activation_type(), kRowsAtOnce, map_));
  }
  logit_offset_.push_back(floats);
  logits_ = tensor::Buffer(std::max<int64_t>(64, floats * 4), "logits");
  input_ = tensor::Buffer(std::max<int64_t>(64, activation_bytes), "inputs of the head");
  normed_ = tensor::Buffer(
      stage.team().num_threads() * round_up(stage.config().hidden_size, 16) * 4, "final norm");
  const size_t shards = stage.weights().shards().size();
  partials_.resize(shards * kRowsAtOnce);
  top_.resize(shards * kRowsAtOnce * kTopStride);
  sums_.resize(shards);
}

int64_t Head::logits_bytes(const ShardWeights& shard) {
  return kRowsAtOnce * shard.head->weight.padded_rows() * 4;
}

int64_t Head::logits_bytes(int64_t shard_index) const {
  const auto s = static_cast<size_t>(shard_index);
  return (logit_offset_[s + 1] - logit_offset_[s]) * 4;
}

const float* Head::logits(size_t shard, int64_t local) const {
  const int64_t stride = stage_.weights().shards()[shard].head->weight.padded_rows();
  return logits_.as<float>() + logit_offset_[shard] + local * stride;
}

int Head::top_count(const LogitRow& row) const { return std::max(1, row.num_logprobs); }

template <typename T>
std::span<const T> Head::gather(std::span<const T> mine) {
  comm::Communicator& communicator = stage_.communicator();
  if (communicator.size() == 1) return mine;
  gathered_.resize(mine.size_bytes() * static_cast<size_t>(communicator.size()));
  communicator.all_gather(std::as_bytes(mine), gathered_, "vocabulary");
  return {reinterpret_cast<const T*>(gathered_.data()), gathered_.size() / sizeof(T)};
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

void Head::run_rows(const Batch& batch, Range rows, std::span<RowResult> results) {
  compute_logits(batch, rows);
  summarise(batch, rows);
  const size_t num_mine = static_cast<size_t>(num_shards()) * results.size();
  const auto all = gather(std::span<const Partial>(partials_.data(), num_mine));
  const size_t num_parts = all.size() / results.size();
  std::vector<float>& max = row_max_;
  max.assign(kRowsAtOnce, 0.0f);
  for (size_t i = 0; i < results.size(); ++i) {
    RowResult& result = results[i];
    Candidate best;
    int64_t num_nan = 0;
    result.hash = 0;
    result.top.clear();
    result.logits.clear();
    for (size_t p = 0; p < num_parts; ++p) {
      const Partial& part = all[p * results.size() + i];
      if (part.best.id >= 0 && (best.id < 0 || better(part.best, best))) best = part.best;
      num_nan += part.num_nan;
      result.hash += part.hash;
      if (part.has_target != 0) target_logit_[i] = part.target_logit;
    }
    const LogitRow& row = batch.rows[static_cast<size_t>(rows.begin) + i];
    result.bad_logits = num_nan != 0 || best.id < 0 || !std::isfinite(best.logit);
    result.id = row.target >= 0 ? row.target : best.id;
    max[i] = best.logit;
    if (row.target < 0) target_logit_[i] = best.logit;
  }
  for (size_t i = 0; i < results.size(); ++i) {
    if (results[i].bad_logits) continue;
    const LogitRow& row = batch.rows[static_cast<size_t>(rows.begin) + i];
    const int64_t local = static_cast<int64_t>(i);
    if (row.target < 0 && row.temperature > 0.0f) sample(row, local, results[i]);
    if (row.num_logprobs >= 0) add_logprobs(row, local, results[i]);
    if (row.full_logits) gather_logits(local, results[i]);
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
    matmul_.add(*shards[s].head, activations_, logits_.as<float>() + logit_offset_[s]);
  matmul_.run(stage_.team());
}

void Head::summarise(const Batch& batch, Range rows) {
  const kernels::KernelTable& table = stage_.table();
  const float softcap = stage_.config().logit_softcap;
  stage_.team().parallel_for(num_shards() * rows.size(), [&](int64_t tile, int) {
    const size_t s = static_cast<size_t>(tile % num_shards());
    const int64_t local = tile / num_shards();
    const LogitRow& row = batch.rows[static_cast<size_t>(rows.begin + local)];
    const Range vocab = stage_.weights().shards()[s].vocab;
    const int32_t first = static_cast<int32_t>(vocab.begin);
    const int64_t stride = stage_.weights().shards()[s].head->weight.padded_rows();
    float* values = logits_.as<float>() + logit_offset_[s] + local * stride;
    if (softcap > 0.0f) table.softcap(values, softcap, vocab.size());
    Partial& part = partials_[s * static_cast<size_t>(rows.size()) + static_cast<size_t>(local)];
    part = Partial{};
    Candidate* top = top_.data() + (s * kRowsAtOnce + static_cast<size_t>(local)) * kTopStride;
    table.top_k(values, vocab.size(), first, top_count(row), top, &part.num_nan);
    part.best = top[0];
    if (vocab.contains(row.target)) {
      part.has_target = 1;
      part.target_logit = values[row.target - vocab.begin];
    }
    if (row.hash) part.hash = table.hash_logits(values, vocab.size(), row.position, first);
  });
}

void Head::sample(const LogitRow& row, int64_t local, RowResult& result) {
  const kernels::KernelTable& table = stage_.table();
  const float max = row_max_[static_cast<size_t>(local)];
  const float inverse = 1.0f / row.temperature;
  const std::vector<ShardWeights>& shards = stage_.weights().shards();
  stage_.team().parallel_for(num_shards(), [&](int64_t s, int) {
    const size_t i = static_cast<size_t>(s);
    sums_[i] = table.exp_sum(logits(i, local), shards[i].vocab.size(), max, inverse);
  });
  const auto all = gather(std::span<const int64_t>(sums_));
  int64_t total = 0, before = 0;
  const size_t first_mine = static_cast<size_t>(stage_.communicator().rank()) * shards.size();
  for (size_t p = 0; p < all.size(); ++p) {
    if (p < first_mine) before += all[p];
    total += all[p];
  }
  // The choice that this position takes: stream 0 is the first of a request's choices.
  const int64_t point =
      locate_point(uniform_bits(row.seed, 0, static_cast<uint64_t>(row.position)), total);
  Partial found;
  for (size_t s = 0; s < shards.size(); ++s) {
    const int64_t mass = all[first_mine + s];
    if (point >= before && point - before < mass) {
      const int64_t index =
          table.locate(logits(s, local), shards[s].vocab.size(), max, inverse, point - before);
      found.best = {logits(s, local)[index], static_cast<int32_t>(shards[s].vocab.begin + index)};
    }
    before += mass;
  }
  for (const Partial& part : gather(std::span<const Partial>(&found, 1))) {
    if (part.best.id < 0) continue;
    result.id = part.best.id;
    target_logit_[static_cast<size_t>(local)] = part.best.logit;
  }
}

void Head::add_logprobs(const LogitRow& row, int64_t local, RowResult& result) {
  const kernels::KernelTable& table = stage_.table();
  const float max = row_max_[static_cast<size_t>(local)];
  const std::vector<ShardWeights>& shards = stage_.weights().shards();
  stage_.team().parallel_for(num_shards(), [&](int64_t s, int) {
    const size_t i = static_cast<size_t>(s);
    sums_[i] = table.exp_sum(logits(i, local), shards[i].vocab.size(), max, 1.0f);
  });
  int64_t total = 0;
  for (const int64_t sum : gather(std::span<const int64_t>(sums_))) total += sum;
  result.logprob = logprob_of(target_logit_[static_cast<size_t>(local)], max, total);

  const size_t count = static_cast<size_t>(top_count(row));
  std::vector<Candidate>& mine = merged_;
  mine.clear();
  for (size_t s = 0; s < shards.size(); ++s) {
    const Candidate* top =
        top_.data() + (s * kRowsAtOnce + static_cast<size_t>(local)) * kTopStride;
    mine.insert(mine.end(), top, top + count);
  }
  const auto all = gather(std::span<const Candidate>(mine));
  for (const Candidate& candidate : all) {
    if (candidate.id >= 0) result.top.push_back(candidate);
  }
  std::sort(result.top.begin(), result.top.end(), kernels::better);
  result.top.resize(std::min(result.top.size(), static_cast<size_t>(row.num_logprobs)));
  for (Candidate& candidate : result.top) candidate.logit = logprob_of(candidate.logit, max, total);
}

// For tests and `return_logits`: a whole row, in slots of equal size since shards are not.
void Head::gather_logits(int64_t local, RowResult& result) {
  const size_t vocab_size = static_cast<size_t>(stage_.config().vocab_size);
  const std::vector<ShardWeights>& shards = stage_.weights().shards();
  const size_t slot = vocab_size + 2;  // first and end of the shard's rows, as bits, then the row
  row_copies_.assign(slot * shards.size(), 0.0f);
  for (size_t s = 0; s < shards.size(); ++s) {
    const Range vocab = shards[s].vocab;
    float* copy = row_copies_.data() + s * slot;
    copy[0] = std::bit_cast<float>(static_cast<int32_t>(vocab.begin));
    copy[1] = std::bit_cast<float>(static_cast<int32_t>(vocab.end));
    std::copy_n(logits(s, local), vocab.size(), copy + 2);
  }
  result.logits.resize(vocab_size);
  const auto all = gather(std::span<const float>(row_copies_));
  for (size_t p = 0; p < all.size(); p += slot) {
    const int32_t begin = std::bit_cast<int32_t>(all[p]), end = std::bit_cast<int32_t>(all[p + 1]);
    std::copy_n(&all[p + 2], end - begin, result.logits.begin() + begin);
  }
}

}  // namespace weft::model
