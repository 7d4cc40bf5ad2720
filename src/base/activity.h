// What a rank does with its time: a clock that is always in exactly one activity, so that the times
// of all activities add up to the time that has passed, by construction.
//
//   enter(kSchedule)   enter(kCompute)   enter(kWaitPeers)  enter(kCompute)
//   |---- schedule ----|---- compute ----|---- wait peers ----|---- compute ...
//
// A change of activity is one read of the clock and some stores: no lock, no allocation. Where
// events are kept, the last ones stay in a ring of 16 bytes each; an event ends where the next
// begins, so nothing is written twice.
//
// Thread rule: `enter` and `worked_ns` from the thread that leads the rank (one at a time);
// everything else from any thread, also while the rank runs. Readers look again where a change
// came between (the clock's version is odd while it changes), so what they see is of one moment.
//
// Rejected: pairs of clock reads around what is measured (two reads a part, and what lies between
// the parts is nobody's); a queue to another thread that adds up (the ring is the queue).
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

namespace weft {

enum class Activity : uint8_t {
  kNothing,    // no step to run
  kSchedule,   // planning, filling batches, making masks, taking answers, telling them
  kCompute,    // kernels
  kReduce,     // adding what the ranks of a stage computed, with the residual and norm after it
  kWaitPeers,  // for ranks of the same stage
  kWaitInput,  // for the stage before, and taking over what it sent
  kWaitSend    // handing over to the next stage, and waiting for room there
};
inline constexpr size_t kNumActivities = 7;

std::string_view name(Activity activity);
// Compute, or the collectives that belong to it: the rank is at work on a step.
constexpr bool is_work(Activity a) {
  return a == Activity::kCompute || a == Activity::kReduce || a == Activity::kWaitPeers;
}

struct ActivityTotals {
  std::array<int64_t, kNumActivities> ns{};  // by activity, since the clock was made
  int64_t at_ns = 0;                         // the moment that this is of (base/clock.h)
  // Of work since the last begin_window(): 0 where there was none. What is under way ends at at_ns.
  int64_t first_work_ns = 0, last_work_ns = 0;

  int64_t of(Activity activity) const { return ns[static_cast<size_t>(activity)]; }
};

struct ActivityEvent {
  static constexpr uint64_t kNoStep = (uint64_t{1} << 56) - 1;

  int64_t begin_ns = 0;
  Activity activity = Activity::kNothing;
  uint64_t step = kNoStep;
};

class ActivityClock {
 public:
  ActivityClock();

  // Room for the last `count` events. Before the first `enter`.
  void keep_events(int64_t count);
  int64_t num_kept() const { return num_kept_; }

  // Ends the activity under way and begins this one, for the same step or another. The activity
  // that is under way already goes on: nothing is read or written.
  void enter(Activity activity) { enter(activity, step_); }
  void enter(Activity activity, uint64_t step);
  // Time of work that has ended; work under way counts once another activity was entered.
  int64_t worked_ns() const;
  // When the activity under way began.
  int64_t since_ns() const { return since_ns_.load(std::memory_order_relaxed); }

  ActivityTotals totals() const;
  // From here on first_work_ns is looked for anew.
  void begin_window(int64_t at_ns) { window_ns_.store(at_ns, std::memory_order_relaxed); }

  struct Events {
    std::vector<ActivityEvent> events;  // in order; each ends where the next begins
    int64_t end_ns = 0;                 // of the last one
    int64_t num_dropped = 0;            // earlier ones: overwritten, or not asked for
  };
  Events events() const { return events(0, num_kept_); }
  // Of those still there the ones from a number on, at most so many. They count from 0.
  Events events(int64_t first, int64_t most) const;
  // Since the beginning.
  int64_t num_events() const { return num_events_.load(std::memory_order_acquire); }
  // The number of the one that was under way at a moment, or of the first that is still there.
  int64_t event_at(int64_t ns) const;

 private:
  // Two words, so that a reader sees each whole.
  struct Slot {
    std::atomic<int64_t> begin_ns{0};
    std::atomic<uint64_t> what{0};  // step << 8 | activity
  };
  void keep(int64_t begin_ns, Activity activity, uint64_t step);

  std::array<std::atomic<int64_t>, kNumActivities> total_ns_{};
  std::atomic<uint32_t> version_{0};  // odd while `enter` writes
  std::atomic<int64_t> since_ns_;
  std::atomic<Activity> activity_{Activity::kNothing};
  std::atomic<int64_t> first_work_ns_{-1}, last_work_ns_{0};
  std::atomic<int64_t> window_ns_{0};
  uint64_t step_ = ActivityEvent::kNoStep;
  std::unique_ptr<Slot[]> slots_;  // [num_kept_]
  int64_t num_kept_ = 0;
  std::atomic<int64_t> num_events_{0};  // since the beginning
};

}  // namespace weft
