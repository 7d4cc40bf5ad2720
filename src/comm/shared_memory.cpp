#include "comm/shared_memory.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

namespace weft::comm {
namespace {

std::byte* map(int descriptor, int64_t num_bytes) {
  void* mapped = mmap(nullptr, static_cast<size_t>(num_bytes), PROT_READ | PROT_WRITE, MAP_SHARED,
                      descriptor, 0);
  return mapped == MAP_FAILED ? nullptr : static_cast<std::byte*>(mapped);
}

}  // namespace

std::optional<SharedMemory> SharedMemory::make(int64_t num_bytes) {
  const int descriptor = memfd_create("weft", MFD_CLOEXEC);
  if (descriptor < 0) return {};
  struct stat file {};
  std::byte* data = nullptr;
  if (ftruncate(descriptor, num_bytes) == 0 && fstat(descriptor, &file) == 0)
    data = map(descriptor, num_bytes);
  if (data == nullptr) {
    ::close(descriptor);
    return {};
  }
  return SharedMemory(data, {getpid(), descriptor, num_bytes, file.st_dev, file.st_ino});
}

std::optional<SharedMemory> SharedMemory::open(const Address& address) {
  const std::string path = fmt::format("/proc/{}/fd/{}", address.pid, address.descriptor);
  const int descriptor = ::open(path.c_str(), O_RDWR | O_CLOEXEC);
  if (descriptor < 0) return {};
  // Another process may have the id by now, or another process space the same numbers.
  struct stat file {};
  std::byte* data = nullptr;
  if (fstat(descriptor, &file) == 0 && file.st_dev == address.device &&
      file.st_ino == address.inode && file.st_size == address.num_bytes)
    data = map(descriptor, address.num_bytes);
  ::close(descriptor);
  if (data == nullptr) return {};
  Address known = address;
  known.descriptor = -1;
  return SharedMemory(data, known);
}

SharedMemory& SharedMemory::operator=(SharedMemory&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(address_, other.address_);
  return *this;
}

SharedMemory::~SharedMemory() {
  close_address();
  if (data_ != nullptr) munmap(data_, static_cast<size_t>(address_.num_bytes));
}

void SharedMemory::close_address() {
  if (data_ != nullptr && address_.descriptor >= 0)
    ::close(static_cast<int>(std::exchange(address_.descriptor, -1)));
}

}  // namespace weft::comm
