//! The four roles as typed values. Made only from bytes whose signatures were verified.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::Error as D;
use serde_json::value::RawValue;

use super::delegation::{Delegations, DelegationsWire};
use super::envelope::shape;
use super::error::Reason;
use super::hashes::Hashes;
use super::keys::{KeyRing, RoleWire, Signers};
use super::profile::{Limits, Profile};
use super::time::Time;

/// What every role has: 4.3.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// 1..2^63-1.
    pub version: u64,
    /// The first second at which the file is no longer to be trusted.
    pub expires: Time,
}

/// Root: who signs for each top-level role.
#[derive(Debug, Clone)]
pub struct Root {
    /// Version and expiry.
    pub header: Header,
    /// Whether the repository's files have versioned names (6.2). The ATS dialect never asks for those.
    pub consistent_snapshot: bool,
    /// Signers of root.
    pub root: Signers,
    /// Signers of the timestamp.
    pub timestamp: Signers,
    /// Signers of the snapshot.
    pub snapshot: Signers,
    /// Signers of the top-level targets.
    pub targets: Signers,
}

/// Timestamp: which snapshot is the newest.
#[derive(Debug, Clone)]
pub struct Timestamp {
    /// Version and expiry.
    pub header: Header,
    /// What it says of `snapshot.json`.
    pub snapshot: MetaFile,
}

/// Snapshot: which version of each targets role belongs together.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// Version and expiry.
    pub header: Header,
    /// By file name, for example `targets.json`.
    pub meta: BTreeMap<String, MetaFile>,
}

/// Top-level or delegated targets.
#[derive(Debug, Clone)]
pub struct Targets {
    /// Version and expiry.
    pub header: Header,
    /// The Targets by name.
    pub targets: BTreeMap<String, TargetInfo>,
    /// Targets that cannot be read, and why (ATS dialect): each of them is left out, and hides no other.
    pub unread: BTreeMap<String, String>,
    /// Roles that may say more.
    pub delegations: Delegations,
    /// `custom` of the role itself, as it was written (Uptane's correlation id is there).
    pub custom: Option<Box<RawValue>>,
}

/// What timestamp and snapshot list of a metadata file (4.4).
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct MetaFile {
    /// The version that it must have.
    pub version: u64,
    /// Its length, if listed.
    pub length: Option<u64>,
    /// Its hashes, if listed.
    #[serde(default)]
    pub hashes: Hashes,
}

/// What targets say of one Target (4.5).
#[derive(Debug, Clone, Deserialize)]
pub struct TargetInfo {
    /// Bytes; 0 for an OSTree commit.
    pub length: u64,
    /// Hashes; `sha256` is the commit of an OSTree Target.
    pub hashes: Hashes,
    /// `custom`, as it was written.
    pub custom: Option<Box<RawValue>>,
}

/// What clients of the ATS dialect read: no length is 0, and `12.0` is 12.
#[derive(Deserialize)]
struct LenientInfo {
    length: Option<serde_json::Number>,
    hashes: Option<Hashes>,
    custom: Option<Box<RawValue>>,
}

impl TargetInfo {
    fn read(raw: &RawValue, profile: Profile) -> Result<TargetInfo, serde_json::Error> {
        if profile == Profile::Tuf {
            return serde_json::from_str(raw.get());
        }
        let info: LenientInfo = serde_json::from_str(raw.get())?;
        let length = match info.length {
            None => 0,
            Some(number) => whole(&number).ok_or_else(|| D::custom(format!("length {number}")))?,
        };
        Ok(TargetInfo { length, hashes: info.hashes.unwrap_or_default(), custom: info.custom })
    }
}

fn whole(number: &serde_json::Number) -> Option<u64> {
    let exact = |value: &f64| value.fract() == 0.0 && (0.0..9e15).contains(value);
    number.as_u64().or_else(|| number.as_f64().filter(exact).map(|value| value as u64))
}

#[derive(Deserialize)]
struct HeaderWire {
    _type: String,
    spec_version: Option<String>,
    version: u64,
    expires: String,
}

#[derive(Deserialize)]
struct RootWire<'b> {
    #[serde(default)]
    consistent_snapshot: bool,
    #[serde(borrow)]
    keys: BTreeMap<String, &'b RawValue>,
    roles: BTreeMap<String, RoleWire>,
}

#[derive(Deserialize)]
struct MetaWire {
    meta: BTreeMap<String, MetaFile>,
}

#[derive(Deserialize)]
struct TargetsWire<'b> {
    #[serde(borrow)]
    targets: BTreeMap<String, &'b RawValue>,
    #[serde(borrow)]
    delegations: Option<DelegationsWire<'b>>,
    custom: Option<Box<RawValue>>,
}

/// Reads the `signed` text of a role.
pub(crate) trait Role: Sized {
    /// `_type` in the TUF dialect.
    const TYPE: &'static str;

    fn read(signed: &str, header: Header, profile: Profile, limits: &Limits) -> Result<Self, Reason>;

    fn header(&self) -> Header;

    fn parse(signed: &str, profile: Profile, limits: &Limits) -> Result<Self, Reason> {
        Self::read(signed, Header::parse(signed, Self::TYPE, profile)?, profile, limits)
    }
}

impl Header {
    fn parse(signed: &str, expected: &'static str, profile: Profile) -> Result<Header, Reason> {
        let wire: HeaderWire = serde_json::from_str(signed).map_err(shape)?;
        check_type(&wire, expected, profile)?;
        check_spec_version(&wire, profile)?;
        let version = check_version(wire.version)?;
        let expires = Time::parse(&wire.expires).ok_or(Reason::ExpiresFormat { got: wire.expires })?;
        Ok(Header { version, expires })
    }

    /// 5.3.10, 5.4.4, 5.5.6, 5.6.5: the expiry MUST be higher than the start time of the run.
    pub fn check_expiry(&self, now: Time) -> Result<(), Reason> {
        if self.expires > now { Ok(()) } else { Err(Reason::Expired { expires: self.expires, now }) }
    }
}

fn check_type(wire: &HeaderWire, expected: &'static str, profile: Profile) -> Result<(), Reason> {
    let same = match profile {
        Profile::Tuf => wire._type == expected,
        // Servers of this dialect write `Root`, `Targets`.
        Profile::Ats => wire._type.eq_ignore_ascii_case(expected),
    };
    if same { Ok(()) } else { Err(Reason::WrongType { expected, got: wire._type.clone() }) }
}

/// 4.3: the client decides what matches; any 1.x does. The ATS dialect does not write it reliably.
fn check_spec_version(wire: &HeaderWire, profile: Profile) -> Result<(), Reason> {
    let text = wire.spec_version.as_deref().unwrap_or_default();
    let numeric = text.split('.').all(|part| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit()));
    if profile == Profile::Ats || (numeric && text.starts_with("1.")) {
        return Ok(());
    }
    Err(Reason::SpecVersion { got: text.to_owned() })
}

fn check_version(version: u64) -> Result<u64, Reason> {
    if (1..=i64::MAX as u64).contains(&version) {
        Ok(version)
    } else {
        Err(Reason::VersionRange { got: version })
    }
}

fn check_meta(meta: &BTreeMap<String, MetaFile>) -> Result<(), Reason> {
    meta.values().try_for_each(|file| check_version(file.version).map(drop))
}

impl Role for Root {
    const TYPE: &'static str = "root";

    fn read(signed: &str, header: Header, profile: Profile, limits: &Limits) -> Result<Root, Reason> {
        let wire: RootWire<'_> = serde_json::from_str(signed).map_err(shape)?;
        let ring = KeyRing::new(&wire.keys, profile, limits)?;
        let signers = |role: &'static str| {
            match wire.roles.get(role) {
                Some(wire) => ring.signers(role, wire, limits),
                // A Director's root may leave these two out, and then nobody can sign them.
                None if profile == Profile::Ats && matches!(role, "timestamp" | "snapshot") => {
                    Ok(Signers::nobody())
                }
                None => Err(Reason::RoleMissing { role }),
            }
        };
        Ok(Root {
            header,
            consistent_snapshot: wire.consistent_snapshot,
            root: signers("root")?,
            timestamp: signers("timestamp")?,
            snapshot: signers("snapshot")?,
            targets: signers("targets")?,
        })
    }

    fn header(&self) -> Header {
        self.header
    }
}

impl Role for Timestamp {
    const TYPE: &'static str = "timestamp";

    fn read(signed: &str, header: Header, profile: Profile, _: &Limits) -> Result<Timestamp, Reason> {
        let mut wire: MetaWire = serde_json::from_str(signed).map_err(shape)?;
        check_meta(&wire.meta)?;
        let missing = || Reason::Shape { detail: "meta has no snapshot.json".to_owned() };
        let snapshot = wire.meta.remove("snapshot.json").ok_or_else(missing)?;
        // Without versioned names a snapshot is told from another one of that version by its hash only.
        if profile == Profile::Ats && !snapshot.hashes.usable() {
            return Err(Reason::NoUsableHash { parent: "timestamp.json" });
        }
        Ok(Timestamp { header, snapshot })
    }

    fn header(&self) -> Header {
        self.header
    }
}

impl Role for Snapshot {
    const TYPE: &'static str = "snapshot";

    fn read(signed: &str, header: Header, _: Profile, _: &Limits) -> Result<Snapshot, Reason> {
        let wire: MetaWire = serde_json::from_str(signed).map_err(shape)?;
        check_meta(&wire.meta)?;
        Ok(Snapshot { header, meta: wire.meta })
    }

    fn header(&self) -> Header {
        self.header
    }
}

impl Role for Targets {
    const TYPE: &'static str = "targets";

    fn read(signed: &str, header: Header, profile: Profile, limits: &Limits) -> Result<Targets, Reason> {
        let wire: TargetsWire<'_> = serde_json::from_str(signed).map_err(shape)?;
        let delegations = match wire.delegations {
            Some(delegations) => Delegations::read(delegations, profile, limits)?,
            None => Delegations::default(),
        };
        let mut read = Targets {
            header,
            targets: BTreeMap::new(),
            unread: BTreeMap::new(),
            delegations,
            custom: wire.custom,
        };
        for (name, raw) in wire.targets {
            match (TargetInfo::read(raw, profile), profile) {
                (Ok(info), _) => drop(read.targets.insert(name, info)),
                (Err(reason), Profile::Tuf) => return Err(shape(reason)),
                (Err(reason), Profile::Ats) => drop(read.unread.insert(name, reason.to_string())),
            }
        }
        Ok(read)
    }

    fn header(&self) -> Header {
        self.header
    }
}
