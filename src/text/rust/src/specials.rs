//! Special tokens are cut out of the text before anything else looks at it, as llama.cpp does:
//! the longest token first over the whole text, then the next longest in what is left. Control
//! and unknown tokens count only where the caller asks for them, user-defined ones always.

use aho_corasick::{AhoCorasick, MatchKind};

use crate::failure::Failure;
use crate::vocabulary::{Kind, Vocabulary};

pub enum Fragment<'t> {
    Text(&'t str),
    Token(u32),
}

pub struct Specials {
    /// Longest text first; among equals the smaller id.
    ids: Vec<u32>,
    /// Finds which of them occur at all, in one pass: most of Gemma's 6,414 never do.
    automaton: AhoCorasick,
}

impl Specials {
    pub fn new(vocabulary: &Vocabulary) -> Result<Specials, Failure> {
        let mut ids: Vec<u32> = (0..vocabulary.len() as u32)
            .filter(|&id| {
                matches!(
                    vocabulary.kind(id),
                    Kind::Control | Kind::Unknown | Kind::UserDefined
                ) && std::str::from_utf8(vocabulary.text(id)).is_ok()
            })
            .collect();
        ids.sort_by_key(|&id| (std::cmp::Reverse(vocabulary.text(id).len()), id));
        let automaton = AhoCorasick::builder()
            .match_kind(MatchKind::Standard)
            .build(ids.iter().map(|&id| vocabulary.text(id)))
            .map_err(|error| Failure::new("too many special tokens", error.to_string()))?;
        Ok(Specials { ids, automaton })
    }

    pub fn split<'t>(
        &self,
        vocabulary: &Vocabulary,
        text: &'t str,
        parse_special: bool,
    ) -> Vec<Fragment<'t>> {
        let mut fragments = Vec::new();
        if !text.is_empty() {
            fragments.push(Fragment::Text(text));
        }
        for id in self.occurring(text) {
            if !parse_special && vocabulary.is_special(id) {
                continue;
            }
            let finder = memchr::memmem::Finder::new(vocabulary.text(id));
            let mut next = Vec::with_capacity(fragments.len() + 2);
            for fragment in fragments {
                match fragment {
                    Fragment::Text(piece) => cut(piece, &finder, id, &mut next),
                    token => next.push(token),
                }
            }
            fragments = next;
        }
        fragments
    }

    /// The tokens whose text occurs anywhere in `text`, longest first.
    fn occurring(&self, text: &str) -> Vec<u32> {
        let mut seen = vec![false; self.ids.len()];
        let mut places = Vec::new();
        for found in self.automaton.find_overlapping_iter(text) {
            let place = found.pattern().as_usize();
            if !seen[place] {
                seen[place] = true;
                places.push(place);
            }
        }
        places.sort_unstable();
        places.into_iter().map(|place| self.ids[place]).collect()
    }
}

fn cut<'t>(text: &'t str, finder: &memchr::memmem::Finder, id: u32, out: &mut Vec<Fragment<'t>>) {
    let mut done = 0;
    for at in finder.find_iter(text.as_bytes()) {
        if done < at {
            out.push(Fragment::Text(&text[done..at]));
        }
        out.push(Fragment::Token(id));
        done = at + finder.needle().len();
    }
    if done < text.len() {
        out.push(Fragment::Text(&text[done..]));
    }
}
