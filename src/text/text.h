// Strings ↔ tokens, chat templates, incremental detokenisation. A C++ face over a small Rust crate
// (src/text/rust) that binds Hugging Face `tokenizers` and `minijinja`. Knows no tensor.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace weft::text {

// What a GGUF file says of its tokenizer (keys tokenizer.ggml.*), filled by the caller.
struct GgufVocab {
  std::string model;  // "gpt2" (byte-level BPE) or "llama" (SentencePiece)
  std::string pre;    // tokenizer.ggml.pre; an unknown one is Error(kModel)
  std::vector<std::string> tokens;
  std::vector<double> scores;        // may be empty
  std::vector<int64_t> token_types;  // 1 normal 2 unknown 3 control 4 user-defined 5 unused 6 byte
  std::vector<std::string> merges;
  int64_t bos_id = -1, eos_id = -1, unk_id = -1, pad_id = -1;
  std::optional<bool> add_bos, add_eos, add_space_prefix;
};

class Tokenizer {
 public:
  static std::unique_ptr<Tokenizer> from_gguf(const GgufVocab& vocab);
  // The text of tokenizer.json.
  static std::unique_ptr<Tokenizer> from_json(std::string_view tokenizer_json);
  virtual ~Tokenizer() = default;

  virtual int64_t vocab_size() const = 0;
  // add_special: add BOS/EOS where the model wants them. parse_special: "<|im_end|>" in the text
  // becomes the special token (rendered templates: true; a user's own words: false).
  // Invalid UTF-8 becomes U+FFFD first.
  virtual std::vector<int32_t> encode(std::string_view text, bool add_special,
                                      bool parse_special) const = 0;
  // The raw bytes of one token ("Ġthe" → " the"; a byte token → that byte). Special tokens give
  // their text where `special` is true, nothing otherwise. Ids out of range give nothing.
  virtual std::string piece(int32_t id, bool special) const = 0;
  // The whole text of ids; incomplete UTF-8 at the end becomes U+FFFD.
  virtual std::string decode(std::span<const int32_t> ids, bool special) const = 0;
  virtual bool is_special(int32_t id) const = 0;
  virtual std::optional<int32_t> find_token(std::string_view text) const = 0;
  // SentencePiece puts a space before the first word of a text, and decoding takes it away again:
  // `decode` and TextStream drop one space at the very beginning, `piece` never does.
  virtual bool strips_leading_space() const { return false; }
  // "gpt2/smollm", "llama/default", "tokenizer.json BPE": for `inspect`.
  virtual std::string description() const = 0;
};

struct Message {
  std::string role;
  std::string content;
};

// A Jinja chat template as transformers runs it (trim_blocks, lstrip_blocks, tojson,
// raise_exception, strftime_now; Python's string methods). Error(kModel) with the template's line;
// Error(kBusy) while three runs over a limit have not ended. Templates are not trusted: over 64
// KiB, 5 seconds or 32 MiB (in a rendering, and what its conversation pays for) is an error. A run
// has a thread of its own; any number may render at a time.
class ChatTemplate {
 public:
  static std::unique_ptr<ChatTemplate> compile(std::string_view source, std::string_view bos_token,
                                               std::string_view eos_token);
  virtual ~ChatTemplate() = default;
  virtual std::string render(std::span<const Message> messages,
                             bool add_generation_prompt) const = 0;
  // The general form: a JSON array of messages and a JSON object of further variables (tools, …).
  virtual std::string render_json(std::string_view messages_json, bool add_generation_prompt,
                                  std::string_view extra_json) const = 0;
};

// Tokens in, complete characters out. Never emits half a character, and holds back what could
// become one of the stop strings; the stop string itself is emitted only where it is asked for. One
// a sequence; not thread-safe.
struct TextStreamOptions {
  std::vector<std::string> stop_strings;
  bool emit_stop_string = false;
  bool skip_special_tokens = true;  // otherwise they are emitted as they are written
  bool strip_leading_space = true;  // where the tokenizer strips one
};
class TextStream {
 public:
  TextStream(const Tokenizer& tokenizer, TextStreamOptions options);
  // Text that became certain. After `stopped()` it is always empty. may_stop: whether a stop string
  // may end with this token (false: an answer that has to be longer).
  std::string push(int32_t id, bool may_stop = true);
  // What is left at the end of the answer (half characters become U+FFFD).
  std::string finish();
  bool stopped() const { return stopped_; }
  // The stop string that ended it; empty where none did.
  const std::string& stopped_by() const { return stopped_by_; }

 private:
  struct StopString {
    explicit StopString(std::string stop);
    bool advance(char byte);  // true where the stop string is complete
    std::string text;
    std::vector<size_t> fallback;
    size_t matched = 0;  // this many bytes of `text` are the end of what was seen
  };
  std::string release(std::string_view text, bool may_stop);

  const Tokenizer& tokenizer_;
  TextStreamOptions options_;  // its stop strings are moved out
  std::vector<StopString> stop_strings_;
  std::string incomplete_;  // the beginning of a character
  std::string held_;        // complete characters that may begin a stop string
  std::string stopped_by_;
  bool stopped_ = false;
  bool at_start_ = true;
};

}  // namespace weft::text
