//! The command line: what can be typed, and what `--help` says about it.

mod apps;
mod director;
mod keys;
mod publishing;
mod serving;

use argh::FromArgs;

pub use apps::{Apps, AppsCommand, AppsFetch, AppsPublish};
pub use director::{Director, DirectorCommand};
pub use keys::{Keys, KeysAdd, KeysCommand, KeysList, KeysRemove, Rotate};
pub use publishing::Tags as TagsArgs;
pub use publishing::{
    Delta, Init, Refresh, Show, Target, TargetAdd, TargetCommand, TargetList, TargetRemove,
};
pub use serving::{DeviceConfig, Serve, Tls};

/// Makes keys, signs a repository of OSTree Targets, publishes it as plain files, and serves them for development.
///
/// A repository is a folder DIR with repo/ (signed metadata) and treehub/ (OSTree objects): any static web server can
/// publish it. Keys and settings lie in DIR.keys beside it, never inside.
#[derive(FromArgs, Debug)]
#[argh(
    example = "{command_name} init ota\n\
    {command_name} target add ota --ostree-repo build/ostree_repo --ref main --name my-board --version 1 --hardware-id my-board --tag main\n\
    {command_name} tls ota --host ota.example.com --device device-1\n\
    {command_name} serve ota --listen 0.0.0.0:8443 --tls",
    note = "`{command_name} COMMAND --help` tells more about a command."
)]
pub struct Cli {
    /// print the version
    #[argh(switch)]
    pub version: bool,

    #[argh(subcommand)]
    pub command: Option<Command>,
}

#[derive(FromArgs, Debug)]
#[argh(subcommand)]
pub enum Command {
    Init(Init),
    Target(Target),
    Delta(Delta),
    Apps(Apps),
    Refresh(Refresh),
    Tags(TagsArgs),
    Show(Show),
    Rotate(Rotate),
    Keys(Keys),
    Tls(Tls),
    DeviceConfig(DeviceConfig),
    Director(Director),
    Serve(Serve),
}

/// Why there is no command to run: help was asked for, or the line was wrong.
#[derive(Debug)]
pub struct Stop {
    pub text: String,
    pub help: bool,
}

/// Reads the command line.
pub fn parse(args: impl Iterator<Item = String>) -> Result<Command, Stop> {
    let args: Vec<String> = args.flat_map(split_equals).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let stop = |text: String, help| Stop { text: text.trim_end().to_string(), help };
    let cli =
        Cli::from_args(&["ota-repo"], &args).map_err(|early| stop(early.output, early.status.is_ok()))?;
    match cli.command {
        _ if cli.version => Err(stop(format!("ota-repo {}", env!("CARGO_PKG_VERSION")), true)),
        Some(command) => Ok(command),
        None => {
            let help = Cli::from_args(&["ota-repo"], &["--help"]).err();
            Err(stop(help.map_or(String::new(), |early| early.output), true))
        }
    }
}

/// argh has no `--option=value`, which people type.
fn split_equals(arg: String) -> Vec<String> {
    match arg.split_once('=') {
        Some((option, value)) if option.starts_with("--") => {
            vec![option.to_string(), value.to_string()]
        }
        _ => vec![arg],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(text: &str) -> Result<Command, Stop> {
        parse(text.split_whitespace().map(str::to_string))
    }

    #[test]
    fn both_ways_to_give_a_value() {
        for text in ["init x --threshold root=2", "init x --threshold=root=2"] {
            let Ok(Command::Init(init)) = line(text) else { panic!("{text}") };
            assert_eq!(init.threshold, ["root=2"]);
        }
    }

    #[test]
    fn nothing_and_help_are_no_errors() {
        for text in ["", "--help", "init --help", "--version", "target add --help"] {
            assert!(line(text).unwrap_err().help, "{text}");
        }
        assert!(!line("init").unwrap_err().help);
        assert!(!line("no-such-command").unwrap_err().help);
    }
}
