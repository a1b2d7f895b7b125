//! Runs the commands that make a repository and publish in it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use rust_ota::tuf::Profile;
use serde_json::{Value, json};

use super::{DAY, lifetime, pairs, print_json, threshold};
use crate::cli::{Delta, Init, Refresh, Show, TagsArgs, TargetAdd, TargetList, TargetRemove};
use crate::deltas;
use crate::error::Error;
use crate::init;
use crate::keys::{Key, MAKE_RSA};
use crate::metadata::{Role, Target};
use crate::publish::Signing;
use crate::refresh;
use crate::repository::{Published, Repository, Settings, metadata_folder};
use crate::show;
use crate::tags;
use crate::target::{self, Addition, Content};
use crate::time;
use crate::treehub::Wanted;

/// Lifetimes without `--expires`, in days.
const LIFETIMES: [(Role, u64); 4] =
    [(Role::Root, 365), (Role::Targets, 365), (Role::Snapshot, 90), (Role::Timestamp, 30)];

pub fn init(args: Init) -> Result<(), Error> {
    let profile = Profile::from_name(&args.profile)
        .ok_or_else(|| Error::option("--profile", format!("{:?}: use tuf or ats", args.profile)))?;
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
    let private = init::init(&plan)?;
    if plan.threshold.get(&Role::Root).is_none_or(|keys| *keys < 2) {
        eprintln!(
            "advice: one stolen root key is enough to take over every device; for a product, begin again with --threshold root=2 and \
             keep the keys apart and offline (docs/security/key-ceremony.md)"
        );
    }
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
                    MAKE_RSA
                ),
            )),
        },
        other => Err(Error::option("--key-type", format!("{other:?}: use ed25519 or rsa"))),
    }
}

pub fn target_add(args: TargetAdd) -> Result<(), Error> {
    let content = content(args.ostree_repo, args.r#ref, args.commit, args.file)?;
    let mut custom = args.custom;
    custom.extend(crate::apps::custom(&args.app)?.map(|apps| format!("docker_compose_apps={apps}")));
    let addition = Addition {
        content,
        name: args.name,
        version: args.version,
        hardware_ids: args.hardware_id,
        tags: args.tag,
        custom,
    };
    let added = target::add(&args.dir, &args.keys, &addition)?;
    let word = if matches!(addition.content, Content::File(_)) { "sha256" } else { "commit" };
    if args.json {
        print_json(&json!({"target": added.target, word: added.sha256, "changed": added.changed}));
    } else if added.changed {
        println!("published Target {} ({word} {})", added.target, added.sha256);
    } else {
        println!("Target {} was published before, nothing changed", added.target);
    }
    Ok(())
}

fn content(
    repository: Option<PathBuf>,
    name: Option<String>,
    commit: Option<String>,
    file: Option<PathBuf>,
) -> Result<Content, Error> {
    match (repository, name, commit, file) {
        (Some(source), Some(name), None, None) => Ok(Content::Ostree { source, wanted: Wanted::Ref(name) }),
        (Some(source), None, Some(commit), None) => {
            Ok(Content::Ostree { source, wanted: Wanted::Commit(commit) })
        }
        (None, None, None, Some(file)) => Ok(Content::File(file)),
        (Some(_), _, _, None) => Err(Error::option("--ref or --commit", "give exactly one of them")),
        _ => Err(Error::option(
            "--ostree-repo or --file",
            "give exactly one of them, --ref or --commit with the first only",
        )),
    }
}

pub fn delta(args: &Delta) -> Result<(), Error> {
    let made = deltas::make(&args.dir, &args.keys, &args.from, &args.to)?;
    if args.json {
        print_json(&made);
    } else {
        println!("signed the static delta from {} to {}: {} bytes", args.from, args.to, made["size"]);
    }
    Ok(())
}

pub fn target_remove(args: &TargetRemove) -> Result<(), Error> {
    if args.targets.is_empty() {
        return Err(Error::option("TARGET", "name at least one"));
    }
    target::remove(&args.dir, &args.keys, &args.targets)?;
    for name in &args.targets {
        println!("removed Target {name}");
    }
    Ok(())
}

pub fn target_list(args: &TargetList) -> Result<(), Error> {
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

pub fn tags(args: &TagsArgs) -> Result<(), Error> {
    if args.delegated {
        return delegated_tags(args);
    }
    if !args.key.is_empty() || !args.path.is_empty() {
        return Err(Error::option("--key or --path", "is for the roles of --delegated"));
    }
    let repository = Repository::open(&args.dir, &args.keys)?;
    let keyring = repository.keyring()?;
    let signing = Signing { settings: &repository.settings, keyring: &keyring, now: time::now() };
    for (tag, count) in tags::publish(&repository, &signing)? {
        let plural = if count == 1 { "" } else { "s" };
        println!(
            "{tag}  {count} Target{plural}  {}",
            metadata_folder(&tags::folder(&args.dir).join(&tag)).display()
        );
    }
    Ok(())
}

fn delegated_tags(args: &TagsArgs) -> Result<(), Error> {
    let of_tag = |option: &str, text: &str| -> Result<(String, String), Error> {
        let pair = text.split_once('=').filter(|(tag, value)| tags::fits(tag) && !value.is_empty());
        let pair = pair.ok_or_else(|| Error::option(format!("{option} {text}"), "is not TAG=VALUE"))?;
        Ok((pair.0.to_string(), pair.1.to_string()))
    };
    let mut keys = Vec::new();
    for text in &args.key {
        let (tag, path) = of_tag("--key", text)?;
        keys.push((tag, Key::load(Path::new(&path))?));
    }
    let mut paths: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for text in &args.path {
        let (tag, pattern) = of_tag("--path", text)?;
        paths.entry(tag).or_default().push(pattern);
    }
    for (role, count) in tags::delegate(&args.dir, &args.keys, keys, paths)? {
        println!("{role}  {count} Target{}", if count == 1 { "" } else { "s" });
    }
    Ok(())
}

pub fn refresh(args: &Refresh) -> Result<(), Error> {
    let refreshed = refresh::refresh(&args.dir, &args.keys, args.all)?;
    println!("signed again: {}", refreshed.roles.join(", "));
    match refreshed.overdue.into_iter().next() {
        None => Ok(()),
        Some((role, expires)) => Err(Error::Overdue { role, expires }),
    }
}

pub fn show(args: &Show) -> Result<(), Error> {
    let summary = show::summary(&args.dir, time::now())?;
    if args.json {
        print_json(&summary);
    } else {
        print!("{}", show::text(&summary));
    }
    Ok(())
}
