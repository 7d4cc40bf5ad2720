// Groups that span processes, over links within this program.
#include "comm/job.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <functional>
#include <numeric>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/error.h"
#include "comm/failures.h"
#include "comm/introduction.h"
#include "comm/job_world.h"

namespace weft::comm {
namespace {

using std::chrono::milliseconds;
using testing::AllOf;
using testing::HasSubstr;

// The processes of these jobs are on one machine, and share memory unless they are told not to.
Transport processes(const std::vector<int>& num_local, bool shares_memory = true) {
  std::string name = shares_memory ? "" : "messages";
  for (const int count : num_local) name += (name.empty() ? "" : "_") + std::to_string(count);
  const int size = std::accumulate(num_local.begin(), num_local.end(), 0);
  return {name, size, size, [num_local, shares_memory](GroupOptions options) {
            options.shares_memory = shares_memory;
            return std::make_unique<JobWorld>(num_local, options);
          }};
}

INSTANTIATE_TEST_SUITE_P(Jobs, Contract,
                         testing::Values(processes({1, 1}), processes({2, 2}),
                                         processes({1, 1, 1, 1, 1}), processes({1, 1, 1}, false),
                                         processes({3, 2, 2}, false), processes({1, 4}, false)),
                         testing::PrintToStringParamName());

// What fails in every member of a job, each with its own error.
std::vector<std::string> failures_of(JobWorld& world,
                                     const std::function<void(Communicator&)>& body) {
  std::vector<std::string> texts;
  for (const std::exception_ptr& failure : run_members_to_end(world.members(), body))
    texts.push_back(text_of(failure));
  world.fail();
  return texts;
}

TEST(Job, PartsWithinAProcessLendViewsAndAreOfTheSameJob) {
  JobWorld world({2, 2}, {});
  const auto failures = failures_of(world, [](Communicator& comm) {
    EXPECT_FALSE(comm.lends_views());
    const auto part = comm.split(comm.rank() / 2, comm.rank());
    EXPECT_EQ(part->size(), 2);
    EXPECT_TRUE(part->lends_views());
    const auto across = comm.split(comm.rank() % 2, comm.rank());
    EXPECT_FALSE(across->lends_views());
    comm.barrier("made");
    if (comm.rank() == 3) part->abort("rank 3 fell");
    comm.barrier("never");
  });
  for (const std::string& failure : failures) EXPECT_EQ(failure, "rank 3 fell");
}

TEST(Job, MoreGroupsThanTagsHaveNumbers) {
  JobWorld world({1, 1}, {});
  for (const std::exception_ptr& failure : run_members_to_end(world.members(), [](auto& comm) {
         for (int i = 0; i < 600; ++i) {
           const auto pair = comm.split(0, comm.rank());
           ASSERT_TRUE(all_reduce_is_right(*pair, 3, i));
         }
         ASSERT_TRUE(all_reduce_is_right(comm, 3, 1));
       }))
    EXPECT_EQ(failure, nullptr);
}

TEST(Job, ASilentProcessIsNamedWithHostAndPhase) {
  JobWorld world({1, 1, 1}, with_deadline(500));
  const auto failures = failures_of(world, [](Communicator& comm) {
    comm.barrier("layer 3 attention");
    if (comm.rank() == 1) return;
    comm.barrier("layer 3 mlp");
  });
  for (const size_t rank : {0, 2})
    EXPECT_THAT(
        failures[rank],
        HasSubstr("rank 1 (host1) did not come to 'layer 3 mlp' (barrier) of start within"));
  // Messages of the others may lie ready for the late one's first barrier.
  EXPECT_THROW(
      {
        world.members()[1]->barrier("late");
        world.members()[1]->barrier("too late");
      },
      Error);
}

TEST(Job, ASilentThreadIsNamedByItsOwnProcess) {
  JobWorld world({2, 2}, with_deadline(500));
  const auto failures = failures_of(world, [](Communicator& comm) {
    if (comm.rank() != 3) comm.barrier("step");
  });
  for (const size_t rank : {0, 1, 2})
    EXPECT_THAT(failures[rank], HasSubstr("rank 3 (host1) did not arrive at 'step' within 500 ms"));
}

TEST(Job, ASilentSenderAndASilentReceiverAreNamed) {
  JobWorld sender({1, 1}, with_deadline(300));
  auto failures = failures_of(sender, [](Communicator& comm) {
    std::byte data[8];
    if (comm.rank() == 0) comm.recv(1, data, "activations");
  });
  EXPECT_THAT(failures[0], HasSubstr("rank 1 (host1) did not come to 'activations' (recv)"));

  JobWorld receiver({1, 1}, with_deadline(300));
  failures = failures_of(receiver, [](Communicator& comm) {
    const std::byte data[8] = {};
    for (int i = 0; i < 100 && comm.rank() == 0; ++i) comm.send(1, data, "activations");
  });
  EXPECT_THAT(failures[0], HasSubstr("rank 1 (host1) did not take the messages of 'activations'"));
}

TEST(Job, Only64MessagesLieUnread) {
  JobWorld world({1, 1}, with_deadline(400));
  int sent = 0;
  failures_of(world, [&](Communicator& comm) {
    const std::byte data[8] = {};
    for (int i = 0; i < 100 && comm.rank() == 0; ++i, ++sent) comm.send(1, data, "pressure");
  });
  EXPECT_EQ(sent, 64);
}

TEST(Job, SizesAreCheckedBeforeUse) {
  JobWorld message({1, 1}, {});
  auto failures = failures_of(message, [](Communicator& comm) {
    std::byte data[9] = {};
    if (comm.rank() == 0) comm.send(1, std::span(data, 8), "tokens");
    if (comm.rank() == 1) comm.recv(0, data, "tokens");
  });
  EXPECT_THAT(failures[1],
              HasSubstr("rank 0 (host0) sent 8 bytes to 'tokens' (recv) of rank 1 (host1), which "
                        "takes 9"));

  JobWorld sum({1, 1}, {});
  failures = failures_of(sum, [](Communicator& comm) {
    std::vector<int64_t> data(comm.rank() == 0 ? 3 : 4);
    comm.all_reduce(data, "odd");
    comm.barrier("after");
  });
  EXPECT_THAT(failures[0] + failures[1], HasSubstr("to 'odd' (all_reduce) of"));
}

TEST(Job, AnotherVerbIsWaitedForInVainAndNamed) {
  JobWorld world({1, 1}, with_deadline(300));
  const auto failures = failures_of(world, [](Communicator& comm) {
    int64_t data[1] = {};
    if (comm.rank() == 0) comm.barrier("here");
    if (comm.rank() == 1) comm.reduce_scatter(data, 1, "there");
  });
  EXPECT_THAT(failures[0] + failures[1],
              testing::AnyOf(HasSubstr("rank 1 (host1) calls reduce_scatter"),
                             HasSubstr("rank 0 (host0) calls barrier")));
}

// ---- Sums that leave while they are made

// A sum of 40 rows in pieces of 4; made(piece) is called in each member once a piece is there.
void reduce_as_made(Communicator& comm, const std::function<void(Range)>& made) {
  std::vector<int64_t> data(80, comm.rank());
  const auto make_of = [&](Range rows) { made(rows); };
  comm.reduce_scatter_as_made({data, 2, 2, 0}, {4, make_of}, "layer 3 mlp");
}

TEST(JobAsMade, WhatOthersWaitForLeavesBeforeTheRestIsMade) {
  JobWorld world({1, 1}, {.shares_memory = false});
  std::atomic<bool> first_has_its_sums = false;
  for (const std::exception_ptr& failure : run_members_to_end(world.members(), [&](auto& comm) {
         const Range own = equal_part({0, 40}, comm.rank(), 2);
         int64_t num_made = 0;
         reduce_as_made(comm, [&](Range rows) {
           EXPECT_LE(rows.size(), 4);
           const bool is_own = own.intersect(rows) == rows;
           EXPECT_EQ(is_own, num_made >= 20) << rows.begin;
           num_made += rows.size();
           const int64_t give_up = now_ns() + 10'000'000'000;
           while (is_own && comm.rank() == 1 && !first_has_its_sums && now_ns() < give_up)
             std::this_thread::yield();
           EXPECT_TRUE(!is_own || comm.rank() == 0 || first_has_its_sums);
         });
         EXPECT_EQ(num_made, 40);
         if (comm.rank() == 0) first_has_its_sums = true;
       }))
    EXPECT_EQ(failure, nullptr);
}

TEST(JobAsMade, AProcessLostInTheMiddleIsNamed) {
  JobWorld world({2, 1, 1}, {.shares_memory = false}, {.silence = milliseconds(2500)});
  const int64_t begin = now_ns();
  const auto failures = failures_of(world, [&](Communicator& comm) {
    comm.barrier("layer 3 attention");
    int pieces = 0;
    while (true)  // what was sent before the cut still arrives
      reduce_as_made(comm, [&](Range) {
        if (comm.rank() == 3 && ++pieces == 4) world.board().cut(2);
      });
  });
  EXPECT_LT(seconds_between(begin, now_ns()), 20.0) << "the deadline is a minute";
  for (const size_t rank : {0, 1, 2})
    EXPECT_THAT(failures[rank], HasSubstr("rank 3 (host2) gave no sign of life"));
}

TEST(JobAsMade, WhoStopsInTheMiddleIsWaitedForByTheDeadlineAndNamed) {
  JobWorld world({1, 1}, {.deadline = milliseconds(500), .shares_memory = false});
  const auto failures = failures_of(world, [](Communicator& comm) {
    int pieces = 0;
    reduce_as_made(comm, [&](Range) {
      if (comm.rank() == 1 && ++pieces == 3) std::this_thread::sleep_for(milliseconds(4000));
    });
  });
  EXPECT_THAT(failures[0], HasSubstr("rank 1 (host1) did not come to 'layer 3 mlp' "
                                     "(reduce_scatter_as_made) of start within"));
  EXPECT_EQ(failures[1], failures[0]) << "who comes late finds the job ended";
}

TEST(JobAsMade, WhoGivesUpInTheMiddleEndsAll) {
  JobWorld world({2, 1}, {.shares_memory = false});
  const auto failures = failures_of(world, [](Communicator& comm) {
    int pieces = 0;
    reduce_as_made(comm, [&](Range) {
      if (comm.rank() == 1 && ++pieces == 3) comm.abort("layer 7: the sum left its range");
    });
    comm.barrier("never");
  });
  for (const std::string& failure : failures) EXPECT_EQ(failure, "layer 7: the sum left its range");
}

TEST(JobAsMade, AnotherVerbOrSizeIsNamed) {
  JobWorld verb({1, 1}, {.deadline = milliseconds(300), .shares_memory = false});
  auto failures = failures_of(verb, [](Communicator& comm) {
    std::vector<int64_t> data(80);
    if (comm.rank() == 0) reduce_as_made(comm, [](Range) {});
    if (comm.rank() == 1) comm.reduce_scatter_sums({data, 2, 2, 0}, "at once");
  });
  EXPECT_THAT(failures[0] + failures[1],
              testing::AnyOf(HasSubstr("rank 1 (host1) calls reduce_scatter"),
                             HasSubstr("rank 0 (host0) calls reduce_scatter_as_made")));

  JobWorld size({1, 1}, {.deadline = milliseconds(2000), .shares_memory = false});
  failures = failures_of(size, [](Communicator& comm) {
    std::vector<int64_t> data(80);
    const auto make_of = [](Range) {};
    comm.reduce_scatter_as_made({data, 2, 2, 0}, {4 + comm.rank(), make_of}, "odd");
    comm.barrier("after");
  });
  EXPECT_THAT(failures[0] + failures[1], HasSubstr("to 'odd' (reduce_scatter_as_made) of"));
}

// ---- What ends a job

TEST(Job, AFailureReachesWaitsOfEveryKindInEveryProcess) {
  JobWorld world({2, 1, 2}, {});
  const int64_t begin = now_ns();
  const auto failures = failures_of(world, [](Communicator& comm) {
    std::byte data[8] = {};
    if (comm.rank() == 0) comm.recv(3, data, "never");
    if (comm.rank() == 1) comm.recv(0, data, "never");
    if (comm.rank() == 2)
      while (true) comm.send(4, data, "never");
    if (comm.rank() == 3) {
      std::this_thread::sleep_for(milliseconds(20));
      comm.abort("layer 7: the sum left its range");
    }
    comm.barrier("never");
  });
  EXPECT_LT(seconds_between(begin, now_ns()), 20.0) << "the deadline is a minute";
  for (const std::string& failure : failures) EXPECT_EQ(failure, "layer 7: the sum left its range");
}

// Its ranks may still be waited for by the book; who hears nothing of the whole process does not.
TEST(Job, AProcessThatIsCutOffIsFoundByItsSilence) {
  JobWorld world({1, 1, 1}, {.shares_memory = false}, {.silence = milliseconds(2500)});
  const int64_t begin = now_ns();
  const auto failures = failures_of(world, [&](Communicator& comm) {
    comm.barrier("layer 3 attention");
    if (comm.rank() == 2) world.board().cut(2);
    comm.barrier("layer 3 mlp");
    comm.barrier("layer 4");  // to the one before, the others may have come before the cut
  });
  EXPECT_LT(seconds_between(begin, now_ns()), 20.0) << "the deadline is a minute";
  for (const size_t rank : {0, 1})
    EXPECT_THAT(failures[rank], AllOf(HasSubstr("rank 2 (host2) gave no sign of life"),
                                      HasSubstr("frozen or cut off; last seen in")));
  EXPECT_THAT(failures[2], HasSubstr("gave no sign of life"));
}

// As mpirun does where a process of another machine was killed: of that one nothing is to be heard,
// and the others have a second.
TEST(Job, TheLaunchersWordHasTheLostOneFoundByAll) {
  const JobOptions patient{.silence = milliseconds(60'000),
                           .silence_at_the_end = milliseconds(2'000)};
  JobWorld world({1, 1, 1}, {.shares_memory = false}, patient);
  const int64_t begin = now_ns();
  const auto failures = failures_of(world, [&](Communicator& comm) {
    comm.barrier("layer 3 attention");
    if (comm.rank() == 2) {
      world.board().cut(2);
      return;
    }
    if (comm.rank() == 1) world.job(1).suspect();  // one of them is told
    comm.barrier("layer 3 mlp");
    comm.barrier("layer 4");
  });
  EXPECT_LT(seconds_between(begin, now_ns()), 20.0) << "the deadline is a minute";
  for (const size_t rank : {0, 1})
    EXPECT_THAT(failures[rank], AllOf(HasSubstr("rank 2 (host2) (last seen in"),
                                      HasSubstr("when the launcher told the others to end")));
}

TEST(Job, TheLaunchersWordEndsNothingWhereNobodyIsLost) {
  JobWorld world({1, 1}, {}, {.silence_at_the_end = milliseconds(2'000)});
  for (const std::exception_ptr& failure : run_members_to_end(world.members(), [&](auto& comm) {
         if (comm.rank() == 0) world.job(0).suspect();
         comm.barrier("while it searches");
         std::this_thread::sleep_for(milliseconds(2'500));
         comm.barrier("when it has");
       }))
    EXPECT_EQ(failure, nullptr);
}

TEST(Job, WhoComputesForLongIsNotTakenForLost) {
  JobWorld world({1, 1}, {}, {.silence = milliseconds(2500)});
  for (const std::exception_ptr& failure : run_members_to_end(world.members(), [](auto& comm) {
         comm.barrier("start");
         if (comm.rank() == 1) std::this_thread::sleep_for(milliseconds(4000));
         comm.barrier("end");
       }))
    EXPECT_EQ(failure, nullptr);
}

TEST(Job, LeavingWaitsForTheOthers) {
  JobWorld world({1, 1}, {}, {.deadline = milliseconds(300)});
  world.members().clear();
  world.fail();
  try {
    world.job(0).leave();
    FAIL() << "rank 1 has not left";
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), HasSubstr("did not end within 300 ms"));
  }
}

TEST(Job, PeersAreKnownByWhatTheySaid) {
  JobWorld world({1, 2}, {});
  EXPECT_EQ(world.job(0).peer(1).host, "host1");
  EXPECT_EQ(world.job(0).peer(1).said.instruction_set, "avx512");
  EXPECT_EQ(world.job(1).num_processes(), 2);
  EXPECT_EQ(world.job(1).process(), 1);
}

// Joins two processes that say this of themselves; the first one's error.
std::string join_text(const Introduction& first, const Introduction& second) {
  const auto board = std::make_shared<Switchboard>(2);
  std::string text[2];
  std::vector<std::thread> threads;
  for (int process = 0; process < 2; ++process) {
    threads.emplace_back([&, process] {
      try {
        make_job(std::make_unique<MemoryLink>(board, process), process == 0 ? first : second, {});
      } catch (const Error& error) {
        text[process] = error.summary() + "\n" + error.why() + "\n" + error.mend();
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(text[0], text[1]);
  return text[0];
}

TEST(Introduction, MismatchesAreNamedWithBothHostsAndWhatToDo) {
  Introduction other = kSelf;
  EXPECT_EQ(join_text(kSelf, other), "");
  other.instruction_set = "avx2";
  EXPECT_EQ(join_text(kSelf, other), "") << "tables of one numerics id may differ";
  other.version = "1.2.4";
  EXPECT_EQ(join_text(kSelf, other),
            "the processes of this job have different versions of weft\n"
            "process 0 (host0) has '1.2.3', process 1 (host1) has '1.2.4'\n"
            "install the same version on every host");
  other = kSelf;
  other.numerics = "weft1/lanes16/kv-f32/exact";
  EXPECT_THAT(join_text(kSelf, other), AllOf(HasSubstr("numerics"), HasSubstr("kv-f32")));
}

TEST(Introduction, MachinesOfOneNameAreTwo) {
  const Introduced here = introduce(kSelf, "node");
  EXPECT_TRUE(on_same_host(here, introduce(kSelf, "node")));
  EXPECT_FALSE(on_same_host(here, introduce(kSelf, "other")));
  Introduced there = here;
  there.machine = "another start/1";
  EXPECT_FALSE(on_same_host(here, there));
  there.machine = here.machine + "1";
  EXPECT_TRUE(on_same_host(here, there)) << "a container of the same name";
}

TEST(Introduction, BlocksThatAreNoneAreRefused) {
  IntroductionBlock block = to_block(introduce(kSelf, "a"));
  EXPECT_EQ(from_block(block, 1).peer.said.version, "1.2.3");
  EXPECT_EQ(from_block(block, 1).peer.host, "a");
  EXPECT_THROW(from_block(IntroductionBlock{}, 1), Error);
  for (size_t i = 0; i < 200; ++i) {
    IntroductionBlock damaged = block;
    damaged[i] = std::byte{0xff};
    try {
      from_block(damaged, 1);
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::kCommunication);
    }
  }
  block[8] = std::byte{0x7f};  // the format
  EXPECT_THROW(from_block(block, 1), Error);
}

TEST(Launch, IsFoundByVariablesAlone) {
  using Variables = Environment;
  EXPECT_FALSE(find_launch({}));
  EXPECT_FALSE(find_launch(Variables{{"OMPI_COMM_WORLD_SIZE", "1"}}));
  EXPECT_FALSE(find_launch(Variables{{"OMPI_COMM_WORLD_SIZE", "many"}}));
  const auto mpirun = find_launch(Variables{{"OMPI_COMM_WORLD_SIZE", "3"}});
  ASSERT_TRUE(mpirun);
  EXPECT_EQ(mpirun->launcher, "mpirun");
  EXPECT_EQ(mpirun->num_processes, 3);
  EXPECT_TRUE(mpirun->can_join);

  // A batch script runs once, whatever its job may start.
  EXPECT_FALSE(find_launch(Variables{{"SLURM_NTASKS", "4"}, {"SLURM_PROCID", "0"}}));
  Variables srun{{"SLURM_STEP_NUM_TASKS", "4"}, {"SLURM_PROCID", "2"}};
  EXPECT_FALSE(find_launch(srun)->can_join);
  srun["PMIX_RANK"] = "2";
  srun["PMIX_NAMESPACE"] = "slurm.pmix.1.0";
  EXPECT_EQ(find_launch(srun)->launcher, "srun");
  EXPECT_TRUE(find_launch(srun)->can_join);
  srun["SLURM_STEP_NUM_TASKS"] = "1";
  EXPECT_FALSE(find_launch(srun));

  const auto pmix = find_launch(Variables{{"PMIX_RANK", "0"}, {"PMIX_NAMESPACE", "x"}});
  ASSERT_TRUE(pmix);
  EXPECT_EQ(pmix->num_processes, 0);
  EXPECT_FALSE(find_launch(Variables{{"PMI_SIZE", "2"}})->can_join);
}

TEST(Launch, WhoCannotJoinIsToldHow) {
  try {
    join_job({"srun", 4, false}, kSelf);
    FAIL() << "no error";
  } catch (const Error& error) {
    EXPECT_EQ(error.mend(), "srun --mpi=pmix");
  }
}

}  // namespace
}  // namespace weft::comm
