// What every transport has to do, whatever its members are: oracles of the verbs, and the fixture
// of the tests in contract_test.cpp, which are run over the transports that a program instantiates.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <ostream>
#include <span>
#include <string>
#include <vector>

#include "base/range.h"
#include "comm/comm.h"
#include "comm/members.h"

namespace weft::comm {

inline constexpr int64_t kLengths[] = {0, 1, 3, 1000, 70'001};

// What member `rank` puts at `i` in call `call`: all 64 bits in use, so that sums wrap around.
inline int64_t value_of(int rank, int64_t i, int64_t call) {
  uint64_t x = static_cast<uint64_t>(rank) * 0x9e3779b97f4a7c15u +
               static_cast<uint64_t>(i) * 0xbf58476d1ce4e5b9u +
               static_cast<uint64_t>(call) * 0x94d049bb133111ebu;
  x ^= x >> 31;
  return static_cast<int64_t>(x * 0xd6e8feb86659fd93u);
}

inline std::vector<int64_t> values_of(int rank, int64_t length, int64_t call) {
  std::vector<int64_t> values(static_cast<size_t>(length));
  for (int64_t i = 0; i < length; ++i) values[static_cast<size_t>(i)] = value_of(rank, i, call);
  return values;
}

inline std::vector<int64_t> sum_of(int size, int64_t length, int64_t call) {
  std::vector<int64_t> sums(static_cast<size_t>(length));
  for (int64_t i = 0; i < length; ++i) {
    uint64_t sum = 0;
    for (int rank = 0; rank < size; ++rank) sum += static_cast<uint64_t>(value_of(rank, i, call));
    sums[static_cast<size_t>(i)] = static_cast<int64_t>(sum);
  }
  return sums;
}

// One call of each collective verb against its oracle; true where all bits are right.
inline bool all_reduce_is_right(Communicator& comm, int64_t length, int64_t call) {
  std::vector<int64_t> data = values_of(comm.rank(), length, call);
  comm.all_reduce(data, "all_reduce");
  return data == sum_of(comm.size(), length, call);
}

inline int64_t row_length_of(int64_t call) { return 1 + call % 3; }

inline bool reduce_scatter_is_right(Communicator& comm, int64_t num_rows, int64_t call) {
  const int64_t row = row_length_of(call);
  std::vector<int64_t> data = values_of(comm.rank(), num_rows * row, call);
  comm.reduce_scatter(data, row, "reduce_scatter");
  const std::vector<int64_t> sums = sum_of(comm.size(), num_rows * row, call);
  const Range rows = equal_part({0, num_rows}, comm.rank(), comm.size());
  const Range mine{rows.begin * row, rows.end * row};
  return std::equal(data.begin() + mine.begin, data.begin() + mine.end, sums.begin() + mine.begin);
}

// Rows are made in pieces that do not divide what they are pieces of; each is to be made once.
inline bool reduce_scatter_as_made_is_right(Communicator& comm, int64_t num_rows, int64_t call) {
  const int64_t row = row_length_of(call);
  const std::vector<int64_t> values = values_of(comm.rank(), num_rows * row, call);
  std::vector<int64_t> data(values.size(), -1), made(static_cast<size_t>(num_rows), 0);
  const auto make_of = [&](Range rows) {
    for (int64_t i = rows.begin; i < rows.end; ++i) ++made[static_cast<size_t>(i)];
    std::copy(values.begin() + rows.begin * row, values.begin() + rows.end * row,
              data.begin() + rows.begin * row);
  };
  const int64_t rows_per_piece = num_rows > 2000 ? 5003 : 7;
  comm.reduce_scatter_as_made({data, row, row, 0}, {rows_per_piece, make_of}, "as made");
  const std::vector<int64_t> sums = sum_of(comm.size(), num_rows * row, call);
  const Range rows = equal_part({0, num_rows}, comm.rank(), comm.size());
  return std::count(made.begin(), made.end(), 1) == num_rows &&
         std::equal(data.begin() + rows.begin * row, data.begin() + rows.end * row,
                    sums.begin() + rows.begin * row);
}

inline bool all_gather_is_right(Communicator& comm, int64_t length, int64_t call) {
  const std::vector<int64_t> mine = values_of(comm.rank(), length, call);
  std::vector<int64_t> all(static_cast<size_t>(length * comm.size())), expected;
  comm.all_gather(std::as_bytes(std::span(mine)), std::as_writable_bytes(std::span(all)),
                  "all_gather");
  for (int rank = 0; rank < comm.size(); ++rank) {
    const std::vector<int64_t> part = values_of(rank, length, call);
    expected.insert(expected.end(), part.begin(), part.end());
  }
  return all == expected;
}

// The parts are unequal wherever the rows do not divide by the members, and empty for some where
// members outnumber them.
inline bool all_gather_rows_is_right(Communicator& comm, int64_t num_rows, int64_t call) {
  const int64_t row = row_length_of(call);
  const auto length = static_cast<size_t>(num_rows * row);
  std::vector<int64_t> all(length, -1), expected(length);
  for (int rank = 0; rank < comm.size(); ++rank) {
    const Range rows = equal_part({0, num_rows}, rank, comm.size());
    for (int64_t i = rows.begin * row; i < rows.end * row; ++i) {
      expected[static_cast<size_t>(i)] = value_of(rank, i, call);
      if (rank == comm.rank()) all[static_cast<size_t>(i)] = value_of(rank, i, call);
    }
  }
  comm.all_gather_rows(std::as_writable_bytes(std::span(all)), row * 8, "all_gather_rows");
  const bool right = all == expected;
  std::fill(all.begin(), all.end(), -1);  // what was shown is the caller's again
  return right;
}

inline bool broadcast_is_right(Communicator& comm, int64_t length, int64_t call) {
  const int root = static_cast<int>(call % comm.size());
  std::vector<int64_t> data = values_of(comm.rank(), length, call);
  comm.broadcast(std::as_writable_bytes(std::span(data)), root, "broadcast");
  return data == values_of(root, length, call);
}

// Everybody sends to the next and hears from the one before.
inline bool ring_is_right(Communicator& comm, int64_t length, int64_t call) {
  if (comm.size() == 1) return true;
  const int next = (comm.rank() + 1) % comm.size();
  const int previous = (comm.rank() + comm.size() - 1) % comm.size();
  const std::vector<int64_t> mine = values_of(comm.rank(), length, call);
  std::vector<int64_t> heard(static_cast<size_t>(length));
  comm.send(next, std::as_bytes(std::span(mine)), "ring");
  comm.recv(previous, std::as_writable_bytes(std::span(heard)), "ring");
  return heard == values_of(previous, length, call);
}

// The members of a group that run in this process, and what they stand on.
class World {
 public:
  virtual ~World() = default;
  virtual Members& members() = 0;
};

struct Transport {
  std::string name;
  int size = 1;       // of the group
  int num_local = 1;  // members that run in this process
  std::function<std::unique_ptr<World>(GroupOptions options)> make;
};
inline std::ostream& operator<<(std::ostream& out, const Transport& transport) {
  return out << transport.name;
}

class Contract : public testing::TestWithParam<Transport> {
 protected:
  int size() const { return GetParam().size; }
  int num_local() const { return GetParam().num_local; }

  void run(const std::function<void(Communicator&)>& body, GroupOptions options = {}) {
    const std::unique_ptr<World> world = GetParam().make(options);
    for (const std::exception_ptr& failure : run_members_to_end(world->members(), body))
      if (failure) std::rethrow_exception(failure);
  }
  // Counts wrong answers on all members here; every length, with the given threshold.
  int count_wrong(bool (*verb)(Communicator&, int64_t, int64_t), int64_t two_shot_bytes = -1) {
    std::atomic<int> wrong = 0;
    GroupOptions options;
    options.two_shot_bytes = two_shot_bytes;
    run(
        [&](Communicator& comm) {
          int64_t call = 0;
          for (int repeat = 0; repeat < 2; ++repeat)
            for (const int64_t length : kLengths)
              if (!verb(comm, length, ++call)) ++wrong;
        },
        options);
    return wrong;
  }
};

}  // namespace weft::comm
