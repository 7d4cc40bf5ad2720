#include <utility>

#include "text/rust_bridge.h"
#include "text/text.h"
#include "text/utf8.h"

namespace weft::text {
namespace {

// Encoding is the crate's work; the bytes of all tokens are fetched once, so that turning ids into
// text never leaves C++.
class CrateTokenizer final : public Tokenizer {
 public:
  explicit CrateTokenizer(WeftTokenizer* handle) : handle_(handle) {
    WeftError error{};
    WeftPieces pieces{};
    throw_if_failed(weft_tokenizer_pieces(handle_.get(), &pieces, &error), error);
    bytes_ = take(pieces.bytes);
    special_ = take(pieces.special);
    ends_.assign(pieces.ends.data, pieces.ends.data + pieces.ends.size);
    weft_ids_free(pieces.ends);
    strips_leading_space_ = pieces.strips_leading_space != 0;
    WeftBytes description{};
    throw_if_failed(weft_tokenizer_describe(handle_.get(), &description, &error), error);
    description_ = take(description);
  }

  int64_t vocab_size() const override { return static_cast<int64_t>(ends_.size()); }

  std::vector<int32_t> encode(std::string_view text, bool add_special,
                              bool parse_special) const override {
    std::string repaired;
    if (!is_valid_utf8(text)) {
      repaired = to_valid_utf8(text);
      text = repaired;
    }
    WeftError error{};
    WeftIds found{};
    throw_if_failed(weft_tokenizer_encode(handle_.get(), slice_of(text), add_special, parse_special,
                                          &found, &error),
                    error);
    std::vector<int32_t> ids(found.data, found.data + found.size);
    weft_ids_free(found);
    return ids;
  }

  std::string piece(int32_t id, bool special) const override {
    return std::string(bytes_of(id, special));
  }

  std::string decode(std::span<const int32_t> ids, bool special) const override {
    std::string text;
    for (const int32_t id : ids) text += bytes_of(id, special);
    if (strips_leading_space_ && text.starts_with(' ')) text.erase(0, 1);
    return is_valid_utf8(text) ? text : to_valid_utf8(text);
  }

  bool is_special(int32_t id) const override {
    return in_range(id) && special_[static_cast<size_t>(id)] != 0;
  }

  std::optional<int32_t> find_token(std::string_view text) const override {
    const int32_t id = weft_tokenizer_find(handle_.get(), slice_of(text));
    return id < 0 ? std::nullopt : std::optional(id);
  }

  bool strips_leading_space() const override { return strips_leading_space_; }
  std::string description() const override { return description_; }

 private:
  struct Free {
    void operator()(WeftTokenizer* handle) const { weft_tokenizer_free(handle); }
  };

  bool in_range(int32_t id) const { return id >= 0 && static_cast<size_t>(id) < ends_.size(); }

  std::string_view bytes_of(int32_t id, bool special) const {
    if (!in_range(id) || (!special && is_special(id))) return {};
    const auto i = static_cast<size_t>(id);
    const int32_t begin = i == 0 ? 0 : ends_[i - 1];
    return std::string_view(bytes_).substr(static_cast<size_t>(begin),
                                           static_cast<size_t>(ends_[i] - begin));
  }

  std::unique_ptr<WeftTokenizer, Free> handle_;
  std::string bytes_;          // the tokens' bytes, end to end
  std::vector<int32_t> ends_;  // [vocab_size]
  std::string special_;        // [vocab_size], 0 or 1
  bool strips_leading_space_ = false;
  std::string description_;
};

int8_t tri_state(std::optional<bool> flag) { return flag ? static_cast<int8_t>(*flag) : -1; }

std::vector<WeftSlice> slices_of(const std::vector<std::string>& texts) {
  std::vector<WeftSlice> slices;
  slices.reserve(texts.size());
  for (const std::string& text : texts) slices.push_back(slice_of(text));
  return slices;
}

}  // namespace

std::unique_ptr<Tokenizer> Tokenizer::from_gguf(const GgufVocab& vocab) {
  const std::vector<WeftSlice> tokens = slices_of(vocab.tokens);
  const std::vector<WeftSlice> merges = slices_of(vocab.merges);
  const WeftGgufVocab request{
      .model = slice_of(vocab.model),
      .pre = slice_of(vocab.pre),
      .tokens = tokens.data(),
      .num_tokens = tokens.size(),
      .scores = vocab.scores.data(),
      .num_scores = vocab.scores.size(),
      .token_types = vocab.token_types.data(),
      .num_token_types = vocab.token_types.size(),
      .merges = merges.data(),
      .num_merges = merges.size(),
      .bos_id = vocab.bos_id,
      .eos_id = vocab.eos_id,
      .unk_id = vocab.unk_id,
      .add_bos = tri_state(vocab.add_bos),
      .add_eos = tri_state(vocab.add_eos),
      .add_space_prefix = tri_state(vocab.add_space_prefix),
  };
  WeftError error{};
  WeftTokenizer* handle = nullptr;
  throw_if_failed(weft_tokenizer_from_gguf(&request, &handle, &error), error);
  return std::make_unique<CrateTokenizer>(handle);
}

std::unique_ptr<Tokenizer> Tokenizer::from_json(std::string_view tokenizer_json) {
  WeftError error{};
  WeftTokenizer* handle = nullptr;
  throw_if_failed(weft_tokenizer_from_json(slice_of(tokenizer_json), &handle, &error), error);
  return std::make_unique<CrateTokenizer>(handle);
}

}  // namespace weft::text
