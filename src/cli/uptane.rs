//! `rust-ota uptane`: one Uptane verification cycle and the verified download, to look at a pair of servers.
//!
//! It uses neither the device's configuration nor its trusted metadata, sends nothing, installs nothing.

use crate::gateway::redact::{one_line, redacted};
use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use argh::FromArgs;

use super::tuf::file_name;
use super::{exit, start_logging};
use crate::agent::trust::{Folder, Server};
use crate::agent::uptane::{Bundle, Source, UptaneError, download, verify};
use crate::gateway::{ClientIdentity, Http, HttpError, HttpSettings, PlainHttp};
use crate::payload::file::Fetched;
use crate::store::{Lock, StoreError, atomic};
use crate::tuf::Time;
use crate::uptane::{Class, Ecu, Mode, Verified};

/// one Uptane verification cycle and the verified download of what is assigned, without a manifest and without
/// an installation, to debug servers. Trusts the first roots that it sees; plain http is allowed here. Exit codes:
/// 0 done or nothing assigned, 1 with "error: CLASS" as the last line of the output
#[derive(FromArgs)]
#[argh(subcommand, name = "uptane")]
pub(super) struct Uptane {
    /// folder of the trusted metadata, empty at first and kept from run to run
    #[argh(option)]
    state_dir: PathBuf,
    /// URL of the Director
    #[argh(option)]
    director_url: String,
    /// URL of the Image repository
    #[argh(option)]
    image_url: String,
    /// serial of the ECU; repeatable, each with its --hardware-id
    #[argh(option)]
    ecu_serial: Vec<String>,
    /// hardware id of the ECU
    #[argh(option)]
    hardware_id: Vec<String>,
    /// folder for the images
    #[argh(option)]
    download_dir: PathBuf,
    /// PEM file of the CAs that https servers are trusted by
    #[argh(option, default = "crate::config::public_ca_file()")]
    ca: PathBuf,
    /// PEM file of the client certificate, with --key
    #[argh(option)]
    cert: Option<PathBuf>,
    /// PEM file of the client certificate's key
    #[argh(option)]
    key: Option<PathBuf>,
    /// how much to say: 0 trace, 1 debug, 2 info, 3 warnings, 4 errors
    #[argh(option, default = "3")]
    loglevel: u8,
    #[argh(subcommand)]
    command: Command,
}

#[derive(FromArgs)]
#[argh(subcommand)]
enum Command {
    Update(Update),
}

/// verify, then download
#[derive(FromArgs)]
#[argh(subcommand, name = "update")]
struct Update {}

/// The arguments after the word `uptane`, if that is the command. All options of the program take a value.
pub(super) fn called(argv: &[String]) -> Option<Vec<String>> {
    let mut rest = argv.iter().skip(1);
    while let Some(word) = rest.next() {
        if word == "uptane" {
            return Some(rest.cloned().collect());
        }
        if !word.starts_with('-') {
            return None;
        }
        if !word.contains('=') {
            rest.next();
        }
    }
    None
}

/// Runs the command and gives the exit code.
pub(super) fn main(words: &[String]) -> u8 {
    let words = command_last(words);
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match Uptane::from_args(&["rust-ota uptane"], &words) {
        Ok(args) => run(&args),
        Err(early) if early.status.is_ok() => {
            println!("{}", early.output);
            exit::OK
        }
        Err(early) => {
            eprintln!("{}", early.output);
            println!("error: {}", Class::LocalFailure);
            exit::ERROR
        }
    }
}

/// The same with arguments that were read.
pub(super) fn run(args: &Uptane) -> u8 {
    start_logging(args.loglevel);
    let Command::Update(Update {}) = &args.command;
    match update(args) {
        Ok(()) => exit::OK,
        Err(error) => {
            eprintln!("rust-ota uptane: {}", redacted(&error.to_string()));
            println!("error: {}", error.class());
            exit::ERROR
        }
    }
}

/// argh knows no `--key=value`, and no option after the command. Every option here takes a value.
fn command_last(words: &[String]) -> Vec<String> {
    let (mut options, mut command) = (Vec::new(), Vec::new());
    let mut words = words.iter();
    while let Some(word) = words.next() {
        match word.split_once('=') {
            Some((key, value)) if key.starts_with("--") => options.extend([key.into(), value.into()]),
            _ if word == "--help" => options.push(word.clone()),
            _ if word.starts_with("--") => {
                options.push(word.clone());
                options.extend(words.next().cloned());
            }
            _ => command.push(word.clone()),
        }
    }
    options.extend(command);
    options
}

fn update(args: &Uptane) -> Result<(), CommandError> {
    let _lock = Lock::take(&args.state_dir.join("lock"), "rust-ota uptane")?;
    let mut counters: Counters = atomic::read_json(&args.state_dir.join(COUNTERS))?.unwrap_or_default();
    let ecus = ecus(args, &counters)?;
    let http = http(args)?;
    let bundle = verify_both(args, &http, &ecus)?;
    report(&bundle);
    for target in &bundle.targets {
        fetch(args, &http, target)?;
    }
    // Only when all of it is here: a bundle counts as a whole or not at all.
    for target in &bundle.targets {
        for ecu in target.ecus.iter().filter(|ecu| ecu.release_counter < target.release_counter) {
            counters.insert(ecu.serial.clone(), target.release_counter);
            atomic::write_json(&args.state_dir.join(COUNTERS), &counters)?;
        }
    }
    Ok(())
}

/// The highest release counter of each ECU, by serial.
type Counters = BTreeMap<String, u64>;

const COUNTERS: &str = "release-counters.json";

fn verify_both<'e>(args: &Uptane, http: &Http, ecus: &'e [Ecu]) -> Result<Bundle<'e>, UptaneError> {
    let server = |url: &str| Server { http: http.clone(), base: url.trim_end_matches('/').to_owned() };
    let (mut director, mut image) = (server(&args.director_url), server(&args.image_url));
    let mut director_folder = Folder(args.state_dir.join("director"));
    let mut image_folder = Folder(args.state_dir.join("image"));
    let mut director = Source { fetch: &mut director, persist: &mut director_folder, trust_first_root: true };
    let mut image = Source { fetch: &mut image, persist: &mut image_folder, trust_first_root: true };
    verify(&mut director, &mut image, ecus, now())
}

fn report(bundle: &Bundle<'_>) {
    let mode = match bundle.mode {
        Mode::Full => "with timestamp and snapshot",
        Mode::Reduced => "reduced mode: the Director serves no timestamp and snapshot",
    };
    println!("Director: targets {}, {mode}", bundle.version);
    if let Some(id) = &bundle.correlation_id {
        println!("correlation id: {}", one_line(id));
    }
    if bundle.targets.is_empty() {
        println!("nothing is assigned, so the Image repository was not asked");
    }
}

fn fetch(args: &Uptane, http: &Http, target: &Verified<'_>) -> Result<(), UptaneError> {
    let serials: Vec<&str> = target.ecus.iter().map(|ecu| ecu.serial.as_str()).collect();
    let (name, serials) = (one_line(&target.target), one_line(&serials.join(", ")));
    if target.is_ostree {
        let commit = target.info.hashes.sha256_hex().unwrap_or_default();
        println!(
            "{name}: for {serials}, verified; OSTree commit {commit}, which this command does not fetch"
        );
        return Ok(());
    }
    let path = args.download_dir.join(file_name(&target.target));
    let what = match download(http, &args.image_url, target, &path)? {
        Fetched::New => "downloaded to",
        Fetched::Unchanged => "verified again in",
    };
    println!("{name}: for {serials}, {what} {}", path.display());
    Ok(())
}

fn ecus(args: &Uptane, counters: &Counters) -> Result<Vec<Ecu>, CommandError> {
    if args.ecu_serial.is_empty() || args.ecu_serial.len() != args.hardware_id.len() {
        return Err(CommandError::Ecus {
            serials: args.ecu_serial.len(),
            hardware_ids: args.hardware_id.len(),
        });
    }
    let pairs = args.ecu_serial.iter().zip(&args.hardware_id);
    let ecu = |(serial, hardware_id): (&String, &String)| Ecu {
        serial: serial.clone(),
        hardware_id: hardware_id.clone(),
        installed: None,
        release_counter: counters.get(serial).copied().unwrap_or_default(),
    };
    Ok(pairs.map(ecu).collect())
}

fn http(args: &Uptane) -> Result<Http, CommandError> {
    let client = match (&args.cert, &args.key) {
        (Some(certificate), Some(key)) => {
            Some(ClientIdentity { certificate: certificate.clone(), key: key.clone() })
        }
        (None, None) => None,
        _ => return Err(CommandError::HalfIdentity),
    };
    let secure = [&args.director_url, &args.image_url].iter().any(|url| url.starts_with("https:"));
    // A Target may have a URL of its own, so the CAs are there also when both servers are plain.
    let ca = Some(args.ca.clone()).filter(|ca| secure || ca.is_file());
    Ok(Http::new(&HttpSettings { ca, client, plain_http: PlainHttp::Any, ..HttpSettings::default() })?)
}

fn now() -> Time {
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    Time(i64::try_from(seconds).unwrap_or(i64::MAX))
}

/// Why the command failed.
#[derive(Debug)]
enum CommandError {
    /// Serials and hardware ids do not go together.
    Ecus { serials: usize, hardware_ids: usize },
    /// A certificate without its key, or the other way round.
    HalfIdentity,
    /// The cycle.
    Uptane(UptaneError),
    /// The certificates.
    Http(HttpError),
    /// The disk.
    Store(StoreError),
}

impl CommandError {
    fn class(&self) -> Class {
        match self {
            CommandError::Uptane(error) => error.class(),
            _ => Class::LocalFailure,
        }
    }
}

impl fmt::Display for CommandError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CommandError::Ecus { serials, hardware_ids } => write!(
                f,
                "one --hardware-id for each --ecu-serial expected, and at least one; got {serials} serials and {hardware_ids} hardware ids"
            ),
            CommandError::HalfIdentity => f.write_str("--cert and --key go together; give both or none"),
            CommandError::Uptane(error) => error.fmt(f),
            CommandError::Http(error) => error.fmt(f),
            CommandError::Store(error) => error.fmt(f),
        }
    }
}

impl From<UptaneError> for CommandError {
    fn from(error: UptaneError) -> CommandError {
        CommandError::Uptane(error)
    }
}

impl From<HttpError> for CommandError {
    fn from(error: HttpError) -> CommandError {
        CommandError::Http(error)
    }
}

impl From<StoreError> for CommandError {
    fn from(error: StoreError) -> CommandError {
        CommandError::Store(error)
    }
}
