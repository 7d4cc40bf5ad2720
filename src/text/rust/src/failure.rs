//! An error on its way to the C boundary: what happened in one line, and why.

pub struct Failure {
    pub what: String,
    pub why: String,
}

impl Failure {
    pub fn new(what: impl Into<String>, why: impl Into<String>) -> Failure {
        Failure {
            what: what.into(),
            why: why.into(),
        }
    }
}
