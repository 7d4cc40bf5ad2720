//! An error on its way to the C boundary: what happened in one line, and why.

#[derive(Clone)]
pub struct Failure {
    pub what: String,
    pub why: String,
    /// Nothing is wrong with what was asked: later it may succeed.
    pub is_busy: bool,
}

impl Failure {
    pub fn new(what: impl Into<String>, why: impl Into<String>) -> Failure {
        Failure {
            what: what.into(),
            why: why.into(),
            is_busy: false,
        }
    }

    pub fn busy(what: impl Into<String>, why: impl Into<String>) -> Failure {
        Failure {
            is_busy: true,
            ..Failure::new(what, why)
        }
    }
}
