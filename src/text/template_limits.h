// What a chat template is held to (text.h, ChatTemplate), as numbers for who shows them.
#pragma once

#include <cstdint>

namespace weft::text {

struct TemplateLimits {
  int64_t source_bytes = 0;
  int64_t values = 0;  // of a conversation's JSON: values, keys and lists
  int64_t steps = 0;   // of a rendering
  int64_t run_ms = 0;
  int64_t run_bytes = 0, bytes_per_input = 0;  // so many, and as many a byte of the conversation
};

TemplateLimits template_limits();

}  // namespace weft::text
