// Links between "processes" that are threads of one: everything above a link can be tested in one
// program, under ThreadSanitizer too, and links can be cut.
#pragma once

#include <algorithm>
#include <cstring>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <string>
#include <vector>

#include "comm/link.h"

namespace weft::comm {

class Switchboard {
 public:
  explicit Switchboard(int num_processes) : num_processes_(num_processes) {}

  int num_processes() const { return num_processes_; }

  uint64_t send(int from, int to, int tag, std::span<const std::byte> data) {
    const std::lock_guard lock(mutex_);
    auto message = std::make_shared<Message>();
    message->tag = tag;
    message->bytes.assign(data.begin(), data.end());
    const uint64_t handle = ++last_handle_;
    sends_[handle] = message;
    if (from == cut_ || to == cut_) return handle;  // never arrives
    Lane& lane = lanes_[{from, to}];
    lane.messages.push_back(message);
    match(lane);
    return handle;
  }

  uint64_t receive(int from, int to, int tag) {
    const std::lock_guard lock(mutex_);
    auto receipt = std::make_shared<Receipt>();
    receipt->tag = tag;
    const uint64_t handle = ++last_handle_;
    receives_[handle] = receipt;
    Lane& lane = lanes_[{from, to}];
    lane.receipts.push_back(receipt);
    match(lane);
    return handle;
  }

  bool is_taken(uint64_t send) {
    const std::lock_guard lock(mutex_);
    return sends_.at(send)->taken;
  }
  void forget_send(uint64_t send) {
    const std::lock_guard lock(mutex_);
    sends_.erase(send);
  }
  // The bytes of a receive that a message has come for.
  bool take(uint64_t receive, std::vector<std::byte>& bytes) {
    const std::lock_guard lock(mutex_);
    const auto found = receives_.find(receive);
    if (!found->second->message) return false;
    bytes = std::move(found->second->message->bytes);
    receives_.erase(found);
    return true;
  }
  void cancel(int from, int to, uint64_t receive) {
    const std::lock_guard lock(mutex_);
    std::erase(lanes_[{from, to}].receipts, receives_.at(receive));
    receives_.erase(receive);
  }
  std::optional<int> unclaimed_tag(int from, int to) {
    const std::lock_guard lock(mutex_);
    const Lane& lane = lanes_[{from, to}];
    if (lane.messages.empty()) return {};
    return lane.messages.front()->tag;
  }
  // From now on nothing from or to a process arrives.
  void cut(int process) {
    const std::lock_guard lock(mutex_);
    cut_ = process;
  }

 private:
  struct Message {
    int tag = 0;
    std::vector<std::byte> bytes;
    bool taken = false;
  };
  struct Receipt {
    int tag = 0;
    std::shared_ptr<Message> message;
  };
  struct Lane {
    std::deque<std::shared_ptr<Message>> messages;
    std::deque<std::shared_ptr<Receipt>> receipts;
  };

  static void match(Lane& lane) {
    std::erase_if(lane.receipts, [&](const std::shared_ptr<Receipt>& receipt) {
      const auto message =
          std::find_if(lane.messages.begin(), lane.messages.end(),
                       [&](const auto& candidate) { return candidate->tag == receipt->tag; });
      if (message == lane.messages.end()) return false;
      (*message)->taken = true;
      receipt->message = *message;
      lane.messages.erase(message);
      return true;
    });
  }

  const int num_processes_;
  std::mutex mutex_;
  uint64_t last_handle_ = 0;
  int cut_ = -1;
  std::map<std::pair<int, int>, Lane> lanes_;  // by sender and receiver
  std::map<uint64_t, std::shared_ptr<Message>> sends_;
  std::map<uint64_t, std::shared_ptr<Receipt>> receives_;
};

class MemoryLink final : public Link {
 public:
  // Who counts what is allocated while answers go on is not to count what this link takes: a real
  // one has its own memory. Above 0 where this thread is inside of it.
  static inline thread_local int depth = 0;

  MemoryLink(std::shared_ptr<Switchboard> board, int process)
      : board_(std::move(board)), process_(process), host_("host" + std::to_string(process)) {}

  int process() const override { return process_; }
  int num_processes() const override { return board_->num_processes(); }
  const std::string& host() const override { return host_; }

  void send(Transfer& transfer, int to, int tag, std::span<const std::byte> data,
            Until until) override {
    const Inside inside;
    transfer = {};
    transfer.handle = board_->send(process_, to, tag, data);
    transfer.num_bytes = std::ssize(data);
    transfer.peer = to;
    transfer.pending = true;
    transfer.num_seen = until == Until::kCopied ? 1 : 0;
  }

  void receive(Transfer& transfer, int from, int tag, std::span<std::byte> data) override {
    const Inside inside;
    transfer = {};
    transfer.handle = board_->receive(from, process_, tag);
    transfer.num_bytes = std::ssize(data);
    transfer.peer = from;
    transfer.receives = true;
    transfer.pending = true;
    const std::lock_guard lock(mutex_);
    memory_[transfer.handle] = data;
  }

  Outcome test(Transfer& transfer) override {
    const Inside inside;
    if (!transfer.receives) {
      if (transfer.num_seen == 0 && !board_->is_taken(transfer.handle)) return Outcome::kPending;
      board_->forget_send(transfer.handle);
      transfer.pending = false;
      return Outcome::kDone;
    }
    std::vector<std::byte> bytes;
    if (!board_->take(transfer.handle, bytes)) return Outcome::kPending;
    transfer.pending = false;
    transfer.num_seen = std::ssize(bytes);
    const std::span<std::byte> memory = forget_memory(transfer.handle);
    if (transfer.num_seen != transfer.num_bytes) return Outcome::kWrongSize;
    if (!bytes.empty()) std::memcpy(memory.data(), bytes.data(), bytes.size());
    return Outcome::kDone;
  }

  std::string failure(const Transfer&) const override { return {}; }
  void cancel(Transfer& transfer) override {
    const Inside inside;
    if (!transfer.receives) return;
    board_->cancel(transfer.peer, process_, transfer.handle);
    forget_memory(transfer.handle);
    transfer.pending = false;
  }
  std::optional<int> unclaimed_tag(int from) override {
    const Inside inside;
    return board_->unclaimed_tag(from, process_);
  }
  void leave() override {}
  [[noreturn]] void end_all(int exit_code) override {
    throw std::logic_error("end_all " + std::to_string(exit_code));
  }

 private:
  struct Inside {
    Inside() { ++depth; }
    ~Inside() { --depth; }
  };

  std::span<std::byte> forget_memory(uint64_t handle) {
    const std::lock_guard lock(mutex_);
    const auto found = memory_.find(handle);
    const std::span<std::byte> memory = found->second;
    memory_.erase(found);
    return memory;
  }

  const std::shared_ptr<Switchboard> board_;
  const int process_;
  const std::string host_;
  std::mutex mutex_;
  std::map<uint64_t, std::span<std::byte>> memory_;  // of receives
};

}  // namespace weft::comm
