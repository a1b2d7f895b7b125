//! Which dialect of metadata is spoken, and how much of it is taken.

/// The dialect of a repository. Chosen by a setting, never guessed from what a server sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Profile {
    /// TUF 1.0: hex signatures, a `scheme` in each key, hashes over the bytes.
    Tuf,
    /// What Uptane and Foundries servers speak: base64 signatures with a `method`, unversioned
    /// names, hashes over the bytes or over the canonical form of the whole document.
    Ats,
}

impl Profile {
    /// The name in the settings.
    pub fn name(self) -> &'static str {
        match self {
            Profile::Tuf => "tuf",
            Profile::Ats => "ats",
        }
    }

    /// Reads the name in the settings.
    pub fn from_name(name: &str) -> Option<Profile> {
        [Profile::Tuf, Profile::Ats].into_iter().find(|profile| profile.name() == name)
    }
}

/// How much is read, looked at and walked before a repository is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of one root file.
    pub root_bytes: u64,
    /// Bytes of the timestamp.
    pub timestamp_bytes: u64,
    /// Bytes of the snapshot, when the timestamp names no length.
    pub snapshot_bytes: u64,
    /// Bytes of a targets role, when the snapshot names no length. Also the ceiling for a named one.
    pub targets_bytes: u64,
    /// New roots taken in one run (TUF 5.3.3, Y).
    pub roots: u32,
    /// Signatures in one file.
    pub signatures: usize,
    /// Keys in one `keys` object.
    pub keys: usize,
    /// Key ids in one role.
    pub role_keys: usize,
    /// Delegated roles that one search visits (TUF 5.6.7.1).
    pub visited_roles: usize,
    /// Delegations between the top-level targets and a role.
    pub depth: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            root_bytes: 512 * 1024,
            timestamp_bytes: 64 * 1024,
            snapshot_bytes: 2 * 1024 * 1024,
            targets_bytes: 8 * 1024 * 1024,
            roots: 256,
            signatures: 64,
            keys: 1024,
            role_keys: 64,
            visited_roles: 32,
            depth: 8,
        }
    }
}
