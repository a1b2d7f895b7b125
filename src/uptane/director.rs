//! The Director's targets: with a timestamp and a snapshot before them where it serves those, alone otherwise.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::custom::{RoleCustom, read_raw};
use super::fault::{Fault, Repository};
use crate::tuf::{Envelope, Reason, Rejection, Role, Root, Signers, Targets, Time, TrustedMetadata, to_hex};

/// How much a Director serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Timestamp, snapshot and targets, as the standard asks for.
    Full,
    /// Targets only: replay of the newest state until it expires cannot be told from the newest state.
    Reduced,
}

/// The Director's verified targets.
#[derive(Clone, Debug)]
pub struct Directed {
    /// The role.
    pub targets: Targets,
    /// What reports about this assignment are to carry.
    pub correlation_id: Option<String>,
    /// What later ones must not fall below.
    pub floor: Floor,
}

/// The highest version of the Director's targets that was ever accepted, an empty list's included.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Floor {
    version: u64,
    /// Threshold and keys of the role when it was accepted.
    authority: String,
    /// The keys that signed it. A root by which they are not enough any more voids it: a stolen key's last word (version
    /// 2^63-1) holds nobody back. A root by which they still are leaves it: what is older was signed by them too.
    #[serde(default)]
    signed_by: Vec<String>,
    /// Whether it came with a timestamp and a snapshot. A root with new keys for these voids the stored ones, and who
    /// then keeps the new ones away must not get the reduced mode for it.
    #[serde(default)]
    full: bool,
}

impl Floor {
    fn of(envelope: &Envelope<'_>, targets: &Targets, root: &Root, mode: Mode) -> Floor {
        Floor {
            version: targets.header.version,
            authority: authority(&root.targets),
            signed_by: envelope.valid_keys(&root.targets).into_iter().map(key_text).collect(),
            full: mode == Mode::Full,
        }
    }

    /// From the targets that are stored, expired or not, where the floor itself was lost.
    pub fn of_stored(trusted: &TrustedMetadata, bytes: &[u8], mode: Mode) -> Option<Floor> {
        let root = &trusted.root().role;
        let envelope = Envelope::open(bytes, trusted.profile(), trusted.limits()).ok()?;
        envelope.verify("the targets role", &root.targets).ok()?;
        let targets = Targets::parse(envelope.signed(), trusted.profile(), trusted.limits()).ok()?;
        Some(Floor::of(&envelope, &targets, root, mode))
    }

    /// Whether the Director serves a timestamp, so that it has to go on.
    pub fn is_full(&self) -> bool {
        self.full
    }

    /// Whether what was accepted still verifies by the root's keys.
    fn holds(&self, root: &Root) -> bool {
        let signers = &root.targets;
        // A floor of an earlier release does not say who signed: each key of the role may have.
        let signed = |key: &String| {
            self.signed_by.contains(key)
                || (self.signed_by.is_empty() && self.authority.split(' ').any(|k| k == key))
        };
        let keys = signers.distinct_keys().into_iter().map(|key| key.identity());
        let keys: BTreeSet<_> = keys.collect();
        keys.into_iter().map(key_text).filter(signed).count() >= signers.threshold as usize
    }
}

/// Takes the Director's targets, in whichever mode, or changes nothing that matters.
pub fn take_targets(
    trusted: &mut TrustedMetadata,
    bytes: Vec<u8>,
    mode: Mode,
    floor: Option<&Floor>,
    now: Time,
) -> Result<Directed, Fault> {
    let targets = match mode {
        Mode::Full => take_listed(trusted, bytes.clone(), now),
        Mode::Reduced => read_alone(trusted, &bytes, now),
    };
    let targets =
        targets.map_err(|rejection| Fault::Rejected { repository: Repository::Director, rejection })?;
    let rejected = |reason: Reason| Fault::Rejected {
        repository: Repository::Director,
        rejection: reason.of("targets.json"),
    };
    let root = &trusted.root().role;
    let envelope = Envelope::open(&bytes, trusted.profile(), trusted.limits()).map_err(rejected)?;
    let new = Floor::of(&envelope, &targets, root, mode);
    check_rollback(floor.filter(|floor| floor.holds(root)), &new)?;
    check_delegations(&targets)?;
    if let Some((name, why)) = targets.unread.first_key_value() {
        // An assignment that cannot be read is not passed over: the vehicle would be something that nobody chose.
        return Err(rejected(Reason::Shape { detail: format!("{name:?}: {why}") }));
    }
    let custom: RoleCustom = read_raw(targets.custom.as_deref())
        .map_err(|detail| rejected(Reason::Shape { detail: format!("custom: {detail}") }))?;
    Ok(Directed { targets, correlation_id: custom.correlation_id.filter(|id| !id.is_empty()), floor: new })
}

fn take_listed(trusted: &mut TrustedMetadata, bytes: Vec<u8>, now: Time) -> Result<Targets, Rejection> {
    trusted.update_targets(bytes, now)?;
    let taken = trusted.top_targets().map(|document| document.role.clone());
    taken.ok_or_else(|| Reason::OutOfOrder { needed: "snapshot.json" }.of("targets.json"))
}

/// The rules of 5.6 that need no snapshot.
fn read_alone(trusted: &TrustedMetadata, bytes: &[u8], now: Time) -> Result<Targets, Rejection> {
    trusted.finish_root(now)?;
    let (profile, limits) = (trusted.profile(), trusted.limits());
    let read = || {
        let (limit, got) = (limits.targets_bytes, bytes.len() as u64);
        if got > limit {
            return Err(Reason::TooLarge { limit, got });
        }
        let envelope = Envelope::open(bytes, profile, limits)?;
        envelope.verify("the targets role", &trusted.root().role.targets)?;
        let targets = Targets::parse(envelope.signed(), profile, limits)?;
        targets.header.check_expiry(now)?;
        Ok(targets)
    };
    read().map_err(|reason| reason.of("targets.json"))
}

/// An equal version may have other content: Directors of this dialect sign afresh under it.
fn check_rollback(floor: Option<&Floor>, new: &Floor) -> Result<(), Fault> {
    match floor {
        Some(floor) if new.version < floor.version => {
            Err(Fault::DirectorRollback { trusted: floor.version, got: new.version })
        }
        _ => Ok(()),
    }
}

fn check_delegations(targets: &Targets) -> Result<(), Fault> {
    match targets.delegations.first() {
        Some(role) => Err(Fault::DirectorDelegation { role: role.to_owned() }),
        None => Ok(()),
    }
}

/// Keys by value and threshold, as text that can be stored and compared.
fn authority(signers: &Signers) -> String {
    let keys = signers.distinct_keys();
    let keys = keys.iter().map(|key| format!(" {}", key_text(key.identity())));
    format!("{} of{}", signers.threshold, keys.collect::<String>())
}

fn key_text((kind, bytes): (u8, &[u8])) -> String {
    format!("{kind}:{}", to_hex(bytes))
}
