// What the processes of a job tell each other first: who they are, in one block of fixed size, so
// that versions that differ in all else can still say so.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "comm/job.h"

namespace weft::comm {

inline constexpr int64_t kIntroductionBytes = 1024;
using IntroductionBlock = std::array<std::byte, kIntroductionBytes>;

struct Introduced {
  Peer peer;
  // Processes whose machines are equal see each other's process ids: "START/IDS".
  std::string machine;
};

// Whether two processes have cores and memory of one host between them: it has one name, and it was
// started once (two machines of one name were not).
bool on_same_host(const Introduced& a, const Introduced& b);

// This process: its host as the link calls it, its id, its machine.
Introduced introduce(const Introduction& self, const std::string& host);

IntroductionBlock to_block(const Introduced& introduced);
// Throws Error(kCommunication) naming the process: another program, another format, a text that
// is longer than its place.
Introduced from_block(const IntroductionBlock& block, int process);

// Throws Error(kCommunication) for the first two that may not work together, naming both hosts and
// what to do. An empty text is not compared. The same in every process, as all see the same.
void check_agreement(const std::vector<Introduced>& all);

}  // namespace weft::comm
