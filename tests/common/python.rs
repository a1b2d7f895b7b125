//! Python with python-tuf, in a virtual environment in the cache, made when it is missing.
#![allow(dead_code, missing_docs)]

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::fs::{FlockOperation, flock};
use sha2::{Digest, Sha256};

/// Runs `tests/python/SCRIPT`; gives what it prints.
#[track_caller]
pub fn run(script: &str, args: &[&str]) -> String {
    output(Command::new(interpreter()).arg(folder().join(script)).args(args))
}

/// The Python of the virtual environment.
pub fn interpreter() -> PathBuf {
    let requirements = folder().join("requirements.txt");
    let text = fs::read_to_string(&requirements).unwrap();
    let cache = std::env::var_os("RUST_OTA_CACHE")
        .map(PathBuf::from)
        .unwrap_or_else(|| PathBuf::from(std::env::var_os("HOME").unwrap()).join(".cache/rust-ota"));
    fs::create_dir_all(&cache).unwrap();
    // One at a time: tests run side by side.
    let lock = File::create(cache.join("python.lock")).unwrap();
    flock(&lock, FlockOperation::LockExclusive).unwrap();
    let key: String = Sha256::digest(&text).iter().take(8).map(|b| format!("{b:02x}")).collect();
    let venv = cache.join(format!("python-{key}"));
    let program = venv.join("bin/python");
    // Written last, so that a half-made environment is made again.
    let done = venv.join("done");
    if !done.exists() {
        let _ = fs::remove_dir_all(&venv);
        output(Command::new("python3").args(["-m", "venv"]).arg(&venv));
        let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r"];
        output(Command::new(&program).args(pip).arg(&requirements));
        fs::write(&done, text).unwrap();
    }
    program
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python")
}

#[track_caller]
fn output(command: &mut Command) -> String {
    let output =
        command.output().unwrap_or_else(|e| panic!("{command:?}: {e}; see `scripts/install-deps dev`"));
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}\n{errors}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}
