#include <gtest/gtest.h>

#include <atomic>
#include <cstdio>
#include <cstring>
#include <numeric>

#include "base/clock.h"
#include "base/range.h"
#include "comm/comm.h"
#include "comm/members.h"

namespace weft::comm {
namespace {

constexpr int64_t kLengths[] = {0, 1, 3, 1000, 70'001};

// What member `rank` puts at `i` in call `call`: all 64 bits in use, so that sums wrap around.
int64_t value_of(int rank, int64_t i, int64_t call) {
  uint64_t x = static_cast<uint64_t>(rank) * 0x9e3779b97f4a7c15u +
               static_cast<uint64_t>(i) * 0xbf58476d1ce4e5b9u +
               static_cast<uint64_t>(call) * 0x94d049bb133111ebu;
  x ^= x >> 31;
  return static_cast<int64_t>(x * 0xd6e8feb86659fd93u);
}

std::vector<int64_t> values_of(int rank, int64_t length, int64_t call) {
  std::vector<int64_t> values(static_cast<size_t>(length));
  for (int64_t i = 0; i < length; ++i) values[static_cast<size_t>(i)] = value_of(rank, i, call);
  return values;
}

std::vector<int64_t> sum_of(int size, int64_t length, int64_t call) {
  std::vector<int64_t> sums(static_cast<size_t>(length));
  for (int64_t i = 0; i < length; ++i) {
    uint64_t sum = 0;
    for (int rank = 0; rank < size; ++rank) sum += static_cast<uint64_t>(value_of(rank, i, call));
    sums[static_cast<size_t>(i)] = static_cast<int64_t>(sum);
  }
  return sums;
}

// One call of each collective verb against its oracle; true where all bits are right.
bool all_reduce_is_right(Communicator& comm, int64_t length, int64_t call) {
  std::vector<int64_t> data = values_of(comm.rank(), length, call);
  comm.all_reduce(data, "all_reduce");
  return data == sum_of(comm.size(), length, call);
}

int64_t row_length_of(int64_t call) { return 1 + call % 3; }

bool reduce_scatter_is_right(Communicator& comm, int64_t num_rows, int64_t call) {
  const int64_t row = row_length_of(call);
  std::vector<int64_t> data = values_of(comm.rank(), num_rows * row, call);
  comm.reduce_scatter(data, row, "reduce_scatter");
  const std::vector<int64_t> sums = sum_of(comm.size(), num_rows * row, call);
  const Range rows = equal_part({0, num_rows}, comm.rank(), comm.size());
  const Range mine{rows.begin * row, rows.end * row};
  return std::equal(data.begin() + mine.begin, data.begin() + mine.end, sums.begin() + mine.begin);
}

bool all_gather_is_right(Communicator& comm, int64_t length, int64_t call) {
  const std::vector<int64_t> mine = values_of(comm.rank(), length, call);
  std::vector<int64_t> all(static_cast<size_t>(length * comm.size())), expected;
  comm.all_gather(std::as_bytes(std::span(mine)), std::as_writable_bytes(std::span(all)),
                  "all_gather");
  for (int rank = 0; rank < comm.size(); ++rank) {
    const std::vector<int64_t> part = values_of(rank, length, call);
    expected.insert(expected.end(), part.begin(), part.end());
  }
  return all == expected;
}

// The parts are unequal wherever the rows do not divide by the members, and empty for some where
// members outnumber them.
bool all_gather_rows_is_right(Communicator& comm, int64_t num_rows, int64_t call) {
  const int64_t row = row_length_of(call);
  const auto length = static_cast<size_t>(num_rows * row);
  std::vector<int64_t> all(length, -1), expected(length);
  for (int rank = 0; rank < comm.size(); ++rank) {
    const Range rows = equal_part({0, num_rows}, rank, comm.size());
    for (int64_t i = rows.begin * row; i < rows.end * row; ++i) {
      expected[static_cast<size_t>(i)] = value_of(rank, i, call);
      if (rank == comm.rank()) all[static_cast<size_t>(i)] = value_of(rank, i, call);
    }
  }
  comm.all_gather_rows(std::as_writable_bytes(std::span(all)), row * 8, "all_gather_rows");
  const bool right = all == expected;
  std::fill(all.begin(), all.end(), -1);  // what was shown is the caller's again
  return right;
}

bool broadcast_is_right(Communicator& comm, int64_t length, int64_t call) {
  const int root = static_cast<int>(call % comm.size());
  std::vector<int64_t> data = values_of(comm.rank(), length, call);
  comm.broadcast(std::as_writable_bytes(std::span(data)), root, "broadcast");
  return data == values_of(root, length, call);
}

// Everybody sends to the next and hears from the one before.
bool ring_is_right(Communicator& comm, int64_t length, int64_t call) {
  if (comm.size() == 1) return true;
  const int next = (comm.rank() + 1) % comm.size();
  const int previous = (comm.rank() + comm.size() - 1) % comm.size();
  const std::vector<int64_t> mine = values_of(comm.rank(), length, call);
  std::vector<int64_t> heard(static_cast<size_t>(length));
  comm.send(next, std::as_bytes(std::span(mine)), "ring");
  comm.recv(previous, std::as_writable_bytes(std::span(heard)), "ring");
  return heard == values_of(previous, length, call);
}

class ThreadGroupOfSize : public testing::TestWithParam<int> {
 protected:
  // Counts wrong answers on all members; every length, with the given threshold.
  int count_wrong(bool (*verb)(Communicator&, int64_t, int64_t), int64_t two_shot_bytes = -1) {
    std::atomic<int> wrong = 0;
    GroupOptions options;
    options.two_shot_bytes = two_shot_bytes;
    run_members(
        GetParam(),
        [&](Communicator& comm) {
          int64_t call = 0;
          for (int repeat = 0; repeat < 2; ++repeat)
            for (const int64_t length : kLengths)
              if (!verb(comm, length, ++call)) ++wrong;
        },
        options);
    return wrong;
  }
};

TEST_P(ThreadGroupOfSize, KnowsItself) {
  Members members = make_thread_group(GetParam());
  ASSERT_EQ(members.size(), static_cast<size_t>(GetParam()));
  for (int rank = 0; rank < GetParam(); ++rank) {
    EXPECT_EQ(members[static_cast<size_t>(rank)]->rank(), rank);
    EXPECT_EQ(members[static_cast<size_t>(rank)]->size(), GetParam());
    EXPECT_TRUE(members[static_cast<size_t>(rank)]->lends_views());
  }
}

TEST_P(ThreadGroupOfSize, AllReduceMeasured) { EXPECT_EQ(count_wrong(all_reduce_is_right), 0); }
TEST_P(ThreadGroupOfSize, AllReduceInOneShot) {
  EXPECT_EQ(count_wrong(all_reduce_is_right, int64_t{1} << 40), 0);
}
TEST_P(ThreadGroupOfSize, AllReduceInTwoShots) {
  EXPECT_EQ(count_wrong(all_reduce_is_right, 0), 0);
}
TEST_P(ThreadGroupOfSize, ReduceScatter) { EXPECT_EQ(count_wrong(reduce_scatter_is_right), 0); }
TEST_P(ThreadGroupOfSize, AllGather) { EXPECT_EQ(count_wrong(all_gather_is_right), 0); }
TEST_P(ThreadGroupOfSize, AllGatherRows) { EXPECT_EQ(count_wrong(all_gather_rows_is_right), 0); }
TEST_P(ThreadGroupOfSize, Broadcast) { EXPECT_EQ(count_wrong(broadcast_is_right), 0); }
TEST_P(ThreadGroupOfSize, RingOfMessages) { EXPECT_EQ(count_wrong(ring_is_right), 0); }

TEST_P(ThreadGroupOfSize, AllGatherTakesAPartThatLiesInItsPlace) {
  std::atomic<int> wrong = 0;
  run_members(GetParam(), [&](Communicator& comm) {
    for (const int64_t length : kLengths) {
      std::vector<int64_t> all(static_cast<size_t>(length * comm.size()), -1);
      const std::span<int64_t> mine = std::span(all).subspan(
          static_cast<size_t>(length * comm.rank()), static_cast<size_t>(length));
      for (int64_t& value : mine) value = comm.rank();
      comm.all_gather(std::as_bytes(mine), std::as_writable_bytes(std::span(all)), "in place");
      for (int64_t i = 0; i < std::ssize(all); ++i)
        if (all[static_cast<size_t>(i)] != i / length) ++wrong;
    }
  });
  EXPECT_EQ(wrong, 0);
}

// A member that leaves the barrier early sees a counter that is behind.
TEST_P(ThreadGroupOfSize, NobodyLeavesABarrierBeforeAllHaveCome) {
  std::atomic<int> arrived = 0, early = 0;
  run_members(GetParam(), [&](Communicator& comm) {
    for (int round = 1; round <= 300; ++round) {
      ++arrived;
      comm.barrier("barrier");
      if (arrived < round * comm.size()) ++early;
    }
  });
  EXPECT_EQ(early, 0);
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

// Any order of verbs, lengths and roots, with members that dawdle here and there.
TEST_P(ThreadGroupOfSize, RandomSequencesOfVerbs) {
  constexpr int kCalls = 150;
  std::atomic<int> wrong = 0;
  for (const int64_t two_shot_bytes : {-1, 0, 800}) {
    GroupOptions options;
    options.two_shot_bytes = two_shot_bytes;
    run_members(
        GetParam(),
        [&](Communicator& comm) {
          for (int64_t call = 0; call < kCalls; ++call) {
            const auto dice = static_cast<uint64_t>(value_of(99, call, two_shot_bytes)) >> 8;
            const auto length = static_cast<int64_t>((dice >> 8) % 300);
            if (static_cast<uint64_t>(value_of(comm.rank(), call, 7)) % 16 == 0)
              std::this_thread::yield();
            bool right = true;
            switch (dice % 8) {
              case 0:
                right = all_reduce_is_right(comm, length, call);
                break;
              case 1:
                right = reduce_scatter_is_right(comm, length, call);
                break;
              case 2:
                right = all_gather_is_right(comm, length, call);
                break;
              case 3:
                right = broadcast_is_right(comm, length, call);
                break;
              case 4:
                right = ring_is_right(comm, length, call);
                break;
              case 5:
                comm.barrier("barrier");
                break;
              case 6:
                right = all_reduce_is_right(comm, 1 + length % 3, call);
                break;
              case 7:
                right = all_gather_rows_is_right(comm, length, call);
                break;
            }
            if (!right) ++wrong;
          }
        },
        options);
  }
  EXPECT_EQ(wrong, 0);
}

INSTANTIATE_TEST_SUITE_P(Sizes, ThreadGroupOfSize, testing::Range(1, 17),
                         testing::PrintToStringParamName());

TEST(ThreadGroup, LargePartsAreLentInsteadOfCopied) {
  constexpr int64_t kLength = 200'003;  // above the copied size, divides by nothing
  std::atomic<int> wrong = 0;
  run_members(3, [&](Communicator& comm) {
    for (int64_t call = 0; call < 3; ++call) {
      if (!all_gather_is_right(comm, kLength, call)) ++wrong;
      if (!all_gather_rows_is_right(comm, kLength, call)) ++wrong;
      if (!broadcast_is_right(comm, kLength, call)) ++wrong;
      if (!reduce_scatter_is_right(comm, kLength, call)) ++wrong;
      if (!all_reduce_is_right(comm, kLength, call)) ++wrong;
    }
  });
  EXPECT_EQ(wrong, 0);
}

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
