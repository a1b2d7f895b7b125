//! Events: what happened on the device, as the server wants to read it, and how they are handed over.

use std::collections::VecDeque;

use serde_json::json;
use serde_json::value::RawValue;

use super::redact::without_addresses;
use super::{Http, HttpError};
use crate::tuf::Time;

/// Events in one request.
const BATCH: usize = 6;
const MOST_DETAILS: usize = 2048;
const KEPT_TAIL: usize = 1024;
const MARK: &str = "[TRUNCATED]";
const REPLY_LIMIT: u64 = 64 * 1024;

/// What an event is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The metadata changed, or could not be refreshed.
    MetadataUpdateCompleted,
    /// Content is being fetched.
    EcuDownloadStarted,
    /// Content is here, or is not.
    EcuDownloadCompleted,
    /// A Target is being deployed.
    EcuInstallationStarted,
    /// A Target waits for its reboot.
    EcuInstallationApplied,
    /// A Target runs, or does not.
    EcuInstallationCompleted,
}

/// An event before it is written down.
#[derive(Debug)]
pub struct Event<'a> {
    /// Unique over all devices; servers drop what they saw before.
    pub id: &'a str,
    /// Unix seconds.
    pub time: i64,
    /// What it is about.
    pub kind: Kind,
    /// Serial of the device.
    pub ecu: &'a str,
    /// Joins the events of one update.
    pub correlation_id: &'a str,
    /// The Target's name.
    pub target: &'a str,
    /// Its version.
    pub version: i64,
    /// Only where something is completed.
    pub success: Option<bool>,
    /// For a person.
    pub details: &'a str,
}

impl Event<'_> {
    /// As it goes over the wire.
    pub fn to_json(&self) -> Result<Box<RawValue>, serde_json::Error> {
        let mut event = json!({
            "ecu": self.ecu,
            "correlationId": self.correlation_id,
            "targetName": self.target,
            "version": self.version.to_string(),
        });
        if self.correlation_id.is_empty()
            && let Some(members) = event.as_object_mut()
        {
            // A Director that gave none gets none back.
            members.remove("correlationId");
        }
        if let Some(success) = self.success {
            event["success"] = json!(success);
        }
        if !self.details.is_empty() {
            event["details"] = json!(self.short_details());
        }
        serde_json::value::to_raw_value(&json!({
            "id": self.id,
            "deviceTime": Time(self.time).to_string(),
            "eventType": {"id": format!("{:?}", self.kind), "version": 0},
            "event": event,
        }))
    }

    /// The end of a failure's output says more than its middle.
    fn short_details(&self) -> String {
        let details = without_addresses(self.details);
        let characters: Vec<char> = details.chars().collect();
        if characters.len() <= MOST_DETAILS {
            return details;
        }
        let failed = self.kind == Kind::EcuInstallationCompleted && self.success == Some(false);
        let tail = if failed { KEPT_TAIL } else { 0 };
        let head = MOST_DETAILS - MARK.len() - tail;
        let text = |part: &[char]| part.iter().collect::<String>();
        format!("{}{MARK}{}", text(&characters[..head]), text(&characters[characters.len() - tail..]))
    }
}

/// What the server made of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answer {
    Taken,
    TooLarge,
    Later(u16),
}

fn answer(status: u16) -> Answer {
    match status {
        200..=299 => Answer::Taken,
        // There is no such endpoint, or nobody may post to it: a server without events, such as a folder of files.
        404 | 405 | 501 => Answer::Taken,
        413 => Answer::TooLarge,
        status => Answer::Later(status),
    }
}

/// Hands events over, oldest first, and calls `done` for each number that need not be kept. Ends early, without
/// an error, where the server wants them later.
pub fn deliver<E: From<HttpError>>(
    http: &Http,
    server: &str,
    events: Vec<Box<RawValue>>,
    done: &mut dyn FnMut(usize) -> Result<(), E>,
) -> Result<(), E> {
    let url = format!("{server}/events");
    in_batches(events.into(), done, &mut |batch| {
        let text = batch.iter().map(|e| e.get()).collect::<Vec<_>>().join(",");
        let body = format!("[{text}]");
        let reply = http.send("POST", &url, "application/json", body.as_bytes(), REPLY_LIMIT)?;
        Ok(answer(reply.status))
    })
}

type Post<'a, E> = dyn FnMut(&[Box<RawValue>]) -> Result<Answer, E> + 'a;

fn in_batches<E>(
    mut events: VecDeque<Box<RawValue>>,
    done: &mut dyn FnMut(usize) -> Result<(), E>,
    post: &mut Post<'_, E>,
) -> Result<(), E> {
    let mut most = BATCH;
    while !events.is_empty() {
        let count = most.min(events.len());
        match post(&events.make_contiguous()[..count])? {
            Answer::Taken => {
                events.drain(..count);
                done(count)?;
            }
            Answer::TooLarge if count > 1 => most = count / 2,
            Answer::TooLarge => {
                log::warn!("an event is too large for the server; it was given up");
                events.drain(..1);
                done(1)?;
                most = BATCH;
            }
            Answer::Later(status) => {
                log::debug!("the server answered {status} to events; they are kept");
                return Ok(());
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(count: usize) -> VecDeque<Box<RawValue>> {
        (0..count).map(|n| RawValue::from_string(n.to_string()).unwrap()).collect()
    }

    /// Posts to a server that answers by a rule; gives the sizes of the batches and how many are done.
    fn run(count: usize, rule: &dyn Fn(&[Box<RawValue>]) -> u16) -> (Vec<usize>, usize) {
        let (mut sizes, mut done) = (Vec::new(), 0);
        in_batches::<()>(
            numbers(count),
            &mut |n| {
                done += n;
                Ok(())
            },
            &mut |batch| {
                sizes.push(batch.len());
                Ok(answer(rule(batch)))
            },
        )
        .unwrap();
        (sizes, done)
    }

    #[test]
    fn batches_and_answers() {
        assert_eq!(run(14, &|_| 200), (vec![6, 6, 2], 14));
        assert_eq!(run(7, &|_| 404), (vec![6, 1], 7), "a server without events");
        assert_eq!(run(7, &|_| 503), (vec![6], 0), "kept for the next time");
        assert_eq!(run(7, &|b| if b.len() > 2 { 413 } else { 200 }), (vec![6, 3, 1, 1, 1, 1, 1, 1, 1], 7));
        let second_is_too_large =
            |b: &[Box<RawValue>]| if b.iter().any(|e| e.get() == "1") { 413 } else { 200 };
        assert_eq!(run(3, &second_is_too_large), (vec![3, 1, 1, 1], 3));
        assert_eq!(run(0, &|_| 200), (vec![], 0));
    }

    fn event(kind: Kind, success: Option<bool>, details: &str) -> serde_json::Value {
        let event = Event {
            id: "1-2",
            time: 1_767_225_600,
            kind,
            ecu: "serial",
            correlation_id: "93-x",
            target: "board-93",
            version: 93,
            success,
            details,
        };
        serde_json::from_str(event.to_json().unwrap().get()).unwrap()
    }

    #[test]
    fn as_servers_read_it() {
        let read = event(Kind::EcuInstallationCompleted, Some(true), "fine");
        assert_eq!(
            read,
            json!({"id": "1-2", "deviceTime": "2026-01-01T00:00:00Z",
                "eventType": {"id": "EcuInstallationCompleted", "version": 0},
                "event": {"ecu": "serial", "correlationId": "93-x", "targetName": "board-93", "version": "93",
                    "success": true, "details": "fine"}})
        );
        assert!(event(Kind::EcuDownloadStarted, None, "")["event"].get("success").is_none());
    }

    #[test]
    fn long_details_are_cut_where_they_say_least() {
        let long = format!("begin{}end", "ä".repeat(5000));
        let details =
            |kind, success| event(kind, success, &long)["event"]["details"].as_str().unwrap().to_string();
        let cut = details(Kind::EcuDownloadCompleted, Some(false));
        assert!(cut.starts_with("begin") && cut.ends_with(MARK));
        assert_eq!(cut.chars().count(), MOST_DETAILS);
        let cut = details(Kind::EcuInstallationCompleted, Some(false));
        assert!(cut.starts_with("begin") && cut.contains(MARK) && cut.ends_with("end"));
        assert_eq!(cut.chars().count(), MOST_DETAILS);
    }

    #[test]
    fn what_opens_an_address_is_told_to_nobody() {
        let said = "https://u:secret@h/x?sig=secret: the server answered 403";
        let shown = event(Kind::EcuDownloadCompleted, Some(false), said)["event"]["details"].clone();
        let shown = shown.as_str().unwrap();
        assert!(
            !shown.contains("secret") && shown.contains("h/x") && shown.contains("answered 403"),
            "{shown}"
        );
    }
}
