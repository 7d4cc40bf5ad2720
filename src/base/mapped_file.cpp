#include "base/mapped_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "base/error.h"

#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22  // linux/mman.h of 5.14; older headers lack it
#endif

namespace weft {
namespace {

[[noreturn]] void throw_cannot_map(const std::filesystem::path& path, const char* why) {
  if (errno == ENOMEM)
    throw Error(ErrorKind::kMemory, fmt::format("cannot map {}", path.string()), why,
                "raise the limit of address space (ulimit -v)");
  throw Error(ErrorKind::kModel, fmt::format("cannot open {}", path.string()), why,
              "check the path and its permissions");
}

class Descriptor {
 public:
  explicit Descriptor(const std::filesystem::path& path)
      // A pipe would wait for its writer; it is refused below as no regular file.
      : fd_(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)) {
    if (fd_ < 0) throw_cannot_map(path, std::strerror(errno));
  }
  ~Descriptor() { ::close(fd_); }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  int get() const { return fd_; }

 private:
  int fd_;
};

// madvise wants whole pages: outwards for what is needed, inwards for what may go, so that the
// neighbour's bytes on a shared page stay.
enum class Rounding { kOutwards, kInwards };

void advise(const std::byte* data, int64_t size, Range bytes, int advice, Rounding rounding) {
  const int64_t page = sysconf(_SC_PAGESIZE);
  Range range = bytes.intersect({0, size});
  if (rounding == Rounding::kOutwards) {
    range.begin = range.begin / page * page;
  } else {
    range.begin = round_up(range.begin, page);
    if (range.end != size) range.end = range.end / page * page;
  }
  if (range.empty()) return;
  void* begin = const_cast<std::byte*>(data + range.begin);
  (void)::madvise(begin, static_cast<size_t>(range.size()), advice);
}

}  // namespace

MappedFile::MappedFile(const std::filesystem::path& path) : path_(path) {
  const Descriptor file(path);
  struct stat info {};
  if (::fstat(file.get(), &info) != 0) throw_cannot_map(path, std::strerror(errno));
  if (S_ISDIR(info.st_mode)) throw_cannot_map(path, std::strerror(EISDIR));
  if (!S_ISREG(info.st_mode)) throw_cannot_map(path, "it is not a regular file");
  size_ = static_cast<int64_t>(info.st_size);
  if (size_ == 0) return;  // mmap refuses a length of zero
  void* data = ::mmap(nullptr, static_cast<size_t>(size_), PROT_READ, MAP_SHARED, file.get(), 0);
  if (data == MAP_FAILED) throw_cannot_map(path, std::strerror(errno));
  data_ = static_cast<const std::byte*>(data);
}

MappedFile::~MappedFile() { unmap(); }

MappedFile::MappedFile(MappedFile&& other) noexcept
    : path_(std::move(other.path_)),
      data_(std::exchange(other.data_, nullptr)),
      size_(std::exchange(other.size_, 0)) {}

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
  if (this == &other) return *this;
  unmap();
  path_ = std::move(other.path_);
  data_ = std::exchange(other.data_, nullptr);
  size_ = std::exchange(other.size_, 0);
  return *this;
}

void MappedFile::unmap() {
  if (data_ != nullptr) ::munmap(const_cast<std::byte*>(data_), static_cast<size_t>(size_));
  data_ = nullptr;
  size_ = 0;
}

void MappedFile::advise_sequential() const {
  advise(data_, size_, {0, size_}, MADV_SEQUENTIAL, Rounding::kOutwards);
}

void MappedFile::advise_will_need(Range bytes) const {
  advise(data_, size_, bytes, MADV_WILLNEED, Rounding::kOutwards);
}

void MappedFile::advise_done_with(Range bytes) const {
  advise(data_, size_, bytes, MADV_DONTNEED, Rounding::kInwards);
}

void enter_pages(std::span<const std::byte> bytes) {
  if (bytes.empty()) return;
  const auto page = static_cast<uintptr_t>(sysconf(_SC_PAGESIZE));
  const auto begin = reinterpret_cast<uintptr_t>(bytes.data()) / page * page;
  const auto end = reinterpret_cast<uintptr_t>(bytes.data() + bytes.size());
  if (::madvise(reinterpret_cast<void*>(begin), end - begin, MADV_POPULATE_READ) == 0) return;
  // A kernel before 5.14 does not know this advice: a byte of every page does the same. (For mapped
  // panels that alone is a quarter faster, for rows that are repacked next an eighth slower.)
  for (uintptr_t p = begin; p < end; p += page)
    static_cast<void>(*reinterpret_cast<const volatile std::byte*>(p));
}

}  // namespace weft
