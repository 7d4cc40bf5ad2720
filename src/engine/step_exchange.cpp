#include "engine/step_exchange.h"

#include <cstdlib>
#include <span>
#include <utility>

#include "base/clock.h"
#include "base/error.h"
#include "engine/process_agreement.h"

namespace weft::engine {
namespace {

// A plan of 65,536 tokens with block tables of long contexts has a tenth of this.
constexpr int64_t kMostBytes = int64_t{1} << 30;
// In place of a plan's size.
constexpr int64_t kEndWord = 0, kTimesWord = -1, kTimesAndWindowWord = -2;

std::span<std::byte> bytes_of(int64_t& size) { return std::as_writable_bytes(std::span(&size, 1)); }

void check_size(int64_t size) {
  if (size < 0 || size > kMostBytes)
    throw Error(ErrorKind::kCommunication, fmt::format("a step of {} bytes was announced", size));
}

}  // namespace

StepExchange::StepExchange(comm::Job& job, std::vector<Range> processes,
                           std::chrono::milliseconds deadline, comm::SumWire wire,
                           PlanLimits limits)
    : job_(job), processes_(std::move(processes)), limits_(std::move(limits)) {
  const int num_local = static_cast<int>(local_workers().size());
  world_ = job_.members(num_local, {.deadline = deadline, .wire = wire});
  plan_sizes_ = job_.members(num_local, {kNoDeadline});
  answer_sizes_ = job_.members(num_local, {deadline});
  bodies_ = job_.members(num_local, {deadline});
  answer_bytes_.resize(static_cast<size_t>(num_local));
}

void StepExchange::send_word(size_t process, int64_t word) {
  const int leader = static_cast<int>(processes_[process].begin);
  plan_sizes_.front()->send(leader, bytes_of(word), "plan of the next step");
}

void StepExchange::send_plan(std::span<const std::byte> bytes) {
  for (size_t process = 1; process < processes_.size(); ++process) {
    send_word(process, std::ssize(bytes));
    const int leader = static_cast<int>(processes_[process].begin);
    if (!bytes.empty()) bodies_.front()->send(leader, bytes, "plan of the next step");
  }
}

void StepExchange::tell(const StepPlan& plan) {
  write_plan(plan, plan_bytes_);
  send_plan(plan_bytes_);
}

void StepExchange::tell_end() {
  for (size_t process = 1; process < processes_.size(); ++process) send_word(process, kEndWord);
}

StepExchange::Heard StepExchange::hear(StepPlan& plan) {
  int64_t size = 0;
  plan_sizes_.front()->recv(0, bytes_of(size), "plan of the next step");
  if (size == kEndWord) return Heard::kEnd;
  if (size == kTimesWord) return Heard::kTimes;
  if (size == kTimesAndWindowWord) return Heard::kTimesAndWindow;
  check_size(size);
  plan_bytes_.resize(static_cast<size_t>(size));
  bodies_.front()->recv(0, plan_bytes_, "plan of the next step");
  read_plan(plan_bytes_, limits_, plan);
  return Heard::kPlan;
}

// A clock of another host began elsewhere. How far it is away is known to half of the way there and
// back; less than that is no difference.
void StepExchange::ask_times(bool begins_window, std::vector<WorkerTimes>& times) {
  for (size_t process = 1; process < processes_.size(); ++process) {
    const Range workers = processes_[process];
    const auto theirs = std::span(times).subspan(static_cast<size_t>(workers.begin),
                                                 static_cast<size_t>(workers.size()));
    const int leader = static_cast<int>(workers.begin);
    const int64_t asked_ns = now_ns();
    send_word(process, begins_window ? kTimesAndWindowWord : kTimesWord);
    int64_t their_ns = 0;
    answer_sizes_.front()->recv(leader, bytes_of(their_ns), "times of a process");
    bodies_.front()->recv(leader, std::as_writable_bytes(theirs), "times of a process");
    const int64_t way_ns = (now_ns() - asked_ns) / 2;
    const int64_t away_ns = their_ns - (asked_ns + way_ns);
    if (std::abs(away_ns) <= way_ns) continue;
    for (WorkerTimes& worker : theirs)
      move_work(worker.totals, [&](int64_t ns) { return ns - away_ns; });
  }
}

void StepExchange::tell_times(std::vector<WorkerTimes> of_workers_here) {
  int64_t now = now_ns();
  answer_sizes_.front()->send(0, bytes_of(now), "times of a process");
  bodies_.front()->send(0, std::as_bytes(std::span(of_workers_here)), "times of a process");
}

void StepExchange::answer(int worker, const StepAnswer& answer, int64_t work_ns) {
  std::vector<std::byte>& bytes =
      answer_bytes_[static_cast<size_t>(worker - local_workers().begin)];
  write_answer(answer, work_ns, bytes);
  int64_t size = std::ssize(bytes);
  local(answer_sizes_, worker).send(0, bytes_of(size), "answer to a step");
  local(bodies_, worker).send(0, bytes, "answer to a step");
}

void StepExchange::await(int worker, const StepPlan& plan, StepAnswer* answer, int64_t& work_ns) {
  int64_t size = 0;
  answer_sizes_.front()->recv(worker, bytes_of(size), "answer to a step");
  check_size(size);
  std::vector<std::byte>& bytes = answer_bytes_.front();
  bytes.resize(static_cast<size_t>(size));
  bodies_.front()->recv(worker, bytes, "answer to a step");
  read_answer(bytes, limits_, plan, answer, work_ns);
}

}  // namespace weft::engine
