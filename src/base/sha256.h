// SHA-256 (OpenSSL's EVP) of bytes as they come, and of files.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <span>
#include <string>

namespace weft {

class Sha256 {
 public:
  Sha256();
  ~Sha256();
  Sha256(const Sha256&) = delete;
  Sha256& operator=(const Sha256&) = delete;

  void add(std::span<const std::byte> data);
  // 64 lower-case hexadecimal digits. Ends the sum: call it once, add nothing after it.
  std::string finish();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// Of a file's bytes, read in pieces; `on_bytes` hears the size of each piece. Error(kModel) with
// the system's reason where the file cannot be read.
std::string sha256_of_file(const std::filesystem::path& path,
                           const std::function<void(int64_t num_bytes)>& on_bytes = {});

}  // namespace weft
