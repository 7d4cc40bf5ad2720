//! Masks of the lexer's states, for when a state is met again.
//!
//! What a token does at a state of the lexer is of two kinds. Most stay inside of one lexeme, or fit
//! none: that follows from the state alone. The others end a lexeme, and whether that may come, and
//! what after it, is the parser's to say. So of a state that was surveyed there are the tokens that
//! stay inside, and the places in the trie of the vocabulary where a lexeme ends, mostly few: only
//! these are walked with the parser. The mask is the same.
//!
//! A survey walks the whole trie, which costs a multiple of what the library's slices of the
//! vocabulary cost where they help. So a state is surveyed when its masks have cost as much as that.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use llguidance::earley::regexvec::StateID;
use llguidance::earley::{BiasComputer, Parser, ParserRecognizer, ParserStats, SlicedBiasComputer};
use llguidance::toktrie::{Recognizer, SimpleVob, TokTrie, TrieNode};

/// What the surveys that one lexer knows may take, and those that it was not copied with: as many of
/// these may be held as answers run.
const SURVEYED_BYTES: usize = 6 << 20;
const OWN_BYTES: usize = 1 << 20;
/// Places of one survey: more are hardly faster than the whole trie.
const MOST_PLACES: usize = 16 << 10;
/// Of the lexer's fuel for one mask (`MASK_LEXER_FUEL`): a survey meets states that a mask would not.
const SURVEY_FUEL: usize = 10_000;
/// Nodes between two looks at the fuel, and of a microsecond.
const NODES_AT_ONCE: usize = 256;
const NODES_PER_US: usize = 200;

/// The vocabulary's trie, flat, each node before its children. Without the root.
pub struct FlatTrie {
    nodes: Vec<Node>,
}

struct Node {
    end: u32,   // the first one behind its children
    token: u32, // NO_TOKEN: none
    depth: u16, // bytes of the path to it
    byte: u8,
}

const NO_TOKEN: u32 = u32::MAX;

impl FlatTrie {
    pub fn of(trie: &TokTrie) -> FlatTrie {
        let mut nodes = Vec::with_capacity(trie.root().subtree_size());
        add_children(trie, trie.root(), 1, &mut nodes);
        FlatTrie { nodes }
    }
}

fn add_children(trie: &TokTrie, parent: &TrieNode, depth: u16, nodes: &mut Vec<Node>) {
    for child in trie.node_children(parent) {
        let at = nodes.len();
        nodes.push(Node {
            end: 0,
            token: child.token_id().unwrap_or(NO_TOKEN),
            depth,
            byte: child.byte(),
        });
        add_children(trie, child, depth + 1, nodes);
        nodes[at].end = nodes.len() as u32;
    }
}

/// What is known of a state.
struct Surveyed {
    inside: SimpleVob,
    /// Nodes in the trie's order: where a lexeme ends, and those on the way there.
    places: Vec<Place>,
}

#[derive(Clone, Copy)]
struct Place {
    node: u32,
    is_end: bool,
}

impl Surveyed {
    fn bytes(&self) -> usize {
        4 * self.inside.as_slice().len() + std::mem::size_of::<Place>() * self.places.len()
    }
}

#[derive(Clone)]
enum Met {
    Spent(u64), // microseconds on its masks
    Surveyed(Arc<Surveyed>),
    Hopeless,
}

#[derive(Clone, Default)]
struct Known {
    inherited: Arc<HashMap<StateID, Met>>, // of the lexer that this one is a copy of
    own: HashMap<StateID, Met>,
    inherited_bytes: usize, // of surveys
    own_bytes: usize,
    num_surveyed: usize,
}

impl Known {
    fn find(&self, state: StateID) -> Option<&Met> {
        self.own.get(&state).or_else(|| self.inherited.get(&state))
    }

    fn is_full(&self) -> bool {
        self.own_bytes >= OWN_BYTES || self.inherited_bytes + self.own_bytes >= SURVEYED_BYTES
    }
}

/// Of one lexer, whose states nobody else numbers alike but its copies.
pub struct MaskCache {
    slicer: Arc<SlicedBiasComputer>,
    trie: Arc<FlatTrie>,
    known: Mutex<Known>,
}

impl MaskCache {
    pub fn new(slicer: Arc<SlicedBiasComputer>, trie: Arc<FlatTrie>) -> MaskCache {
        MaskCache {
            slicer,
            trie,
            known: Mutex::default(),
        }
    }

    /// For a copy of the lexer.
    pub fn copy(&self) -> MaskCache {
        MaskCache {
            slicer: Arc::clone(&self.slicer),
            trie: Arc::clone(&self.trie),
            known: Mutex::new(self.known().clone()),
        }
    }

    pub fn num_surveyed(&self) -> usize {
        self.known().num_surveyed
    }

    /// Of surveys that an earlier lexer made.
    pub fn inherited_bytes(&self) -> usize {
        self.known().inherited_bytes
    }

    /// Copies will share all that is known.
    pub fn bequeath(&self) {
        let mut known = self.known();
        let mut all = HashMap::clone(&known.inherited);
        all.extend(std::mem::take(&mut known.own));
        known.inherited = Arc::new(all);
        known.inherited_bytes += std::mem::take(&mut known.own_bytes);
    }

    /// Tells of a mask that was just made: the parser stands where it did.
    pub fn note(&self, parser: &mut Parser, stats: &ParserStats) {
        // The library's copy of its last mask costs nothing, and leaves the fuel of an earlier one.
        if stats.trie_nodes_walked == 0 && stats.slices_applied == 0 {
            return;
        }
        let state = parser.with_recognizer(|rec| rec.lexer_state());
        {
            let mut known = self.known();
            let spent_before = match known.find(state) {
                None => 0,
                Some(Met::Spent(us)) => *us,
                Some(_) => return,
            };
            let spent = spent_before + stats.compute_time_us;
            known.own.insert(state, Met::Spent(spent));
            let survey_us = (self.trie.nodes.len() / NODES_PER_US) as u64;
            if spent < survey_us || stats.lexer_cost > SURVEY_FUEL as u64 || known.is_full() {
                return;
            }
        }
        let met = self.survey(state, parser);
        let mut known = self.known();
        if let Met::Surveyed(surveyed) = &met {
            known.own_bytes += surveyed.bytes();
            known.num_surveyed += 1;
        }
        known.own.insert(state, met);
    }

    fn survey(&self, state: StateID, parser: &mut Parser) -> Met {
        let spent_before = parser.lexer_stats().total_fuel_spent;
        let mut survey = Survey::new(state, self.slicer.trie().alloc_token_set());
        loop {
            let is_done =
                parser.with_recognizer(|rec| survey.go_on(&self.trie, rec, NODES_AT_ONCE));
            let stats = parser.lexer_stats();
            let is_costly = stats.total_fuel_spent - spent_before > SURVEY_FUEL;
            if stats.error || is_costly || survey.places.len() > MOST_PLACES {
                return Met::Hopeless;
            }
            if is_done {
                return Met::Surveyed(Arc::new(survey.found()));
            }
        }
    }

    /// False where a byte inside of a lexeme was refused, which only an error explains.
    fn apply(&self, surveyed: &Surveyed, rec: &mut ParserRecognizer, set: &mut SimpleVob) -> bool {
        set.or(&surveyed.inside);
        rec.trie_started("places");
        let mut depth = 0;
        let mut is_whole = true;
        for place in &surveyed.places {
            let node = &self.trie.nodes[place.node as usize];
            if place.is_end {
                depth = self.walk(place.node as usize, depth, rec, set);
                continue;
            }
            let parent = usize::from(node.depth) - 1;
            rec.pop_bytes(depth - parent);
            depth = parent;
            if !rec.try_push_byte(node.byte) {
                is_whole = false;
                break;
            }
            depth += 1;
        }
        rec.pop_bytes(depth);
        rec.trie_finished();
        is_whole
    }

    /// A node and what is below it, with the parser. Returns the bytes that are pushed.
    fn walk(
        &self,
        node: usize,
        mut depth: usize,
        rec: &mut ParserRecognizer,
        set: &mut SimpleVob,
    ) -> usize {
        let end = self.trie.nodes[node].end as usize;
        let mut at = node;
        while at < end {
            let node = &self.trie.nodes[at];
            let parent = usize::from(node.depth) - 1;
            rec.pop_bytes(depth - parent);
            depth = parent;
            if !rec.try_push_byte(node.byte) {
                at = node.end as usize;
                continue;
            }
            depth += 1;
            at += 1;
            if node.token != NO_TOKEN {
                set.allow_token(node.token);
            }
        }
        depth
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl BiasComputer for MaskCache {
    fn compute_bias(&self, rec: &mut ParserRecognizer<'_>, start: &[u8]) -> SimpleVob {
        let met = self.known().find(rec.lexer_state()).cloned();
        if let (Some(Met::Surveyed(surveyed)), true) = (met, start.is_empty()) {
            let mut set = self.trie().alloc_token_set();
            if self.apply(&surveyed, rec, &mut set) {
                return set;
            }
        }
        self.slicer.compute_bias(rec, start)
    }

    fn trie(&self) -> &TokTrie {
        self.slicer.trie()
    }
}

/// A walk over the trie with the lexer alone.
struct Survey {
    at: usize,
    states: Vec<StateID>, // after each byte of the path, the state surveyed first
    path: Vec<u32>,       // nodes; the first `num_told` of them are in `places`
    num_told: usize,
    inside: SimpleVob,
    places: Vec<Place>,
}

impl Survey {
    fn new(state: StateID, inside: SimpleVob) -> Survey {
        Survey {
            at: 0,
            states: vec![state],
            path: Vec::new(),
            num_told: 0,
            inside,
            places: Vec::new(),
        }
    }

    /// Looks at some nodes. True after the last one.
    fn go_on(&mut self, trie: &FlatTrie, rec: &mut ParserRecognizer, mut count: usize) -> bool {
        while self.at < trie.nodes.len() && count > 0 {
            count -= 1;
            let node = &trie.nodes[self.at];
            let parent = usize::from(node.depth) - 1;
            self.states.truncate(parent + 1);
            self.path.truncate(parent);
            self.num_told = self.num_told.min(parent);
            let before = self.states[parent];
            let lexer = rec.lexer_mut();
            let after = lexer.transition_start_state(before, Some(node.byte), &None);
            if !after.is_dead() && !after.has_lowest_match() {
                self.states.push(after);
                self.path.push(self.at as u32);
                if node.token != NO_TOKEN {
                    self.inside.allow_token(node.token);
                }
                self.at += 1;
                continue;
            }
            // A byte that ends no lexeme either fits none.
            if !lexer.advance(before, node.byte, false, &None).is_error() {
                self.tell_place();
            }
            self.at = node.end as usize;
        }
        self.at >= trie.nodes.len()
    }

    fn tell_place(&mut self) {
        for &node in &self.path[self.num_told..] {
            self.places.push(Place {
                node,
                is_end: false,
            });
        }
        self.num_told = self.path.len();
        self.places.push(Place {
            node: self.at as u32,
            is_end: true,
        });
    }

    fn found(mut self) -> Surveyed {
        self.inside.trim_trailing_zeros();
        self.places.shrink_to_fit();
        Surveyed {
            inside: self.inside,
            places: self.places,
        }
    }
}
