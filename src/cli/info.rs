//! The command line of aktualizr-info: what this device is and has, in the lines that scripts look for.
//!
//! It only reads: no lock, no network, no identity that is made, and above all no boot that is confirmed.

use std::fmt::Write;
use std::io::{IsTerminal, stdout};
use std::path::{Path, PathBuf};
use std::time::Duration;

use zeroize::Zeroizing;

use super::{exit, start_logging};
use crate::agent::Agent;
use crate::agent::director::{known, known_file};
use crate::config::{Settings, load};
use crate::device::{EcuKey, device_id, stored_key};
use crate::gateway::redact::{harmless, one_line, redacted};
use crate::store::{EcuRecord, atomic};
use crate::tuf::stored_name;

const HELP: &str = "\
aktualizr-info command line options:
  -h [ --help ]              print this
  -v [ --version ]           print the version
  -c [ --config ] PATH       configuration file or folder; repeatable, replaces the default ones
  --loglevel N               0 trace to 5 fatal; nothing is logged without it
  --name-only                the device id and nothing else
  --tls-creds                the device's TLS certificate, key and CA
  --tls-root-ca, --tls-cert, --tls-prv-key
                             one of them and nothing else
  --ecu-keys                 id and both halves of the ECU key
  --ecu-keyid, --ecu-pub-key, --ecu-prv-key
                             one of them and nothing else
  --secondary-keys           with each Secondary, id and public half of its key
  --image-root, --image-timestamp, --image-snapshot, --image-targets, --delegation
  --director-root, --director-targets
                             trusted metadata as it was received
  --root-version N           of a root: only if it is the trusted one
  --allow-migrate            accepted, without an effect
  --wait-until-provisioned   wait until the server knows this device";

/// Each option that takes no value, and the older spellings of some.
const SWITCHES: [&str; 28] = [
    "help",
    "version",
    "name-only",
    "tls-creds",
    "tls-root-ca",
    "tls-cert",
    "tls-prv-key",
    "ecu-keys",
    "ecu-keyid",
    "ecu-pub-key",
    "ecu-prv-key",
    "secondary-keys",
    "image-root",
    "image-timestamp",
    "image-snapshot",
    "image-targets",
    "delegation",
    "director-root",
    "director-targets",
    "allow-migrate",
    "wait-until-provisioned",
    "images-root",
    "images-timestamp",
    "images-snapshot",
    "images-target",
    "images-targets",
    "image-target",
    "director-target",
];
const VALUES: [&str; 3] = ["config", "loglevel", "root-version"];

/// Options that print a metadata file: the option, its heading, repository and role.
const METADATA: [(&str, &str, &str, &str); 6] = [
    ("image-root", "image root.json content:", "image", "root.json"),
    ("image-targets", "image targets.json content:", "image", "targets.json"),
    ("image-timestamp", "image timestamp.json content:", "image", "timestamp.json"),
    ("image-snapshot", "image snapshot.json content:", "image", "snapshot.json"),
    ("director-root", "director root.json content:", "director", "root.json"),
    ("director-targets", "director targets.json content:", "director", "targets.json"),
];

#[derive(Debug, Default, PartialEq, Eq)]
struct Args {
    switches: Vec<&'static str>,
    config: Vec<PathBuf>,
    loglevel: Option<u8>,
    root_version: Option<u64>,
}

impl Args {
    fn has(&self, name: &str) -> bool {
        self.switches.contains(&name)
    }
}

/// Prints what was asked for.
pub(super) fn main(argv: &[String]) -> u8 {
    let args = match parse(argv.get(1..).unwrap_or_default()) {
        Ok(args) => args,
        Err(problem) => {
            println!("{problem}\n{HELP}");
            return exit::ERROR;
        }
    };
    if args.has("help") {
        println!("{HELP}");
        return exit::OK;
    }
    if args.has("version") {
        println!("Current aktualizr-info version is: {}", env!("CARGO_PKG_VERSION"));
        return exit::OK;
    }
    match load(&args.config) {
        Ok((_, settings)) => {
            if let Some(level) = args.loglevel {
                start_logging(level);
            }
            match answer(&args, settings) {
                Ok(text) => {
                    // Programs get metadata as it came; a terminal does not do what is in it.
                    print!("{}", if stdout().is_terminal() { harmless(&text) } else { text });
                    exit::OK
                }
                Err(text) => {
                    println!("{}", redacted(&text));
                    exit::ERROR
                }
            }
        }
        Err(error) => {
            println!("{}", redacted(&error.to_string()));
            exit::ERROR
        }
    }
}

fn parse(words: &[String]) -> Result<Args, String> {
    let mut args = Args::default();
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let (name, value) = match word.as_str() {
            "-h" => ("help", None),
            "-v" => ("version", None),
            "-c" => ("config", None),
            _ => option(word)?,
        };
        if SWITCHES.contains(&name) {
            args.switches.push(canonical(name));
            continue;
        }
        let missing = || format!("the required argument for option '--{name}' is missing");
        let value = value.or_else(|| words.next().cloned()).ok_or_else(missing)?;
        let bad = || format!("the argument ('{value}') for option '--{name}' is invalid");
        match name {
            "config" => args.config.push(PathBuf::from(value)),
            "loglevel" => args.loglevel = Some(value.parse::<u8>().map_err(|_| bad())?.min(5)),
            _ => args.root_version = Some(value.parse().map_err(|_| bad())?),
        }
    }
    Ok(args)
}

fn option(word: &str) -> Result<(&'static str, Option<String>), String> {
    let unknown = || format!("unrecognised option '{word}'");
    let long = word.strip_prefix("--").filter(|long| !long.is_empty()).ok_or_else(unknown)?;
    let (name, value) = long.split_once('=').map_or((long, None), |(n, v)| (n, Some(v.to_string())));
    let all = || SWITCHES.iter().chain(&VALUES).copied();
    let mut fitting = all().filter(|n| n.starts_with(name));
    let cut_short = fitting.next().filter(|_| fitting.next().is_none());
    all().find(|n| *n == name).or(cut_short).map(|name| (name, value)).ok_or_else(unknown)
}

/// The spelling of today.
fn canonical(name: &'static str) -> &'static str {
    match name {
        "images-root" => "image-root",
        "images-timestamp" => "image-timestamp",
        "images-snapshot" => "image-snapshot",
        "images-target" | "images-targets" | "image-target" => "image-targets",
        "director-target" => "director-targets",
        name => name,
    }
}

fn answer(args: &Args, settings: Settings) -> Result<String, String> {
    if args.has("wait-until-provisioned") {
        while !provisioned(&settings)? {
            std::thread::sleep(Duration::from_secs(1));
        }
    }
    if args.has("name-only") {
        return device_id(&settings)
            .map(|id| format!("{}\n", one_line(&id)))
            .ok_or("Couldn't load device ID".to_string());
    }
    if let Some(text) = one_thing(args, &settings)? {
        return Ok(text);
    }
    let asked = asked_for(args, &settings)?;
    if !asked.is_empty() {
        return Ok(asked);
    }
    Ok(overview(args, &settings)? + &running(settings))
}

/// Whoever asks for metadata, keys or credentials gets them and nothing else: scripts pipe them into other programs.
fn asked_for(args: &Args, settings: &Settings) -> Result<String, String> {
    let mut text = String::new();
    print_metadata(args, settings, &mut text)?;
    if args.has("tls-creds") {
        for (heading, path) in [
            ("Root CA certificate:", settings.ca.as_deref()),
            ("Client certificate:", settings.client.as_ref().map(|(certificate, _)| certificate.as_path())),
            ("Client private key:", settings.client.as_ref().map(|(_, key)| key.as_path())),
        ] {
            let _ = writeln!(text, "{heading}\n{}", file(path)?);
        }
    }
    if args.has("ecu-keys") {
        let (key, private) = keys(settings)?;
        let _ = writeln!(text, "Public key ID: {}\nPublic key:\n{}", key.id(), key.public());
        let _ = writeln!(text, "Private key:\n{}", private.as_str());
    }
    Ok(text)
}

/// Options that print one thing and nothing else.
fn one_thing(args: &Args, settings: &Settings) -> Result<Option<String>, String> {
    let client = settings.client.as_ref();
    let text = if args.has("tls-root-ca") {
        file(settings.ca.as_deref())?
    } else if args.has("tls-cert") {
        file(client.map(|(certificate, _)| certificate.as_path()))?
    } else if args.has("tls-prv-key") {
        file(client.map(|(_, key)| key.as_path()))?
    } else if args.has("ecu-keyid") {
        keys(settings)?.0.id()
    } else if args.has("ecu-pub-key") {
        keys(settings)?.0.public().to_string()
    } else if args.has("ecu-prv-key") {
        keys(settings)?.1.to_string()
    } else {
        return Ok(None);
    };
    Ok(Some(format!("{}\n", text.trim_end())))
}

fn overview(args: &Args, settings: &Settings) -> Result<String, String> {
    let mut text = String::new();
    match device_id(settings) {
        Some(id) => drop(writeln!(text, "Device ID: {}", one_line(&id))),
        None => text.push_str("Couldn't load device ID\n"),
    }
    match EcuRecord::load(&settings.state).map_err(|e| e.to_string())? {
        Some(record) => {
            let _ = writeln!(text, "Primary ECU serial ID: {}", one_line(&record.serial));
            let _ = writeln!(text, "Primary ECU hardware ID: {}", one_line(&record.hardware_id));
        }
        None => text.push_str("Couldn't load ECU serials\n"),
    }
    secondaries(args, settings, &mut text);
    let yes = |yes: bool| if yes { "yes" } else { "no" };
    let _ = writeln!(text, "Provisioned on server: {}", yes(provisioned(settings)?));
    let _ = writeln!(text, "Fetched metadata: {}", yes(fetched(settings)));
    Ok(text)
}

/// A file that cannot be read is no reason to say nothing of the Primary.
fn secondaries(args: &Args, settings: &Settings, text: &mut String) {
    let known = match known(settings) {
        Ok(known) => known,
        Err(error) => {
            let _ = writeln!(text, "{}", redacted(&error.to_string()));
            return;
        }
    };
    if !known.is_empty() {
        text.push_str("Secondaries:\n");
    }
    for (number, ecu) in known.iter().enumerate() {
        let _ = writeln!(text, "{}) serial ID: {}", number + 1, one_line(&ecu.serial));
        let _ = writeln!(text, "   hardware ID: {}", one_line(&ecu.hardware_id));
        match &ecu.firmware {
            Some((hash, name)) => {
                let _ = writeln!(text, "   installed image hash: {}", one_line(hash));
                let _ = writeln!(text, "   installed image filename: {}", one_line(name));
            }
            None => text.push_str("   no details about installed nor pending images\n"),
        }
        if args.has("secondary-keys") {
            let _ =
                writeln!(text, "   public key ID: {}\n   public key:\n{}", ecu.key.0, ecu.key.1.trim_end());
        }
    }
}

fn provisioned(settings: &Settings) -> Result<bool, String> {
    let record = EcuRecord::load(&settings.state).map_err(|e| e.to_string())?;
    Ok(record.is_some_and(|record| record.registered.is_some()))
}

fn trust(settings: &Settings, repository: &str, name: &str) -> PathBuf {
    settings.state.join("trust").join(repository).join(name)
}

fn fetched(settings: &Settings) -> bool {
    trust(settings, "director", "targets.json").exists()
}

/// One file is printed as it is; several have headings.
fn print_metadata(args: &Args, settings: &Settings, text: &mut String) -> Result<(), String> {
    let among = ["tls-creds", "ecu-keys", "delegation"].map(|option| args.has(option)).contains(&true);
    let alone = METADATA.iter().filter(|(option, ..)| args.has(option)).count() == 1 && !among;
    for (option, heading, repository, name) in METADATA {
        if !args.has(option) {
            continue;
        }
        let none = "Metadata is not available".to_string();
        let path = trust(settings, repository, name);
        let content = atomic::read(&path).map_err(|e| e.to_string())?.ok_or_else(|| none.clone())?;
        let content = String::from_utf8_lossy(&content).into_owned();
        if name == "root.json" && args.root_version.is_some_and(|wanted| version(&content) != Some(wanted)) {
            return Err(none);
        }
        if !alone {
            let _ = writeln!(text, "{heading}");
        }
        let _ = writeln!(text, "{}", content.trim_end());
    }
    if args.has("delegation") {
        delegations(&settings.state.join("trust/image"), text);
    }
    Ok(())
}

fn version(root: &str) -> Option<u64> {
    serde_json::from_str::<serde_json::Value>(root).ok()?["signed"]["version"].as_u64()
}

/// Every other file beside the four roles is a delegated one.
fn delegations(folder: &Path, text: &mut String) {
    let top = ["root", "timestamp", "snapshot", "targets"];
    let stored: Vec<String> =
        top.iter().map(|role| format!("{role}.json")).chain(top.map(stored_name)).collect();
    let mut found: Vec<PathBuf> =
        std::fs::read_dir(folder).into_iter().flatten().flatten().map(|e| e.path()).collect();
    found.retain(|path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        name.ends_with(".json") && name != "floor.json" && !stored.contains(&name)
    });
    found.sort();
    if found.is_empty() {
        text.push_str("Delegations are not present\n");
    }
    for path in found {
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let content = std::fs::read_to_string(&path).unwrap_or_default();
        let _ = writeln!(text, "{}:\n{}", one_line(&name), content.trim_end());
    }
}

/// What runs and what waits. A sysroot that cannot be read is no reason to say nothing else.
fn running(settings: Settings) -> String {
    let (runs, waits) = if settings.primary_is_file() {
        known_file(&settings).unwrap_or_default()
    } else {
        let facts = Agent::new(settings).status().map(|status| status.facts).ok();
        facts.map_or((None, None), |f| (f.booted, f.installed.pending.map(|pending| pending.target.commit)))
    };
    let none = "No currently running version on Primary ECU\n".to_string();
    let mut text =
        runs.map_or(none, |hash| format!("Current Primary ECU running version: {}\n", one_line(&hash)));
    if let Some(hash) = waits {
        let _ = writeln!(text, "Pending Primary ECU version: {}", one_line(&hash));
    }
    text
}

fn keys(settings: &Settings) -> Result<(EcuKey, Zeroizing<String>), String> {
    let failed = || "Failed to load Primary ECU keys!".to_string();
    stored_key(settings).map_err(|e| e.to_string())?.ok_or_else(failed)
}

fn file(path: Option<&Path>) -> Result<String, String> {
    let path = path.ok_or("Couldn't load TLS credentials: they are not on this device")?;
    std::fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()))
}
