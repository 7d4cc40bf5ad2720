// How `weft serve` ends where its engine does. What it does with signals: serve_test.py.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <string>
#include <thread>

#include "cli/fake_engine.h"

namespace weft::cli {
namespace {

using ::testing::HasSubstr;

// What a Unix socket answers to a chat, once somebody listens there.
std::string ask(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::strncpy(address.sun_path, path.c_str(), sizeof address.sun_path - 1);
  const int fd = socket(AF_UNIX, SOCK_STREAM, 0);
  for (int tries = 0; connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0;) {
    if (++tries == 1'000) return "nobody listens";
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  const std::string body = R"({"messages": [{"role": "user", "content": "Where?"}]})";
  const std::string request =
      "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
      "Content-Length: " +
      std::to_string(body.size()) + "\r\n\r\n" + body;
  EXPECT_EQ(write(fd, request.data(), request.size()), static_cast<ssize_t>(request.size()));
  std::string answer;
  char bytes[1024];
  for (ssize_t n = 0; (n = read(fd, bytes, sizeof bytes)) > 0;)
    answer.append(bytes, static_cast<size_t>(n));
  close(fd);
  return answer;
}

TEST(Serve, ALostRankIsToldToWhoWaitsAndEndsTheServerWithItsExitCode) {
  Program program;
  program.state.on_step = [](int64_t) {
    throw Error(ErrorKind::kCommunication, "rank 1 is silent", "", "see to its host");
  };
  const std::string path = testing::TempDir() + "weft-serve-" + std::to_string(getpid());
  std::string answer;
  std::thread client([&] { answer = ask(path); });
  EXPECT_EQ(program.run({"serve", ".", "--uds", path, "--quiet"}), 5);
  client.join();
  EXPECT_THAT(answer, HasSubstr("HTTP/1.1 503"));
  EXPECT_THAT(program.err, HasSubstr("rank 1 is silent"));
  EXPECT_NE(access(path.c_str(), F_OK), 0) << "the socket is left behind";
}

TEST(Serve, ATemplateThatIsNoneIsToldBeforeTheModelIsLoaded) {
  const std::string path = testing::TempDir() + "weft-template-" + std::to_string(getpid());
  for (const char* source : {"{% if messages %}{{ messages }}", "{{ messages[0] ", ""}) {
    std::ofstream(path) << source;
    Program program;
    EXPECT_EQ(program.run({"serve", ".", "--port", "0", "--chat-template", path}), 2) << source;
    EXPECT_THAT(program.err, HasSubstr("--chat-template " + path)) << source;
    EXPECT_EQ(program.state.num_loads, 0);
  }
  std::remove(path.c_str());
  Program program;
  EXPECT_EQ(program.run({"serve", ".", "--port", "0", "--chat-template", path}), 2);
  EXPECT_THAT(program.err, HasSubstr("No such file"));
  EXPECT_EQ(program.state.num_loads, 0);
}

}  // namespace
}  // namespace weft::cli
