// Tokens shared out between members: each is treated once, sums and rows are those of one member
// alone, whether a transport lends views or sends rows, and however sizes of steps follow each
// other (the buffers that members lend are reused).
#include "parallel/sequence.h"

#include <gtest/gtest.h>

#include <atomic>
#include <cstring>
#include <vector>

#include "base/thread_team.h"
#include "comm/members.h"
#include "comm/messages_only.h"
#include "kernels/activation_tables.h"

namespace weft::parallel {
namespace {

using kernels::ActivationType;

// Fewer tokens than members, none to spare, odd ones, few after many and many after few.
constexpr int64_t kSteps[] = {1, 23, 2, 64, 61, 3, 40, 19, 1, 64};
constexpr int64_t kMaxTokens = 64;
constexpr int64_t kRows = 40;     // of sums: padded to 48
constexpr int64_t kInputs = 100;  // of activations: the last group is short

TEST(TokenShares, TileTheTokensOnceThereAreEnough) {
  for (int size = 1; size <= 9; ++size) {
    comm::run_members(size, [&](comm::Communicator& member) {
      for (int64_t tokens = 0; tokens <= 80; ++tokens) {
        const TokenShares shares(member, tokens);
        EXPECT_EQ(shares.num_tokens(), tokens);
        EXPECT_EQ(shares.shared_out(), size > 1 && tokens >= kFewestTokensPerMember * size);
        if (!shares.shared_out()) {
          EXPECT_EQ(shares.own(), (Range{0, tokens}));
          continue;
        }
        EXPECT_EQ(shares.own(), shares.of(member.rank()));
        int64_t next = 0;
        for (int m = 0; m < size; ++m) {
          EXPECT_EQ(shares.of(m).begin, next);
          EXPECT_GE(shares.of(m).size(), kFewestTokensPerMember);
          next = shares.of(m).end;
        }
        EXPECT_EQ(next, tokens);
      }
    });
  }
  EXPECT_FALSE(TokenShares(500).shared_out());
}

struct Group {
  int size = 1;
  bool lends_views = true;
};
void PrintTo(const Group& group, std::ostream* out) {
  *out << group.size << (group.lends_views ? "Views" : "Messages");
}

class Sequence : public testing::TestWithParam<Group> {
 protected:
  void run(const std::function<void(comm::Communicator&)>& body) {
    comm::run_members(GetParam().size, [&](comm::Communicator& member) {
      prepare_this_thread();
      comm::MessagesOnly messages(member);
      body(GetParam().lends_views ? member : messages);
      member.barrier("what was lent is read");
    });
  }
};

int64_t part_of(int member, int64_t token, int64_t row, int64_t reduction) {
  return (member + 1) * int64_t{1'000'000'007} + token * 65'537 + row * 257 + reduction;
}

// The sums of one reduction as the stage adds them, counts included.
int count_wrong_sums(comm::Communicator& member, ExactReduce& exact, const TokenShares& shares,
                     int64_t reduction) {
  const kernels::PartialSums mine = exact.partial();
  const auto make_of = [&](Range tokens) {
    for (int64_t t = tokens.begin; t < tokens.end; ++t) {
      for (int64_t r = 0; r < kRows; ++r)
        mine.data[t * mine.stride() + r] = part_of(member.rank(), t, r, reduction);
      // Added to, as the kernels do: what a step left behind would show.
      mine.data[t * mine.stride() + mine.bad_index()] += (t + member.rank() + reduction) % 3;
    }
  };
  const auto parts = exact.reduce(make_of, "sums");
  int wrong = 0;
  for (int64_t t = shares.own().begin; t < shares.own().end; ++t) {
    const auto sum_at = [&](int64_t column) {
      int64_t sum = 0;
      for (const int64_t* part : parts) sum += part[t * mine.stride() + column];
      return sum;
    };
    int64_t bad = 0;
    for (int m = 0; m < member.size(); ++m) bad += (t + m + reduction) % 3;
    if (sum_at(mine.bad_index()) != bad) ++wrong;
    for (int64_t r = 0; r < kRows; ++r) {
      int64_t expected = 0;
      for (int m = 0; m < member.size(); ++m) expected += part_of(m, t, r, reduction);
      if (sum_at(r) != expected) ++wrong;
    }
    if (!shares.shared_out()) exact.clear_counts({t, t + 1});
  }
  return wrong;
}

float input_of(int64_t token, int64_t i, int64_t reduction) {
  const int64_t mixed = (token * 131 + i * 29 + reduction * 17) % 257 - 128;
  // One value far above the rest, in some tokens: its group is an outlier.
  return static_cast<float>(mixed) * (i == token % kInputs && token % 2 == 0 ? 40.0f : 0.01f);
}

void lay_out(const GatheredInputs& inputs, uint8_t types, int64_t token, int64_t reduction) {
  std::vector<float> x(static_cast<size_t>(round_up(kInputs, 32)), 0.0f);
  for (int64_t i = 0; i < kInputs; ++i) x[static_cast<size_t>(i)] = input_of(token, i, reduction);
  for (const ActivationType type : GatheredInputs::kTypes)
    if (GatheredInputs::contains(types, type))
      kernels::choose_table().prepare(inputs.map(), x.data(), inputs.of(type), token,
                                      {0, inputs.map().num_groups()});
}

// Compares what a matmul reads; of second terms, what copy_tokens leaves out differs.
bool same_rows(const kernels::Activations& want, const kernels::Activations& found) {
  kernels::ActivationTable a[kernels::kMaxActivationTables], b[kernels::kMaxActivationTables];
  const int num_tables = kernels::activation_tables(want, a);
  kernels::activation_tables(found, b);
  for (int i = 0; i < num_tables; ++i)
    if (std::memcmp(a[i].rows, b[i].rows, static_cast<size_t>(want.num_tokens * a[i].row_bytes)) !=
        0)
      return false;
  return true;
}

// A layer's way over and over: sums, rows, gather.
TEST_P(Sequence, StepsOfAnySizeFollowEachOther) {
  const uint8_t wanted =
      GatheredInputs::bit(ActivationType::kInt8) | GatheredInputs::bit(ActivationType::kBF16);
  std::atomic<int> wrong_sums = 0, wrong_rows = 0;
  run([&](comm::Communicator& member) {
    const std::unique_ptr<comm::Communicator> solo = comm::make_solo();
    ExactReduce exact(member, kMaxTokens, kRows);
    GatheredInputs inputs(member, kInputs), expected(*solo, kInputs);
    tensor::Buffer memory(GatheredInputs::bytes(inputs.map(), kMaxTokens), "inputs"),
        own(memory.size(), "expected");
    int64_t reduction = 0;
    for (int repeat = 0; repeat < 3; ++repeat) {
      for (const int64_t tokens : kSteps) {
        const TokenShares shares(member, tokens);
        exact.begin(shares);
        // Zero, so that second terms that nobody writes compare equal.
        std::memset(own.data(), 0, static_cast<size_t>(own.size()));
        std::memset(memory.data(), 0, static_cast<size_t>(memory.size()));
        inputs.begin(shares, memory.data());
        expected.begin(TokenShares(tokens), own.data());
        for (int layer = 0; layer < 3; ++layer, ++reduction) {
          for (int64_t t = shares.own().begin; t < shares.own().end; ++t)
            lay_out(inputs, wanted, t, reduction);
          inputs.gather(wanted, "rows");
          for (int64_t t = 0; t < tokens; t += 5) {
            const Range some{t, std::min(tokens, t + 5)};
            inputs.take(wanted, some);
            if (shares.shared_out()) exact.clear_counts(some);
          }
          for (int64_t t = 0; t < tokens; ++t) lay_out(expected, wanted, t, reduction);
          for (const ActivationType type : {ActivationType::kInt8, ActivationType::kBF16})
            if (!same_rows(expected.of(type), inputs.of(type))) ++wrong_rows;
          wrong_sums += count_wrong_sums(member, exact, shares, reduction);
        }
        if (shares.shared_out()) member.barrier("end of a stage");  // as its gathering does
      }
    }
  });
  EXPECT_EQ(wrong_sums, 0);
  EXPECT_EQ(wrong_rows, 0);
}

TEST(GatheredInputs, AMemberTakesOnlyWhatItReads) {
  const uint8_t wanted =
      GatheredInputs::bit(ActivationType::kInt8) | GatheredInputs::bit(ActivationType::kBF16);
  std::atomic<int> taken = 0;
  comm::run_members(3, [&](comm::Communicator& member) {
    prepare_this_thread();
    GatheredInputs inputs(member, kInputs);
    tensor::Buffer memory(GatheredInputs::bytes(inputs.map(), kMaxTokens), "inputs");
    std::memset(memory.data(), 0, static_cast<size_t>(memory.size()));
    const TokenShares shares(member, kMaxTokens);
    inputs.begin(shares, memory.data());
    for (int64_t t = shares.own().begin; t < shares.own().end; ++t) lay_out(inputs, wanted, t, 1);
    inputs.gather(wanted, "rows");
    inputs.take(GatheredInputs::bit(ActivationType::kBF16), {0, kMaxTokens});
    member.barrier("what was lent is read");
    const int64_t peers = shares.own().end % kMaxTokens;  // a token of another member
    const int64_t at = peers * inputs.map().num_groups();
    if (inputs.of(ActivationType::kInt8).first.scales[at] != 0.0f) ++taken;
    if (static_cast<uint16_t*>(inputs.of(ActivationType::kBF16).values)[at * 32 + 1] == 0) ++taken;
  });
  EXPECT_EQ(taken, 0);
}

// Half of what two buffers would take where tokens are many.
TEST(ExactReduce, HoldsOneBufferWhereTokensAreMany) {
  const int64_t row = kernels::PartialSums{nullptr, 1, kRows}.stride() * 8;
  EXPECT_EQ(ExactReduce::buffer_bytes(1, 512, kRows), 512 * row);
  EXPECT_EQ(ExactReduce::buffer_bytes(2, 512, kRows), 512 * row);
  EXPECT_EQ(ExactReduce::buffer_bytes(2, 1, kRows), 2 * row);
  EXPECT_EQ(ExactReduce::buffer_bytes(64, 70, kRows), 2 * 70 * row);
}

INSTANTIATE_TEST_SUITE_P(Groups, Sequence,
                         testing::Values(Group{1}, Group{2}, Group{3}, Group{5}, Group{2, false},
                                         Group{3, false}, Group{5, false}),
                         testing::PrintToStringParamName());

}  // namespace
}  // namespace weft::parallel
