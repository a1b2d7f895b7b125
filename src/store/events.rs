//! Events that the server has not taken yet: one file of JSON lines, bounded in count, bytes and age.
//!
//! Events are rare (some for each update), so the whole file is written for each of them, atomically.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::{StoreError, atomic};

/// What a server can be away for without a loss is some dozens of updates.
const MOST_EVENTS: usize = 200;
const MOST_BYTES: usize = 256 * 1024;
const MOST_SECONDS: i64 = 90 * 86_400;

/// The queue of one device, oldest first. Written to only by who holds the lock.
#[derive(Debug)]
pub struct EventQueue {
    path: PathBuf,
}

#[derive(Serialize, Deserialize)]
struct Line {
    /// Unix seconds.
    queued: i64,
    event: Box<RawValue>,
}

impl EventQueue {
    /// The queue in this folder; nothing is read yet.
    pub fn of(folder: &Path) -> EventQueue {
        EventQueue { path: folder.join("events.jsonl") }
    }

    /// The events, oldest first.
    pub fn events(&self) -> Result<Vec<Box<RawValue>>, StoreError> {
        Ok(self.lines()?.into_iter().map(|l| l.event).collect())
    }

    /// Adds an event. What is too old, and the oldest of what is too much, is given up.
    pub fn push(&self, event: Box<RawValue>, now: i64) -> Result<(), StoreError> {
        let mut lines = self.lines()?;
        let before = lines.len();
        lines.retain(|l| now.saturating_sub(l.queued) <= MOST_SECONDS);
        lines.push(Line { queued: now, event });
        let mut bytes: usize = lines.iter().map(|l| l.event.get().len()).sum();
        let mut too_many = 0;
        while lines.len() - too_many > MOST_EVENTS || (bytes > MOST_BYTES && lines.len() - too_many > 1) {
            bytes -= lines[too_many].event.get().len();
            too_many += 1;
        }
        lines.drain(..too_many);
        let lost = before + 1 - lines.len();
        if lost > 0 {
            log::warn!("{}: {lost} events that no server took were given up", self.path.display());
        }
        self.write(&lines)
    }

    /// Forgets the oldest ones.
    pub fn drop_oldest(&self, count: usize) -> Result<(), StoreError> {
        let mut lines = self.lines()?;
        lines.drain(..count.min(lines.len()));
        self.write(&lines)
    }

    fn lines(&self) -> Result<Vec<Line>, StoreError> {
        // Events are worth less than an update: a damaged queue is set aside and a new one begins.
        let begin_anew = |error| match error {
            damaged @ StoreError::Damaged { .. } => {
                log::warn!("{damaged}");
                Ok(Vec::new())
            }
            error => Err(error),
        };
        let bytes = match atomic::read_whole(&self.path) {
            Ok(bytes) => bytes.unwrap_or_default(),
            Err(error) => return begin_anew(error),
        };
        // Line by line: serde_json's reader of a stream of values panics at some that end in a number.
        let lines = bytes.split(|byte| *byte == b'\n').filter(|line| !line.trim_ascii().is_empty());
        let parsed = lines.map(serde_json::from_slice).collect::<Result<Vec<Line>, _>>();
        parsed.or_else(|error| begin_anew(atomic::set_aside(&self.path, error.to_string())))
    }

    fn write(&self, lines: &[Line]) -> Result<(), StoreError> {
        if lines.is_empty() {
            return atomic::remove(&self.path);
        }
        let mut bytes = Vec::new();
        for line in lines {
            serde_json::to_writer(&mut bytes, line)
                .map_err(|e| StoreError::io("write", &self.path, std::io::Error::other(e.to_string())))?;
            bytes.push(b'\n');
        }
        atomic::write(&self.path, &bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(text: &str) -> Box<RawValue> {
        RawValue::from_string(format!("\"{text}\"")).unwrap()
    }

    fn texts(queue: &EventQueue) -> Vec<String> {
        queue.events().unwrap().iter().map(|e| e.get().trim_matches('"').to_string()).collect()
    }

    fn queue(name: &str) -> (PathBuf, EventQueue) {
        let folder = std::env::temp_dir().join(format!("rust-ota-events-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        let queue = EventQueue::of(&folder);
        (folder, queue)
    }

    #[test]
    fn what_is_pushed_is_there_until_it_is_dropped() {
        let (folder, queue) = queue("order");
        assert!(texts(&queue).is_empty());
        for text in ["a", "b", "c"] {
            queue.push(event(text), 100).unwrap();
        }
        assert_eq!(texts(&queue), ["a", "b", "c"]);
        queue.drop_oldest(2).unwrap();
        assert_eq!(texts(&queue), ["c"]);
        queue.drop_oldest(9).unwrap();
        assert!(!folder.join("events.jsonl").exists(), "an empty queue is no file");
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn count_bytes_and_age_are_bounded() {
        let (folder, queue) = queue("bounds");
        queue.push(event("old"), 0).unwrap();
        queue.push(event("new"), MOST_SECONDS + 1).unwrap();
        assert_eq!(texts(&queue), ["new"]);
        for n in 0..MOST_EVENTS + 5 {
            queue.push(event(&n.to_string()), MOST_SECONDS + 2).unwrap();
        }
        assert_eq!((texts(&queue).len(), texts(&queue)[0].as_str()), (MOST_EVENTS, "5"));
        queue.push(event(&"x".repeat(MOST_BYTES - 10)), MOST_SECONDS + 3).unwrap();
        assert!(texts(&queue).len() < 10, "the large one displaces the small ones");
        queue.push(event(&"y".repeat(MOST_BYTES + 10)), MOST_SECONDS + 3).unwrap();
        assert_eq!(texts(&queue).len(), 1, "the last event always stays");
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn whatever_the_file_has_the_queue_goes_on() {
        let (folder, queue) = queue("any");
        std::fs::create_dir_all(&folder).unwrap();
        let good = r#"{"queued":1,"event":"e"}"#;
        let lowest = format!(r#"{{"queued":{},"event":"e"}}"#, i64::MIN);
        for (text, kept) in [
            (format!("{good}\n7"), 1),
            (format!("{good}7"), 1),
            ("7".to_string(), 1),
            (format!("{good}\n-"), 1),
            (format!("{good}\n1e"), 1),
            (r#"{"queued":1,"event":7"#.to_string(), 1),
            (r#"{"queued":1,"event":7}"#.to_string(), 2),
            (format!("{good}\n\n{good}\n"), 3),
            (lowest, 1),
        ] {
            std::fs::write(folder.join("events.jsonl"), &text).unwrap();
            queue.push(event("a"), i64::MAX).unwrap();
            let _ = std::fs::remove_file(folder.join("events.jsonl"));
            std::fs::write(folder.join("events.jsonl"), &text).unwrap();
            queue.push(event("a"), 5).unwrap();
            assert_eq!(queue.events().unwrap().len(), kept, "{text}");
        }
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_damaged_queue_is_set_aside() {
        let (folder, queue) = queue("damaged");
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("events.jsonl"), "{\"queued\":1,").unwrap();
        queue.push(event("a"), 1).unwrap();
        assert_eq!(texts(&queue), ["a"]);
        assert!(folder.join("events.jsonl.damaged").exists());
        std::fs::remove_file(folder.join("events.jsonl")).unwrap();
        std::fs::create_dir(folder.join("events.jsonl")).unwrap();
        queue.push(event("b"), 1).unwrap();
        assert_eq!(texts(&queue), ["b"]);
        std::fs::remove_dir_all(folder).unwrap();
    }
}
