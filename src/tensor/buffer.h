// Owned, aligned memory (weights, cache, activations) and the arena of one step.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace weft::tensor {

// Zero-initialised, 64-byte aligned; from 2 MiB on it is mapped anonymously and advised to use
// huge pages, so untouched pages cost nothing and the first thread that writes places them.
class Buffer {
 public:
  Buffer() = default;
  // Throws Error(kMemory) naming `purpose` and the bytes when the system has no such memory.
  Buffer(int64_t num_bytes, const char* purpose);
  ~Buffer();
  Buffer(Buffer&& other) noexcept;
  Buffer& operator=(Buffer&& other) noexcept;

  std::byte* data() { return data_; }
  const std::byte* data() const { return data_; }
  int64_t size() const { return size_; }
  template <typename T>
  T* as() { return reinterpret_cast<T*>(data_); }
  template <typename T>
  const T* as() const { return reinterpret_cast<const T*>(data_); }

 private:
  std::byte* data_ = nullptr;
  int64_t size_ = 0;
  bool mapped_ = false;
};

// The scratch memory of one worker: sized once from the largest step, handed out front to back,
// rewound at every step. Allocates nothing after construction; overflow is a bug (CHECK).
class Arena {
 public:
  Arena() = default;
  explicit Arena(int64_t num_bytes);
  void rewind() { used_ = 0; }
  // `count` elements, 64-byte aligned, contents undefined.
  template <typename T>
  T* take(int64_t count) { return static_cast<T*>(take_bytes(count * static_cast<int64_t>(sizeof(T)))); }
  int64_t high_water_bytes() const { return high_water_; }

 private:
  void* take_bytes(int64_t num_bytes);
  Buffer buffer_;
  int64_t used_ = 0, high_water_ = 0;
};

}  // namespace weft::tensor
