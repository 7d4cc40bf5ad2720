#include "comm/job.h"

#include <cstdlib>
#include <numeric>
#include <span>
#include <thread>
#include <utility>

#include "base/error.h"
#include "base/range.h"
#include "comm/enquiries.h"
#include "comm/job_of_link.h"
#include "comm/job_part.h"
#include "comm/job_watch.h"
#include "comm/mpi_link.h"
#include "comm/process_group.h"
#include "comm/spanning_member.h"

namespace weft::comm {
namespace {

// What the others have to say why they end: far more than a message takes, and less than the second
// that the launcher gives them once it has noticed by itself.
constexpr std::chrono::milliseconds kLastWords{500};

std::vector<int> all_processes(const Link& link) {
  std::vector<int> processes(static_cast<size_t>(link.num_processes()));
  std::iota(processes.begin(), processes.end(), 0);
  return processes;
}

class LinkJob final : public Job {
 public:
  LinkJob(std::unique_ptr<Link> link, const Introduction& self, JobOptions options)
      : link_(std::move(link)),
        part_(std::make_shared<JobPart>(*link_)),
        shares_memory_(options.shares_memory),
        clock_ahead_ns_(options.clock_ahead.count()),
        all_(part_, all_processes(*link_), 0, {options.deadline, kOneShot, false}) {
    introduce_all(self);
    enquiries_ = std::make_unique<Enquiries>(*part_, options.clock_ahead);
    watch_ = std::make_unique<JobWatch>(*part_, *enquiries_, options);
    enquiries_->read_clocks();
  }

  int process() const override { return link_->process(); }
  int num_processes() const override { return link_->num_processes(); }
  const Peer& peer(int process) const override {
    return part_->introduced().at(static_cast<size_t>(process)).peer;
  }
  bool on_this_host(int process) const override {
    const std::vector<Introduced>& all = part_->introduced();
    return on_same_host(all.at(static_cast<size_t>(process)),
                        all.at(static_cast<size_t>(link_->process())));
  }
  std::vector<std::unique_ptr<Communicator>> members(int num_local, GroupOptions options) override;
  std::unique_ptr<Communicator> library_member() override { return link_->library_member(); }
  bool on_one_machine() const override { return part_->on_one_machine(all_processes(*link_)); }
  void enter(const char* activity) override { part_->begin(activity); }
  void abort(const std::string& reason) override {
    part_->family()->abort(reason);
    part_->nudge();
  }

  std::optional<std::string> failure() const override {
    const Family& family = *part_->family();
    return family.aborted() ? std::optional(family.reason()) : std::nullopt;
  }

  void set_reporter(Reporter reporter) override { enquiries_->set_reporter(std::move(reporter)); }
  std::optional<std::vector<std::byte>> ask(int process, const ReportQuestion& about) override {
    return enquiries_->ask(process, about);
  }
  void ask_later(int process, const ReportQuestion& about) override {
    enquiries_->ask_later(process, about);
  }
  std::optional<std::vector<std::byte>> answer_so_far(int process) override {
    return enquiries_->answer_so_far(process);
  }
  void read_clocks() override { enquiries_->read_clocks(); }
  PeerClock clock(int process) const override { return enquiries_->clock(process); }
  int64_t clock_ahead_ns() const override { return clock_ahead_ns_; }

  void suspect() override { part_->suspect(); }

  void leave() override {
    watch_->leave();
    watch_.reset();
    enquiries_->hang_up();
    link_->leave();
  }

  [[noreturn]] void end(int exit_code) override {
    abort(fmt::format("{} ended with exit code {}", part_->own_name(), exit_code));
    std::this_thread::sleep_for(kLastWords);
    link_->end_all(exit_code);
    std::abort();  // it does not return, but no compiler believes a virtual function
  }

 private:
  static constexpr int64_t kOneShot = int64_t{1} << 40;  // of sums that few bytes need

  void introduce_all(const Introduction& self);
  // Everybody's blocks of equal size, of which this process's lies in its place.
  void gather(std::span<std::byte> all, const char* phase);

  const std::unique_ptr<Link> link_;
  const std::shared_ptr<JobPart> part_;
  const bool shares_memory_;
  const int64_t clock_ahead_ns_;
  ProcessGroup all_;
  std::unique_ptr<Enquiries> enquiries_;
  std::unique_ptr<JobWatch> watch_;
};

void LinkJob::gather(std::span<std::byte> all, const char* phase) {
  const auto count = static_cast<size_t>(num_processes());
  std::vector<int64_t> bounds(count + 1);
  for (size_t i = 0; i <= count; ++i) bounds[i] = static_cast<int64_t>(all.size() / count * i);
  all_.gather_blocks(all, bounds, phase);
}

void LinkJob::introduce_all(const Introduction& self) {
  std::vector<IntroductionBlock> blocks(static_cast<size_t>(num_processes()));
  blocks[static_cast<size_t>(process())] = to_block(introduce(self, link_->host()));
  gather(std::as_writable_bytes(std::span(blocks)), "introductions");
  std::vector<Introduced> introduced;
  for (const IntroductionBlock& block : blocks)
    introduced.push_back(from_block(block, static_cast<int>(introduced.size())));
  check_agreement(introduced);
  part_->introduce(std::move(introduced));
}

std::vector<std::unique_ptr<Communicator>> LinkJob::members(int num_local, GroupOptions options) {
  WEFT_CHECK(num_local >= 1 && num_local <= tag::kMaxLocalMembers, "{} members of one process",
             num_local);
  std::vector<int64_t> counts(static_cast<size_t>(num_processes()));
  counts[static_cast<size_t>(process())] = num_local;
  gather(std::as_writable_bytes(std::span(counts)), "ranks of each process");
  std::vector<int64_t> first_ranks{0};
  std::vector<Range> ranks;
  for (const int64_t count : counts) {
    if (count < 1 || count > tag::kMaxLocalMembers)
      part_->fail(fmt::format("{} says that it runs {} ranks",
                              part_->name(static_cast<int>(ranks.size())), count));
    ranks.push_back({first_ranks.back(), first_ranks.back() + count});
    first_ranks.push_back(ranks.back().end);
  }
  part_->set_ranks(ranks);
  options.shares_memory = options.shares_memory && shares_memory_;
  const int64_t number = all_.agree_on_groups(1);
  const auto threads = ThreadGroup::make(num_local, options, part_->family());
  std::vector<std::unique_ptr<Communicator>> members;
  for (int local = 0; local < num_local; ++local) {
    threads->seat(local).name =
        fmt::format("{} ({})", first_ranks[static_cast<size_t>(process())] + local, link_->host());
    members.push_back(make_spanning_member(part_, all_processes(*link_), first_ranks, number,
                                           std::make_unique<ThreadMember>(threads, local),
                                           options));
  }
  return members;
}

}  // namespace

std::unique_ptr<Job> make_job(std::unique_ptr<Link> link, const Introduction& self,
                              JobOptions options) {
  return std::make_unique<LinkJob>(std::move(link), self, options);
}

std::unique_ptr<Job> join_job(const Launch& launch, const Introduction& self, JobOptions options) {
  if (!launch.can_join)
    throw Error(ErrorKind::kCommunication,
                fmt::format("{} started {} processes that cannot find each other", launch.launcher,
                            launch.num_processes),
                "weft joins them through Open MPI, which needs PMIx",
                launch.launcher == "srun" ? "srun --mpi=pmix" : "the mpirun of Open MPI");
  return make_job(make_mpi_link(launch, options.deadline), self, options);
}

}  // namespace weft::comm
