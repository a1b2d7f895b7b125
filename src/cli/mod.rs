//! What people type and read: one file a personality.

mod aktualizr;
pub mod argv;
mod config;
mod directed;
pub mod exit;
mod explain;
mod fitness;
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
use std::path::{Path, PathBuf};
use std::time::Duration;

use log::{Level, LevelFilter};

use crate::agent::{Agent, AgentError, daemon};
use crate::boot;
use crate::config::{ConfigError, RollbackMode, Settings, load_leniently};
use crate::gateway::redact::redacted;
use crate::payload::ostree::apply;

/// Runs the command line and gives the exit code. The name that the program was called by is its personality.
pub fn main(argv: &[String]) -> u8 {
    if let Some((_, [command, args @ ..])) = argv.split_first()
        && command == apply::COMMAND
    {
        return apply::main(args);
    }
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

/// Settings for the commands that confirm or end a boot: with any configuration, and what of it was passed over. Where that may have
/// been what counts boots, it is looked for.
fn any_settings(paths: &[PathBuf]) -> Result<(Settings, Vec<ConfigError>), ConfigError> {
    let (merged, settings, faults) = load_leniently(paths)?;
    let mode = merged.get("bootloader", "rollback_mode");
    // An unknown name means none to everything else, as to aktualizr, but must not leave a boot on trial.
    let unknown = mode.is_some_and(|mode| !mode.text.is_empty() && !RollbackMode::is_name(&mode.text));
    let unsaid = mode.is_none() && (!faults.is_empty() || merged.is_empty());
    if !unknown && !unsaid {
        return Ok((settings, faults));
    }
    let rollback_mode = boot::found(&settings);
    Ok((Settings { rollback_mode, ..settings }, faults))
}

/// A daemon stays up with any configuration: it says what is wrong, confirms the boot that it was started in, and reads again until
/// it can use what is there. A service that ends is started again only so often.
fn stay_up<T>(
    paths: &[PathBuf],
    interval: Option<u64>,
    work: &mut dyn FnMut() -> Result<T, AgentError>,
) -> Result<T, AgentError> {
    const LONGEST_WAIT: u64 = 60;
    let mut confirmed = false;
    loop {
        let fault = match work() {
            Err(AgentError::Config(fault)) => fault,
            done => return done,
        };
        let (settings, passed_over) = any_settings(paths).map_err(AgentError::Config)?;
        start_logging(settings.loglevel);
        log::error!("{fault}; nothing is updated until that is corrected");
        daemon::notify("READY=1");
        daemon::notify(&format!("STATUS=Nothing is updated: {fault}"));
        let wait = interval.unwrap_or(settings.polling_sec).clamp(1, LONGEST_WAIT);
        confirmed = confirmed || confirm(settings, &passed_over);
        std::thread::sleep(Duration::from_secs(wait));
    }
}

/// Whether this boot is settled.
fn confirm(settings: Settings, passed_over: &[ConfigError]) -> bool {
    let passed_over = passed_over.iter().map(ToString::to_string).collect();
    match Agent::new(settings).with_passed_over(passed_over).finalize() {
        Ok(outcome) => log::info!("{outcome}"),
        Err(error) => {
            log::error!("{error}");
            return false;
        }
    }
    true
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
        // What a server or a file said may stand in it.
        let text = redacted(&record.args().to_string());
        if journal {
            writeln!(out, "<{}>{text}", priority(record.level()))
        } else {
            writeln!(out, "{}: {text}", record.level().as_str().to_ascii_lowercase())
        }
    });
    let _ = builder.try_init();
}

/// What a person should correct in the configuration.
fn warn(settings: &Settings) {
    for warning in &settings.warnings {
        log::warn!("{warning}");
    }
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
