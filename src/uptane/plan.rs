//! What a verified assignment means for an ECU. Pure.

use std::collections::BTreeMap;

use super::assignment::Ecu;
use super::cross_check::Verified;
use crate::decide::SignedDelta;
use crate::store::{Assigned, DirectorState, TargetRecord};
use crate::tuf::TargetInfo;

/// What the Primary is and waits for.
#[derive(Debug, Clone, Copy)]
pub struct Primary<'a> {
    /// Its serial.
    pub serial: &'a str,
    /// The commit that runs.
    pub booted: Option<&'a str>,
    /// The Target that runs, where anybody knows.
    pub current: Option<&'a TargetRecord>,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DirectorPlan {
    /// Nothing is assigned, or what is assigned runs.
    Stay,
    /// What is assigned failed here, and it was not assigned again since.
    Failed(Assigned),
    /// It is no OSTree commit, and the Primary can install nothing else.
    NotOstree(Box<Assigned>),
    /// Be this Target.
    Update {
        /// What is assigned.
        assigned: Box<Assigned>,
        /// Where its objects are, if not on the device's OSTree server.
        uri: Option<String>,
        /// The static deltas to it, by the commit that each starts from.
        deltas: BTreeMap<String, SignedDelta>,
    },
}

/// Decides.
pub fn plan(
    targets: &[Verified<'_>],
    assignment: (Option<&str>, u64),
    state: &DirectorState,
    primary: Primary<'_>,
) -> DirectorPlan {
    let own = |verified: &&Verified<'_>| verified.ecus.iter().any(|ecu| ecu.serial == primary.serial);
    let Some(verified) = targets.iter().find(own) else { return DirectorPlan::Stay };
    let commit = verified.info.hashes.sha256_hex().unwrap_or_default();
    let runs = primary.booted == Some(commit.as_str());
    if runs && verified.is_ostree && primary.current.is_none_or(|current| current.name == verified.target) {
        return DirectorPlan::Stay;
    }
    let assigned = assigned(verified, commit, assignment);
    // A commit that runs under another name has not failed, whatever was before.
    if !runs && state.has_failed(&assigned.target.commit, &assigned.assignment) {
        return DirectorPlan::Failed(assigned);
    }
    if !verified.is_ostree || verified.info.length != 0 {
        return DirectorPlan::NotOstree(Box::new(assigned));
    }
    DirectorPlan::Update {
        assigned: Box::new(assigned),
        uri: verified.uri.clone(),
        deltas: verified.deltas.clone(),
    }
}

/// What is to be done with an ECU that is a file.
#[derive(Debug, Clone)]
pub enum FilePlan {
    /// Nothing is assigned to it, or it has what is assigned.
    Stay,
    /// What is assigned failed here, and it was not assigned again since.
    Failed(Assigned),
    /// It is an OSTree commit, and not a file.
    NotAFile(Box<Assigned>),
    /// Be this file.
    Update(Box<FileUpdate>),
}

/// A file that is assigned to an ECU.
#[derive(Debug, Clone)]
pub struct FileUpdate {
    /// What is assigned; the commit of the Target is the SHA-256 of the file.
    pub assigned: Assigned,
    /// Its length and hashes.
    pub info: TargetInfo,
    /// Where it is, if not in the Image repository.
    pub uri: Option<String>,
}

/// Decides for an ECU that is a file.
pub fn plan_file(
    targets: &[Verified<'_>],
    assignment: (Option<&str>, u64),
    state: &DirectorState,
    ecu: &Ecu,
) -> FilePlan {
    let own = |verified: &&Verified<'_>| verified.ecus.iter().any(|e| e.serial == ecu.serial);
    let Some(verified) = targets.iter().find(own) else { return FilePlan::Stay };
    let has = |i: &super::Installed| {
        i.name == verified.target
            && i.length == verified.info.length
            && i.hashes.sha256 == verified.info.hashes.sha256
    };
    if !verified.is_ostree && ecu.installed.as_ref().is_some_and(has) {
        return FilePlan::Stay;
    }
    let sha256 = verified.info.hashes.sha256_hex().unwrap_or_default();
    let mut assigned = assigned(verified, sha256, assignment);
    // What failed on one ECU may well be right for the next one.
    assigned.assignment = format!("{} for {}", assigned.assignment, ecu.serial);
    if state.has_failed(&assigned.target.commit, &assigned.assignment) {
        return FilePlan::Failed(assigned);
    }
    if verified.is_ostree {
        return FilePlan::NotAFile(Box::new(assigned));
    }
    let (info, uri) = (verified.info.clone(), verified.uri.clone());
    FilePlan::Update(Box::new(FileUpdate { assigned, info, uri }))
}

/// Directors give each assignment an id of its own. One that gives none signs a new version for it.
fn assigned(
    verified: &Verified<'_>,
    commit: String,
    (correlation, version): (Option<&str>, u64),
) -> Assigned {
    Assigned {
        target: TargetRecord {
            name: verified.target.clone(),
            version: verified.version,
            commit,
            apps: Default::default(),
        },
        assignment: correlation.map_or_else(|| format!("version {version}"), str::to_owned),
        correlation_id: correlation.map(str::to_owned),
        release_counter: verified.release_counter,
        failures: 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tuf::{Hashes, TargetInfo};
    use crate::uptane::Ecu;

    const COMMIT: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

    fn decide(ostree: bool, booted: &str, current: Option<&str>, failed: Option<&str>) -> DirectorPlan {
        let ecu = Ecu { serial: "S".into(), ..Ecu::default() };
        let info = TargetInfo {
            length: 0,
            hashes: Hashes { sha256: Some([0xAA; 32]), sha512: None, other: vec![] },
            custom: None,
        };
        let verified = Verified {
            target: "board-2".into(),
            version: 2,
            ecus: vec![&ecu],
            info,
            uri: None,
            deltas: Default::default(),
            is_ostree: ostree,
            release_counter: 0,
        };
        let record = |name: &str| TargetRecord {
            name: name.into(),
            version: 1,
            commit: COMMIT.into(),
            apps: Default::default(),
        };
        let mut state = DirectorState::default();
        if let Some(assignment) = failed {
            state.fail(Assigned {
                target: record("board-2"),
                assignment: assignment.into(),
                correlation_id: None,
                release_counter: 0,
                failures: 0,
            });
        }
        let current = current.map(record);
        let primary = Primary { serial: "S", booted: Some(booted), current: current.as_ref() };
        plan(&[verified], (Some("c-1"), 5), &state, primary)
    }

    #[test]
    fn what_an_assignment_means() {
        let updates = |plan| matches!(plan, DirectorPlan::Update { .. });
        assert!(updates(decide(true, "other", None, None)));
        assert!(updates(decide(true, "other", None, Some("c-0"))), "assigned again since it failed");
        assert!(matches!(decide(true, "other", None, Some("c-1")), DirectorPlan::Failed(_)));
        assert_eq!(decide(true, COMMIT, None, None), DirectorPlan::Stay);
        assert_eq!(decide(true, COMMIT, Some("board-2"), None), DirectorPlan::Stay);
        assert!(updates(decide(true, COMMIT, Some("board-1"), None)), "the same content by another name");
        assert!(matches!(decide(false, "other", None, None), DirectorPlan::NotOstree(_)));
        assert!(matches!(decide(false, "other", None, Some("c-1")), DirectorPlan::Failed(_)), "told once");
        let primary = Primary { serial: "S", booted: None, current: None };
        assert_eq!(plan(&[], (None, 1), &DirectorState::default(), primary), DirectorPlan::Stay);
    }

    #[test]
    fn an_assignment_is_for_its_ecu_and_a_commit_has_no_length() {
        let ecu = Ecu { serial: "S".into(), ..Ecu::default() };
        let hashes = Hashes { sha256: Some([0xAA; 32]), ..Hashes::default() };
        let mut verified = Verified {
            target: "board-2".into(),
            version: 2,
            ecus: vec![&ecu],
            info: TargetInfo { length: 7, hashes, custom: None },
            uri: None,
            deltas: Default::default(),
            is_ostree: true,
            release_counter: 0,
        };
        let decide = |verified: &Verified<'_>, serial| {
            let primary = Primary { serial, booted: Some("other"), current: None };
            plan(std::slice::from_ref(verified), (None, 1), &DirectorState::default(), primary)
        };
        assert!(matches!(decide(&verified, "S"), DirectorPlan::NotOstree(_)));
        verified.info.length = 0;
        assert!(matches!(decide(&verified, "S"), DirectorPlan::Update { .. }));
        assert_eq!(decide(&verified, "T"), DirectorPlan::Stay);
    }

    #[test]
    fn what_an_assignment_means_for_a_file() {
        let hashes = Hashes { sha256: Some([0xAA; 32]), sha512: None, other: vec![] };
        let decide = |ostree: bool, installed: Option<(&str, u64, u8)>, failed: Option<&str>| {
            let installed = installed.map(|(name, length, byte)| crate::uptane::Installed {
                name: name.into(),
                length,
                hashes: Hashes { sha256: Some([byte; 32]), sha512: None, other: vec![] },
            });
            let ecu = Ecu { serial: "F".into(), installed, ..Ecu::default() };
            let other = Ecu { serial: "G".into(), ..Ecu::default() };
            let verified = Verified {
                target: "sensor-2".into(),
                version: 2,
                ecus: vec![&ecu],
                info: TargetInfo { length: 7, hashes: hashes.clone(), custom: None },
                uri: None,
                deltas: Default::default(),
                is_ostree: ostree,
                release_counter: 0,
            };
            let mut state = DirectorState::default();
            if let Some(assignment) = failed {
                state.fail(Assigned {
                    assignment: assignment.into(),
                    ..assigned(&verified, COMMIT.into(), (None, 1))
                });
            }
            assert!(matches!(
                plan_file(std::slice::from_ref(&verified), (Some("c-1"), 5), &state, &other),
                FilePlan::Stay
            ));
            plan_file(&[verified], (Some("c-1"), 5), &state, &ecu)
        };
        let updates = |plan| matches!(plan, FilePlan::Update(_));
        assert!(updates(decide(false, None, None)));
        assert!(matches!(decide(false, Some(("sensor-2", 7, 0xAA)), None), FilePlan::Stay));
        assert!(updates(decide(false, Some(("sensor-1", 7, 0xAA)), None)), "another name");
        assert!(updates(decide(false, Some(("sensor-2", 7, 0xAB)), None)), "other content");
        assert!(updates(decide(false, Some(("sensor-2", 8, 0xAA)), None)), "another length");
        assert!(matches!(decide(false, None, Some("c-1 for F")), FilePlan::Failed(_)));
        assert!(updates(decide(false, None, Some("c-0 for F"))), "assigned again");
        assert!(updates(decide(false, None, Some("c-1 for G"))), "failed on another ECU");
        assert!(matches!(decide(true, None, None), FilePlan::NotAFile(_)));
        assert!(matches!(decide(true, None, Some("c-1 for F")), FilePlan::Failed(_)), "told once");
    }
}
