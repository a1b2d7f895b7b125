//! Turns what was typed into what is done, and prints what came of it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde_json::{Value, json};

use crate::cli::{Command, Init, Serve, TargetAdd, TargetCommand, TargetList, TargetRemove, Tls};
use crate::error::Error;
use crate::init::{self, init};
use crate::metadata::{Profile, Role, Target};
use crate::repository::{Published, Settings, metadata_folder, private_folders};
use crate::serve::{self, TlsFiles};
use crate::target::{self, Addition};
use crate::time;
use crate::tls::{Authority, Folder};
use crate::treehub::Wanted;

/// Lifetimes without `--expires`, in days.
const LIFETIMES: [(Role, u64); 4] =
    [(Role::Root, 365), (Role::Targets, 365), (Role::Snapshot, 90), (Role::Timestamp, 30)];
const DAY: u64 = 86400;
const MAX_DAYS: u64 = 36_500;

/// Runs a command.
pub fn run(command: Command) -> Result<(), Error> {
    match command {
        Command::Init(args) => run_init(args),
        Command::Target(args) => match args.command {
            TargetCommand::Add(args) => target_add(args),
            TargetCommand::Remove(args) => target_remove(&args),
            TargetCommand::List(args) => target_list(&args),
        },
        Command::Tls(args) => run_tls(&args),
        Command::Serve(args) => run_serve(args),
    }
}

fn run_init(args: Init) -> Result<(), Error> {
    let profile = match args.profile.as_str() {
        "tuf" => Profile::Tuf,
        "ats" => Profile::Ats,
        other => {
            return Err(Error::option("--profile", format!("{other:?}: use tuf or ats")));
        }
    };
    let given = pairs("--key", &args.key, |path| Ok(PathBuf::from(path)))?;
    check_key_type(&args.key_type, &given)?;
    let mut expires = BTreeMap::from(LIFETIMES.map(|(role, days)| (role, days * DAY)));
    expires.extend(pairs("--expires", &args.expires, lifetime)?);
    let plan = init::Plan {
        settings: Settings::new(profile, expires),
        threshold: pairs("--threshold", &args.threshold, threshold)?.into_iter().collect(),
        given,
        now: time::now(),
        dir: args.dir,
        keys: args.keys,
    };
    let private = init(&plan)?;
    let root = metadata_folder(&plan.dir).join("1.root.json");
    if args.json {
        print_json(&json!({"dir": plan.dir, "keys": private, "root": root}));
    } else {
        println!("repository   {}  (publish this folder)", plan.dir.display());
        println!("keys         {}  (keep this folder secret, and a copy of it safe)", private.display());
        println!("first root   {}  (goes into every device's image)", root.display());
    }
    Ok(())
}

fn check_key_type(key_type: &str, given: &[(Role, PathBuf)]) -> Result<(), Error> {
    match key_type {
        "ed25519" => Ok(()),
        "rsa" => match Role::ALL.iter().find(|role| !given.iter().any(|(own, _)| own == *role)) {
            None => Ok(()),
            Some(role) => Err(Error::option(
                "--key-type rsa",
                format!(
                    "RSA keys are not made here: make one with `{}` and give it with --key {role}=FILE, likewise for the other roles",
                    crate::keys::MAKE_RSA
                ),
            )),
        },
        other => Err(Error::option("--key-type", format!("{other:?}: use ed25519 or rsa"))),
    }
}

fn target_add(args: TargetAdd) -> Result<(), Error> {
    let wanted = match (args.r#ref, args.commit) {
        (Some(name), None) => Wanted::Ref(name),
        (None, Some(commit)) => Wanted::Commit(commit),
        _ => {
            return Err(Error::option("--ref or --commit", "give exactly one of them"));
        }
    };
    let addition = Addition {
        source: args.ostree_repo,
        wanted,
        name: args.name,
        version: args.version,
        hardware_ids: args.hardware_id,
        tags: args.tag,
        custom: args.custom,
    };
    let added = target::add(&args.dir, &args.keys, &addition)?;
    if args.json {
        print_json(&json!({"target": added.target, "commit": added.commit, "changed": added.changed}));
    } else if added.changed {
        println!("published Target {} (commit {})", added.target, added.commit);
    } else {
        println!("Target {} was published before, nothing changed", added.target);
    }
    Ok(())
}

fn target_remove(args: &TargetRemove) -> Result<(), Error> {
    if args.targets.is_empty() {
        return Err(Error::option("TARGET", "name at least one"));
    }
    target::remove(&args.dir, &args.keys, &args.targets)?;
    for name in &args.targets {
        println!("removed Target {name}");
    }
    Ok(())
}

fn target_list(args: &TargetList) -> Result<(), Error> {
    let published = Published::load(&args.dir)?;
    let targets: Vec<_> = published.targets.targets.iter().collect();
    if args.json {
        let list = targets.iter().map(|(name, target)| describe(name, target));
        print_json(&list.collect());
        return Ok(());
    }
    for (name, target) in targets {
        let described = describe(name, target);
        let words = |key: &str| {
            let list = described[key].as_array().cloned().unwrap_or_default();
            let words: Vec<_> = list.iter().filter_map(Value::as_str).collect();
            words.join(",")
        };
        println!(
            "{name}  hardware ids {}  tags {}  commit {}",
            words("hardwareIds"),
            words("tags"),
            described["commit"].as_str().unwrap_or("-")
        );
    }
    Ok(())
}

/// A Target as a script reads it: its custom object with its full name and commit.
fn describe(name: &str, target: &Target) -> Value {
    let mut object = target.custom.clone();
    object.insert("target".to_string(), json!(name));
    object.insert("commit".to_string(), json!(target.hashes.get("sha256")));
    Value::Object(object)
}

fn run_tls(args: &Tls) -> Result<(), Error> {
    if args.days == 0 || args.days > MAX_DAYS {
        return Err(Error::option("--days", format!("use 1 to {MAX_DAYS}")));
    }
    let folder = tls_folder(&args.dir, args.keys.as_ref())?;
    let root = folder.root();
    let authority = Authority::open(folder, args.days)?;
    let server = match args.host.as_slice() {
        [] => None,
        hosts => Some(authority.server(hosts)?),
    };
    let mut devices = BTreeMap::new();
    for id in &args.device {
        devices.insert(id, authority.device(id)?);
    }
    if args.json {
        print_json(&json!({"root": root, "server": server, "devices": devices}));
        return Ok(());
    }
    println!("authority    {}", root.display());
    if let Some(server) = server {
        println!("server       {}", server.display());
    }
    for (id, folder) in devices {
        println!("device       {id}: {}", folder.display());
    }
    Ok(())
}

fn run_serve(args: Serve) -> Result<(), Error> {
    let tls = serve_tls(&args)?;
    serve::serve(&serve::Options {
        dir: args.dir,
        listen: args.listen,
        tls,
        log: args.log,
        quiet: args.quiet,
    })
}

fn serve_tls(args: &Serve) -> Result<Option<TlsFiles>, Error> {
    let mut files = None;
    if args.tls {
        let folder = tls_folder(&args.dir, args.keys.as_ref())?;
        if !folder.server_certificate().exists() {
            return Err(Error::option(
                "--tls",
                format!(
                    "no certificate in {}: make one with `ota-repo tls {} --host NAME`",
                    folder.path.display(),
                    args.dir.display()
                ),
            ));
        }
        files = Some(TlsFiles {
            certificate: folder.server_certificate(),
            key: folder.server_key(),
            client_ca: Some(folder.root()),
        });
    }
    match (&args.tls_cert, &args.tls_key) {
        (Some(certificate), Some(key)) => {
            files = Some(TlsFiles {
                certificate: certificate.clone(),
                key: key.clone(),
                client_ca: files.and_then(|files| files.client_ca),
            });
        }
        (None, None) => {}
        _ => return Err(Error::option("--tls-cert and --tls-key", "give both")),
    }
    if let Some(path) = &args.client_ca {
        let files =
            files.as_mut().ok_or_else(|| Error::option("--client-ca", "needs --tls-cert and --tls-key"))?;
        files.client_ca = Some(path.clone());
    }
    Ok(files)
}

fn tls_folder(dir: &Path, keys: Option<&PathBuf>) -> Result<Folder, Error> {
    let given: Vec<_> = keys.into_iter().cloned().collect();
    Ok(Folder::of(&private_folders(dir, &given)?[0]))
}

/// Values of the form `ROLE=VALUE`.
fn pairs<T>(
    option: &str,
    values: &[String],
    parse: impl Fn(&str) -> Result<T, String>,
) -> Result<Vec<(Role, T)>, Error> {
    values
        .iter()
        .map(|text| {
            let bad = |detail: String| Error::option(format!("{option} {text}"), detail);
            let (role, value) = text.split_once('=').ok_or_else(|| bad("is not ROLE=VALUE".to_string()))?;
            Ok((Role::from_str(role).map_err(bad)?, parse(value).map_err(bad)?))
        })
        .collect()
}

fn threshold(text: &str) -> Result<u64, String> {
    match text.parse() {
        Ok(number @ 1..=16) => Ok(number),
        _ => Err("use a number of keys from 1 to 16".to_string()),
    }
}

/// Days, or a number with a unit.
fn lifetime(text: &str) -> Result<u64, String> {
    let (digits, unit) = match text.bytes().last() {
        Some(b's') => (&text[..text.len() - 1], 1),
        Some(b'm') => (&text[..text.len() - 1], 60),
        Some(b'h') => (&text[..text.len() - 1], 3600),
        Some(b'd') => (&text[..text.len() - 1], DAY),
        _ => (text, DAY),
    };
    digits
        .parse::<u64>()
        .ok()
        .and_then(|number| number.checked_mul(unit))
        .filter(|seconds| (1..=MAX_DAYS * DAY).contains(seconds))
        .ok_or_else(|| format!("use 1 to {MAX_DAYS} days, or a number with s, m, h or d"))
}

fn print_json(value: &Value) {
    println!("{value:#}");
}
