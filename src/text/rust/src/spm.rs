//! SentencePiece vocabularies of GGUF files (`tokenizer.ggml.model` = "llama"), tokenised as
//! llama.cpp does it: characters, then neighbours merge wherever their joined text is a token,
//! the highest score first. What is no token in the end is spelt in byte tokens.
//! Spaces are U+2581 inside the vocabulary.

use crate::failure::Failure;
use crate::merging::{Merger, PairRule, Symbol, NO_TOKEN};
use crate::vocabulary::Vocabulary;

const SPACE: &[u8] = "\u{2581}".as_bytes();

pub struct Spm {
    /// Rank of each token: smaller for a higher score.
    ranks: Vec<u32>,
    /// The token that spells a byte, or the unknown token, or NO_TOKEN.
    byte_ids: [u32; 256],
    pub add_space_prefix: bool,
}

impl Spm {
    pub fn new(
        vocabulary: &Vocabulary,
        scores: &[f64],
        unk_id: i64,
        add_space_prefix: bool,
    ) -> Result<Spm, Failure> {
        if !scores.is_empty() && scores.len() < vocabulary.len() {
            return Err(Failure::new(
                format!(
                    "tokenizer.ggml.scores has {} entries for {} tokens",
                    scores.len(),
                    vocabulary.len()
                ),
                "",
            ));
        }
        let ranks = (0..vocabulary.len())
            .map(|id| rank_of_score(scores.get(id).copied().unwrap_or(0.0) as f32))
            .collect();
        let unknown = u32::try_from(unk_id)
            .ok()
            .filter(|&id| (id as usize) < vocabulary.len());
        let byte_ids = std::array::from_fn(|byte| {
            vocabulary
                .find(format!("<0x{byte:02X}>").as_bytes())
                .or_else(|| vocabulary.find(&[byte as u8]))
                .or(unknown)
                .unwrap_or(NO_TOKEN)
        });
        Ok(Spm {
            ranks,
            byte_ids,
            add_space_prefix,
        })
    }

    /// Appends the ids of a stretch of text without special tokens. `at_start`: nothing or a
    /// special token stands before it.
    pub fn encode(&self, vocabulary: &Vocabulary, text: &str, at_start: bool, out: &mut Vec<i32>) {
        let mut escaped = Vec::with_capacity(text.len() + text.len() / 2 + SPACE.len());
        if self.add_space_prefix && at_start {
            escaped.extend_from_slice(SPACE);
        }
        for &byte in text.as_bytes() {
            match byte {
                b' ' => escaped.extend_from_slice(SPACE),
                _ => escaped.push(byte),
            }
        }
        let mut merger = Merger::default();
        merger.symbols.reserve(escaped.len());
        let mut begin = 0;
        while begin < escaped.len() {
            let len = char_len(escaped[begin]);
            let id = vocabulary
                .find(&escaped[begin..begin + len])
                .unwrap_or(NO_TOKEN);
            merger.symbols.push(Symbol {
                begin: begin as u32,
                len: len as u32,
                id,
            });
            begin += len;
        }
        merger.run(&Rule {
            spm: self,
            vocabulary,
            text: &escaped,
        });
        for symbol in merger.symbols.iter().filter(|symbol| symbol.len > 0) {
            if symbol.id != NO_TOKEN {
                out.push(symbol.id as i32);
                continue;
            }
            let bytes = &escaped[symbol.begin as usize..][..symbol.len as usize];
            let ids = bytes.iter().map(|&byte| self.byte_ids[byte as usize]);
            out.extend(ids.filter(|&id| id != NO_TOKEN).map(|id| id as i32));
        }
    }

    /// The bytes that a normal token stands for.
    pub fn decode(text: &[u8], out: &mut Vec<u8>) {
        let mut rest = text;
        while let Some(at) = memchr::memmem::find(rest, SPACE) {
            out.extend_from_slice(&rest[..at]);
            out.push(b' ');
            rest = &rest[at + SPACE.len()..];
        }
        out.extend_from_slice(rest);
    }
}

struct Rule<'a> {
    spm: &'a Spm,
    vocabulary: &'a Vocabulary,
    text: &'a [u8],
}

impl PairRule for Rule<'_> {
    fn rank(&self, left: &Symbol, right: &Symbol) -> Option<(u32, u32)> {
        let joined = &self.text[left.begin as usize..(right.begin + right.len) as usize];
        let id = self.vocabulary.find(joined)?;
        Some((self.spm.ranks[id as usize], id))
    }
}

/// Maps floats to integers in reverse order, so that the highest score has the smallest rank.
fn rank_of_score(score: f32) -> u32 {
    let bits = (score + 0.0).to_bits(); // -0 and 0 are one score
    let ascending = if bits >> 31 == 1 {
        !bits
    } else {
        bits | 1 << 31
    };
    !ascending
}

fn char_len(first: u8) -> usize {
    match first {
        0..=0xBF => 1,
        0xC0..=0xDF => 2,
        0xE0..=0xEF => 3,
        _ => 4,
    }
}
