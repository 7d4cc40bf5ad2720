// A member that lends no views: what a transport without shared memory is to its callers.
#pragma once

#include <memory>
#include <utility>

#include "base/error.h"
#include "comm/comm.h"

namespace weft::comm {

class MessagesOnly final : public Communicator {
 public:
  explicit MessagesOnly(Communicator& member) : member_(member) {}

  int rank() const override { return member_.rank(); }
  int size() const override { return member_.size(); }
  void barrier(const char* phase) override { member_.barrier(phase); }
  void all_reduce(std::span<int64_t> data, const char* phase) override {
    member_.all_reduce(data, phase);
  }
  void reduce_scatter(std::span<int64_t> data, int64_t row_length, const char* phase) override {
    member_.reduce_scatter(data, row_length, phase);
  }
  void all_gather(std::span<const std::byte> mine, std::span<std::byte> all,
                  const char* phase) override {
    member_.all_gather(mine, all, phase);
  }
  void all_gather_rows(std::span<std::byte> all, int64_t row_bytes, const char* phase) override {
    member_.all_gather_rows(all, row_bytes, phase);
  }
  void broadcast(std::span<std::byte> data, int root, const char* phase) override {
    member_.broadcast(data, root, phase);
  }
  void send(int to, std::span<const std::byte> data, const char* phase) override {
    member_.send(to, data, phase);
  }
  void recv(int from, std::span<std::byte> data, const char* phase) override {
    member_.recv(from, data, phase);
  }
  std::unique_ptr<Communicator> split(int color, int key) override {
    return member_.split(color, key);
  }
  bool lends_views() const override { return false; }
  std::span<const std::byte* const> exchange(const std::byte*, const char* phase) override {
    WEFT_CHECK(false, "{}: this transport lends nothing", phase);
  }
  void abort(const std::string& reason) override { member_.abort(reason); }

 private:
  Communicator& member_;
};

}  // namespace weft::comm
