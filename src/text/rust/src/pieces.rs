//! The raw bytes of every token, laid end to end.

#[derive(Default)]
pub struct Pieces {
    pub bytes: Vec<u8>,
    pub ends: Vec<i32>,
    pub special: Vec<u8>,
    pub strips_leading_space: bool,
}

impl Pieces {
    pub fn with_capacity(count: usize) -> Pieces {
        Pieces {
            bytes: Vec::with_capacity(count * 8),
            ends: Vec::with_capacity(count),
            special: Vec::with_capacity(count),
            strips_leading_space: false,
        }
    }

    /// Ends the token whose bytes were appended to `bytes` since the last call.
    pub fn close(&mut self, special: bool) {
        self.ends.push(self.bytes.len() as i32);
        self.special.push(special as u8);
    }
}

/// The byte of a token such as "<0x0A>".
pub fn byte_of_token(text: &[u8]) -> Option<u8> {
    let hex = text.strip_prefix(b"<0x")?.strip_suffix(b">")?;
    if hex.len() != 2 {
        return None;
    }
    u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok()
}
