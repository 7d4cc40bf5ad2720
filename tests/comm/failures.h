// How members of a group fail: after a short deadline, and with which words.
#pragma once

#include <gtest/gtest.h>

#include <chrono>
#include <cstdint>
#include <exception>
#include <string>

#include "base/error.h"
#include "comm/comm.h"

namespace weft::comm {

inline std::string text_of(const std::exception_ptr& failure) {
  if (!failure) return "no failure";
  try {
    std::rethrow_exception(failure);
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kCommunication);
    return error.what();
  }
  return "another exception";
}

inline GroupOptions with_deadline(int64_t ms) {
  return {.deadline = std::chrono::milliseconds(ms)};
}

}  // namespace weft::comm
