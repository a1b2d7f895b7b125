//! The process that applies one static delta: this program, called by itself with an internal command.
//!
//! libostree interprets what may be nonsense, and ends the process when it is. It writes into a repository of its own
//! (`repo` in the working folder) with the device's as the parent, so it never writes where the device's objects are.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use ::ostree::gio;

use super::sandbox;
use super::transaction::Transaction;
use crate::payload::ostree::error::OstreeError;
use crate::payload::ostree::sysroot::open_repo;

/// The first argument. Not offered by `--help`: only this program knows what must be prepared.
pub const COMMAND: &str = "internal-apply-static-delta";
/// The exit code of a delta that libostree refused.
pub const REFUSED: i32 = 1;
/// The exit code where the process could not prepare itself.
const UNPREPARED: u8 = 2;

/// What is to be applied, as arguments.
#[derive(Debug)]
pub struct Work {
    /// The device's repository.
    pub repo: PathBuf,
    /// The longest file that may be written.
    pub file: u64,
    /// Seconds of a processor.
    pub seconds: u64,
}

impl Work {
    /// The arguments that [`main`] reads.
    pub fn args(&self) -> [OsString; 4] {
        [
            COMMAND.into(),
            self.file.to_string().into(),
            self.seconds.to_string().into(),
            self.repo.clone().into(),
        ]
    }

    fn read(args: &[String]) -> Option<Work> {
        let [file, seconds, repo] = args else { return None };
        Some(Work { repo: repo.into(), file: file.parse().ok()?, seconds: seconds.parse().ok()? })
    }
}

/// Applies the delta of the working folder; returns the exit code.
pub fn main(args: &[String]) -> u8 {
    let prepared = Work::read(args)
        .ok_or_else(|| "for this program's own use".to_string())
        .and_then(|work| prepare(&work).map_err(|e| e.to_string()));
    if let Err(reason) = prepared {
        eprintln!("{reason}");
        return UNPREPARED;
    }
    test_hook();
    match apply() {
        Ok(()) => 0,
        Err(error) => {
            eprintln!("{error}");
            REFUSED as u8
        }
    }
}

fn prepare(work: &Work) -> std::io::Result<()> {
    sandbox::limit(work.file, work.seconds)?;
    let parent = sandbox::isolate(&std::env::current_dir()?, &work.repo);
    sandbox::drop_privileges()?;
    for folder in ["objects", "tmp", "state", "extensions", "refs/heads", "refs/remotes", "refs/mirrors"] {
        fs::create_dir_all(Path::new("repo").join(folder))?;
    }
    // Nothing of it outlives the update, so nothing is synced.
    let config = format!(
        "[core]\nrepo_version=1\nmode=bare-user\nfsync=false\nmin-free-space-percent=0\nparent={}\n",
        parent.display()
    );
    fs::write("repo/config", config)
}

fn apply() -> Result<(), OstreeError> {
    let repo = open_repo(Path::new("repo"))?;
    let transaction = Transaction::begin(&repo)?;
    repo.static_delta_execute_offline(&gio::File::for_path("delta"), false, gio::Cancellable::NONE)
        .map_err(|e| OstreeError::repo("applying", e.message()))?;
    transaction.commit()
}

/// Tests see here what happens when the process ends, or does not end.
#[cfg(debug_assertions)]
fn test_hook() {
    match std::env::var("RUST_OTA_DELTA").as_deref() {
        Ok("hang") => std::thread::sleep(std::time::Duration::from_secs(3600)),
        Ok("spin") => loop {
            std::hint::spin_loop();
        },
        Ok("memory") => drop(std::hint::black_box(vec![1u8; 96 << 20])),
        Ok("file") => drop(std::fs::write("tmp/large", vec![1u8; 32 << 20])),
        _ => {}
    }
}

#[cfg(not(debug_assertions))]
fn test_hook() {}
