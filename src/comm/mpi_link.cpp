// Open MPI behind a link. With mpi_member.cpp, which measures it, the only one that calls it.
//
// MPI is asked for MPI_THREAD_SERIALIZED and called under one mutex. The callers are several
// threads (ranks that send, the one that speaks for a process, the watch), but no call here waits,
// so a lock is short; MPI_THREAD_MULTIPLE would take locks of its own on every path, is refused by
// some of Open MPI's transports, and is where most of its known races are.
#include "comm/mpi_link.h"

#include <dlfcn.h>
#include <unistd.h>

#include <atomic>
#include <climits>
#include <cstring>
#include <future>
#include <limits>
#include <mutex>
#include <thread>

#include "base/clock.h"
#include "base/error.h"
#include "comm/mpi_member.h"

namespace weft::comm {
namespace {

static_assert(sizeof(MPI_Request) <= sizeof(uint64_t));

std::string text_of(int code) {
  char text[MPI_MAX_ERROR_STRING];
  int length = 0;
  if (MPI_Error_string(code, text, &length) != MPI_SUCCESS)
    return fmt::format("MPI error {}", code);
  return {text, static_cast<size_t>(length)};
}

void check(int code, const char* what) {
  if (code != MPI_SUCCESS)
    throw Error(ErrorKind::kCommunication, fmt::format("MPI could not {}", what), text_of(code));
}

MPI_Request request_of(const Transfer& transfer) {
  MPI_Request request;
  std::memcpy(&request, &transfer.handle, sizeof(request));
  return request;
}

void keep(Transfer& transfer, MPI_Request request) {
  transfer.handle = 0;
  std::memcpy(&transfer.handle, &request, sizeof(request));
}

int count_of(size_t num_bytes) {
  if (num_bytes > static_cast<size_t>(std::numeric_limits<int>::max()))
    throw Error(ErrorKind::kUsage,
                fmt::format("a message of {} bytes between processes", num_bytes),
                "MPI takes less than 2 GiB at a time", "a smaller --max-num-batched-tokens");
  return static_cast<int>(num_bytes);
}

// What Open MPI has to explain it gives to mpirun, and waits in whatever call it is in until that
// has taken it. When a connection breaks since a process was killed, mpirun is busy ending the
// others: none of them could say why. Its own switch, of which other versions know nothing; errors
// are still returned, and mpirun's own words still said.
void explain_nothing() {
  if (void* const is_quiet = dlsym(RTLD_DEFAULT, "orte_execute_quiet"))
    *static_cast<bool*>(is_quiet) = true;
}

class MpiLink final : public Link {
 public:
  MpiLink(const Launch& launch, std::chrono::milliseconds deadline);
  ~MpiLink() override = default;  // MPI ends in leave(), or with the process

  int process() const override { return process_; }
  int num_processes() const override { return num_processes_; }
  const std::string& host() const override { return host_; }

  void send(Transfer& transfer, int to, int tag, std::span<const std::byte> data,
            Until until) override;
  void receive(Transfer& transfer, int from, int tag, std::span<std::byte> data) override;
  Outcome test(Transfer& transfer) override {
    const Turn turn(*this);
    return look(transfer);
  }
  Outcome poll(Transfer& transfer) override {
    if (num_waiting_.load(std::memory_order_relaxed) > 0) return Outcome::kPending;
    const std::unique_lock lock(mutex_, std::try_to_lock);
    return lock.owns_lock() ? look(transfer) : Outcome::kPending;
  }
  std::string failure(const Transfer& transfer) const override;
  void cancel(Transfer& transfer) override;
  std::optional<int> unclaimed_tag(int from) override;
  std::unique_ptr<Communicator> library_member() override {
    return make_mpi_member(world_, std::unique_lock(mutex_));
  }
  void leave() override;
  [[noreturn]] void end_all(int exit_code) override;

 private:
  // The mutex, for a call that is to be made now: who polls stands back meanwhile.
  class Turn {
   public:
    explicit Turn(const MpiLink& link) : link_(link) {
      ++link_.num_waiting_;
      link_.mutex_.lock();
      --link_.num_waiting_;
    }
    ~Turn() { link_.mutex_.unlock(); }

   private:
    const MpiLink& link_;
  };

  void initialise(const Launch& launch, std::chrono::milliseconds deadline, int* provided);
  void join(const Launch& launch, std::chrono::milliseconds deadline);
  Outcome look(Transfer& transfer);
  void post(Transfer& transfer, int code, MPI_Request request, int peer, size_t num_bytes);

  int process_ = 0, num_processes_ = 1;
  std::string host_;
  MPI_Comm world_ = MPI_COMM_NULL;  // a duplicate, so that no message of another part is ours
  mutable std::atomic<int> num_waiting_{0};
  mutable std::timed_mutex mutex_;  // of every call of MPI
};

MpiLink::MpiLink(const Launch& launch, std::chrono::milliseconds deadline) {
  int is_initialised = 0, provided = MPI_THREAD_SINGLE;
  check(MPI_Initialized(&is_initialised), "be asked");
  WEFT_CHECK(is_initialised == 0, "a second MPI link in one process");
  initialise(launch, deadline, &provided);
  explain_nothing();
  check(MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN), "be told to return errors");
  if (provided < MPI_THREAD_SERIALIZED)
    throw Error(ErrorKind::kCommunication, "this MPI may be called by one thread alone",
                "weft's ranks are threads that send by themselves", "Open MPI of Debian may");
  check(MPI_Comm_rank(MPI_COMM_WORLD, &process_), "say which process this is");
  check(MPI_Comm_size(MPI_COMM_WORLD, &num_processes_), "say how many processes there are");
  char name[HOST_NAME_MAX + 1] = {};
  host_ = gethostname(name, HOST_NAME_MAX) == 0 ? name : "unknown host";
  join(launch, deadline);
}

// MPI's start waits for all processes, and for ever where one of them never comes. It is left
// waiting then, in a thread of its own, and ends with the program.
void MpiLink::initialise(const Launch& launch, std::chrono::milliseconds deadline, int* provided) {
  struct Started {
    int code, provided;
  };
  std::packaged_task<Started()> start([] {
    Started started{MPI_SUCCESS, MPI_THREAD_SINGLE};
    started.code = MPI_Init_thread(nullptr, nullptr, MPI_THREAD_SERIALIZED, &started.provided);
    return started;
  });
  std::future<Started> future = start.get_future();
  std::thread thread(std::move(start));
  if (future.wait_for(deadline) != std::future_status::ready) {
    thread.detach();
    throw Error(ErrorKind::kCommunication,
                fmt::format("not all processes that {} starts came within {} ms", launch.launcher,
                            deadline.count()),
                "one of them has not begun, or is kept from the others",
                "look on every host for one that did not start");
  }
  thread.join();
  const Started started = future.get();
  check(started.code, "start");
  *provided = started.provided;
}

void MpiLink::join(const Launch& launch, std::chrono::milliseconds deadline) {
  if (launch.num_processes != 0 && launch.num_processes != num_processes_)
    throw Error(ErrorKind::kCommunication,
                fmt::format("{} started {} processes, MPI finds {}", launch.launcher,
                            launch.num_processes, num_processes_),
                "the launcher belongs to another MPI than the library",
                "start with the mpirun of the Open MPI that weft was built with");
  int* tag_limit = nullptr;
  int is_set = 0;
  check(MPI_Comm_get_attr(MPI_COMM_WORLD, MPI_TAG_UB, &tag_limit, &is_set), "say its tags");
  if (is_set != 0 && *tag_limit < tag::kMaxTag)
    throw Error(ErrorKind::kCommunication,
                fmt::format("this MPI transport has tags up to {}, {} are needed", *tag_limit,
                            tag::kMaxTag),
                "", "another transport: mpirun --mca pml ob1");
  MPI_Request request = MPI_REQUEST_NULL;
  check(MPI_Comm_idup(MPI_COMM_WORLD, &world_, &request), "join the processes");
  const int64_t give_up = now_ns() + std::chrono::nanoseconds(deadline).count();
  for (int is_over = 0; is_over == 0;) {
    check(MPI_Test(&request, &is_over, MPI_STATUS_IGNORE), "join the processes");
    if (is_over != 0) break;
    if (now_ns() > give_up)
      throw Error(ErrorKind::kCommunication, fmt::format("not all {} processes joined within {} ms",
                                                         num_processes_, deadline.count()));
    std::this_thread::sleep_for(std::chrono::microseconds(100));
  }
  check(MPI_Comm_set_errhandler(world_, MPI_ERRORS_RETURN), "be told to return errors");
}

void MpiLink::post(Transfer& transfer, int code, MPI_Request request, int peer, size_t num_bytes) {
  check(code, "take a message");
  transfer = {};
  keep(transfer, request);
  transfer.num_bytes = static_cast<int64_t>(num_bytes);
  transfer.peer = peer;
  transfer.pending = true;
}

void MpiLink::send(Transfer& transfer, int to, int tag, std::span<const std::byte> data,
                   Until until) {
  const int count = count_of(data.size());
  const Turn turn(*this);
  MPI_Request request = MPI_REQUEST_NULL;
  const int code = until == Until::kTaken
                       ? MPI_Issend(data.data(), count, MPI_BYTE, to, tag, world_, &request)
                       : MPI_Isend(data.data(), count, MPI_BYTE, to, tag, world_, &request);
  post(transfer, code, request, to, data.size());
}

void MpiLink::receive(Transfer& transfer, int from, int tag, std::span<std::byte> data) {
  const int count = count_of(data.size());
  const Turn turn(*this);
  MPI_Request request = MPI_REQUEST_NULL;
  const int code = MPI_Irecv(data.data(), count, MPI_BYTE, from, tag, world_, &request);
  post(transfer, code, request, from, data.size());
  transfer.receives = true;
}

Outcome MpiLink::look(Transfer& transfer) {
  MPI_Request request = request_of(transfer);
  MPI_Status status;
  int is_over = 0;
  const int code = MPI_Test(&request, &is_over, &status);
  keep(transfer, request);
  if (code == MPI_SUCCESS && is_over == 0) return Outcome::kPending;
  transfer.pending = false;
  if (code != MPI_SUCCESS) {
    int error_class = code;
    MPI_Error_class(code, &error_class);
    if (error_class == MPI_ERR_TRUNCATE) {
      transfer.num_seen = transfer.num_bytes + 1;
      return Outcome::kWrongSize;
    }
    transfer.error = code;
    return Outcome::kFailed;
  }
  if (!transfer.receives) return Outcome::kDone;
  int num_seen = 0;
  MPI_Get_count(&status, MPI_BYTE, &num_seen);
  transfer.num_seen = num_seen;
  return num_seen == transfer.num_bytes ? Outcome::kDone : Outcome::kWrongSize;
}

std::string MpiLink::failure(const Transfer& transfer) const {
  if (transfer.error == MPI_SUCCESS) return {};
  const Turn turn(*this);
  return text_of(transfer.error);
}

// Of a send only the launcher's end is left.
void MpiLink::cancel(Transfer& transfer) {
  if (!transfer.receives) return;
  const Turn turn(*this);
  MPI_Request request = request_of(transfer);
  if (MPI_Cancel(&request) != MPI_SUCCESS) return;
  int is_over = 0;
  MPI_Test(&request, &is_over, MPI_STATUS_IGNORE);
  keep(transfer, request);
  transfer.pending = is_over == 0;
}

std::optional<int> MpiLink::unclaimed_tag(int from) {
  const Turn turn(*this);
  MPI_Status status;
  int is_there = 0;
  if (MPI_Iprobe(from, MPI_ANY_TAG, world_, &is_there, &status) != MPI_SUCCESS || is_there == 0)
    return {};
  return status.MPI_TAG;
}

void MpiLink::leave() {
  const Turn turn(*this);
  check(MPI_Comm_free(&world_), "leave the processes");
  check(MPI_Finalize(), "end");
}

void MpiLink::end_all(int exit_code) {
  // A thread that never comes back from MPI must not keep the job alive.
  const std::unique_lock lock(mutex_, std::chrono::seconds(1));
  MPI_Abort(MPI_COMM_WORLD, exit_code);
  _exit(exit_code);
}

}  // namespace

std::unique_ptr<Link> make_mpi_link(const Launch& launch, std::chrono::milliseconds deadline) {
  return std::make_unique<MpiLink>(launch, deadline);
}

}  // namespace weft::comm
