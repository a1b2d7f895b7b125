//! The checks of each file, in the order of the specification: size, envelope, what the parent lists,
//! signatures, content, versions, expiry.

use super::{Document, TrustedMetadata};
use crate::tuf::envelope::Envelope;
use crate::tuf::error::Reason;
use crate::tuf::keys::Signers;
use crate::tuf::profile::{Limits, Profile};
use crate::tuf::roles::{MetaFile, Role, Root, Snapshot, Targets, Timestamp};
use crate::tuf::time::Time;

/// A targets role that passed, and what was listed for it.
pub(super) struct Read {
    role: Targets,
    listed: MetaFile,
}

impl Read {
    pub(super) fn with(self, bytes: Vec<u8>) -> Document<Targets> {
        Document { role: self.role, bytes, compared: Some(self.listed) }
    }
}

impl TrustedMetadata {
    pub(super) fn read_next_root(&self, bytes: &[u8]) -> Result<Root, Reason> {
        check_size(bytes, self.limits.root_bytes)?;
        let envelope = Envelope::open(bytes, self.profile, &self.limits)?;
        // 5.3.4: by the trusted root's keys, before anything of it is read, and by its own.
        envelope.verify("the trusted root", &self.root.role.root)?;
        let root = Root::parse(envelope.signed(), self.profile, &self.limits)?;
        envelope.verify("the new root itself", &root.root)?;
        let (expected, got) = (self.next_root_version(), root.header.version);
        // 5.3.5.
        if got == expected { Ok(root) } else { Err(Reason::RootVersion { expected, got }) }
    }

    /// The new timestamp, or nothing if the trusted one stays.
    pub(super) fn read_timestamp(&self, bytes: &[u8], now: Time) -> Result<Option<Timestamp>, Reason> {
        check_size(bytes, self.limits.timestamp_bytes)?;
        if let Some(trusted) = self.timestamp.as_ref().filter(|trusted| trusted.bytes == bytes) {
            // Verified before, by the same keys: a root with other ones would have dropped it.
            return trusted.role.header.check_expiry(now).map(|()| None);
        }
        let new: Timestamp = self.read_verified(bytes, "the timestamp role", &self.root.role.timestamp)?;
        if let Some(trusted) = &self.timestamp {
            check_timestamp_rollback(&trusted.role, &new)?;
            // 5.4.3.1: of one version the first one stays. Servers of the ATS dialect sign afresh under it.
            if self.profile == Profile::Tuf && new.header.version == trusted.role.header.version {
                return trusted.role.header.check_expiry(now).map(|()| None);
            }
            // 5.4.3.2.
            let (old, got) = (trusted.role.snapshot.version, new.snapshot.version);
            if got < old && !self.snapshot_void {
                return Err(Reason::SnapshotRollback { trusted: old, got });
            }
        }
        new.header.check_expiry(now)?;
        Ok(Some(new))
    }

    pub(super) fn read_snapshot(
        &self,
        bytes: &[u8],
        listed: &MetaFile,
        now: Time,
    ) -> Result<Snapshot, Reason> {
        check_size(bytes, self.limits.snapshot_bytes)?;
        let envelope = Envelope::open(bytes, self.profile, &self.limits)?;
        envelope.check_listed("timestamp.json", listed)?;
        envelope.verify("the snapshot role", &self.root.role.snapshot)?;
        let new = Snapshot::parse(envelope.signed(), self.profile, &self.limits)?;
        check_listed_version("timestamp.json", listed, new.header.version)?;
        if let Some(trusted) = &self.snapshot {
            check_snapshot_rollback(&trusted.role, &new)?;
        }
        new.header.check_expiry(now)?;
        Ok(new)
    }

    pub(super) fn read_delegated(
        &self,
        delegator: &str,
        name: &str,
        bytes: &[u8],
        now: Time,
    ) -> Result<(Read, Signers), Reason> {
        let signers = self.delegation(delegator, name)?;
        Ok((self.read_targets(name, bytes, signers, now)?, signers.clone()))
    }

    /// Top-level and delegated targets alike.
    pub(super) fn read_targets(
        &self,
        name: &str,
        bytes: &[u8],
        signers: &Signers,
        now: Time,
    ) -> Result<Read, Reason> {
        let listed = self.listed(name)?;
        check_size(bytes, self.limits.targets_bytes)?;
        let envelope = Envelope::open(bytes, self.profile, &self.limits)?;
        envelope.check_listed("snapshot.json", listed)?;
        envelope.verify(&format!("the role {name}"), signers)?;
        let role = Targets::parse(&envelope.into_signed(), self.profile, &self.limits)?;
        check_listed_version("snapshot.json", listed, role.header.version)?;
        role.header.check_expiry(now)?;
        Ok(Read { role, listed: listed.clone() })
    }

    pub(super) fn read_verified<T: Role>(
        &self,
        bytes: &[u8],
        signer: &str,
        signers: &Signers,
    ) -> Result<T, Reason> {
        let envelope = Envelope::open(bytes, self.profile, &self.limits)?;
        envelope.verify(signer, signers)?;
        T::parse(envelope.signed(), self.profile, &self.limits)
    }

    pub(super) fn read_stored<T: Role>(
        &self,
        bytes: &[u8],
        signers: impl Fn(&Root) -> &Signers,
    ) -> Result<T, Reason> {
        check_size(bytes, self.limits.targets_bytes)?;
        self.read_verified(bytes, "the stored role", signers(&self.root.role))
    }
}

pub(super) fn read_first_root(bytes: &[u8], profile: Profile, limits: &Limits) -> Result<Root, Reason> {
    check_size(bytes, limits.root_bytes)?;
    let envelope = Envelope::open(bytes, profile, limits)?;
    let root = Root::parse(envelope.signed(), profile, limits)?;
    envelope.verify("the root itself", &root.root)?;
    Ok(root)
}

pub(super) fn check_size(bytes: &[u8], limit: u64) -> Result<(), Reason> {
    let got = bytes.len() as u64;
    if got <= limit { Ok(()) } else { Err(Reason::TooLarge { limit, got }) }
}

/// 5.4.3.1.
fn check_timestamp_rollback(trusted: &Timestamp, new: &Timestamp) -> Result<(), Reason> {
    let (trusted, got) = (trusted.header.version, new.header.version);
    if got >= trusted { Ok(()) } else { Err(Reason::TimestampRollback { trusted, got }) }
}

/// 5.5.4, 5.6.4.
pub(super) fn check_listed_version(parent: &'static str, listed: &MetaFile, got: u64) -> Result<(), Reason> {
    let expected = listed.version;
    if got == expected { Ok(()) } else { Err(Reason::VersionMismatch { parent, expected, got }) }
}

/// 5.5.5: no targets role goes back or away.
fn check_snapshot_rollback(trusted: &Snapshot, new: &Snapshot) -> Result<(), Reason> {
    for (role, old) in &trusted.meta {
        let listed = new.meta.get(role).ok_or_else(|| Reason::RoleRemoved { role: role.clone() })?;
        if listed.version < old.version {
            return Err(Reason::RoleRollback {
                role: role.clone(),
                trusted: old.version,
                got: listed.version,
            });
        }
    }
    Ok(())
}
