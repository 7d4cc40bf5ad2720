#include "golden/golden_file.h"

#include <bit>
#include <cstring>
#include <fstream>
#include <iterator>
#include <stdexcept>
#include <type_traits>

namespace weft::golden {
namespace {

static_assert(std::endian::native == std::endian::little, "the files are little-endian");

class Reader {
 public:
  explicit Reader(const std::filesystem::path& path) : path_(path.string()) {
    std::ifstream file(path, std::ios::binary);
    if (!file) throw std::runtime_error(path_ + " cannot be read");
    bytes_.assign(std::istreambuf_iterator<char>(file), {});
  }

  void expect_magic(const std::string& magic) {
    if (std::string(take(magic.size()), magic.size()) != magic)
      throw std::runtime_error(path_ + " does not begin with " + magic);
  }

  uint32_t number() {
    uint32_t value;
    std::memcpy(&value, take(sizeof(value)), sizeof(value));
    return value;
  }

  std::string text() {
    const size_t size = number();
    return std::string(take(size), size);
  }

  template <typename T>
  std::vector<T> array(uint64_t count) {
    static_assert(std::is_trivially_copyable_v<T> && sizeof(T) == 4);
    const char* from = take(count * sizeof(T));
    std::vector<T> values(count);
    if (count > 0) std::memcpy(values.data(), from, count * sizeof(T));
    return values;
  }

  void expect_end() const {
    if (at_ != bytes_.size()) throw std::runtime_error(path_ + " goes on after its last case");
  }

 private:
  // Counts are products of two 32-bit numbers at most, so `size` cannot have wrapped.
  const char* take(uint64_t size) {
    if (size > bytes_.size() - at_) throw std::runtime_error(path_ + " ends early");
    const char* from = bytes_.data() + at_;
    at_ += size;
    return from;
  }

  std::string path_;
  std::vector<char> bytes_;
  size_t at_ = 0;
};

TopCase read_top_case(Reader& reader) {
  TopCase c;
  c.name = reader.text();
  c.text = reader.text();
  c.flags = reader.number();
  const uint64_t num_tokens = reader.number();
  c.num_prompt_tokens = reader.number();
  if (num_tokens == 0) throw std::runtime_error("the golden case " + c.name + " has no tokens");
  c.ids = reader.array<int32_t>(num_tokens);
  c.next_logprobs = reader.array<float>(num_tokens - 1);
  const uint64_t num_positions = reader.number(), k = reader.number();
  if (num_positions != 0 && num_positions != num_tokens - 1)
    throw std::runtime_error("the golden case " + c.name + " keeps some positions only");
  c.num_positions = static_cast<int64_t>(num_positions);
  c.k = static_cast<int64_t>(k);
  c.top_ids = reader.array<int32_t>(num_positions * k);
  c.top_logprobs = reader.array<float>(num_positions * k);
  return c;
}

LogitsCase read_logits_case(Reader& reader) {
  LogitsCase c;
  c.preset = reader.text();
  c.type = reader.text();
  c.format = reader.text();
  c.ids = reader.array<int32_t>(reader.number());
  const uint64_t num_positions = reader.number(), vocab_size = reader.number();
  if (num_positions > c.ids.size())
    throw std::runtime_error("the golden case " + c.preset + " has more positions than tokens");
  c.num_positions = static_cast<int64_t>(num_positions);
  c.vocab_size = static_cast<int64_t>(vocab_size);
  c.logits = reader.array<float>(num_positions * vocab_size);
  return c;
}

}  // namespace

TopFile read_top_file(const std::filesystem::path& path) {
  Reader reader(path);
  reader.expect_magic("WEFTTOP1");
  TopFile file;
  const uint32_t num_cases = reader.number();
  file.vocab_size = reader.number();
  file.model = reader.text();
  for (uint32_t i = 0; i < num_cases; ++i) file.cases.push_back(read_top_case(reader));
  reader.expect_end();
  return file;
}

std::vector<LogitsCase> read_logits_file(const std::filesystem::path& path) {
  Reader reader(path);
  reader.expect_magic("WEFTLOG1");
  std::vector<LogitsCase> cases;
  const uint32_t num_cases = reader.number();
  for (uint32_t i = 0; i < num_cases; ++i) cases.push_back(read_logits_case(reader));
  reader.expect_end();
  return cases;
}

}  // namespace weft::golden
