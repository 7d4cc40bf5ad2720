// Memory that processes of one machine map, without a name in any file system: one makes it, tells
// the others its address, and they open it through the maker's own descriptor (/proc). Nothing of
// it outlives the last process, however that one ends.
//
// Rejected: shm_open (a process that is killed before it has removed the name leaves a file in
// /dev/shm), MPI_Win_allocate_shared (blocks without a deadline; its file is the launcher's).
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <utility>

namespace weft::comm {

class SharedMemory {
 public:
  // What another process needs to find it; as it is in messages.
  struct Address {
    int64_t pid = 0, descriptor = -1, num_bytes = 0;
    uint64_t device = 0, inode = 0;
  };

  // Zeros, of which pages exist once they are written. Nothing where the system gives none.
  static std::optional<SharedMemory> make(int64_t num_bytes);
  // Nothing where it cannot be seen from here, or is not what the address says.
  static std::optional<SharedMemory> open(const Address& address);

  SharedMemory(SharedMemory&& other) noexcept
      : data_(std::exchange(other.data_, nullptr)),
        address_(std::exchange(other.address_, Address{})) {}
  SharedMemory& operator=(SharedMemory&& other) noexcept;
  ~SharedMemory();

  std::byte* data() { return data_; }
  const Address& address() const { return address_; }
  // By its maker, once all have opened it or given up.
  void close_address();

 private:
  SharedMemory(std::byte* data, Address address) : data_(data), address_(address) {}

  std::byte* data_ = nullptr;
  Address address_;  // its descriptor is ours to close where we made it, and -1 where we did not
};

}  // namespace weft::comm
