//! How long a daemon waits: longer after each trouble, as long as the server wishes, and over its own restart, so that
//! a server in trouble is not hurt by devices that are restarted.

use std::time::Duration;

use super::Agent;
use super::daemon::pause;
use crate::store::Backoff;

/// More failures do not make it longer.
const MOST_FAILURES: u32 = 4;
/// No server is obeyed for longer.
const DAY: Duration = Duration::from_secs(86_400);

/// Counts the failures in a row.
pub(super) struct Patience<'a> {
    agent: &'a Agent,
    failures: u32,
    /// Something of it is on disk.
    stored: bool,
}

impl<'a> Patience<'a> {
    /// As the process before left it, and what is left of its wait.
    pub fn new(agent: &'a Agent) -> (Patience<'a>, Option<Duration>) {
        let stored = Backoff::load(&agent.settings.state);
        let failures = stored.map_or(0, |backoff| backoff.failures.min(MOST_FAILURES));
        let left = stored.map_or(0, |backoff| backoff.left(super::clock(), DAY.as_secs()));
        let patience = Patience { agent, failures, stored: stored.is_some() };
        (patience, (left > 0).then(|| Duration::from_secs(left)))
    }

    /// The wait after a turn; `trouble` is what the server wished, zero where it said nothing.
    pub fn after(&mut self, trouble: Option<Duration>, random: u32) -> Duration {
        let interval = self.agent.settings.polling_sec;
        let Some(wish) = trouble else {
            self.failures = 0;
            if std::mem::take(&mut self.stored) {
                self.note(Backoff::clear(&self.agent.settings.state));
            }
            return pause(interval, 0, random);
        };
        let before = self.failures;
        self.failures = (before + 1).min(MOST_FAILURES);
        let time = wait(interval, self.failures, wish, random);
        // At the limit there is no news, so nothing is written.
        if self.failures != before || wish > Duration::ZERO {
            let until = super::clock().saturating_add(time.as_secs() as i64);
            let backoff = Backoff { failures: self.failures, until };
            self.stored = true;
            self.note(backoff.save(&self.agent.settings.state));
        }
        time
    }

    fn note(&self, result: Result<(), crate::store::StoreError>) {
        if let Err(error) = result {
            log::debug!("{error}");
        }
    }
}

/// What a server wishes counts up to a day: no answer keeps a device away for good.
fn wait(interval: u64, failures: u32, wish: Duration, random: u32) -> Duration {
    pause(interval, failures, random).max(spread(wish.min(DAY), random))
}

/// The server said the same to all devices, and they must not come back together.
fn spread(wish: Duration, random: u32) -> Duration {
    wish.mul_f64(1.0 + f64::from(random) / f64::from(u32::MAX) / 4.0)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::{Merged, Settings};

    #[test]
    fn a_wish_counts_up_to_a_day() {
        let seconds = |wish| wait(60, 1, Duration::from_secs(wish), 0).as_secs();
        assert_eq!(seconds(3600), 3600);
        assert_eq!(seconds(86_400), 86_400);
        for wish in [86_401, 10 * 86_400, u64::MAX] {
            assert_eq!(seconds(wish), 86_400, "{wish}");
            let latest = wait(60, 1, Duration::from_secs(wish), u32::MAX);
            assert!(latest <= DAY.mul_f64(1.25), "{wish}: {latest:?}");
        }
        assert!(seconds(0) >= 30, "the own pause is the least");
    }

    #[test]
    fn an_interval_without_sense_is_one_too() {
        for random in [0, u32::MAX] {
            let time = wait(u64::MAX, u32::MAX, Duration::MAX, random);
            assert!(time > DAY && time.as_secs() < 100 * 366 * 86_400, "{time:?}");
        }
    }

    /// A clock that was ahead when it was written must not silence a device.
    #[test]
    fn what_is_left_of_a_wait_is_a_day_at_most() {
        let folder = std::env::temp_dir().join(format!("rust-ota-patience-{}", std::process::id()));
        let mut merged = Merged::default();
        let text =
            format!("[storage]\npath = {}\n[provision]\nprimary_ecu_hardware_id = b\n", folder.display());
        merged.apply(Path::new("f"), &text).unwrap();
        let settings = Settings::from_merged(&merged).unwrap();
        std::fs::create_dir_all(&settings.state).unwrap();
        let agent = Agent::new(settings);
        for (days, left) in [(-1, None), (10, Some(DAY)), (100_000, Some(DAY))] {
            let until = super::super::clock() + days * DAY.as_secs() as i64;
            Backoff { failures: 99, until }.save(&agent.settings.state).unwrap();
            let (patience, wait) = Patience::new(&agent);
            assert_eq!((patience.failures, wait), (MOST_FAILURES, left), "{days}");
        }
        std::fs::remove_dir_all(folder).unwrap();
    }
}
