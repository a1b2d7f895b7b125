//! The command line: what can be typed, and what `--help` says about it.

use std::path::PathBuf;

use argh::FromArgs;

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
    Tls(Tls),
    Serve(Serve),
}

/// Make a new repository: keys, the first root, and an empty set of Targets.
///
/// Prints the root.json that goes into every device's image: it is what a device trusts first.
#[derive(FromArgs, Debug)]
#[argh(
    subcommand,
    name = "init",
    example = "{command_name} ota --threshold root=2 --expires timestamp=7",
    note = "Without --expires: root and targets 365 days, snapshot 90, timestamp 30. `ota-repo refresh` renews the last two.\n\
    Keep the root keys offline: move DIR.keys/root-*.pem away, and give their folder with --keys when root changes."
)]
pub struct Init {
    /// folder to publish; it must hold no repository yet
    #[argh(positional, arg_name = "DIR")]
    pub dir: PathBuf,

    /// dialect of the metadata: tuf (TUF 1.0, the default) or ats (what aktualizr and aktualizr-lite read)
    #[argh(option, arg_name = "tuf|ats", default = "String::from(\"tuf\")")]
    pub profile: String,

    /// how many keys must sign a role, for example root=2; repeatable (default 1)
    #[argh(option, arg_name = "ROLE=N")]
    pub threshold: Vec<String>,

    /// lifetime of a role, for example timestamp=7; days, or a number with s, m, h or d; repeatable
    #[argh(option, arg_name = "ROLE=DAYS")]
    pub expires: Vec<String>,

    /// type of the keys: ed25519 (made here, the default) or rsa (each role's comes with --key)
    #[argh(option, arg_name = "ed25519|rsa", default = "String::from(\"ed25519\")")]
    pub key_type: String,

    /// a private key of your own for a role (Ed25519 or RSA, PKCS#8 PEM); it is copied; repeatable
    #[argh(option, arg_name = "ROLE=PEM")]
    pub key: Vec<String>,

    /// private folder for keys and settings (default: DIR.keys beside DIR)
    #[argh(option, arg_name = "FOLDER")]
    pub keys: Option<PathBuf>,

    /// print the result as JSON
    #[argh(switch)]
    pub json: bool,
}

/// Add, remove and list Targets: what devices are offered.
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "target")]
pub struct Target {
    #[argh(subcommand)]
    pub command: TargetCommand,
}

#[derive(FromArgs, Debug)]
#[argh(subcommand)]
pub enum TargetCommand {
    Add(TargetAdd),
    Remove(TargetRemove),
    List(TargetList),
}

/// Copy an OSTree commit into the repository, and publish it as the Target NAME-VERSION.
///
/// Objects come first, then targets, snapshot and timestamp: a device sees all of it or nothing.
#[derive(FromArgs, Debug)]
#[argh(
    subcommand,
    name = "add",
    example = "{command_name} ota --ostree-repo build/ostree_repo --ref main --name my-board --version 2 --hardware-id my-board --tag main"
)]
pub struct TargetAdd {
    /// folder of the repository
    #[argh(positional, arg_name = "DIR")]
    pub dir: PathBuf,

    /// OSTree repository that holds the commit, any mode
    #[argh(option, arg_name = "FOLDER")]
    pub ostree_repo: PathBuf,

    /// take the newest commit of this ref (or give --commit)
    #[argh(option, arg_name = "REF")]
    pub r#ref: Option<String>,

    /// take this commit (or give --ref)
    #[argh(option, arg_name = "CHECKSUM")]
    pub commit: Option<String>,

    /// name of the Target without its version, the same for all versions
    #[argh(option, arg_name = "NAME")]
    pub name: String,

    /// whole number; devices take the highest
    #[argh(option, arg_name = "N")]
    pub version: String,

    /// hardware id that it is for; repeatable, though aktualizr-lite takes only Targets with exactly one
    #[argh(option, arg_name = "ID")]
    pub hardware_id: Vec<String>,

    /// tag that devices are subscribed to; repeatable; without any, only devices without tags take it
    #[argh(option, arg_name = "TAG")]
    pub tag: Vec<String>,

    /// another member of the Target's custom object, for example 'arch="arm64"'; repeatable
    #[argh(option, arg_name = "KEY=JSON")]
    pub custom: Vec<String>,

    /// folder with the keys (default: DIR.keys); repeatable, the first one has the settings
    #[argh(option, arg_name = "FOLDER")]
    pub keys: Vec<PathBuf>,

    /// print the result as JSON
    #[argh(switch)]
    pub json: bool,
}

/// Take Targets out of the metadata, by their full names (NAME-VERSION). Devices that run them keep them.
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "remove")]
pub struct TargetRemove {
    /// folder of the repository
    #[argh(positional, arg_name = "DIR")]
    pub dir: PathBuf,

    /// full name of a Target, as `target list` shows it
    #[argh(positional, arg_name = "TARGET")]
    pub targets: Vec<String>,

    /// folder with the keys (default: DIR.keys); repeatable, the first one has the settings
    #[argh(option, arg_name = "FOLDER")]
    pub keys: Vec<PathBuf>,
}

/// List the published Targets, newest first for each name.
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "list")]
pub struct TargetList {
    /// folder of the repository
    #[argh(positional, arg_name = "DIR")]
    pub dir: PathBuf,

    /// print a JSON array
    #[argh(switch)]
    pub json: bool,
}

/// Make TLS certificates for development: an authority, a server's, and one for each device (EC P-256).
///
/// A device gets root.crt, client.pem and pkey.pem, under the names that it looks for. The authority is made once and kept.
#[derive(FromArgs, Debug)]
#[argh(
    subcommand,
    name = "tls",
    example = "{command_name} ota --host ota.example.com --host 10.0.2.2 --device device-1 --device device-2",
    note = "The files lie in DIR.keys/tls: root.crt, server.crt, server.key, devices/ID/{{root.crt,client.pem,pkey.pem}}."
)]
pub struct Tls {
    /// folder of the repository
    #[argh(positional, arg_name = "DIR")]
    pub dir: PathBuf,

    /// host name or IP address of the server, as devices write it; repeatable; makes a new server certificate
    #[argh(option, arg_name = "NAME")]
    pub host: Vec<String>,

    /// device id, which becomes the certificate's common name; repeatable
    #[argh(option, arg_name = "ID")]
    pub device: Vec<String>,

    /// days that new certificates are valid (default 3650)
    #[argh(option, arg_name = "N", default = "3650")]
    pub days: u64,

    /// private folder, tls/ is made below it (default: DIR.keys)
    #[argh(option, arg_name = "FOLDER")]
    pub keys: Option<PathBuf>,

    /// print the result as JSON
    #[argh(switch)]
    pub json: bool,
}

/// Serve a repository over HTTP, for development.
///
/// Serves DIR/repo and DIR/treehub: GET and HEAD, ranges, conditional requests; it never lists folders. The first line
/// on stdout is the address. Requests are logged on stderr.
#[derive(FromArgs, Debug)]
#[argh(
    subcommand,
    name = "serve",
    example = "{command_name} ota --listen 0.0.0.0:8443 --tls --log requests.jsonl"
)]
pub struct Serve {
    /// folder of the repository
    #[argh(positional, arg_name = "DIR")]
    pub dir: PathBuf,

    /// address and port; port 0 takes a free one (default 127.0.0.1:8443)
    #[argh(option, arg_name = "ADDRESS:PORT", default = "String::from(\"127.0.0.1:8443\")")]
    pub listen: String,

    /// use the certificates of `ota-repo tls`, and let in only devices that have one
    #[argh(switch)]
    pub tls: bool,

    /// certificate chain of the server, PEM
    #[argh(option, arg_name = "FILE")]
    pub tls_cert: Option<PathBuf>,

    /// private key of the server, PEM
    #[argh(option, arg_name = "FILE")]
    pub tls_key: Option<PathBuf>,

    /// let in only clients with a certificate of this authority, PEM
    #[argh(option, arg_name = "FILE")]
    pub client_ca: Option<PathBuf>,

    /// write one JSON object a request to this file
    #[argh(option, arg_name = "FILE")]
    pub log: Option<PathBuf>,

    /// no line a request on stderr
    #[argh(switch)]
    pub quiet: bool,

    /// private folder that --tls looks in (default: DIR.keys)
    #[argh(option, arg_name = "FOLDER")]
    pub keys: Option<PathBuf>,
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
