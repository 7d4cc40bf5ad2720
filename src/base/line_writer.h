// Lines on their way to a file, a pipe or a terminal, written by a thread of their own: whoever has
// something to say never waits for whoever reads. A full pipe and a terminal that was stopped take
// nothing for as long as they like; what finds no room meanwhile is not taken, and its writer told.
// Thread-safe.
#pragma once

#include <chrono>
#include <cstddef>
#include <memory>
#include <string_view>

namespace weft {

class LineWriter {
 public:
  // most_bytes: what may wait, besides what is being written.
  LineWriter(int file_descriptor, size_t most_bytes);
  // Waits for nothing: the thread ends when its last write returns, or with the program.
  ~LineWriter();
  LineWriter(const LineWriter&) = delete;
  LineWriter& operator=(const LineWriter&) = delete;

  // False where there is no room for it.
  bool put(std::string_view line);
  // Until all is written, or given up since it cannot be; false where that takes longer.
  bool wait_until_written(std::chrono::milliseconds patience);

 private:
  struct Shared;
  static void write_all(const std::shared_ptr<Shared>& shared);

  const std::shared_ptr<Shared> shared_;  // with the thread, which may outlive this object
};

}  // namespace weft
