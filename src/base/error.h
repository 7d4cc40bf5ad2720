// Two kinds of failure, two words. `Error` is for what a person can mend: it says what happened,
// why, and the flag or command that mends it. `WEFT_CHECK` is for our own bugs: it prints both
// values and aborts, because no state behind a broken invariant can be trusted.
#pragma once

#include <fmt/format.h>

#include <cstdint>
#include <stdexcept>
#include <string>
#include <string_view>

namespace weft {

// The program's exit code for each kind of failure (`weft --help` lists them).
enum class ErrorKind : int {
  kUsage = 2,
  kModel = 3,
  kMemory = 4,
  kCommunication = 5,
  kInternal = 70,
  kBusy = 75,  // nothing is wrong with what was asked: it may succeed later
};

class Error : public std::runtime_error {
 public:
  // what: the failure, one line. why: its cause, may be empty. mend: what to type, may be empty.
  Error(ErrorKind kind, std::string_view what, std::string_view why = {},
        std::string_view mend = {});

  ErrorKind kind() const { return kind_; }
  int exit_code() const { return static_cast<int>(kind_); }
  const std::string& summary() const { return summary_; }
  const std::string& why() const { return why_; }
  const std::string& mend() const { return mend_; }

 private:
  ErrorKind kind_;
  std::string summary_, why_, mend_;
};

[[noreturn]] void check_failed(const char* file, int line, const char* condition,
                               const std::string& detail);

#define WEFT_CHECK(condition, ...)                                                         \
  do {                                                                                     \
    if (!(condition)) [[unlikely]]                                                         \
      ::weft::check_failed(__FILE__, __LINE__, #condition, ::fmt::format("" __VA_ARGS__)); \
  } while (false)

#define WEFT_CHECK_OP_(a, op, b)                                              \
  do {                                                                        \
    const auto& weft_a_ = (a);                                                \
    const auto& weft_b_ = (b);                                                \
    if (!(weft_a_ op weft_b_)) [[unlikely]]                                   \
      ::weft::check_failed(__FILE__, __LINE__, #a " " #op " " #b,             \
                           ::fmt::format("{} against {}", weft_a_, weft_b_)); \
  } while (false)
#define WEFT_CHECK_EQ(a, b) WEFT_CHECK_OP_(a, ==, b)
#define WEFT_CHECK_LT(a, b) WEFT_CHECK_OP_(a, <, b)
#define WEFT_CHECK_LE(a, b) WEFT_CHECK_OP_(a, <=, b)

}  // namespace weft
