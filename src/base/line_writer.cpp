#include "base/line_writer.h"

#include <poll.h>
#include <unistd.h>

#include <cerrno>
#include <condition_variable>
#include <mutex>
#include <string>
#include <thread>

namespace weft {
namespace {

// What cannot be written is lost: there is nobody left who could be told.
void write_whole(int file_descriptor, std::string_view text) {
  while (!text.empty()) {
    const ssize_t written = write(file_descriptor, text.data(), text.size());
    if (written >= 0) {
      text.remove_prefix(static_cast<size_t>(written));
    } else if (errno == EAGAIN) {
      pollfd room{file_descriptor, POLLOUT, 0};
      poll(&room, 1, -1);
    } else if (errno != EINTR) {
      return;
    }
  }
}

}  // namespace

struct LineWriter::Shared {
  const int file_descriptor;
  const size_t most_bytes;
  std::mutex mutex;
  std::condition_variable changed;
  std::string waiting;
  bool is_writing = false, is_over = false;
};

LineWriter::LineWriter(int file_descriptor, size_t most_bytes)
    : shared_(new Shared{.file_descriptor = file_descriptor, .most_bytes = most_bytes}) {
  std::thread([shared = shared_] { write_all(shared); }).detach();
}

LineWriter::~LineWriter() {
  const std::lock_guard lock(shared_->mutex);
  shared_->is_over = true;
  shared_->changed.notify_all();
}

bool LineWriter::put(std::string_view line) {
  const std::lock_guard lock(shared_->mutex);
  if (shared_->waiting.size() + line.size() > shared_->most_bytes) return false;
  shared_->waiting += line;
  shared_->changed.notify_all();
  return true;
}

bool LineWriter::wait_until_written(std::chrono::milliseconds patience) {
  std::unique_lock lock(shared_->mutex);
  return shared_->changed.wait_for(
      lock, patience, [&] { return shared_->waiting.empty() && !shared_->is_writing; });
}

void LineWriter::write_all(const std::shared_ptr<Shared>& shared) {
  std::string taken;
  std::unique_lock lock(shared->mutex);
  while (true) {
    shared->changed.wait(lock, [&] { return shared->is_over || !shared->waiting.empty(); });
    if (shared->waiting.empty()) return;  // it is over
    taken.swap(shared->waiting);
    shared->is_writing = true;
    lock.unlock();
    write_whole(shared->file_descriptor, taken);
    taken.clear();
    lock.lock();
    shared->is_writing = false;
    shared->changed.notify_all();
  }
}

}  // namespace weft
