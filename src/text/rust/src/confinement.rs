//! Work whose course an untrusted file decides, on a thread of its own: bounded memory, a stack to
//! match, bounded time.
//!
//! The interpreter of templates counts its steps, but one step may ask for a terabyte or double a
//! string, and a failed allocation or a full stack ends the process: neither can be caught. So
//! this crate's allocator counts what a confined thread holds, and where a request would pass the
//! bound, or the time is over, the thread sleeps inside the allocator for good, and its caller gets
//! an error. What such a thread holds, its bound at most, is lost until the process ends; callers
//! limit how often. Rejected: returning null (the standard library then aborts), unwinding or
//! jumping out of the allocator (undefined), and a forked child (a process full of threads, GPU
//! contexts and mapped weights cannot be forked for every request).

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::panic::resume_unwind;
use std::ptr::null;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, Once, PoisonError};
use std::time::Duration;

/// What a piece of work may take.
pub struct Bounds {
    pub name: &'static str,
    pub bytes: usize,
    pub time: Duration,
}

/// Recursion over nested values needs at most this much stack for a byte of their memory. The
/// stack is address space; only what a recursion touches becomes memory.
const STACK_PER_MEMORY: usize = 16;

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
}

struct Warden {
    max_bytes: i64,
    time_is_over: AtomicBool,
    state: Mutex<State>,
    changed: Condvar,
}

impl Warden {
    /// Allocates nothing: the allocator calls it.
    fn report(&self, state: State) {
        *self.state.lock().unwrap_or_else(PoisonError::into_inner) = state;
        self.changed.notify_all();
    }

    fn wait(&self, time: Duration) -> State {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self
            .changed
            .wait_timeout_while(state, time, |state| *state == State::Running);
        *waited.unwrap_or_else(PoisonError::into_inner).0
    }
}

thread_local! {
    /// Null on every thread but a confined one.
    static WARDEN: Cell<*const Warden> = const { Cell::new(null()) };
    static HELD_BYTES: Cell<i64> = const { Cell::new(0) };
}

/// While it lives, this thread's allocations are counted against the warden's bound.
struct Confined(Arc<Warden>);

impl Confined {
    fn enter(warden: Arc<Warden>) -> Confined {
        WARDEN.set(Arc::as_ptr(&warden));
        Confined(warden)
    }
}

impl Drop for Confined {
    fn drop(&mut self) {
        WARDEN.set(null());
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

/// Runs `work` within its bounds. A panic of `work` goes on here.
pub fn confine<T: Send + 'static>(
    bounds: Bounds,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Breach> {
    let warden = Arc::new(Warden {
        max_bytes: i64::try_from(bounds.bytes).unwrap_or(i64::MAX),
        time_is_over: AtomicBool::new(false),
        state: Mutex::new(State::Running),
        changed: Condvar::new(),
    });
    silence_confined_panics();
    let inside = Arc::clone(&warden);
    let thread = std::thread::Builder::new()
        .name(bounds.name.into())
        .stack_size(bounds.bytes.saturating_mul(STACK_PER_MEMORY))
        .spawn(move || {
            let _confined = Confined::enter(inside);
            work()
        })
        .map_err(|_| Breach::NoThread)?;
    match warden.wait(bounds.time) {
        State::Finished => thread.join().or_else(|panic| resume_unwind(panic)),
        State::OutOfMemory => Err(Breach::Memory),
        State::Running => {
            warden.time_is_over.store(true, Ordering::Relaxed);
            Err(Breach::Time)
        }
    }
}

/// The system's allocator, with a count of what a confined thread holds.
struct CountingAllocator;

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;

/// Does not return where a confined thread may not have `bytes` more.
#[inline]
fn claim(bytes: usize) {
    let warden = WARDEN.get();
    if !warden.is_null() {
        // SAFETY: `Confined` keeps the warden alive while the pointer is set.
        claim_from(unsafe { &*warden }, bytes);
    }
}

#[inline(never)]
fn claim_from(warden: &Warden, bytes: usize) {
    let held = HELD_BYTES
        .get()
        .saturating_add(i64::try_from(bytes).unwrap_or(i64::MAX));
    let out_of_memory = held > warden.max_bytes;
    // A panic is on its way to an error already, and holds the runtime's locks.
    if std::thread::panicking() || !(out_of_memory || warden.time_is_over.load(Ordering::Relaxed)) {
        HELD_BYTES.set(held);
        return;
    }
    if out_of_memory {
        warden.report(State::OutOfMemory);
    }
    loop {
        // SAFETY: no arguments, no memory.
        unsafe { libc::pause() };
    }
}

#[inline]
fn release(bytes: usize) {
    if !WARDEN.get().is_null() {
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
