//! Commands that make a repository and publish in it.

use std::path::PathBuf;

use argh::FromArgs;

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
// There is one of them in a run.
#[allow(clippy::large_enum_variant)]
pub enum TargetCommand {
    Add(TargetAdd),
    Remove(TargetRemove),
    List(TargetList),
}

/// Copy an OSTree commit or a file into the repository, and publish it as the Target NAME-VERSION.
///
/// Content comes first, then targets, snapshot and timestamp: a device sees all of it or nothing.
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

    /// OSTree repository that holds the commit, any mode (or give --file)
    #[argh(option, arg_name = "FOLDER")]
    pub ostree_repo: Option<PathBuf>,

    /// a file in place of a commit: for ECUs that are no OSTree system
    #[argh(option, arg_name = "PATH")]
    pub file: Option<PathBuf>,

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

    /// a Compose app of the Target with the URI that `apps publish` printed; repeatable
    #[argh(option, arg_name = "NAME=URI")]
    pub app: Vec<String>,

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

/// Make a static delta between two published Targets, and sign the hashes of its files.
///
/// A device that runs FROM downloads the delta in place of the changed files of TO, if it is smaller.
#[derive(FromArgs, Debug)]
#[argh(
    subcommand,
    name = "delta",
    example = "{command_name} ota --from my-board-1 --to my-board-2",
    note = "Deltas that `ostree static-delta generate` made are signed by `target add`, also of a Target that was added before."
)]
pub struct Delta {
    /// folder of the repository
    #[argh(positional, arg_name = "DIR")]
    pub dir: PathBuf,

    /// full name of the Target that devices run
    #[argh(option, arg_name = "TARGET")]
    pub from: String,

    /// full name of the Target that they are to run
    #[argh(option, arg_name = "TARGET")]
    pub to: String,

    /// folder with the keys (default: DIR.keys); repeatable, the first one has the settings
    #[argh(option, arg_name = "FOLDER")]
    pub keys: Vec<PathBuf>,

    /// print the result as JSON
    #[argh(switch)]
    pub json: bool,
}

/// Sign again what would expire, so that devices go on trusting the repository. For cron: once a day is enough.
///
/// Signs the timestamp, and each role that would expire before the new timestamp does. It says when a role is due whose
/// key is not at hand (an offline root key), and ends with 1 then, with everything else refreshed.
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "refresh")]
pub struct Refresh {
    /// folder of the repository
    #[argh(positional, arg_name = "DIR")]
    pub dir: PathBuf,

    /// sign targets and snapshot in any case
    #[argh(switch)]
    pub all: bool,

    /// folder with the keys (default: DIR.keys); repeatable, the first one has the settings
    #[argh(option, arg_name = "FOLDER")]
    pub keys: Vec<PathBuf>,
}

/// Publish a set of Targets for each tag beside the whole one, as tags/TAG/repo.
///
/// A device that is subscribed to a tag reads only its Targets, with repo_server = https://.../tags/TAG/repo. Once the
/// folder tags/ is there, every command that publishes keeps the sets up to date.
///
/// With --delegated there is one repository for all: its targets role delegates to one role for each tag, and a device
/// with `tags = main` reads the role tag-main and no other. This stays so.
#[derive(FromArgs, Debug)]
#[argh(
    subcommand,
    name = "tags",
    example = "{command_name} ota --delegated --key devel=devel.pem --path 'devel=my-board-*'"
)]
pub struct Tags {
    /// folder of the repository
    #[argh(positional, arg_name = "DIR")]
    pub dir: PathBuf,

    /// one delegated role for each tag, in place of sets beside the whole one
    #[argh(switch)]
    pub delegated: bool,

    /// a private key of its own for a tag's role (else the targets keys sign it); it is copied; repeatable
    #[argh(option, arg_name = "TAG=PEM")]
    pub key: Vec<String>,

    /// pattern of the Targets' names that a tag's role may sign (else *); repeatable
    #[argh(option, arg_name = "TAG=PATTERN")]
    pub path: Vec<String>,

    /// folder with the keys (default: DIR.keys); repeatable, the first one has the settings
    #[argh(option, arg_name = "FOLDER")]
    pub keys: Vec<PathBuf>,
}

/// Show what is published: versions, expiry, thresholds.
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "show")]
pub struct Show {
    /// folder of the repository
    #[argh(positional, arg_name = "DIR")]
    pub dir: PathBuf,

    /// print JSON
    #[argh(switch)]
    pub json: bool,
}
