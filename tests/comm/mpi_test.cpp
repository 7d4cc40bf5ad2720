// The same over MPI. These tests exist only in processes that a launcher has started together
// (mpi_test.py starts them), and each process runs its own ranks of them:
//
//   mpirun -np 3 --oversubscribe build/tests/comm_test --gtest_brief=1 --gtest_filter='Mpi/*'
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <optional>
#include <thread>

#include "base/clock.h"
#include "base/error.h"
#include "comm/contract.h"
#include "comm/job.h"

namespace weft::comm {
namespace {

using std::chrono::milliseconds;
using testing::AllOf;
using testing::HasSubstr;

const std::optional<Launch>& launch() {
  static const std::optional<Launch> found = find_launch(process_environment());
  return found;
}

// Of this process, before it has joined: mpirun and srun say it by different names.
int own_process() {
  for (const char* name : {"OMPI_COMM_WORLD_RANK", "PMIX_RANK"})
    if (const char* rank = std::getenv(name)) return std::atoi(rank);
  return 0;
}

// The job of this process, joined at its first use and left at the end of the program.
class TheJob final : public testing::Environment {
 public:
  static Job& get(JobOptions options = {}, const std::string& version = "1.2.3") {
    if (!job()) job() = join_job(*launch(), {version, "numerics", "isa"}, options);
    return *job();
  }
  void TearDown() override {
    if (job() && !HasFailure()) job()->leave();
  }

 private:
  static bool HasFailure() { return testing::UnitTest::GetInstance()->failed_test_count() > 0; }
  static std::unique_ptr<Job>& job() {
    static std::unique_ptr<Job> the_job;
    return the_job;
  }
};

class MpiWorld final : public World {
 public:
  MpiWorld(int num_local, GroupOptions options)
      : members_(TheJob::get().members(num_local, options)) {}
  Members& members() override { return members_; }

 private:
  Members members_;
};

// Process p runs num_local + extra * (p % 2) members.
Transport over_mpi(int num_local, int extra, bool shares_memory) {
  const int processes = launch()->num_processes;
  int size = 0;
  for (int p = 0; p < processes; ++p) size += num_local + extra * (p % 2);
  const int mine = num_local + extra * (own_process() % 2);
  return {(shares_memory ? "each" : "messages") + std::to_string(num_local) + "and" +
              std::to_string(extra),
          size, mine, [mine, shares_memory](GroupOptions options) {
            options.shares_memory = shares_memory;
            return std::make_unique<MpiWorld>(mine, options);
          }};
}

std::vector<Transport> mpi_transports() {
  if (!launch() || launch()->num_processes == 0) return {};
  [[maybe_unused]] static const testing::Environment* const ends =
      testing::AddGlobalTestEnvironment(new TheJob);
  return {over_mpi(1, 0, true), over_mpi(1, 1, false)};
}

INSTANTIATE_TEST_SUITE_P(Mpi, Contract, testing::ValuesIn(mpi_transports()),
                         testing::PrintToStringParamName());

// ---- Bits

class MpiBits : public testing::TestWithParam<Transport> {};
GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(MpiBits);

// Random sizes from 8 bytes to 16 MiB, all 64 bits in use.
TEST_P(MpiBits, SumsAreThoseOfThreads) {
  const int size = GetParam().size;
  const auto world = GetParam().make({});
  for (int64_t call = 0; call < 14; ++call) {
    const double share =
        static_cast<double>(static_cast<uint64_t>(value_of(0, call, 5)) >> 11) * 0x1p-53;
    const auto length =
        call == 0 ? int64_t{1} << 21 : static_cast<int64_t>(std::exp2(share * 21.0));
    std::vector<int64_t> expected;
    run_members(size, [&](Communicator& comm) {
      std::vector<int64_t> data = values_of(comm.rank(), length, call);
      comm.all_reduce(data, "threads");
      if (comm.rank() == 0) expected = data;
    });
    std::atomic<int> wrong = 0;
    const auto failures = run_members_to_end(world->members(), [&](Communicator& comm) {
      std::vector<int64_t> data = values_of(comm.rank(), length, call);
      comm.all_reduce(data, "processes");
      if (data != expected) ++wrong;
    });
    for (const auto& failure : failures) ASSERT_EQ(failure, nullptr);
    ASSERT_EQ(wrong, 0) << length * 8 << " bytes";
  }
}

INSTANTIATE_TEST_SUITE_P(Mpi, MpiBits, testing::ValuesIn(mpi_transports()),
                         testing::PrintToStringParamName());

// ---- Faults: each is the last that its job does

struct Fault {
  const char* name;
  void (*strike)(Communicator& comm);  // in rank 1, once all have met
  int64_t deadline_ms;
  const char* expected;                      // of every other rank's error; ")...": of rank 1
  const char* expected_elsewhere = nullptr;  // where it is not seen to end, on another machine
  bool in_the_making = false;                // of a sum that travels meanwhile
};

void sleep_long(Communicator&) { std::this_thread::sleep_for(std::chrono::seconds(300)); }
void die(Communicator&) { kill(getpid(), SIGKILL); }
void freeze(Communicator&) { kill(getpid(), SIGSTOP); }
void exit_quietly(Communicator&) { _exit(3); }
void call_another_verb(Communicator& comm) {
  int64_t data[4] = {};
  comm.all_reduce(data, "elsewhere");
}
void send_another_size(Communicator& comm) {
  std::byte data[100] = {};
  comm.broadcast(data, 1, "layer 3 mlp");
}
void give_up(Communicator& comm) { comm.abort("rank 1: the sum left its range"); }

constexpr const char* kUnheard = ") (last seen in";
const Fault kFaults[] = {
    {"Sleeping", sleep_long, 1000, ") did not come to 'layer 3 mlp' (broadcast) of start within"},
    {"Killed", die, 60'000, ") ended without a word (process id ", kUnheard},
    {"Frozen", freeze, 60'000, ") gave no sign of life for 3000 ms"},
    {"Quiet", exit_quietly, 60'000, ") ended without a word (process id ", kUnheard},
    {"AnotherVerb", call_another_verb, 1000, ") did not come to"},
    {"AnotherSize", send_another_size, 60'000, ", which takes 64"},
    {"GivenUp", give_up, 60'000, "rank 1: the sum left its range"},
    {"KilledInTheMaking", die, 60'000, ") ended without a word (process id ", kUnheard, true},
    {"FrozenInTheMaking", freeze, 60'000, ") gave no sign of life for 3000 ms", nullptr, true},
    {"GivenUpInTheMaking", give_up, 60'000, "rank 1: the sum left its range", nullptr, true},
};

// 2 MiB in pieces of 128 KiB, by messages; rank 1 falls when it has made some of them.
void strike_in_the_making(const Fault& fault, Communicator& comm) {
  static std::vector<int64_t> data(4096 * 64);  // outlives the verb in every member (comm.h)
  int num_pieces = 0;
  const auto make_of = [&](Range) {
    if (++num_pieces == 6 && comm.rank() == 1) fault.strike(comm);
  };
  comm.reduce_scatter_as_made({data, 64, 64, 0}, {256, make_of}, "layer 3 mlp");
}

// As job.h says.
void hand_on_the_launchers_word(Job& job) {
  static Job* told = nullptr;
  told = &job;
  signal(SIGTERM, [](int) { told->suspect(); });
}

class MpiFault : public testing::TestWithParam<Fault> {};
GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(MpiFault);

// Rank 1 falls; every other one says who it was and ends the job with exit code 5.
TEST_P(MpiFault, IsNamedByEverySurvivor) {
  Job& job = TheJob::get({.silence = milliseconds(3000)});
  hand_on_the_launchers_word(job);
  auto members = job.members(1, {.deadline = milliseconds(GetParam().deadline_ms),
                                 .shares_memory = !GetParam().in_the_making});
  Communicator& comm = *members.front();
  const int64_t begin = now_ns();
  try {
    comm.barrier("layer 3 attention");  // whoever falls may have left it before the others have
    if (GetParam().in_the_making) strike_in_the_making(GetParam(), comm);
    if (comm.rank() == 1) GetParam().strike(comm);
    std::byte data[64] = {};
    comm.broadcast(data, 1, "layer 3 mlp");
    comm.barrier("layer 4");
  } catch (const Error& error) {
    const Fault& fault = GetParam();
    const bool elsewhere = !job.on_one_machine() && fault.expected_elsewhere != nullptr;
    std::string expected = elsewhere ? fault.expected_elsewhere : fault.expected;
    if (expected.front() == ')') expected = "rank 1 (" + job.peer(1).host + expected;
    const bool is_named = std::string(error.what()).find(expected) != std::string::npos;
    const int exit_code = is_named || comm.rank() == 1 ? error.exit_code() : 1;
    std::fprintf(stderr, "\nrank %d after %.1f s, exit code %d: %s\n", comm.rank(),
                 seconds_between(begin, now_ns()), exit_code, error.what());
    job.end(exit_code);
  }
  std::fprintf(stderr, "\nrank %d was not told\n", comm.rank());
  job.end(1);
}

std::vector<Fault> mpi_faults() {
  if (mpi_transports().empty()) return {};
  return {std::begin(kFaults), std::end(kFaults)};
}

INSTANTIATE_TEST_SUITE_P(Mpi, MpiFault, testing::ValuesIn(mpi_faults()),
                         [](const auto& fault) { return fault.param.name; });

class MpiStart : public testing::TestWithParam<int> {};
GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(MpiStart);

TEST_P(MpiStart, AnotherVersionIsRefused) {
  try {
    TheJob::get({}, own_process() == 1 ? "1.2.4" : "1.2.3");
    ADD_FAILURE() << "joined";
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), AllOf(HasSubstr("different versions of weft"), HasSubstr("1.2.4"),
                                    HasSubstr("process 1 (")));
    std::fprintf(stderr, "\nrank %d: %s\n", own_process(), error.what());
  }
}

std::vector<int> once() { return mpi_transports().empty() ? std::vector<int>{} : std::vector{0}; }
INSTANTIATE_TEST_SUITE_P(Mpi, MpiStart, testing::ValuesIn(once()));

}  // namespace
}  // namespace weft::comm
