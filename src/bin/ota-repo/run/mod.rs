//! Turns what was typed into what is done, and prints what came of it.

mod apps;
mod director;
mod keys;
mod publishing;
mod serving;

use std::str::FromStr;

use serde_json::Value;

use crate::cli::{AppsCommand, Command, KeysCommand, TargetCommand};
use crate::error::Error;
use crate::metadata::Role;

const DAY: u64 = 86400;
/// A hundred years.
pub const MAX_DAYS: u64 = 36_500;
const MAX_KEYS: u64 = 16;

/// Runs a command.
pub fn run(command: Command) -> Result<(), Error> {
    match command {
        Command::Init(args) => publishing::init(args),
        Command::Target(args) => match args.command {
            TargetCommand::Add(args) => publishing::target_add(args),
            TargetCommand::Remove(args) => publishing::target_remove(&args),
            TargetCommand::List(args) => publishing::target_list(&args),
        },
        Command::Delta(args) => publishing::delta(&args),
        Command::Apps(args) => match args.command {
            AppsCommand::Publish(args) => apps::publish(args),
            AppsCommand::Fetch(args) => apps::fetch(args),
        },
        Command::Refresh(args) => publishing::refresh(&args),
        Command::Tags(args) => publishing::tags(&args),
        Command::Show(args) => publishing::show(&args),
        Command::Rotate(args) => keys::rotate(args),
        Command::Keys(args) => match args.command {
            KeysCommand::Add(args) => keys::add(args),
            KeysCommand::Remove(args) => keys::remove(args),
            KeysCommand::List(args) => keys::list(&args),
        },
        Command::Tls(args) => serving::tls(&args),
        Command::DeviceConfig(args) => serving::device_config(args),
        Command::Director(args) => director::run(args.command),
        Command::Serve(args) => serving::serve(args),
    }
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
        Ok(number @ 1..=MAX_KEYS) => Ok(number),
        _ => Err(format!("use a number of keys from 1 to {MAX_KEYS}")),
    }
}

/// A `--threshold` of its own.
fn check_threshold(given: Option<u64>) -> Result<Option<u64>, Error> {
    match given {
        Some(number) if !(1..=MAX_KEYS).contains(&number) => {
            Err(Error::option("--threshold", format!("use a number of keys from 1 to {MAX_KEYS}")))
        }
        _ => Ok(given),
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
