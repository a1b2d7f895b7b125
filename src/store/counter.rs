//! The counter of what an ECU reports. It never goes back, also not after a power cut: a server takes a report with a
//! lower one for a replay. Numbers are reserved in blocks, so that a poll with nothing new writes nothing.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{StoreError, atomic};

const VERSION: u32 = 1;
/// Polls between two writes. A restart skips what is left of a block.
const BLOCK: u64 = 256;

#[derive(Serialize, Deserialize)]
struct File {
    version: u32,
    /// Numbers below this one may have been used.
    reserved: u64,
}

/// Numbers for reports, for a process that holds the lock while it takes one.
#[derive(Debug)]
pub struct ReportCounter {
    path: PathBuf,
    next: u64,
    end: u64,
}

impl ReportCounter {
    /// The counter in this folder; nothing is read yet.
    pub fn of(folder: &Path) -> ReportCounter {
        ReportCounter { path: folder.join("report-counter.json"), next: 0, end: 0 }
    }

    /// Numbers up to this one were used by another client.
    pub fn at_least(folder: &Path, used: u64) -> Result<(), StoreError> {
        let counter = ReportCounter::of(folder);
        let reserved = used.saturating_add(1);
        if used == 0 || counter.reserved()? >= reserved {
            return Ok(());
        }
        atomic::write_json(&counter.path, &File { version: VERSION, reserved })
    }

    /// The next number. It counts as used from here on, whatever becomes of the report.
    pub fn take(&mut self) -> Result<u64, StoreError> {
        let reserved = self.reserved()?;
        // Another process may have taken numbers since: then what is left of this block would go back.
        if self.next >= self.end || self.end != reserved {
            self.next = reserved;
            self.end = reserved.saturating_add(BLOCK);
            atomic::write_json(&self.path, &File { version: VERSION, reserved: self.end })?;
        }
        let number = self.next;
        self.next = self.next.saturating_add(1);
        Ok(number)
    }

    fn reserved(&self) -> Result<u64, StoreError> {
        match atomic::read_json::<File>(&self.path)? {
            Some(file) if file.version > VERSION => {
                Err(StoreError::Newer { path: self.path.clone(), version: file.version })
            }
            Some(file) => Ok(file.reserved),
            None => Ok(0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn never_back_and_seldom_written() {
        let folder = std::env::temp_dir().join(format!("rust-ota-counter-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        let path = folder.join("report-counter.json");
        let mut daemon = ReportCounter::of(&folder);
        let mut seen = vec![daemon.take().unwrap()];
        let written = std::fs::metadata(&path).unwrap().modified().unwrap();
        seen.extend((0..20).map(|_| daemon.take().unwrap()));
        assert_eq!(std::fs::metadata(&path).unwrap().modified().unwrap(), written, "no write at each number");
        let mut person = ReportCounter::of(&folder);
        seen.extend((0..3).map(|_| person.take().unwrap()));
        seen.extend((0..3).map(|_| daemon.take().unwrap()));
        seen.extend((0..BLOCK * 2).map(|_| daemon.take().unwrap()));
        assert!(seen.is_sorted_by(|a, b| a < b), "{seen:?}");
        std::fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn goes_on_where_another_client_ended() {
        let folder = std::env::temp_dir().join(format!("rust-ota-counter-least-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        for (used, next) in [(0, 0), (900, 901), (7, 901 + BLOCK)] {
            ReportCounter::at_least(&folder, used).unwrap();
            assert_eq!(ReportCounter::of(&folder).take().unwrap(), next, "{used}");
        }
        std::fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn version_1_of_the_file_reads() {
        let folder = std::env::temp_dir().join(format!("rust-ota-counter-fixture-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::copy("tests/fixtures/store/report-counter.v1.json", folder.join("report-counter.json"))
            .unwrap();
        assert_eq!(ReportCounter::of(&folder).take().unwrap(), 512);
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
