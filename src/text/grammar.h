// What an answer may look like, as a set of allowed next tokens: JSON schemas, regular expressions,
// choices and Lark grammars, compiled by llguidance. Compiling is done by whoever receives the
// request, outside the loop of steps; a matcher is one answer's and lives beside its sampler.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "text/text.h"

namespace weft::text {

// As plain text, so that it travels in a message and is kept in a journal.
struct GrammarSpec {
  enum class Kind {
    kJsonSchema,  // source: a JSON schema; "{}" is any JSON
    kJsonObject,  // any JSON object; source: empty
    kRegex,       // source: a regular expression of Rust's syntax, matched as a whole
    kChoice,      // source: a JSON array of strings
    kLark         // source: llguidance's Lark; <|im_end|> names a special token, %json a schema,
                  // %grammar "..." another grammar. Or llama.cpp's GBNF, told by its ::=
  };
  Kind kind = Kind::kJsonObject;
  std::string source;
  // Lark in which @answer stands for all of the above, such as what a model thinks before it:
  // "start: /(?s:.*)/ <[7]> @answer". Ours, never a request's. Empty: nothing stands around it.
  std::string frame = {};

  bool operator==(const GrammarSpec&) const = default;
};

// What a compilation may cost at most; beyond it is Error(kUsage). Each is argued where it is set.
struct GrammarLimits {
  int64_t source_bytes = 256 * 1024;
  int64_t depth = 256;         // of brackets in source
  int64_t compile_ms = 5'000;  // wall time
  int64_t grammar_bytes = 64 << 20;
  // Space between the parts of JSON: one blank, or a line break and so many blanks at most, so that
  // a small model cannot fill its answer with them.
  int64_t json_blanks = 32;
};

class GrammarMatcher;

// What it says never changes; any number of threads may make matchers of it.
class Grammar {
 public:
  virtual ~Grammar() = default;
  // One answer's state, at its beginning.
  virtual std::unique_ptr<GrammarMatcher> matcher() const = 0;
  virtual int64_t bytes() const = 0;  // for caches that are capped
  // Besides, a part of what all matchers together may take: states of the lexer that matchers have
  // derived before they ended, which later ones begin with.
  virtual int64_t learned_bytes() const { return 0; }
};

// One answer's: one thread at a time, any.
class GrammarMatcher {
 public:
  virtual ~GrammarMatcher() = default;
  // Bit i % 32 of word i / 32 allows id i; ids that end an answer are allowed where the grammar
  // may end. mask: [ceil(vocab_size / 32)], all of it is written. Error(kUsage) where the grammar
  // grew past its limits while it ran: it ends this answer alone.
  virtual void fill(std::span<uint32_t> mask) = 0;
  // The next token. False where the mask forbids it: the matcher is as it was.
  virtual bool advance(int32_t id) = 0;
  // Forgets the last `count` tokens (draft tokens that were not accepted).
  virtual void take_back(int64_t count) = 0;
  // Whether the grammar may end here, and whether it has to: nothing but an ending id is allowed.
  virtual bool may_end() = 0;
  virtual bool must_end() = 0;
  // A copy at the same place: a fork of the answer.
  virtual std::unique_ptr<GrammarMatcher> clone() const = 0;
};

// Compiles grammars for one vocabulary. Thread-safe.
class GrammarCompiler {
 public:
  // vocab_size: the model's, which may have more ids than the tokenizer. end_ids: ids that end an
  // answer. Takes 0.1 to 0.5 s and about 30 times the bytes of the vocabulary.
  static std::unique_ptr<GrammarCompiler> make(const Tokenizer& tokenizer, int64_t vocab_size,
                                               std::span<const int32_t> end_ids);
  virtual ~GrammarCompiler() = default;
  // Error(kUsage) in words for a user: what is wrong, and where. Error(kBusy): ask again later.
  virtual std::shared_ptr<const Grammar> compile(const GrammarSpec& spec,
                                                 const GrammarLimits& limits = {}) = 0;
};

}  // namespace weft::text
