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

Replica::Replica(ReplicaShape shape, int64_t deadline_ms, const OnLoad& on_load, comm::Job* job)
    : shape_(std::move(shape)),
      deadline_ms_(deadline_ms),
      max_in_flight_(std::min<uint64_t>(static_cast<uint64_t>(shape_.topology.num_stages()) + 1,
                                        kRingSlots / 2)),
      job_(job),
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
                                        const OnLoad& on_load, comm::Job* job) {
  // Every thread holds `self`; the owner's pointer stops them instead of destroying.
  const std::shared_ptr<Replica> self(new Replica(std::move(shape), deadline_ms, on_load, job));
  std::shared_ptr<Replica> owned(self.get(), [self](Replica* replica) { replica->stop(); });
  owned->start_all(self);
  return owned;
}

Range Replica::local_workers() const {
  Range local{0, std::ssize(shape_.placement.workers)};
  if (job_ == nullptr) return local;
  const auto process_of = [this](int64_t worker) {
    return shape_.placement.workers[static_cast<size_t>(worker)].process;
  };
  while (process_of(local.begin) != job_->process()) ++local.begin;
  while (process_of(local.end - 1) != job_->process()) --local.end;
  return local;
}

std::vector<std::unique_ptr<comm::Communicator>> Replica::join_workers(Range local) {
  if (job_ == nullptr) return make_world(static_cast<int>(local.size()), deadline_ms_);
  std::vector<Range> processes(static_cast<size_t>(job_->num_processes()));
  const std::vector<WorkerPlace>& workers = shape_.placement.workers;
  for (size_t w = 0; w < workers.size(); ++w) {
    Range& process = processes[static_cast<size_t>(workers[w].process)];
    const auto worker = static_cast<int64_t>(w);
    process = process.empty() ? Range{worker, worker + 1} : Range{process.begin, worker + 1};
  }
  PlanLimits limits{shape_.max_batch_tokens,
                    shape_.ropes->front().num_positions(),
                    shape_.source->config.vocab_size,
                    shape_.source->config.hidden_size,
                    {shape_.num_blocks}};
  limits.num_blocks.insert(limits.num_blocks.end(), shape_.window_blocks.begin(),
                           shape_.window_blocks.end());
  limits.windows = shape_.groups.windows;
  limits.block_size = shape_.kv.block_tokens;
  exchange_ = std::make_unique<StepExchange>(*job_, std::move(processes),
                                             std::chrono::milliseconds(deadline_ms_), shape_.reduce,
                                             std::move(limits));
  for (const TimeRow& row : shape_.time_rows())
    row_leaders_.push_back(static_cast<int>(row.workers.begin));
  answered_elsewhere_ = !exchange_->is_local(row_leaders_.back());
  return exchange_->take_world();
}

// For what others say if this process is lost meanwhile.
void Replica::enter_activity(const StepPlan& plan) const {
  const bool has_prompt = plan.token_ids.size() > plan.rows.size();
  job_->enter(has_prompt ? "prompt" : "generation");
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
  const Range local = local_workers();
  const int count = static_cast<int>(local.size());
  auto world = join_workers(local);
  for (int w = 0; w < count; ++w) {
    workers_.push_back(std::make_unique<Worker>(shape_, static_cast<int>(local.begin) + w,
                                                std::move(world[static_cast<size_t>(w)])));
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
  if (exchange_) begin_reports();
}

void Replica::begin_reports() {
  if (exchange_->plans()) {
    reports_ =
        std::make_unique<WorkerReports>(*job_, exchange_->processes(), shape_.num_kept_events);
    return;
  }
  ReportingWorkers workers;
  for (const auto& worker : workers_) workers.clocks.push_back(&worker->clock());
  workers.times = [this] { return times_here(); };
  job_->set_reporter(reporter_of(std::move(workers), job_->clock_ahead_ns()));
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
  if (exchange_ && !exchange_->plans()) {
    answer_elsewhere(index, slot);
  } else if (worker.answers()) {
    answered_.add(1);
    answered_.wake();
  }
  worker.clock().enter(index == 0 ? Activity::kSchedule : Activity::kNothing);
}

// Grammars live in this process alone: their masks travel with the plan.
void Replica::tell(Slot& slot) {
  if (!slot.masks.empty()) {
    workers_.front()->fill_masks(slot.masks);
    mask_ns_ += slot.masks.spent_ns();
    slot.masks.clear();
  }
  exchange_->tell(slot.plan);
}

void Replica::answer_elsewhere(int index, const Slot& slot) {
  const int worker = static_cast<int>(exchange_->local_workers().begin) + index;
  const auto row = std::find(row_leaders_.begin(), row_leaders_.end(), worker);
  if (row == row_leaders_.end()) return;
  const bool answers = row + 1 == row_leaders_.end();
  exchange_->answer(worker, answers ? slot.answer : no_answer_,
                    slot.work_ns[static_cast<size_t>(row - row_leaders_.begin())]);
}

void Replica::await_others(Slot& slot) {
  for (size_t row = 0; row < row_leaders_.size(); ++row) {
    if (exchange_->is_local(row_leaders_[row])) continue;
    const bool answers = row + 1 == row_leaders_.size();
    exchange_->await(row_leaders_[row], slot.plan, answers ? &slot.answer : nullptr,
                     slot.work_ns[row]);
  }
}

void Replica::follow() {
  using Heard = StepExchange::Heard;
  while (true) {
    StepPlan& plan = next_plan();
    rest();
    Heard heard = Heard::kEnd;
    guarded([&] { heard = exchange_->hear(plan); });
    throw_if_failed();
    if (heard == Heard::kEnd) return;
    if (heard == Heard::kPlan) {
      submit();
      continue;
    }
    if (heard == Heard::kTimesAndWindow)
      for (const auto& worker : workers_) worker->clock().begin_window(now_ns());
    guarded([&] { exchange_->tell_times(times_here()); });
    throw_if_failed();
  }
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

std::vector<WorkerTimes> Replica::times_here() const {
  std::vector<WorkerTimes> times;
  for (const auto& worker : workers_) {
    const WorkerPlace& place = shape_.placement.workers[static_cast<size_t>(worker->index())];
    WorkerTimes& own = times.emplace_back(WorkerTimes{worker->clock().totals(), 0});
    for (int64_t rank = place.ranks.begin; rank < place.ranks.end; ++rank)
      own.reduce_bytes += worker->reduce_bytes(static_cast<int>(rank));
  }
  return times;
}

// While steps are under way nobody waits for an answer to this.
void Replica::ask_others(bool begins_window) {
  if (!reports_ || failed_.load()) return;
  times_.resize(shape_.placement.workers.size());
  if (in_flight() > 0)
    reports_->refresh_times(begins_window, times_);
  else
    guarded([&] { exchange_->ask_times(begins_window, times_); });
}

ClockMarks Replica::marks(bool begins_window) {
  ask_others(begins_window);
  ClockMarks marks;
  for (const WorkerTimes& worker : times_) marks.workers.push_back(worker.totals);
  marks.workers.resize(shape_.placement.workers.size());
  auto place = marks.workers.begin() + local_workers().begin;
  for (const auto& worker : workers_) *place++ = worker->clock().totals();
  for (int rank = 0; rank < shape_.topology.num_ranks(); ++rank) {
    // Over processes each rank is a worker.
    const int64_t told = times_.empty() ? 0 : times_[static_cast<size_t>(rank)].reduce_bytes;
    marks.reduce_bytes.push_back(runs(rank) ? worker_of(rank).reduce_bytes(rank) : told);
  }
  marks.num_steps = static_cast<int64_t>(num_submitted_);
  marks.at_ns = now_ns();
  return marks;
}

std::vector<ActivityClock::Events> Replica::events_since(int64_t begin_ns,
                                                         int64_t& error_ns) const {
  std::vector<ActivityClock::Events> events(shape_.placement.workers.size());
  error_ns = reports_ ? reports_->events(begin_ns, events) : 0;
  auto place = events.begin() + local_workers().begin;
  for (const auto& worker : workers_) {
    const ActivityClock& clock = worker->clock();
    *place++ = clock.events(clock.event_at(begin_ns), clock.num_kept());
  }
  return events;
}

ClockMarks Replica::begin_window() {
  ClockMarks begin = marks(true);
  for (const auto& worker : workers_) worker->clock().begin_window(begin.at_ns);
  return begin;
}

bool Replica::runs(int rank) const {
  const Range local = local_workers();
  for (int64_t w = local.begin; w < local.end; ++w)
    if (shape_.placement.workers[static_cast<size_t>(w)].ranks.contains(rank)) return true;
  return false;
}

const Worker& Replica::worker_of(int rank) const {
  const auto first = static_cast<size_t>(local_workers().begin);
  for (size_t w = 0; w < workers_.size(); ++w) {
    if (shape_.placement.workers[first + w].ranks.contains(rank)) return *workers_[w];
  }
  WEFT_CHECK(false, "no worker runs rank {}", rank);
}

void Replica::submit(const StepContext& context) {
  const uint64_t step = num_submitted_++;
  const int64_t submitted_ns = now_ns();  // nobody begins before
  Slot& slot = slots_[step % kRingSlots];
  StepPlan& plan = slot.plan;
  plan.id = step;
  slot.masks.begin(plan);
  if (exchange_) {
    enter_activity(plan);
    if (exchange_->plans()) guarded([&] { tell(slot); });
  }
  if (shape_.num_kept_steps > 0) {
    StepRecord record = record_of(plan);
    if (context.load) record.load = *context.load;
    record.num_needed = context.num_needed.value_or(num_awaited_);
    record.submitted_ns = submitted_ns;
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
  Slot& slot = slots_[num_awaited_ % kRingSlots];
  if (exchange_) guarded([&] { await_others(slot); });
  const bool in_time =
      answered_elsewhere_ ||
      answered_.wait_until(
          [&](uint32_t v) { return WaitWord::reached(v, target) || failed_.load(); }, patience_,
          deadline_from_now(deadline_ms_));
  if (!in_time)
    fail(Error(
        ErrorKind::kCommunication,
        fmt::format("step {} was not answered within {} s", num_awaited_, deadline_ms_ / 1000),
        "a rank of the last stage is silent"));
  throw_if_failed();
  plan();
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
  if (exchange_ && !exchange_->plans()) job_->set_reporter(nullptr);
  // Steps under way are finished first: one that only some ranks begin, the others wait for.
  if (!failed_.load()) guarded([this] { await_workers(num_submitted_); });
  if (!failed_.load() && exchange_ && exchange_->plans())
    guarded([this] { exchange_->tell_end(); });
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
