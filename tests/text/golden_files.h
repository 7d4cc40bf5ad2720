// What tools/make_text_goldens.py wrote to tests/text/data.
#pragma once

#include <cstdint>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "text/text.h"

namespace weft::text {

using Json = nlohmann::ordered_json;  // templates print keys in the order they were given

std::string read_text_file(const std::string& name);
Json read_json_file(const std::string& name);
std::vector<Json> read_json_lines(const std::string& name);

// The strings of strings.jsonl, as raw bytes; some are no UTF-8.
std::vector<std::string> golden_strings();

// FNV-1a, 64 bits.
uint64_t fnv(std::string_view bytes);
// The 8 hexadecimal digits that stand for one string in small_goldens.json.
std::string hash_of_ids(std::span<const int32_t> plain, std::span<const int32_t> parsed);
std::string hash_of_texts(std::string_view plain, std::string_view special);
// Over all tokens' bytes, a 0xFF after each.
std::string hash_of_pieces(const Tokenizer& tokenizer, bool special);

}  // namespace weft::text
