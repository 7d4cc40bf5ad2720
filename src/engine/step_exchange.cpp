#include "engine/step_exchange.h"

#include <span>
#include <utility>

#include "base/error.h"
#include "engine/process_agreement.h"

namespace weft::engine {
namespace {

// A plan of 65,536 tokens with block tables of long contexts has a tenth of this.
constexpr int64_t kMostBytes = int64_t{1} << 30;

std::span<std::byte> bytes_of(int64_t& size) { return std::as_writable_bytes(std::span(&size, 1)); }

void check_size(int64_t size) {
  if (size < 0 || size > kMostBytes)
    throw Error(ErrorKind::kCommunication, fmt::format("a step of {} bytes was announced", size));
}

}  // namespace

StepExchange::StepExchange(comm::Job& job, std::vector<Range> processes,
                           std::chrono::milliseconds deadline, PlanLimits limits)
    : job_(job), processes_(std::move(processes)), limits_(std::move(limits)) {
  const int num_local = static_cast<int>(local_workers().size());
  world_ = job_.members(num_local, {deadline});
  plan_sizes_ = job_.members(num_local, {kNoDeadline});
  answer_sizes_ = job_.members(num_local, {deadline});
  bodies_ = job_.members(num_local, {deadline});
  answer_bytes_.resize(static_cast<size_t>(num_local));
}

void StepExchange::send_plan(std::span<const std::byte> bytes) {
  int64_t size = std::ssize(bytes);
  for (size_t process = 1; process < processes_.size(); ++process) {
    const int leader = static_cast<int>(processes_[process].begin);
    plan_sizes_.front()->send(leader, bytes_of(size), "plan of the next step");
    if (size > 0) bodies_.front()->send(leader, bytes, "plan of the next step");
  }
}

void StepExchange::tell(const StepPlan& plan) {
  write_plan(plan, plan_bytes_);
  send_plan(plan_bytes_);
}

void StepExchange::tell_end() { send_plan({}); }

bool StepExchange::hear(StepPlan& plan) {
  int64_t size = 0;
  plan_sizes_.front()->recv(0, bytes_of(size), "plan of the next step");
  check_size(size);
  if (size == 0) return false;
  plan_bytes_.resize(static_cast<size_t>(size));
  bodies_.front()->recv(0, plan_bytes_, "plan of the next step");
  read_plan(plan_bytes_, limits_, plan);
  return true;
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
