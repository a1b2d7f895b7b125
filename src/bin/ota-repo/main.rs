//! `ota-repo`: makes keys, signs a repository of OSTree Targets, publishes it as plain files, and serves them for
//! development. A team that has a folder and any static web server needs no other backend.

// No panic on anything that came from outside; tests may.
#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod apps;
mod cli;
mod delegated;
mod deltas;
mod device;
mod director;
mod error;
mod files;
mod init;
mod keys;
mod metadata;
mod pkcs12;
mod publish;
mod refresh;
mod repository;
mod rotate;
mod run;
mod serve;
mod show;
mod tags;
mod target;
mod time;
mod tls;
mod treehub;
mod verify;

use std::process::ExitCode;

fn main() -> ExitCode {
    rust_ota::cli::pipe::end_quietly_without_reader();
    let words = std::env::args_os().skip(1).map(|word| word.to_string_lossy().into_owned());
    let command = match cli::parse(words) {
        Ok(command) => command,
        Err(cli::Stop { text, help: true }) => {
            println!("{text}");
            return ExitCode::SUCCESS;
        }
        Err(cli::Stop { text, help: false }) => {
            eprintln!("{text}");
            return ExitCode::FAILURE;
        }
    };
    match run::run(command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("ota-repo: {error}");
            ExitCode::FAILURE
        }
    }
}
