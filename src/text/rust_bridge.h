// Between C++ values and the Rust crate's C interface: borrowed slices in, owned buffers out,
// errors as weft::Error(kModel), or Error(kBusy).
#pragma once

#include <string>
#include <string_view>

#include "base/error.h"
#include "text/rust/weft_text.h"

namespace weft::text {

inline WeftSlice slice_of(std::string_view text) {
  return {reinterpret_cast<const uint8_t*>(text.data()), text.size()};
}

inline std::string_view view_of(const WeftBytes& bytes) {
  return {reinterpret_cast<const char*>(bytes.data), bytes.size};
}

// Copies the buffer and gives it back to the crate.
inline std::string take(WeftBytes bytes) {
  std::string text(view_of(bytes));
  weft_bytes_free(bytes);
  return text;
}

// `status` is what a function of the crate returned; `error` is filled where it is not 0.
inline void throw_if_failed(int32_t status, WeftError error, ErrorKind kind = ErrorKind::kModel) {
  if (status == 0) return;
  const std::string what = take(error.what), why = take(error.why);
  if (status == 2) throw Error(ErrorKind::kBusy, what, why);
  throw Error(kind, what, why);
}

}  // namespace weft::text
