#include "tensor/buffer.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <utility>

#include "base/error.h"
#include "base/range.h"

namespace weft::tensor {
namespace {

constexpr int64_t kAlignment = 64;
constexpr int64_t kHugePage = int64_t{2} << 20;

int64_t page_bytes() { return static_cast<int64_t>(sysconf(_SC_PAGESIZE)); }

// Maps `num_bytes` (whole pages) at a multiple of the huge page, which the kernel alone does not
// promise: maps one huge page more and gives both ends back. Null where there is no such memory.
std::byte* map_huge(int64_t num_bytes) {
  const int64_t reserved = num_bytes + kHugePage;
  void* start = mmap(nullptr, static_cast<size_t>(reserved), PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (start == MAP_FAILED) return nullptr;
  auto* bytes = static_cast<std::byte*>(start);
  const int64_t address = static_cast<int64_t>(reinterpret_cast<uintptr_t>(start));
  const int64_t before = round_up(address, kHugePage) - address;
  const int64_t after = reserved - before - num_bytes;
  if (before > 0) munmap(bytes, static_cast<size_t>(before));
  if (after > 0) munmap(bytes + before + num_bytes, static_cast<size_t>(after));
  madvise(bytes + before, static_cast<size_t>(num_bytes), MADV_HUGEPAGE);
  return bytes + before;
}

[[noreturn]] void no_memory(int64_t num_bytes, const char* purpose) {
  throw Error(
      ErrorKind::kMemory,
      fmt::format("cannot allocate {} bytes ({:.1f} MB) for {}", num_bytes,
                  static_cast<double>(num_bytes) / 1e6, purpose),
      "the system has no such memory",
      "use a smaller model, context (--max-model-len) or cache (--kv-cache-memory-bytes), or more "
      "machines");
}

}  // namespace

Buffer::Buffer(int64_t num_bytes, const char* purpose) : size_(num_bytes) {
  WEFT_CHECK_LE(0, num_bytes);
  if (num_bytes == 0) return;
  if (num_bytes > std::numeric_limits<int64_t>::max() - 2 * kHugePage)
    no_memory(num_bytes, purpose);
  mapped_ = num_bytes >= kHugePage;
  if (mapped_) {
    data_ = map_huge(round_up(num_bytes, page_bytes()));
  } else {
    const auto padded = static_cast<size_t>(round_up(num_bytes, kAlignment));
    data_ = static_cast<std::byte*>(std::aligned_alloc(kAlignment, padded));
    if (data_ != nullptr) std::memset(data_, 0, padded);
  }
  if (data_ == nullptr) no_memory(num_bytes, purpose);
}

Buffer::~Buffer() {
  if (mapped_) {
    munmap(data_, static_cast<size_t>(round_up(size_, page_bytes())));
  } else {
    std::free(data_);
  }
}

Buffer::Buffer(Buffer&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)),
      size_(std::exchange(other.size_, 0)),
      mapped_(std::exchange(other.mapped_, false)) {}

Buffer& Buffer::operator=(Buffer&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  std::swap(mapped_, other.mapped_);
  return *this;
}

Arena::Arena(int64_t num_bytes) : buffer_(num_bytes, "the activations of a step") {}

void* Arena::take_bytes(int64_t num_bytes) {
  WEFT_CHECK_LE(0, num_bytes);
  WEFT_CHECK_LE(num_bytes, buffer_.size() - used_);
  std::byte* taken = buffer_.data() + used_;
  used_ = std::min(round_up(used_ + num_bytes, kAlignment), buffer_.size());
  high_water_ = std::max(high_water_, used_);
  return taken;
}

}  // namespace weft::tensor
