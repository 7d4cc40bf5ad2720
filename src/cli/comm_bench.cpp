#include "cli/comm_bench.h"

#include <sched.h>

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstring>
#include <limits>
#include <thread>

#include "base/clock.h"
#include "base/error.h"
#include "base/function_ref.h"
#include "base/range.h"
#include "base/thread_team.h"
#include "tensor/buffer.h"

namespace weft::cli {
namespace {

using comm::Communicator;

constexpr const char* kPhase = "bench comm";

// Every member learns rank 0's number.
int64_t as_rank_0_says(Communicator& member, int64_t value) {
  member.broadcast(std::as_writable_bytes(std::span(&value, 1)), 0, kPhase);
  return value;
}

// The longest time of all members.
int64_t longest(Communicator& member, int64_t ns) {
  std::vector<int64_t> all(static_cast<size_t>(member.size()));
  member.all_gather(std::as_bytes(std::span(&ns, 1)), std::as_writable_bytes(std::span(all)),
                    kPhase);
  return *std::max_element(all.begin(), all.end());
}

// Nanoseconds that this member spent in `calls` calls, together.
using TimedCalls = FunctionRef<int64_t(int64_t calls)>;

// Seconds of one call, of the slowest member. Members must make equally many calls, so rank 0
// counts how many a run needs.
double seconds_of(Communicator& member, const CommPatience& patience, TimedCalls run) {
  constexpr int64_t kMostCalls = 1'000'000;
  run(1);  // may sleep, or measure for itself
  int64_t shortest = std::numeric_limits<int64_t>::max();
  for (int i = 0; i < 3; ++i) {
    const int64_t begin = now_ns();
    run(1);
    shortest = std::min(shortest, now_ns() - begin);
  }
  const int64_t calls = as_rank_0_says(
      member, std::clamp<int64_t>(patience.run_ns / std::max<int64_t>(shortest, 1), 1, kMostCalls));
  std::vector<int64_t> runs;
  for (int i = 0; i < patience.num_runs; ++i) {
    member.barrier(kPhase);
    runs.push_back(longest(member, run(calls)));
  }
  const auto middle = runs.begin() + static_cast<std::ptrdiff_t>(runs.size() / 2);
  std::nth_element(runs.begin(), middle, runs.end());
  return seconds_between(0, *middle) / static_cast<double>(calls);
}

// Calls one after another, under one look at the clock.
template <typename Body>
auto one_after_another(const Body& body) {
  return [&body](int64_t calls) {
    const int64_t begin = now_ns();
    for (int64_t i = 0; i < calls; ++i) body();
    return now_ns() - begin;
  };
}

void run_verb(Communicator& member, Collective verb, std::span<int64_t> data) {
  switch (verb) {
    case Collective::kAllReduce:
      return member.all_reduce(data, kPhase);
    case Collective::kReduceScatter:
      return member.reduce_scatter(data, 1, kPhase);
    case Collective::kAllGather:
      return member.all_gather_rows(std::as_writable_bytes(data), 8, kPhase);
  }
}

// Before anything is timed: what this member holds afterwards is right.
void check_result(Communicator& member, Collective verb, std::span<int64_t> data) {
  const auto count = static_cast<int64_t>(data.size());
  const Range mine = equal_part({0, count}, member.rank(), member.size());
  const bool gathers = verb == Collective::kAllGather;
  for (int64_t i = 0; i < count; ++i)
    data[static_cast<size_t>(i)] = !gathers || mine.contains(i) ? member.rank() + 1 : 0;
  run_verb(member, verb, data);
  const int64_t size = member.size(), sum = size * (size + 1) / 2;
  for (int rank = 0; rank < member.size(); ++rank) {
    const Range part = equal_part({0, count}, rank, member.size());
    if (part.empty() || (verb == Collective::kReduceScatter && rank != member.rank())) continue;
    for (const int64_t at : {part.begin, part.end - 1})
      WEFT_CHECK_EQ(data[static_cast<size_t>(at)], gathers ? rank + 1 : sum);
  }
}

}  // namespace

std::string_view name_of(Collective verb) {
  constexpr std::string_view kNames[] = {"all_reduce", "reduce_scatter", "all_gather"};
  return kNames[static_cast<size_t>(verb)];
}

double bus_factor(Collective verb, int num_ranks) {
  const double others = static_cast<double>(num_ranks - 1) / static_cast<double>(num_ranks);
  return verb == Collective::kAllReduce ? 2 * others : others;
}

std::vector<int64_t> message_sizes(int64_t smallest, int64_t largest) {
  std::vector<int64_t> sizes;
  for (int64_t size = smallest; size < largest; size *= 4) sizes.push_back(size);
  sizes.push_back(largest);
  return sizes;
}

double barrier_seconds(Communicator& member, const CommPatience& patience) {
  const auto body = [&] { member.barrier(kPhase); };
  return seconds_of(member, patience, one_after_another(body));
}

double collective_seconds(Communicator& member, Collective verb, int64_t num_bytes,
                          const CommPatience& patience) {
  WEFT_CHECK(num_bytes > 0 && num_bytes % 8 == 0, "{} bytes are no words", num_bytes);
  tensor::Buffer memory(num_bytes, "data of bench comm");
  const std::span<int64_t> data(memory.as<int64_t>(), static_cast<size_t>(num_bytes / 8));
  check_result(member, verb, data);
  const double seconds = seconds_of(member, patience, [&](int64_t calls) {
    int64_t ns = 0;
    for (int64_t i = 0; i < calls; ++i) {
      // Written anew, as ranks that compute do: peers would otherwise read what their own caches
      // still hold of the call before, and nothing would move.
      std::memset(data.data(), 0, data.size_bytes());
      member.barrier(kPhase);
      const int64_t begin = now_ns();
      run_verb(member, verb, data);
      ns += now_ns() - begin;
    }
    return ns;
  });
  member.barrier(kPhase);  // nobody frees what another still reads
  return seconds;
}

double copy_seconds(Communicator& member, int64_t num_bytes, const CommPatience& patience) {
  tensor::Buffer from(num_bytes, "copy of bench comm"), to(num_bytes, "copy of bench comm");
  std::memset(from.data(), 1, static_cast<size_t>(num_bytes));
  const auto body = [&] {
    std::memcpy(to.data(), from.data(), static_cast<size_t>(num_bytes));
    asm volatile("" : : "r"(to.data()) : "memory");  // the copy is wanted
  };
  return seconds_of(member, patience, one_after_another(body));
}

double message_seconds(Communicator& member, int first, int second, int64_t num_bytes,
                       const CommPatience& patience) {
  const bool takes_part = member.rank() == first || member.rank() == second;
  const bool begins = member.rank() == first;
  tensor::Buffer memory(takes_part ? num_bytes : 0, "message of bench comm");
  const std::span<std::byte> message(memory.data(), static_cast<size_t>(memory.size()));
  const int peer = begins ? second : first;
  const std::unique_ptr<Communicator> pair = member.split(takes_part ? 0 : 1, member.rank());
  double seconds = 0;
  if (takes_part) {
    // In the pair's own group rank 0 is the smaller rank.
    const int other = peer > member.rank() ? 1 : 0;
    const auto round_trip = [&] {
      if (begins) pair->send(other, message, kPhase);
      pair->recv(other, message, kPhase);
      if (!begins) pair->send(other, message, kPhase);
    };
    seconds = seconds_of(*pair, patience, one_after_another(round_trip));
  }
  // Those who took no part hear of it.
  std::vector<double> all(static_cast<size_t>(member.size()));
  member.all_gather(std::as_bytes(std::span(&seconds, 1)), std::as_writable_bytes(std::span(all)),
                    kPhase);
  return all[static_cast<size_t>(first)] / 2;
}

double line_seconds(int first_cpu, int second_cpu) {
  constexpr int kRuns = 9, kRoundTrips = 2000, kSpins = 10'000;
  struct alignas(128) Line {
    std::atomic<int> turn{0};
  } line;
  // Player i adds one whenever the lowest bit is i. Where the other does not run at the moment, it
  // gives its core away. Returns the shortest run.
  const auto play = [&](int i, int cpu) {
    ThreadTeam team(1, {cpu});
    team.pin_leader();
    int64_t shortest = std::numeric_limits<int64_t>::max(), begin = now_ns();
    for (int trip = 0; trip < kRuns * kRoundTrips; ++trip) {
      const int own = 2 * trip + i;
      for (int spin = 0; line.turn.load(std::memory_order_acquire) != own; ++spin) {
        if (spin >= kSpins) sched_yield();
      }
      line.turn.store(own + 1, std::memory_order_release);
      if ((trip + 1) % kRoundTrips != 0) continue;
      const int64_t now = now_ns();
      shortest = std::min(shortest, now - begin);
      begin = now;
    }
    return shortest;
  };
  std::thread peer([&] { play(1, second_cpu); });
  const int64_t shortest = play(0, first_cpu);
  peer.join();
  return seconds_between(0, shortest) / (2 * kRoundTrips);
}

}  // namespace weft::cli
