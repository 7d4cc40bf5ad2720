// The transport of a group of one: every verb is over at once.
#include <atomic>
#include <cstring>
#include <mutex>

#include "base/error.h"
#include "comm/comm.h"

namespace weft::comm {
namespace {

class Solo final : public Communicator {
 public:
  int rank() const override { return 0; }
  int size() const override { return 1; }

  void barrier(const char*) override { check_alive(); }
  void all_reduce(std::span<int64_t>, const char*) override { check_alive(); }
  void reduce_scatter(std::span<int64_t>, int64_t, const char*) override { check_alive(); }
  void all_gather(std::span<const std::byte> mine, std::span<std::byte> all, const char*) override {
    check_alive();
    WEFT_CHECK_EQ(all.size(), mine.size());
    if (!mine.empty()) std::memmove(all.data(), mine.data(), mine.size());
  }
  void all_gather_rows(std::span<std::byte>, int64_t, const char*) override { check_alive(); }
  void broadcast(std::span<std::byte>, int root, const char*) override {
    check_alive();
    WEFT_CHECK_EQ(root, 0);
  }
  void send(int to, std::span<const std::byte>, const char* phase) override {
    WEFT_CHECK(false, "{}: a group of one has no member {} to send to", phase, to);
  }
  void recv(int from, std::span<std::byte>, const char* phase) override {
    WEFT_CHECK(false, "{}: a group of one has no member {} to hear from", phase, from);
  }
  std::unique_ptr<Communicator> split(int, int) override {
    check_alive();
    return make_solo();
  }

  bool lends_views() const override { return true; }
  std::span<const std::byte* const> exchange(const std::byte* mine, const char*) override {
    check_alive();
    mine_ = mine;
    return {&mine_, 1};
  }

  void abort(const std::string& reason) override {
    const std::lock_guard lock(mutex_);
    if (!aborted_.load(std::memory_order_relaxed)) reason_ = reason;
    aborted_.store(true, std::memory_order_relaxed);
  }

 private:
  void check_alive() {
    if (!aborted_.load(std::memory_order_relaxed)) return;
    const std::lock_guard lock(mutex_);
    throw Error(ErrorKind::kCommunication, reason_);
  }

  const std::byte* mine_ = nullptr;
  std::atomic<bool> aborted_{false};
  std::mutex mutex_;
  std::string reason_;
};

}  // namespace

std::unique_ptr<Communicator> make_solo() { return std::make_unique<Solo>(); }

}  // namespace weft::comm
