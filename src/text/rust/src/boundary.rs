//! The C functions of `weft_text.h`, which states their contract. Each turns pointers into slices,
//! runs safe code under `catch_unwind` and hands out the result or the error.
#![allow(clippy::missing_safety_doc)]

use std::panic::{catch_unwind, AssertUnwindSafe};

use crate::chat::{self, ChatTemplate, WeftTemplateLimits};
use crate::failure::Failure;
use crate::gguf::{GgufTokenizer, Settings};
use crate::json::JsonTokenizer;
use crate::pieces::Pieces;
use crate::vocabulary::Vocabulary;

pub enum WeftTokenizer {
    Gguf(Box<GgufTokenizer>),
    Json(Box<JsonTokenizer>),
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct WeftSlice {
    data: *const u8,
    size: usize,
}

#[repr(C)]
pub struct WeftBytes {
    data: *mut u8,
    size: usize,
    capacity: usize,
}

#[repr(C)]
pub struct WeftIds {
    data: *mut i32,
    size: usize,
    capacity: usize,
}

#[repr(C)]
pub struct WeftError {
    what: WeftBytes,
    why: WeftBytes,
}

#[repr(C)]
pub struct WeftPieces {
    bytes: WeftBytes,
    ends: WeftIds,
    special: WeftBytes,
    strips_leading_space: i32,
}

#[repr(C)]
pub struct WeftGgufVocab {
    model: WeftSlice,
    pre: WeftSlice,
    tokens: *const WeftSlice,
    num_tokens: usize,
    scores: *const f64,
    num_scores: usize,
    token_types: *const i64,
    num_token_types: usize,
    merges: *const WeftSlice,
    num_merges: usize,
    bos_id: i64,
    eos_id: i64,
    unk_id: i64,
    add_bos: i8,
    add_eos: i8,
    add_space_prefix: i8,
}

/// A borrowed array; a null pointer is an empty one.
pub unsafe fn array<'a, T>(data: *const T, size: usize) -> &'a [T] {
    if data.is_null() || size == 0 {
        &[]
    } else {
        std::slice::from_raw_parts(data, size)
    }
}

pub unsafe fn bytes<'a>(slice: WeftSlice) -> &'a [u8] {
    array(slice.data, slice.size)
}

pub unsafe fn text<'a>(slice: WeftSlice, name: &str) -> Result<&'a str, Failure> {
    std::str::from_utf8(bytes(slice)).map_err(|_| Failure::new(format!("{name} is not UTF-8"), ""))
}

impl From<Vec<u8>> for WeftBytes {
    fn from(vector: Vec<u8>) -> WeftBytes {
        let mut vector = std::mem::ManuallyDrop::new(vector);
        WeftBytes {
            data: vector.as_mut_ptr(),
            size: vector.len(),
            capacity: vector.capacity(),
        }
    }
}

impl From<Vec<i32>> for WeftIds {
    fn from(vector: Vec<i32>) -> WeftIds {
        let mut vector = std::mem::ManuallyDrop::new(vector);
        WeftIds {
            data: vector.as_mut_ptr(),
            size: vector.len(),
            capacity: vector.capacity(),
        }
    }
}

/// Runs `body`; its value goes to `out`, its error or panic to `error`. Returns 0, 1 for an error,
/// or 2 for one that says: later.
pub unsafe fn guarded<T, R: From<T>>(
    out: *mut R,
    error: *mut WeftError,
    body: impl FnOnce() -> Result<T, Failure>,
) -> i32 {
    let failure = match catch_unwind(AssertUnwindSafe(body)) {
        Ok(Ok(value)) => {
            out.write(R::from(value));
            return 0;
        }
        Ok(Err(failure)) => failure,
        Err(panic) => {
            let message = panic
                .downcast_ref::<&str>()
                .map(|text| text.to_string())
                .or_else(|| panic.downcast_ref::<String>().cloned());
            Failure::new("the text library stopped", message.unwrap_or_default())
        }
    };
    error.write(WeftError {
        what: failure.what.into_bytes().into(),
        why: failure.why.into_bytes().into(),
    });
    if failure.is_busy {
        2
    } else {
        1
    }
}

#[repr(transparent)]
pub struct Handle<T>(*mut T);

impl<T> From<T> for Handle<T> {
    fn from(value: T) -> Handle<T> {
        Handle(Box::into_raw(Box::new(value)))
    }
}

#[no_mangle]
pub unsafe extern "C" fn weft_tokenizer_from_json(
    json: WeftSlice,
    out: *mut *mut WeftTokenizer,
    error: *mut WeftError,
) -> i32 {
    guarded(out.cast::<Handle<WeftTokenizer>>(), error, || {
        Ok(WeftTokenizer::Json(Box::new(JsonTokenizer::new(bytes(
            json,
        ))?)))
    })
}

#[no_mangle]
pub unsafe extern "C" fn weft_tokenizer_from_gguf(
    vocab: *const WeftGgufVocab,
    out: *mut *mut WeftTokenizer,
    error: *mut WeftError,
) -> i32 {
    guarded(out.cast::<Handle<WeftTokenizer>>(), error, || {
        let vocab = &*vocab;
        let id = |id: i64| (id >= 0).then_some(id);
        let flag = |flag: i8| (flag >= 0).then_some(flag != 0);
        let settings = Settings {
            model: text(vocab.model, "tokenizer.ggml.model")?,
            pre: text(vocab.pre, "tokenizer.ggml.pre")?,
            scores: array(vocab.scores, vocab.num_scores),
            bos_id: id(vocab.bos_id),
            eos_id: id(vocab.eos_id),
            unk_id: id(vocab.unk_id),
            add_bos: flag(vocab.add_bos),
            add_eos: flag(vocab.add_eos),
            add_space_prefix: flag(vocab.add_space_prefix),
        };
        let slices = |data, size| array::<WeftSlice>(data, size).iter().map(|&s| bytes(s));
        let vocabulary = Vocabulary::new(
            slices(vocab.tokens, vocab.num_tokens),
            array(vocab.token_types, vocab.num_token_types),
        )?;
        let merges = slices(vocab.merges, vocab.num_merges);
        let tokenizer = GgufTokenizer::new(vocabulary, merges, &settings)?;
        Ok(WeftTokenizer::Gguf(Box::new(tokenizer)))
    })
}

#[no_mangle]
pub unsafe extern "C" fn weft_tokenizer_free(tokenizer: *mut WeftTokenizer) {
    if !tokenizer.is_null() {
        drop(Box::from_raw(tokenizer));
    }
}

#[no_mangle]
pub unsafe extern "C" fn weft_tokenizer_encode(
    tokenizer: *const WeftTokenizer,
    utf8: WeftSlice,
    add_special: i32,
    parse_special: i32,
    out: *mut WeftIds,
    error: *mut WeftError,
) -> i32 {
    guarded(out, error, || {
        let text = text(utf8, "the text")?;
        // Places are 32 bits wide, and escaping triples a space.
        if text.len() > (i32::MAX / 3) as usize {
            return Err(Failure::new(
                format!("a text of {} bytes is too long", text.len()),
                "",
            ));
        }
        match &*tokenizer {
            WeftTokenizer::Gguf(gguf) => {
                Ok(gguf.encode(text, add_special != 0, parse_special != 0))
            }
            WeftTokenizer::Json(json) => json.encode(text, add_special != 0, parse_special != 0),
        }
    })
}

impl From<Pieces> for WeftPieces {
    fn from(pieces: Pieces) -> WeftPieces {
        WeftPieces {
            bytes: pieces.bytes.into(),
            ends: pieces.ends.into(),
            special: pieces.special.into(),
            strips_leading_space: pieces.strips_leading_space as i32,
        }
    }
}

#[no_mangle]
pub unsafe extern "C" fn weft_tokenizer_pieces(
    tokenizer: *const WeftTokenizer,
    out: *mut WeftPieces,
    error: *mut WeftError,
) -> i32 {
    guarded(out, error, || match &*tokenizer {
        WeftTokenizer::Gguf(gguf) => Ok(gguf.pieces()),
        WeftTokenizer::Json(json) => json.pieces(),
    })
}

#[no_mangle]
pub unsafe extern "C" fn weft_tokenizer_describe(
    tokenizer: *const WeftTokenizer,
    out: *mut WeftBytes,
    error: *mut WeftError,
) -> i32 {
    guarded(out, error, || {
        let description = match &*tokenizer {
            WeftTokenizer::Gguf(gguf) => gguf.description(),
            WeftTokenizer::Json(json) => json.description(),
        };
        Ok(description.as_bytes().to_vec())
    })
}

#[no_mangle]
pub unsafe extern "C" fn weft_tokenizer_find(
    tokenizer: *const WeftTokenizer,
    text: WeftSlice,
) -> i32 {
    let found = catch_unwind(AssertUnwindSafe(|| match &*tokenizer {
        WeftTokenizer::Gguf(gguf) => gguf.find(bytes(text)),
        WeftTokenizer::Json(json) => json.find(bytes(text)),
    }));
    found.ok().flatten().map_or(-1, |id| id as i32)
}

#[no_mangle]
pub unsafe extern "C" fn weft_template_compile(
    source: WeftSlice,
    bos_token: WeftSlice,
    eos_token: WeftSlice,
    out: *mut *mut ChatTemplate,
    error: *mut WeftError,
) -> i32 {
    guarded(out.cast::<Handle<ChatTemplate>>(), error, || {
        ChatTemplate::compile(
            text(source, "the chat template")?,
            &String::from_utf8_lossy(bytes(bos_token)),
            &String::from_utf8_lossy(bytes(eos_token)),
        )
    })
}

#[no_mangle]
pub extern "C" fn weft_template_limits() -> WeftTemplateLimits {
    chat::LIMITS
}

#[no_mangle]
pub unsafe extern "C" fn weft_template_free(compiled: *mut ChatTemplate) {
    if !compiled.is_null() {
        drop(Box::from_raw(compiled));
    }
}

#[no_mangle]
pub unsafe extern "C" fn weft_template_render(
    compiled: *const ChatTemplate,
    messages: WeftSlice,
    add_generation_prompt: i32,
    extra: WeftSlice,
    out: *mut WeftBytes,
    error: *mut WeftError,
) -> i32 {
    guarded(out, error, || {
        let rendered =
            (*compiled).render(bytes(messages), add_generation_prompt != 0, bytes(extra))?;
        Ok(rendered.into_bytes())
    })
}

#[no_mangle]
pub unsafe extern "C" fn weft_bytes_free(bytes: WeftBytes) {
    if !bytes.data.is_null() {
        drop(Vec::from_raw_parts(bytes.data, bytes.size, bytes.capacity));
    }
}

#[no_mangle]
pub unsafe extern "C" fn weft_ids_free(ids: WeftIds) {
    if !ids.data.is_null() {
        drop(Vec::from_raw_parts(ids.data, ids.size, ids.capacity));
    }
}

#[no_mangle]
pub unsafe extern "C" fn weft_error_free(error: WeftError) {
    weft_bytes_free(error.what);
    weft_bytes_free(error.why);
}
