//! Grammars as masks of tokens: llguidance's parser over the trie of one vocabulary.
//!
//! A grammar is compiled on a confined thread (a schema comes from whoever sends a request), and
//! what it costs later is bounded by the parser's own limits. Each matcher has the lexer's states to
//! itself: shared ones would let an answer that runs into a limit end those beside it. What an answer
//! has learned of them is there for those that come after it. What all matchers hold is kept in a
//! ledger, which new ones have to find room in.

use std::panic::{catch_unwind, AssertUnwindSafe};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use llguidance::api::{GrammarInit, ParserLimits, StopReason, TopLevelGrammar};
use llguidance::earley::SlicedBiasComputer;
use llguidance::toktrie::{
    ApproximateTokEnv, InferenceCapabilities, SimpleVob, TokEnv, TokRxInfo, TokTrie, INVALID_TOKEN,
};
use llguidance::{ParserFactory, TokenParser};

use crate::confinement::{self, confine, held_bytes, metered, Bounds, Breach, LeftBehind};
use crate::failure::Failure;
use crate::grammar_source::{self, Kind};
use crate::lexer_check::check_first_steps;
use crate::mask_cache::{FlatTrie, MaskCache};
use crate::pieces::Pieces;
use crate::satisfiable;

/// What a compilation may cost at most.
#[derive(Clone, Copy)]
pub struct Limits {
    pub source_bytes: usize,
    pub depth: usize,
    pub time: Duration,
    pub bytes: usize,
    pub json_blanks: usize,
}

/// Steps of the lexer that a compilation may cost; about a second. The multiples of a day's seconds
/// want more than half of them.
const COMPILE_LEXER_FUEL: u64 = 4_000_000;

/// Steps of the lexer and of the parser that one mask may cost; about 5 ms each. JSON schemas in
/// use stay below a tenth.
const MASK_LEXER_FUEL: u64 = 100_000;
const MASK_PARSER_ITEMS: usize = 50_000;

/// What one state of a lexer takes at most.
const BYTES_PER_STATE: usize = 2 << 10;

/// What later answers take over from earlier ones: so much of the lexer that they seldom have to
/// derive a state, which costs microseconds, and so little that a copy of it costs less than that. A
/// sixteenth of what one may have, so that an answer's own bound hardly comes nearer.
const LEARNED_BYTES: i64 = 8 << 20;
const LEARNED_SHARE: usize = 16;

/// A compilation that was left behind keeps its memory and a core busy until the parser's limits end
/// it, so there are only so many of them at a time.
const MAX_LEFT_BEHIND: u32 = 8;

/// What the matchers of one vocabulary hold. Each is a copy of its grammar that grows with its
/// answer, so as many as run at a time, each within its own limits, would be no bound.
struct Ledger {
    held: AtomicI64,
    /// No matcher is made beyond it, and none grows beyond twice as much.
    most: i64,
}

impl Ledger {
    fn busy(&self) -> Failure {
        Failure::busy(
            "too many answers are held to grammars, try again later",
            format!(
                "their places in them take {} MiB, where {} MiB are shared by all",
                self.held.load(Ordering::Relaxed) >> 20,
                self.most >> 20
            ),
        )
    }

    fn admit(&self) -> Result<(), Failure> {
        if self.held.load(Ordering::Relaxed) < self.most {
            return Ok(());
        }
        Err(self.busy())
    }

    /// Whether far too much is held with these bytes.
    fn add(&self, bytes: i64) -> bool {
        let before = self.held.fetch_add(bytes, Ordering::Relaxed);
        bytes > 0 && before + bytes > 2 * self.most
    }

    /// Whether what was learned may be kept: not where it would take the room of answers.
    fn has_room_to_learn(&self) -> bool {
        self.held.load(Ordering::Relaxed) < self.most / 4
    }

    /// Growth that is nobody's fault, however much is held.
    fn spared_growth(&self) -> i64 {
        self.most / 128
    }
}

/// The vocabulary, ready for grammars.
pub struct Grammars {
    factory: Arc<ParserFactory>,
    trie: Arc<FlatTrie>,
    ledger: Arc<Ledger>,
    num_words: usize,
    left_behind: Arc<LeftBehind>,
}

impl Grammars {
    /// matcher_bytes: what all matchers together may take.
    pub fn new(
        pieces: &Pieces,
        vocab_size: usize,
        end_ids: &[i32],
        matcher_bytes: i64,
    ) -> Result<Grammars, Failure> {
        let mut words = words_of(pieces);
        words.resize(vocab_size, Vec::new());
        let ends: Vec<u32> = end_ids
            .iter()
            .filter(|&&id| id >= 0 && (id as usize) < vocab_size)
            .map(|&id| id as u32)
            .collect();
        let first = ends.first().copied().unwrap_or(INVALID_TOKEN);
        let mut trie = TokTrie::from(&TokRxInfo::new(vocab_size as u32, first), &words);
        if !ends.is_empty() {
            trie = trie.with_eos_tokens(&ends);
        }
        let flat = FlatTrie::of(&trie);
        let env: TokEnv = Arc::new(ApproximateTokEnv::new(trie));
        let mut factory = ParserFactory::new(
            &env,
            InferenceCapabilities::default(),
            &SlicedBiasComputer::general_slices(),
        )
        .map_err(|error| Failure::new("the vocabulary has no grammars", error.to_string()))?;
        factory.quiet();
        Ok(Grammars {
            factory: Arc::new(factory),
            trie: Arc::new(flat),
            ledger: Arc::new(Ledger {
                held: AtomicI64::new(0),
                most: matcher_bytes,
            }),
            num_words: vocab_size.div_ceil(32),
            left_behind: Arc::default(),
        })
    }

    pub fn compile(
        &self,
        kind: Kind,
        source: &str,
        frame: &str,
        limits: Limits,
    ) -> Result<Grammar, Failure> {
        grammar_source::check_size(source, limits)?;
        if self.left_behind.count() >= MAX_LEFT_BEHIND {
            return Err(Failure::busy(
                "too many grammars are stuck, try again later",
                format!("{MAX_LEFT_BEHIND} took too long or too much memory, and have not ended"),
            ));
        }
        let (factory, num_words) = (Arc::clone(&self.factory), self.num_words);
        let ledger = Arc::clone(&self.ledger);
        let masks = MaskCache::new(factory.slicer(), Arc::clone(&self.trie));
        let (source, frame) = (source.to_string(), frame.to_string());
        let bounds = Bounds {
            name: "grammar",
            bytes: limits.bytes,
            time: limits.time,
        };
        let check = move || confinement::check().map_err(|breach| over_limit(breach, limits));
        let confined = confine(bounds, &self.left_behind, move || {
            let top = grammar_source::read(kind, &source, &frame, limits)?;
            check()?;
            let grammar = Grammar::new(&factory, masks, top, num_words, limits, ledger)?;
            check()?;
            Ok(grammar)
        });
        confined.map_err(|breach| over_limit(breach, limits))?
    }
}

/// llguidance tells special tokens by a first byte that no text has; a token of that very byte can
/// be part of no text, and is left out.
fn words_of(pieces: &Pieces) -> Vec<Vec<u8>> {
    let mut begin = 0;
    let mut words = Vec::with_capacity(pieces.ends.len());
    for (&end, &special) in pieces.ends.iter().zip(&pieces.special) {
        let bytes = &pieces.bytes[begin..end as usize];
        begin = end as usize;
        words.push(match (special != 0, bytes.first()) {
            (true, Some(_)) => [&[TokTrie::SPECIAL_TOKEN_MARKER], bytes].concat(),
            (false, Some(&first)) if first != TokTrie::SPECIAL_TOKEN_MARKER => bytes.to_vec(),
            _ => Vec::new(),
        });
    }
    words
}

fn over_limit(breach: Breach, limits: Limits) -> Failure {
    match breach {
        Breach::Memory => Failure::new(
            "the grammar takes too much memory",
            format!("it may take {} MiB", limits.bytes >> 20),
        ),
        Breach::Time => Failure::new(
            "the grammar takes too long to compile",
            format!("it was given {} ms", limits.time.as_millis()),
        ),
        Breach::NoThread => Failure::new(
            "compiling a grammar needs a thread",
            "the system gave none; is address space limited (ulimit -v)?",
        ),
    }
}

fn parser_of(
    factory: &ParserFactory,
    top: TopLevelGrammar,
    limits: ParserLimits,
) -> anyhow::Result<TokenParser> {
    let env = factory.tok_env().clone();
    let (grammar, lexer) = GrammarInit::Serialized(top).to_internal(Some(env), limits.clone())?;
    check_first_steps(&lexer, &factory.extra_lexemes(), &limits)?;
    factory.create_parser_from_init_ext(
        GrammarInit::Internal(grammar, lexer),
        llguidance::Logger::new(0, 0),
        InferenceCapabilities::default(),
        limits,
    )
}

/// Its matcher stands at the beginning of an answer and is only copied, or changed for one that
/// knows more of the lexer.
pub struct Grammar {
    first: Arc<Mutex<Matcher>>,
    pub bytes: i64,
}

impl Grammar {
    fn new(
        factory: &ParserFactory,
        masks: MaskCache,
        top: TopLevelGrammar,
        num_words: usize,
        limits: Limits,
        ledger: Arc<Ledger>,
    ) -> Result<Grammar, Failure> {
        let most_states = limits.bytes / BYTES_PER_STATE;
        let parser_limits = ParserLimits {
            initial_lexer_fuel: COMPILE_LEXER_FUEL,
            step_lexer_fuel: MASK_LEXER_FUEL,
            step_max_items: MASK_PARSER_ITEMS,
            max_lexer_states: most_states,
            verbose_errors: false,
            ..ParserLimits::default()
        };
        let parser = AssertUnwindSafe(|| parser_of(factory, top, parser_limits));
        let mut parser =
            llguidance::panic_utils::catch_unwind(parser).map_err(|error| refusal(&error))?;
        // A guess that is wrong is taken back, which these lexemes forget how to.
        if !parser.parser.grammar().lexer_spec().can_rollback() {
            return Err(Failure::new(
                "the grammar cannot be used",
                "max_tokens=... and stop=... are not supported; suffix=... and --stop are",
            ));
        }
        parser.start_without_prompt();
        let mut first = Matcher::new(parser, masks, num_words, limits.bytes as i64, ledger);
        first.ready()?;
        first.num_states = first.parser.parser.lexer_stats().num_states;
        first.most_states = most_states / LEARNED_SHARE;
        Ok(Grammar {
            first: Arc::new(Mutex::new(first)),
            bytes: held_bytes(),
        })
    }

    pub fn matcher(&self) -> Result<Matcher, Failure> {
        let first = self.first.lock().unwrap_or_else(PoisonError::into_inner);
        let mut matcher = first.copy()?;
        matcher.origin = Arc::downgrade(&self.first);
        Ok(matcher)
    }

    /// Held for what earlier answers have taught those to come.
    pub fn learned_bytes(&self) -> i64 {
        self.first
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .bytes
    }
}

/// What satisfiable.rs did not see beforehand, in its words.
const UNSATISFIABLE: &str = "Unsatisfiable schema: ";

fn refusal(error: &anyhow::Error) -> Failure {
    let why = reason(error);
    match why.contains(UNSATISFIABLE) {
        true => Failure::new(satisfiable::NO_JSON, why.replace(UNSATISFIABLE, "")),
        false => Failure::new("the grammar cannot be used", why),
    }
}

/// The first line of what the crate says, without what is of use only to its authors.
fn reason(error: &anyhow::Error) -> String {
    let text = format!("{error:#}");
    let end = ["\n<backtrace>", "\n<state>", "\n<non-verbose/>"]
        .iter()
        .filter_map(|mark| text.find(mark))
        .min();
    text[..end.unwrap_or(text.len())].trim().to_string()
}

/// One answer's place in a grammar.
pub struct Matcher {
    parser: TokenParser,
    masks: Arc<MaskCache>, // the parser's bias_computer
    mask: Vec<u32>,        // of this place, where has_mask
    has_mask: bool,
    /// Ending ids that were consumed, which the parser is not told of.
    num_ends: usize,
    broken: Option<Failure>,
    /// What it takes, as the ledger knows it, and how much of that came after its beginning. Not of
    /// a grammar's own, which its compilation bounds.
    is_counted: bool,
    bytes: i64,
    growth: i64,
    most_growth: i64,
    ledger: Arc<Ledger>,
    /// Of a grammar's own: states of its lexer, and how many it may come to by what answers learn.
    num_states: usize,
    most_states: usize,
    /// The grammar's own; none of that itself.
    origin: Weak<Mutex<Matcher>>,
}

impl Drop for Matcher {
    fn drop(&mut self) {
        self.teach();
        self.ledger.held.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

impl Matcher {
    /// Of a grammar, whose memory is its own.
    fn new(
        mut parser: TokenParser,
        masks: MaskCache,
        num_words: usize,
        most_growth: i64,
        ledger: Arc<Ledger>,
    ) -> Matcher {
        let masks = Arc::new(masks);
        parser.bias_computer = masks.clone();
        Matcher {
            parser,
            masks,
            mask: vec![0; num_words],
            has_mask: false,
            num_ends: 0,
            broken: None,
            is_counted: false,
            bytes: 0,
            growth: 0,
            most_growth,
            ledger,
            num_states: 0,
            most_states: 0,
            origin: Weak::new(),
        }
    }

    pub fn copy(&self) -> Result<Matcher, Failure> {
        self.ledger.admit()?;
        let (mut copy, bytes) = metered(|| Matcher {
            parser: self.parser.deep_clone(),
            masks: Arc::new(self.masks.copy()),
            mask: self.mask.clone(),
            has_mask: self.has_mask,
            num_ends: self.num_ends,
            broken: None,
            is_counted: true,
            bytes: 0,
            growth: self.growth,
            most_growth: self.most_growth,
            ledger: Arc::clone(&self.ledger),
            num_states: 0,
            most_states: 0,
            origin: Weak::clone(&self.origin),
        });
        copy.parser.bias_computer = copy.masks.clone();
        copy.bytes = bytes;
        copy.ledger.add(bytes);
        Ok(copy)
    }

    /// Leaves its lexer to the answers to come, where it knows a good deal more than theirs. Which
    /// states a lexer has derived shows in no mask.
    fn teach(&mut self) {
        let Some(origin) = self.origin.upgrade().filter(|_| self.broken.is_none()) else {
            return;
        };
        // One that is being copied is not waited for.
        let Ok(mut first) = origin.try_lock() else {
            return;
        };
        let num_states = self.parser.parser.lexer_stats().num_states;
        let knows_more = num_states > first.num_states + first.num_states / 8
            || self.masks.num_surveyed() > first.masks.num_surveyed();
        let inherited = self.masks.inherited_bytes() as i64;
        let may_stay = num_states <= first.most_states && self.bytes + inherited <= LEARNED_BYTES;
        if !knows_more || !may_stay || !self.ledger.has_room_to_learn() {
            return;
        }
        let (num_tokens, masks) = (self.parser.num_tokens(), Arc::clone(&self.masks));
        let at_the_beginning = self.guarded(|parser| {
            masks.bequeath();
            rewind(parser, num_tokens)
        });
        if at_the_beginning.is_err() {
            return;
        }
        self.bytes += inherited;
        self.ledger.add(inherited);
        std::mem::swap(&mut first.parser, &mut self.parser);
        std::mem::swap(&mut first.masks, &mut self.masks);
        std::mem::swap(&mut first.bytes, &mut self.bytes);
        std::mem::swap(&mut first.growth, &mut self.growth);
        first.num_states = num_states;
    }

    /// Computes the mask of this place.
    fn ready(&mut self) -> Result<(), Failure> {
        if self.has_mask {
            return Ok(());
        }
        let over = self.num_ends > 0;
        let masks = Arc::clone(&self.masks);
        let allowed = self.guarded(|parser| match parser.stop_reason() {
            _ if over => Ok(parser.token_env.tok_trie().alloc_token_set()),
            StopReason::NotStopped => {
                let allowed = parser.compute_mask()?;
                let stats = parser.last_step_stats().clone();
                masks.note(&mut parser.parser, &stats);
                Ok(allowed)
            }
            reason if reason.is_ok() => Ok(parser.token_env.tok_trie().eos_token_set()),
            reason => Err(anyhow::anyhow!("{reason}")),
        })?;
        copy_words(&allowed, &mut self.mask);
        self.has_mask = true;
        Ok(())
    }

    pub fn fill(&mut self, mask: &mut [u32]) -> Result<(), Failure> {
        self.ready()?;
        let count = mask.len().min(self.mask.len());
        mask[..count].copy_from_slice(&self.mask[..count]);
        mask[count..].fill(0);
        Ok(())
    }

    pub fn advance(&mut self, id: i32) -> Result<bool, Failure> {
        let id = match u32::try_from(id) {
            Ok(id) if (id as usize) < self.mask.len() * 32 => id,
            _ => return Ok(false),
        };
        if self.num_ends > 0 {
            return Ok(false);
        }
        let known = self.has_mask;
        if known && self.mask[id as usize / 32] & (1 << (id % 32)) == 0 {
            return Ok(false);
        }
        let ends = self.parser.token_env.tok_trie().eos_tokens().contains(&id);
        if ends && self.may_end()? {
            self.num_ends += 1;
            self.has_mask = false;
            return Ok(true);
        }
        let is_allowed = self.guarded(|parser| {
            if parser.stopped() || !(known || parser.validate_token(id)?) {
                return Ok(false);
            }
            anyhow::ensure!(parser.consume_token(id)? == 0, "unexpected backtracking");
            parser.check_stop()?;
            Ok(true)
        })?;
        self.has_mask = self.has_mask && !is_allowed;
        Ok(is_allowed)
    }

    pub fn take_back(&mut self, count: usize) -> Result<(), Failure> {
        if count == 0 {
            return Ok(());
        }
        self.has_mask = false;
        let of_ends = count.min(self.num_ends);
        self.num_ends -= of_ends;
        if count == of_ends {
            return Ok(());
        }
        self.guarded(|parser| rewind(parser, count - of_ends))
    }

    pub fn may_end(&mut self) -> Result<bool, Failure> {
        let over = self.num_ends > 0;
        self.guarded(|parser| {
            Ok(over
                || match parser.stop_reason() {
                    StopReason::NotStopped => parser.is_accepting(),
                    reason => reason.is_ok(),
                })
        })
    }

    pub fn must_end(&mut self) -> bool {
        self.num_ends > 0 || self.parser.stop_reason() != StopReason::NotStopped
    }

    /// After an error or a panic of the crate nothing is asked of it again.
    fn guarded<T>(
        &mut self,
        body: impl FnOnce(&mut TokenParser) -> anyhow::Result<T>,
    ) -> Result<T, Failure> {
        if let Some(failure) = &self.broken {
            return Err(failure.clone());
        }
        let parser = &mut self.parser;
        let (done, bytes) = metered(|| catch_unwind(AssertUnwindSafe(|| body(parser))));
        let within = self.grow(bytes);
        let why = match (done, within) {
            (Ok(Ok(value)), Ok(())) => return Ok(value),
            (Ok(Ok(_)), Err(failure)) => return Err(self.broken.insert(failure).clone()),
            (Ok(Err(error)), _) => reason(&error),
            (Err(_), _) => "the grammar library stopped".to_string(),
        };
        let failure = Failure::new("the grammar cannot go on", why);
        Err(self.broken.insert(failure).clone())
    }

    fn grow(&mut self, bytes: i64) -> Result<(), Failure> {
        if !self.is_counted {
            return Ok(());
        }
        self.bytes += bytes;
        self.growth += bytes;
        if self.ledger.add(bytes) && self.growth > self.ledger.spared_growth() {
            return Err(self.ledger.busy());
        }
        if self.growth <= self.most_growth {
            return Ok(());
        }
        Err(Failure::new(
            "the grammar takes too much memory",
            format!("an answer of it may take {} MiB", self.most_growth >> 20),
        ))
    }
}

/// The parser keeps its last mask by the number of its row and the lexer's state, which another way
/// may share (llguidance 1.9.1).
fn rewind(parser: &mut TokenParser, num_tokens: usize) -> anyhow::Result<()> {
    parser.rollback(num_tokens)?;
    parser.parser.invalidate_bias_cache();
    Ok(())
}

fn copy_words(allowed: &SimpleVob, mask: &mut [u32]) {
    let words = allowed.as_slice();
    let count = mask.len().min(words.len());
    mask[..count].copy_from_slice(&words[..count]);
    mask[count..].fill(0);
}
