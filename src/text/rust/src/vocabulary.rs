//! The tokens of a GGUF file: one buffer of bytes, and an index from text to id that stores ids
//! only. 262,144 tokens load in tens of milliseconds because nothing is allocated per token.

use hashbrown::{DefaultHashBuilder, HashTable};
use std::hash::BuildHasher;

use crate::failure::Failure;

/// What `tokenizer.ggml.token_type` says of a token.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    Normal,
    Unknown,
    Control,
    UserDefined,
    Unused,
    Byte,
}

impl Kind {
    fn from_gguf(number: i64) -> Kind {
        match number {
            1 => Kind::Normal,
            2 => Kind::Unknown,
            3 => Kind::Control,
            4 => Kind::UserDefined,
            6 => Kind::Byte,
            _ => Kind::Unused,
        }
    }
}

/// Texts that end a turn or guide infilling. llama.cpp treats them as control tokens whatever the
/// file says, because some converters wrote them as normal ones; equal ids need the same habit.
const CONTROL_BY_NAME: &[&str] = &[
    "<|eot_id|>",
    "<|im_end|>",
    "<|end|>",
    "<|return|>",
    "<|call|>",
    "<|flush|>",
    "<|calls|>",
    "<end_of_turn>",
    "<|endoftext|>",
    "</s>",
    "<|eom_id|>",
    "<EOT>",
    "_<EOT>",
    "[EOT]",
    "[EOS]",
    "<|end_of_text|>",
    "<end_of_utterance>",
    "<eos>",
    "<turn|>",
    "<|tool_response>",
    "<｜end▁of▁sentence｜>",
    "<|fim_prefix|>",
    "<fim-prefix>",
    "<fim_prefix>",
    "<｜fim▁begin｜>",
    "<PRE>",
    "▁<PRE>",
    "<|fim_suffix|>",
    "<fim-suffix>",
    "<fim_suffix>",
    "<｜fim▁hole｜>",
    "<SUF>",
    "▁<SUF>",
    "<|fim_middle|>",
    "<fim-middle>",
    "<fim_middle>",
    "<｜fim▁end｜>",
    "<MID>",
    "▁<MID>",
    "<|fim_pad|>",
    "<fim-pad>",
    "<fim_pad>",
    "<PAD>",
    "[PAD]",
    "<|fim_repo|>",
    "<|repo_name|>",
    "<fim-repo>",
    "<REPO>",
    "<reponame>",
    "<|file_sep|>",
];

pub struct Vocabulary {
    bytes: Vec<u8>,
    ends: Vec<u32>,
    kinds: Vec<Kind>,
    index: HashTable<u32>,
    hasher: DefaultHashBuilder,
}

impl Vocabulary {
    /// `types` may be empty (all tokens are normal then).
    pub fn new<'a>(
        tokens: impl ExactSizeIterator<Item = &'a [u8]>,
        types: &[i64],
    ) -> Result<Vocabulary, Failure> {
        let count = tokens.len();
        if count == 0 {
            return Err(Failure::new(
                "the model file has no tokens (tokenizer.ggml.tokens)",
                "",
            ));
        }
        if count > i32::MAX as usize {
            return Err(Failure::new(
                format!("{count} tokens are more than an id can name"),
                "",
            ));
        }
        if !types.is_empty() && types.len() < count {
            return Err(Failure::new(
                format!(
                    "tokenizer.ggml.token_type has {} entries for {count} tokens",
                    types.len()
                ),
                "",
            ));
        }
        let mut vocabulary = Vocabulary {
            bytes: Vec::with_capacity(count * 8),
            ends: Vec::with_capacity(count),
            kinds: Vec::with_capacity(count),
            index: HashTable::with_capacity(count),
            hasher: DefaultHashBuilder::default(),
        };
        for (id, text) in tokens.enumerate() {
            vocabulary.push(id as u32, text, types.get(id).copied())?;
        }
        for name in CONTROL_BY_NAME {
            if let Some(id) = vocabulary.find(name.as_bytes()) {
                vocabulary.kinds[id as usize] = Kind::Control;
            }
        }
        Ok(vocabulary)
    }

    fn push(&mut self, id: u32, text: &[u8], kind: Option<i64>) -> Result<(), Failure> {
        // An empty token could match everywhere; llama.cpp gives it this name instead.
        let placeholder;
        let text = if text.is_empty() {
            placeholder = format!("[EMPTY_{id}]");
            placeholder.as_bytes()
        } else {
            text
        };
        if let Some(earlier) = self.find(text) {
            return Err(Failure::new(
                format!(
                    "tokens {earlier} and {id} are both {:?}",
                    String::from_utf8_lossy(text)
                ),
                "",
            ));
        }
        self.bytes.extend_from_slice(text);
        let end = i32::try_from(self.bytes.len())
            .map_err(|_| Failure::new("the tokens' text is longer than 2 GiB", ""))?;
        self.ends.push(end as u32);
        self.kinds.push(kind.map_or(Kind::Normal, Kind::from_gguf));
        let (bytes, ends, hasher) = (&self.bytes, &self.ends, &self.hasher);
        self.index
            .insert_unique(hasher.hash_one(text), id, |&other| {
                hasher.hash_one(slice_of(bytes, ends, other))
            });
        Ok(())
    }

    pub fn len(&self) -> usize {
        self.ends.len()
    }

    pub fn text(&self, id: u32) -> &[u8] {
        slice_of(&self.bytes, &self.ends, id)
    }

    pub fn kind(&self, id: u32) -> Kind {
        self.kinds[id as usize]
    }

    pub fn find(&self, text: &[u8]) -> Option<u32> {
        self.index
            .find(self.hasher.hash_one(text), |&id| self.text(id) == text)
            .copied()
    }

    /// Control and unknown tokens: no text of the model's answer.
    pub fn is_special(&self, id: u32) -> bool {
        matches!(self.kind(id), Kind::Control | Kind::Unknown)
    }
}

fn slice_of<'a>(bytes: &'a [u8], ends: &[u32], id: u32) -> &'a [u8] {
    let id = id as usize;
    let begin = if id == 0 { 0 } else { ends[id - 1] as usize };
    &bytes[begin..ends[id] as usize]
}
