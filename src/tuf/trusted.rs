//! What is trusted, and the rules by which a file joins it (TUF 5.3 to 5.6).
//!
//! Every `update_*` either takes the whole file or changes nothing. Signatures are checked before
//! anything but the envelope is read, in the order of the specification.

mod rules;

use std::collections::BTreeMap;

use super::envelope::Envelope;
use super::error::{Reason, Rejection};
use super::keys::Signers;
use super::names::listed_name;
use super::profile::{Limits, Profile};
use super::roles::{MetaFile, Role, Root, Snapshot, TargetInfo, Targets, Timestamp};
use super::time::Time;
use rules::{check_listed_version, read_first_root};

/// A trusted role with the bytes that it came as.
#[derive(Clone, Debug)]
pub struct Document<T> {
    /// The role.
    pub role: T,
    /// The file as received; this is what is stored and hashed.
    pub bytes: Vec<u8>,
    /// What its parent listed when the bytes were compared with it, so that they are hashed once.
    compared: Option<MetaFile>,
}

/// What a file did to the trusted set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It is trusted now and has to be stored.
    Updated,
    /// What was trusted before is still what is trusted.
    Unchanged,
}

/// Which trusted roles a new root made void (5.3.11): those that no longer verify by its keys, and no others. Their
/// versions start again. A role that a key was only added to still verifies, so nothing older than it is taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RootChange {
    /// The timestamp.
    pub timestamp: bool,
    /// The snapshot.
    pub snapshot: bool,
    /// The top-level targets, and with them every delegated role.
    pub targets: bool,
}

/// The trusted metadata of one repository.
#[derive(Clone, Debug)]
pub struct TrustedMetadata {
    profile: Profile,
    limits: Limits,
    root: Document<Root>,
    timestamp: Option<Document<Timestamp>>,
    snapshot: Option<Document<Snapshot>>,
    /// The snapshot that the timestamp lists was signed by keys that no longer count, so its version is no floor.
    snapshot_void: bool,
    targets: Option<Document<Targets>>,
    delegated: BTreeMap<String, Delegated>,
}

#[derive(Clone, Debug)]
struct Delegated {
    document: Document<Targets>,
    /// Whom it was last verified for: another delegator may trust other keys.
    signers: Signers,
}

impl TrustedMetadata {
    /// Starts with the root that this device trusts (5.2). It may have expired; its own signatures must hold.
    pub fn new(root: Vec<u8>, profile: Profile, limits: Limits) -> Result<TrustedMetadata, Rejection> {
        let role = read_first_root(&root, profile, &limits).map_err(|reason| reason.of("root.json"))?;
        let root = Document { role, bytes: root, compared: None };
        Ok(TrustedMetadata {
            profile,
            limits,
            root,
            timestamp: None,
            snapshot: None,
            snapshot_void: false,
            targets: None,
            delegated: BTreeMap::new(),
        })
    }

    /// Takes the next root (5.3.4 to 5.3.7). Expiry does not matter yet (5.3.6).
    pub fn update_root(&mut self, bytes: Vec<u8>) -> Result<RootChange, Rejection> {
        let file = self.next_root_name();
        let role = self.read_next_root(&bytes).map_err(|reason| reason.of(file))?;
        let old = std::mem::replace(&mut self.root, Document { role, bytes, compared: None });
        Ok(self.drop_void(&old.role))
    }

    fn drop_void(&mut self, old: &Root) -> RootChange {
        let new = &self.root.role;
        let void = RootChange {
            timestamp: self.is_void(self.timestamp.as_ref(), &old.timestamp, &new.timestamp),
            snapshot: self.is_void(self.snapshot.as_ref(), &old.snapshot, &new.snapshot),
            targets: self.is_void(self.targets.as_ref(), &old.targets, &new.targets),
        };
        if void.timestamp {
            self.timestamp = None;
        }
        if void.snapshot {
            self.snapshot = None;
            self.snapshot_void = true;
        }
        if void.targets {
            self.targets = None;
            self.delegated.clear();
        }
        void
    }

    fn is_void<T>(&self, document: Option<&Document<T>>, old: &Signers, new: &Signers) -> bool {
        let void =
            |d: &Document<T>| !old.same_authority(new) && self.verify_for(&d.bytes, "role", new).is_err();
        document.is_some_and(void)
    }

    /// 5.3.10: the newest root must not have expired.
    pub fn finish_root(&self, now: Time) -> Result<(), Rejection> {
        self.root.role.header.check_expiry(now).map_err(|reason| reason.of("root.json"))
    }

    /// Takes a timestamp (5.4.2 to 5.4.4).
    pub fn update_timestamp(&mut self, bytes: Vec<u8>, now: Time) -> Result<Change, Rejection> {
        self.finish_root(now)?;
        let role = self.read_timestamp(&bytes, now).map_err(|reason| reason.of("timestamp.json"))?;
        let Some(role) = role else {
            return Ok(Change::Unchanged);
        };
        self.timestamp = Some(Document { role, bytes, compared: None });
        Ok(Change::Updated)
    }

    /// Takes a snapshot (5.5.2 to 5.5.6).
    pub fn update_snapshot(&mut self, bytes: Vec<u8>, now: Time) -> Result<(), Rejection> {
        let timestamp = self.check_timestamp(now)?;
        let listed = timestamp.snapshot.clone();
        let role = self.read_snapshot(&bytes, &listed, now).map_err(|reason| reason.of("snapshot.json"))?;
        self.snapshot = Some(Document { role, bytes, compared: Some(listed) });
        self.snapshot_void = false;
        Ok(())
    }

    /// Takes the top-level targets (5.6.2 to 5.6.5).
    pub fn update_targets(&mut self, bytes: Vec<u8>, now: Time) -> Result<(), Rejection> {
        self.check_snapshot(now)?;
        let read = self.read_targets("targets", &bytes, &self.root.role.targets, now);
        self.targets = Some(read.map_err(|reason| reason.of("targets.json"))?.with(bytes));
        Ok(())
    }

    /// Takes a delegated role for one delegator (5.6.7), by the same rules as the top-level one.
    pub fn update_delegated(
        &mut self,
        delegator: &str,
        name: &str,
        bytes: Vec<u8>,
        now: Time,
    ) -> Result<(), Rejection> {
        self.check_snapshot(now)?;
        let read = self.read_delegated(delegator, name, &bytes, now);
        let (read, signers) = read.map_err(|reason| reason.of(listed_name(name)))?;
        let document = read.with(bytes);
        self.delegated.insert(name.to_owned(), Delegated { document, signers });
        Ok(())
    }

    /// Takes back a stored timestamp: what new ones are compared with. It may have expired.
    pub fn restore_timestamp(&mut self, bytes: Vec<u8>) -> Result<(), Rejection> {
        let role =
            self.read_stored(&bytes, |root| &root.timestamp).map_err(|reason| reason.of("timestamp.json"))?;
        self.timestamp = Some(Document { role, bytes, compared: None });
        Ok(())
    }

    /// Takes back a stored snapshot: what new ones are compared with, also when it no longer is
    /// the one that the timestamp lists.
    pub fn restore_snapshot(&mut self, bytes: Vec<u8>) -> Result<(), Rejection> {
        let role = match self.read_stored(&bytes, |root| &root.snapshot) {
            Ok(role) => role,
            Err(reason) => {
                self.snapshot_void |= self.was_listed(&bytes, &reason);
                return Err(reason.of("snapshot.json"));
            }
        };
        let mut document = Document { role, bytes, compared: None };
        if let Some(timestamp) = &self.timestamp {
            let listed = &timestamp.role.snapshot;
            if self.is_listed(&document, "timestamp.json", listed) {
                document.compared = Some(listed.clone());
            }
        }
        self.snapshot = Some(document);
        Ok(())
    }

    /// Whether a stored snapshot is whole and the one that the timestamp lists, and only its keys no longer count. One
    /// that is damaged lowers nothing.
    fn was_listed(&self, bytes: &[u8], reason: &Reason) -> bool {
        let (Reason::Unsigned { .. }, Some(timestamp)) = (reason, &self.timestamp) else { return false };
        let Ok(envelope) = Envelope::open(bytes, self.profile, &self.limits) else { return false };
        let listed = &timestamp.role.snapshot;
        let version =
            Snapshot::parse(envelope.signed(), self.profile, &self.limits).map(|s| s.header.version);
        version.is_ok_and(|version| version == listed.version)
            && envelope.check_listed("timestamp.json", listed).is_ok()
    }

    /// The dialect.
    pub fn profile(&self) -> Profile {
        self.profile
    }

    /// The limits.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// The trusted root.
    pub fn root(&self) -> &Document<Root> {
        &self.root
    }

    /// The trusted timestamp.
    pub fn timestamp(&self) -> Option<&Document<Timestamp>> {
        self.timestamp.as_ref()
    }

    /// The trusted snapshot. It may be an older one than the timestamp lists, see [`Self::snapshot_is_current`].
    pub fn snapshot(&self) -> Option<&Document<Snapshot>> {
        self.snapshot.as_ref()
    }

    /// The trusted top-level targets, see [`Self::check`].
    pub fn top_targets(&self) -> Option<&Document<Targets>> {
        self.targets.as_ref()
    }

    /// All Targets of the top-level role, by name.
    pub fn targets(&self) -> impl Iterator<Item = (&str, &TargetInfo)> {
        let all = self.targets.iter().flat_map(|document| &document.role.targets);
        all.map(|(name, info)| (name.as_str(), info))
    }

    /// A targets role by name: `targets`, or a delegated one that was taken.
    pub fn targets_role(&self, name: &str) -> Option<&Document<Targets>> {
        match name {
            "targets" => self.targets.as_ref(),
            _ => self.delegated.get(name).map(|delegated| &delegated.document),
        }
    }

    /// Whether the trusted snapshot is the one that the timestamp lists, and has not expired.
    pub fn snapshot_is_current(&self, now: Time) -> bool {
        let document =
            self.snapshot.as_ref().filter(|document| document.role.header.check_expiry(now).is_ok());
        document.is_some_and(|document| {
            let listed = self.timestamp.as_ref().map(|timestamp| &timestamp.role.snapshot);
            listed.is_some_and(|listed| self.is_listed(document, "timestamp.json", listed))
        })
    }

    /// Whether the trusted targets are those that the snapshot lists, and have not expired.
    pub fn targets_are_current(&self, now: Time) -> bool {
        self.targets.as_ref().is_some_and(|document| {
            let fresh = document.role.header.check_expiry(now).is_ok();
            fresh
                && self
                    .listed("targets")
                    .is_ok_and(|listed| self.is_listed(document, "snapshot.json", listed))
        })
    }

    /// Whether a delegated role is there, is the one that the snapshot lists, has not expired and is
    /// verified for this delegator. Bytes that were taken for another delegator are verified again.
    pub fn delegated_is_current(&self, delegator: &str, name: &str, now: Time) -> bool {
        self.delegated.get(name).is_some_and(|delegated| {
            let same = self.delegation(delegator, name).is_ok_and(|by| {
                by.same_authority(&delegated.signers)
                    || self.verify_for(&delegated.document.bytes, name, by).is_ok()
            });
            let fresh = delegated.document.role.header.check_expiry(now).is_ok();
            same && fresh
                && self
                    .listed(name)
                    .is_ok_and(|listed| self.is_listed(&delegated.document, "snapshot.json", listed))
        })
    }

    /// Checks that the four roles belong together and none has expired: before every use, also without network.
    pub fn check(&self, now: Time) -> Result<(), Rejection> {
        self.check_snapshot(now)?;
        self.check_targets(now).map_err(|reason| reason.of("targets.json"))
    }

    /// Checks that there is a timestamp and that neither it nor the root has expired.
    pub fn check_timestamp(&self, now: Time) -> Result<&Timestamp, Rejection> {
        self.finish_root(now)?;
        let missing = || Reason::OutOfOrder { needed: "timestamp.json" }.of("snapshot.json");
        let timestamp = &self.timestamp.as_ref().ok_or_else(missing)?.role;
        timestamp.header.check_expiry(now).map_err(|reason| reason.of("timestamp.json"))?;
        Ok(timestamp)
    }

    /// The version of the next root.
    pub fn next_root_version(&self) -> u64 {
        // A version is at most 2^63-1.
        self.root.role.header.version + 1
    }

    fn next_root_name(&self) -> String {
        format!("{}.root.json", self.next_root_version())
    }

    fn verify_for(&self, bytes: &[u8], name: &str, signers: &Signers) -> Result<(), Reason> {
        Envelope::open(bytes, self.profile, &self.limits)?.verify(&format!("the role {name}"), signers)
    }

    /// Who signs for a delegated role, according to its delegator.
    fn delegation(&self, delegator: &str, name: &str) -> Result<&Signers, Reason> {
        let delegations = self.targets_role(delegator).map(|document| &document.role.delegations);
        let signers = delegations.and_then(|delegations| delegations.signers(name));
        signers.ok_or_else(|| Reason::NotDelegated { delegator: delegator.to_owned() })
    }

    /// What the snapshot lists for a targets role.
    pub(super) fn listed(&self, name: &str) -> Result<&MetaFile, Reason> {
        let snapshot = self.snapshot.as_ref().ok_or(Reason::OutOfOrder { needed: "snapshot.json" })?;
        snapshot.role.meta.get(&listed_name(name)).ok_or(Reason::NotListed { parent: "snapshot.json" })
    }

    fn check_snapshot(&self, now: Time) -> Result<(), Rejection> {
        let listed = &self.check_timestamp(now)?.snapshot;
        let missing = || Reason::OutOfOrder { needed: "snapshot.json" }.of("targets.json");
        let snapshot = self.snapshot.as_ref().ok_or_else(missing)?;
        let checked = self.check_document(snapshot, "timestamp.json", listed);
        checked
            .and_then(|()| snapshot.role.header.check_expiry(now))
            .map_err(|reason| reason.of("snapshot.json"))
    }

    fn check_targets(&self, now: Time) -> Result<(), Reason> {
        let targets = self.targets.as_ref().ok_or(Reason::OutOfOrder { needed: "targets.json" })?;
        self.check_document(targets, "snapshot.json", self.listed("targets")?)?;
        targets.role.header.check_expiry(now)
    }

    fn check_document<T: Role>(
        &self,
        document: &Document<T>,
        parent: &'static str,
        listed: &MetaFile,
    ) -> Result<(), Reason> {
        check_listed_version(parent, listed, document.role.header().version)?;
        if document.compared.as_ref() == Some(listed) {
            return Ok(());
        }
        Envelope::open(&document.bytes, self.profile, &self.limits)?.check_listed(parent, listed)
    }

    fn is_listed<T: Role>(&self, document: &Document<T>, parent: &'static str, listed: &MetaFile) -> bool {
        self.check_document(document, parent, listed).is_ok()
    }
}
