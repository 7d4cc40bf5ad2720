// The files that are compiled for an instruction set show nothing but their fill_* functions: any
// other external or weak symbol could be the copy that the linker keeps for every processor.
#include <gtest/gtest.h>

#include <array>
#include <cstdio>
#include <filesystem>
#include <sstream>
#include <string>

namespace weft::kernels {
namespace {

std::string output_of(const std::string& command) {
  std::string text;
  FILE* pipe = popen(command.c_str(), "r");
  if (pipe == nullptr) return text;
  std::array<char, 4096> buffer;
  while (const size_t n = fread(buffer.data(), 1, buffer.size(), pipe))
    text.append(buffer.data(), n);
  pclose(pipe);
  return text;
}

// "linear_avx2.cpp.o:" -> "avx2"; empty for other members of the archive.
std::string isa_of(const std::string& member) {
  for (const char* isa : {"portable", "avx2", "avx512", "neon"}) {
    if (member.find(std::string("_") + isa + ".cpp.o") != std::string::npos) return isa;
  }
  return {};
}

TEST(IsaSymbols, OnlyTheFillFunctionsLeaveAFile) {
  const auto program = std::filesystem::read_symlink("/proc/self/exe");
  std::filesystem::path archive;
  for (auto folder = program.parent_path(); folder.has_relative_path();
       folder = folder.parent_path()) {
    archive = folder / "src/kernels/libweft_kernels.a";
    if (std::filesystem::exists(archive)) break;
  }
  ASSERT_TRUE(std::filesystem::exists(archive)) << "no archive of the kernels beside " << program;

  std::istringstream lines(output_of("nm -C '" + archive.string() + "'"));
  std::string line, isa;
  int files = 0, fills = 0;
  while (std::getline(lines, line)) {
    if (line.ends_with(".o:")) {
      isa = isa_of(line);
      if (!isa.empty()) ++files;
      continue;
    }
    if (isa.empty() || line.size() < 20) continue;
    const char kind = line[17];
    const std::string symbol = line.substr(19);
    const bool is_external =
        (kind >= 'A' && kind <= 'Z' && kind != 'U') || kind == 'u' || kind == 'v' || kind == 'w';
    // Data that sanitizers bring in, no instruction: markers, and the pointer to the routine that
    // unwinds, which instrumented functions need.
    if (!is_external || symbol.starts_with("__odr_asan") || symbol.starts_with("DW.ref.")) continue;
    EXPECT_TRUE(symbol.starts_with("weft::kernels::" + isa + "::fill_")) << isa << ": " << line;
    ++fills;
  }
  EXPECT_GE(files, 3);
  EXPECT_EQ(files, fills) << "each file has one door";
}

}  // namespace
}  // namespace weft::kernels
