//! Progress of a transfer, for people.

use std::io::{IsTerminal, Write};
use std::time::Instant;

use super::Transfer;

/// Progress of a transfer: one line that moves on a terminal, a line at each tenth elsewhere.
#[derive(Debug)]
pub struct Progress {
    terminal: bool,
    started: Instant,
    last_tenth: u64,
    drawn: Option<Instant>,
}

impl Progress {
    /// Starts the clock.
    pub fn new() -> Progress {
        Progress {
            terminal: std::io::stderr().is_terminal(),
            started: Instant::now(),
            last_tenth: 0,
            drawn: None,
        }
    }

    /// Shows how far it is.
    pub fn show(&mut self, transfer: &Transfer) {
        if self.terminal { self.draw(transfer) } else { self.log(transfer) }
    }

    fn draw(&mut self, transfer: &Transfer) {
        let whole = transfer.objects_done == transfer.objects_total;
        let soon = self.drawn.is_some_and(|d| d.elapsed().as_millis() < 100);
        if soon && !whole {
            return;
        }
        self.drawn = Some(Instant::now());
        eprint!("\r\x1b[K{}", self.line(transfer));
        if whole && transfer.objects_total > 0 {
            eprintln!();
        }
        let _ = std::io::stderr().flush();
    }

    fn log(&mut self, transfer: &Transfer) {
        let tenth = transfer.objects_done * 10 / transfer.objects_total.max(1);
        if tenth > self.last_tenth {
            self.last_tenth = tenth;
            log::info!("{}", self.line(transfer));
        }
    }

    fn line(&self, transfer: &Transfer) -> String {
        let seconds = self.started.elapsed().as_secs_f64().max(0.001);
        let rate = transfer.bytes_done as f64 / seconds;
        format!(
            "{} of {} objects, {}, {}/s",
            transfer.objects_done,
            transfer.objects_total,
            bytes(transfer.bytes_done),
            bytes(rate as u64)
        )
    }
}

impl Default for Progress {
    fn default() -> Progress {
        Progress::new()
    }
}

/// A size for people.
pub fn bytes(count: u64) -> String {
    match count {
        0..=9_999 => format!("{count} B"),
        10_000..=9_999_999 => format!("{:.1} kB", count as f64 / 1e3),
        _ => format!("{:.1} MB", count as f64 / 1e6),
    }
}
