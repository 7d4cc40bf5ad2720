//! Greedy merging of neighbours: the loop that byte-pair encoding and SentencePiece's BPE share.
//!
//! The text starts as a chain of small symbols. Every pair of neighbours that may merge waits in a
//! queue, best rank first and leftmost among equals; the best pair becomes one symbol, which forms
//! new pairs with its neighbours. Entries that a merge made stale are recognised by their rank, which
//! the pair at their place no longer has, and dropped. A text of n symbols costs O(n log n), however long a word is.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// The id of a symbol that is no token (a byte or a character that the vocabulary lacks).
pub const NO_TOKEN: u32 = u32::MAX;

#[derive(Clone, Copy)]
pub struct Symbol {
    pub begin: u32,
    pub len: u32,
    pub id: u32,
}

/// Says whether two neighbours may merge: the rank (smaller merges first) and the new token's id.
pub trait PairRule {
    fn rank(&self, left: &Symbol, right: &Symbol) -> Option<(u32, u32)>;
}

#[derive(Clone, Copy)]
struct Link {
    prev: u32,
    next: u32,
}

const END: u32 = u32::MAX;

/// Rank above, the left symbol's place below: so small that a queue of millions stays in the cache
/// for longer. What else a pair is, is asked again when its turn comes.
type Candidate = Reverse<u64>;

/// Scratch memory that is reused from word to word.
#[derive(Default)]
pub struct Merger {
    pub symbols: Vec<Symbol>,
    links: Vec<Link>,
    queue: BinaryHeap<Candidate>,
}

impl Merger {
    /// Merges `self.symbols` (filled by the caller) in place; merged-away symbols have length 0.
    pub fn run(&mut self, rule: &impl PairRule) {
        let count = self.symbols.len() as u32;
        self.links.clear();
        self.links.extend((0..count).map(|i| Link {
            prev: if i == 0 { END } else { i - 1 },
            next: if i + 1 == count { END } else { i + 1 },
        }));
        self.queue.clear();
        for i in 1..count {
            self.consider(rule, i - 1, i);
        }
        while let Some(Reverse(candidate)) = self.queue.pop() {
            let (rank, left) = ((candidate >> 32) as u32, candidate as u32);
            let (l, right) = (self.symbols[left as usize], self.links[left as usize].next);
            if l.len == 0 || right == END {
                continue;
            }
            let r = self.symbols[right as usize];
            let Some((_, id)) = rule.rank(&l, &r).filter(|&(now, _)| now == rank) else {
                continue;
            };
            self.symbols[left as usize] = Symbol {
                begin: l.begin,
                len: l.len + r.len,
                id,
            };
            self.symbols[right as usize].len = 0;
            let next = self.links[right as usize].next;
            self.links[left as usize].next = next;
            if next != END {
                self.links[next as usize].prev = left;
            }
            self.consider(rule, self.links[left as usize].prev, left);
            self.consider(rule, left, next);
        }
    }

    fn consider(&mut self, rule: &impl PairRule, left: u32, right: u32) {
        if left == END || right == END {
            return;
        }
        let (l, r) = (&self.symbols[left as usize], &self.symbols[right as usize]);
        if let Some((rank, _)) = rule.rank(l, r) {
            self.queue
                .push(Reverse(u64::from(rank) << 32 | u64::from(left)));
        }
    }
}
