//! Byte-level BPE vocabularies of GGUF files (`tokenizer.ggml.model` = "gpt2"). Tokens are written
//! in GPT-2's alphabet, which gives every byte a printable character ("Ġ" is a space).

use hashbrown::HashMap;

use crate::failure::Failure;
use crate::merging::{Merger, PairRule, Symbol, NO_TOKEN};
use crate::pre_tokenizer::PreTokenizer;
use crate::vocabulary::{Kind, Vocabulary};

/// Whether some token can only come about by merging: a vocabulary of single bytes has no merges,
/// any other without them has lost them.
fn needs_merges(vocabulary: &Vocabulary) -> bool {
    (0..vocabulary.len() as u32).any(|id| {
        let letters = String::from_utf8_lossy(vocabulary.text(id));
        vocabulary.kind(id) == Kind::Normal && letters.chars().nth(1).is_some()
    })
}

pub struct ByteLevel {
    pre_tokenizer: PreTokenizer,
    /// (left id, right id) → (rank, id of the joined token).
    merges: HashMap<(u32, u32), (u32, u32)>,
    byte_ids: [u32; 256],
}

impl ByteLevel {
    pub fn new<'a>(
        vocabulary: &Vocabulary,
        merges: impl ExactSizeIterator<Item = &'a [u8]>,
        pre: &str,
    ) -> Result<ByteLevel, Failure> {
        let pre_tokenizer = PreTokenizer::named(pre)?;
        if merges.len() == 0 && needs_merges(vocabulary) {
            return Err(Failure::new(
                "the model file has no merges (tokenizer.ggml.merges)",
                "",
            ));
        }
        let mut table = HashMap::with_capacity(merges.len());
        let mut joined = Vec::new();
        for (rank, merge) in merges.enumerate() {
            let (pair, id) = parse_merge(vocabulary, merge, &mut joined).ok_or_else(|| {
                Failure::new(
                    format!(
                        "merge {rank}, {:?}, is broken",
                        String::from_utf8_lossy(merge)
                    ),
                    "it must be two tokens, separated by a space, whose joined text is a token",
                )
            })?;
            table.entry(pair).or_insert((rank as u32, id));
        }
        let mut utf8 = [0; 4];
        let byte_ids = std::array::from_fn(|byte| {
            let letter = letter_of_byte(byte as u8).encode_utf8(&mut utf8);
            vocabulary.find(letter.as_bytes()).unwrap_or(NO_TOKEN)
        });
        Ok(ByteLevel {
            pre_tokenizer,
            merges: table,
            byte_ids,
        })
    }

    pub fn adds_bos_by_default(&self) -> bool {
        self.pre_tokenizer.add_bos
    }

    /// Appends the ids of a stretch of text without special tokens. A byte that the vocabulary
    /// lacks gives no token, and nothing merges across it.
    pub fn encode(&self, vocabulary: &Vocabulary, text: &str, out: &mut Vec<i32>) {
        let mut merger = Merger::default();
        let mut letters = String::new();
        self.pre_tokenizer.split(text, |word| {
            if self.pre_tokenizer.ignore_merges {
                letters.clear();
                letters.extend(word.bytes().map(letter_of_byte));
                if let Some(id) = vocabulary.find(letters.as_bytes()) {
                    out.push(id as i32);
                    return;
                }
            }
            merger.symbols.clear();
            merger
                .symbols
                .extend(word.bytes().enumerate().map(|(at, byte)| Symbol {
                    begin: at as u32,
                    len: 1,
                    id: self.byte_ids[byte as usize],
                }));
            merger.run(self);
            let alive = merger
                .symbols
                .iter()
                .filter(|s| s.len > 0 && s.id != NO_TOKEN);
            out.extend(alive.map(|symbol| symbol.id as i32));
        });
    }
}

impl PairRule for ByteLevel {
    fn rank(&self, left: &Symbol, right: &Symbol) -> Option<(u32, u32)> {
        self.merges.get(&(left.id, right.id)).copied()
    }
}

/// The pair and the joined token of a line such as "Ġ the". The first symbol may itself be a space.
fn parse_merge(
    vocabulary: &Vocabulary,
    merge: &[u8],
    joined: &mut Vec<u8>,
) -> Option<((u32, u32), u32)> {
    let at = 1 + memchr::memchr(b' ', merge.get(1..)?)?;
    let (left, right) = (&merge[..at], &merge[at + 1..]);
    joined.clear();
    joined.extend_from_slice(left);
    joined.extend_from_slice(right);
    let pair = (vocabulary.find(left)?, vocabulary.find(right)?);
    Some((pair, vocabulary.find(joined)?))
}

/// GPT-2's alphabet: printable Latin-1 characters stand for themselves, the 68 other bytes for
/// U+0100 onwards, in order.
pub fn letter_of_byte(byte: u8) -> char {
    let code = match byte {
        b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF => byte as u32,
        0..=0x20 => 0x100 + byte as u32,
        0x7F..=0xA0 => 0x121 + (byte as u32 - 0x7F),
        0xAD => 0x143,
    };
    char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER)
}

pub fn byte_of_letter(letter: char) -> Option<u8> {
    let code = letter as u32;
    match code {
        0x21..=0x7E | 0xA1..=0xAC | 0xAE..=0xFF => Some(code as u8),
        0x100..=0x120 => Some((code - 0x100) as u8),
        0x121..=0x142 => Some((code - 0x121 + 0x7F) as u8),
        0x143 => Some(0xAD),
        _ => None,
    }
}

/// The bytes that a token stands for; a character outside the alphabet stands for itself.
pub fn decode(text: &[u8], out: &mut Vec<u8>) {
    let mut utf8 = [0; 4];
    for letter in String::from_utf8_lossy(text).chars() {
        match byte_of_letter(letter) {
            Some(byte) => out.push(byte),
            None => out.extend_from_slice(letter.encode_utf8(&mut utf8).as_bytes()),
        }
    }
}
