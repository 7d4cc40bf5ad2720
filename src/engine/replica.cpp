#include "engine/replica.h"

#include <algorithm>

#include "base/clock.h"

namespace weft::engine {
namespace {

// How long the end waits after a failure for ranks that still work: a step or a tensor of most
// models is done by then. Longer, and a person would wait for a rank that is lost.
constexpr int64_t kPartingMs = 1000;

// Changes the word so that whoever waits looks at the flags. Nothing counts on afterwards.
void release(WaitWord& word) {
  word.add(1);
  word.wake();
}

constexpr int64_t kFewBlocks = 32'768;  // 8 MiB over the ring

int64_t deadline_from_now(int64_t milliseconds) { return now_ns() + milliseconds * 1'000'000; }

std::vector<std::unique_ptr<comm::Communicator>> make_world(int size, int64_t deadline_ms) {
  if (size > 1) return comm::make_thread_group(size, {std::chrono::milliseconds(deadline_ms)});
  std::vector<std::unique_ptr<comm::Communicator>> world;
  world.push_back(comm::make_solo());
  return world;
}

}  // namespace

Replica::Replica(ReplicaShape shape, int64_t deadline_ms, const OnLoad& on_load)
    : shape_(std::move(shape)),
      deadline_ms_(deadline_ms),
      max_in_flight_(std::min<uint64_t>(static_cast<uint64_t>(shape_.topology.num_stages()) + 1,
                                        kRingSlots / 2)),
      on_load_(on_load) {
  // A plan names the blocks of all its sequences; no step in steady decoding should grow it, also
  // where guesses make some steps longer than others.
  int64_t num_blocks = shape_.num_blocks;
  for (const int64_t more : shape_.window_blocks) num_blocks += more;
  for (Slot& slot : slots_) {
    slot.plan.block_ids.reserve(static_cast<size_t>(std::min(num_blocks, kFewBlocks)));
    slot.plan.reserve(shape_.max_batch_tokens);
    slot.answer.rows.reserve(static_cast<size_t>(shape_.max_batch_tokens));
    slot.answer.bad_layer.reserve(static_cast<size_t>(shape_.max_batch_tokens));
    slot.work_ns.resize(shape_.time_rows().size());
  }
  step_log_.keep(shape_.num_kept_steps);
}

std::shared_ptr<Replica> Replica::start(ReplicaShape shape, int64_t deadline_ms,
                                        const OnLoad& on_load) {
  // Every thread holds `self`; the owner's pointer stops them instead of destroying.
  const std::shared_ptr<Replica> self(new Replica(std::move(shape), deadline_ms, on_load));
  std::shared_ptr<Replica> owned(self.get(), [self](Replica* replica) { replica->stop(); });
  owned->start_all(self);
  return owned;
}

template <typename Body>
void Replica::guarded(const Body& body) {
  try {
    body();
  } catch (const Error& e) {
    fail(e);
  } catch (const std::bad_alloc&) {
    fail(Error(ErrorKind::kMemory, "the system has no more memory"));
  } catch (const std::exception& e) {
    fail(Error(ErrorKind::kInternal, e.what()));
  }
}

void Replica::start_all(const std::shared_ptr<Replica>& self) {
  const int count = static_cast<int>(shape_.placement.workers.size());
  auto world = make_world(count, deadline_ms_);
  for (int w = 0; w < count; ++w) {
    workers_.push_back(
        std::make_unique<Worker>(shape_, w, std::move(world[static_cast<size_t>(w)])));
    bytes_to_load_ += workers_.back()->file_bytes();
  }
  prepare_this_thread();
  guarded([&] {
    for (int w = 1; w < count; ++w) threads_.emplace_back([self, w] { self->serve(w); });
    start_worker(0);
  });
  const uint32_t others = static_cast<uint32_t>(threads_.size());
  started_.wait_until([&](uint32_t v) { return v >= others || failed_.load(); }, patience_);
  throw_if_failed();
  report_loaded(0);  // the last one may have found another one reporting
  on_load_ = nullptr;
}

void Replica::start_worker(int index) {
  const std::function<void(int64_t)> on_bytes = [this](int64_t bytes) { report_loaded(bytes); };
  workers_[static_cast<size_t>(index)]->start(on_bytes);
}

// Whoever finds another one reporting goes on loading: that one may be silent for good.
void Replica::report_loaded(int64_t bytes) {
  bytes_loaded_.fetch_add(bytes);
  const std::unique_lock lock(report_mutex_, std::try_to_lock);
  if (lock.owns_lock() && on_load_) on_load_(bytes_loaded_.load(), bytes_to_load_);
}

void Replica::serve(int index) {
  prepare_this_thread();
  guarded([&] { start_worker(index); });
  started_.add(1);
  started_.wake();
  run_steps(index);
  ended_.add(1);
  ended_.wake();
}

void Replica::run_steps(int index) {
  Patience patience;
  for (uint32_t step = 0;; ++step) {
    submitted_.wait_until(
        [&](uint32_t v) {
          return WaitWord::reached(v, step + 1) || stopping_.load() || failed_.load();
        },
        patience);
    if (stopping_.load() || failed_.load()) return;
    guarded([&] { run_step(index, step); });
    done_.add(1);
    done_.wake();
  }
}

void Replica::run_step(int index, uint64_t step) {
  Worker& worker = *workers_[static_cast<size_t>(index)];
  Slot& slot = slots_[step % kRingSlots];
  worker.run(slot.plan, slot.masks, worker.answers() ? slot.answer : worker.own_answer(),
             slot.work_ns);
  if (worker.answers()) {
    answered_.add(1);
    answered_.wake();
  }
  worker.clock().enter(index == 0 ? Activity::kSchedule : Activity::kNothing);
}

StepPlan& Replica::next_plan() {
  // A slot may be refilled when every worker has left the step that used it last.
  if (num_submitted_ >= kRingSlots) await_workers(num_submitted_ - kRingSlots + 1);
  plan();
  next_masks().clear();
  return slots_[num_submitted_ % kRingSlots].plan;
}

void Replica::await_workers(uint64_t num_steps) {
  const uint32_t others = static_cast<uint32_t>(workers_.size() - 1);
  const uint32_t target = static_cast<uint32_t>(num_steps) * others;
  if (!WaitWord::reached(done_.load(), target)) rest();
  const bool in_time =
      done_.wait_until([&](uint32_t v) { return WaitWord::reached(v, target) || failed_.load(); },
                       patience_, deadline_from_now(deadline_ms_));
  if (!in_time)
    fail(Error(ErrorKind::kCommunication,
               fmt::format("a rank did not finish its step within {} s", deadline_ms_ / 1000)));
  throw_if_failed();
}

void Replica::settle() {
  while (in_flight() > 0) await();
  await_workers(num_submitted_);
  rest();
}

ClockMarks Replica::marks() const {
  ClockMarks marks;
  for (const auto& worker : workers_) marks.workers.push_back(worker->clock().totals());
  for (int rank = 0; rank < shape_.topology.num_ranks(); ++rank)
    marks.reduce_bytes.push_back(worker_of(rank).reduce_bytes(rank));
  marks.num_steps = static_cast<int64_t>(num_submitted_);
  marks.at_ns = now_ns();
  return marks;
}

std::vector<ActivityClock::Events> Replica::events() const {
  std::vector<ActivityClock::Events> events;
  for (const auto& worker : workers_) events.push_back(worker->clock().events());
  return events;
}

ClockMarks Replica::begin_window() {
  ClockMarks begin = marks();
  for (const auto& worker : workers_) worker->clock().begin_window(begin.at_ns);
  return begin;
}

const Worker& Replica::worker_of(int rank) const {
  for (size_t w = 0; w < workers_.size(); ++w) {
    if (shape_.placement.workers[w].ranks.contains(rank)) return *workers_[w];
  }
  WEFT_CHECK(false, "no worker runs rank {}", rank);
}

void Replica::submit(const StepContext& context) {
  const uint64_t step = num_submitted_++;
  Slot& slot = slots_[step % kRingSlots];
  StepPlan& plan = slot.plan;
  plan.id = step;
  slot.masks.begin(plan);
  if (shape_.num_kept_steps > 0) {
    StepRecord record = record_of(plan);
    if (context.load) record.load = *context.load;
    record.num_needed = context.num_needed.value_or(num_awaited_);
    record.submitted_ns = now_ns();
    record.context = context;
    step_log_.add(record);
  }
  submitted_.add(1);
  submitted_.wake();
  guarded([&] { run_step(0, step); });
  throw_if_failed();
}

const StepAnswer& Replica::await() {
  const uint32_t target = static_cast<uint32_t>(num_awaited_ + 1);
  if (!has_answer()) rest();
  const bool in_time = answered_.wait_until(
      [&](uint32_t v) { return WaitWord::reached(v, target) || failed_.load(); }, patience_,
      deadline_from_now(deadline_ms_));
  if (!in_time)
    fail(Error(
        ErrorKind::kCommunication,
        fmt::format("step {} was not answered within {} s", num_awaited_, deadline_ms_ / 1000),
        "a rank of the last stage is silent"));
  throw_if_failed();
  plan();
  Slot& slot = slots_[num_awaited_ % kRingSlots];
  if (!slot.masks.empty()) mask_ns_ += slot.masks.spent_ns();
  slot.masks.clear();  // no answer is kept that has ended
  step_log_.worked(num_awaited_++, *std::max_element(slot.work_ns.begin(), slot.work_ns.end()));
  return slot.answer;
}

void Replica::fail(const Error& error) {
  {
    const std::lock_guard lock(failure_mutex_);
    if (!failure_) failure_ = error;
  }
  failed_.store(true);
  for (auto& worker : workers_) worker->abort(error.summary());
  for (WaitWord* word : {&answered_, &done_, &submitted_, &started_}) release(*word);
}

void Replica::throw_if_failed() {
  if (!failed_.load()) return;
  const std::lock_guard lock(failure_mutex_);
  throw *failure_;
}

void Replica::stop() {
  // Steps under way are finished first: one that only some ranks begin, the others wait for.
  if (!failed_.load()) guarded([this] { await_workers(num_submitted_); });
  stopping_.store(true);
  release(submitted_);
  const uint32_t count = static_cast<uint32_t>(threads_.size());
  const int64_t deadline = failed_.load() ? deadline_from_now(kPartingMs) : WaitWord::kNoDeadline;
  const bool all_ended =
      ended_.wait_until([&](uint32_t v) { return v >= count; }, patience_, deadline);
  for (std::thread& thread : threads_) all_ended ? thread.join() : thread.detach();
  threads_.clear();
  // Late ones must not report to a caller who has gone; a silent one may be inside for good.
  const std::unique_lock lock(report_mutex_, std::try_to_lock);
  if (lock.owns_lock()) on_load_ = nullptr;
}

}  // namespace weft::engine
