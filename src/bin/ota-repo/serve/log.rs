//! The request log: a line for people on stderr, and one JSON object a line in a file.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde::Serialize;

use crate::error::Error;
use crate::time;

/// Where requests are noted.
#[derive(Debug)]
pub struct Log {
    quiet: bool,
    file: Option<Mutex<File>>,
}

/// A request that was answered, or refused.
#[derive(Debug, Serialize)]
pub struct Entry<'a> {
    pub time: String,
    /// Counts connections from 1: requests with the same number came over one connection.
    pub connection: u64,
    pub peer: String,
    pub method: &'a str,
    pub path: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub range: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_agent: Option<&'a str>,
    pub status: u16,
    /// Bytes of the body that were sent.
    pub bytes: u64,
    pub milliseconds: u64,
    /// Why it was refused or broke off.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

impl<'a> Entry<'a> {
    /// An entry of now, still without an outcome.
    pub fn new(connection: u64, peer: Option<SocketAddr>) -> Self {
        Self {
            time: time::format(time::now()),
            connection,
            peer: peer.map_or_else(String::new, |peer| peer.to_string()),
            method: "",
            path: "",
            range: None,
            user_agent: None,
            status: 0,
            bytes: 0,
            milliseconds: 0,
            problem: None,
        }
    }

    /// With the time that the answer took.
    pub fn took(mut self, time: Duration) -> Self {
        self.milliseconds = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        self
    }
}

impl Log {
    /// Opens the file, which grows from run to run.
    pub fn open(path: Option<&Path>, quiet: bool) -> Result<Self, Error> {
        let file = path
            .map(|path| {
                let file = OpenOptions::new().append(true).create(true).open(path);
                file.map(Mutex::new).map_err(Error::io("open the log", path))
            })
            .transpose()?;
        Ok(Self { quiet, file })
    }

    /// Notes an entry. A log that cannot be written must not stop the server.
    pub fn note(&self, entry: &Entry) {
        if !self.quiet {
            eprintln!("{}", line(entry));
        }
        let Some(file) = &self.file else { return };
        let Ok(mut json) = serde_json::to_vec(entry) else {
            return;
        };
        json.push(b'\n');
        let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(error) = file.write_all(&json) {
            eprintln!("ota-repo: cannot write the log: {error}");
        }
    }
}

fn line(entry: &Entry) -> String {
    let range = entry.range.map_or(String::new(), |range| format!(" [{range}]"));
    let problem = entry.problem.as_ref().map_or(String::new(), |problem| format!(": {problem}"));
    // Debug form: a control character in a path must not reach the terminal.
    format!(
        "{} #{} {} {} {}{range} {} {} B {} ms{problem}",
        entry.time,
        entry.connection,
        entry.peer,
        entry.method,
        entry.path.escape_debug(),
        entry.status,
        entry.bytes,
        entry.milliseconds
    )
}
