// What a person types for a model of a hub, and the names that a hub may give its files.
//
//   user/repo               safetensors, or the only GGUF model there is
//   user/repo:Q4_K_M        the GGUF model of that type; a file's name works too
//   user/repo@v1.0:Q4_K_M   of that branch, tag or commit
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace weft::hub {

struct ModelName {
  std::string repo;               // "Qwen/Qwen2.5-0.5B-Instruct"
  std::string revision = "main";  // a branch, a tag or a commit of 40 hexadecimal digits
  std::string quant;              // empty: not said

  std::string text() const;  // as typed
};

// Nothing where `typed` cannot be such a name: a path, a word without a slash.
std::optional<ModelName> parse_model_name(std::string_view typed);

bool is_commit(std::string_view revision);
// Whether a file of a repository may be written under this name: relative, with no ".." and nothing
// that only some systems take for a separator. All names come from a server.
bool is_safe_file_name(std::string_view name);
// Whether an ETag can be a blob's file name.
bool is_safe_etag(std::string_view etag);
bool is_hex(std::string_view text, size_t num_digits);

}  // namespace weft::hub
