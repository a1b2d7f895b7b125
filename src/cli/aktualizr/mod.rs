//! The command line of aktualizr: its running modes, options, texts and exit codes, over the Director's cycle.

mod args;

use std::io::{IsTerminal, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use log::{Level, LevelFilter};

use super::exit;
use crate::agent::director::{Answer, Depth, Director};
use crate::agent::{Agent, AgentError, Progress};
use crate::config::{ConfigError, Settings, Trust, load};
use crate::device::device_id;
use crate::gateway::redact::{harmless_json, one_line, redacted};
use crate::store::{StoreError, atomic};
use crate::uptane::{Campaign, Consent};
use args::{Args, Problem};

const HELP: &str = "\
aktualizr command line options:
  aktualizr [MODE] [options]

Modes:
  full                 poll, update and report until it is told to end (the default)
  once                 check, download, install and report, once
  check                ask what is assigned, and report
  download             check, and fetch what is assigned
  install              install what was downloaded; needs no network
  campaign_check       list the campaigns that are offered
  campaign_accept, campaign_decline, campaign_postpone
                       answer one of them, with --campaign-id

Options:
  -h [ --help ]                    print this
  -v [ --version ]                 print the version
  -c [ --config ] PATH             configuration file or folder; repeatable, replaces the default ones
  --loglevel N                     0 trace, 1 debug, 2 info, 3 warning, 4 error, 5 fatal
  --run-mode MODE, --running-mode MODE
                                   the mode, as an option
  --tls-server URL                 replaces tls.server
  --repo-server URL                replaces uptane.repo_server
  --director-server URL            replaces uptane.director_server
  --primary-ecu-serial TEXT        replaces provision.primary_ecu_serial
  --primary-ecu-hardware-id TEXT   replaces provision.primary_ecu_hardware_id
  --secondary-config-file PATH     replaces uptane.secondary_config_file
  --campaign-id ID                 the campaign that is answered
  --hwinfo-file PATH               JSON to report as the hardware
  --json                           campaigns as JSON
  --exit-codes                     tell by the exit code what happened; otherwise a check, download or
                                   installation that failed ends with 0 too, as scripts expect it
  --lock-wait SECONDS              wait for another rust-ota or aktualizr to end; by default say who it is, and end";

/// A running mode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Full,
    Online(Depth),
    Install,
    CampaignCheck,
    Campaign(Consent),
}

const MODES: [(&str, Mode); 9] = [
    ("full", Mode::Full),
    ("once", Mode::Online(Depth::Install)),
    ("check", Mode::Online(Depth::Check)),
    ("download", Mode::Online(Depth::Download)),
    ("install", Mode::Install),
    ("campaign_check", Mode::CampaignCheck),
    ("campaign_accept", Mode::Campaign(Consent::Accept)),
    ("campaign_decline", Mode::Campaign(Consent::Decline)),
    ("campaign_postpone", Mode::Campaign(Consent::Postpone)),
];

/// Runs one mode.
pub fn main(argv: &[String]) -> u8 {
    let args = match args::parse(argv.get(1..).unwrap_or_default()) {
        Ok(args) => args,
        Err(Problem(problem)) => {
            println!("{problem}\n{HELP}");
            return exit::ERROR;
        }
    };
    if args.help {
        println!("{HELP}");
        return exit::OK;
    }
    if args.version {
        println!("Current aktualizr version is: {}", env!("CARGO_PKG_VERSION"));
        return exit::OK;
    }
    match configured(&args) {
        Ok(settings) => started(&args, settings),
        Err(error) => {
            println!("{}", redacted(&error));
            exit::ERROR
        }
    }
}

fn configured(args: &Args) -> Result<Settings, String> {
    if let Some(missing) = args.config.iter().find(|path| !path.exists()) {
        return Err(format!("Config directory {} does not exist.", missing.display()));
    }
    let typed = |e: ConfigError| e.to_string();
    let read = &mut || load(&args.config).map_err(AgentError::Config);
    let read = if polls(args) { super::stay_up(&args.config, None, read) } else { read() };
    let (mut merged, _) = read.map_err(|e| e.to_string())?;
    let mut sorted = args.settings.clone();
    sorted.sort();
    let mut text = String::new();
    let mut current = "";
    for (section, key, value) in &sorted {
        if *section != current {
            text.push_str(&format!("[{section}]\n"));
            current = section;
        }
        text.push_str(&format!("{key} = {value}\n"));
    }
    merged.apply(Path::new("the command line"), &text).map_err(typed)?;
    let mut settings = Settings::from_merged(&merged).map_err(typed)?;
    // Who calls it by this name means a Director, whatever other settings look like.
    settings.director.trust = Trust::Director;
    settings.loglevel = args.loglevel.unwrap_or(settings.loglevel);
    Ok(settings)
}

/// Whether it is to stay, as far as can be known before the configuration is read.
fn polls(args: &Args) -> bool {
    let configured = || super::any_settings(&args.config).ok()?.0.director.running_mode;
    args.mode.clone().or_else(configured).is_none_or(|mode| mode == "full")
}

fn started(args: &Args, settings: Settings) -> u8 {
    start_logging(settings.loglevel);
    super::warn(&settings);
    log::info!("Aktualizr version {} starting", env!("CARGO_PKG_VERSION"));
    let word =
        args.mode.as_deref().or(settings.director.running_mode.as_deref()).unwrap_or("full").to_string();
    let Some((_, mode)) = MODES.iter().find(|(name, _)| *name == word) else {
        let names: Vec<&str> = MODES.iter().map(|(name, _)| *name).collect();
        log::error!("{word:?} is no running mode; there are {}", names.join(", "));
        return exit::ERROR;
    };
    if !rustix::process::geteuid().is_root() {
        log::warn!("Aktualizr is currently running as non-root and may not work as expected!");
    }
    let hardware = match args.hardware.as_deref().map(hardware).transpose() {
        Ok(hardware) => hardware,
        Err(problem) => {
            log::error!("{problem}");
            return exit::ERROR;
        }
    };
    let agent = Agent::new(settings).with_hardware(hardware);
    match run(&agent, args, *mode, &word) {
        Ok(code) => code,
        Err(error) => {
            log::error!("{error}");
            error_code(&error, args.exit_codes)
        }
    }
}

/// Hardware as somebody else found it out: JSON, sent as it is.
fn hardware(path: &Path) -> Result<String, String> {
    let name = path.display();
    let bytes = atomic::read(path).map_err(|e| e.to_string())?;
    let bytes = bytes.ok_or_else(|| format!("{name}: it is not there; correct --hwinfo-file"))?;
    match serde_json::from_slice::<serde_json::Value>(&bytes) {
        Ok(value) => Ok(value.to_string()),
        Err(error) => Err(format!("{name}: not JSON ({error}); correct --hwinfo-file")),
    }
}

/// Without `--exit-codes`, what went wrong in a check, a download or an installation is not told by the exit code. What
/// kept it from starting always is.
fn error_code(error: &AgentError, useful: bool) -> u8 {
    let in_the_cycle = matches!(
        error,
        AgentError::Uptane(_)
            | AgentError::Http(_)
            | AgentError::Content(_)
            | AgentError::NotChecked
            | AgentError::NotDownloaded { .. }
            | AgentError::NotOstree { .. }
            | AgentError::NotAFile { .. }
    );
    match in_the_cycle {
        true if useful => error.exit_code(),
        true => exit::OK,
        false => exit::ERROR.max(if useful { error.exit_code() } else { exit::ERROR }),
    }
}

fn run(agent: &Agent, args: &Args, mode: Mode, word: &str) -> Result<u8, AgentError> {
    let mut director = Director::new(agent);
    match mode {
        Mode::CampaignCheck => {
            show_campaigns(&director.campaigns()?, args.json);
            return Ok(exit::OK);
        }
        Mode::Campaign(consent) => {
            let Some(id) = args.campaign.as_deref().filter(|id| !id.is_empty()) else {
                log::error!("{word} requires a campaign ID");
                return Ok(exit::ERROR);
            };
            waiting(args, || director.answer(id, consent))?;
            let [_, name] = word.split('_').collect::<Vec<_>>()[..] else { return Ok(exit::OK) };
            log::info!("got Campaign{}{}Complete event", name[..1].to_ascii_uppercase(), &name[1..]);
            return Ok(exit::OK);
        }
        _ => introduce(agent, &waiting(args, || director.introduce())?),
    }
    if mode == Mode::Full {
        let code = director.daemon();
        log::info!("Aktualizr daemon exiting...");
        return code;
    }
    if matches!(mode, Mode::Online(_)) {
        agent.report_hardware();
    }
    agent.stop_on_signals()?;
    let mut progress = Progress::new();
    let answer = waiting(args, || match mode {
        Mode::Online(depth) => director.online(depth, &mut |transfer| progress.show(&transfer)),
        _ => director.install(),
    })?;
    tell(&answer, mode);
    Ok(if args.exit_codes { answer.exit_code() } else { exit::OK })
}

fn introduce(agent: &Agent, (serial, hardware_id): &(String, String)) {
    log::info!("Primary ECU serial: {serial} with hardware ID: {hardware_id}");
    if let Some(id) = device_id(agent.settings()) {
        log::info!("Device ID: {id}");
    }
    if let Some(server) = &agent.settings().server {
        log::info!("Device Gateway URL: {server}");
    }
}

fn tell(answer: &Answer, mode: Mode) {
    match (answer, mode) {
        (Answer::NoUpdate, Mode::Install) => log::info!("Requested targets vector is empty. Nothing to do."),
        (Answer::NoUpdate, _) => log::info!("No new updates found in Uptane metadata."),
        (Answer::Available(_), _) => {
            log::info!("1 new update found in both Director and Image repo metadata.")
        }
        (Answer::Downloaded(_), _) => log::info!("got AllDownloadsComplete event with status: SUCCESS"),
        (Answer::Installed(_), _) => log::info!("got AllInstallsComplete event with status: NEED_COMPLETION"),
        (Answer::Adopted(_) | Answer::Updated(_), _) => {
            log::info!("got AllInstallsComplete event with status: OK")
        }
        (Answer::Failed(_) | Answer::Awaiting(_) | Answer::FirmwareUnconfirmed(_), _) => {}
    }
    log::info!("{answer}");
}

fn show_campaigns(campaigns: &[Campaign], json: bool) {
    if json {
        println!("{}", harmless_json(&serde_json::to_string_pretty(campaigns).unwrap_or_default()));
        return;
    }
    for campaign in campaigns {
        println!("Campaign: {}", one_line(&campaign.name));
        println!("Campaign id: {}", one_line(&campaign.id));
        println!("Campaign size: {}", campaign.size);
        println!("CampaignAccept required: {}", if campaign.auto_accept { "no" } else { "yes" });
        println!("Message: {}", one_line(&campaign.description));
    }
}

/// Tries again while another process holds the lock, for as long as was asked for.
fn waiting<T>(args: &Args, mut work: impl FnMut() -> Result<T, AgentError>) -> Result<T, AgentError> {
    let end = Instant::now() + Duration::from_secs(args.lock_wait.min(366 * 86_400));
    loop {
        match work() {
            Err(AgentError::Store(StoreError::Locked { .. })) if Instant::now() < end => {
                std::thread::sleep(Duration::from_millis(200));
            }
            done => return done,
        }
    }
}

/// Plain lines on stdout, without a level: that is where scripts look. `LOG_STDERR` moves them.
fn start_logging(loglevel: u8) {
    let filter = super::level(loglevel);
    let to_stderr = std::env::var_os("LOG_STDERR").is_some();
    let terminal = if to_stderr { std::io::stderr().is_terminal() } else { std::io::stdout().is_terminal() };
    let mut builder = env_logger::Builder::new();
    builder.filter(None, filter.min(LevelFilter::Warn)).filter(Some("rust_ota"), filter);
    builder.target(if to_stderr { env_logger::Target::Stderr } else { env_logger::Target::Stdout });
    builder.format(move |out, record| {
        // What a server or a file said may stand in it.
        let text = redacted(&record.args().to_string());
        match record.level() {
            Level::Error if terminal => writeln!(out, "\x1b[31m{text}\x1b[0m"),
            Level::Warn if terminal => writeln!(out, "\x1b[33m{text}\x1b[0m"),
            _ => writeln!(out, "{text}"),
        }
    });
    let _ = builder.try_init();
}
