//! The command line of aktualizr-lite: `[command] [target] [flags]`, in any order, as its parser reads it.

use std::path::PathBuf;

/// What was typed.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Args {
    pub help: bool,
    pub version: bool,
    pub config: Vec<PathBuf>,
    pub loglevel: Option<u8>,
    pub target: Option<String>,
    pub install_mode: Option<String>,
    pub interval: Option<u64>,
    pub json: bool,
    pub report_hw_info: bool,
    pub src_dir: Option<PathBuf>,
    pub command: Option<String>,
}

/// Why it cannot be read.
#[derive(Debug, PartialEq, Eq)]
pub enum Problem {
    /// There is no such option.
    Unknown(String),
    /// A value is missing or malformed.
    Bad(String),
}

const SWITCHES: [&str; 3] = ["help", "version", "clear-installed-versions"];
const VALUES: [&str; 9] = [
    "config",
    "loglevel",
    "update-name",
    "install-mode",
    "interval",
    "json",
    "report-hw-info",
    "src-dir",
    "command",
];

/// Reads the words after the program's name.
pub fn parse(words: &[String]) -> Result<Args, Problem> {
    let mut args = Args::default();
    let mut words = words.iter();
    let mut options = true;
    while let Some(word) = words.next() {
        if !options || word == "-" || !word.starts_with('-') {
            positional(&mut args, word)?;
        } else if word == "--" {
            options = false;
        } else {
            let (name, value) = option(word)?;
            if SWITCHES.contains(&name) {
                if value.is_some() {
                    return Err(Problem::Bad(format!("option '--{name}' does not take any arguments")));
                }
                switch(&mut args, name);
                continue;
            }
            let missing = || Problem::Bad(format!("the required argument for option '--{name}' is missing"));
            let value = value.or_else(|| words.next().cloned()).ok_or_else(missing)?;
            set(&mut args, name, value)?;
        }
    }
    Ok(args)
}

/// The whole name of an option, and its value where it is in the same word.
fn option(word: &str) -> Result<(&'static str, Option<String>), Problem> {
    let unknown = || Problem::Unknown(word.to_string());
    if let Some(long) = word.strip_prefix("--") {
        let (name, value) = long.split_once('=').map_or((long, None), |(n, v)| (n, Some(v.to_string())));
        return Ok((whole_name(name).ok_or_else(unknown)?, value));
    }
    let mut letters = word[1..].chars();
    let name = match letters.next() {
        Some('h') => "help",
        Some('v') => "version",
        Some('c') => "config",
        _ => return Err(unknown()),
    };
    let rest = letters.as_str();
    let value = (!rest.is_empty()).then(|| rest.trim_start_matches('=').to_string());
    Ok((name, value))
}

/// An option may be cut short as long as it is one option.
fn whole_name(name: &str) -> Option<&'static str> {
    let all = || SWITCHES.iter().chain(&VALUES).copied();
    let exact = all().find(|n| *n == name);
    exact.or_else(|| {
        let mut fitting = all().filter(|n| !name.is_empty() && n.starts_with(name));
        fitting.next().filter(|_| fitting.next().is_none())
    })
}

fn switch(args: &mut Args, name: &str) {
    match name {
        "help" => args.help = true,
        "version" => args.version = true,
        // Accepted, and without an effect, as it is there.
        _ => {}
    }
}

fn set(args: &mut Args, name: &'static str, value: String) -> Result<(), Problem> {
    let bad =
        |value: &str| Problem::Bad(format!("the argument ('{value}') for option '--{name}' is invalid"));
    match name {
        "config" => args.config.push(PathBuf::from(value)),
        "loglevel" => {
            args.loglevel = Some(value.parse().ok().filter(|l| *l <= 5).ok_or_else(|| bad(&value))?)
        }
        "update-name" => args.target = Some(value),
        "install-mode" => args.install_mode = Some(value),
        "interval" => args.interval = Some(value.parse().map_err(|_| bad(&value))?),
        "json" => args.json = boolean(&value).ok_or_else(|| bad(&value))?,
        "report-hw-info" => args.report_hw_info = boolean(&value).ok_or_else(|| bad(&value))?,
        "src-dir" => args.src_dir = Some(PathBuf::from(value)),
        _ => args.command = Some(value),
    }
    Ok(())
}

fn positional(args: &mut Args, word: &str) -> Result<(), Problem> {
    let place = match (&args.command, &args.target) {
        (None, _) => &mut args.command,
        (Some(_), None) => &mut args.target,
        _ => {
            let text = format!("too many positional options have been specified on the command line: {word}");
            return Err(Problem::Bad(text));
        }
    };
    *place = Some(word.to_string());
    Ok(())
}

fn boolean(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "1" | "true" | "yes" | "on" | "" => Some(true),
        "0" | "false" | "no" | "off" => Some(false),
        _ => None,
    }
}

/// A version where the text begins with digits (`12abc` is version 12), or else a name.
pub fn name_or_version(text: &str) -> String {
    let trimmed = text.trim_start();
    let (sign, digits) = match trimmed.strip_prefix(['-', '+']) {
        Some(digits) => (if trimmed.starts_with('-') { "-" } else { "" }, digits),
        None => ("", trimmed),
    };
    let count = digits.bytes().take_while(u8::is_ascii_digit).count();
    if count == 0 { text.to_string() } else { format!("{sign}{}", &digits[..count]) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<Args, Problem> {
        parse(&line.split_whitespace().map(str::to_string).collect::<Vec<_>>())
    }

    #[test]
    fn in_any_order_and_form() {
        let args = read("-c /a --config=/b update --loglevel 1 board-3 --json=1 --interval 7").unwrap();
        assert_eq!(args.config, [PathBuf::from("/a"), PathBuf::from("/b")]);
        assert_eq!((args.command.as_deref(), args.target.as_deref()), (Some("update"), Some("board-3")));
        assert_eq!((args.loglevel, args.json, args.interval), (Some(1), true, Some(7)));
        assert_eq!(read("--update-name 5 install").unwrap().target.as_deref(), Some("5"));
        assert_eq!(read("--src /usb check -c/x").unwrap().src_dir, Some(PathBuf::from("/usb")), "cut short");
        assert_eq!(read("").unwrap(), Args::default());
    }

    #[test]
    fn what_cannot_be_read() {
        assert_eq!(read("check --nonsense"), Err(Problem::Unknown("--nonsense".into())));
        assert_eq!(read("check -x"), Err(Problem::Unknown("-x".into())));
        assert_eq!(read("check --c x"), Err(Problem::Unknown("--c".into())), "config, command or clear-");
        for line in [
            "check --json",
            "check --json perhaps",
            "--loglevel six",
            "--loglevel 6",
            "daemon --interval -1",
            "update 1 2",
            "--help=1",
        ] {
            assert!(matches!(read(line), Err(Problem::Bad(_))), "{line}: {:?}", read(line));
        }
    }

    #[test]
    fn leading_digits_are_a_version() {
        for (text, meant) in [("12", "12"), ("12abc", "12"), (" 7", "7"), ("board-3", "board-3"), ("-", "-")]
        {
            assert_eq!(name_or_version(text), meant);
        }
    }
}
