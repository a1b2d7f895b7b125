//! The state of the client that was there before, in any shape.

use rust_ota::device::old::OldState;
use rust_ota::sqlite::{Database, Files, Source};

/// A database with a journal or a log: two lengths, then the three files. What is read twice is the same, and a journal and a
/// log that are empty change nothing.
pub fn old_database(data: &[u8]) {
    let Some((lengths, rest)) = data.split_at_checked(4) else { return };
    let length = |at: usize| usize::from(lengths[at]) << 8 | usize::from(lengths[at + 1]);
    let (journal, rest) = rest.split_at(length(0).min(rest.len()));
    let (wal, database) = rest.split_at(length(2).min(rest.len()));
    let read = |journal: Option<&dyn Source>, wal: Option<&dyn Source>| {
        Database::open(Files { database: &database, journal, wal }).map(|open| {
            let old = OldState::of(&open);
            if let Ok(Some(old)) = &old {
                assert!((0..=25).contains(&old.schema));
                assert!(old.versions.iter().all(|v| !v.name.is_empty() && !v.sha256.is_empty()));
            }
            old
        })
    };
    assert_eq!(read(Some(&journal), Some(&wal)), read(Some(&journal), Some(&wal)));
    let nothing: &[u8] = &[];
    assert_eq!(read(None, None), read(Some(&nothing), Some(&nothing)));
}
