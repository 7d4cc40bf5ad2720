//! Tokenizers and chat templates behind the C interface of `weft_text.h`.
//!
//! - `gguf`: the tokenizer that a GGUF file describes: `vocabulary` (ids and texts), `specials`
//!   (cut out first), then `byte_level` (with `pre_tokenizer`) or `spm`, both on `merging`.
//! - `json`: tokenizer.json, through Hugging Face `tokenizers`.
//! - `chat`: chat templates, through minijinja, with `python`'s way of writing values.
//! - `confinement`: bounded memory, stack and time for what a template does.
//! - `boundary`: the C functions. All `unsafe` code is there, but one call of strftime and the
//!   counting allocator in `confinement`.

mod boundary;
mod byte_level;
mod chat;
mod confinement;
mod failure;
mod gguf;
mod json;
mod merging;
mod pieces;
mod pre_tokenizer;
mod python;
mod specials;
mod spm;
mod vocabulary;
