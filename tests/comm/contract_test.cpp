// The tests that every transport passes (contract.h).
#include "comm/contract.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <thread>

namespace weft::comm {
namespace {

GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(Contract);

TEST_P(Contract, MembersKnowThemselves) {
  std::atomic<int> seen = 0;
  run([&](Communicator& comm) {
    EXPECT_EQ(comm.size(), size());
    EXPECT_GE(comm.rank(), 0);
    EXPECT_LT(comm.rank(), size());
    int64_t ranks[1] = {int64_t{1} << comm.rank()};
    comm.all_reduce(ranks, "ranks");
    EXPECT_EQ(ranks[0], (int64_t{1} << size()) - 1);
    ++seen;
  });
  EXPECT_EQ(seen, num_local());
}

TEST_P(Contract, AllReduceMeasured) { EXPECT_EQ(count_wrong(all_reduce_is_right), 0); }
TEST_P(Contract, AllReduceInOneShot) {
  EXPECT_EQ(count_wrong(all_reduce_is_right, int64_t{1} << 40), 0);
}
TEST_P(Contract, AllReduceInTwoShots) { EXPECT_EQ(count_wrong(all_reduce_is_right, 0), 0); }
TEST_P(Contract, ReduceScatter) { EXPECT_EQ(count_wrong(reduce_scatter_is_right), 0); }
TEST_P(Contract, ReduceScatterAsMade) {
  EXPECT_EQ(count_wrong(reduce_scatter_as_made_is_right), 0);
}
TEST_P(Contract, AllGather) { EXPECT_EQ(count_wrong(all_gather_is_right), 0); }
TEST_P(Contract, AllGatherRows) { EXPECT_EQ(count_wrong(all_gather_rows_is_right), 0); }
TEST_P(Contract, Broadcast) { EXPECT_EQ(count_wrong(broadcast_is_right), 0); }
TEST_P(Contract, RingOfMessages) { EXPECT_EQ(count_wrong(ring_is_right), 0); }

TEST_P(Contract, AllGatherTakesAPartThatLiesInItsPlace) {
  std::atomic<int> wrong = 0;
  run([&](Communicator& comm) {
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
TEST_P(Contract, NobodyLeavesABarrierBeforeAllHaveCome) {
  std::atomic<int> arrived = 0, early = 0;
  run([&](Communicator& comm) {
    for (int round = 1; round <= 300; ++round) {
      ++arrived;
      comm.barrier("barrier");
      if (arrived < round * num_local()) ++early;
    }
  });
  EXPECT_EQ(early, 0);
}

bool run_verb(Communicator& comm, uint64_t dice, int64_t call) {
  const auto length = static_cast<int64_t>((dice >> 8) % 300);
  switch (dice % 9) {
    case 0:
      return all_reduce_is_right(comm, length, call);
    case 1:
      return reduce_scatter_is_right(comm, length, call);
    case 2:
      return all_gather_is_right(comm, length, call);
    case 3:
      return broadcast_is_right(comm, length, call);
    case 4:
      return ring_is_right(comm, length, call);
    case 5:
      comm.barrier("barrier");
      return true;
    case 6:
      return all_reduce_is_right(comm, 1 + length % 3, call);
    case 7:
      return reduce_scatter_as_made_is_right(comm, length, call);
    default:
      return all_gather_rows_is_right(comm, length, call);
  }
}

// Any order of verbs, lengths and roots, with members that dawdle here and there.
TEST_P(Contract, RandomSequencesOfVerbs) {
  constexpr int kCalls = 150;
  std::atomic<int> wrong = 0;
  for (const int64_t two_shot_bytes : {-1, 0, 800}) {
    GroupOptions options;
    options.two_shot_bytes = two_shot_bytes;
    run(
        [&](Communicator& comm) {
          for (int64_t call = 0; call < kCalls; ++call) {
            if (static_cast<uint64_t>(value_of(comm.rank(), call, 7)) % 16 == 0)
              std::this_thread::yield();
            const auto dice = static_cast<uint64_t>(value_of(99, call, two_shot_bytes)) >> 8;
            if (!run_verb(comm, dice, call)) ++wrong;
          }
        },
        options);
  }
  EXPECT_EQ(wrong, 0);
}

// Above the sizes that are copied, and divided by nothing.
TEST_P(Contract, LargeParts) {
  if (size() > 8) GTEST_SKIP() << "a few members show it";
  std::atomic<int> wrong = 0;
  run([&](Communicator& comm) {
    for (int64_t call = 0; call < 3; ++call) {
      constexpr int64_t kLength = 200'003;
      if (!all_gather_is_right(comm, kLength, call)) ++wrong;
      if (!all_gather_rows_is_right(comm, kLength, call)) ++wrong;
      if (!broadcast_is_right(comm, kLength, call)) ++wrong;
      if (!reduce_scatter_is_right(comm, kLength, call)) ++wrong;
      if (!reduce_scatter_as_made_is_right(comm, kLength, call)) ++wrong;
      if (!all_reduce_is_right(comm, kLength, call)) ++wrong;
      if (!ring_is_right(comm, kLength, call)) ++wrong;
    }
  });
  EXPECT_EQ(wrong, 0);
}

// Three colors; keys fall with the rank.
TEST_P(Contract, SplitOrdersByKeyThenRank) {
  run([&](Communicator& comm) {
    const int color = comm.rank() % 3;
    const int count = (comm.size() - color + 2) / 3;
    const auto part = comm.split(color, -comm.rank());
    EXPECT_EQ(part->size(), count);
    EXPECT_EQ(part->rank(), count - 1 - comm.rank() / 3);
    const auto same_key = comm.split(color, 0);
    EXPECT_EQ(same_key->rank(), comm.rank() / 3);

    int64_t data[2] = {comm.rank(), 1};
    part->all_reduce(data, "part");
    EXPECT_EQ(data[0], color * count + 3 * count * (count - 1) / 2);
    EXPECT_EQ(data[1], count);
    EXPECT_TRUE(all_gather_rows_is_right(*part, 100, 1));
    EXPECT_TRUE(all_reduce_is_right(*same_key, 100, 2));
  });
}

// Halves reduce, pairs of neighbours talk, all meet, in turn and in groups of groups.
TEST_P(Contract, GroupsOverlapAndNest) {
  run([&](Communicator& comm) {
    const auto half = comm.split(comm.rank() * 2 < comm.size() ? 0 : 1, comm.rank());
    const auto pair = comm.split(comm.rank() / 2, comm.rank());
    for (int64_t round = 0; round < 50; ++round) {
      EXPECT_TRUE(all_reduce_is_right(*half, 20, round));
      EXPECT_TRUE(ring_is_right(*pair, 30, round));
      const bool all_meet = round % 10 == 0;
      EXPECT_TRUE(!all_meet || all_reduce_is_right(comm, 10, round));
    }
    const auto alone = half->split(half->rank(), 0);
    EXPECT_EQ(alone->size(), 1);
    EXPECT_TRUE(all_reduce_is_right(*alone, 5, 1));
    comm.barrier("end");
  });
}

TEST_P(Contract, MessagesKeepTheirOrder) {
  if (size() < 2) GTEST_SKIP() << "nobody to write to";
  run([&](Communicator& comm) {
    std::vector<int> data(500);
    for (int i = 0; i < 500; ++i) {
      const std::span<int> message(data.data(), static_cast<size_t>(i * 37 % 500));
      if (comm.rank() == 0) {
        for (int& value : message) value = i;
        comm.send(comm.size() - 1, std::as_bytes(message), "ordered");
      } else if (comm.rank() == comm.size() - 1) {
        comm.recv(0, std::as_writable_bytes(message), "ordered");
        for (const int value : message) ASSERT_EQ(value, i);
      }
    }
  });
}

// All send first: a send that waited for its receiver would hang.
TEST_P(Contract, ASendReturnsBeforeItsMessageIsTaken) {
  if (size() < 2) GTEST_SKIP() << "nobody to write to";
  for (const size_t length : {size_t{1}, size_t{300'000}}) {
    run([&](Communicator& comm) {
      std::vector<int> values(length, comm.rank());
      const auto bytes = std::as_writable_bytes(std::span(values));
      const int next = (comm.rank() + 1) % comm.size();
      const int previous = (comm.rank() + comm.size() - 1) % comm.size();
      comm.barrier("start");
      for (int i = 0; i < 4; ++i) comm.send(next, bytes, "cross");
      std::fill(values.begin(), values.end(), -1);  // the messages were copied
      for (int i = 0; i < 4; ++i) comm.recv(previous, bytes, "cross");
      EXPECT_EQ(std::count(values.begin(), values.end(), previous), std::ssize(values));
    });
  }
}

// Messages and sums between the same members do not take each other's place.
TEST_P(Contract, MessagesWaitWhileSumsPass) {
  if (size() < 2) GTEST_SKIP() << "nobody to write to";
  run([&](Communicator& comm) {
    for (int64_t round = 0; round < 20; ++round) {
      const int64_t sent[1] = {round * 100 + comm.rank()};
      const int last = comm.size() - 1;
      if (comm.rank() == 0) comm.send(last, std::as_bytes(std::span(sent)), "note");
      EXPECT_TRUE(all_reduce_is_right(comm, 9, round));
      int64_t heard[1] = {-1};
      if (comm.rank() == last) {
        comm.recv(0, std::as_writable_bytes(std::span(heard)), "note");
        EXPECT_EQ(heard[0], round * 100);
      }
    }
  });
}

TEST_P(Contract, EveryPairHasItsOwnBox) {
  if (size() > 6) GTEST_SKIP() << "a few members show it";
  run([&](Communicator& comm) {
    for (int round = 0; round < 30; ++round) {
      for (int other = 0; other < comm.size(); ++other) {
        const int message[2] = {comm.rank() * 10 + other, round};
        if (other != comm.rank()) comm.send(other, std::as_bytes(std::span(message)), "pairs");
      }
      for (int other = comm.size() - 1; other >= 0; --other) {
        if (other == comm.rank()) continue;
        int message[2] = {};
        comm.recv(other, std::as_writable_bytes(std::span(message)), "pairs");
        ASSERT_EQ(message[0], other * 10 + comm.rank());
        ASSERT_EQ(message[1], round);
      }
    }
  });
}

}  // namespace
}  // namespace weft::comm
