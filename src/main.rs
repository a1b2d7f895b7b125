//! The device's binary: argv to a command to an exit code.

// No panic on anything that came from outside; tests may.
#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

use std::process::ExitCode;

fn main() -> ExitCode {
    rust_ota::cli::pipe::end_quietly_without_reader();
    let argv: Vec<String> = std::env::args_os().map(|a| a.to_string_lossy().into_owned()).collect();
    ExitCode::from(rust_ota::cli::main(&argv))
}
