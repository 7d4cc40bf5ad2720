// A cursor over the bytes of a file that cannot be talked into reading past their end.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

namespace weft::checkpoint {

// Little-endian numbers and length-prefixed strings. Every read is checked against what is left
// before a byte is touched or allocated; one that does not fit throws Error(kModel) naming the
// file, what was being read and both numbers. Borrows the bytes and the file's name.
class ByteReader {
 public:
  ByteReader(std::span<const std::byte> bytes, std::string_view file)
      : bytes_(bytes), file_(file) {}

  // What is being read from now on, for the error: "the value of 'general.name'".
  void set_subject(std::string subject) { subject_ = std::move(subject); }
  const std::string& subject() const { return subject_; }
  std::string_view file() const { return file_; }

  uint64_t position() const { return position_; }
  uint64_t remaining() const { return bytes_.size() - position_; }

  template <typename T>
  T number() {
    static_assert(std::is_arithmetic_v<T> && std::endian::native == std::endian::little);
    T value;
    std::memcpy(&value, take(sizeof(T)), sizeof(T));
    return value;
  }

  // u64 length, then that many bytes; valid as long as the file's bytes.
  std::string_view text() {
    const auto length = number<uint64_t>();
    return {reinterpret_cast<const char*>(take(length)), static_cast<size_t>(length)};
  }

  // Refuses a count of elements of at least `least_bytes` each that cannot be in the file.
  void require_room(uint64_t count, uint64_t least_bytes) const {
    if (count > remaining() / least_bytes) refuse_count(count, least_bytes);
  }

 private:
  const std::byte* take(uint64_t num_bytes) {
    if (num_bytes > remaining()) refuse_end(num_bytes);
    const std::byte* taken = bytes_.data() + position_;
    position_ += num_bytes;
    return taken;
  }
  [[noreturn]] void refuse_end(uint64_t num_bytes) const;
  [[noreturn]] void refuse_count(uint64_t count, uint64_t least_bytes) const;

  std::span<const std::byte> bytes_;
  std::string_view file_;
  std::string subject_ = "the header";
  uint64_t position_ = 0;
};

}  // namespace weft::checkpoint
