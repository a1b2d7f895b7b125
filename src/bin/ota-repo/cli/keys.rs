//! Commands that change who signs.

use std::path::PathBuf;

use argh::FromArgs;

/// Give a role new keys, by a new root that the old keys and the new ones sign.
///
/// Without --remove-old the old keys stay valid beside the new ones. What the old keys signed is signed again by both,
/// so that a device may be at the old root or the new one. A device that was off for long walks through all roots: never
/// remove N.root.json.
#[derive(FromArgs, Debug)]
#[argh(
    subcommand,
    name = "rotate",
    example = "{command_name} ota timestamp --remove-old\n{command_name} ota root --keys ota.keys --keys /media/safe"
)]
pub struct Rotate {
    /// folder of the repository
    #[argh(positional, arg_name = "DIR")]
    pub dir: PathBuf,

    /// root, targets, snapshot or timestamp
    #[argh(positional, arg_name = "ROLE")]
    pub role: String,

    /// the role's old keys sign no more
    #[argh(switch)]
    pub remove_old: bool,

    /// how many keys must sign from now on
    #[argh(option, arg_name = "N")]
    pub threshold: Option<u64>,

    /// a private key of your own (Ed25519 or RSA, PKCS#8 PEM) instead of a fresh one; it is copied; repeatable
    #[argh(option, arg_name = "PEM")]
    pub key: Vec<PathBuf>,

    /// folder with the keys (default: DIR.keys); repeatable, the first one has the settings and gets new keys
    #[argh(option, arg_name = "FOLDER")]
    pub keys: Vec<PathBuf>,
}

/// Add, remove and list the keys of the roles.
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "keys")]
pub struct Keys {
    #[argh(subcommand)]
    pub command: KeysCommand,
}

#[derive(FromArgs, Debug)]
#[argh(subcommand)]
pub enum KeysCommand {
    Add(KeysAdd),
    Remove(KeysRemove),
    List(KeysList),
}

/// Let one more key sign for a role.
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "add")]
pub struct KeysAdd {
    /// folder of the repository
    #[argh(positional, arg_name = "DIR")]
    pub dir: PathBuf,

    /// root, targets, snapshot or timestamp
    #[argh(positional, arg_name = "ROLE")]
    pub role: String,

    /// a private key of your own (Ed25519 or RSA, PKCS#8 PEM) instead of a fresh one; it is copied
    #[argh(option, arg_name = "PEM")]
    pub key: Option<PathBuf>,

    /// how many keys must sign from now on
    #[argh(option, arg_name = "N")]
    pub threshold: Option<u64>,

    /// folder with the keys (default: DIR.keys); repeatable, the first one has the settings and gets the new key
    #[argh(option, arg_name = "FOLDER")]
    pub keys: Vec<PathBuf>,
}

/// Let a key sign for a role no more.
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "remove")]
pub struct KeysRemove {
    /// folder of the repository
    #[argh(positional, arg_name = "DIR")]
    pub dir: PathBuf,

    /// root, targets, snapshot or timestamp
    #[argh(positional, arg_name = "ROLE")]
    pub role: String,

    /// the beginning of the key's id, as `keys list` shows it
    #[argh(positional, arg_name = "KEYID")]
    pub keyid: String,

    /// how many keys must sign from now on
    #[argh(option, arg_name = "N")]
    pub threshold: Option<u64>,

    /// folder with the keys (default: DIR.keys); repeatable, the first one has the settings
    #[argh(option, arg_name = "FOLDER")]
    pub keys: Vec<PathBuf>,
}

/// List the keys: what they sign, and whether the private half is at hand.
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "list")]
pub struct KeysList {
    /// folder of the repository
    #[argh(positional, arg_name = "DIR")]
    pub dir: PathBuf,

    /// print a JSON array
    #[argh(switch)]
    pub json: bool,

    /// folder with the keys (default: DIR.keys); repeatable, the first one has the settings
    #[argh(option, arg_name = "FOLDER")]
    pub keys: Vec<PathBuf>,
}
