#include <gtest/gtest.h>

#include <atomic>
#include <cstdio>
#include <cstring>

#include "base/clock.h"
#include "comm/comm.h"
#include "comm/contract.h"
#include "comm/members.h"

namespace weft::comm {
namespace {

class ThreadWorld final : public World {
 public:
  ThreadWorld(int size, GroupOptions options) : members_(make_thread_group(size, options)) {}
  Members& members() override { return members_; }

 private:
  Members members_;
};

Transport threads(int size) {
  return {std::to_string(size), size, size,
          [size](GroupOptions options) { return std::make_unique<ThreadWorld>(size, options); }};
}

std::vector<Transport> threads_up_to(int size) {
  std::vector<Transport> transports;
  for (int i = 1; i <= size; ++i) transports.push_back(threads(i));
  return transports;
}

INSTANTIATE_TEST_SUITE_P(Threads, Contract, testing::ValuesIn(threads_up_to(16)),
                         testing::PrintToStringParamName());

class ThreadGroupOfSize : public testing::TestWithParam<int> {};

TEST_P(ThreadGroupOfSize, LendsViewsAndRanksInOrder) {
  Members members = make_thread_group(GetParam());
  ASSERT_EQ(members.size(), static_cast<size_t>(GetParam()));
  for (int rank = 0; rank < GetParam(); ++rank) {
    EXPECT_EQ(members[static_cast<size_t>(rank)]->rank(), rank);
    EXPECT_TRUE(members[static_cast<size_t>(rank)]->lends_views());
  }
}

// The double-buffer rule, as a fused reduce uses it: two buffers in turn, plain memory, nothing
// else between. A value overwritten too early, or ThreadSanitizer, would show it.
TEST_P(ThreadGroupOfSize, ExchangeLendsTwoBuffersInTurn) {
  constexpr int kRounds = 500;
  std::atomic<int> wrong = 0;
  run_members(GetParam(), [&](Communicator& comm) {
    std::vector<int64_t> buffers[2] = {std::vector<int64_t>(65), std::vector<int64_t>(65)};
    for (int round = 0; round < kRounds; ++round) {
      std::vector<int64_t>& mine = buffers[round % 2];
      for (size_t i = 0; i < mine.size(); ++i)
        mine[i] = round * 1000 + comm.rank() * 100 + static_cast<int64_t>(i);
      const auto parts = comm.exchange(reinterpret_cast<const std::byte*>(mine.data()), "fused");
      if (static_cast<int>(parts.size()) != comm.size()) ++wrong;
      for (int rank = 0; rank < comm.size(); ++rank) {
        const auto* theirs = reinterpret_cast<const int64_t*>(parts[static_cast<size_t>(rank)]);
        for (size_t i = 0; i < mine.size(); ++i)
          if (theirs[i] != round * 1000 + rank * 100 + static_cast<int64_t>(i)) ++wrong;
      }
    }
    comm.barrier("end");  // the buffers must outlive the last readers
  });
  EXPECT_EQ(wrong, 0);
}

INSTANTIATE_TEST_SUITE_P(Sizes, ThreadGroupOfSize, testing::Range(1, 17),
                         testing::PrintToStringParamName());

// The last verb's data must stay readable when a member is gone before its peers have read.
TEST(ThreadGroup, AMemberMayLeaveAsSoonAsItsVerbReturns) {
  for (int round = 0; round < 200; ++round) {
    Members members = make_thread_group(4);
    std::vector<std::thread> threads;
    std::atomic<int> wrong = 0;
    for (std::unique_ptr<Communicator>& member : members) {
      threads.emplace_back([&wrong, comm = std::move(member)]() mutable {
        std::vector<int64_t> data(200, comm->rank());
        comm->all_reduce(data, "last");
        comm.reset();
        if (data != std::vector<int64_t>(200, 6)) ++wrong;
      });
    }
    for (std::thread& thread : threads) thread.join();
    ASSERT_EQ(wrong, 0);
  }
}

TEST(ThreadGroup, ManyStepsFinishQuicklyWhereMembersOutnumberCores) {
  constexpr int kSteps = 1000;
  for (const int size : {2, 8, 16}) {
    const int64_t begin = now_ns();
    run_members(size, [&](Communicator& comm) {
      int64_t one[3] = {1, 1, 1};
      for (int i = 0; i < kSteps; ++i) comm.all_reduce(one, "small");
    });
    const double seconds = seconds_between(begin, now_ns());
    std::printf("%2d members on %u cores: %d all_reduce in %.3f s, %.1f us each\n", size,
                std::thread::hardware_concurrency(), kSteps, seconds, seconds / kSteps * 1e6);
    EXPECT_LT(seconds, 30.0);
  }
}

TEST(ThreadGroupDeathTest, DifferentVerbsOrLengthsAreABug) {
  testing::FLAGS_gtest_death_test_style = "threadsafe";
  EXPECT_DEATH(run_members(2,
                           [](Communicator& comm) {
                             std::vector<int64_t> data(comm.rank() == 0 ? 3 : 4);
                             comm.all_reduce(data, "odd");
                           },
                           {.two_shot_bytes = 0}),
               "24 bytes.*odd");
  EXPECT_DEATH(run_members(2,
                           [](Communicator& comm) {
                             int64_t data[1] = {};
                             if (comm.rank() == 0) comm.barrier("here");
                             if (comm.rank() == 1) comm.reduce_scatter(data, 1, "there");
                           }),
               "barrier.*here|reduce_scatter.*there");
  EXPECT_DEATH(run_members(2,
                           [](Communicator& comm) {
                             std::byte rows[7] = {};
                             comm.all_gather_rows(rows, 2, "halved");
                           }),
               "7 elements in rows of 2");
}

TEST(Solo, IsAGroupLikeAnyOther) {
  const std::unique_ptr<Communicator> comm = make_solo();
  EXPECT_EQ(comm->rank(), 0);
  EXPECT_EQ(comm->size(), 1);
  EXPECT_TRUE(all_reduce_is_right(*comm, 100, 1));
  EXPECT_TRUE(reduce_scatter_is_right(*comm, 100, 2));
  EXPECT_TRUE(all_gather_is_right(*comm, 100, 3));
  EXPECT_TRUE(all_gather_rows_is_right(*comm, 100, 3));
  EXPECT_TRUE(broadcast_is_right(*comm, 100, 4));
  comm->barrier("alone");
  const int64_t value = 5;
  const auto parts = comm->exchange(reinterpret_cast<const std::byte*>(&value), "alone");
  ASSERT_EQ(parts.size(), 1u);
  EXPECT_EQ(static_cast<const void*>(parts[0]), static_cast<const void*>(&value));
  EXPECT_EQ(comm->split(3, 1)->size(), 1);
}

}  // namespace
}  // namespace weft::comm
