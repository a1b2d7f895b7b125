//! Everything that can go wrong with an OSTree Target, each with its own name.

use std::fmt;
use std::path::{Path, PathBuf};

use ::ostree::{gio, glib};

use super::object::ObjectId;
use super::source::SourceError;
use super::space;

/// How an error is told to the outside: the exit codes 50, 60, 70 and 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OstreeErrorClass {
    /// The server, the network or the source folder did not give what was asked for.
    Download,
    /// There is not enough free space.
    NoSpace,
    /// What was received is not what the hash says.
    Verification,
    /// The device's own repository or sysroot, a wrong call, or a stop that was asked for.
    Other,
}

/// Why something about an OSTree Target failed.
#[derive(Debug)]
#[non_exhaustive]
pub enum OstreeError {
    /// Not 64 lower-case hexadecimal digits.
    BadCommitName {
        /// What was given.
        name: String,
    },
    /// The sysroot cannot be opened or read.
    Sysroot {
        /// Its path.
        path: PathBuf,
        /// What libostree said.
        reason: String,
    },
    /// No stateroot was named and the sysroot does not tell which one is meant.
    NoStateroot {
        /// The sysroot's path.
        path: PathBuf,
        /// The stateroots that there are.
        found: Vec<String>,
    },
    /// Another program works on the sysroot.
    Busy {
        /// The sysroot's path.
        path: PathBuf,
    },
    /// An operation on the repository failed.
    Repo {
        /// What was being done.
        doing: String,
        /// What libostree or the system said.
        reason: String,
    },
    /// A deployment could not be made, ordered or removed.
    Deploy {
        /// The commit.
        commit: String,
        /// What libostree said.
        reason: String,
    },
    /// What this device changed in /etc cannot be merged into the new system's.
    Etc {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// The commit wants a kind of root that this program's libostree cannot make.
    RootKind {
        /// The commit.
        commit: String,
        /// What it wants.
        kind: &'static str,
    },
    /// The commit is not, or not wholly, in the repository.
    NotPulled {
        /// The commit.
        commit: String,
    },
    /// Objects of the commit were damaged on the device, and are gone now.
    Damaged {
        /// The commit.
        commit: String,
    },
    /// The source does not have an object.
    NotFound {
        /// URL or path of the object.
        url: String,
    },
    /// The source did not deliver an object, also not after the retries.
    Fetch {
        /// URL or path of the object.
        url: String,
        /// What the transport said.
        reason: String,
    },
    /// A body is longer than its kind of object may be.
    TooLarge {
        /// URL or path of the object.
        url: String,
        /// The limit in bytes.
        limit: u64,
    },
    /// The whole pull is longer than allowed.
    TotalTooLarge {
        /// The limit in bytes.
        limit: u64,
    },
    /// An object's content does not have the hash in its name.
    Checksum {
        /// The object.
        object: ObjectId,
        /// What was found instead.
        reason: String,
    },
    /// An object has the right hash but is not what its kind should be, or cannot be unpacked.
    Malformed {
        /// The object.
        object: ObjectId,
        /// What is wrong with it.
        reason: String,
    },
    /// The volume of the repository is too full.
    NoSpace {
        /// Where it is mounted.
        path: PathBuf,
        /// Bytes that are needed, where that is known.
        needed: Option<u64>,
        /// Bytes that may be used: free ones without the reserve.
        available: u64,
        /// Bytes that always stay free.
        reserved: u64,
    },
    /// The volume of the repository has room for too few files, whatever their size.
    NoInodes {
        /// Where it is mounted.
        path: PathBuf,
        /// Files that are needed.
        needed: u64,
        /// Files that can be made.
        available: u64,
    },
    /// A stop was asked for. What was fetched is kept.
    Stopped,
}

impl OstreeError {
    /// How the error is told to the outside.
    pub fn class(&self) -> OstreeErrorClass {
        use OstreeError::*;
        match self {
            NotFound { .. } | Fetch { .. } | TooLarge { .. } | TotalTooLarge { .. } => {
                OstreeErrorClass::Download
            }
            NoSpace { .. } | NoInodes { .. } => OstreeErrorClass::NoSpace,
            Checksum { .. } | Malformed { .. } => OstreeErrorClass::Verification,
            _ => OstreeErrorClass::Other,
        }
    }

    /// Whether the volume of this path has no room for what is wanted.
    pub(super) fn is_full(&self, path: &Path) -> bool {
        match self {
            OstreeError::NoSpace { path: full, .. } | OstreeError::NoInodes { path: full, .. } => {
                *full == space::mount_point(path)
            }
            _ => false,
        }
    }

    pub(super) fn sysroot(path: &Path, error: glib::Error) -> OstreeError {
        if is_no_space(&error) {
            return space::no_room(path, None, space::free(path).unwrap_or(0), 0);
        }
        OstreeError::Sysroot { path: path.to_path_buf(), reason: error.to_string() }
    }

    pub(super) fn repo(doing: impl Into<String>, error: impl fmt::Display) -> OstreeError {
        OstreeError::Repo { doing: doing.into(), reason: error.to_string() }
    }

    /// `path` is relative to /etc.
    pub(super) fn etc(path: &Path, reason: &str) -> OstreeError {
        // One that is too long for the kernel is told by its beginning.
        const MOST_PARTS: usize = 16;
        let beginning: PathBuf = path.iter().take(MOST_PARTS).collect();
        OstreeError::Etc { path: Path::new("/etc").join(beginning), reason: reason.to_string() }
    }

    pub(super) fn deploy(commit: &str, error: impl fmt::Display) -> OstreeError {
        OstreeError::Deploy { commit: commit.to_string(), reason: error.to_string() }
    }
}

impl From<SourceError> for OstreeError {
    fn from(error: SourceError) -> OstreeError {
        match error {
            SourceError::NotFound { url } => OstreeError::NotFound { url },
            SourceError::Refused { url, reason } | SourceError::Transient { url, reason } => {
                OstreeError::Fetch { url, reason }
            }
            SourceError::Range { url } => OstreeError::Fetch {
                url,
                reason: "the server refused to go on inside the object".to_string(),
            },
        }
    }
}

/// libostree reports a full disk by the system's code, or, before it is full, only by a text.
pub(super) fn is_no_space(error: &glib::Error) -> bool {
    error.matches(gio::IOErrorEnum::NoSpace) || error.message().contains("min-free-space")
}

impl fmt::Display for OstreeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use OstreeError::*;
        match self {
            BadCommitName { name } => {
                write!(f, "{name:?} is not an OSTree commit: 64 lower-case hexadecimal digits are")
            }
            Sysroot { path, reason } => {
                write!(
                    f,
                    "sysroot {}: {reason}; check pacman.sysroot and that this is an OSTree system",
                    path.display()
                )
            }
            NoStateroot { path, found } => write_no_stateroot(f, path, found),
            Busy { path } => write!(
                f,
                "sysroot {}: another program (ostree admin?) is working on it; try again when it has ended",
                path.display()
            ),
            Repo { doing, reason } => {
                write!(f, "{doing}: {reason}; `ostree fsck` tells the repository's state")
            }
            Deploy { commit, reason } => {
                write!(f, "deployment of {commit}: {reason}; the deployments before are unchanged")
            }
            Etc { path, reason } => write!(
                f,
                "{}: it {reason}; the update cannot merge that. Move it away (or put back what /usr{} has there) and try again",
                path.display(),
                path.display()
            ),
            RootKind { commit, kind } => write!(
                f,
                "deployment of {commit}: the system wants {kind}, and the libostree of this program cannot make that; nothing was \
                 changed. Use a client that is linked to the image's own libostree (Yocto: RUST_OTA_BUILD = \"dynamic\")"
            ),
            NotPulled { commit } => {
                write!(f, "commit {commit} is not completely in the repository; download it first")
            }
            Damaged { commit } => write!(
                f,
                "objects of commit {commit} were damaged on this device and have been removed; download it again, and look at the medium if that comes again"
            ),
            NotFound { url } => {
                write!(f, "{url}: the server does not have it; was the repository published completely?")
            }
            Fetch { url, reason } => write!(f, "{url}: {reason}; what was fetched is kept, try again"),
            TooLarge { url, limit } => write!(f, "{url}: longer than the {limit} bytes that are allowed"),
            TotalTooLarge { limit } => {
                write!(f, "the commit needs more than the {limit} bytes that are allowed")
            }
            Checksum { object, reason } => write!(
                f,
                "object {object} does not match its checksum: {reason}; it was thrown away. Repair the server's repository"
            ),
            Malformed { object, reason } => {
                write!(
                    f,
                    "object {object} is malformed: {reason}; it was thrown away. Repair the server's repository"
                )
            }
            NoSpace { path, needed, available, reserved } => {
                write_no_space(f, path, *needed, *available, *reserved)
            }
            NoInodes { path, needed, available } => write!(
                f,
                "{}: not enough room for files (inodes): {needed} are needed, {available} are there; remove some and try again",
                path.display()
            ),
            Stopped => write!(
                f,
                "stopped as asked; what was fetched is kept and the next download goes on from there"
            ),
        }
    }
}

impl std::error::Error for OstreeError {}

fn write_no_stateroot(f: &mut fmt::Formatter<'_>, path: &Path, found: &[String]) -> fmt::Result {
    write!(f, "sysroot {}: ", path.display())?;
    if found.is_empty() {
        write!(f, "has no stateroot; set pacman.os and make it with `ostree admin os-init`")
    } else {
        write!(f, "has the stateroots {}; say by pacman.os which one is meant", found.join(", "))
    }
}

fn write_no_space(
    f: &mut fmt::Formatter<'_>,
    path: &Path,
    needed: Option<u64>,
    available: u64,
    reserved: u64,
) -> fmt::Result {
    write!(f, "{}: not enough free space: ", path.display())?;
    match needed {
        Some(needed) => write!(f, "{needed} bytes are needed, {available} are there")?,
        None => write!(f, "{available} bytes are there")?,
    }
    write!(f, " ({reserved} more are kept in reserve); free some and try again")
}
