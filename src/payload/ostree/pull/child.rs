//! Runs the process that applies a static delta, and watches it.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use super::PullOptions;
use super::apply::{REFUSED, Work};
use crate::payload::ostree::space::Space;

/// A second of a processor more for so many bytes of objects: a slow processor patches and hashes 4 MB a second.
const BYTES_A_SECOND: u64 = 1 << 20;
/// The clock may go by so much faster: other programs run too.
const PATIENCE: u64 = 4;
/// Bytes of what the process said that are repeated.
const SAID: u64 = 300;

/// Why the process did not apply the delta.
#[derive(Debug, PartialEq, Eq)]
pub enum Fault {
    /// It could not be started, or not prepare itself.
    NotStarted(String),
    /// libostree found something wrong.
    Refused(String),
    /// It died.
    Killed(String),
    /// It took too long.
    TooLong(u64),
    /// The volume is too full to go on.
    NoSpace,
    /// The whole pull is to stop.
    Stopped,
}

impl Fault {
    /// Whether trying again would end in the same way, after the same work.
    pub fn is_final(&self) -> bool {
        matches!(self, Fault::Killed(_) | Fault::TooLong(_))
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::NotStarted(reason) => write!(f, "its process could not start: {reason}"),
            Fault::Refused(reason) => f.write_str(reason),
            Fault::Killed(reason) => write!(f, "its process ended by {reason}"),
            Fault::TooLong(seconds) => write!(f, "its process took more than {seconds} seconds"),
            Fault::NoSpace => f.write_str("there is no space for what it unpacks to"),
            Fault::Stopped => f.write_str("stopped as asked"),
        }
    }
}

/// Applies the delta in `scratch`, which unpacks to at most `unpacked` bytes.
pub fn run(
    scratch: &Path,
    repo: &Path,
    unpacked: u64,
    space: &Space,
    options: &PullOptions,
) -> Result<(), Fault> {
    let seconds = options.delta_seconds.saturating_add(unpacked / BYTES_A_SECOND);
    // What is unpacked of a part has instructions beside the bytes of objects.
    let file = unpacked.saturating_add(unpacked / 8).saturating_add(4 << 20);
    let not_started = |e: io::Error| Fault::NotStarted(e.to_string());
    let repo = fs::canonicalize(repo).map_err(not_started)?;
    let said = scratch.join("said");
    let work = Work { repo, file, seconds };
    let mut child = start(&options.program, scratch, &work, &said).map_err(not_started)?;
    let ended = wait(&mut child, Duration::from_secs(seconds.saturating_mul(PATIENCE)), space, options);
    let said = repeated(&said);
    match ended? {
        status if status.success() => Ok(()),
        status if status.code() == Some(REFUSED) => Err(Fault::Refused(said)),
        status if status.signal().is_some() => Err(Fault::Killed(join(&status.to_string(), &said))),
        _ => Err(Fault::NotStarted(said)),
    }
}

fn start(program: &Path, scratch: &Path, work: &Work, said: &Path) -> io::Result<Child> {
    let mut command = Command::new(program);
    command
        .arg0("rust-ota")
        .args(work.args())
        .current_dir(scratch)
        .env_clear()
        // Relative, so that it is the same place in the process's own root folder.
        .env("TMPDIR", "tmp")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(File::create(said)?);
    if cfg!(debug_assertions)
        && let Some(value) = std::env::var_os("RUST_OTA_DELTA")
    {
        command.env("RUST_OTA_DELTA", value);
    }
    command.spawn()
}

/// Waits, with an eye on time, space and the wish to stop. The process is gone when this returns.
fn wait(
    child: &mut Child,
    most: Duration,
    space: &Space,
    options: &PullOptions,
) -> Result<ExitStatus, Fault> {
    let begun = Instant::now();
    let mut pause = Duration::from_millis(1);
    let fault = loop {
        match child.try_wait() {
            Ok(Some(status)) => return Ok(status),
            Err(error) => break Fault::NotStarted(error.to_string()),
            Ok(None) if options.is_stopped() => break Fault::Stopped,
            Ok(None) if begun.elapsed() > most => break Fault::TooLong(most.as_secs()),
            Ok(None) if space.available().is_ok_and(|free| free == 0) => break Fault::NoSpace,
            Ok(None) => thread::sleep(pause),
        }
        pause = (pause * 2).min(Duration::from_millis(50));
    };
    let _ = child.kill();
    let _ = child.wait();
    Err(fault)
}

/// The beginning of what the process said, in one line that is safe to show.
fn repeated(path: &PathBuf) -> String {
    let mut bytes = Vec::new();
    let _ = File::open(path).and_then(|file| file.take(SAID).read_to_end(&mut bytes));
    let text = String::from_utf8_lossy(&bytes);
    let plain = |c: char| if c.is_control() { ' ' } else { c };
    text.trim().chars().map(plain).collect()
}

fn join(status: &str, said: &str) -> String {
    if said.is_empty() { status.to_string() } else { format!("{status}: {said}") }
}
