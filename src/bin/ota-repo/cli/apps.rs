//! Commands of Compose apps.

use std::path::PathBuf;

use argh::FromArgs;

/// Publish Compose apps, and copy them into folders.
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "apps")]
pub struct Apps {
    #[argh(subcommand)]
    pub command: AppsCommand,
}

#[derive(FromArgs, Debug)]
#[argh(subcommand)]
pub enum AppsCommand {
    Publish(AppsPublish),
    Fetch(AppsFetch),
}

/// Pack a Compose project, pin its images by digest, and bring it to a registry.
///
/// Prints the app's URI, for `target add --app NAME=URI`. The images are in their registries already; what a tag means is looked up
/// once, now.
#[derive(FromArgs, Debug)]
#[argh(
    subcommand,
    name = "publish",
    example = "{command_name} shop --to hub.example.com/factory/shop",
    note = "The project has docker-compose.yml at its top, in block style and without anchors, as `docker compose config` writes it."
)]
pub struct AppsPublish {
    /// folder of the project
    #[argh(positional, arg_name = "PROJECT")]
    pub project: PathBuf,

    /// registry and repository
    #[argh(option, arg_name = "REGISTRY/REPOSITORY")]
    pub to: String,

    /// authorities to trust for registries, a PEM file (default: the system's)
    #[argh(option, arg_name = "FILE")]
    pub ca: Option<PathBuf>,

    /// user to log in as
    #[argh(option, arg_name = "NAME")]
    pub user: Option<String>,

    /// file with its password or token
    #[argh(option, arg_name = "FILE")]
    pub password_file: Option<PathBuf>,

    /// print JSON
    #[argh(switch)]
    pub json: bool,
}

/// Copy a published app with its images into a folder: the `apps` of an offline update, or /var/sota/reset-apps of an image.
#[derive(FromArgs, Debug)]
#[argh(
    subcommand,
    name = "fetch",
    example = "{command_name} shop hub.example.com/factory/shop@sha256:... --out bundle/apps --arch arm64"
)]
pub struct AppsFetch {
    /// name of the app
    #[argh(positional, arg_name = "NAME")]
    pub name: String,

    /// URI that `publish` printed
    #[argh(positional, arg_name = "URI")]
    pub uri: String,

    /// folder to copy to; what is there stays
    #[argh(option, arg_name = "FOLDER")]
    pub out: PathBuf,

    /// architecture of the devices as images name it: amd64, arm64, arm, riscv64 (default: this machine's)
    #[argh(option, arg_name = "ARCH")]
    pub arch: Option<String>,

    /// authorities to trust for registries, a PEM file (default: the system's)
    #[argh(option, arg_name = "FILE")]
    pub ca: Option<PathBuf>,

    /// user to log in as
    #[argh(option, arg_name = "NAME")]
    pub user: Option<String>,

    /// file with its password or token
    #[argh(option, arg_name = "FILE")]
    pub password_file: Option<PathBuf>,
}
