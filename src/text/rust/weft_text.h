/* The C interface of the Rust crate `weft_text`. Included only from src/text.
 *
 * A function that can fail returns 0 for success and fills *error otherwise: 1, or 2 where nothing
 * is wrong with what was asked and it may succeed later. Buffers named
 * "owned" were allocated by the crate and go back to it through their free function, exactly once;
 * slices are borrowed for the length of the call. Handles are immutable: any number of threads may
 * use one at a time. A panic of the crate never crosses this boundary, it arrives as an error. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct WeftTokenizer WeftTokenizer;
typedef struct WeftTemplate WeftTemplate;

typedef struct {
  const uint8_t* data; /* may be null where size is 0 */
  size_t size;
} WeftSlice;

typedef struct {
  uint8_t* data;
  size_t size, capacity;
} WeftBytes; /* owned: weft_bytes_free */

typedef struct {
  int32_t* data;
  size_t size, capacity;
} WeftIds; /* owned: weft_ids_free */

typedef struct {
  WeftBytes what; /* one line */
  WeftBytes why;  /* may be empty */
} WeftError;      /* owned: weft_error_free */

/* tokenizer.ggml.* of a GGUF file. Ids are -1 and flags are -1 where the file says nothing. */
typedef struct {
  WeftSlice model, pre;
  const WeftSlice* tokens;
  size_t num_tokens;
  const double* scores;
  size_t num_scores;
  const int64_t* token_types;
  size_t num_token_types;
  const WeftSlice* merges;
  size_t num_merges;
  int64_t bos_id, eos_id, unk_id;
  int8_t add_bos, add_eos, add_space_prefix;
} WeftGgufVocab;

/* The raw bytes of every token: token i is bytes[ends[i - 1] .. ends[i]). */
typedef struct {
  WeftBytes bytes;
  WeftIds ends;
  WeftBytes special;            /* 1 where the token is a control or unknown token */
  int32_t strips_leading_space; /* decoding drops one space at the very beginning */
} WeftPieces;

int32_t weft_tokenizer_from_json(WeftSlice json, WeftTokenizer** out, WeftError* error);
int32_t weft_tokenizer_from_gguf(const WeftGgufVocab* vocab, WeftTokenizer** out, WeftError* error);
void weft_tokenizer_free(WeftTokenizer* tokenizer);
int32_t weft_tokenizer_encode(const WeftTokenizer* tokenizer, WeftSlice utf8, int32_t add_special,
                              int32_t parse_special, WeftIds* out, WeftError* error);
int32_t weft_tokenizer_pieces(const WeftTokenizer* tokenizer, WeftPieces* out, WeftError* error);
int32_t weft_tokenizer_describe(const WeftTokenizer* tokenizer, WeftBytes* out, WeftError* error);
/* -1 where there is no such token. */
int32_t weft_tokenizer_find(const WeftTokenizer* tokenizer, WeftSlice text);

int32_t weft_template_compile(WeftSlice source, WeftSlice bos_token, WeftSlice eos_token,
                              WeftTemplate** out, WeftError* error);
typedef struct {
  int64_t source_bytes, values, steps, run_ms, run_bytes, bytes_per_input;
} WeftTemplateLimits;
WeftTemplateLimits weft_template_limits(void);
void weft_template_free(WeftTemplate* compiled);
/* messages: a JSON array; extra: a JSON object or nothing. */
int32_t weft_template_render(const WeftTemplate* compiled, WeftSlice messages,
                             int32_t add_generation_prompt, WeftSlice extra, WeftBytes* out,
                             WeftError* error);

/* Grammars of one vocabulary. Grammars and their compilers are immutable; a matcher is one
 * thread's at a time, and after an error of its own it only gives that error. */
typedef struct WeftGrammars WeftGrammars;
typedef struct WeftGrammar WeftGrammar;
typedef struct WeftMatcher WeftMatcher;
typedef struct {
  int64_t source_bytes, depth, compile_ms, grammar_bytes, json_blanks;
} WeftGrammarLimits;

/* What tokens are made of, as in WeftPieces. */
typedef struct {
  WeftSlice bytes;
  const int32_t* ends;
  size_t num_tokens;
  WeftSlice special;
  int64_t vocab_size; /* the model's, which may have more ids */
  const int32_t* end_ids;
  size_t num_end_ids;
  int64_t matcher_bytes; /* that all matchers together may take: beyond it 2 */
} WeftVocabulary;

int32_t weft_grammars_new(const WeftVocabulary* vocabulary, WeftGrammars** out, WeftError* error);
void weft_grammars_free(WeftGrammars* grammars);
/* kind: of text::GrammarSpec::Kind, in its order. */
int32_t weft_grammar_compile(const WeftGrammars* grammars, int32_t kind, WeftSlice source,
                             WeftSlice frame, const WeftGrammarLimits* limits, WeftGrammar** out,
                             WeftError* error);
int64_t weft_grammar_bytes(const WeftGrammar* grammar);
int64_t weft_grammar_learned_bytes(const WeftGrammar* grammar);
void weft_grammar_free(WeftGrammar* grammar);
int32_t weft_matcher_new(const WeftGrammar* grammar, WeftMatcher** out, WeftError* error);
int32_t weft_matcher_copy(const WeftMatcher* matcher, WeftMatcher** out, WeftError* error);
void weft_matcher_free(WeftMatcher* matcher);
int32_t weft_matcher_fill(WeftMatcher* matcher, uint32_t* mask, size_t num_words, WeftError* error);
int32_t weft_matcher_advance(WeftMatcher* matcher, int32_t id, int32_t* out, WeftError* error);
int32_t weft_matcher_take_back(WeftMatcher* matcher, size_t count, WeftError* error);
int32_t weft_matcher_may_end(WeftMatcher* matcher, int32_t* out, WeftError* error);
int32_t weft_matcher_must_end(WeftMatcher* matcher);

void weft_bytes_free(WeftBytes bytes);
void weft_ids_free(WeftIds ids);
void weft_error_free(WeftError error);

#ifdef __cplusplus
}
#endif
