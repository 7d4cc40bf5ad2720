//! The C functions of grammars (`weft_text.h`).
#![allow(clippy::missing_safety_doc)]

use std::time::Duration;

use crate::boundary::{array, bytes, guarded, text, Handle, WeftError, WeftSlice};
use crate::failure::Failure;
use crate::grammar::{Grammar, Grammars, Limits, Matcher};
use crate::grammar_source::Kind;
use crate::pieces::Pieces;

#[repr(C)]
pub struct WeftGrammarLimits {
    source_bytes: i64,
    depth: i64,
    compile_ms: i64,
    grammar_bytes: i64,
    json_blanks: i64,
}

impl From<&WeftGrammarLimits> for Limits {
    fn from(limits: &WeftGrammarLimits) -> Limits {
        let size = |value: i64| usize::try_from(value).unwrap_or(0);
        Limits {
            source_bytes: size(limits.source_bytes),
            depth: size(limits.depth),
            time: Duration::from_millis(size(limits.compile_ms) as u64),
            bytes: size(limits.grammar_bytes),
            json_blanks: size(limits.json_blanks),
        }
    }
}

#[repr(C)]
pub struct WeftVocabulary {
    bytes: WeftSlice,
    ends: *const i32,
    num_tokens: usize,
    special: WeftSlice,
    vocab_size: i64,
    end_ids: *const i32,
    num_end_ids: usize,
    matcher_bytes: i64,
}

#[no_mangle]
pub unsafe extern "C" fn weft_grammars_new(
    vocabulary: *const WeftVocabulary,
    out: *mut *mut Grammars,
    error: *mut WeftError,
) -> i32 {
    guarded(out.cast::<Handle<Grammars>>(), error, || {
        let given = &*vocabulary;
        let vocab_size = usize::try_from(given.vocab_size)
            .ok()
            .filter(|&size| size >= given.num_tokens)
            .ok_or_else(|| Failure::new("the tokenizer has more ids than the model", ""))?;
        let pieces = Pieces {
            bytes: bytes(given.bytes).to_vec(),
            ends: array(given.ends, given.num_tokens).to_vec(),
            special: bytes(given.special).to_vec(),
            strips_leading_space: false,
        };
        let end_ids = array(given.end_ids, given.num_end_ids);
        Grammars::new(&pieces, vocab_size, end_ids, given.matcher_bytes)
    })
}

#[no_mangle]
pub unsafe extern "C" fn weft_grammars_free(grammars: *mut Grammars) {
    if !grammars.is_null() {
        drop(Box::from_raw(grammars));
    }
}

#[no_mangle]
pub unsafe extern "C" fn weft_grammar_compile(
    grammars: *const Grammars,
    kind: i32,
    source: WeftSlice,
    frame: WeftSlice,
    limits: *const WeftGrammarLimits,
    out: *mut *mut Grammar,
    error: *mut WeftError,
) -> i32 {
    guarded(out.cast::<Handle<Grammar>>(), error, || {
        let kind = match kind {
            0 => Kind::JsonSchema,
            1 => Kind::JsonObject,
            2 => Kind::Regex,
            3 => Kind::Choice,
            _ => Kind::Lark,
        };
        (*grammars).compile(
            kind,
            text(source, "the grammar")?,
            text(frame, "the frame of the grammar")?,
            Limits::from(&*limits),
        )
    })
}

#[no_mangle]
pub unsafe extern "C" fn weft_grammar_bytes(grammar: *const Grammar) -> i64 {
    (*grammar).bytes
}

#[no_mangle]
pub unsafe extern "C" fn weft_grammar_learned_bytes(grammar: *const Grammar) -> i64 {
    (*grammar).learned_bytes()
}

#[no_mangle]
pub unsafe extern "C" fn weft_grammar_free(grammar: *mut Grammar) {
    if !grammar.is_null() {
        drop(Box::from_raw(grammar));
    }
}

#[no_mangle]
pub unsafe extern "C" fn weft_matcher_new(
    grammar: *const Grammar,
    out: *mut *mut Matcher,
    error: *mut WeftError,
) -> i32 {
    guarded(out.cast::<Handle<Matcher>>(), error, || {
        (*grammar).matcher()
    })
}

#[no_mangle]
pub unsafe extern "C" fn weft_matcher_copy(
    matcher: *const Matcher,
    out: *mut *mut Matcher,
    error: *mut WeftError,
) -> i32 {
    guarded(out.cast::<Handle<Matcher>>(), error, || {
        (*matcher).copy()
    })
}

#[no_mangle]
pub unsafe extern "C" fn weft_matcher_free(matcher: *mut Matcher) {
    if !matcher.is_null() {
        drop(Box::from_raw(matcher));
    }
}

#[no_mangle]
pub unsafe extern "C" fn weft_matcher_fill(
    matcher: *mut Matcher,
    mask: *mut u32,
    num_words: usize,
    error: *mut WeftError,
) -> i32 {
    guarded(&mut (), error, || {
        (*matcher).fill(std::slice::from_raw_parts_mut(mask, num_words))
    })
}

#[no_mangle]
pub unsafe extern "C" fn weft_matcher_advance(
    matcher: *mut Matcher,
    id: i32,
    out: *mut i32,
    error: *mut WeftError,
) -> i32 {
    guarded(out, error, || Ok((*matcher).advance(id)? as i32))
}

#[no_mangle]
pub unsafe extern "C" fn weft_matcher_take_back(
    matcher: *mut Matcher,
    count: usize,
    error: *mut WeftError,
) -> i32 {
    guarded(&mut (), error, || (*matcher).take_back(count))
}

#[no_mangle]
pub unsafe extern "C" fn weft_matcher_may_end(
    matcher: *mut Matcher,
    out: *mut i32,
    error: *mut WeftError,
) -> i32 {
    guarded(out, error, || Ok((*matcher).may_end()? as i32))
}

#[no_mangle]
pub unsafe extern "C" fn weft_matcher_must_end(matcher: *mut Matcher) -> i32 {
    (*matcher).must_end() as i32
}
