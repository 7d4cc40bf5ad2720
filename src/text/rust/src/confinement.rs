//! Work whose course an untrusted file decides, on a thread of its own: bounded memory, a stack to
//! match, bounded time.
//!
//! The interpreter of templates counts its steps, but one step may ask for a terabyte or double a
//! string, and a failed allocation or a full stack ends the process: neither can be caught. So
//! this crate's allocator counts what a confined thread holds, and there are four ways out:
//!
//! - Work that asks `check` now and then is told that it holds too much, or that its time is over,
//!   and ends with an error of its own. Nothing is lost.
//! - Where the time is over, the caller gets an error at once. The thread goes on at a low priority
//!   until `check` or the work's own bound of steps ends it, and counts as `LeftBehind` until then:
//!   so not at the lowest, at which a busy machine would keep its place taken for minutes.
//! - Where one request for memory would pass twice the bound, the caller gets an error at once. The
//!   thread goes on, on an overdraft that all such threads share, so that `check` or a bound of the
//!   work itself comes to end it: its memory is free again, and nothing is lost.
//! - Only where the overdraft is used up does it sleep inside the allocator, until others end. One
//!   that asks for more than six times its bound sleeps for good, and counts as `LeftBehind` for
//!   good: callers see to it that only what they could not foresee comes to this.
//!
//! Rejected: returning null (the standard library then aborts), unwinding or jumping out of the
//! allocator (undefined), freeing what a sleeping thread holds (statics may point into it), and a
//! forked child (a process full of threads, GPU contexts and mapped weights cannot be forked for
//! every request).

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::panic::resume_unwind;
use std::ptr::null;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, Ordering};
use std::sync::{Arc, Condvar, Mutex, Once, PoisonError};
use std::time::Duration;

/// What a piece of work may take.
pub struct Bounds {
    pub name: &'static str,
    /// `check` fails beyond it, and beyond twice as much the caller waits no longer.
    pub bytes: usize,
    pub time: Duration,
}

/// Threads whose callers have gone on without them, and that have not ended.
#[derive(Default)]
pub struct LeftBehind(AtomicU32);

impl LeftBehind {
    pub fn count(&self) -> u32 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Recursion over nested values needs at most this much stack for a byte of their memory. The
/// stack is address space; only what a recursion touches becomes memory.
const STACK_PER_MEMORY: usize = 16;

/// About a tenth of a core that others want, too.
#[cfg(target_os = "linux")]
const LATE_PRIORITY: libc::c_int = 10;

/// What all confined threads together may hold beyond twice their bounds. One of them may four times
/// its bound: what doubles without end must not take it from the others.
const OVERDRAFT: i64 = 1 << 30;
static OVERDRAWN: AtomicI64 = AtomicI64::new(0);

/// Why a confined thread was left behind.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Breach {
    Memory,
    Time,
    NoThread,
}

#[derive(Clone, Copy, PartialEq)]
enum State {
    Running,
    Finished,
    OutOfMemory,
    OutOfTime,
}

struct Warden {
    bytes: i64,
    time_is_over: AtomicBool,
    state: Mutex<State>,
    changed: Condvar,
    left_behind: Arc<LeftBehind>,
}

impl Warden {
    /// Allocates nothing: the allocator calls it.
    fn report(&self, news: State) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        match (*state, news) {
            (State::Running, State::Finished) => *state = news,
            (State::Running, _) => {
                *state = news;
                self.left_behind.0.fetch_add(1, Ordering::Relaxed);
            }
            (_, State::Finished) => {
                self.left_behind.0.fetch_sub(1, Ordering::Relaxed);
            }
            _ => (),
        }
        self.changed.notify_all();
    }

    /// How it ended, in time or not.
    fn wait(&self, time: Duration) -> State {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self
            .changed
            .wait_timeout_while(state, time, |state| *state == State::Running);
        let state = *waited.unwrap_or_else(PoisonError::into_inner).0;
        if state != State::Running {
            return state;
        }
        self.time_is_over.store(true, Ordering::Relaxed);
        self.report(State::OutOfTime); // changes nothing where it finished just now
        State::OutOfTime
    }
}

thread_local! {
    /// Null on every thread but a confined one.
    static WARDEN: Cell<*const Warden> = const { Cell::new(null()) };
    /// Whether what this thread asks for and gives back is counted.
    static COUNTS: Cell<bool> = const { Cell::new(false) };
    static HELD_BYTES: Cell<i64> = const { Cell::new(0) };
    /// This thread's part of the overdraft, which it keeps to its end.
    static OVERDRAFT_TAKEN: Cell<i64> = const { Cell::new(0) };
    #[cfg(target_os = "linux")]
    static IS_LATE: Cell<bool> = const { Cell::new(false) };
}

/// While it lives, this thread's allocations are counted against the warden's bound.
struct Confined(Arc<Warden>);

impl Confined {
    fn enter(warden: Arc<Warden>) -> Confined {
        WARDEN.set(Arc::as_ptr(&warden));
        COUNTS.set(true);
        Confined(warden)
    }
}

impl Drop for Confined {
    fn drop(&mut self) {
        WARDEN.set(null());
        COUNTS.set(false);
        OVERDRAWN.fetch_sub(OVERDRAFT_TAKEN.replace(0), Ordering::Relaxed);
        self.0.report(State::Finished);
    }
}

/// A confined panic becomes an error, so it is not printed as well.
fn silence_confined_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            if WARDEN.get().is_null() {
                usual(panic);
            }
        }));
    });
}

/// Bytes that the work on this confined thread holds.
pub fn held_bytes() -> i64 {
    HELD_BYTES.get()
}

/// Does `work`, and says how much more this thread holds after it. On any thread.
pub fn metered<T>(work: impl FnOnce() -> T) -> (T, i64) {
    struct Counting(bool);
    impl Drop for Counting {
        fn drop(&mut self) {
            COUNTS.set(self.0);
        }
    }
    let counting = Counting(COUNTS.replace(true));
    let before = HELD_BYTES.get();
    let value = work();
    let growth = HELD_BYTES.get() - before;
    drop(counting);
    (value, growth)
}

/// Whether the work on this thread is within its bounds still.
pub fn check() -> Result<(), Breach> {
    let warden = WARDEN.get();
    if warden.is_null() {
        return Ok(());
    }
    // SAFETY: `Confined` keeps the warden alive while the pointer is set.
    let warden = unsafe { &*warden };
    if held_bytes() > warden.bytes {
        return Err(Breach::Memory);
    }
    if warden.time_is_over.load(Ordering::Relaxed) {
        return Err(Breach::Time);
    }
    Ok(())
}

/// Runs `work` within its bounds. A panic of `work` goes on here.
pub fn confine<T: Send + 'static>(
    bounds: Bounds,
    left_behind: &Arc<LeftBehind>,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Breach> {
    let warden = Arc::new(Warden {
        bytes: i64::try_from(bounds.bytes).unwrap_or(i64::MAX),
        time_is_over: AtomicBool::new(false),
        state: Mutex::new(State::Running),
        changed: Condvar::new(),
        left_behind: Arc::clone(left_behind),
    });
    silence_confined_panics();
    let inside = Arc::clone(&warden);
    let thread = std::thread::Builder::new()
        .name(bounds.name.into())
        .stack_size(bounds.bytes.saturating_mul(2 * STACK_PER_MEMORY))
        .spawn(move || {
            let _confined = Confined::enter(inside);
            work()
        })
        .map_err(|_| Breach::NoThread)?;
    match warden.wait(bounds.time) {
        State::Finished => thread.join().or_else(|panic| resume_unwind(panic)),
        State::OutOfMemory => Err(Breach::Memory),
        State::Running | State::OutOfTime => Err(Breach::Time),
    }
}

/// The system's allocator, with a count of what a confined thread holds.
struct CountingAllocator;

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;

/// Does not return where a confined thread may not have `bytes` more.
#[inline]
fn claim(bytes: usize) {
    if COUNTS.get() {
        claim_counted(bytes);
    }
}

#[inline(never)]
fn claim_counted(bytes: usize) {
    let held = HELD_BYTES
        .get()
        .saturating_add(i64::try_from(bytes).unwrap_or(i64::MAX));
    let warden = WARDEN.get();
    if !warden.is_null() {
        // SAFETY: `Confined` keeps the warden alive while the pointer is set.
        claim_from(unsafe { &*warden }, held);
    }
    HELD_BYTES.set(held);
}

fn claim_from(warden: &Warden, held: i64) {
    let beyond = held.saturating_sub(warden.bytes.saturating_mul(2));
    #[cfg(target_os = "linux")] // where it is this thread's alone
    if warden.time_is_over.load(Ordering::Relaxed) && !IS_LATE.replace(true) {
        // SAFETY: plain numbers.
        unsafe { libc::setpriority(libc::PRIO_PROCESS as _, 0, LATE_PRIORITY) };
    }
    // A panic is on its way to an error already, and holds the runtime's locks.
    if beyond > 0 && !std::thread::panicking() {
        warden.report(State::OutOfMemory);
        overdraw(beyond, warden.bytes.saturating_mul(4));
    }
}

/// Returns once this thread may hold so much beyond twice its bound; never where it may not.
fn overdraw(beyond: i64, most: i64) {
    let more = beyond - OVERDRAFT_TAKEN.get();
    if more <= 0 {
        return;
    }
    let take = |all: i64| {
        all.checked_add(more)
            .filter(|&all| all <= OVERDRAFT && beyond <= most)
    };
    while OVERDRAWN
        .fetch_update(Ordering::Relaxed, Ordering::Relaxed, take)
        .is_err()
    {
        let pause = libc::timespec {
            tv_sec: 0,
            tv_nsec: 50_000_000,
        };
        // SAFETY: a time that lives through the call; no memory.
        unsafe { libc::nanosleep(&pause, std::ptr::null_mut()) };
    }
    OVERDRAFT_TAKEN.set(beyond);
}

#[inline]
fn release(bytes: usize) {
    if COUNTS.get() {
        HELD_BYTES.set(HELD_BYTES.get().saturating_sub(bytes as i64));
    }
}

// SAFETY: every request goes on to the system's allocator as it came.
unsafe impl GlobalAlloc for CountingAllocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        claim(layout.size());
        System.alloc(layout)
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        claim(layout.size());
        System.alloc_zeroed(layout)
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        release(layout.size());
        System.dealloc(memory, layout)
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        match new_size.checked_sub(layout.size()) {
            Some(growth) => claim(growth),
            None => release(layout.size() - new_size),
        }
        System.realloc(memory, layout, new_size)
    }
}
