#include "comm/peer_clock.h"

#include <algorithm>
#include <cstdlib>

namespace weft::comm {

ClockReading reading_of_trip(int64_t asked_ns, int64_t answered_ns, int64_t their_ns) {
  const int64_t way_ns = (answered_ns - asked_ns) / 2;
  const int64_t at_ns = asked_ns + way_ns;
  const int64_t ahead_ns = their_ns - at_ns;
  return {at_ns, std::abs(ahead_ns) <= way_ns ? 0 : ahead_ns, way_ns};
}

void PeerClock::add(const ClockReading& reading) {
  if (readings_.size() == kMostReadings) {
    // Every second one of the older half goes; the first one stays.
    size_t kept = 1;
    for (size_t i = 2; i < readings_.size(); ++i)
      if (i % 2 == 0 || i >= kMostReadings / 2) readings_[kept++] = readings_[i];
    readings_.resize(kept);
  }
  readings_.push_back(reading);
}

template <typename Shown>
int64_t PeerClock::ahead_at(int64_t ns, const Shown& shown) const {
  if (readings_.empty()) return 0;
  const auto after = std::ranges::upper_bound(readings_, ns, {}, shown);
  if (after == readings_.begin()) return readings_.front().ahead_ns;
  const ClockReading& before = *(after - 1);
  if (after == readings_.end()) return before.ahead_ns;
  const double passed =
      static_cast<double>(ns - shown(before)) / static_cast<double>(shown(*after) - shown(before));
  const double gained = static_cast<double>(after->ahead_ns - before.ahead_ns) * passed;
  return before.ahead_ns + static_cast<int64_t>(gained);
}

int64_t PeerClock::ours(int64_t their_ns) const {
  return their_ns - ahead_at(their_ns, [](const ClockReading& r) { return r.at_ns + r.ahead_ns; });
}

int64_t PeerClock::theirs(int64_t our_ns) const {
  return our_ns + ahead_at(our_ns, [](const ClockReading& r) { return r.at_ns; });
}

int64_t PeerClock::error_since(int64_t our_ns) const {
  const auto after = std::ranges::upper_bound(readings_, our_ns, {}, &ClockReading::at_ns);
  int64_t error_ns = 0;
  for (auto r = after == readings_.begin() ? after : after - 1; r != readings_.end(); ++r)
    error_ns = std::max(error_ns, r->error_ns);
  return error_ns;
}

}  // namespace weft::comm
