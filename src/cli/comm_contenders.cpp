#include "cli/comm_contenders.h"

#include <exception>
#include <limits>
#include <memory>
#include <thread>
#include <utility>

#include "base/thread_team.h"

namespace weft::cli {
namespace {

using comm::Communicator;
using Members = std::vector<std::unique_ptr<Communicator>>;

constexpr const char* kPhase = "bench comm";

struct Way {
  const char* name;
  int64_t two_shot_bytes;
};
// The crossover of all_reduce is an option of a group.
constexpr Way kWays[] = {
    {"one shot", std::numeric_limits<int64_t>::max()}, {"two shots", 0}, {"as measured", -1}};

// Runs `body` for every member on a thread of its own, on the CPU of the same number where there is
// one. The first failure ends all others and is thrown.
void run_members(Members& members, const std::vector<int>& cpus,
                 const std::function<void(Communicator&)>& body) {
  std::vector<std::exception_ptr> failures(members.size());
  const auto run = [&](size_t local) {
    try {
      ThreadTeam team(1, cpus.empty() ? std::vector<int>() : std::vector<int>{cpus[local]});
      team.pin_leader();
      body(*members[local]);
    } catch (const std::exception& error) {
      failures[local] = std::current_exception();
      members[local]->abort(error.what());
    }
  };
  std::vector<std::thread> threads;
  for (size_t local = 0; local < members.size(); ++local) threads.emplace_back(run, local);
  for (std::thread& thread : threads) thread.join();
  for (const std::exception_ptr& failure : failures) {
    if (failure) std::rethrow_exception(failure);
  }
}

double run_all(Members& members, const std::vector<int>& cpus, const MemberBody& body) {
  double figure = 0;
  run_members(members, cpus, [&](Communicator& member) {
    const double seconds = body(member);
    if (member.rank() == 0) figure = seconds;
  });
  return figure;
}

// The CPUs of `count` ranks from `first` on, none where there are not so many.
std::vector<int> cpus_of(const std::vector<int>& cpus, int first, int count) {
  if (static_cast<size_t>(first + count) > cpus.size()) return {};
  return {cpus.begin() + first, cpus.begin() + first + count};
}

void add_ways(std::vector<Contender>* contenders, const std::string& transport, bool has_messages,
              const std::vector<int>& cpus,
              const std::function<Members(comm::GroupOptions)>& make) {
  for (const Way& way : kWays) {
    comm::GroupOptions options;
    options.two_shot_bytes = way.two_shot_bytes;
    const auto members = std::make_shared<Members>(make(options));
    const bool is_default = way.two_shot_bytes < 0;
    contenders->push_back(
        {transport, way.name, is_default, has_messages && is_default,
         [members, cpus](const MemberBody& body) { return run_all(*members, cpus, body); }});
  }
}

}  // namespace

std::vector<Contender> contenders_of_threads(int num_ranks, const std::vector<int>& cpus) {
  std::vector<Contender> contenders;
  add_ways(&contenders, "threads", true, cpus_of(cpus, 0, num_ranks),
           [&](comm::GroupOptions options) { return comm::make_thread_group(num_ranks, options); });
  return contenders;
}

std::vector<Contender> contenders_of_job(comm::Job& job, int ranks_per_process,
                                         const std::vector<int>& cpus) {
  const int num_ranks = job.num_processes() * ranks_per_process;
  std::vector<int> own;
  if (job.on_one_machine() && static_cast<size_t>(num_ranks) <= cpus.size())
    own = cpus_of(cpus, job.process() * ranks_per_process, ranks_per_process);

  std::vector<Contender> contenders;
  const auto make = [&](bool shares_memory) {
    return [&job, ranks_per_process, shares_memory](comm::GroupOptions options) {
      options.shares_memory = shares_memory;
      return job.members(ranks_per_process, options);
    };
  };
  if (job.on_one_machine()) add_ways(&contenders, "shared memory", false, own, make(true));
  add_ways(&contenders, "messages", true, own, make(false));

  // Who waits in MPI itself takes a core from whoever is measured meanwhile: all meet elsewhere
  // before, and after threads were measured in process 0 alone.
  const auto meeting = std::make_shared<Members>(job.members(1));
  const auto meet = [meeting] { meeting->front()->barrier(kPhase); };
  const bool has_library = ranks_per_process == 1 && job.library_member() != nullptr;
  if (has_library)
    contenders.push_back({"Open MPI", "", true, true, [&job, own, meet](const MemberBody& body) {
                            meet();
                            Members members;
                            members.push_back(job.library_member());
                            return run_all(members, own, body);
                          }});
  // Process 0 alone knows whether it may use so many CPUs.
  int64_t has_cpus[1] = {static_cast<size_t>(num_ranks) <= cpus.size() ? 1 : 0};
  meeting->front()->broadcast(std::as_writable_bytes(std::span(has_cpus)), 0, kPhase);
  if (job.on_one_machine() && has_cpus[0] != 0) {
    for (Contender& threads : contenders_of_threads(num_ranks, cpus)) {
      if (!threads.is_default) continue;
      threads.run = [run = std::move(threads.run), meet, &job](const MemberBody& body) {
        const double figure = job.process() == 0 ? run(body) : 0;
        meet();
        return figure;
      };
      contenders.push_back(std::move(threads));
    }
  }
  return contenders;
}

}  // namespace weft::cli
