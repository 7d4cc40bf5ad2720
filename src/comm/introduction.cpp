#include "comm/introduction.h"

#include <sys/stat.h>
#include <unistd.h>

#include <cstring>
#include <fstream>
#include <string_view>

#include "base/error.h"

namespace weft::comm {
namespace {

constexpr char kMagic[8] = {'w', 'e', 'f', 't', ' ', 'j', 'o', 'b'};
constexpr uint32_t kFormat = 2;  // of the block; raised where its layout changes
constexpr size_t kMaxText = 120;

struct WireText {
  uint32_t length;
  char bytes[kMaxText + 4];
};
struct Wire {
  char magic[8];
  uint32_t format;
  uint32_t reserved;
  int64_t pid;
  WireText version, numerics, instruction_set, host, machine;
};
static_assert(sizeof(Wire) <= kIntroductionBytes);

void put(WireText& wire, const std::string& text, std::string_view what) {
  WEFT_CHECK(text.size() <= kMaxText, "{} has {} bytes, {} fit: {}", what, text.size(), kMaxText,
             text);
  wire.length = static_cast<uint32_t>(text.size());
  std::memcpy(wire.bytes, text.data(), text.size());
}

std::string take(const WireText& wire, int process) {
  if (wire.length > kMaxText)
    throw Error(
        ErrorKind::kCommunication,
        fmt::format("process {} introduced itself with a text of {} bytes", process, wire.length),
        "no version of weft does");
  return {wire.bytes, wire.length};
}

// Of this start of the system, and of the process ids that are seen here: containers of one
// machine number their processes apart.
std::string machine_id() {
  std::string boot;
  std::ifstream("/proc/sys/kernel/random/boot_id") >> boot;
  struct stat ids {};
  if (boot.empty() || stat("/proc/self/ns/pid", &ids) != 0) return {};
  return fmt::format("{}/{}", boot, ids.st_ino);
}

std::string named(const std::vector<Introduced>& all, size_t process) {
  return fmt::format("process {} ({})", process, all[process].peer.host);
}

// Names the first process that says something else than process 0.
void check_same(const std::vector<Introduced>& all, std::string_view what,
                std::string Introduction::*field, std::string_view mend) {
  const std::string& first = all.front().peer.said.*field;
  for (size_t other = 1; other < all.size(); ++other) {
    const std::string& said = all[other].peer.said.*field;
    if (said == first) continue;
    throw Error(
        ErrorKind::kCommunication, fmt::format("the processes of this job have different {}", what),
        fmt::format("{} has '{}', {} has '{}'", named(all, 0), first, named(all, other), said),
        mend);
  }
}

}  // namespace

bool on_same_host(const Introduced& a, const Introduced& b) {
  const auto start_of = [](const Introduced& introduced) {
    return std::string_view(introduced.machine).substr(0, introduced.machine.find('/'));
  };
  return a.peer.host == b.peer.host && start_of(a) == start_of(b);
}

Introduced introduce(const Introduction& self, const std::string& host) {
  return {{self, host, static_cast<int64_t>(getpid())}, machine_id()};
}

IntroductionBlock to_block(const Introduced& introduced) {
  Wire wire{};
  std::memcpy(wire.magic, kMagic, sizeof(kMagic));
  wire.format = kFormat;
  wire.pid = introduced.peer.pid;
  const Introduction& said = introduced.peer.said;
  put(wire.version, said.version, "version");
  put(wire.numerics, said.numerics, "numerics");
  put(wire.instruction_set, said.instruction_set, "instruction set");
  put(wire.host, introduced.peer.host.substr(0, kMaxText), "host");
  put(wire.machine, introduced.machine, "machine");
  IntroductionBlock block{};
  std::memcpy(block.data(), &wire, sizeof(wire));
  return block;
}

Introduced from_block(const IntroductionBlock& block, int process) {
  Wire wire;
  std::memcpy(&wire, block.data(), sizeof(wire));
  if (std::memcmp(wire.magic, kMagic, sizeof(kMagic)) != 0)
    throw Error(ErrorKind::kCommunication, fmt::format("process {} is not weft", process),
                "a job runs the same program everywhere");
  if (wire.format != kFormat)
    throw Error(
        ErrorKind::kCommunication, fmt::format("process {} is another version of weft", process),
        fmt::format("it introduces itself in format {}, this one in {}", wire.format, kFormat),
        "install the same version on every host");
  return {{{take(wire.version, process), take(wire.numerics, process),
            take(wire.instruction_set, process)},
           take(wire.host, process),
           wire.pid},
          take(wire.machine, process)};
}

void check_agreement(const std::vector<Introduced>& all) {
  check_same(all, "versions of weft", &Introduction::version,
             "install the same version on every host");
  check_same(all, "numerics", &Introduction::numerics, "install the same build on every host");
}

}  // namespace weft::comm
