// Deadlines, abort, split and mailboxes of the thread transport.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <cstring>

#include "base/clock.h"
#include "base/error.h"
#include "comm/comm.h"
#include "comm/failures.h"
#include "comm/members.h"

namespace weft::comm {
namespace {

using std::chrono::milliseconds;
using testing::AllOf;
using testing::HasSubstr;

// Where a test tells silent ranks from live ones: a live one may be kept off a busy machine's cores
// for longer than a tenth of a second, under sanitizers above all.
constexpr int64_t kPatientMs = 2'000;

TEST(Deadline, NamesTheSilentRankAndThePhase) {
  Members members = make_thread_group(4, with_deadline(kPatientMs));
  const int64_t begin = now_ns();
  const auto failures = run_members_to_end(members, [](Communicator& comm) {
    int64_t data[3] = {};
    comm.all_reduce(data, "layer 3 attention");
    if (comm.rank() == 2) return;  // silent from here on
    comm.all_reduce(data, "layer 3 mlp");
  });
  EXPECT_LT(seconds_between(begin, now_ns()), 20.0);
  EXPECT_EQ(failures[2], nullptr);
  for (const int rank : {0, 1, 3})
    EXPECT_THAT(text_of(failures[static_cast<size_t>(rank)]),
                AllOf(HasSubstr("rank 2 did not arrive at 'layer 3 mlp' within 2000 ms")));
  // Whoever noticed first also says where the silent one was last.
  std::string all;
  for (const auto& failure : failures) all += text_of(failure);
  EXPECT_THAT(all, HasSubstr("rank 2 was last seen in 'layer 3 attention'"));
  // The late one finds the group ended, with the same reason.
  try {
    members[2]->barrier("late");
    FAIL() << "no error";
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), HasSubstr("rank 2 did not arrive at 'layer 3 mlp'"));
  }
}

TEST(Deadline, NamesEverySilentRank) {
  Members members = make_thread_group(5, with_deadline(kPatientMs));
  const auto failures = run_members_to_end(members, [](Communicator& comm) {
    if (comm.rank() != 1 && comm.rank() != 4) comm.barrier("start");
  });
  EXPECT_THAT(text_of(failures[0]), HasSubstr("rank 1, 4 did not arrive at 'start'"));
}

TEST(Deadline, ARankThatIsOnlySlowIsWaitedFor) {
  run_members(
      3,
      [](Communicator& comm) {
        for (int round = 0; round < 4; ++round) {
          if (comm.rank() == round % 3) std::this_thread::sleep_for(milliseconds(30));
          comm.barrier("slow");
        }
      },
      with_deadline(10'000));
}

TEST(Deadline, HoldsForMessagesInBothDirections) {
  Members silent_sender = make_thread_group(2, with_deadline(50));
  auto failures = run_members_to_end(silent_sender, [](Communicator& comm) {
    std::byte data[8];
    if (comm.rank() == 0) comm.recv(1, data, "activations");
  });
  EXPECT_THAT(text_of(failures[0]),
              HasSubstr("rank 1 sent nothing for 'activations' within 50 ms"));

  Members silent_receiver = make_thread_group(2, with_deadline(50));
  failures = run_members_to_end(silent_receiver, [](Communicator& comm) {
    const std::byte data[8] = {};
    if (comm.rank() == 0)
      for (int i = 0; i < 100; ++i) comm.send(1, data, "activations");
  });
  EXPECT_THAT(text_of(failures[0]), HasSubstr("rank 1 did not take the messages of 'activations'"));
}

TEST(Abort, EndsEveryWaitWithItsReason) {
  Members members = make_thread_group(5);
  const int64_t begin = now_ns();
  const auto failures = run_members_to_end(members, [](Communicator& comm) {
    std::byte data[8] = {};
    switch (comm.rank()) {
      case 0:
        comm.barrier("never");
        break;
      case 1:
        comm.recv(0, data, "never");
        break;
      case 2:
        for (;;) comm.send(3, data, "never");
      case 3:
        std::this_thread::sleep_for(milliseconds(20));
        comm.barrier("never");
        break;
      case 4:
        // Some waiters spin and some sleep by now.
        std::this_thread::sleep_for(milliseconds(5));
        comm.abort("layer 7: the sum left its range");
        comm.barrier("after");
    }
  });
  EXPECT_LT(seconds_between(begin, now_ns()), 20.0) << "the deadline is a minute";
  for (const auto& failure : failures)
    EXPECT_EQ(text_of(failure), "layer 7: the sum left its range");
}

TEST(Abort, TheFirstReasonStays) {
  Members members = make_thread_group(2);
  members[0]->abort("first");
  members[1]->abort("second");
  EXPECT_THROW(members[0]->barrier("b"), Error);
  const auto failures = run_members_to_end(members, [](Communicator& comm) { comm.barrier("b"); });
  for (const auto& failure : failures) EXPECT_EQ(text_of(failure), "first");
}

TEST(Abort, ReachesSmallGroupsAndLaterOnes) {
  Members members = make_thread_group(4);
  std::atomic<int> split_done = 0;
  const auto failures = run_members_to_end(members, [&](Communicator& comm) {
    const auto pair = comm.split(comm.rank() / 2, 0);
    ++split_done;
    if (comm.rank() == 3) {
      while (split_done < 4) std::this_thread::yield();
      pair->abort("rank 3 fell");
      return;
    }
    if (comm.rank() == 2) comm.barrier("never");
    pair->barrier("pair");  // ranks 0 and 1 may still meet here
    comm.barrier("never");
  });
  for (const size_t rank : {0, 1, 2}) EXPECT_EQ(text_of(failures[rank]), "rank 3 fell");
  EXPECT_THROW(members[0]->split(0, 0), Error);
}

TEST(Abort, EndsASoloGroupToo) {
  const auto solo = make_solo();
  solo->abort("enough");
  EXPECT_THROW(solo->barrier("b"), Error);
}

TEST(Split, OrdersByKeyThenRank) {
  run_members(7, [](Communicator& comm) {
    // Colors 0: ranks 0, 3, 6. 1: ranks 1, 4. 2: ranks 2, 5. Keys fall with the rank.
    const auto part = comm.split(comm.rank() % 3, -comm.rank());
    const int expected_size = comm.rank() % 3 == 0 ? 3 : 2;
    EXPECT_EQ(part->size(), expected_size);
    EXPECT_EQ(part->rank(), expected_size - 1 - comm.rank() / 3);
    const auto same_key = comm.split(comm.rank() % 3, 0);
    EXPECT_EQ(same_key->rank(), comm.rank() / 3);

    int64_t data[2] = {comm.rank(), 1};
    part->all_reduce(data, "part");
    const int64_t sums[3] = {0 + 3 + 6, 1 + 4, 2 + 5};
    EXPECT_EQ(data[0], sums[comm.rank() % 3]);
    EXPECT_EQ(data[1], expected_size);
  });
}

TEST(Split, GroupsOverlapAndNest) {
  // A grid of 2 stages by 3 shards: rows reduce, columns pass on, all meet.
  run_members(6, [](Communicator& comm) {
    const auto stage = comm.split(comm.rank() / 3, comm.rank());
    const auto column = comm.split(comm.rank() % 3, comm.rank());
    for (int64_t round = 0; round < 100; ++round) {
      int64_t value[1] = {comm.rank() + round};
      stage->all_reduce(value, "stage");
      EXPECT_EQ(value[0], (comm.rank() < 3 ? 3 : 12) + 3 * round);
      const std::span<std::byte> bytes = std::as_writable_bytes(std::span(value));
      if (column->rank() == 0) column->send(1, bytes, "hand over");
      if (column->rank() == 1) {
        column->recv(0, bytes, "hand over");
        EXPECT_EQ(value[0], 3 + 3 * round);
      }
    }
    const auto alone = stage->split(stage->rank(), 0);
    EXPECT_EQ(alone->size(), 1);
    int64_t one[1] = {1};
    alone->all_reduce(one, "alone");
    EXPECT_EQ(one[0], 1);
    comm.barrier("end");
  });
}

TEST(Mailbox, KeepsOrderForMixedSizes) {
  constexpr int kMessages = 2000;
  run_members(2, [](Communicator& comm) {
    std::vector<int> data(500);
    for (int i = 0; i < kMessages; ++i) {
      const std::span<int> message(data.data(), static_cast<size_t>(i * 37 % 500));
      if (comm.rank() == 0) {
        for (int& value : message) value = i;
        comm.send(1, std::as_bytes(message), "ordered");
      } else {
        comm.recv(0, std::as_writable_bytes(message), "ordered");
        for (const int value : message) ASSERT_EQ(value, i);
      }
    }
  });
}

TEST(Mailbox, ASendReturnsBeforeItsMessageIsTaken) {
  run_members(2, [](Communicator& comm) {
    int value = 41;
    const auto bytes = std::as_writable_bytes(std::span(&value, 1));
    // Both send first: a send that waited for its receiver would hang.
    comm.send(1 - comm.rank(), bytes, "cross");
    value = 0;  // the message was copied
    comm.recv(1 - comm.rank(), bytes, "cross");
    EXPECT_EQ(value, 41);
  });
}

TEST(Mailbox, OnlyAFullBoxWaits) {
  std::atomic<int> sent = 0, received = 0;
  run_members(2, [&](Communicator& comm) {
    std::byte data[100] = {};
    if (comm.rank() == 0) {
      for (int i = 0; i < 50; ++i) {
        comm.send(1, data, "pressure");
        ++sent;
      }
    } else {
      while (sent < 4) std::this_thread::yield();
      std::this_thread::sleep_for(milliseconds(20));
      EXPECT_EQ(sent, 4);  // the box holds four, the fifth send waits
      for (int i = 0; i < 50; ++i) {
        comm.recv(0, data, "pressure");
        EXPECT_LE(sent - ++received, 4);
      }
    }
  });
  EXPECT_EQ(sent, 50);
}

TEST(Mailbox, EveryPairHasItsOwnBox) {
  constexpr int kSize = 5;
  run_members(kSize, [](Communicator& comm) {
    for (int round = 0; round < 100; ++round) {
      for (int other = 0; other < kSize; ++other) {
        const int message[2] = {comm.rank() * 10 + other, round};
        if (other != comm.rank()) comm.send(other, std::as_bytes(std::span(message)), "pairs");
      }
      for (int other = kSize - 1; other >= 0; --other) {
        if (other == comm.rank()) continue;
        int message[2] = {};
        comm.recv(other, std::as_writable_bytes(std::span(message)), "pairs");
        ASSERT_EQ(message[0], other * 10 + comm.rank());
        ASSERT_EQ(message[1], round);
      }
    }
  });
}

TEST(MailboxDeathTest, SizesMustMatch) {
  testing::FLAGS_gtest_death_test_style = "threadsafe";
  EXPECT_DEATH(run_members(2,
                           [](Communicator& comm) {
                             std::byte data[9] = {};
                             if (comm.rank() == 0) comm.send(1, std::span(data, 8), "tokens");
                             if (comm.rank() == 1) comm.recv(0, data, "tokens");
                           }),
               "tokens: a message of 8 bytes, 9 expected");
}

TEST(MailboxDeathTest, NobodyWritesToItself) {
  testing::FLAGS_gtest_death_test_style = "threadsafe";
  std::byte data[1] = {};
  EXPECT_DEATH(make_thread_group(2)[1]->send(1, data, "self"), "rank 1 has no peer 1");
  EXPECT_DEATH(make_solo()->send(0, data, "self"), "group of one");
}

}  // namespace
}  // namespace weft::comm
