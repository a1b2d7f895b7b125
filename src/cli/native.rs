//! The `rust-ota` command line.

use std::path::PathBuf;

use argh::FromArgs;

use super::directed::{self, Directed};
use super::lines::{self, Listener};
use super::{argv, config, exit, explain, render, start_logging, tuf, uptane};
use crate::agent::director::Depth;
use crate::agent::{Agent, AgentError, Step};
use crate::config::{Settings, Trust, load};
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
    Status(Status),
    List(List),
    Explain(Explain),
    ClearFailed(ClearFailed),
    Daemon(Daemon),
    Deadline(Deadline),
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
    /// name or version of a Target to ask about; the newest where none is given
    #[argh(positional)]
    target: Option<String>,
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
struct Deadline {}

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
}

/// print every value and the file that it came from
#[derive(FromArgs)]
#[argh(subcommand, name = "show")]
struct ConfigShow {}

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
    let lines = command.speaks_lines();
    match with_settings(&args.config, args.loglevel, command) {
        Ok(code) => code,
        Err(error) => {
            if lines {
                println!("{}", lines::failure(&error));
            }
            eprintln!("rust-ota: {error}");
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
        print!("{}", config::show(paths).map_err(AgentError::Config)?);
        return Ok(exit::OK);
    }
    let (_, mut settings) = load(paths).map_err(AgentError::Config)?;
    start_logging(loglevel.unwrap_or(settings.loglevel));
    if let Command::Daemon(Daemon { interval: Some(seconds) }) = command {
        settings.polling_sec = seconds;
    }
    run(settings, command)
}

fn run(settings: Settings, command: Command) -> Result<u8, AgentError> {
    let agent = Agent::new(settings);
    if agent.settings().director.trust == Trust::Director
        && let Some((what, target)) = of_director(&command)
    {
        return directed::run(&agent, what, target);
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
        Command::Explain(Explain { target }) => Ok(explain::run(&agent, request(&target))),
        Command::Download(Download { target, dry_run: true, .. }) => {
            println!("{}", agent.plan_download(request(&target))?);
            Ok(exit::OK)
        }
        Command::Download(Download { target, json, .. }) => step(&agent, Step::Download, &target, json),
        Command::Install(Install { target, json }) => step(&agent, Step::Install, &target, json),
        Command::Update(Update { target, json }) => step(&agent, Step::Update, &target, json),
        Command::Finalize(Finalize { json }) => {
            Ok(Listener::new(json).finish(&agent.locked("finalize")?.finalize()?))
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
    let outcome = agent.locked(step.name())?.step(step, request(target), &mut |t| listener.show(&t))?;
    Ok(listener.finish(&outcome))
}
