//! Commands that bring devices and a repository together.

use std::path::PathBuf;

use argh::FromArgs;

/// Make TLS certificates for development: an authority, a server's, and one for each device (EC P-256).
///
/// A device gets root.crt, client.pem and pkey.pem, under the names that it looks for. The authority is made once and kept.
#[derive(FromArgs, Debug)]
#[argh(
    subcommand,
    name = "tls",
    example = "{command_name} ota --host ota.example.com --host 10.0.2.2 --device device-1 --device device-2",
    note = "The files lie in DIR.keys/tls: root.crt, server.crt, server.key, credentials.zip, devices/ID/{{root.crt,client.pem,pkey.pem}}."
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

    /// address of the server as devices reach it: make credentials.zip, with which a fleet's devices get their certificates
    /// themselves (POST /devices)
    #[argh(option, arg_name = "URL")]
    pub shared: Option<String>,

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

    /// answer as a device gateway too, and keep what devices send as JSON files in this folder (default: DIR.received
    /// where DIR has a Director)
    #[argh(option, arg_name = "FOLDER")]
    pub received: Option<PathBuf>,

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

/// Print what a device needs to begin with: its config fragment, the first root, its certificate, and where each goes.
///
/// With --out the files are written below a folder that can be copied over the device's root folder.
#[derive(FromArgs, Debug)]
#[argh(
    subcommand,
    name = "device-config",
    example = "{command_name} ota --server https://ota.example.com:8443 --hardware-id my-board --tag main --device device-1 --out files"
)]
pub struct DeviceConfig {
    /// folder of the repository
    #[argh(positional, arg_name = "DIR")]
    pub dir: PathBuf,

    /// address of the server as the device reaches it
    #[argh(option, arg_name = "URL")]
    pub server: String,

    /// hardware id of the device (the device's default is its host name)
    #[argh(option, arg_name = "ID")]
    pub hardware_id: Option<String>,

    /// tag that the device is subscribed to; repeatable
    #[argh(option, arg_name = "TAG")]
    pub tag: Vec<String>,

    /// device id that `ota-repo tls` made a certificate for
    #[argh(option, arg_name = "ID")]
    pub device: Option<String>,

    /// seconds between two looks at the server
    #[argh(option, arg_name = "N")]
    pub polling_sec: Option<u64>,

    /// write the files below this folder
    #[argh(option, arg_name = "FOLDER")]
    pub out: Option<PathBuf>,

    /// private folder that has the certificates (default: DIR.keys)
    #[argh(option, arg_name = "FOLDER")]
    pub keys: Option<PathBuf>,
}
