// What the fuzz targets of the checkpoint floor do with an input. The normal tests run the
// committed corpora through the same functions.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <span>
#include <string>

#include "base/error.h"
#include "checkpoint/gguf_parser.h"
#include "checkpoint/packed_manifest.h"
#include "checkpoint/panel_table.h"
#include "checkpoint/safetensors_parser.h"

namespace weft::fuzz {

enum class Verdict { kAccepted, kRefused };

// Stops at a lie: a file that was accepted has every byte that its tensors claim.
inline void touch(const std::vector<tensor::RawTensor>& tensors) {
  volatile std::byte seen{};
  for (const tensor::RawTensor& tensor : tensors) {
    seen = tensor.data[0];
    seen = tensor.data[tensor.num_bytes() - 1];
  }
  static_cast<void>(seen);
}

// Runs `parse`; a refusal must be an Error(kModel) of at most three printable lines.
template <typename Parse>
Verdict judge(Parse parse) {
  try {
    parse();
    return Verdict::kAccepted;
  } catch (const Error& error) {
    const std::string text = error.what();
    const auto is_printable = [](char c) { return c == '\n' || (c >= 0x20 && c < 0x7f); };
    const bool well_formed = error.kind() == ErrorKind::kModel &&
                             std::count(text.begin(), text.end(), '\n') <= 2 &&
                             std::all_of(text.begin(), text.end(), is_printable);
    if (!well_formed) {
      std::fprintf(stderr, "an error that no one should see: %s\n", text.c_str());
      std::abort();
    }
    return Verdict::kRefused;
  }
}

inline Verdict run_gguf(std::span<const std::byte> bytes) {
  return judge([&] { touch(checkpoint::parse_gguf(bytes, "input.gguf").tensors.list()); });
}

// An input is a safetensors file; one that begins with '{' is an index.
inline Verdict run_safetensors(std::span<const std::byte> bytes) {
  return judge([&] {
    if (!bytes.empty() && bytes[0] == std::byte{'{'}) {
      checkpoint::parse_safetensors_index(bytes, "model.safetensors.index.json");
    } else {
      touch(checkpoint::parse_safetensors(bytes, "input.safetensors").list());
    }
  });
}

// An input is a rank's panel file; one that begins with '{' is a manifest.
inline Verdict run_packed(std::span<const std::byte> bytes) {
  return judge([&] {
    if (!bytes.empty() && bytes[0] == std::byte{'{'}) {
      checkpoint::parse_manifest(bytes, "packed.json");
      return;
    }
    volatile std::byte seen{};
    for (const auto& entry : checkpoint::parse_panel_table(bytes, "rank-0000.panels").entries) {
      seen = bytes[static_cast<size_t>(entry.bytes.begin)];
      seen = bytes[static_cast<size_t>(entry.bytes.end - 1)];
    }
    static_cast<void>(seen);
  });
}

}  // namespace weft::fuzz
