//! The command line of aktualizr: `[MODE] [options]`, in any order, as its parser reads it.

use std::path::PathBuf;

/// What was typed.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Args {
    pub help: bool,
    pub version: bool,
    pub config: Vec<PathBuf>,
    pub loglevel: Option<u8>,
    pub mode: Option<String>,
    pub campaign: Option<String>,
    pub hardware: Option<PathBuf>,
    pub exit_codes: bool,
    pub json: bool,
    pub lock_wait: u64,
    /// Settings that the command line replaces: section, key, value.
    pub settings: Vec<(&'static str, &'static str, String)>,
}

/// Why it cannot be read.
#[derive(Debug, PartialEq, Eq)]
pub struct Problem(pub String);

const SWITCHES: [&str; 4] = ["help", "version", "exit-codes", "json"];
const VALUES: [&str; 13] = [
    "config",
    "loglevel",
    "run-mode",
    "running-mode",
    "tls-server",
    "repo-server",
    "director-server",
    "primary-ecu-serial",
    "primary-ecu-hardware-id",
    "secondary-config-file",
    "campaign-id",
    "hwinfo-file",
    "lock-wait",
];

/// Reads the words after the program's name. `--help` wins over everything that is wrong.
pub fn parse(words: &[String]) -> Result<Args, Problem> {
    let help = words.iter().any(|word| word == "--help" || word == "-h");
    match read(words) {
        Err(_) if help => Ok(Args { help, ..Args::default() }),
        read => read,
    }
}

fn read(words: &[String]) -> Result<Args, Problem> {
    let mut args = Args::default();
    let mut words = words.iter();
    while let Some(word) = words.next() {
        if !word.starts_with('-') {
            if let Some(first) = args.mode.replace(word.clone()) {
                return Err(Problem(format!("two running modes: {first} and {word}")));
            }
            continue;
        }
        let (name, value) = option(word)?;
        if SWITCHES.contains(&name) {
            if value.is_some() {
                return Err(Problem(format!("option '--{name}' does not take any arguments")));
            }
            switch(&mut args, name);
            continue;
        }
        let missing = || Problem(format!("the required argument for option '--{name}' is missing"));
        let value = value.or_else(|| words.next().cloned()).ok_or_else(missing)?;
        set(&mut args, name, value)?;
    }
    Ok(args)
}

/// The whole name of an option, and its value where it is in the same word.
fn option(word: &str) -> Result<(&'static str, Option<String>), Problem> {
    let unknown = || Problem(format!("unrecognised option '{word}'"));
    if let Some(long) = word.strip_prefix("--") {
        let (name, value) = long.split_once('=').map_or((long, None), |(n, v)| (n, Some(v.to_string())));
        return Ok((whole_name(name).ok_or_else(unknown)?, value));
    }
    match word {
        "-h" => Ok(("help", None)),
        "-v" => Ok(("version", None)),
        "-c" => Ok(("config", None)),
        _ => match word.strip_prefix("-c") {
            Some(path) => Ok(("config", Some(path.trim_start_matches('=').to_string()))),
            None => Err(unknown()),
        },
    }
}

/// An option may be cut short as long as it is one option.
fn whole_name(name: &str) -> Option<&'static str> {
    let all = || SWITCHES.iter().chain(&VALUES).copied();
    all().find(|n| *n == name).or_else(|| {
        let mut fitting = all().filter(|n| !name.is_empty() && n.starts_with(name));
        fitting.next().filter(|_| fitting.next().is_none())
    })
}

fn switch(args: &mut Args, name: &str) {
    match name {
        "help" => args.help = true,
        "version" => args.version = true,
        "json" => args.json = true,
        _ => args.exit_codes = true,
    }
}

fn set(args: &mut Args, name: &'static str, value: String) -> Result<(), Problem> {
    let bad = || Problem(format!("the argument ('{value}') for option '--{name}' is invalid"));
    if value.contains(['\n', '\r']) {
        return Err(bad());
    }
    let setting = match name {
        "config" => {
            args.config.push(PathBuf::from(value));
            return Ok(());
        }
        "loglevel" => {
            // Out of range is brought into it, as it always was.
            args.loglevel = Some(value.parse::<i64>().map_err(|_| bad())?.clamp(0, 5) as u8);
            return Ok(());
        }
        "lock-wait" => {
            args.lock_wait = value.parse().map_err(|_| bad())?;
            return Ok(());
        }
        "run-mode" | "running-mode" => {
            args.mode = Some(value);
            return Ok(());
        }
        "campaign-id" => {
            args.campaign = Some(value);
            return Ok(());
        }
        "tls-server" => ("tls", "server"),
        "repo-server" => ("uptane", "repo_server"),
        "director-server" => ("uptane", "director_server"),
        "primary-ecu-serial" => ("provision", "primary_ecu_serial"),
        "primary-ecu-hardware-id" => ("provision", "primary_ecu_hardware_id"),
        "secondary-config-file" => ("uptane", "secondary_config_file"),
        _ => {
            args.hardware = Some(PathBuf::from(value));
            return Ok(());
        }
    };
    args.settings.push((setting.0, setting.1, value));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(text: &str) -> Result<Args, Problem> {
        parse(&text.split_whitespace().map(str::to_string).collect::<Vec<_>>())
    }

    #[test]
    fn a_mode_in_each_form() {
        for text in [
            "check",
            "--run-mode check",
            "--run-mode=check",
            "--running-mode check",
            "--running-mode=check",
            "-c /a check",
            "check -c/a",
        ] {
            assert_eq!(line(text).unwrap().mode.as_deref(), Some("check"), "{text}");
        }
        assert_eq!(line("").unwrap(), Args::default());
        let args =
            line("--tls https://a --loglevel 9 campaign_accept --campaign-id=7 --lock-wait 5").unwrap();
        assert_eq!(args.settings, [("tls", "server", "https://a".to_string())], "cut short");
        assert_eq!((args.loglevel, args.campaign.as_deref(), args.lock_wait), (Some(5), Some("7"), 5));
    }

    #[test]
    fn what_cannot_be_read() {
        for text in ["--nonsense", "-x", "--run", "--loglevel x", "--loglevel", "check once", "--help=1"] {
            assert!(line(text).is_err(), "{text}: {:?}", line(text));
        }
        assert!(line("--nonsense --help").unwrap().help, "help wins");
    }
}
