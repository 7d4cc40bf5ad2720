#include "comm/enquiries.h"

#include <algorithm>
#include <cstring>
#include <span>
#include <utility>

#include "base/clock.h"
#include "base/error.h"

namespace weft::comm {
namespace {

constexpr uint32_t kMagic = 0x77656661;  // "wefa"
enum class Kind : uint32_t { kMoment = 1, kReport };

struct Question {
  uint32_t magic = kMagic;
  Kind kind = Kind::kReport;
  uint64_t number = 0;
  int64_t num_more = 0;  // announced, of this kind
  ReportQuestion about;
};
struct Moment {
  uint32_t magic = kMagic, reserved = 0;
  uint64_t number = 0;  // of the question
  int64_t now_ns = 0;
};
struct Report {
  uint32_t magic = kMagic, length = 0;
  uint64_t number = 0;
  std::array<std::byte, kMostReportBytes> bytes{};
};

// Trips to a clock: of 16 some find both threads awake and the wire free. They end where they are
// long, since what they tell is no better than half of their length anyway.
constexpr int64_t kNumTrips = 16, kFewTrips = 4;
constexpr int64_t kLongTripsNs = 50'000'000;
// Hosts' crystals differ by up to 100 millionths or so: 0.1 ms by then.
constexpr int64_t kReadAgainNs = 1'000'000'000;
constexpr std::chrono::seconds kPatience{1};
// How long the one that is asked waits for what was announced, on the spot; and how long it looks
// more often than otherwise. Trips that take longer than the first are worth no core.
constexpr int64_t kOnTheSpotNs = 2'000'000, kSoonNs = 50'000'000;

// 0 is that of the watch's notices.
int tag_of(int line, int which) { return tag::of(tag::kNotice, 0, 1 + 3 * line + which); }
constexpr int kQuestionTag = 0, kMomentTag = 1, kReportTag = 2;

template <typename T>
std::span<std::byte> bytes_of(T& object) {
  return std::as_writable_bytes(std::span(&object, 1));
}

}  // namespace

struct Enquiries::Asking {
  Link& link;
  const int process, line;
  std::mutex mutex;  // of all below, and of the right to ask
  Question question;
  Moment moment;
  Report report;
  Transfer saying, hearing;
  Outcome outcome = Outcome::kPending;  // of hearing
  int64_t asked_ns = 0, answered_ns = 0;
  bool is_under_way = false, is_answered = false;
  bool is_lost = false;  // it cannot be heard, or said what no version says: nothing more is asked

  Asking(Link& a_link, int a_process, int a_line)
      : link(a_link), process(a_process), line(a_line) {}

  bool asks_moment() const { return question.kind == Kind::kMoment; }

  // Nothing is under way.
  void post(Kind kind, int64_t num_more, const ReportQuestion& about) {
    question = {kMagic, kind, question.number + 1, num_more, about};
    link.receive(hearing, process, tag_of(line, asks_moment() ? kMomentTag : kReportTag),
                 asks_moment() ? bytes_of(moment) : bytes_of(report));
    is_under_way = true;
    is_answered = false;
    asked_ns = now_ns();
    link.send(saying, process, tag_of(line, kQuestionTag), bytes_of(question), Until::kCopied);
  }

  // Whether nothing is under way any more.
  bool is_over() {
    if (!is_under_way) return true;
    if (hearing.pending) {
      outcome = link.poll(hearing);
      if (outcome == Outcome::kPending) return false;
      answered_ns = now_ns();
    }
    if (saying.pending && link.poll(saying) == Outcome::kPending) return false;
    is_under_way = false;
    const uint32_t magic = asks_moment() ? moment.magic : report.magic;
    const uint64_t number = asks_moment() ? moment.number : report.number;
    is_answered = outcome == Outcome::kDone && magic == kMagic && number == question.number &&
                  (asks_moment() || report.length <= kMostReportBytes);
    is_lost = !is_answered;
    return true;
  }

  std::vector<std::byte> take_report() {
    is_answered = false;
    const auto bytes = std::span(report.bytes).first(report.length);
    return {bytes.begin(), bytes.end()};
  }
};

struct Enquiries::Answering {
  int line = 0;
  Question question;
  Moment moment;
  Report report;
  Transfer hearing, saying;
};

Enquiries::Enquiries(JobPart& part, std::chrono::nanoseconds clock_ahead)
    : part_(part), clock_ahead_ns_(clock_ahead.count()), heard_ns_(now_ns()) {
  const int num_processes = part_.link().num_processes();
  if (part_.link().process() == 0) {
    for (int process = 1; process < num_processes; ++process)
      for (int line = 0; line < kNumLines; ++line)
        asking_.push_back(std::make_unique<Asking>(part_.link(), process, line));
    clocks_.resize(static_cast<size_t>(num_processes));
    return;
  }
  for (int line = 0; line < kNumLines; ++line) {
    answering_.push_back(std::make_unique<Answering>());
    answering_.back()->line = line;
    listen(*answering_.back());
  }
}

Enquiries::~Enquiries() { hang_up(); }

void Enquiries::hang_up() {
  if (std::exchange(has_hung_up_, true)) return;  // the link may be gone by then
  const auto drop = [&](Transfer& transfer) {
    if (transfer.pending) part_.link().cancel(transfer);
  };
  for (const auto& asking : asking_) {
    const std::lock_guard lock(asking->mutex);
    asking->is_lost = true;
    drop(asking->hearing);
    drop(asking->saying);
  }
  for (const auto& line : answering_) {
    drop(line->hearing);
    drop(line->saying);
  }
}

Enquiries::Asking& Enquiries::asking(int process, int line) const {
  return *asking_.at(static_cast<size_t>((process - 1) * kNumLines + line));
}

bool Enquiries::await(Asking& asking) {
  Looks looks(kPatience);
  while (!asking.is_over())
    if (part_.family()->aborted() || !looks.again()) return false;
  return !asking.is_lost;
}

std::optional<std::vector<std::byte>> Enquiries::ask(int process, const ReportQuestion& about) {
  Asking& line = asking(process, kPatient);
  const std::lock_guard lock(line.mutex);
  if (line.is_lost || !await(line)) return {};
  line.post(Kind::kReport, 0, about);
  if (!await(line)) return {};
  return line.take_report();
}

void Enquiries::ask_later(int process, const ReportQuestion& about) {
  Asking& line = asking(process, kLater);
  const std::lock_guard lock(line.mutex);
  if (line.is_lost || line.is_under_way) return;
  line.post(Kind::kReport, 0, about);
}

std::optional<std::vector<std::byte>> Enquiries::answer_so_far(int process) {
  Asking& line = asking(process, kLater);
  const std::lock_guard lock(line.mutex);
  if (line.is_lost || !line.is_over() || !line.is_answered) return {};
  return line.take_report();
}

void Enquiries::read_clocks() {
  for (size_t process = 1; process < clocks_.size(); ++process) {
    const std::vector<ClockReading> known = clock(static_cast<int>(process)).readings();
    if (known.empty() || now_ns() - known.back().at_ns > kReadAgainNs)
      read_clock(static_cast<int>(process));
  }
}

void Enquiries::read_clock(int process) {
  Asking& line = asking(process, kPatient);
  const std::lock_guard lock(line.mutex);
  if (line.is_lost || !await(line)) return;
  std::optional<ClockReading> best;
  const int64_t begin_ns = now_ns();
  for (int64_t trip = 1; trip <= kNumTrips; ++trip) {
    const bool is_long = trip > kFewTrips && now_ns() - begin_ns > kLongTripsNs;
    line.post(Kind::kMoment, is_long ? 0 : kNumTrips - trip, {});
    if (!await(line)) break;
    const ClockReading reading =
        reading_of_trip(line.asked_ns, line.answered_ns, line.moment.now_ns);
    if (!best || reading.error_ns < best->error_ns) best = reading;
    if (is_long) break;
  }
  if (!best) return;
  const std::lock_guard clocks_lock(clocks_mutex_);
  clocks_[static_cast<size_t>(process)].add(*best);
}

PeerClock Enquiries::clock(int process) const {
  const std::lock_guard lock(clocks_mutex_);
  return clocks_.at(static_cast<size_t>(process));
}

void Enquiries::set_reporter(Reporter reporter) {
  const std::lock_guard lock(reporter_mutex_);
  reporter_ = std::move(reporter);
}

void Enquiries::listen(Answering& line) {
  part_.link().receive(line.hearing, 0, tag_of(line.line, kQuestionTag), bytes_of(line.question));
}

bool Enquiries::look() {
  if (answering_.empty()) return false;
  while (true) {
    Looks looks{std::chrono::nanoseconds(kOnTheSpotNs)};
    bool was_asked = false;
    do {
      for (const auto& line : answering_) was_asked = answer(*line) || was_asked;
    } while (!was_asked && expects_ && looks.again());
    if (!was_asked) expects_ = false;
    if (!expects_) return now_ns() - heard_ns_ < kSoonNs;
  }
}

// Whether there was a question.
bool Enquiries::answer(Answering& line) {
  Link& link = part_.link();
  if (line.saying.pending && link.poll(line.saying) == Outcome::kPending) return false;
  if (!line.hearing.pending || link.poll(line.hearing) != Outcome::kDone) return false;
  heard_ns_ = now_ns();
  const Question& question = line.question;
  if (question.magic != kMagic) return false;  // nothing more is heard on this line
  expects_ = question.num_more > 0;
  if (question.kind == Kind::kMoment) {
    line.moment = {kMagic, 0, question.number, now_ns() + clock_ahead_ns_};
    link.send(line.saying, 0, tag_of(line.line, kMomentTag), bytes_of(line.moment), Until::kCopied);
  } else {
    std::vector<std::byte> bytes;
    {
      const std::lock_guard lock(reporter_mutex_);
      if (reporter_) reporter_(question.about, bytes);
    }
    WEFT_CHECK(bytes.size() <= kMostReportBytes, "a report of {} bytes", bytes.size());
    line.report.length = static_cast<uint32_t>(bytes.size());
    line.report.number = question.number;
    if (!bytes.empty()) std::memcpy(line.report.bytes.data(), bytes.data(), bytes.size());
    link.send(line.saying, 0, tag_of(line.line, kReportTag), bytes_of(line.report), Until::kCopied);
  }
  listen(line);
  return true;
}

}  // namespace weft::comm
