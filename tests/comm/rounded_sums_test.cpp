// Sums that are rounded between processes: every rank holds the same ones, whichever way they came,
// whatever else was in the batch, and however the ranks of a process share its part.
#include "comm/rounded_sums.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <numeric>
#include <string>
#include <vector>

#include "comm/failures.h"
#include "comm/job_world.h"

namespace weft::comm {
namespace {

struct Span {
  std::vector<int> num_local;
  bool shares_memory = true;
};
void PrintTo(const Span& span, std::ostream* out) {
  *out << (span.shares_memory ? "memory" : "messages");
  for (const int count : span.num_local) *out << '_' << count;
}

bool same_row(const SumTable& a, const SumTable& b, int64_t row) {
  for (int64_t i = 0; i < kSums; ++i)
    if (a.at(row, i) != b.at(row, i)) return false;
  return a.count(row) == b.count(row);
}

class RoundedSums : public testing::TestWithParam<std::tuple<Span, SumWire>> {
 protected:
  // Body of every rank. two_shot_bytes: sums are the same from wherever a window takes two shots.
  void run(const std::function<void(Communicator&)>& body, int64_t two_shot_bytes = -1) {
    const auto& [span, wire] = GetParam();
    JobWorld world(
        span.num_local,
        {.two_shot_bytes = two_shot_bytes, .shares_memory = span.shares_memory, .wire = wire});
    for (const std::exception_ptr& failure : run_members_to_end(world.members(), body))
      if (failure) std::rethrow_exception(failure);
  }
};

TEST_P(RoundedSums, EveryRankHoldsTheSame) {
  const auto& [span, wire] = GetParam();
  for (const int64_t two_shot_bytes : {int64_t{-1}, int64_t{0}, int64_t{1} << 40}) {
    std::atomic<int> wrong = 0;
    run(
        [&](Communicator& comm) {
          for (const int64_t num_rows : {0, 1, 2, 7, 64}) {
            const SumTable expected = expected_sum(span.num_local, num_rows, wire);
            SumTable own(num_rows, comm.rank());
            comm.all_reduce_sums(own.rows(), "sums");
            for (int64_t row = 0; row < num_rows; ++row) wrong += !same_row(own, expected, row);
          }
        },
        two_shot_bytes);
    EXPECT_EQ(wrong, 0);
  }
}

// A token's sum is the same where tokens are shared out (parallel/sequence.h) and where not.
TEST_P(RoundedSums, ARankTreatsItsRowsAsAllWould) {
  const auto& [span, wire] = GetParam();
  std::atomic<int> wrong = 0;
  run([&](Communicator& comm) {
    for (const int64_t num_rows : {1, 3, 24, 61}) {
      const SumTable expected = expected_sum(span.num_local, num_rows, wire);
      SumTable own(num_rows, comm.rank());
      comm.reduce_scatter_sums(own.rows(), "sums");
      const Range rows = equal_part({0, num_rows}, comm.rank(), comm.size());
      for (int64_t row = rows.begin; row < rows.end; ++row) wrong += !same_row(own, expected, row);
    }
  });
  EXPECT_EQ(wrong, 0);
}

// Rows that leave while others are made are rounded like rows that leave at once.
TEST_P(RoundedSums, RowsInTheMakingAreThoseOfAll) {
  const auto& [span, wire] = GetParam();
  std::atomic<int> wrong = 0;
  run([&](Communicator& comm) {
    for (const int64_t num_rows : {1, 3, 24, 61}) {
      const SumTable expected = expected_sum(span.num_local, num_rows, wire);
      const SumTable made(num_rows, comm.rank());
      SumTable own = made;
      std::fill(own.words.begin(), own.words.end(), -1);
      const auto make_of = [&](Range rows) {
        std::copy(made.words.begin() + rows.begin * kRowLength,
                  made.words.begin() + rows.end * kRowLength,
                  own.words.begin() + rows.begin * kRowLength);
      };
      comm.reduce_scatter_as_made(own.rows(), {4, make_of}, "sums");
      const Range rows = equal_part({0, num_rows}, comm.rank(), comm.size());
      for (int64_t row = rows.begin; row < rows.end; ++row) wrong += !same_row(own, expected, row);
    }
  });
  EXPECT_EQ(wrong, 0);
}

// Embeddings are bits of floats, and what processes agree on are numbers: nothing else is rounded.
TEST_P(RoundedSums, NoOtherSumIs) {
  std::atomic<int> wrong = 0;
  run([&](Communicator& comm) {
    wrong += !all_reduce_is_right(comm, 1000, 1);
    wrong += !reduce_scatter_is_right(comm, 61, 2);
  });
  EXPECT_EQ(wrong, 0);
}

TEST_P(RoundedSums, GroupsOfAGroupRoundAlike) {
  const auto& [span, wire] = GetParam();
  std::atomic<int> wrong = 0;
  run([&](Communicator& comm) {
    const auto all = comm.split(0, comm.rank());
    SumTable own(5, comm.rank());
    all->all_reduce_sums(own.rows(), "sums");
    const SumTable expected = expected_sum(span.num_local, 5, wire);
    for (int64_t row = 0; row < 5; ++row) wrong += !same_row(own, expected, row);
  });
  EXPECT_EQ(wrong, 0);
}

INSTANTIATE_TEST_SUITE_P(
    Comm, RoundedSums,
    testing::Combine(testing::Values(Span{{1, 1}}, Span{{1, 1}, false}, Span{{2, 2}, false},
                                     Span{{3, 1, 2}}, Span{{3, 1, 2}, false},
                                     Span{{1, 1, 1, 1, 1}, false}),
                     testing::Values(SumWire::kInt64, SumWire::kF32, SumWire::kBF16, SumWire::kQ8)),
    [](const auto& one) {
      return testing::PrintToString(std::get<0>(one.param)) + "_" + name(std::get<1>(one.param));
    });

// Threads of one process send nothing.
TEST(RoundedSumsBetween, NothingIsRoundedWithinAProcess) {
  std::atomic<int> wrong = 0;
  run_members(3,
              [&](Communicator& comm) {
                const SumTable expected = expected_sum({1, 1, 1}, 9, SumWire::kInt64);
                SumTable own(9, comm.rank());
                comm.all_reduce_sums(own.rows(), "sums");
                for (int64_t row = 0; row < 9; ++row) wrong += !same_row(own, expected, row);
              },
              {.wire = SumWire::kQ8});
  EXPECT_EQ(wrong, 0);
}

TEST(RoundedSumsBetween, ProcessesThatRoundDifferentlyAreNamed) {
  JobWorld world({1, 1}, {.deadline = std::chrono::milliseconds(2000), .shares_memory = false});
  std::vector<std::string> texts;
  for (const std::exception_ptr& failure :
       run_members_to_end(world.members(), [](Communicator& comm) {
         SumTable own(4, comm.rank());
         SumRows rows = own.rows();
         if (comm.rank() == 1) rows.num_sums = 60;
         comm.split(0, comm.rank())->all_reduce_sums(rows, "sums");
         if (comm.rank() == 1) rows.data = rows.data.subspan(0, kRowLength);
         comm.all_reduce_sums(rows, "sums");
       }))
    texts.push_back(text_of(failure));
  world.fail();
  EXPECT_THAT(texts[0] + texts[1], testing::HasSubstr("to 'sums' (all_reduce) of rank"));
}

}  // namespace
}  // namespace weft::comm
