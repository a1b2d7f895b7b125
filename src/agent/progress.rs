//! Progress of a transfer, for people.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use super::Transfer;
use super::daemon::notify;

/// A line that goes to a file or a pipe comes at least this often.
const PERIOD: Duration = Duration::from_secs(10);

/// Progress of a transfer: one line that moves on a terminal, a line at each tenth and each ten seconds elsewhere.
#[derive(Debug)]
pub struct Progress {
    terminal: bool,
    started: Instant,
    last_tenth: u64,
    drawn: Instant,
    /// What was there already when it began.
    first: Option<u64>,
    /// systemd was told then.
    told: Option<Instant>,
}

impl Progress {
    /// Starts the clock.
    pub fn new() -> Progress {
        let now = Instant::now();
        let terminal = std::io::stderr().is_terminal();
        Progress { terminal, started: now, last_tenth: 0, drawn: now, first: None, told: None }
    }

    /// Shows how far it is.
    pub fn show(&mut self, transfer: &Transfer) {
        self.first.get_or_insert(transfer.bytes_done);
        if self.terminal { self.draw(transfer) } else { self.log(transfer) }
    }

    /// The same for `systemctl status`, once a second.
    pub fn tell_systemd(&mut self, transfer: &Transfer) {
        if self.told.is_none_or(|told| told.elapsed().as_secs() >= 1) {
            self.told = Some(Instant::now());
            notify(&format!("STATUS=Downloading: {}", self.line(transfer)));
        }
    }

    fn draw(&mut self, transfer: &Transfer) {
        let whole = transfer.objects_done == transfer.objects_total;
        if self.drawn.elapsed().as_millis() < 100 && !whole {
            return;
        }
        self.drawn = Instant::now();
        eprint!("\r\x1b[K{}", self.line(transfer));
        if whole && transfer.objects_total > 0 {
            eprintln!();
        }
        let _ = std::io::stderr().flush();
    }

    fn log(&mut self, transfer: &Transfer) {
        let tenth = share(transfer, 10);
        if tenth > self.last_tenth || self.drawn.elapsed() >= PERIOD {
            self.last_tenth = tenth;
            self.drawn = Instant::now();
            log::info!("{}", self.line(transfer));
        }
    }

    fn line(&self, transfer: &Transfer) -> String {
        line(transfer, self.first.unwrap_or_default(), self.started.elapsed().as_secs_f64().max(0.001))
    }
}

/// Bytes and percent where sizes are known, objects, rate, and the time that is left at this rate.
pub fn line(transfer: &Transfer, first: u64, seconds: f64) -> String {
    let Transfer { objects_done, objects_total, bytes_done, bytes_total } = *transfer;
    let rate = bytes_done.saturating_sub(first) as f64 / seconds;
    let total = bytes_total.filter(|total| *total >= bytes_done);
    let of = total.map_or_else(String::new, |t| format!(" of {} ({} %)", bytes(t), share(transfer, 100)));
    let left =
        total.map(|total| (total - bytes_done) as f64 / rate).filter(|left| left.is_finite() && *left >= 1.0);
    let left = left.map_or_else(String::new, |left| format!(", {} left", duration(left)));
    let objects = format!("{objects_done} of {objects_total} objects");
    format!("{}{of}, {objects}, {}/s{left}", bytes(bytes_done), bytes(rate as u64))
}

/// How much of it is done, in parts of `whole`: of the bytes, or of the objects where no size is known.
fn share(transfer: &Transfer, whole: u64) -> u64 {
    let (done, total) = match transfer.bytes_total {
        Some(total) if total > 0 => (transfer.bytes_done, total),
        _ => (transfer.objects_done, transfer.objects_total),
    };
    (u128::from(done) * u128::from(whole) / u128::from(total.max(1))).min(u128::from(whole)) as u64
}

fn duration(seconds: f64) -> String {
    match seconds as u64 {
        s @ 0..60 => format!("{s} s"),
        s @ 60..5400 => format!("{} min", s.div_ceil(60)),
        s => format!("{} h", s.div_ceil(3600)),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_percent_and_time_left() {
        let transfer = |done, total| Transfer {
            objects_done: 10,
            objects_total: 40,
            bytes_done: done,
            bytes_total: total,
        };
        let table = [
            (
                transfer(30_000_000, Some(120_000_000)),
                0,
                30.0,
                "30.0 MB of 120.0 MB (25 %), 10 of 40 objects, 1000.0 kB/s, 2 min left",
            ),
            // What an earlier run left is no measure of the rate.
            (
                transfer(30_000_000, Some(36_000_000)),
                27_000_000,
                3.0,
                "30.0 MB of 36.0 MB (83 %), 10 of 40 objects, 1000.0 kB/s, 6 s left",
            ),
            (transfer(30_000_000, None), 0, 30.0, "30.0 MB, 10 of 40 objects, 1000.0 kB/s"),
            // More than was said: nobody knows how much is left.
            (transfer(30_000_000, Some(1)), 0, 30.0, "30.0 MB, 10 of 40 objects, 1000.0 kB/s"),
            (transfer(0, Some(36_000_000)), 0, 3.0, "0 B of 36.0 MB (0 %), 10 of 40 objects, 0 B/s"),
        ];
        for (transfer, first, seconds, text) in table {
            assert_eq!(line(&transfer, first, seconds), text);
        }
    }
}
