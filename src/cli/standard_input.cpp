#include "cli/standard_input.h"

#include <poll.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <istream>

#include "base/error.h"
#include "cli/quantity.h"

namespace weft::cli {
namespace {

InputState look_at_pipe(int descriptor, std::chrono::milliseconds patience) {
  pollfd wanted{descriptor, POLLIN, 0};
  if (poll(&wanted, 1, static_cast<int>(patience.count())) <= 0) return InputState::kSilent;
  // An end of input is an event as well; what then can be read is nothing.
  int available = 0;
  const bool known = ioctl(descriptor, FIONREAD, &available) == 0;
  return known && available > 0 ? InputState::kText : InputState::kNothing;
}

}  // namespace

InputState look_at_input(int descriptor, std::chrono::milliseconds patience) {
  if (isatty(descriptor) != 0) return InputState::kTerminal;
  struct stat status {};
  if (fstat(descriptor, &status) != 0) return InputState::kNothing;
  if (S_ISFIFO(status.st_mode) || S_ISSOCK(status.st_mode)) {
    return look_at_pipe(descriptor, patience);
  }
  if (!S_ISREG(status.st_mode)) return InputState::kNothing;
  // A file of the kernel's says 0 and may hold text; reading it shows.
  if (status.st_size == 0) {
    char byte = 0;
    return pread(descriptor, &byte, 1, 0) == 1 ? InputState::kText : InputState::kNothing;
  }
  return lseek(descriptor, 0, SEEK_CUR) < status.st_size ? InputState::kText : InputState::kNothing;
}

std::string read_prompt(std::istream& in) {
  constexpr size_t kPiece = size_t{64} << 10;
  std::string text;
  while (in && static_cast<int64_t>(text.size()) <= kMaxPromptBytes) {
    const size_t begin = text.size();
    const size_t room = static_cast<size_t>(kMaxPromptBytes) + 1 - begin;
    text.resize(begin + std::min(kPiece, room));
    in.read(text.data() + begin, static_cast<std::streamsize>(text.size() - begin));
    text.resize(begin + static_cast<size_t>(in.gcount()));
  }
  if (static_cast<int64_t>(text.size()) > kMaxPromptBytes) {
    throw Error(ErrorKind::kUsage,
                fmt::format("standard input holds more than {}", bytes_text(kMaxPromptBytes)),
                "no model's context is as long as that", "give a shorter prompt");
  }
  if (!text.empty() && text.back() == '\n') text.pop_back();
  return text;
}

}  // namespace weft::cli
