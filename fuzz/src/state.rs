//! Files of the state folder, as a failing disk or another program could leave them. Whatever is in one: reading it, and
//! what is done with it after, ends well; what cannot be read is set aside, so that the next run starts.

use std::fs;
use std::path::PathBuf;

use rust_ota::store::{
    Backoff, DirectorState, EcuRecord, Etag, EventQueue, Installed, ReportCounter, StoreError, TriedDeltas,
};

/// A folder with this file alone, on a file system in memory.
fn folder(name: &str, data: &[u8]) -> PathBuf {
    let folder = PathBuf::from(format!("/dev/shm/rust-ota-fuzz-{}-{name}", std::process::id()));
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join(name), data).unwrap();
    folder
}

/// One that was set aside is not met again.
fn once<T>(read: impl Fn() -> Result<T, StoreError>) -> Option<T> {
    match read() {
        Err(StoreError::Damaged { set_aside, .. }) => {
            assert!(set_aside.exists());
            let again = read();
            assert!(!matches!(again, Err(StoreError::Damaged { .. })));
            again.ok()
        }
        read => read.ok(),
    }
}

/// `installed.json`.
pub fn installed(data: &[u8]) {
    let folder = folder("installed.json", data);
    let Some(mut installed) = once(|| Installed::load(&folder)) else { return };
    installed.save(&folder).unwrap();
    assert_eq!(Installed::load(&folder).unwrap(), installed);
}

/// `director.json`.
pub fn director(data: &[u8]) {
    let folder = folder("director.json", data);
    let Some(mut state) = once(|| DirectorState::load(&folder)) else { return };
    state.save(&folder).unwrap();
    DirectorState::load(&folder).unwrap();
}

/// `events.jsonl`: what is read can be added to, at any time, and dropped.
pub fn events(data: &[u8]) {
    let folder = folder("events.jsonl", data);
    let queue = EventQueue::of(&folder);
    let Ok(before) = queue.events() else { return };
    let event = || serde_json::value::RawValue::from_string("\"new\"".into()).unwrap();
    for now in [1_700_000_000, i64::MAX, i64::MIN] {
        if queue.push(event(), now).is_ok() {
            assert_eq!(queue.events().unwrap().last().unwrap().get(), "\"new\"");
        }
    }
    let _ = queue.drop_oldest(before.len());
}

/// The small ones: `backoff.json`, `timestamp-etag.json`, `report-counter.json`, `ecu.json`, `deltas.json`.
pub fn small(data: &[u8]) {
    let of = folder("backoff.json", data);
    if let Some(backoff) = Backoff::load(&of) {
        assert!([0, i64::MIN, i64::MAX].iter().all(|now| backoff.left(*now, 60) <= 60));
    }
    let of = folder("timestamp-etag.json", data);
    let mut etag = Etag::of(&of);
    let _ = etag.known("timestamp.json");
    etag.received("timestamp.json", Some("\"x\"".into()));
    etag.kept("timestamp.json", b"x");
    let of = folder("report-counter.json", data);
    if let Ok(first) = ReportCounter::of(&of).take() {
        assert!(ReportCounter::of(&of).take().is_ok_and(|second| second > first || first == u64::MAX));
    }
    let of = folder("ecu.json", data);
    let _ = once(|| EcuRecord::load(&of));
    let of = folder("deltas.json", data);
    if let Some(mut tried) = once(|| TriedDeltas::load(&of)) {
        let _ = tried.refuses("x");
        tried.begin("x").unwrap();
        tried.killed("x", "reason").unwrap();
        assert!(TriedDeltas::load(&of).unwrap().refuses("x").is_some());
    }
}
