//! Why a metadata file is refused. One variant a rule, so that each can be tested and told apart.

use std::fmt;

use super::time::Time;

/// A refused file: nothing of it was trusted, and what was trusted before still is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejection {
    /// The file's name as the repository has it, for example `timestamp.json`.
    pub file: String,
    /// The rule that it broke.
    pub reason: Reason,
}

/// The rule that a file broke. Section numbers are those of the TUF specification 1.0.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
#[allow(missing_docs, reason = "the fields are what the sentence above them says: expected and got")]
pub enum Reason {
    /// More bytes than the limit for this role (5.3.3, 5.4.1, 5.5.1, 5.6.1).
    TooLarge { limit: u64, got: u64 },
    /// Not JSON of the subset that can be signed: syntax, UTF-8, integers, a key twice, depth (4.1).
    Json { detail: String },
    /// A field is missing or of another type (4.2 to 4.6).
    Shape { detail: String },
    /// `_type` is another role's (4.2.1).
    WrongType { expected: &'static str, got: String },
    /// `spec_version` is not one that this client knows (4.3).
    SpecVersion { got: String },
    /// A version outside 1..2^63-1 (4.3).
    VersionRange { got: u64 },
    /// `expires` is no date (4.2.3).
    ExpiresFormat { got: String },
    /// `expires` is not after the start of this run (5.3.10, 5.4.4, 5.5.6, 5.6.5).
    Expired { expires: Time, now: Time },
    /// More signatures than anybody needs.
    TooManySignatures { limit: usize, got: usize },
    /// More keys than anybody needs.
    TooManyKeys { limit: usize, got: usize },
    /// One key id signs twice (4.2.1).
    DuplicateSignature { keyid: String },
    /// A threshold outside 1..=1000 (4.3).
    ThresholdRange { role: String, got: u64 },
    /// The root does not define one of the four roles (4.3).
    RoleMissing { role: &'static str },
    /// Too few distinct keys of the role signed (5.3.4, 5.4.2, 5.5.3, 5.6.3).
    Unsigned { signer: String, threshold: u32, valid: usize, signatures: usize, detail: String },
    /// A root's version is not exactly the trusted one's successor (5.3.5).
    RootVersion { expected: u64, got: u64 },
    /// The timestamp's version is below the trusted one (5.4.3.1).
    TimestampRollback { trusted: u64, got: u64 },
    /// The snapshot version that the timestamp lists is below the one it listed before (5.4.3.2).
    SnapshotRollback { trusted: u64, got: u64 },
    /// A role is no longer listed in the snapshot (5.5.5).
    RoleRemoved { role: String },
    /// The version that the snapshot lists for a role is below the one it listed before (5.5.5).
    RoleRollback { role: String, trusted: u64, got: u64 },
    /// The parent role does not list this file (4.4, 4.6).
    NotListed { parent: &'static str },
    /// The version is not the one that the parent role lists (5.5.4, 5.6.4).
    VersionMismatch { parent: &'static str, expected: u64, got: u64 },
    /// The length is not the one that the parent role lists.
    LengthMismatch { parent: &'static str, expected: u64, got: u64 },
    /// A hash is not the one that the parent role lists (5.5.2, 5.6.2).
    HashMismatch { parent: &'static str, algorithm: &'static str, expected: String, got: String },
    /// The parent role lists no hash that this client can check, and this dialect needs one.
    NoUsableHash { parent: &'static str },
    /// A delegation sets both `paths` and `path_hash_prefixes`, or roles and succinct roles (4.5).
    DelegationKind { role: String },
    /// A delegated role is named twice by one delegator (4.5).
    DuplicateRole { role: String },
    /// A delegated role has a name that cannot be told from a top-level role's or cannot be stored.
    RoleName { name: String, detail: &'static str },
    /// The delegator does not (or no longer) delegate to this role.
    NotDelegated { delegator: String },
    /// Delegations go deeper than the limit.
    DelegationDepth { limit: usize },
    /// A search visited as many roles as the limit allows (5.6.7.1).
    DelegationCount { limit: usize },
    /// A role was given before the one that vouches for it.
    OutOfOrder { needed: &'static str },
}

/// What a rejection means to the one who has to act on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// Signatures, versions or hashes: somebody may be attacking.
    Security,
    /// The file is valid and too old.
    Expired,
    /// The file cannot be read.
    Malformed,
}

impl Reason {
    /// Whether this device knows something newer.
    pub fn is_rollback(&self) -> bool {
        matches!(
            self,
            Reason::TimestampRollback { .. } | Reason::SnapshotRollback { .. } | Reason::RoleRollback { .. }
        )
    }

    /// Puts the name of the file to it.
    pub fn of(self, file: impl Into<String>) -> Rejection {
        Rejection { file: file.into(), reason: self }
    }

    /// The kind of trouble, for exit codes and reports.
    pub fn class(&self) -> Class {
        match self {
            Reason::Expired { .. } => Class::Expired,
            Reason::TooLarge { .. }
            | Reason::Json { .. }
            | Reason::Shape { .. }
            | Reason::SpecVersion { .. }
            | Reason::VersionRange { .. }
            | Reason::ExpiresFormat { .. }
            | Reason::OutOfOrder { .. } => Class::Malformed,
            _ => Class::Security,
        }
    }
}

impl Rejection {
    /// The kind of trouble, for exit codes and reports.
    pub fn class(&self) -> Class {
        self.reason.class()
    }
}

impl std::error::Error for Rejection {}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}; {}", self.file, self.reason, self.reason.advice())
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reason::TooLarge { limit, got } => write!(f, "at most {limit} bytes expected, got {got} or more"),
            Reason::Json { detail } => write!(f, "JSON that can be signed expected, got {}", Short(detail)),
            Reason::Shape { detail } => write!(f, "not in the expected form: {}", Short(detail)),
            Reason::WrongType { expected, got } => {
                write!(f, "_type {expected} expected, got {:?}", Short(got))
            }
            Reason::SpecVersion { got } => write!(f, "spec_version 1.x expected, got {:?}", Short(got)),
            Reason::VersionRange { got } => write!(f, "version 1 to 9223372036854775807 expected, got {got}"),
            Reason::ExpiresFormat { got } => {
                write!(f, "expires like 2030-01-31T00:00:00Z expected, got {:?}", Short(got))
            }
            Reason::Expired { expires, now } => {
                write!(f, "a date after {now} expected, got expires {expires}")
            }
            Reason::TooManySignatures { limit, got } => {
                write!(f, "at most {limit} signatures expected, got {got}")
            }
            Reason::TooManyKeys { limit, got } => write!(f, "at most {limit} keys expected, got {got}"),
            Reason::DuplicateSignature { keyid } => {
                write!(f, "one signature of each key id expected, got two of {:?}", Short(keyid))
            }
            Reason::ThresholdRange { role, got } => {
                write!(f, "threshold 1 to 1000 expected for role {:?}, got {got}", Short(role))
            }
            Reason::RoleMissing { role } => {
                write!(f, "roles root, timestamp, snapshot and targets expected, got no {role}")
            }
            Reason::Unsigned { signer, threshold, valid, detail, .. } => {
                write!(
                    f,
                    "{threshold} valid signatures by keys of {signer:?} expected, got {valid}{}",
                    Short(detail)
                )
            }
            _ => self.fmt_relation(f),
        }
    }
}

impl Reason {
    /// The rules between files and roles.
    fn fmt_relation(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reason::RootVersion { expected, got } => write!(f, "root version {expected} expected, got {got}"),
            Reason::TimestampRollback { trusted, got } => {
                write!(f, "version {trusted} or later expected, got {got}")
            }
            Reason::SnapshotRollback { trusted, got } => {
                write!(f, "snapshot.json version {trusted} or later expected in it, got {got}")
            }
            Reason::RoleRemoved { role } => write!(f, "{:?} expected in it as before, got none", Short(role)),
            Reason::RoleRollback { role, trusted, got } => {
                write!(f, "version {trusted} or later expected in it for {:?}, got {got}", Short(role))
            }
            Reason::NotListed { parent } => write!(f, "an entry for it expected in {parent}, got none"),
            Reason::VersionMismatch { parent, expected, got } => {
                write!(f, "version {expected} expected as in {parent}, got {got}")
            }
            Reason::LengthMismatch { parent, expected, got } => {
                write!(f, "{expected} bytes expected as in {parent}, got {got}")
            }
            Reason::HashMismatch { parent, algorithm, expected, got } => {
                write!(f, "{algorithm} {expected} expected as in {parent}, got {got}")
            }
            Reason::NoUsableHash { parent } => {
                write!(f, "a sha256 or sha512 of it expected in {parent}, got none")
            }
            Reason::DelegationKind { role } => {
                write!(f, "one kind of delegation expected for {:?}, got two at once", Short(role))
            }
            Reason::DuplicateRole { role } => {
                write!(f, "each delegated role once expected, got {:?} twice", Short(role))
            }
            Reason::RoleName { name, detail } => {
                write!(f, "a usable role name expected, got {:?}: {detail}", Short(name))
            }
            Reason::NotDelegated { delegator } => {
                write!(f, "a delegation by {:?} expected, got none", Short(delegator))
            }
            Reason::DelegationDepth { limit } => {
                write!(f, "at most {limit} delegations in a row expected, got more")
            }
            Reason::DelegationCount { limit } => {
                write!(f, "at most {limit} delegated roles for one search expected, got more")
            }
            Reason::OutOfOrder { needed } => write!(f, "a trusted {needed} expected before it, got none"),
            _ => Ok(()),
        }
    }

    /// What the operator can do.
    fn advice(&self) -> &'static str {
        match self {
            Reason::Expired { .. } => {
                "check this device's clock, then ask for the repository to be signed afresh"
            }
            Reason::TimestampRollback { .. }
            | Reason::SnapshotRollback { .. }
            | Reason::RoleRollback { .. }
            | Reason::RoleRemoved { .. } => {
                "an older state is served: restore the repository's newest state, or replace the key that signed it if versions have to start again"
            }
            Reason::VersionMismatch { .. } | Reason::LengthMismatch { .. } | Reason::HashMismatch { .. } => {
                "try again if the repository is being published right now, else publish it again"
            }
            Reason::Unsigned { .. } => {
                "check that the server is the right one and that the setting of the metadata's dialect fits it, then sign the file with the role's keys"
            }
            Reason::TooLarge { .. } => "check what the server sends, or raise the limit",
            Reason::RootVersion { .. } => "publish every root under its own version, without a gap",
            Reason::OutOfOrder { .. } => "refresh first",
            _ => "nothing of it was used: check what the server sends, and correct the repository",
        }
    }
}

/// Text that a server chose, cut to what a person reads.
struct Short<'t>(&'t str);

const SHORT: usize = 300;

impl Short<'_> {
    fn cut(&self) -> &str {
        let end = self.0.char_indices().nth(SHORT).map_or(self.0.len(), |(at, _)| at);
        self.0.get(..end).unwrap_or_default()
    }
}

impl fmt::Display for Short<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.cut())
    }
}

impl fmt::Debug for Short<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.cut(), f)
    }
}
