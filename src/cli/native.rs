//! The `rust-ota` command line.

use crate::gateway::redact::{harmless, harmless_json, redacted};
use std::path::PathBuf;

use argh::FromArgs;

use super::directed::{self, Directed};
use super::fitness::{self, Look};
use super::lines::{self, Listener};
use super::{any_settings, argv, config, exit, explain, render, start_logging, stay_up, tuf, uptane, warn};
use crate::agent::director::Depth;
use crate::agent::{Agent, AgentError, Step};
use crate::config::{ConfigError, Trust, load};
use crate::decide::Request;

/// Keeps this OSTree device up to date: finds the newest Target that is meant for it, fetches it, deploys it, and
/// lets the bootloader go back when it does not come up. Exit codes: 0 done or nothing to do, 16 check found a
/// new Target, 100 reboot needed, 110 rolled back; see the manual for all.
#[derive(FromArgs)]
struct Args {
    /// a configuration file or folder, repeatable; replaces /usr/lib/sota/conf.d, /var/sota/sota.toml and
    /// /etc/sota/conf.d
    #[argh(option, short = 'c')]
    config: Vec<PathBuf>,
    /// how much to say: 0 trace, 1 debug, 2 info, 3 warnings, 4 errors
    #[argh(option)]
    loglevel: Option<u8>,
    /// print the version
    #[argh(switch)]
    version: bool,
    #[argh(subcommand)]
    command: Option<Command>,
}

#[derive(FromArgs)]
#[argh(subcommand)]
enum Command {
    Check(Check),
    Download(Download),
    Install(Install),
    Update(Update),
    Finalize(Finalize),
    Report(Report),
    Status(Status),
    List(List),
    Explain(Explain),
    ClearFailed(ClearFailed),
    Daemon(Daemon),
    Deadline(Deadline),
    TakeOver(TakeOver),
    Config(ConfigCommand),
    Tuf(tuf::Tuf),
    Uptane(uptane::Uptane),
}

/// ask the server what is new; changes nothing on the device but the trusted metadata
#[derive(FromArgs)]
#[argh(subcommand, name = "check")]
struct Check {
    /// print the visible Targets as JSON
    #[argh(switch)]
    json: bool,
}

/// fetch a Target's content, by default the newest; needs an earlier check
#[derive(FromArgs)]
#[argh(subcommand, name = "download")]
struct Download {
    /// name or version of a Target
    #[argh(positional)]
    target: Option<String>,
    /// show what would be fetched, and fetch nothing
    #[argh(switch)]
    dry_run: bool,
    /// print JSON Lines: progress, and at the end what it came to
    #[argh(switch)]
    json: bool,
}

/// deploy a Target that was downloaded; needs no network. A reboot is needed afterwards
#[derive(FromArgs)]
#[argh(subcommand, name = "install")]
struct Install {
    /// name or version of a Target
    #[argh(positional)]
    target: Option<String>,
    /// print what it came to as JSON
    #[argh(switch)]
    json: bool,
}

/// check, download and install in one go
#[derive(FromArgs)]
#[argh(subcommand, name = "update")]
struct Update {
    /// name or version of a Target
    #[argh(positional)]
    target: Option<String>,
    /// print JSON Lines: progress, and at the end what it came to
    #[argh(switch)]
    json: bool,
}

/// after the reboot: confirm the boot, or take note that the bootloader went back. Needs no network
#[derive(FromArgs)]
#[argh(subcommand, name = "finalize")]
struct Finalize {
    /// print what it came to as JSON
    #[argh(switch)]
    json: bool,
}

/// hand over what the server has not heard yet: results and events. Ends within seconds, with or without a network
#[derive(FromArgs)]
#[argh(subcommand, name = "report")]
struct Report {}

/// what runs, what is pending, what is known to be bad
#[derive(FromArgs)]
#[argh(subcommand, name = "status")]
struct Status {
    /// print as JSON
    #[argh(switch)]
    json: bool,
}

/// the Targets that this device may see, from the metadata of the last check
#[derive(FromArgs)]
#[argh(subcommand, name = "list")]
struct List {
    /// print as JSON
    #[argh(switch)]
    json: bool,
}

/// why this device does, or does not, update; from the metadata of the last check
#[derive(FromArgs)]
#[argh(subcommand, name = "explain")]
struct Explain {
    /// name or version of a Target to ask about; the newest if none is given
    #[argh(positional)]
    target: Option<String>,
    /// print as JSON
    #[argh(switch)]
    json: bool,
}

/// forget that a Target failed here, so that it is tried again
#[derive(FromArgs)]
#[argh(subcommand, name = "clear-failed")]
struct ClearFailed {
    /// name of a Target; all of them where none is given
    #[argh(positional)]
    target: Option<String>,
}

/// stay and poll; what the service runs
#[derive(FromArgs)]
#[argh(subcommand, name = "daemon")]
struct Daemon {
    /// seconds between two polls, instead of uptane.polling_sec
    #[argh(option)]
    interval: Option<u64>,
}

/// reboot if this boot is on trial and still not confirmed; what the deadline timer runs
#[derive(FromArgs)]
#[argh(subcommand, name = "deadline")]
struct Deadline {
    /// reboot nothing: end with 1 if this boot is on trial and not confirmed, else with 0
    #[argh(switch)]
    check: bool,
}

/// take over the old client's state now, as the first command that needs it does
#[derive(FromArgs)]
#[argh(subcommand, name = "takeover")]
struct TakeOver {
    /// change nothing; print what will work with this client, what will not, and what to do
    #[argh(switch)]
    check: bool,
    /// with --check: the root folder of a device or an image, instead of this device
    #[argh(option)]
    root: Option<PathBuf>,
    /// with --check: print JSON
    #[argh(switch)]
    json: bool,
}

/// look at the configuration
#[derive(FromArgs)]
#[argh(subcommand, name = "config")]
struct ConfigCommand {
    #[argh(subcommand)]
    command: ConfigSub,
}

#[derive(FromArgs)]
#[argh(subcommand)]
enum ConfigSub {
    Show(ConfigShow),
    Check(ConfigCheck),
}

/// print every value and the file that it came from
#[derive(FromArgs)]
#[argh(subcommand, name = "show")]
struct ConfigShow {}

/// print lines that are not read as they look, and whether certificates and server work
#[derive(FromArgs)]
#[argh(subcommand, name = "check")]
struct ConfigCheck {
    /// print JSON
    #[argh(switch)]
    json: bool,
}

/// Runs one native command.
pub fn main(arguments: &[String]) -> u8 {
    let normalised = argv::normalise(arguments.get(1..).unwrap_or_default());
    let words: Vec<&str> = normalised.iter().map(String::as_str).collect();
    let args = match Args::from_args(&["rust-ota"], &words) {
        Ok(args) => args,
        Err(early) => return early_exit(&early),
    };
    if args.version {
        println!("rust-ota {}", env!("CARGO_PKG_VERSION"));
        return exit::OK;
    }
    let Some(command) = args.command else {
        return match Args::from_args(&["rust-ota"], &["--help"]) {
            Err(help) => early_exit(&help),
            Ok(_) => exit::OK,
        };
    };
    if let Command::Tuf(tuf) = &command {
        start_logging(args.loglevel.unwrap_or(3));
        return tuf::main(tuf);
    }
    if let Command::Uptane(args) = &command {
        return uptane::run(args);
    }
    if let Some((look, json)) = look(&command) {
        return fitness::check(&args.config, look, json);
    }
    let lines = command.speaks_lines();
    let ended = match command {
        Command::Daemon(Daemon { interval }) => stay_up(&args.config, interval, &mut || {
            with_settings(&args.config, args.loglevel, Command::Daemon(Daemon { interval }))
        }),
        command => with_settings(&args.config, args.loglevel, command),
    };
    match ended {
        Ok(code) => code,
        Err(error) => {
            if lines {
                println!("{}", harmless_json(&lines::failure(&error).to_string()));
            }
            eprintln!("rust-ota: {}", redacted(&error.to_string()));
            render::error_code(&error)
        }
    }
}

impl Command {
    /// Whether a program reads JSON Lines from it, whose last one says what it came to.
    fn speaks_lines(&self) -> bool {
        match self {
            Command::Download(Download { json, .. })
            | Command::Install(Install { json, .. })
            | Command::Update(Update { json, .. })
            | Command::Finalize(Finalize { json }) => *json,
            _ => false,
        }
    }
}

/// Commands that change nothing, and report a configuration that cannot be used.
fn look(command: &Command) -> Option<(Look<'_>, bool)> {
    match command {
        Command::TakeOver(TakeOver { check: true, root: Some(root), json }) => {
            Some((Look::Folder(root), *json))
        }
        Command::TakeOver(TakeOver { check: true, root: None, json }) => Some((Look::Device, *json)),
        Command::Config(ConfigCommand { command: ConfigSub::Check(ConfigCheck { json }) }) => {
            Some((Look::Configuration, *json))
        }
        _ => None,
    }
}

fn early_exit(early: &argh::EarlyExit) -> u8 {
    if early.status.is_ok() {
        println!("{}", early.output.trim_end());
        return exit::OK;
    }
    eprintln!("rust-ota: {}; rust-ota --help tells what there is", early.output.trim_end());
    exit::ERROR
}

fn with_settings(paths: &[PathBuf], loglevel: Option<u8>, command: Command) -> Result<u8, AgentError> {
    if let Command::Config(ConfigCommand { command: ConfigSub::Show(_) }) = command {
        print!("{}", harmless(&config::show(paths).map_err(AgentError::Config)?));
        return Ok(exit::OK);
    }
    let (mut settings, passed_over) = match command {
        Command::Finalize(_) | Command::Deadline(_) => any_settings(paths).map_err(AgentError::Config)?,
        _ => (load(paths).map_err(AgentError::Config)?.1, Vec::new()),
    };
    start_logging(loglevel.unwrap_or(settings.loglevel));
    for fault in &passed_over {
        log::error!("passed over: {fault}");
    }
    warn(&settings);
    if let Command::Daemon(Daemon { interval: Some(seconds) }) = command {
        settings.polling_sec = seconds;
    }
    let passed_over = passed_over.iter().map(ToString::to_string).collect();
    run(Agent::new(settings).with_passed_over(passed_over), command)
}

fn run(agent: Agent, command: Command) -> Result<u8, AgentError> {
    if let Some((what, target)) = of_director(&command) {
        // Called as aktualizr or aktualizr-lite the name says it; here a guess would be another mind on the same device.
        if !agent.settings().director.trust_is_known {
            return Err(AgentError::Config(ConfigError::Missing {
                key: "rust_ota.trust",
                purpose: "what decides the version: director (Uptane, as aktualizr), or latest (as aktualizr-lite)",
            }));
        }
        if agent.settings().director.trust == Trust::Director {
            return directed::run(&agent, what, target);
        }
    }
    match command {
        Command::Check(Check { json }) => {
            let found = agent.locked("check")?.check()?;
            print!("{}", if json { render::targets_json(&found) } else { render::targets_text(&found) });
            Ok(render::check_code(&found))
        }
        Command::List(List { json }) => {
            let found = agent.stored(Request::Latest)?;
            print!("{}", if json { render::targets_json(&found) } else { render::targets_text(&found) });
            Ok(exit::OK)
        }
        Command::Explain(Explain { target, json }) => Ok(explain::run(&agent, request(&target), json)),
        Command::Download(Download { target, dry_run: true, .. }) => {
            println!("{}", redacted(&agent.plan_download(request(&target))?));
            Ok(exit::OK)
        }
        Command::Download(Download { target, json, .. }) => step(&agent, Step::Download, &target, json),
        Command::Install(Install { target, json }) => step(&agent, Step::Install, &target, json),
        Command::Update(Update { target, json }) => step(&agent, Step::Update, &target, json),
        Command::Finalize(Finalize { json }) => {
            let code = agent.finalize().map(|outcome| Listener::new(json).finish(&outcome));
            // The verdict comes first and does not depend on it.
            agent.deliver_soon();
            code
        }
        Command::Report(_) => {
            agent.deliver_soon();
            Ok(exit::OK)
        }
        Command::Status(Status { json }) => {
            let status = agent.status()?;
            print!("{}", if json { render::status_json(&status) } else { render::status_text(&status) });
            Ok(exit::OK)
        }
        Command::ClearFailed(ClearFailed { target }) => {
            let cleared = agent.locked("clear-failed")?.clear_failed(target.as_deref())?;
            println!("{cleared} known-bad Target{} cleared", if cleared == 1 { "" } else { "s" });
            Ok(exit::OK)
        }
        Command::TakeOver(TakeOver { root: None, json: false, .. }) => fitness::take_over(&agent),
        Command::TakeOver(_) => {
            eprintln!("rust-ota: --root and --json need --check");
            Ok(exit::ERROR)
        }
        Command::Deadline(Deadline { check: true }) => Ok(u8::from(agent.is_on_trial())),
        Command::Deadline(_) => Ok(Listener::new(false).finish(&agent.deadline()?)),
        Command::Daemon(_) => crate::agent::daemon::run(&agent, false),
        // Handled before an agent was needed.
        Command::Config(_) | Command::Tuf(_) | Command::Uptane(_) => Ok(exit::OK),
    }
}

/// What a Director decides about. All else is the same for every device.
fn of_director(command: &Command) -> Option<(Directed, Option<&str>)> {
    Some(match command {
        Command::Check(Check { json }) => (Directed::Check { json: *json }, None),
        Command::Download(Download { target, dry_run: false, json }) => {
            (Directed::Online { depth: Depth::Download, json: *json }, target.as_deref())
        }
        Command::Install(Install { target, json }) => (Directed::Install { json: *json }, target.as_deref()),
        Command::Update(Update { target, json }) => {
            (Directed::Online { depth: Depth::Install, json: *json }, target.as_deref())
        }
        Command::Daemon(_) => (Directed::Daemon, None),
        _ => return None,
    })
}

fn request(target: &Option<String>) -> Request<'_> {
    target.as_deref().map_or(Request::Latest, Request::Named)
}

fn step(agent: &Agent, step: Step, target: &Option<String>, json: bool) -> Result<u8, AgentError> {
    let mut listener = Listener::new(json);
    agent.stop_on_signals()?;
    let outcome = agent.locked(step.name())?.step(step, request(target), &mut |t| listener.show(&t));
    let code = outcome.map(|outcome| listener.finish(&outcome));
    if step == Step::Install {
        agent.deliver_soon();
    }
    code
}
