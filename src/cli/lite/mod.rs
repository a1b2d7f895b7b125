//! The command line of aktualizr-lite: its commands, exit codes, text and JSON, over the same agent.

mod args;
mod render;

use crate::gateway::redact::redacted;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::{any_settings, exit, explain, start_logging, stay_up, warn};
use crate::agent::refresh::RefreshError;
use crate::agent::{Agent, AgentError, Found, Outcome, Progress, Step, daemon};
use crate::config::{ConfigError, Merged, Settings, load};
use crate::decide::{Plan, Policy, Request, Stay, is_rollback, reason};
use crate::gateway::identity::common_name;
use crate::store::{Lock, StoreError};
use args::{Args, Problem};
use render::Identity;

const HELP: &str = "\
Usage:
  aktualizr-lite [command] [target] [flags]

Commands:
  daemon      poll and update, until it is told to end
  check       refresh the metadata and list the Targets for this device
  list        the same from the metadata of the last check
  pull        fetch a Target's content; needs an earlier check
  install     deploy a Target that was pulled
  update      check, pull and install
  finalize    after the reboot: confirm the boot, or note that it was rolled back
  run         the same as finalize
  rollback    go back to the Target that ran before
  status      what this device is and runs
  explain     why this device does, or does not, update

Flags:
  -h [ --help ]                print this
  -v [ --version ]             print the version
  -c [ --config ] PATH         configuration file or folder; repeatable, replaces the default ones
  --loglevel N                 0 trace, 1 debug, 2 info, 3 warning, 4 error, 5 fatal
  --update-name NAME           name or version of the Target for pull, install and update
  --install-mode MODE          delay-app-install
  --interval SECONDS           between two polls of the daemon
  --json 0|1                   JSON from status, check and list
  --report-hw-info 0|1         tell the server what `lshw -json` prints, at check and update
  --src-dir DIR                an offline update for check, pull, install and update
  --clear-installed-versions   accepted, without an effect
  --command COMMAND            the command, as a flag";

const LOCKED: &str = "Failed to obtain the aklite lock, another instance must be running !!!";
const JSON_LOGLEVEL: u8 = 5;
/// The daemon ends where it would wait.
const ONCE: &str = "AKLITE_TEST_RETURN_ON_SLEEP";

/// Runs one command.
pub fn main(argv: &[String]) -> u8 {
    let args = match args::parse(argv.get(1..).unwrap_or_default()) {
        Ok(args) => args,
        Err(Problem::Unknown(option)) => {
            println!("{HELP}");
            eprintln!("aktualizr-lite: there is no option {option}");
            return exit::ERROR;
        }
        Err(Problem::Bad(message)) => {
            println!("{message}");
            return exit::ERROR;
        }
    };
    if args.version && !args.help {
        println!("Current aktualizr version is: {}", env!("CARGO_PKG_VERSION"));
        return exit::OK;
    }
    let Some(command) = args.command.as_deref().filter(|_| !args.help) else {
        println!("{HELP}");
        return exit::OK;
    };
    let once = std::env::var_os(ONCE).is_some();
    let ended = match command {
        "daemon" if !once => stay_up(&args.config, args.interval, &mut || configured(&args, command)),
        command => configured(&args, command),
    };
    match ended {
        Ok(code) => code,
        Err(error) => {
            eprintln!("aktualizr-lite: {}", redacted(&error.to_string()));
            error_code(&error, command, args.src_dir.is_some())
        }
    }
}

/// `list`, `pull` and `install` trust only what is stored: whatever is wrong with it is a matter of security.
fn error_code(error: &AgentError, command: &str, offline: bool) -> u8 {
    let stored_only = ["list", "pull", "install"].contains(&command);
    match error {
        AgentError::Trust(_) | AgentError::NotChecked if stored_only => exit::SECURITY,
        AgentError::Trust(RefreshError::Absent { .. }) if offline => exit::METADATA_NOT_FOUND,
        error => error.exit_code(),
    }
}

fn configured(args: &Args, command: &str) -> Result<u8, AgentError> {
    let (mut settings, passed_over) = settings_for(args, command).map_err(AgentError::Config)?;
    let quiet = if args.json { JSON_LOGLEVEL } else { settings.loglevel };
    start_logging(args.loglevel.unwrap_or(quiet));
    for fault in &passed_over {
        log::error!("passed over: {fault}");
    }
    warn(&settings);
    if !rustix::process::geteuid().is_root() {
        log::warn!("Running as non-root and may not work as expected!");
    }
    settings.polling_sec = args.interval.unwrap_or(settings.polling_sec);
    if let Some(mode) = args.install_mode.as_deref().filter(|m| *m != "delay-app-install") {
        log::warn!("Unsupported installation mode: {mode}; falling back to the default install mode");
    }
    let by_hand = ["pull", "install", "update"].contains(&command);
    let agent = Agent::new(settings)
        .with_passed_over(passed_over.iter().map(ToString::to_string).collect())
        .with_policy(Policy::Lite { by_hand })
        .with_bundle(args.src_dir.clone())
        .with_delayed_apps(args.install_mode.as_deref() == Some("delay-app-install"));
    if args.report_hw_info {
        agent.report_hardware();
    }
    if ["list", "status", "explain"].contains(&command) {
        return run(&agent, args, command);
    }
    if ["finalize", "run"].contains(&command) {
        // Before the lock, which others may hold.
        agent.tell_bootloader()?;
    }
    let lock = Lock::take_shared(&agent.settings().aklite_lock);
    if let Err(StoreError::Locked { .. }) = lock {
        eprintln!("{LOCKED}");
    }
    let _lock = lock?;
    run(&agent, args, command)
}

/// With any configuration for what confirms a boot.
fn settings_for(args: &Args, command: &str) -> Result<(Settings, Vec<ConfigError>), ConfigError> {
    if ["finalize", "run"].contains(&command) {
        return any_settings(&args.config);
    }
    let (merged, settings) = load(&args.config)?;
    package_manager(&merged)?;
    Ok((settings, Vec::new()))
}

/// Another kind of device is another client's.
fn package_manager(merged: &Merged) -> Result<(), ConfigError> {
    let Some(value) = merged.get("pacman", "type") else { return Ok(()) };
    if ["", "ostree", "ostree+compose_apps"].contains(&value.text.as_str()) {
        return Ok(());
    }
    Err(ConfigError::BadValue {
        path: value.file.clone(),
        line: value.line,
        key: "pacman.type".to_string(),
        value: value.text.clone(),
        expected: "ostree or ostree+compose_apps",
    })
}

fn run(agent: &Agent, args: &Args, command: &str) -> Result<u8, AgentError> {
    match command {
        "check" => {
            let found = agent.locked("check")?.check()?;
            Ok(show(agent.settings(), found, args.json, exit::OK))
        }
        "list" => Ok(show(agent.settings(), agent.stored(Request::Latest)?, args.json, exit::OK_CACHED)),
        "pull" => step(agent, Step::Download, args),
        "install" => step(agent, Step::Install, args),
        "update" => step(agent, Step::Update, args),
        "finalize" | "run" => finalize(agent),
        "rollback" => rollback(agent),
        "explain" => {
            let wanted = args.target.as_deref().map(args::name_or_version);
            Ok(explain::run(agent, wanted.as_deref().map_or(Request::Latest, Request::Named), args.json))
        }
        "status" => status(agent, args.json),
        "daemon" => run_daemon(agent),
        other => {
            eprintln!("aktualizr-lite: Unsupported command: {other}; aktualizr-lite --help lists them");
            Ok(exit::ERROR)
        }
    }
}

/// Prints the Targets; gives the code, `idle` where nothing is to be done.
fn show(settings: &Settings, mut found: Found, json: bool, idle: u8) -> u8 {
    if let Plan::Stay(Stay::Pending(_)) = found.plan {
        // What is pending does not change what is offered; only installing is refused.
        let mut facts = found.facts.clone();
        facts.installed.pending = None;
        found.plan = Policy::Lite { by_hand: false }.decide(&facts, &found.visible, Request::Latest);
        found.reason = reason(&facts, &found.plan);
    }
    let text =
        if json { render::targets_json(&found, settings) } else { render::targets_text(&found, settings) };
    print!("{text}");
    log::info!("{}", found.reason);
    if matches!(found.plan, Plan::Stay(Stay::UpToDate(_))) {
        log::info!("Device is up-to-date");
    }
    match &found.plan {
        Plan::Update(target) if is_rollback(&found.facts, target) => exit::ROLLBACK_TARGET,
        Plan::Update(_) if !found.sync.is_empty() => exit::SYNC_APPS,
        Plan::Update(_) => exit::NEW_TARGET,
        Plan::Stay(stay) => match stay.exit_code() {
            exit::OK => idle,
            code => code,
        },
    }
}

fn step(agent: &Agent, step: Step, args: &Args) -> Result<u8, AgentError> {
    let wanted = args.target.as_deref().map(args::name_or_version);
    let request = wanted.as_deref().map_or(Request::Latest, Request::Named);
    let mut progress = Progress::new();
    agent.stop_on_signals()?;
    let outcome = agent.locked(step.name())?.step(step, request, &mut |t| progress.show(&t));
    if step == Step::Install || args.src_dir.is_some() {
        agent.deliver_soon();
    }
    let outcome = outcome?;
    if let Outcome::Stayed { plan: Stay::UpToDate(t), .. } = &outcome {
        log::info!("The specified Target is already installed, and is in sync and running: {}", t.name);
    }
    log::info!("{outcome}");
    Ok(outcome.exit_code())
}

fn finalize(agent: &Agent) -> Result<u8, AgentError> {
    let outcome = agent.finalize();
    // The verdict comes first and does not depend on it.
    agent.deliver_soon();
    let outcome = outcome?;
    log::info!("{outcome}");
    Ok(match outcome {
        // An installation that never became whole is none.
        Outcome::Cut(_) | Outcome::Confirmed(None) => exit::NOTHING_PENDING,
        outcome => outcome.exit_code(),
    })
}

fn rollback(agent: &Agent) -> Result<u8, AgentError> {
    let mut progress = Progress::new();
    let outcome = agent.locked("rollback")?.roll_back(&mut |t| progress.show(&t));
    agent.deliver_soon();
    let Some(outcome) = outcome? else {
        eprintln!("aktualizr-lite: no Target is known to have run here before; name one to update to");
        return Ok(exit::ERROR);
    };
    log::info!("{outcome}");
    Ok(outcome.exit_code())
}

fn status(agent: &Agent, json: bool) -> Result<u8, AgentError> {
    let settings = agent.settings();
    let status = agent.status()?;
    let uuid = settings.identity().and_then(|(certificate, _)| common_name(&certificate));
    let identity = Identity { uuid, device: agent.device() };
    let text = if json {
        render::status_json(&status, &identity, settings)
    } else {
        render::status_text(&status, &identity, settings)
    };
    print!("{text}");
    Ok(exit::OK)
}

fn run_daemon(agent: &Agent) -> Result<u8, AgentError> {
    let settings = agent.settings();
    if settings.repo_server.is_none() {
        return Err(AgentError::Config(ConfigError::Missing {
            key: "uptane.repo_server",
            purpose: "where metadata comes from",
        }));
    }
    let program = settings.reboot_command.first().map_or("", String::as_str);
    if !is_executable(Path::new(program)) {
        return Err(AgentError::Reboot {
            command: program.to_string(),
            reason: "it is not there, or cannot be run".to_string(),
        });
    }
    let outcome = match agent.finalize() {
        // The boot is good, and each turn tries again to record it.
        Err(error @ AgentError::Unrecorded(_)) => {
            log::error!("{error}");
            return daemon::run(agent, std::env::var_os(ONCE).is_some());
        }
        outcome => outcome?,
    };
    log::info!("{outcome}");
    if let Outcome::RebootNeeded(_) = outcome {
        return Ok(exit::ERROR);
    }
    if matches!(outcome, Outcome::FirmwareOnTrial(_)) && agent.reboots_for_firmware()? {
        agent.reboot()?;
        return Ok(exit::OK);
    }
    daemon::run(agent, std::env::var_os(ONCE).is_some())
}

fn is_executable(path: &Path) -> bool {
    path.metadata().is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0)
}
