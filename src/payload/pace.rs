//! Tells a slow body from a stalled one. Silence is ended by the transport's own time limit; a body that drips is ended
//! here, by the same rule as curl's in `ostree pull`.

use std::time::{Duration, Instant};

/// Bytes a second below which a body counts as stalled.
pub const SLOWEST: u64 = 1000;

/// Measures one body, window by window.
#[derive(Debug)]
pub struct Pace {
    window: Duration,
    begun: Instant,
    bytes: u64,
}

impl Pace {
    /// Begins now.
    pub fn new(window: Duration) -> Pace {
        Pace { window, begun: Instant::now(), bytes: 0 }
    }

    /// Counts what was read; whether too little came in the window that ends with it.
    pub fn too_slow(&mut self, read: usize) -> bool {
        self.bytes += read as u64;
        let passed = self.begun.elapsed();
        if passed < self.window {
            return false;
        }
        let slow = self.bytes < SLOWEST * self.window.as_secs().max(1);
        (self.begun, self.bytes) = (Instant::now(), 0);
        slow
    }
}
