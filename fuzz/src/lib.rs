//! What is fuzzed, as plain functions: libFuzzer calls them (fuzz_targets/), and a short loop in tests/ does
//! where there is none. Each has an oracle beyond "it does not crash".

pub mod apps;
pub mod boot;
pub mod certificate;
pub mod config;
pub mod old;
pub mod ostree;
pub mod state;
pub mod tuf;

/// Choices made of the input's bytes; zeros when they run out.
pub struct Bytes<'d>(pub &'d [u8]);

impl Bytes<'_> {
    /// The next byte.
    pub fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    /// A number below `end`.
    pub fn below(&mut self, end: usize) -> usize {
        usize::from(self.byte()) % end.max(1)
    }

    /// A choice.
    pub fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }

    /// Whether there is no more.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
