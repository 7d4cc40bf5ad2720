// Runs one thread a member of a thread group and hands on what a member throws.
#pragma once

#include <exception>
#include <functional>
#include <memory>
#include <thread>
#include <vector>

#include "comm/comm.h"

namespace weft::comm {

using Members = std::vector<std::unique_ptr<Communicator>>;

// The exception of each member, null where it ended well.
inline std::vector<std::exception_ptr> run_members_to_end(
    Members& members, const std::function<void(Communicator&)>& body) {
  std::vector<std::exception_ptr> failures(members.size());
  std::vector<std::thread> threads;
  for (size_t rank = 0; rank < members.size(); ++rank) {
    threads.emplace_back([&, rank] {
      try {
        body(*members[rank]);
      } catch (...) {
        failures[rank] = std::current_exception();
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  return failures;
}

inline void run_members(int size, const std::function<void(Communicator&)>& body,
                        GroupOptions options = {}) {
  Members members = make_thread_group(size, options);
  for (const std::exception_ptr& failure : run_members_to_end(members, body))
    if (failure) std::rethrow_exception(failure);
}

}  // namespace weft::comm
