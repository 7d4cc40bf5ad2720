// Ranks that talk: a Communicator joins `size()` members, of which this is `rank()`.
//
// Verbs are collective unless they name a peer: every member calls them in the same order. A group
// of one is a group like any other (the solo transport returns at once). Sends do not block: the
// message is copied (or written) into the transport's bounded memory before send returns; only a
// full box waits. Every wait has the group's deadline: a member that does not arrive in time makes
// the others throw Error(kCommunication) naming the silent rank and `phase`. A member that fails
// calls `abort`, and every wait of the group ends with its reason; groups split from one another
// are one family and share that fate. Memory given to a verb must outlive the verb in every
// member, also where one of them throws (a rank's buffers are freed when all ranks have ended).
//
// Sums are of int64 (exact: any order, any algorithm), so no verb's result depends on timing. Two
// verbs take sums that may be rounded before they leave a process (comm/sum_wire.h), where the
// group was made so; their results depend on timing no more than the others'.
// Waits spin briefly and then sleep: members may outnumber cores.
// Thread rule: one thread at a time a member; `abort` may come from any thread. `phase` must be a
// string that outlives the group (a literal), since other members may quote it later.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/function_ref.h"
#include "base/range.h"
#include "comm/sum_wire.h"

namespace weft::comm {

// Rows that are made one piece after the other, so that the first ones can leave meanwhile.
struct Making {
  int64_t rows_per_piece = 0;             // the same in every member
  FunctionRef<void(Range rows)> make_of;  // of any rows; neither throws nor joins the members
};

class Communicator {
 public:
  virtual ~Communicator() = default;

  virtual int rank() const = 0;
  virtual int size() const = 0;

  virtual void barrier(const char* phase) = 0;
  // Element-wise sum over the members, in place, same length everywhere.
  virtual void all_reduce(std::span<int64_t> data, const char* phase) = 0;
  // data: rows of row_length. Member r receives the sum of its rows, equal_part(r of size) of all,
  // in place; the rest is undefined. (MPI_Reduce_scatter: counts in whole rows.)
  virtual void reduce_scatter(std::span<int64_t> data, int64_t row_length, const char* phase) = 0;
  // The same two of sums that travel between processes as the group's options say (`wire`). Within
  // a process nothing is rounded.
  virtual void all_reduce_sums(const SumRows& rows, const char* phase) {
    all_reduce(rows.data, phase);
  }
  virtual void reduce_scatter_sums(const SumRows& rows, const char* phase) {
    reduce_scatter(rows.data, rows.row_length, phase);
  }
  // reduce_scatter_sums of rows that are made within, every row once. Where processes send messages,
  // what others are to have is made first, and travels while the rest is made.
  virtual void reduce_scatter_as_made(const SumRows& rows, const Making& making,
                                      const char* phase) {
    making.make_of({0, rows.num_rows()});
    reduce_scatter_sums(rows, phase);
  }
  // all: size() * mine.size() bytes, member r's part at r * mine.size().
  virtual void all_gather(std::span<const std::byte> mine, std::span<std::byte> all,
                          const char* phase) = 0;
  // all: rows of row_bytes. Member r's rows, cut as reduce_scatter cuts them, lie in their place;
  // afterwards every member has them all. (MPI_Allgatherv with MPI_IN_PLACE.)
  virtual void all_gather_rows(std::span<std::byte> all, int64_t row_bytes, const char* phase) = 0;
  virtual void broadcast(std::span<std::byte> data, int root, const char* phase) = 0;
  // Messages between two members keep their order; sizes must match (checked).
  virtual void send(int to, std::span<const std::byte> data, const char* phase) = 0;
  virtual void recv(int from, std::span<std::byte> data, const char* phase) = 0;
  // Members with the same color form a group, ranked by (key, rank). Collective.
  virtual std::unique_ptr<Communicator> split(int color, int key) = 0;

  // Shared memory only (`lends_views()`): publishes `mine` and returns every member's pointer once
  // all have published. What was lent in one exchange may be overwritten after the *next* exchange
  // returns (its arrival proves that the peers have read), so callers alternate two buffers and no
  // trailing barrier exists. The returned span is valid until this member's next exchange.
  virtual bool lends_views() const = 0;
  virtual std::span<const std::byte* const> exchange(const std::byte* mine, const char* phase) = 0;

  // Makes every present and future wait of the group throw Error(kCommunication, reason).
  virtual void abort(const std::string& reason) = 0;
};

struct GroupOptions {
  std::chrono::milliseconds deadline{60'000};
  // Bytes from which all_reduce takes two shots; negative: measure at start.
  int64_t two_shot_bytes = -1;
  // Processes of one machine add up in memory that they share, where they can; false: by messages.
  bool shares_memory = true;
  // Of all_reduce_sums and reduce_scatter_sums between processes; groups split from this one too.
  SumWire wire = SumWire::kInt64;
};

std::unique_ptr<Communicator> make_solo();
// One member for each of `size` threads of this process, sharing memory.
std::vector<std::unique_ptr<Communicator>> make_thread_group(int size, GroupOptions options = {});

}  // namespace weft::comm
