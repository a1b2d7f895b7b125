//! When to ask again.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::Duration;

/// Counts the attempts for one object.
#[derive(Debug)]
pub struct Retry {
    most: u32,
    failed: u32,
}

impl Retry {
    pub fn new(most: u32) -> Retry {
        Retry { most, failed: 0 }
    }

    /// The pause before the next attempt, None when there were enough. An attempt that brought something does
    /// not count: on a bad link a large object may take many.
    pub fn next(&mut self, brought_something: bool) -> Option<Duration> {
        self.failed = if brought_something { 1 } else { self.failed + 1 };
        // Not a secret: it only keeps devices that failed together from coming back together.
        let random = RandomState::new().build_hasher().finish();
        (self.failed <= self.most).then(|| pause(self.failed, random))
    }
}

/// Half a second, doubled with each failure up to half a minute, and of that a random half.
fn pause(failed: u32, random: u64) -> Duration {
    let full = 500u64 << failed.saturating_sub(1).min(6);
    Duration::from_millis(full / 2 + random % (full / 2 + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_and_end() {
        assert_eq!(pause(1, 0), Duration::from_millis(250));
        assert_eq!(pause(1, 250), Duration::from_millis(500));
        assert_eq!(pause(3, 0), Duration::from_millis(1000));
        assert_eq!(pause(99, 0), Duration::from_millis(16_000));
    }

    #[test]
    fn only_attempts_that_brought_nothing_count() {
        let mut retry = Retry::new(2);
        assert!(retry.next(false).is_some() && retry.next(false).is_some() && retry.next(false).is_none());
        let mut retry = Retry::new(1);
        assert!((0..100).all(|_| retry.next(true).is_some()));
    }
}
