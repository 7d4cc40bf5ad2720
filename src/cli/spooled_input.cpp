#include "cli/spooled_input.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <stdlib.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <istream>
#include <vector>

#include "base/error.h"

namespace weft::cli {
namespace {

constexpr size_t kPieceBytes = 1 << 16;

// A destructor does not run where its constructor throws.
[[noreturn]] void refuse(int descriptor) {
  const int reason = errno;
  if (descriptor >= 0) close(descriptor);
  throw Error(ErrorKind::kUsage, "standard input could not be kept in a temporary file",
              std::strerror(reason),
              "name a folder that has room in TMPDIR, or give --file a file");
}

int open_nameless() {
  std::error_code error;
  std::string name = (std::filesystem::temp_directory_path(error) / "weft-XXXXXX").string();
  errno = error.value();
  if (error) refuse(-1);
  const int descriptor = mkostemp(name.data(), O_CLOEXEC);
  if (descriptor < 0) refuse(descriptor);
  unlink(name.c_str());
  return descriptor;
}

}  // namespace

SpooledInput::SpooledInput(std::istream& in) : descriptor_(open_nameless()) {
  std::vector<char> piece(kPieceBytes);
  while (in.read(piece.data(), kPieceBytes), in.gcount() > 0) {
    const char* data = piece.data();
    for (auto left = static_cast<size_t>(in.gcount()); left > 0;) {
      const ssize_t count = write(descriptor_, data, left);
      if (count < 0 && errno == EINTR) continue;
      if (count <= 0) refuse(descriptor_);
      data += count;
      left -= static_cast<size_t>(count);
    }
  }
}

SpooledInput::~SpooledInput() { close(descriptor_); }

std::string SpooledInput::path() const { return fmt::format("/proc/self/fd/{}", descriptor_); }

}  // namespace weft::cli
