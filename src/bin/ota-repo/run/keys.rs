//! Runs the commands that change who signs.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde_json::Value;

use super::{check_threshold, print_json};
use crate::cli::{KeysAdd, KeysList, KeysRemove, Rotate};
use crate::error::Error;
use crate::metadata::Role;
use crate::rotate::{self, Rotation};
use crate::show;

pub fn rotate(args: Rotate) -> Result<(), Error> {
    let rotation = Rotation {
        role: role(&args.role)?,
        given: args.key,
        // As many new keys as must sign, so that the old ones can go.
        fresh: check_threshold(args.threshold)?,
        threshold: args.threshold,
        remove_old: args.remove_old,
        remove: Vec::new(),
    };
    change(&args.dir, &args.keys, &rotation)
}

pub fn add(args: KeysAdd) -> Result<(), Error> {
    check_threshold(args.threshold)?;
    let rotation = Rotation {
        role: role(&args.role)?,
        given: args.key.into_iter().collect(),
        fresh: Some(1),
        threshold: args.threshold,
        remove_old: false,
        remove: Vec::new(),
    };
    change(&args.dir, &args.keys, &rotation)
}

pub fn remove(args: KeysRemove) -> Result<(), Error> {
    check_threshold(args.threshold)?;
    let rotation = Rotation {
        role: role(&args.role)?,
        given: Vec::new(),
        fresh: Some(0),
        threshold: args.threshold,
        remove_old: false,
        remove: vec![args.keyid],
    };
    change(&args.dir, &args.keys, &rotation)
}

pub fn list(args: &KeysList) -> Result<(), Error> {
    let list = show::keys(&args.dir, &args.keys)?;
    if args.json {
        print_json(&Value::Array(list));
        return Ok(());
    }
    for key in &list {
        let roles: Vec<_> = key["roles"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        println!(
            "{}  {:<7}  {:<20}  {}",
            key["keyid"].as_str().and_then(|id| id.get(..16)).unwrap_or_default(),
            key["type"].as_str().unwrap_or_default(),
            if roles.is_empty() { "signs nothing".to_string() } else { roles.join(",") },
            key["file"].as_str().unwrap_or("(not at hand)"),
        );
    }
    Ok(())
}

fn change(dir: &Path, keys: &[PathBuf], rotation: &Rotation) -> Result<(), Error> {
    let rotated = rotate::rotate(dir, keys, rotation)?;
    println!("published {}.root.json", rotated.root_version);
    for id in &rotated.added {
        println!("key {} signs for {} now", &id[..16], rotation.role);
    }
    for id in &rotated.removed {
        println!("key {} signs for {} no more", &id[..16], rotation.role);
    }
    Ok(())
}

fn role(text: &str) -> Result<Role, Error> {
    Role::from_str(text).map_err(|detail| Error::option("ROLE", detail))
}
