#include "base/activity.h"

#include <algorithm>

#include "base/clock.h"
#include "base/error.h"

namespace weft {
namespace {

// Release and acquire on every word, in place of fences that ThreadSanitizer does not follow: who
// sees a word of a change also sees that the version has moved. Plain moves on x86.
constexpr auto kWrite = std::memory_order_release;
constexpr auto kRead = std::memory_order_acquire;
constexpr auto kOwn = std::memory_order_relaxed;  // by the only thread that writes

}  // namespace

std::string_view name(Activity activity) {
  constexpr std::string_view kNames[kNumActivities] = {
      "nothing", "schedule", "compute", "reduce", "wait_peers", "wait_input", "wait_send"};
  return kNames[static_cast<size_t>(activity)];
}

ActivityClock::ActivityClock() : since_ns_(now_ns()) {}

void ActivityClock::keep_events(int64_t count) {
  WEFT_CHECK(num_events_.load() == 0 && count >= 0);
  slots_ = std::make_unique<Slot[]>(static_cast<size_t>(count));
  num_kept_ = count;
}

void ActivityClock::enter(Activity activity, uint64_t step) {
  const Activity before = activity_.load(kOwn);
  if (activity == before && step == step_) return;
  const int64_t now = now_ns(), since = since_ns_.load(kOwn);
  const uint32_t version = version_.load(kOwn);
  version_.store(version + 1, kOwn);
  std::atomic<int64_t>& total = total_ns_[static_cast<size_t>(before)];
  total.store(total.load(kOwn) + now - since, kWrite);
  if (is_work(before)) {
    const int64_t window = window_ns_.load(kOwn);
    if (first_work_ns_.load(kOwn) < window && now > window)
      first_work_ns_.store(std::max(window, since), kWrite);
    last_work_ns_.store(now, kWrite);
  }
  since_ns_.store(now, kWrite);
  activity_.store(activity, kWrite);
  version_.store(version + 2, kWrite);
  step_ = step;
  if (num_kept_ > 0) keep(now, activity, step);
}

void ActivityClock::keep(int64_t begin_ns, Activity activity, uint64_t step) {
  const int64_t count = num_events_.load(kOwn);
  Slot& slot = slots_[static_cast<size_t>(count % num_kept_)];
  slot.begin_ns.store(begin_ns, kWrite);
  slot.what.store(step << 8 | static_cast<uint64_t>(activity), kWrite);
  num_events_.store(count + 1, kWrite);
}

int64_t ActivityClock::worked_ns() const {
  int64_t worked = 0;
  for (size_t a = 0; a < kNumActivities; ++a) {
    if (is_work(static_cast<Activity>(a))) worked += total_ns_[a].load(kOwn);
  }
  return worked;
}

ActivityTotals ActivityClock::totals() const {
  while (true) {
    const uint32_t version = version_.load(kRead);
    ActivityTotals totals;
    for (size_t a = 0; a < kNumActivities; ++a) totals.ns[a] = total_ns_[a].load(kRead);
    const int64_t since = since_ns_.load(kRead);
    const Activity activity = activity_.load(kRead);
    int64_t first = first_work_ns_.load(kRead), last = last_work_ns_.load(kRead);
    if ((version & 1) != 0 || version_.load(kRead) != version) continue;
    const int64_t window = window_ns_.load(kOwn);
    totals.at_ns = std::max(since, now_ns());
    totals.ns[static_cast<size_t>(activity)] += totals.at_ns - since;
    if (is_work(activity)) {
      last = totals.at_ns;
      if (first < window) first = std::max(window, since);
    }
    if (first < window) return totals;
    totals.first_work_ns = first;
    totals.last_work_ns = std::max(first, last);
    return totals;
  }
}

int64_t ActivityClock::event_at(int64_t ns) const {
  const int64_t count = num_events_.load(kRead);
  int64_t low = std::max<int64_t>(0, count - num_kept_), high = count;
  while (high - low > 1) {
    const int64_t middle = low + (high - low) / 2;
    const Slot& slot = slots_[static_cast<size_t>(middle % num_kept_)];
    (slot.begin_ns.load(kRead) <= ns ? low : high) = middle;
  }
  return low;
}

ActivityClock::Events ActivityClock::events(int64_t first, int64_t most) const {
  Events out;
  if (num_kept_ == 0) return out;
  int64_t count = num_events_.load(kRead);
  first = std::clamp(first, std::max<int64_t>(0, count - num_kept_), count);
  count = std::min(count, first + std::clamp<int64_t>(most, 0, num_kept_));
  out.events.reserve(static_cast<size_t>(count - first));
  for (int64_t i = first; i < count; ++i) {
    const Slot& slot = slots_[static_cast<size_t>(i % num_kept_)];
    const int64_t begin_ns = slot.begin_ns.load(kRead);
    const uint64_t what = slot.what.load(kRead);
    out.events.push_back({begin_ns, static_cast<Activity>(what & 0xff), what >> 8});
  }
  // The rank may have gone on: its event `now` overwrites `now - num_kept_`, perhaps half of it.
  const int64_t now = num_events_.load(kRead);
  out.num_dropped = std::clamp<int64_t>(now + 1 - num_kept_, first, count);
  out.events.erase(out.events.begin(), out.events.begin() + (out.num_dropped - first));
  out.end_ns = now_ns();
  return out;
}

}  // namespace weft
