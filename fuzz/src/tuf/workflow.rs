//! A repository that its owner, a thief of some keys and a mirror operator all change, step by step.

use std::collections::BTreeMap;

use rust_ota::tuf::testing::{Key, NOW, Repo};
use rust_ota::tuf::{Limits, Profile, TrustedMetadata};
use serde_json::json;

use crate::Bytes;

/// What the client has seen, kept by a model that knows nothing of the code under test.
#[derive(Default)]
struct Seen {
    root: u64,
    timestamp: u64,
    listed_snapshot: u64,
    snapshot_void: bool,
    roles: BTreeMap<String, u64>,
}

const ROLES: [&str; 4] = ["root", "timestamp", "snapshot", "targets"];

/// Versions never fall but after a rotation, and nothing is taken without the keys of the root that is trusted.
pub fn workflow(data: &[u8]) {
    let mut bytes = Bytes(data);
    let profile = *bytes.pick(&[Profile::Tuf, Profile::Ats]);
    let mut repo = Repo::new(profile);
    repo.hashes = bytes.byte() & 1 == 0;
    repo.publish();
    let mut trusted = TrustedMetadata::new(repo.file("root"), profile, Limits::default()).unwrap();
    // Signers of each role as the trusted root has them.
    let mut authority = repo.signers.clone();
    let mut seen = Seen { root: 1, ..Seen::default() };
    for _ in 0..40 {
        if bytes.is_empty() {
            break;
        }
        change(&mut repo, &mut bytes);
        let role = *bytes.pick(&ROLES);
        let signers = signers(&repo, &authority, role, &mut bytes);
        offer(&repo, role, &signers, &mut trusted, &mut authority, &mut seen);
    }
}

/// One change of what will be served next.
fn change(repo: &mut Repo, bytes: &mut Bytes<'_>) {
    let role = *bytes.pick(&ROLES);
    match bytes.below(7) {
        0 => repo.bump(role),
        1 => repo.role(role)["version"] = json!(bytes.below(6)),
        2 => {
            repo.role(role)["expires"] =
                json!(bytes.pick(&["2030-01-01T00:00:00Z", "2025-01-01T00:00:00Z", "never"]))
        }
        3 => repo.publish(),
        4 => {
            let key = Key::new(10 + bytes.byte() % 8, repo.profile);
            repo.signers.insert(role.into(), vec![key]);
            repo.write_root();
        }
        5 => repo.role("root")["roles"][role]["threshold"] = json!(bytes.below(4)),
        _ => repo.update(&["targets"]),
    }
}

/// Who signs the file that is offered: the right ones, those of the old root, both, others or nobody.
fn signers(repo: &Repo, old: &BTreeMap<String, Vec<Key>>, role: &str, bytes: &mut Bytes<'_>) -> Vec<Key> {
    match bytes.below(5) {
        0 | 1 => unique([&repo.signers[role][..], &old[role][..]].concat()),
        2 => repo.signers[role].clone(),
        3 => vec![Key::new(200, repo.profile)],
        _ => unique(
            ROLES
                .iter()
                .filter(|other| **other != role)
                .flat_map(|other| repo.signers[*other].clone())
                .collect(),
        ),
    }
}

fn unique(keys: Vec<Key>) -> Vec<Key> {
    keys.into_iter().map(|key| (key.id.clone(), key)).collect::<BTreeMap<_, _>>().into_values().collect()
}

fn offer(
    repo: &Repo,
    role: &str,
    signers: &[Key],
    trusted: &mut TrustedMetadata,
    authority: &mut BTreeMap<String, Vec<Key>>,
    seen: &mut Seen,
) {
    let file = repo.file_by(role, signers);
    let signed_by = |keys: &[Key]| keys.iter().any(|key| signers.iter().any(|signer| signer.id == key.id));
    let version = repo.roles[role]["version"].as_u64().unwrap();
    match role {
        "root" => {
            let Ok(change) = trusted.update_root(file) else { return };
            assert!(signed_by(&authority["root"]) && signed_by(&repo.signers["root"]));
            assert_eq!(version, seen.root + 1);
            if change.timestamp {
                (seen.timestamp, seen.listed_snapshot) = (0, 0);
            }
            if change.snapshot {
                seen.snapshot_void = true;
                seen.roles.clear();
            }
            seen.root = version;
            *authority = repo.signers.clone();
        }
        "timestamp" => {
            if trusted.update_timestamp(file, NOW) == Ok(rust_ota::tuf::Change::Updated) {
                assert!(signed_by(&authority[role]));
                let listed = repo.roles[role]["meta"]["snapshot.json"]["version"].as_u64().unwrap();
                assert!(version >= seen.timestamp && (seen.snapshot_void || listed >= seen.listed_snapshot));
                (seen.timestamp, seen.listed_snapshot) = (version, listed);
            }
        }
        "snapshot" => {
            if trusted.update_snapshot(file, NOW).is_ok() {
                assert!(signed_by(&authority[role]));
                assert_eq!(version, seen.listed_snapshot);
                seen.snapshot_void = false;
                for (name, old) in &seen.roles {
                    assert!(repo.roles[role]["meta"][name]["version"].as_u64().unwrap() >= *old);
                }
                let meta = repo.roles[role]["meta"].as_object().unwrap();
                seen.roles = meta
                    .iter()
                    .map(|(name, file)| (name.clone(), file["version"].as_u64().unwrap()))
                    .collect();
            }
        }
        _ => {
            if trusted.update_targets(file, NOW).is_ok() {
                assert!(signed_by(&authority[role]));
                assert_eq!(version, seen.roles["targets.json"]);
            }
        }
    }
}
