#include "cli/standard_input.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cstdlib>
#include <cstring>
#include <sstream>

#include "base/error.h"

namespace weft::cli {
namespace {

using std::chrono::milliseconds;
using ::testing::HasSubstr;

// Two joined descriptors, of a pipe or of a pair of sockets: [0] is read.
struct Ends {
  std::array<int, 2> ends{-1, -1};
  explicit Ends(bool sockets) {
    const int failed =
        sockets ? socketpair(AF_UNIX, SOCK_STREAM, 0, ends.data()) : pipe(ends.data());
    EXPECT_EQ(failed, 0);
  }
  ~Ends() {
    close(ends[0]);
    finish();
  }
  void say(const char* text) {
    const auto length = static_cast<ssize_t>(std::strlen(text));
    EXPECT_EQ(write(ends[1], text, std::strlen(text)), length);
  }
  void finish() {
    if (ends[1] >= 0) close(ends[1]);
    ends[1] = -1;
  }
  InputState look(int patience_ms) const {
    return look_at_input(ends[0], milliseconds(patience_ms));
  }
};

TEST(StandardInput, PipesAndSocketsAreWaitedForALittle) {
  for (const bool sockets : {false, true}) {
    Ends input(sockets);
    EXPECT_EQ(input.look(1), InputState::kSilent);
    input.say("hi");
    EXPECT_EQ(input.look(10'000), InputState::kText);
    input.finish();
    EXPECT_EQ(input.look(10'000), InputState::kText);  // nothing was taken
    std::array<char, 8> buffer{};
    EXPECT_EQ(read(input.ends[0], buffer.data(), buffer.size()), 2);
    EXPECT_EQ(input.look(10'000), InputState::kNothing);
  }
}

TEST(StandardInput, FilesHoldWhatLiesBehindTheirPosition) {
  std::string path = testing::TempDir() + "weft_input_XXXXXX";
  const int file = mkstemp(path.data());
  ASSERT_GE(file, 0);
  unlink(path.c_str());
  EXPECT_EQ(look_at_input(file, milliseconds(0)), InputState::kNothing);
  EXPECT_EQ(write(file, "hi", 2), 2);
  EXPECT_EQ(look_at_input(file, milliseconds(0)), InputState::kNothing);
  lseek(file, 0, SEEK_SET);
  EXPECT_EQ(look_at_input(file, milliseconds(0)), InputState::kText);
  close(file);
  EXPECT_EQ(look_at_input(file, milliseconds(0)), InputState::kNothing);  // closed
}

TEST(StandardInput, DevicesHoldNothing) {
  for (const char* path : {"/dev/null", "/dev/zero", "/"}) {
    const int device = open(path, O_RDONLY);
    EXPECT_EQ(look_at_input(device, milliseconds(0)), InputState::kNothing) << path;
    close(device);
  }
}

TEST(StandardInput, ATerminalIsOne) {
  const int terminal = posix_openpt(O_RDWR | O_NOCTTY);
  ASSERT_GE(terminal, 0);
  EXPECT_EQ(look_at_input(terminal, milliseconds(0)), InputState::kTerminal);
  close(terminal);
}

TEST(StandardInput, APromptEndsBeforeItsLastLineFeed) {
  for (const auto& [input, prompt] : std::vector<std::pair<std::string, std::string>>{
           {"", ""}, {"\n", ""}, {"a", "a"}, {"a\nb\n", "a\nb"}, {"a\n\n", "a\n"}}) {
    std::istringstream in(input);
    EXPECT_EQ(read_prompt(in), prompt);
  }
  const std::string long_text(200'000, 'x');  // several pieces
  std::istringstream in(long_text);
  EXPECT_EQ(read_prompt(in), long_text);
}

TEST(StandardInput, APromptHasALimit) {
  const auto limit = static_cast<size_t>(kMaxPromptBytes);
  std::istringstream most(std::string(limit, 'x'));
  EXPECT_EQ(read_prompt(most).size(), limit);
  std::istringstream more(std::string(limit + 100'000, 'x'));
  try {
    read_prompt(more);
    ADD_FAILURE() << "no error";
  } catch (const Error& error) {
    EXPECT_EQ(error.exit_code(), 2);
    EXPECT_THAT(error.what(), HasSubstr("standard input holds more than"));
  }
  EXPECT_EQ(static_cast<size_t>(more.tellg()), limit + 1);  // the rest is left where it was
}

}  // namespace
}  // namespace weft::cli
