//! Commands of the Director's side.

use std::path::PathBuf;

use argh::FromArgs;

/// Say which device is to have which Target: the Director of an Uptane pair. Its metadata lies in DIR/director, its keys
/// in DIR.keys/director; `serve` answers each device with its own.
#[derive(FromArgs, Debug)]
#[argh(
    subcommand,
    name = "director",
    example = "{command_name} init ota\n\
    {command_name} assign ota --device device-1 my-board-2"
)]
pub struct Director {
    #[argh(subcommand)]
    pub command: DirectorCommand,
}

#[derive(FromArgs, Debug)]
#[argh(subcommand)]
pub enum DirectorCommand {
    Init(DirectorInit),
    Assign(DirectorAssign),
    Withdraw(DirectorWithdraw),
    Refresh(DirectorRefresh),
}

/// Make the Director's keys and its first root, which goes into every device's image beside the Image repository's
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "init")]
pub struct DirectorInit {
    /// folder of the repository
    #[argh(positional, arg_name = "DIR")]
    pub dir: PathBuf,

    /// private folder (default: DIR.keys)
    #[argh(option, arg_name = "FOLDER")]
    pub keys: Vec<PathBuf>,
}

/// Assign a Target to an ECU of a device, in place of what it was assigned before
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "assign")]
pub struct DirectorAssign {
    /// folder of the repository
    #[argh(positional, arg_name = "DIR")]
    pub dir: PathBuf,

    /// full name of a Target of the Image repository
    #[argh(positional, arg_name = "TARGET")]
    pub target: String,

    /// device id: the common name of its certificate
    #[argh(option, arg_name = "ID")]
    pub device: String,

    /// serial of the ECU (default: the Primary that the device registered)
    #[argh(option, arg_name = "SERIAL")]
    pub ecu: Option<String>,

    /// hardware id of the ECU (default: as it registered)
    #[argh(option, arg_name = "ID")]
    pub hardware_id: Option<String>,

    /// what the device's reports about it are to carry (default: one is made)
    #[argh(option, arg_name = "TEXT")]
    pub correlation_id: Option<String>,

    /// folder where `serve` keeps what devices send (default: DIR.received)
    #[argh(option, arg_name = "FOLDER")]
    pub received: Option<PathBuf>,

    /// private folder (default: DIR.keys)
    #[argh(option, arg_name = "FOLDER")]
    pub keys: Vec<PathBuf>,
}

/// Take back what a device was assigned
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "withdraw")]
pub struct DirectorWithdraw {
    /// folder of the repository
    #[argh(positional, arg_name = "DIR")]
    pub dir: PathBuf,

    /// device id
    #[argh(option, arg_name = "ID")]
    pub device: String,

    /// private folder (default: DIR.keys)
    #[argh(option, arg_name = "FOLDER")]
    pub keys: Vec<PathBuf>,
}

/// Sign the Director's metadata again for all devices; it is valid for 30 days
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "refresh")]
pub struct DirectorRefresh {
    /// folder of the repository
    #[argh(positional, arg_name = "DIR")]
    pub dir: PathBuf,

    /// private folder (default: DIR.keys)
    #[argh(option, arg_name = "FOLDER")]
    pub keys: Vec<PathBuf>,
}
