#include "model/choice.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/error.h"
#include "base/random.h"

namespace weft::model {
namespace {

using kernels::Candidate;
using kernels::KeptOrder;

constexpr float kInfinity = std::numeric_limits<float>::infinity();

bool is_adjusted(const LogitRow& row) { return !row.adjustments.empty() || !row.mask.empty(); }
bool is_sampled(const LogitRow& row) { return row.temperature > 0.0f; }
bool counts(const LogitRow& row) { return row.top_k > 0; }
bool weighs(const LogitRow& row) { return row.top_p < 1.0f; }
bool is_typical(const LogitRow& row) { return row.typical_p < 1.0f; }
// Settled by a shard's best raw logit where the mask allows it.
bool is_masked_alone(const LogitRow& row) {
  return !is_sampled(row) && row.adjustments.empty() && !row.mask.empty();
}

// How many of a shard's best are worth naming: those among which the filters may end, the best
// alone where a mask or an adjustment may have changed it, or none.
int candidates_of(const LogitRow& row) {
  if (is_sampled(row)) {
    if (counts(row) && row.top_k <= Chooser::kMostCandidates) return row.top_k;
    if (weighs(row) || (is_typical(row) && row.min_p > 0.0f)) return Chooser::kCandidates;
  }
  return is_adjusted(row) ? 1 : 0;
}

// What a share of a mass must reach; 1 at least, so that one id is kept.
int64_t share_of(int64_t mass, float share) {
  const double wanted = std::ceil(static_cast<double>(share) * static_cast<double>(mass));
  return std::clamp<int64_t>(static_cast<int64_t>(wanted), 1, mass);
}

float scaled(float logit, const kernels::KeptIds& kept) {
  return std::min(0.0f, (logit - kept.max) * kept.inv_temperature);
}

// The mean of `scaled` over a mass, from which deviations are measured: the negative entropy, but
// for the constant that logprobs differ by.
float centre_of(int64_t moment, int64_t mass) {
  return static_cast<float>(static_cast<double>(moment) / static_cast<double>(mass));
}

// The mass of a shard is summed in chunks of so many ids, so that the id at a point is looked for
// in one of them and not in the shard: one more exponential of 4,096 logits, not of 150,000.
constexpr int64_t kChunkIds = 4096;

// Below this `scaled`, all ids together weigh less than what top_p leaves out, so that its boundary
// lies above and the search may pass over them: usually nine tenths of the vocabulary. Half of what
// would do, for the rounding of weights and of this bound.
float floor_of(int64_t mass, float top_p, int64_t vocab_size) {
  const int64_t left_out = mass - share_of(mass, top_p);
  if (left_out < 4 * vocab_size) return -kInfinity;
  const double each = static_cast<double>(left_out) / static_cast<double>(2 * vocab_size);
  return static_cast<float>(kernels::log_double(each * 0x1p-40));
}

bool by_id(const Candidate& a, const Candidate& b) { return a.id < b.id; }

bool allows(const Batch& batch, const LogitRow& row, int32_t id) {
  if (id < 0 || id >= 32 * row.mask.size()) return false;
  return (batch.masks[static_cast<size_t>(row.mask.begin + id / 32)] >> (id % 32) & 1) != 0;
}

uint64_t random_of(const LogitRow& row) {
  return uniform_bits(row.seed, row.choice, static_cast<uint64_t>(row.position));
}

}  // namespace

int64_t locate_point(uint64_t uniform, int64_t total) {
  __extension__ using Wide = unsigned __int128;
  return static_cast<int64_t>(static_cast<Wide>(uniform) * static_cast<uint64_t>(total) >> 64);
}

bool Chooser::has_work(const LogitRow& row) {
  return row.target < 0 && (is_sampled(row) || is_adjusted(row));
}

Chooser::Chooser(LogitShards& logits, int64_t vocab_size)
    : logits_(logits), vocab_size_(vocab_size), search_(logits) {
  for (size_t s = 0; s < logits.size(); ++s)
    most_chunks_ =
        std::max(most_chunks_, static_cast<size_t>(ceil_div(logits[s].size(), kChunkIds)));
}

int Chooser::num_raw_best(const LogitRow& row) {
  return has_work(row) && (!is_adjusted(row) || is_masked_alone(row)) ? candidates_of(row) : 0;
}

void Chooser::run(const Batch& batch, Range rows, std::span<const float> raw_max,
                  const RawBest& raw_best, std::span<RowResult> results) {
  list_draws(batch, rows, raw_max, results);
  if (draws_.empty()) return;
  adjust(batch, raw_best);
  gather_candidates();
  settle_greedy_draws();

  summed_.clear();
  located_.clear();
  searched_.clear();
  for (Draw* draw : sampled_)
    if (!counts(*draw->row)) summed_.push_back(draw);  // of the others the search tells
  sum_masses(summed_);
  for (Draw* draw : sampled_) {
    if (!counts(*draw->row) && !weighs(*draw->row) && !is_typical(*draw->row)) {
      located_.push_back(draw);
    } else if (!draw_from_candidates(*draw)) {
      located_.push_back(draw);
      searched_.push_back(draw);
    }
  }
  search_cuts(searched_);
  sum_masses(searched_);
  locate(located_);
}

void Chooser::list_draws(const Batch& batch, Range rows, std::span<const float> raw_max,
                         std::span<RowResult> results) {
  draws_.clear();
  num_candidates_ = 0;
  for (size_t i = 0; i < results.size(); ++i) {
    const LogitRow& row = batch.rows[static_cast<size_t>(rows.begin) + i];
    results[i].no_choice = false;
    if (!has_work(row) || results[i].bad_logits) continue;
    Draw draw{.row = &row,
              .result = &results[i],
              .index = draws_.size(),
              .local = static_cast<int64_t>(i),
              .num_candidates = candidates_of(row),
              .first_candidate = num_candidates_};
    draw.kept.max = raw_max[i];
    num_candidates_ += static_cast<size_t>(draw.num_candidates);
    draws_.push_back(draw);
  }
}

// Every draw's logits become those that the choice is made among, and every shard names its best.
// Those of a greedy row stay as they are where a mask is all that it has and allows the best.
void Chooser::adjust(const Batch& batch, const RawBest& raw_best) {
  before_.resize(batch.adjustments.size());
  candidates_.resize(logits_.size() * num_candidates_);
  logits_.for_each(draws_.size(), [&](size_t s, size_t i) {
    const Draw& draw = draws_[i];
    const LogitRow& row = *draw.row;
    const LogitShards::Shard& shard = logits_[s];
    Candidate* best = candidates_.data() + s * num_candidates_ + draw.first_candidate;
    const Candidate* raw =
        raw_best.data + s * raw_best.per_shard + static_cast<size_t>(draw.local) * raw_best.per_row;
    if (!is_adjusted(row)) {
      std::copy_n(raw, draw.num_candidates, best);
      return;
    }
    if (is_masked_alone(row) && allows(batch, row, raw->id)) {
      *best = *raw;
      return;
    }
    float* values = shard.row(draw.local);
    if (!row.mask.empty()) {
      WEFT_CHECK_LE(shard.vocab.end, 32 * row.mask.size());
      logits_.table().forbid(values, shard.size(),
                             batch.masks.data() + row.mask.begin + shard.vocab.begin / 32);
    }
    logits_.table().adjust(values, shard.vocab, batch.adjustments.data() + row.adjustments.begin,
                           row.adjustments.size(), row.repetition_penalty,
                           before_.data() + row.adjustments.begin);
    int64_t num_nan = 0;
    logits_.table().top_k(values, shard.size(), shard.first_id(), draw.num_candidates, best,
                          &num_nan);
  });
}

float Chooser::raw_logit(const Batch& batch, const LogitRow& row, int64_t local, size_t shard,
                         int32_t id) const {
  if (has_work(row)) {
    for (int64_t i = row.adjustments.begin; i < row.adjustments.end; ++i) {
      if (batch.adjustments[static_cast<size_t>(i)].id == id)
        return before_[static_cast<size_t>(i)];  // the first of several found the raw one
    }
  }
  return logits_[shard].row(local)[id - logits_[shard].vocab.begin];
}

void Chooser::gather_candidates() {
  if (num_candidates_ == 0) return;
  const auto all = logits_.gather(std::span<const Candidate>(candidates_));
  all_candidates_.assign(all.begin(), all.end());
}

void Chooser::merge_candidates(const Draw& draw) {
  best_.clear();
  const auto count = static_cast<size_t>(draw.num_candidates);
  for (size_t at = draw.first_candidate; at < all_candidates_.size(); at += num_candidates_) {
    for (size_t i = at; i < at + count && all_candidates_[i].id >= 0; ++i)
      best_.push_back(all_candidates_[i]);
  }
  const size_t kept = std::min(count, best_.size());
  std::partial_sort(best_.begin(), best_.begin() + static_cast<int64_t>(kept), best_.end(),
                    kernels::better);
  best_.resize(kept);
}

// Also tells the largest logit to those that are left.
void Chooser::settle_greedy_draws() {
  sampled_.clear();
  for (Draw& draw : draws_) {
    if (is_adjusted(*draw.row)) {
      merge_candidates(draw);
      draw.kept.max = best_.empty() ? -kInfinity : best_[0].logit;
      draw.result->no_choice = draw.kept.max == -kInfinity;
      draw.result->id = draw.result->no_choice ? -1 : best_[0].id;
      if (draw.result->no_choice) continue;
    }
    if (!is_sampled(*draw.row)) continue;
    // A temperature next to nothing leaves the best logits alone.
    draw.kept.inv_temperature = std::min(1.0f / draw.row->temperature, 0x1p100f);
    if (draw.row->min_p > 0.0f)
      draw.kept.lowest = static_cast<float>(kernels::log_double(draw.row->min_p));
    sampled_.push_back(&draw);
  }
}

std::span<int64_t> Chooser::chunks_of(const Draw& draw, size_t shard) {
  return std::span(chunk_masses_)
      .subspan((draw.index * logits_.size() + shard) * most_chunks_, most_chunks_);
}

int64_t Chooser::sum_chunks(const Draw& draw, size_t shard) {
  const LogitShards::Shard& s = logits_[shard];
  int64_t sum = 0, begin = 0;
  for (int64_t& chunk : chunks_of(draw, shard)) {
    const int64_t count = std::clamp<int64_t>(s.size() - begin, 0, kChunkIds);
    chunk = logits_.table().kept_sum(s.row(draw.local) + begin, count,
                                     s.first_id() + static_cast<int32_t>(begin), draw.kept);
    sum += chunk;
    begin += count;
  }
  return sum;
}

void Chooser::sum_masses(const Draws& draws) {
  if (draws.empty()) return;
  chunk_masses_.resize(draws_.size() * logits_.size() * most_chunks_);
  sums_.resize(logits_.size() * draws.size());
  logits_.for_each(draws.size(), [&](size_t s, size_t i) {
    sums_[s * draws.size() + i] = sum_chunks(*draws[i], s);
  });
  const auto all = logits_.gather(std::span<const int64_t>(sums_));
  const size_t num_parts = all.size() / draws.size();
  part_masses_.resize(draws_.size() * num_parts);
  for (size_t i = 0; i < draws.size(); ++i) {
    draws[i]->mass = 0;
    for (size_t p = 0; p < num_parts; ++p) {
      const int64_t mass = all[p * draws.size() + i];
      part_masses_[draws[i]->index * num_parts + p] = mass;
      draws[i]->mass += mass;
    }
  }
}

// ---------------------------------------------------------------- by candidates

// False where what is kept may go on behind the candidates.
bool Chooser::draw_from_candidates(Draw& draw) {
  if (draw.num_candidates < 1) return false;
  merge_candidates(draw);
  numbers_.clear();
  for (const Candidate& candidate : best_) numbers_.push_back(candidate.logit);
  weights_.resize(best_.size());
  const auto weigh = [&](size_t count) {
    logits_.table().weigh(numbers_.data(), static_cast<int64_t>(count), draw.kept.max,
                          draw.kept.inv_temperature, weights_.data());
  };
  weigh(best_.size());
  size_t count = count_kept(draw);
  if (count == 0) return false;
  if (is_typical(*draw.row)) count = count_typical(draw, count);

  std::sort(best_.begin(), best_.begin() + static_cast<int64_t>(count), by_id);
  int64_t total = 0;
  for (size_t i = 0; i < count; ++i) numbers_[i] = best_[i].logit;
  weigh(count);
  for (size_t i = 0; i < count; ++i) total += weights_[i];
  int64_t point = locate_point(random_of(*draw.row), total);
  size_t at = 0;
  while (point >= weights_[at]) point -= weights_[at++];
  draw.result->id = best_[at].id;
  return true;
}

size_t Chooser::count_kept(const Draw& draw) {
  const LogitRow& row = *draw.row;
  // A shard that names fewer than it was asked for has no more, and so all shards together.
  bool ends = best_.size() < static_cast<size_t>(draw.num_candidates);
  size_t count = 0;
  while (count < best_.size() && scaled(best_[count].logit, draw.kept) >= draw.kept.lowest) ++count;
  ends = ends || count < best_.size();
  if (counts(row) && static_cast<size_t>(row.top_k) <= count) {
    count = static_cast<size_t>(row.top_k);
    ends = true;
  }
  if (!ends && counts(row)) return 0;  // the mass that top_p is a share of is not known
  if (!weighs(row)) return ends ? count : 0;
  int64_t mass = draw.mass, so_far = 0;
  if (ends) {
    mass = 0;
    for (size_t i = 0; i < count; ++i) mass += weights_[i];
  }
  const int64_t target = share_of(mass, row.top_p);
  for (size_t i = 0; i < count; ++i) {
    so_far += weights_[i];
    if (so_far >= target) return i + 1;
  }
  return 0;
}

// Puts the typical ones of the first `count` first.
size_t Chooser::count_typical(const Draw& draw, size_t count) {
  kernels::KeptIds all;
  all.max = draw.kept.max;
  all.inv_temperature = draw.kept.inv_temperature;
  const int64_t moment =
      logits_.table().kept_moment(numbers_.data(), static_cast<int64_t>(count), 0, all);
  int64_t mass = 0;
  for (size_t i = 0; i < count; ++i) mass += weights_[i];
  const float centre = centre_of(moment, mass);
  const auto deviation = [&](const Candidate& c) {
    return std::fabs(scaled(c.logit, draw.kept) - centre);
  };
  std::sort(best_.begin(), best_.begin() + static_cast<int64_t>(count),
            [&](const Candidate& a, const Candidate& b) {
              const float da = deviation(a), db = deviation(b);
              return da < db || (da == db && a.id < b.id);
            });
  for (size_t i = 0; i < count; ++i) numbers_[i] = best_[i].logit;
  logits_.table().weigh(numbers_.data(), static_cast<int64_t>(count), draw.kept.max,
                        draw.kept.inv_temperature, weights_.data());
  const int64_t target = share_of(mass, draw.row->typical_p);
  int64_t so_far = 0;
  for (size_t i = 0; i < count; ++i) {
    so_far += weights_[i];
    if (so_far >= target) return i + 1;
  }
  return count;
}

// ---------------------------------------------------------------- by search

// One filter after another: each is a share of what the one before it left.
void Chooser::search_cuts(const Draws& draws) {
  const auto narrow = [&](bool (*wanted)(const LogitRow&), KeptOrder order, bool by_mass,
                          auto&& target) {
    cuts_.clear();
    narrowed_.clear();
    for (Draw* draw : draws) {
      if (!wanted(*draw->row)) continue;
      narrowed_.push_back(draw);
      cuts_.push_back({draw->local, &draw->kept, order, by_mass, target(*draw), 0});
    }
    search_.run(cuts_);
    for (size_t i = 0; i < cuts_.size(); ++i) narrowed_[i]->mass = cuts_[i].mass;
  };
  narrow(counts, KeptOrder::kLogit, false, [](const Draw& d) { return d.row->top_k; });
  for (Draw* draw : draws)
    if (weighs(*draw->row))
      draw->kept.lowest =
          std::max(draw->kept.lowest, floor_of(draw->mass, draw->row->top_p, vocab_size_));
  narrow(weighs, KeptOrder::kLogit, true,
         [](const Draw& d) { return share_of(d.mass, d.row->top_p); });
  find_centres(draws);
  narrow(is_typical, KeptOrder::kDeviation, true,
         [](const Draw& d) { return share_of(d.mass, d.row->typical_p); });
}

void Chooser::find_centres(const Draws& draws) {
  narrowed_.clear();
  for (Draw* draw : draws)
    if (is_typical(*draw->row)) narrowed_.push_back(draw);
  if (narrowed_.empty()) return;
  const size_t count = narrowed_.size();
  sums_.assign(logits_.size() * count, 0);
  logits_.for_each(count, [&](size_t s, size_t i) {
    const LogitShards::Shard& shard = logits_[s];
    sums_[s * count + i] = logits_.table().kept_moment(shard.row(narrowed_[i]->local), shard.size(),
                                                       shard.first_id(), narrowed_[i]->kept);
  });
  for (size_t i = count; i < sums_.size(); ++i) sums_[i % count] += sums_[i];
  logits_.add_up(std::span(sums_).first(count));
  for (size_t i = 0; i < count; ++i)
    narrowed_[i]->kept.centre = centre_of(sums_[i], narrowed_[i]->mass);
}

void Chooser::locate(const Draws& draws) {
  if (draws.empty()) return;
  const size_t num_parts = part_masses_.size() / draws_.size();
  found_.assign(logits_.size() * draws.size(), {});
  logits_.for_each(draws.size(), [&](size_t s, size_t i) {
    const Draw& draw = *draws[i];
    const LogitShards::Shard& shard = logits_[s];
    const int64_t* masses = part_masses_.data() + draw.index * num_parts;
    const size_t part = logits_.first_part() + s;
    int64_t point = locate_point(random_of(*draw.row), draw.mass);
    for (size_t p = 0; p < part; ++p) point -= masses[p];
    if (point < 0 || point >= masses[part]) return;
    int64_t begin = 0;
    for (const int64_t chunk : chunks_of(draw, s)) {
      if (point < chunk) break;
      point -= chunk;
      begin += kChunkIds;
    }
    const int64_t count = std::min(kChunkIds, shard.size() - begin);
    const auto first_id = static_cast<int32_t>(shard.vocab.begin + begin);
    const int64_t at = logits_.table().kept_locate(shard.row(draw.local) + begin, count, first_id,
                                                   draw.kept, point);
    found_[s * draws.size() + i].id = first_id + static_cast<int32_t>(at);
  });
  const auto all = logits_.gather(std::span<const Candidate>(found_));
  for (size_t i = 0; i < all.size(); ++i)
    if (all[i].id >= 0) draws[i % draws.size()]->result->id = all[i].id;
}

}  // namespace weft::model
