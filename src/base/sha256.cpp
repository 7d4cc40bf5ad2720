#include "base/sha256.h"

#include <openssl/evp.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <vector>

#include "base/error.h"

namespace weft {
namespace {

struct FileCloser {
  void operator()(std::FILE* file) const { std::fclose(file); }
};

[[noreturn]] void throw_cannot_read(const std::filesystem::path& path) {
  throw Error(ErrorKind::kModel, fmt::format("cannot read {}", path.string()), std::strerror(errno),
              "check the path and its permissions");
}

}  // namespace

struct Sha256::State {
  State() : context(EVP_MD_CTX_new()) {
    if (context == nullptr || EVP_DigestInit_ex(context, EVP_sha256(), nullptr) != 1)
      throw Error(ErrorKind::kInternal, "cannot compute a SHA-256", "OpenSSL offers none");
  }
  ~State() { EVP_MD_CTX_free(context); }
  State(const State&) = delete;
  State& operator=(const State&) = delete;

  EVP_MD_CTX* context;
};

Sha256::Sha256() : state_(std::make_unique<State>()) {}
Sha256::~Sha256() = default;

void Sha256::add(std::span<const std::byte> data) {
  WEFT_CHECK(EVP_DigestUpdate(state_->context, data.data(), data.size()) == 1);
}

std::string Sha256::finish() {
  unsigned char digest[EVP_MAX_MD_SIZE];
  unsigned int num_bytes = 0;
  WEFT_CHECK(EVP_DigestFinal_ex(state_->context, digest, &num_bytes) == 1);
  std::string text;
  for (unsigned int i = 0; i < num_bytes; ++i) text += fmt::format("{:02x}", digest[i]);
  return text;
}

std::string sha256_of_file(const std::filesystem::path& path,
                           const std::function<void(int64_t)>& on_bytes) {
  const std::unique_ptr<std::FILE, FileCloser> file(std::fopen(path.c_str(), "rb"));
  if (file == nullptr) throw_cannot_read(path);
  // Large enough that system calls do not count, small enough to stay in the cache.
  std::vector<std::byte> piece(256 * 1024);
  Sha256 sum;
  while (const size_t num_bytes = std::fread(piece.data(), 1, piece.size(), file.get())) {
    sum.add(std::span(piece).first(num_bytes));
    if (on_bytes) on_bytes(static_cast<int64_t>(num_bytes));
  }
  if (std::ferror(file.get()) != 0) throw_cannot_read(path);
  return sum.finish();
}

}  // namespace weft
