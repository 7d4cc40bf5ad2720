//! `tokenizer.json`, through Hugging Face `tokenizers`.

use std::sync::OnceLock;

use serde_json::Value;
use tokenizers::Tokenizer;

use crate::byte_level;
use crate::failure::Failure;
use crate::pieces::{byte_of_token, Pieces};

pub struct JsonTokenizer {
    /// Reads special tokens in the text.
    parsing: Tokenizer,
    /// Spells them out instead; made when it is first asked for.
    plain: OnceLock<Tokenizer>,
    decoder: Decoder,
    description: String,
}

impl JsonTokenizer {
    pub fn new(json: &[u8]) -> Result<JsonTokenizer, Failure> {
        let broken = |why: String| Failure::new("tokenizer.json cannot be read", why);
        let mut parsing = Tokenizer::from_bytes(json).map_err(|error| broken(error.to_string()))?;
        // Settings of the training run, which transformers ignores as well.
        parsing
            .with_truncation(None)
            .map_err(|error| broken(error.to_string()))?;
        parsing.with_padding(None);
        let document: Value =
            serde_json::from_slice(json).map_err(|error| broken(error.to_string()))?;
        let decoder = Decoder::read(&document["decoder"])?;
        let model = document["model"]["type"].as_str().unwrap_or("BPE");
        Ok(JsonTokenizer {
            parsing,
            plain: OnceLock::new(),
            decoder,
            description: format!("tokenizer.json {model}"),
        })
    }

    pub fn encode(
        &self,
        text: &str,
        add_special: bool,
        parse_special: bool,
    ) -> Result<Vec<i32>, Failure> {
        let tokenizer = if parse_special {
            &self.parsing
        } else {
            self.plain()
        };
        let encoding = tokenizer
            .encode_fast(text, add_special)
            .map_err(|error| Failure::new("the text cannot be tokenised", error.to_string()))?;
        Ok(encoding.get_ids().iter().map(|&id| id as i32).collect())
    }

    fn plain(&self) -> &Tokenizer {
        self.plain.get_or_init(|| {
            let mut plain = self.parsing.clone();
            plain.set_encode_special_tokens(true);
            plain
        })
    }

    pub fn find(&self, text: &[u8]) -> Option<u32> {
        self.parsing.token_to_id(std::str::from_utf8(text).ok()?)
    }

    pub fn description(&self) -> &str {
        &self.description
    }

    /// Ids that no token has give nothing.
    pub fn pieces(&self) -> Result<Pieces, Failure> {
        let mut texts: Vec<Option<String>> = Vec::new();
        for (text, id) in self.parsing.get_vocab(true) {
            let id = id as usize;
            if id >= 1 << 24 {
                return Err(Failure::new(
                    format!("tokenizer.json has a token with id {id}"),
                    "",
                ));
            }
            if texts.len() <= id {
                texts.resize(id + 1, None);
            }
            texts[id] = Some(text);
        }
        let added = self.parsing.get_added_tokens_decoder();
        let mut pieces = Pieces::with_capacity(texts.len());
        for (id, text) in texts.iter().enumerate() {
            let added = added.get(&(id as u32));
            match (text, added) {
                (_, Some(token)) => pieces.bytes.extend_from_slice(token.content.as_bytes()),
                (Some(text), None) => self.decoder.decode(text, &mut pieces.bytes),
                (None, None) => {}
            }
            pieces.close(added.is_some_and(|token| token.special));
        }
        pieces.strips_leading_space = self.decoder.strips_leading_space;
        Ok(pieces)
    }
}

/// What the decoder of tokenizer.json does to one token. Whole-text decoders (WordPiece, CTC) have
/// no bytes per token and are refused.
#[derive(Default)]
struct Decoder {
    byte_level: bool,
    byte_fallback: bool,
    replacements: Vec<(String, String)>,
    strips_leading_space: bool,
}

impl Decoder {
    fn read(json: &Value) -> Result<Decoder, Failure> {
        let mut decoder = Decoder::default();
        decoder.add(json)?;
        Ok(decoder)
    }

    fn add(&mut self, json: &Value) -> Result<(), Failure> {
        let text = |key: &str| json[key].as_str().unwrap_or_default().to_string();
        match json["type"].as_str() {
            None if json.is_null() => {}
            Some("Sequence") => {
                for part in json["decoders"].as_array().into_iter().flatten() {
                    self.add(part)?;
                }
            }
            Some("ByteLevel") => self.byte_level = true,
            Some("ByteFallback") => self.byte_fallback = true,
            Some("Fuse") => {}
            Some("Replace") => {
                let pattern = json["pattern"]["String"].as_str().ok_or_else(|| {
                    Failure::new(
                        "tokenizer.json has a decoder with a pattern",
                        "not supported",
                    )
                })?;
                self.replacements
                    .push((pattern.to_string(), text("content")));
            }
            Some("Metaspace") => {
                self.replacements.push((text("replacement"), " ".into()));
                let never = json["prepend_scheme"] == "never" || json["add_prefix_space"] == false;
                self.strips_leading_space = !never;
            }
            Some("Strip") => {
                let starts = json["start"].as_u64() == Some(1) && text("content") == " ";
                self.strips_leading_space |= starts;
            }
            other => {
                return Err(Failure::new(
                    format!(
                        "tokenizer.json has the unknown decoder {}",
                        other.unwrap_or("?")
                    ),
                    "known are ByteLevel, ByteFallback, Replace, Fuse, Strip, Metaspace, Sequence",
                ))
            }
        }
        Ok(())
    }

    fn decode(&self, token: &str, out: &mut Vec<u8>) {
        if self.byte_level {
            // One character outside the alphabet, and `tokenizers` takes the token as it is.
            if token
                .chars()
                .all(|letter| byte_level::byte_of_letter(letter).is_some())
            {
                byte_level::decode(token.as_bytes(), out);
            } else {
                out.extend_from_slice(token.as_bytes());
            }
            return;
        }
        if let Some(byte) = byte_of_token(token.as_bytes()).filter(|_| self.byte_fallback) {
            out.push(byte);
            return;
        }
        let text = self
            .replacements
            .iter()
            .fold(token.to_string(), |text, (from, to)| {
                text.replace(from.as_str(), to)
            });
        out.extend_from_slice(text.as_bytes());
    }
}
