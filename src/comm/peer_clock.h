// How far another process's clock is ahead of this one's.
//
// Every host counts from its own start, and no two count equally fast: crystals differ by some 20
// millionths (1 ms in 50 s), and what sets them right changes that as it goes. So a clock is read
// more than once. Between two readings the other one is taken to run evenly, and to stay as it was
// before the first and after the last.
//
//   asked            answered: "t"
//     |---- way ----|---- way ----|
//     a            (t)            b        ahead = t - (a + b) / 2, to within (b - a) / 2
//
// Nothing is known of the way there and back but both together: the shortest of several trips
// says the most.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace weft::comm {

// At a moment of this process.
struct ClockReading {
  int64_t at_ns = 0;
  int64_t ahead_ns = 0;
  int64_t error_ns = 0;  // at most
};

// Of the trip that was asked and answered at these moments of ours, and found theirs. Clocks that
// the trip cannot tell apart are taken for one, as those of one machine are.
ClockReading reading_of_trip(int64_t asked_ns, int64_t answered_ns, int64_t their_ns);

class PeerClock {
 public:
  // The last ones are kept, and fewer and fewer of earlier ones.
  static constexpr size_t kMostReadings = 64;

  // In the order of at_ns.
  void add(const ClockReading& reading);
  const std::vector<ClockReading>& readings() const { return readings_; }

  // A moment of theirs by our clock. Without a reading the two are taken for one.
  int64_t ours(int64_t their_ns) const;
  int64_t theirs(int64_t our_ns) const;
  // Of the worst reading of those that moments from this one of ours on are told by.
  int64_t error_since(int64_t our_ns) const;

 private:
  // At a moment that one of the two clocks shows.
  template <typename Shown>
  int64_t ahead_at(int64_t ns, const Shown& shown) const;

  std::vector<ClockReading> readings_;
};

}  // namespace weft::comm
