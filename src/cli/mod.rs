//! What people type and read: one file a personality.

mod aktualizr;
pub mod argv;
mod config;
mod directed;
pub mod exit;
mod explain;
mod get;
mod info;
mod lines;
mod lite;
mod native;
pub mod pipe;
mod render;
mod tuf;
mod uptane;

use std::io::Write;
use std::path::Path;

use log::{Level, LevelFilter};

/// Runs the command line and gives the exit code. The name that the program was called by is its personality.
pub fn main(argv: &[String]) -> u8 {
    if argv.first().is_some_and(|path| Path::new(path).ends_with("aktualizr-lite")) {
        return lite::main(argv);
    }
    if argv.first().is_some_and(|path| Path::new(path).ends_with("aktualizr")) {
        return aktualizr::main(argv);
    }
    if argv.first().is_some_and(|path| Path::new(path).ends_with("aktualizr-info")) {
        return info::main(argv);
    }
    if argv.first().is_some_and(|path| Path::new(path).ends_with("aktualizr-get")) {
        return get::main(argv);
    }
    if let Some(args) = uptane::called(argv) {
        return uptane::main(&args);
    }
    native::main(argv)
}

/// What the numbers of `--loglevel` and `logger.loglevel` mean.
fn level(loglevel: u8) -> LevelFilter {
    match loglevel {
        0 => LevelFilter::Trace,
        1 => LevelFilter::Debug,
        2 => LevelFilter::Info,
        3 => LevelFilter::Warn,
        _ => LevelFilter::Error,
    }
}

/// Logs go to stderr. Under systemd each line carries its priority, which the journal understands.
pub(crate) fn start_logging(loglevel: u8) {
    let filter = level(loglevel);
    let journal = std::env::var_os("JOURNAL_STREAM").is_some();
    let mut builder = env_logger::Builder::new();
    // The libraries below speak at their own levels; only their warnings are ours to show.
    builder.filter(None, filter.min(LevelFilter::Warn)).filter(Some("rust_ota"), filter);
    if loglevel == 0 {
        builder.filter(None, filter);
    }
    builder.format(move |out, record| {
        if journal {
            writeln!(out, "<{}>{}", priority(record.level()), record.args())
        } else {
            writeln!(out, "{}: {}", record.level().as_str().to_ascii_lowercase(), record.args())
        }
    });
    let _ = builder.try_init();
}

/// syslog's numbers.
fn priority(level: Level) -> u8 {
    match level {
        Level::Error => 3,
        Level::Warn => 4,
        Level::Info => 6,
        Level::Debug | Level::Trace => 7,
    }
}
