//! `rust-ota tuf`: a plain TUF client, for looking at any repository from any machine.
//!
//! The command line is the one that the TUF project asks of clients under test. It uses neither the
//! device's configuration nor its trusted metadata, and the system's clock as it is.

use crate::gateway::redact::{one_line, redacted};
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use argh::FromArgs;
use sha2::{Digest, Sha256};

use super::exit;
use crate::agent::refresh::{self, Refresh, RefreshError};
use crate::agent::trust::{Folder, Server};
use crate::gateway::{Http, HttpError, HttpSettings, PlainHttp};
use crate::payload::file::{self, Fetched, FileError};
use crate::store::{StoreError, atomic};
use crate::tuf::{Limits, Profile, TargetInfo, Time, TrustedMetadata, quote, quote_path, to_hex};

/// a plain TUF client, to look at any repository; plain http is allowed here. Exit codes: 0 done, 1 anything else
#[derive(FromArgs)]
#[argh(subcommand, name = "tuf")]
pub(super) struct Tuf {
    /// folder of the trusted metadata: one file a role, as it came
    #[argh(option)]
    metadata_dir: PathBuf,
    /// URL of the repository's metadata
    #[argh(option)]
    metadata_url: Option<String>,
    /// a Target to download, repeatable
    #[argh(option)]
    target_name: Vec<String>,
    /// URL of the repository's Targets
    #[argh(option)]
    target_base_url: Option<String>,
    /// folder for downloaded Targets
    #[argh(option)]
    target_dir: Option<PathBuf>,
    /// dialect of the metadata: tuf (the default) or ats
    #[argh(option, default = "Profile::Tuf", from_str_fn(profile))]
    profile: Profile,
    /// the most bytes that a targets role may have, instead of 8388608
    #[argh(option)]
    targets_limit: Option<u64>,
    /// PEM file of the CAs that https servers are trusted by
    #[argh(option, default = "crate::config::public_ca_file()")]
    ca: PathBuf,
    #[argh(subcommand)]
    command: Command,
}

#[derive(FromArgs)]
#[argh(subcommand)]
enum Command {
    Init(Init),
    Refresh(RefreshCommand),
    Download(Download),
}

/// trust this root, and nothing else yet; no request is made
#[derive(FromArgs)]
#[argh(subcommand, name = "init")]
struct Init {
    /// the first root
    #[argh(positional)]
    root: PathBuf,
}

/// bring the trusted metadata up to date
#[derive(FromArgs)]
#[argh(subcommand, name = "refresh")]
struct RefreshCommand {}

/// bring the metadata up to date, then find, fetch and verify the Targets
#[derive(FromArgs)]
#[argh(subcommand, name = "download")]
struct Download {}

/// Runs the command and gives the exit code.
pub(super) fn main(args: &Tuf) -> u8 {
    let done = match &args.command {
        Command::Init(Init { root }) => init(args, root),
        Command::Refresh(_) => with_refresh(args, |_| Ok(())),
        Command::Download(_) => download(args),
    };
    match done {
        Ok(()) => exit::OK,
        Err(error) => {
            eprintln!("rust-ota tuf: {}", redacted(&error.to_string()));
            exit::ERROR
        }
    }
}

fn init(args: &Tuf, root: &Path) -> Result<(), TufError> {
    let bytes = atomic::read(root)?.ok_or_else(|| TufError::NoFile { path: root.to_owned() })?;
    refresh::init(&mut folder(args), bytes, args.profile, limits(args))?;
    Ok(())
}

fn download(args: &Tuf) -> Result<(), TufError> {
    let base = args.target_base_url.as_deref().ok_or(TufError::Missing { option: "--target-base-url" })?;
    let target_dir = args.target_dir.as_deref().ok_or(TufError::Missing { option: "--target-dir" })?;
    if args.target_name.is_empty() {
        return Err(TufError::Missing { option: "--target-name" });
    }
    let http = http(args)?;
    with_refresh(args, |refresh| {
        for name in &args.target_name {
            let found = refresh.find_target(name)?;
            let (role, info) = found.ok_or_else(|| TufError::NoTarget { name: name.clone() })?;
            let url = target_url(base, name, &info, refresh.trusted());
            let done = file::fetch(&http, &url, &info, &target_dir.join(file_name(name)));
            let done = done.map_err(|source| TufError::Target { name: name.clone(), source })?;
            let what = if done == Fetched::New { "downloaded" } else { "unchanged" };
            println!("{}: {what}, signed by {}", one_line(name), one_line(&role.to_string()));
        }
        Ok(())
    })
}

/// Refreshes, and goes on with the same run: its time is fixed and nothing is asked for twice.
fn with_refresh(args: &Tuf, then: impl Fn(&mut Refresh<'_>) -> Result<(), TufError>) -> Result<(), TufError> {
    let base = args.metadata_url.as_deref().ok_or(TufError::Missing { option: "--metadata-url" })?;
    let mut folder = folder(args);
    let mut trusted = refresh::load(&mut folder, args.profile, limits(args))?;
    let mut server = Server { http: http(args)?, base: base.trim_end_matches('/').to_owned() };
    let mut refresh = Refresh::new(&mut trusted, &mut server, &mut folder, now());
    let changes = refresh.refresh()?;
    log::info!("{changes:?}");
    then(&mut refresh)
}

/// 6.2: a hash in front of the file's name when the root says so. The ATS dialect never does.
fn target_url(base: &str, name: &str, info: &TargetInfo, trusted: &TrustedMetadata) -> String {
    let base = base.trim_end_matches('/');
    let hash = info.hashes.sha256_hex().or_else(|| info.hashes.sha512_hex());
    let prefixed = trusted.profile() == Profile::Tuf && trusted.root().role.consistent_snapshot;
    let prefix = hash.filter(|_| prefixed).map(|hash| format!("{hash}.")).unwrap_or_default();
    match name.rsplit_once('/') {
        Some((folder, file)) => format!("{base}/{}/{prefix}{}", quote_path(folder), quote(file)),
        None => format!("{base}/{prefix}{}", quote(name)),
    }
}

/// One path component for any name: quoted, never hidden, and cut with a hash at its end where it is long.
pub(super) fn file_name(target: &str) -> String {
    let quoted = quote(target);
    let name = match quoted.strip_prefix('.') {
        Some(rest) => format!("%2E{rest}"),
        None => quoted,
    };
    match name.get(..150) {
        Some(start) if name.len() > 200 => format!("{start}-{}", to_hex(&Sha256::digest(target))),
        _ => name,
    }
}

fn limits(args: &Tuf) -> Limits {
    let default = Limits::default();
    Limits { targets_bytes: args.targets_limit.unwrap_or(default.targets_bytes), ..default }
}

fn folder(args: &Tuf) -> Folder {
    Folder(args.metadata_dir.clone())
}

fn http(args: &Tuf) -> Result<Http, TufError> {
    let secure = [&args.metadata_url, &args.target_base_url]
        .into_iter()
        .flatten()
        .any(|url| url.starts_with("https:"));
    let ca = secure.then(|| args.ca.clone());
    Ok(Http::new(&HttpSettings { ca, plain_http: PlainHttp::Any, ..HttpSettings::default() })?)
}

fn now() -> Time {
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    Time(i64::try_from(seconds).unwrap_or(i64::MAX))
}

fn profile(name: &str) -> Result<Profile, String> {
    Profile::from_name(name).ok_or_else(|| format!("{name:?} is no dialect; take tuf or ats"))
}

/// Why the command failed.
#[derive(Debug)]
enum TufError {
    /// An option that this command needs.
    Missing { option: &'static str },
    /// The root to start with.
    NoFile { path: PathBuf },
    /// No role that may speak for the Target knows it.
    NoTarget { name: String },
    /// The Target could not be fetched.
    Target { name: String, source: FileError },
    /// The metadata.
    Refresh(RefreshError),
    /// The certificates.
    Http(HttpError),
    /// The disk.
    Store(StoreError),
}

impl fmt::Display for TufError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TufError::Missing { option } => {
                write!(f, "this command needs {option}; rust-ota tuf --help tells what there is")
            }
            TufError::NoFile { path } => {
                write!(f, "{}: there is no such file; give the first root", path.display())
            }
            TufError::NoTarget { name } => {
                write!(f, "{name}: no role that may speak for it has such a Target; check the name")
            }
            TufError::Target { name, source } => write!(f, "{name}: {source}"),
            TufError::Refresh(error) => error.fmt(f),
            TufError::Http(error) => error.fmt(f),
            TufError::Store(error) => error.fmt(f),
        }
    }
}

impl From<RefreshError> for TufError {
    fn from(error: RefreshError) -> TufError {
        TufError::Refresh(error)
    }
}

impl From<HttpError> for TufError {
    fn from(error: HttpError) -> TufError {
        TufError::Http(error)
    }
}

impl From<StoreError> for TufError {
    fn from(error: StoreError) -> TufError {
        TufError::Store(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_target_name_is_one_safe_component() {
        for (target, name) in [
            ("a/b c.bin", "a%2Fb%20c.bin"),
            ("..", "%2E."),
            (".", "%2E"),
            ("../../etc/passwd", "%2E.%2F..%2Fetc%2Fpasswd"),
            (".hidden", "%2Ehidden"),
            ("%2E", "%252E"),
        ] {
            assert_eq!(file_name(target), name);
        }
        let (long, other) = (file_name(&"é".repeat(500)), file_name(&"é".repeat(501)));
        assert!(long.len() <= 215 && long != other);
    }
}
