//! Tokenizers, chat templates and grammars behind the C interface of `weft_text.h`.
//!
//! - `gguf`: the tokenizer that a GGUF file describes: `vocabulary` (ids and texts), `specials`
//!   (cut out first), then `byte_level` (with `pre_tokenizer`) or `spm`, both on `merging`.
//! - `json`: tokenizer.json, through Hugging Face `tokenizers`.
//! - `chat`: chat templates, through minijinja, with `python`'s way of writing values.
//! - `grammar`: grammars as masks of tokens, through llguidance; `grammar_source` writes what a user
//!   gave as its Lark or schema, `gbnf` does so for the grammars of llama.cpp; `satisfiable` refuses
//!   schemas that no JSON satisfies, `lexer_check` lexers that would not come to an end;
//!   `mask_cache` keeps masks of states that come again.
//! - `confinement`: bounded memory, stack and time for templates and compilations of grammars.
//! - `boundary`, `grammar_boundary`: the C functions. All `unsafe` code is there, but one call of
//!   strftime and the counting allocator in `confinement`.

mod boundary;
mod byte_level;
mod chat;
mod confinement;
mod failure;
mod gbnf;
mod gguf;
mod grammar;
mod grammar_boundary;
mod grammar_source;
mod json;
mod lexer_check;
mod mask_cache;
mod merging;
mod pieces;
mod pre_tokenizer;
mod python;
mod satisfiable;
mod specials;
mod spm;
mod vocabulary;
