// The window itself: its members are threads over one plain buffer, so that ThreadSanitizer sees
// every hand-over. Between processes it is what job_test.cpp and mpi_test.cpp run the contract
// over.
#include "comm/window.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <atomic>
#include <functional>
#include <memory>
#include <numeric>
#include <string>
#include <thread>
#include <vector>

#include "base/clock.h"
#include "comm/contract.h"
#include "comm/failures.h"
#include "comm/memory_link.h"
#include "comm/shared_memory.h"
#include "tensor/buffer.h"

namespace weft::comm {
namespace {

using std::chrono::milliseconds;
using testing::HasSubstr;

struct Seated {
  std::unique_ptr<MemoryLink> link;
  std::unique_ptr<JobPart> part;
  std::unique_ptr<Window> window;
};

class Windows {
 public:
  explicit Windows(int size, milliseconds deadline = milliseconds(60'000))
      : memory_(Window::num_bytes(size), "window of a test"),
        board_(std::make_shared<Switchboard>(size)) {
    std::vector<int> processes(static_cast<size_t>(size));
    std::iota(processes.begin(), processes.end(), 0);
    for (int i = 0; i < size; ++i) {
      Seated member{std::make_unique<MemoryLink>(board_, i), nullptr, nullptr};
      member.part = std::make_unique<JobPart>(*member.link);
      member.window =
          std::make_unique<Window>(*member.part, processes, i, memory_.data(), deadline);
      members_.push_back(std::move(member));
    }
  }

  // What each member throws.
  std::vector<std::string> run(const std::function<void(Window&, int index)>& body) {
    std::vector<std::exception_ptr> failures(members_.size());
    std::vector<std::thread> threads;
    for (size_t i = 0; i < members_.size(); ++i)
      threads.emplace_back([&, i] {
        try {
          body(*members_[i].window, static_cast<int>(i));
        } catch (...) {
          failures[i] = std::current_exception();
        }
      });
    for (std::thread& thread : threads) thread.join();
    std::vector<std::string> texts;
    for (const std::exception_ptr& failure : failures) texts.push_back(text_of(failure));
    return texts;
  }
  JobPart& part(int index) { return *members_[static_cast<size_t>(index)].part; }

 private:
  tensor::Buffer memory_;
  std::shared_ptr<Switchboard> board_;
  std::vector<Seated> members_;
};

// Around the sizes of pieces, with blocks that are uneven, empty, and of several pieces.
constexpr int64_t kSide = Window::kSideBytes / 8;
constexpr int64_t kAroundPieces[] = {0,         1,     2,         kSide / 3,
                                     kSide - 1, kSide, kSide + 1, 5 * kSide + 3};

std::vector<int64_t> uneven_bounds(int size, int64_t length, int64_t unit) {
  std::vector<int64_t> bounds{0};
  for (int i = 1; i < size; ++i) bounds.push_back(i % 2 == 0 ? bounds.back() : length * i / size);
  bounds.push_back(length);
  for (int64_t& bound : bounds) bound *= unit;
  return bounds;
}

TEST(Window, VerbsAreRightAroundTheSizesOfPieces) {
  for (const int size : {2, 3}) {
    Windows windows(size);
    std::atomic<int> wrong = 0;
    const auto failures = windows.run([&](Window& window, int index) {
      int64_t call = 0;
      for (const int64_t length : kAroundPieces) {
        const auto sums = sum_of(size, length, ++call);
        auto data = values_of(index, length, call);
        window.one_shot(data, "one shot");
        if (data != sums) ++wrong;
        data = values_of(index, length, call);
        window.two_shot(data, "two shots");
        if (data != sums) ++wrong;

        data = values_of(index, length, call);
        const auto bounds = uneven_bounds(size, length, 1);
        window.reduce_blocks(Verb::kReduceScatter, data, bounds, "reduce");
        const auto i = static_cast<size_t>(index);
        if (!std::equal(data.begin() + bounds[i], data.begin() + bounds[i + 1],
                        sums.begin() + bounds[i]))
          ++wrong;
        std::fill(data.begin(), data.begin() + bounds[i], -1);
        std::fill(data.begin() + bounds[i + 1], data.end(), -1);
        window.gather_blocks(Verb::kAllGather, std::as_writable_bytes(std::span(data)),
                             uneven_bounds(size, length, 8), "gather");
        if (data != sums) ++wrong;

        data = values_of(index, length, call);
        const int root = static_cast<int>(call % size);
        window.broadcast(std::as_writable_bytes(std::span(data)), root, "broadcast");
        if (data != values_of(root, length, call)) ++wrong;
      }
    });
    EXPECT_EQ(wrong, 0);
    for (const std::string& failure : failures) EXPECT_EQ(failure, "no failure");
  }
}

TEST(Window, WhoSleepsIsWokenAndNobodyLeavesABarrierEarly) {
  Windows windows(3);
  std::atomic<int> arrived = 0, early = 0;
  windows.run([&](Window& window, int index) {
    for (int round = 1; round <= 200; ++round) {
      // Longer than any spin, now and then.
      if ((round + index) % 50 == 0) std::this_thread::sleep_for(milliseconds(2));
      ++arrived;
      window.barrier("barrier");
      if (arrived < 3 * round) ++early;
    }
  });
  EXPECT_EQ(early, 0);
}

TEST(Window, WhoDoesNotComeIsNamed) {
  Windows windows(3, milliseconds(1500));
  const auto failures = windows.run([](Window& window, int index) {
    window.barrier("layer 3 attention");
    if (index != 1) window.barrier("layer 3 mlp");
  });
  for (const size_t i : {0, 2})
    EXPECT_THAT(
        failures[i],
        HasSubstr("process 1 did not come to 'layer 3 mlp' (barrier) of start within 1500 ms"));
}

TEST(Window, OtherCallsAreNamed) {
  Windows sizes(2);
  auto failures = sizes.run([](Window& window, int index) {
    std::vector<int64_t> data(index == 0 ? 3 : 4);
    window.one_shot(data, "odd");
  });
  EXPECT_THAT(failures[0], HasSubstr("process 1 sent 32 bytes to 'odd' (all_reduce) of process 0, "
                                     "which takes 24"));
  EXPECT_THAT(failures[1], HasSubstr("process 0 sent 24 bytes"));

  Windows verbs(2);
  failures = verbs.run([](Window& window, int index) {
    std::byte data[8] = {};
    if (index == 0) window.barrier("here");
    if (index == 1) window.broadcast(data, 0, "there");
  });
  EXPECT_THAT(failures[0], HasSubstr("process 1 calls broadcast"));
  EXPECT_THAT(failures[1], HasSubstr("process 0 calls barrier"));
}

// Nobody wakes the sleeper: the reason reaches this process by a message.
TEST(Window, TheFailureOfTheJobEndsASleep) {
  Windows windows(2);
  const int64_t begin = now_ns();
  const auto failures = windows.run([&](Window& window, int index) {
    if (index == 0) return window.barrier("never");
    std::this_thread::sleep_for(milliseconds(50));
    windows.part(0).family()->abort("rank 1 fell");
  });
  EXPECT_EQ(failures[0], "rank 1 fell");
  EXPECT_LT(seconds_between(begin, now_ns()), 20.0) << "the deadline is a minute";
}

TEST(SharedMemory, IsFoundByItsAddressAndByNothingElse) {
  std::optional<SharedMemory> made = SharedMemory::make(1 << 20);
  ASSERT_TRUE(made);
  std::optional<SharedMemory> opened = SharedMemory::open(made->address());
  ASSERT_TRUE(opened);
  made->data()[1234] = std::byte{7};
  EXPECT_EQ(opened->data()[1234], std::byte{7});
  EXPECT_EQ(opened->data()[1235], std::byte{0});

  SharedMemory::Address other = made->address();
  other.inode += 1;
  EXPECT_FALSE(SharedMemory::open(other)) << "another file";
  other = made->address();
  other.num_bytes *= 2;
  EXPECT_FALSE(SharedMemory::open(other)) << "of another size: reads beyond it would fault";
  const SharedMemory::Address closed = made->address();
  made->close_address();
  EXPECT_FALSE(SharedMemory::open(closed));
  made->data()[99] = std::byte{8};
  EXPECT_EQ(opened->data()[99], std::byte{8}) << "it lives on without its address";
}

}  // namespace
}  // namespace weft::comm
