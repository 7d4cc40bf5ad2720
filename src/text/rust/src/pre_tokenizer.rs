//! How text is cut into words before byte-level BPE, by the name in `tokenizer.ggml.pre`.
//!
//! The patterns are those of llama.cpp. Each is a chain of stages: a stage cuts the pieces of the
//! stage before into matches and the gaps between them. Their only look-ahead, `\s+(?!\S)`, is
//! "whitespace, but leave the last character to a word that follows", so it is written as a second
//! pattern `\s+` whose match is shortened afterwards: the engine then needs no backtracking, and a
//! megabyte of spaces costs linear time.

use regex_automata::meta::Regex;

use crate::failure::Failure;

pub struct PreTokenizer {
    stages: Vec<Stage>,
    /// A word that is a token as a whole is not merged from its bytes.
    pub ignore_merges: bool,
    /// Default of `tokenizer.ggml.add_bos_token`.
    pub add_bos: bool,
}

struct Stage {
    regex: Regex,
}

/// Which of a stage's patterns is the whitespace that gives its last character back.
const WHITESPACE: usize = 1;

const GPT2: &str = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+";
const CONTRACTIONS: &str = "(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])";

/// The family of words, marks and line ends that began with Llama 3: `word` matches words,
/// `number` numbers, `tail` is what may follow a run of marks.
fn modern(word: &str, number: &str, tail: &str) -> String {
    format!(r"{word}|{number}| ?[^\s\p{{L}}\p{{N}}]+[{tail}]*|\s*[\r\n]+")
}

fn llama3(number: &str) -> String {
    let word = format!(r"{CONTRACTIONS}|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+");
    modern(&word, number, r"\r\n")
}

/// Words that begin anew at a capital. llama.cpp approximates the original classes: "not a-z" for
/// upper and "not A-Z" for lower case.
fn cased(number: &str, ending: &str) -> String {
    let (start, upper, lower) = (r"[^\r\n\p{L}\p{N}]?", r"[\p{L}--[a-z]]", r"[\p{L}--[A-Z]]");
    let word = format!("{start}{upper}*{lower}+{ending}|{start}{upper}+{lower}*{ending}");
    modern(&word, number, r"\r\n/")
}

struct Entry {
    names: &'static [&'static str],
    stages: fn() -> Vec<String>,
    ignore_merges: bool,
    add_bos: bool,
}

const ENTRIES: &[Entry] = &[
    Entry {
        names: &["default"],
        stages: || {
            vec![
                r"[\p{P}\$\+<=>\^~\|]+".into(),
                GPT2.into(),
                r"\p{N}+".into(),
                "[0-9][0-9][0-9]".into(),
            ]
        },
        ignore_merges: false,
        add_bos: false,
    },
    Entry {
        names: &[
            "gpt-2", "phi-2", "gigachat", "mellum", "exaone4", "mpt", "olmo", "jais", "trillion",
        ],
        stages: || vec![GPT2.into()],
        ignore_merges: false,
        add_bos: false,
    },
    Entry {
        names: &[
            "smollm",
            "starcoder",
            "refact",
            "command-r",
            "codeshell",
            "exaone",
            "minerva-7b",
        ],
        stages: || vec![r"\p{N}".into(), GPT2.into()],
        ignore_merges: false,
        add_bos: false,
    },
    Entry {
        names: &[
            "llama-bpe",
            "llama3",
            "llama-v3",
            "falcon3",
            "falcon-h1",
            "pixtral",
            "lfm2",
        ],
        stages: || vec![llama3(r"\p{N}{1,3}")],
        ignore_merges: true,
        add_bos: true,
    },
    Entry {
        names: &["dbrx", "smaug-bpe", "chatglm-bpe", "glm4"],
        stages: || vec![llama3(r"\p{N}{1,3}")],
        ignore_merges: false,
        add_bos: false,
    },
    Entry {
        names: &[
            "qwen2",
            "deepseek-r1-qwen",
            "megrez",
            "stablelm2",
            "hunyuan",
        ],
        stages: || vec![llama3(r"\p{N}")],
        ignore_merges: false,
        add_bos: false,
    },
    Entry {
        names: &["tekken"],
        stages: || vec![cased(r"\p{N}", "")],
        ignore_merges: true,
        add_bos: true,
    },
    Entry {
        names: &["gpt-4o", "llama4"],
        stages: || vec![cased(r"\p{N}{1,3}", &format!("{CONTRACTIONS}?"))],
        ignore_merges: false,
        add_bos: false,
    },
];

impl PreTokenizer {
    pub fn named(name: &str) -> Result<PreTokenizer, Failure> {
        let entry =
            ENTRIES
                .iter()
                .find(|entry| entry.names.contains(&name))
                .ok_or_else(|| {
                    let known: Vec<&str> = ENTRIES
                        .iter()
                        .flat_map(|e| e.names.iter().copied())
                        .collect();
                    Failure::new(
                format!("the model wants the unknown pre-tokenizer {name:?} (tokenizer.ggml.pre)"),
                format!("known are {}", known.join(", ")),
            )
                })?;
        let stages = (entry.stages)()
            .iter()
            .map(|pattern| Stage::new(pattern))
            .collect::<Result<Vec<Stage>, Failure>>()?;
        Ok(PreTokenizer {
            stages,
            ignore_merges: entry.ignore_merges,
            add_bos: entry.add_bos,
        })
    }

    /// Calls `emit` with every word of the text, in order; the words joined are the text.
    pub fn split<'t>(&self, text: &'t str, mut emit: impl FnMut(&'t str)) {
        split_from(&self.stages, text, &mut emit);
    }
}

fn split_from<'t>(stages: &[Stage], text: &'t str, emit: &mut dyn FnMut(&'t str)) {
    match stages.split_first() {
        None => emit(text),
        Some((stage, rest)) => stage.split(text, &mut |piece| split_from(rest, piece, emit)),
    }
}

impl Stage {
    fn new(pattern: &str) -> Result<Stage, Failure> {
        let whitespace: &[&str] = if pattern.contains(r"\s") {
            &[r"\s+"]
        } else {
            &[]
        };
        let patterns: Vec<&str> = std::iter::once(pattern)
            .chain(whitespace.iter().copied())
            .collect();
        let regex = Regex::new_many(&patterns).map_err(|error| {
            Failure::new("a pre-tokenizer's pattern is broken", error.to_string())
        })?;
        Ok(Stage { regex })
    }

    fn split<'t>(&self, text: &'t str, emit: &mut dyn FnMut(&'t str)) {
        let mut input = regex_automata::Input::new(text);
        let mut done = 0;
        while let Some(found) = self.regex.search(&input) {
            let (begin, mut end) = (found.start(), found.end());
            if found.pattern().as_usize() == WHITESPACE && end < text.len() {
                let last = text[begin..end]
                    .char_indices()
                    .next_back()
                    .map_or(0, |(at, _)| at);
                if last > 0 {
                    end = begin + last;
                }
            }
            if done < begin {
                emit(&text[done..begin]);
            }
            emit(&text[begin..end]);
            done = end;
            input.set_start(end);
        }
        if done < text.len() {
            emit(&text[done..]);
        }
    }
}
