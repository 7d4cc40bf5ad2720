#include "engine/worker.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstring>
#include <thread>

#include "base/clock.h"
#include "base/error.h"
#include "engine/split_report.h"

namespace weft::engine {
namespace {

// Of rows of the hidden state, whose strides are whole ones: what slices are cut into.
constexpr int64_t kLineFloats = 16;

}  // namespace

std::vector<TimeRow> ReplicaShape::time_rows() const {
  const int64_t num_ranks = topology.num_ranks();
  if (placement.pooled) return {{{0, 1}, {0, num_ranks}}};
  std::vector<TimeRow> rows;
  for (const parallel::Stage& stage : topology.stages()) {
    const Range ranks{stage.first_rank, stage.first_rank + stage.num_ranks()};
    rows.push_back({ranks, ranks});  // dedicated: worker = rank
  }
  return rows;
}

Worker::Worker(const ReplicaShape& shape, int index, std::unique_ptr<comm::Communicator> world)
    : shape_(shape),
      index_(index),
      place_(shape.placement.workers[static_cast<size_t>(index)]),
      table_(*shape.table),
      world_(std::move(world)),
      team_(place_.num_threads, place_.cpus) {
  clock_.keep_events(shape.num_kept_events);
  plan_parts();
}

Worker::~Worker() = default;

void Worker::plan_parts() {
  for (int s = 0; s < shape_.topology.num_stages(); ++s) {
    const parallel::Stage& stage = shape_.topology.stages()[static_cast<size_t>(s)];
    const Range ranks{stage.first_rank, stage.first_rank + stage.num_ranks()};
    const Range mine = ranks.intersect(place_.ranks);
    if (mine.empty()) continue;
    StagePart part;
    part.index = s;
    part.split = &shape_.splits[static_cast<size_t>(s)];
    part.shards = {mine.begin - ranks.begin, mine.end - ranks.begin};
    part.reduce_bytes = std::make_unique<std::atomic<int64_t>>(0);
    part.weights = std::make_unique<model::StageWeights>(
        *shape_.source->checkpoint, shape_.source->config, *part.split, part.shards);
    parts_.push_back(std::move(part));
  }
  row_ = shape_.placement.pooled ? 0 : parts_.front().index;
}

int64_t Worker::file_bytes() const {
  int64_t bytes = 0;
  for (const StagePart& part : parts_) bytes += part.weights->file_bytes();
  return bytes;
}

void Worker::start(const std::function<void(int64_t)>& on_bytes) {
  team_.pin_leader();
  for (StagePart& part : parts_) {
    // A worker of several ranks holds whole stages: its stage communicators are of size one.
    part.communicator = world_->split(shape_.placement.pooled ? index_ : part.index, index_);
    const int64_t begin_ns = now_ns();
    part.weights->load(team_, on_bytes);
    load_ns_ += now_ns() - begin_ns;
    part.stage = std::make_unique<model::Stage>(
        shape_.source->config, *part.split, *part.weights, allocate_cache(part), table_, team_,
        *part.communicator, clock_, *shape_.ropes, shape_.max_batch_tokens);
    if (part.split->last) part.head = std::make_unique<model::Head>(*part.stage);
  }
  world_->barrier("start of all ranks");
}

std::vector<cache::KvStorage> Worker::allocate_cache(const StagePart& part) const {
  std::vector<cache::KvStorage> storage;
  std::vector<int32_t> groups;
  for (int64_t layer = part.split->layers.begin; layer < part.split->layers.end; ++layer)
    groups.push_back(shape_.groups.group_of(layer));
  std::vector<int64_t> num_blocks{shape_.num_blocks};
  num_blocks.insert(num_blocks.end(), shape_.window_blocks.begin(), shape_.window_blocks.end());
  for (int64_t s = part.shards.begin; s < part.shards.end; ++s) {
    const auto heads = kv_heads_per_layer(part.split->shards[static_cast<size_t>(s)]);
    storage.emplace_back(heads, groups, shape_.kv, num_blocks);
  }
  return storage;
}

bool Worker::answers() const {
  return !parts_.empty() && parts_.back().split->last && parts_.back().shards.begin == 0;
}

void Worker::run(const StepPlan& plan, MaskWork& masks, StepAnswer& answer,
                 std::span<int64_t> work_ns) {
  const int64_t worked_ns = clock_.worked_ns();
  clock_.enter(Activity::kSchedule, plan.id);
  fill_batch(plan);
  if (parts_.back().split->last && !masks.empty()) make_masks(masks);
  // What a later stage prepares while its input is under way is no work of the pipeline yet: its
  // first work follows the first of the stage before, whichever of them had its plan first.
  if (parts_.front().split->first) clock_.enter(Activity::kCompute);
  for (size_t p = 0; p < parts_.size(); ++p) {
    StagePart& part = parts_[p];
    part.stage->copy_blocks(plan.copies);
    part.stage->begin(batch_);
    int64_t begin_ns = clock_.since_ns();
    if (part.split->first) {
      part.stage->embed(batch_);
    } else if (p == 0) {
      clock_.enter(Activity::kWaitInput);
      receive(part);
      clock_.enter(Activity::kCompute);
      begin_ns = clock_.since_ns();
    } else {
      hand_over(parts_[p - 1], &part);
    }
    part.stage->forward(batch_, /*gathers=*/!keeps_shares(part));
    if (part.head) {
      part.head->run(batch_, answer.rows);
      if (answers()) part.head->read_states(batch_, answer.states);
      find_bad_layers(part.stage->hidden(), answer);
    }
    simulate(part, begin_ns);
    part.reduce_bytes->fetch_add(part.stage->take_reduce_bytes(), std::memory_order_relaxed);
  }
  const bool is_last = parts_.back().split->last;
  clock_.enter(is_last ? Activity::kSchedule : Activity::kWaitSend);
  if (parts_.front().shards.begin == 0)
    work_ns[static_cast<size_t>(row_)] = clock_.worked_ns() - worked_ns;
  if (!is_last) hand_over(parts_.back(), nullptr);
}

// Nobody needs a mask before the head, but the stage's first sum waits for the slowest mask too,
// and would count it as work of the step.
void Worker::make_masks(MaskWork& masks) {
  masks.help(team_);
  parts_.back().communicator->barrier("masks of grammars");
}

// The last of a kernel's calls, as far as the rest of the pipeline can tell.
void Worker::simulate(const StagePart& part, int64_t begin_ns) const {
  if (shape_.stage_seconds.empty()) return;
  const double seconds = shape_.stage_seconds[static_cast<size_t>(part.index)];
  const int64_t left_ns = begin_ns + std::llround(seconds * 1e9) - now_ns();
  if (left_ns > 0) std::this_thread::sleep_for(std::chrono::nanoseconds(left_ns));
}

// A bad sum added nothing to its token's state, and later tokens attend to it: the whole sequence
// is lost, whether or not this token's logits were wanted.
void Worker::find_bad_layers(const model::HiddenState& hidden, StepAnswer& answer) const {
  answer.bad_layer.clear();
  for (const model::SequenceChunk& chunk : batch_.chunks) {
    int32_t first = -1;
    for (int64_t t = chunk.tokens.begin; t < chunk.tokens.end; ++t) {
      const int32_t layer = hidden.bad_layer[t];
      if (layer >= 0 && (first < 0 || layer < first)) first = layer;
    }
    answer.bad_layer.push_back(first);
  }
}

void Worker::fill_batch(const StepPlan& plan) {
  batch_.token_ids = plan.token_ids;
  batch_.rows = plan.rows;
  batch_.states = plan.states;
  batch_.adjustments = plan.adjustments;
  batch_.masks = plan.masks;
  batch_.chunks.clear();
  const std::span<const int32_t> block_ids = plan.block_ids;
  for (const StepPlan::Chunk& chunk : plan.chunks) {
    model::SequenceChunk& filled = batch_.chunks.emplace_back();
    filled.tokens = chunk.tokens;
    filled.first_position = chunk.first_position;
    for (size_t group = 0; group < filled.blocks.size(); ++group) {
      const auto& [blocks, first_block] = chunk.tables[group];
      filled.blocks[group] = {
          block_ids.subspan(static_cast<size_t>(blocks.begin), static_cast<size_t>(blocks.size())),
          first_block};
    }
  }
}

Range Worker::workers_of_stage(int stage) const {
  const parallel::Stage& s = shape_.topology.stages()[static_cast<size_t>(stage)];
  return {s.first_rank, s.first_rank + s.num_ranks()};  // dedicated: worker = rank
}

// Both have as many workers and layers: token by token, a worker of the next one needs what the
// same one of this holds.
bool Worker::are_alike(int stage, int next) const {
  const model::StageSplit& from = shape_.splits[static_cast<size_t>(stage)];
  const model::StageSplit& to = shape_.splits[static_cast<size_t>(next)];
  return from.shards.size() == to.shards.size() && !from.layers.empty() && !to.layers.empty();
}

bool Worker::keeps_shares(const StagePart& part) const {
  return !part.split->last && are_alike(part.index, part.index + 1);
}

// Of few tokens every worker of a stage holds all rows. Where the next one is in a process of its
// own, what travels to its workers is a slice each, which they put together in their memory.
bool Worker::sends_slices(int stage, int next) const {
  if (!are_alike(stage, next)) return false;
  const auto process = [this](int64_t worker) {
    return shape_.placement.workers[static_cast<size_t>(worker)].process;
  };
  const Range senders = workers_of_stage(stage), receivers = workers_of_stage(next);
  const int there = process(receivers.begin);
  return there == process(receivers.end - 1) && there != process(senders.end - 1);
}

Worker::Handed Worker::handed(StagePart& part, int stage, int next) const {
  const model::HiddenState hidden = part.stage->hidden();
  const bool is_alike = are_alike(stage, next);
  const Range tokens = is_alike ? part.stage->own_tokens() : Range{0, batch_.num_tokens()};
  Range lines{tokens.begin * hidden.stride / kLineFloats, tokens.end * hidden.stride / kLineFloats};
  const bool is_slice = sends_slices(stage, next) && !part.stage->shares_tokens_out();
  if (is_slice)
    lines = equal_part(lines, part.shards.begin, static_cast<int64_t>(part.split->shards.size()));
  return {std::as_writable_bytes(std::span(hidden.residual + lines.begin * kLineFloats,
                                           static_cast<size_t>(lines.size() * kLineFloats))),
          std::as_writable_bytes(
              std::span(hidden.bad_layer + tokens.begin, static_cast<size_t>(tokens.size()))),
          is_slice};
}

// Of stages of different widths member j of the next one takes the state from member j % width of
// the one before, which all hold the same.
void Worker::receive(StagePart& part) {
  const Range senders = workers_of_stage(part.index - 1);
  const int from = static_cast<int>(senders.begin + part.shards.begin % senders.size());
  const Handed handed = this->handed(part, part.index - 1, part.index);
  world_->recv(from, handed.residual, "hidden state of the stage before");
  world_->recv(from, handed.bad_layer, "checks of the stage before");
  if (!handed.is_slice) return;
  const model::HiddenState hidden = part.stage->hidden();
  part.communicator->all_gather_rows(
      std::as_writable_bytes(
          std::span(hidden.residual, static_cast<size_t>(batch_.num_tokens() * hidden.stride))),
      kLineFloats * static_cast<int64_t>(sizeof(float)), "hidden state of the stage before");
}

void Worker::hand_over(StagePart& from, StagePart* next) {
  if (next != nullptr) {
    const model::HiddenState hidden = from.stage->hidden(), to = next->stage->hidden();
    const auto tokens = static_cast<size_t>(batch_.num_tokens());
    std::memcpy(to.residual, hidden.residual,
                tokens * static_cast<size_t>(hidden.stride) * sizeof(float));
    std::memcpy(to.bad_layer, hidden.bad_layer, tokens * sizeof(int32_t));
    return;
  }
  const Handed handed = this->handed(from, from.index, from.index + 1);
  const Range receivers = workers_of_stage(from.index + 1);
  const int64_t width = static_cast<int64_t>(from.split->shards.size());
  for (int64_t j = from.shards.begin; j < receivers.size(); j += width) {
    const int to = static_cast<int>(receivers.begin + j);
    world_->send(to, handed.residual, "hidden state for the next stage");
    world_->send(to, handed.bad_layer, "checks for the next stage");
  }
}

// The stages' communicators were split from the world and share its fate (comm.h).
void Worker::abort(const std::string& reason) { world_->abort(reason); }

std::pair<const Worker::StagePart*, int64_t> Worker::find(int rank) const {
  for (const StagePart& part : parts_) {
    const int first = shape_.topology.stages()[static_cast<size_t>(part.index)].first_rank;
    const int64_t local = rank - first - part.shards.begin;
    if (local >= 0 && local < part.shards.size()) return {&part, local};
  }
  WEFT_CHECK(false, "rank {} is not on worker {}", rank, index_);
}

Worker::RankBytes Worker::loaded_bytes(int rank) const {
  const auto [part, local] = find(rank);
  return {
      part->weights->loaded_bytes(local), part->stage->cache_bytes(static_cast<int>(local)),
      part->head ? part->head->logits_bytes(local) : 0,
      equal_part({0, part->stage->step_memory().total_bytes()}, local, part->shards.size()).size()};
}

int64_t Worker::reduce_bytes(int rank) const {
  return find(rank).first->reduce_bytes->load(std::memory_order_relaxed);
}

int64_t Worker::step_weight_bytes() const {
  int64_t bytes = 0;
  for (const StagePart& part : parts_) {
    for (const model::ShardWeights& shard : part.weights->shards()) {
      bytes += shard.num_bytes();
      if (shard.embedding && shard.embedding != shard.head && !shard.embedding->weight.empty())
        bytes -= shard.embedding->weight.num_bytes();
    }
  }
  return bytes;
}

}  // namespace weft::engine
