// One child process, watched until it ends.
#pragma once

#include <filesystem>
#include <functional>
#include <map>
#include <string>
#include <vector>

namespace weft::cli {

struct ChildProcess {
  std::vector<std::string> arguments;            // [0] is looked up in PATH
  std::map<std::string, std::string> variables;  // besides this process's own
  std::filesystem::path output;                  // receives its standard output and standard error
};

// Runs it with an empty standard input and returns its exit code (128 + n after signal n; 127
// where it cannot be started). `watch` is called every 100 ms; once it returns false the child is
// ended (SIGTERM, and SIGKILL two seconds later).
int run_child(const ChildProcess& child, const std::function<bool()>& watch);

}  // namespace weft::cli
