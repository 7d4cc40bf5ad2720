//! The tokenizer that a GGUF file describes, equal to llama.cpp's.

use crate::byte_level::{self, ByteLevel};
use crate::failure::Failure;
use crate::pieces::Pieces;
use crate::specials::{Fragment, Specials};
use crate::spm::Spm;
use crate::vocabulary::{Kind, Vocabulary};

/// `tokenizer.ggml.*`; None where the file says nothing.
pub struct Settings<'a> {
    pub model: &'a str,
    pub pre: &'a str,
    pub scores: &'a [f64],
    pub bos_id: Option<i64>,
    pub eos_id: Option<i64>,
    pub unk_id: Option<i64>,
    pub add_bos: Option<bool>,
    pub add_eos: Option<bool>,
    pub add_space_prefix: Option<bool>,
}

enum Model {
    ByteLevel(ByteLevel),
    Spm(Spm),
}

pub struct GgufTokenizer {
    vocabulary: Vocabulary,
    specials: Specials,
    model: Model,
    bos: Option<i32>,
    eos: Option<i32>,
    description: String,
}

impl GgufTokenizer {
    pub fn new<'a>(
        vocabulary: Vocabulary,
        merges: impl ExactSizeIterator<Item = &'a [u8]>,
        settings: &Settings,
    ) -> Result<GgufTokenizer, Failure> {
        // Files without `pre` were written before the key existed; llama.cpp uses its default too.
        let pre = match settings.pre {
            "" => "default",
            pre => pre,
        };
        let model =
            match settings.model {
                "gpt2" => Model::ByteLevel(ByteLevel::new(&vocabulary, merges, pre)?),
                "llama" => Model::Spm(Spm::new(
                    &vocabulary,
                    settings.scores,
                    settings.unk_id.unwrap_or(0),
                    settings.add_space_prefix.unwrap_or(true),
                )?),
                other => return Err(Failure::new(
                    format!(
                        "the model wants the unknown tokenizer {other:?} (tokenizer.ggml.model)"
                    ),
                    "known are gpt2 (byte-level BPE) and llama (SentencePiece)",
                )),
            };
        // llama.cpp's defaults.
        let (bos, eos, adds_bos) = match &model {
            Model::ByteLevel(model) => (None, None, model.adds_bos_by_default()),
            Model::Spm(_) => (Some(1), Some(2), true),
        };
        let adds_bos = settings.add_bos.unwrap_or(adds_bos);
        let adds_eos = settings.add_eos.unwrap_or(false);
        Ok(GgufTokenizer {
            bos: added_token("BOS", adds_bos, settings.bos_id.or(bos), vocabulary.len())?,
            eos: added_token("EOS", adds_eos, settings.eos_id.or(eos), vocabulary.len())?,
            description: format!("{}/{pre}", settings.model),
            specials: Specials::new(&vocabulary)?,
            vocabulary,
            model,
        })
    }

    pub fn encode(&self, text: &str, add_special: bool, parse_special: bool) -> Vec<i32> {
        let mut ids = Vec::with_capacity(text.len() / 3 + 2);
        if add_special {
            ids.extend(self.bos);
        }
        let mut at_start = true;
        for fragment in self.specials.split(&self.vocabulary, text, parse_special) {
            match fragment {
                Fragment::Token(id) => ids.push(id as i32),
                Fragment::Text(piece) => match &self.model {
                    Model::ByteLevel(model) => model.encode(&self.vocabulary, piece, &mut ids),
                    Model::Spm(model) => model.encode(&self.vocabulary, piece, at_start, &mut ids),
                },
            }
            at_start = matches!(fragment, Fragment::Token(_));
        }
        if add_special {
            ids.extend(self.eos);
        }
        ids
    }

    pub fn find(&self, text: &[u8]) -> Option<u32> {
        self.vocabulary.find(text)
    }

    pub fn description(&self) -> &str {
        &self.description
    }

    pub fn pieces(&self) -> Pieces {
        let mut pieces = Pieces::with_capacity(self.vocabulary.len());
        for id in 0..self.vocabulary.len() as u32 {
            self.decode(id, &mut pieces.bytes);
            pieces.close(self.vocabulary.is_special(id));
        }
        pieces.strips_leading_space = match &self.model {
            Model::ByteLevel(_) => false,
            Model::Spm(model) => model.add_space_prefix,
        };
        pieces
    }

    fn decode(&self, id: u32, out: &mut Vec<u8>) {
        let text = self.vocabulary.text(id);
        match (self.vocabulary.kind(id), &self.model) {
            (Kind::Control | Kind::Unknown | Kind::UserDefined, _) => out.extend_from_slice(text),
            (Kind::Normal, Model::ByteLevel(_)) => byte_level::decode(text, out),
            (Kind::Normal, Model::Spm(_)) => Spm::decode(text, out),
            (Kind::Byte, _) => out.extend(crate::pieces::byte_of_token(text)),
            (Kind::Unused, _) => {}
        }
    }
}

/// The token that every text gets, where the model wants one.
fn added_token(
    name: &str,
    wanted: bool,
    id: Option<i64>,
    num_tokens: usize,
) -> Result<Option<i32>, Failure> {
    match id {
        _ if !wanted => Ok(None),
        Some(id) if id >= 0 && (id as usize) < num_tokens => Ok(Some(id as i32)),
        Some(id) => Err(Failure::new(
            format!("the model adds {name}, which is token {id} of {num_tokens}"),
            "",
        )),
        None => Err(Failure::new(
            format!("the model adds {name}, but the file names no such token"),
            "",
        )),
    }
}
