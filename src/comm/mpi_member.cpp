#include "comm/mpi_member.h"

#include <cstring>
#include <vector>

#include "base/error.h"
#include "base/range.h"
#include "tensor/buffer.h"

namespace weft::comm {
namespace {

constexpr int kMessageTag = 1;

void must(int code, const char* phase) {
  if (code != MPI_SUCCESS)
    throw Error(ErrorKind::kCommunication, fmt::format("MPI failed in '{}'", phase));
}

int int_of(int64_t count) {
  WEFT_CHECK(count <= (int64_t{1} << 31) - 1, "{} elements are too many for MPI", count);
  return static_cast<int>(count);
}

class MpiMember final : public Communicator {
 public:
  MpiMember(MPI_Comm group, std::unique_lock<std::timed_mutex> calls)
      : group_(group), calls_(std::move(calls)) {
    MPI_Comm_rank(group_, &rank_);
    MPI_Comm_size(group_, &size_);
    counts_.resize(static_cast<size_t>(size_));
    begins_.resize(static_cast<size_t>(size_));
  }
  ~MpiMember() override { MPI_Comm_free(&group_); }

  int rank() const override { return rank_; }
  int size() const override { return size_; }

  void barrier(const char* phase) override { must(MPI_Barrier(group_), phase); }
  void all_reduce(std::span<int64_t> data, const char* phase) override {
    must(MPI_Allreduce(MPI_IN_PLACE, data.data(), int_of(std::ssize(data)), MPI_INT64_T, MPI_SUM,
                       group_),
         phase);
  }
  void reduce_scatter(std::span<int64_t> data, int64_t row_length, const char* phase) override {
    cut(std::ssize(data), row_length);
    const auto i = static_cast<size_t>(rank_);
    const int64_t num_bytes = int64_t{counts_[i]} * 8;
    if (sums_.size() < num_bytes) sums_ = tensor::Buffer(num_bytes, "sums of MPI");
    must(
        MPI_Reduce_scatter(data.data(), sums_.data(), counts_.data(), MPI_INT64_T, MPI_SUM, group_),
        phase);
    if (num_bytes > 0)
      std::memcpy(data.data() + begins_[i], sums_.data(), static_cast<size_t>(num_bytes));
  }
  void all_gather(std::span<const std::byte> mine, std::span<std::byte> all,
                  const char* phase) override {
    const int count = int_of(std::ssize(mine));
    must(MPI_Allgather(mine.data(), count, MPI_BYTE, all.data(), count, MPI_BYTE, group_), phase);
  }
  void all_gather_rows(std::span<std::byte> all, int64_t row_bytes, const char* phase) override {
    cut(std::ssize(all), row_bytes);
    must(MPI_Allgatherv(MPI_IN_PLACE, 0, MPI_DATATYPE_NULL, all.data(), counts_.data(),
                        begins_.data(), MPI_BYTE, group_),
         phase);
  }
  void broadcast(std::span<std::byte> data, int root, const char* phase) override {
    must(MPI_Bcast(data.data(), int_of(std::ssize(data)), MPI_BYTE, root, group_), phase);
  }
  void send(int to, std::span<const std::byte> data, const char* phase) override {
    must(MPI_Send(data.data(), int_of(std::ssize(data)), MPI_BYTE, to, kMessageTag, group_), phase);
  }
  void recv(int from, std::span<std::byte> data, const char* phase) override {
    must(MPI_Recv(data.data(), int_of(std::ssize(data)), MPI_BYTE, from, kMessageTag, group_,
                  MPI_STATUS_IGNORE),
         phase);
  }
  std::unique_ptr<Communicator> split(int color, int key) override {
    MPI_Comm part = MPI_COMM_NULL;
    must(MPI_Comm_split(group_, color, key, &part), "split");
    return std::make_unique<MpiMember>(part, std::unique_lock<std::timed_mutex>());
  }
  bool lends_views() const override { return false; }
  std::span<const std::byte* const> exchange(const std::byte*, const char* phase) override {
    WEFT_CHECK(false, "{}: MPI lends nothing", phase);
  }
  void abort(const std::string&) override {}  // which nobody would see

 private:
  // The members' rows, in elements.
  void cut(int64_t num_elements, int64_t row_length) {
    const Range rows{0, num_elements / row_length};
    for (int member = 0; member < size_; ++member) {
      const Range part = equal_part(rows, member, size_);
      counts_[static_cast<size_t>(member)] = int_of(part.size() * row_length);
      begins_[static_cast<size_t>(member)] = int_of(part.begin * row_length);
    }
  }

  MPI_Comm group_;
  const std::unique_lock<std::timed_mutex> calls_;
  int rank_ = 0, size_ = 0;
  std::vector<int> counts_, begins_;  // [size]
  tensor::Buffer sums_;
};

}  // namespace

std::unique_ptr<Communicator> make_mpi_member(MPI_Comm processes,
                                              std::unique_lock<std::timed_mutex> calls) {
  MPI_Comm own = MPI_COMM_NULL;
  must(MPI_Comm_dup(processes, &own), "join");
  return std::make_unique<MpiMember>(own, std::move(calls));
}

}  // namespace weft::comm
