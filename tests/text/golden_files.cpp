#include "text/golden_files.h"

#include <fmt/format.h>

#include <cstdlib>
#include <fstream>
#include <iterator>
#include <sstream>
#include <stdexcept>

namespace weft::text {
namespace {

std::string decode_base64(std::string_view encoded) {
  constexpr std::string_view kAlphabet =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string bytes;
  uint32_t bits = 0;
  int num_bits = 0;
  for (const char letter : encoded) {
    const size_t value = kAlphabet.find(letter);
    if (value == std::string_view::npos) break;  // padding
    bits = bits << 6 | static_cast<uint32_t>(value);
    num_bits += 6;
    if (num_bits >= 8) {
      num_bits -= 8;
      bytes += static_cast<char>(bits >> num_bits & 0xFF);
    }
  }
  return bytes;
}

void append_with_length(std::string& data, std::string_view bytes) {
  const auto size = static_cast<uint32_t>(bytes.size());
  data.append(reinterpret_cast<const char*>(&size), sizeof(size));
  data += bytes;
}

std::string_view bytes_of(std::span<const int32_t> ids) {
  return {reinterpret_cast<const char*>(ids.data()), ids.size_bytes()};
}

std::string first_half_of_hash(std::string_view data) {
  return fmt::format("{:016x}", fnv(data)).substr(0, 8);
}

}  // namespace

std::string read_text_file(const std::string& name) {
  // Beside this source file, as the compiler saw it.
  const auto path = std::filesystem::path(__FILE__).parent_path() / "data" / name;
  std::ifstream file(path, std::ios::binary);
  if (!file) throw std::runtime_error("cannot read " + path.string());
  return {std::istreambuf_iterator<char>(file), {}};
}

Json read_json_file(const std::string& name) { return Json::parse(read_text_file(name)); }

std::vector<Json> read_json_lines(const std::string& name) {
  std::istringstream file(read_text_file(name));
  std::vector<Json> lines;
  for (std::string line; std::getline(file, line);) lines.push_back(Json::parse(line));
  return lines;
}

std::vector<std::string> golden_strings() {
  std::vector<std::string> strings;
  for (const Json& line : read_json_lines("strings.jsonl")) {
    strings.push_back(line.is_string() ? line.get<std::string>()
                                       : decode_base64(line["base64"].get<std::string>()));
  }
  return strings;
}

uint64_t fnv(std::string_view bytes) {
  uint64_t value = 0xCBF29CE484222325;
  for (const char byte : bytes) value = (value ^ static_cast<uint8_t>(byte)) * 0x100000001B3;
  return value;
}

std::string hash_of_ids(std::span<const int32_t> plain, std::span<const int32_t> parsed) {
  return hash_of_texts(bytes_of(plain), bytes_of(parsed));
}

std::string hash_of_texts(std::string_view plain, std::string_view special) {
  std::string data;
  append_with_length(data, plain);
  append_with_length(data, special);
  return first_half_of_hash(data);
}

std::string hash_of_pieces(const Tokenizer& tokenizer, bool special) {
  std::string data;
  for (int64_t id = 0; id < tokenizer.vocab_size(); ++id) {
    data += tokenizer.piece(static_cast<int32_t>(id), special);
    data += '\xFF';
  }
  return fmt::format("{:016x}", fnv(data));
}

}  // namespace weft::text
