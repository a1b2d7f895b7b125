//! 5.6.7 and 4.5: who may speak about a Target, in which order, and for how long the search goes on.

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::assert_reason;
use crate::tuf::testing::{BEFORE, Key, NOW, Repo};
use crate::tuf::{Limits, Profile, Reason, Rejection, Search, Step, Time, TrustedMetadata, to_hex};

/// What a search did.
#[derive(Debug, PartialEq)]
pub(super) struct Outcome {
    pub(super) visited: Vec<String>,
    /// The role that spoke.
    pub(super) found: Option<String>,
}

/// Searches, giving each role that is asked for from the repository.
pub(super) fn search(repo: &Repo, trusted: &mut TrustedMetadata, target: &str) -> Result<Outcome, Rejection> {
    let mut search = Search::new(target, NOW);
    let mut visited = Vec::new();
    loop {
        let (role, delegator) = match search.step(trusted)? {
            Step::Found { role, .. } => return Ok(Outcome { visited, found: Some(role) }),
            Step::NotFound => return Ok(Outcome { visited, found: None }),
            Step::Need { role, delegator } => (role, delegator),
        };
        trusted.update_delegated(&delegator, &role, repo.file(&role), NOW)?;
        visited.push(role);
    }
}

/// A repository with these delegations, all of everything: (delegator, role, terminating).
fn graph(profile: Profile, edges: &[(&str, &str, bool)]) -> Repo {
    let mut repo = Repo::new(profile);
    for (delegator, name, terminating) in edges {
        repo.delegate(delegator, name, &["*"], *terminating);
    }
    repo.update(&["targets"]);
    repo
}

#[test]
fn visits_in_preorder_each_role_once() {
    type Edges<'e> = &'e [(&'e str, &'e str, bool)];
    let table: &[(Edges, &str)] = &[
        (&[("targets", "A", false)], "A"),
        (&[("targets", "A", false), ("targets", "B", false)], "A B"),
        (
            &[("targets", "A", false), ("targets", "B", false), ("A", "C", false), ("A", "D", false)],
            "A C D B",
        ),
        (
            &[("targets", "A", false), ("targets", "B", false), ("A", "C", false), ("C", "D", false)],
            "A C D B",
        ),
        // Terminating: nobody else, but its own descendants.
        (&[("targets", "A", true), ("targets", "B", false)], "A"),
        (&[("targets", "A", false), ("targets", "B", false), ("A", "C", true), ("A", "D", false)], "A C"),
        (&[("targets", "A", false), ("targets", "B", false), ("A", "C", true), ("C", "D", false)], "A C D"),
        // Cycles, and a role that two delegate to.
        (
            &[
                ("targets", "A", false),
                ("targets", "B", false),
                ("B", "C", false),
                ("C", "D", false),
                ("D", "B", false),
            ],
            "A B C D",
        ),
        (&[("targets", "A", false), ("targets", "B", false), ("B", "C", false), ("A", "C", false)], "A C B"),
        (&[("targets", "A", false), ("A", "A", false)], "A"),
    ];
    for (edges, order) in table {
        for profile in [Profile::Tuf, Profile::Ats] {
            let repo = graph(profile, edges);
            let outcome = search(&repo, &mut repo.trust(), "missing").unwrap();
            assert_eq!(outcome.visited.join(" "), *order);
            assert_eq!(outcome.found, None);
        }
    }
}

#[test]
fn the_first_role_in_order_speaks() {
    let mut repo =
        graph(Profile::Tuf, &[("targets", "A", false), ("targets", "B", false), ("A", "C", false)]);
    for role in ["B", "C"] {
        repo.add_target(role, "x", role.as_bytes());
    }
    repo.add_target("B", "file", b"not the one");
    repo.update(&["B", "C"]);
    let mut trusted = repo.trust();
    let outcome = search(&repo, &mut trusted, "x").unwrap();
    assert_eq!(outcome, Outcome { visited: vec!["A".into(), "C".into()], found: Some("C".into()) });
    // What is there is not asked for again.
    assert_eq!(search(&repo, &mut trusted, "x").unwrap().visited, Vec::<String>::new());
    assert_eq!(search(&repo, &mut trusted, "file").unwrap().found, Some("targets".into()));
}

#[test]
fn every_role_of_the_chain_must_match_the_path() {
    let mut repo = Repo::new(Profile::Tuf);
    repo.delegate("targets", "A", &["releases/*/*"], false);
    repo.delegate("A", "B", &["*/y/*.zip", "*"], false);
    for name in ["releases/y/1.zip", "releases/z/1.zip", "other/y/1.zip", "releases/1.zip"] {
        repo.add_target("B", name, b"");
    }
    repo.update(&["targets", "A", "B"]);
    for (target, found, visited) in [
        ("releases/y/1.zip", true, 2),
        ("releases/z/1.zip", false, 1),
        ("other/y/1.zip", false, 0),
        ("releases/1.zip", false, 0),
    ] {
        let outcome = search(&repo, &mut repo.trust(), target).unwrap();
        assert_eq!((outcome.found.is_some(), outcome.visited.len()), (found, visited), "{target}");
    }
}

#[test]
fn the_ats_dialect_matches_across_slashes() {
    for (profile, found) in [(Profile::Tuf, false), (Profile::Ats, true)] {
        let mut repo = Repo::new(profile);
        repo.delegate("targets", "A", &["releases/*"], false);
        repo.add_target("A", "releases/x/1", b"");
        repo.update(&["targets", "A"]);
        assert_eq!(search(&repo, &mut repo.trust(), "releases/x/1").unwrap().found.is_some(), found);
    }
}

#[test]
fn hash_prefixes_delegate_by_the_hash_of_the_name() {
    let mut repo = graph(Profile::Tuf, &[("targets", "A", false), ("targets", "B", false)]);
    let hash = to_hex(&Sha256::digest("x"));
    let other = if hash.starts_with('0') { "1" } else { "0" };
    for (index, prefix) in [(0, other), (1, &hash[..3])] {
        let role = &mut repo.role("targets")["delegations"]["roles"][index];
        role.as_object_mut().unwrap().remove("paths");
        role["path_hash_prefixes"] = json!([prefix]);
    }
    repo.add_target("B", "x", b"");
    repo.update(&["targets", "B"]);
    let outcome = search(&repo, &mut repo.trust(), "x").unwrap();
    assert_eq!(outcome, Outcome { visited: vec!["B".into()], found: Some("B".into()) });
}

#[test]
fn hash_bins_share_the_targets() {
    for (bits, target) in [(1, "x"), (3, "x"), (8, "y"), (10, "z")] {
        let mut repo = Repo::new(Profile::Tuf);
        let key = Key::new(77, Profile::Tuf);
        let hash = Sha256::digest(target);
        let bin = (u32::from(hash[0]) << 8 | u32::from(hash[1])) >> (16 - bits);
        let digits = [0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3][bits as usize];
        let name = format!("bin-{bin:0digits$x}");
        repo.delegate("targets", &name, &["*"], false);
        repo.signers.insert(name.clone(), vec![key.clone()]);
        repo.role("targets")["delegations"] = json!({
            "keys": {&key.id: key.object}, "roles": [],
            "succinct_roles": {"keyids": [key.id], "threshold": 1, "bit_length": bits, "name_prefix": "bin"},
        });
        repo.add_target(&name, target, b"");
        repo.update(&["targets", &name]);
        let mut trusted = repo.trust();
        assert_eq!(search(&repo, &mut trusted, target).unwrap().found, Some(name.clone()));
        let delegations = &trusted.top_targets().unwrap().role.delegations;
        assert!(delegations.signers(&name).is_some());
        for foreign in ["bin-+1", "bin-00000", "bin-00001", "bin-g", "bin", "bon-1"] {
            assert!(delegations.signers(foreign).is_none(), "{foreign}");
        }
        for foreign in ["bin", "bin-", &format!("{name}0"), "bin-g", &format!("bin-{:x}", 1u64 << bits)] {
            let result = trusted.update_delegated("targets", foreign, repo.file(&name), NOW);
            assert!(result.is_err(), "{foreign}");
        }
    }
}

/// Spoils the delegation of one role.
fn spoiled(spoil: impl Fn(&mut Value)) -> Result<(), Rejection> {
    let mut repo = graph(Profile::Tuf, &[("targets", "A", false), ("targets", "B", false)]);
    spoil(&mut repo.role("targets")["delegations"]);
    repo.update(&["targets"]);
    repo.refresh(&mut repo.trust_root())
}

#[test]
fn malformed_delegations_are_refused() {
    assert!(spoiled(|_| ()).is_ok());
    assert_reason!(
        spoiled(|d| d["roles"][0]["path_hash_prefixes"] = json!([])),
        Reason::DelegationKind { .. }
    );
    assert_reason!(spoiled(|d| d["roles"][0]["name"] = json!("B")), Reason::DuplicateRole { .. });
    for name in ["", "root", "timestamp", "snapshot", "targets"] {
        assert_reason!(spoiled(|d| d["roles"][0]["name"] = json!(name)), Reason::RoleName { .. });
    }
    assert_reason!(spoiled(|d| d["roles"][0]["threshold"] = json!(0)), Reason::ThresholdRange { .. });
    for field in ["keys", "roles"] {
        assert_reason!(spoiled(|d| d[field] = json!(7)), Reason::Shape { .. });
    }
    let bins = json!({"keyids": [], "threshold": 1, "bit_length": 8, "name_prefix": "b"});
    assert_reason!(spoiled(|d| d["succinct_roles"] = bins.clone()), Reason::DelegationKind { .. });
    for bits in [0, 33] {
        assert_reason!(
            spoiled(|d| {
                d["roles"] = json!([]);
                d["succinct_roles"] = bins.clone();
                d["succinct_roles"]["bit_length"] = json!(bits);
            }),
            Reason::Shape { .. }
        );
    }
}

#[test]
fn a_delegation_without_paths_is_trusted_for_nothing() {
    let mut repo = graph(Profile::Tuf, &[("targets", "A", false)]);
    repo.role("targets")["delegations"]["roles"][0].as_object_mut().unwrap().remove("paths");
    repo.update(&["targets"]);
    assert_eq!(search(&repo, &mut repo.trust(), "x").unwrap().visited, Vec::<String>::new());
}

#[test]
fn delegated_roles_obey_the_rules_of_targets() {
    let honest = |hashes| {
        let mut repo = Repo::new(Profile::Tuf);
        repo.hashes = hashes;
        repo.delegate("targets", "A", &["*"], false);
        repo.update(&["targets", "A"]);
        repo
    };
    let offer = |repo: &Repo, bytes| repo.trust().update_delegated("targets", "A", bytes, NOW);
    let repo = honest(true);
    assert!(offer(&repo, repo.file("A")).is_ok());
    let stranger = repo.file_by("A", &[Key::new(98, Profile::Tuf)]);
    assert_eq!(stranger.len(), repo.file("A").len());
    assert_reason!(offer(&repo, stranger), Reason::HashMismatch { .. });
    let mut other = repo.clone();
    other.role("A")["x"] = json!(1);
    assert_reason!(offer(&repo, other.file("A")), Reason::LengthMismatch { .. });
    let repo = honest(false);
    let stranger = repo.file_by("A", &[Key::new(98, Profile::Tuf)]);
    assert_reason!(offer(&repo, stranger), Reason::Unsigned { .. });
    assert_reason!(offer(&repo, repo.file_by("A", &repo.signers["targets"])), Reason::Unsigned { .. });
    for version in [1, 3] {
        let mut other = repo.clone();
        other.role("A")["version"] = json!(version);
        assert_reason!(offer(&repo, other.file("A")), Reason::VersionMismatch { expected: 2, .. });
    }
    let mut other = repo.clone();
    other.role("A")["expires"] = json!(BEFORE);
    assert_reason!(offer(&repo, other.file("A")), Reason::Expired { .. });
    let mut other = repo.clone();
    other.role("A")["_type"] = json!("snapshot");
    assert_reason!(offer(&repo, other.file("A")), Reason::WrongType { .. });
}

#[test]
fn a_delegated_threshold_counts_keys() {
    let mut repo = graph(Profile::Tuf, &[("targets", "A", false)]);
    repo.hashes = false;
    let mut twin = repo.signers["A"][0].clone();
    twin.object["x"] = json!(1);
    twin.id = crate::tuf::testing::key_id(&twin.object);
    let delegations = &mut repo.role("targets")["delegations"];
    delegations["keys"][&twin.id] = twin.object.clone();
    delegations["roles"][0]["keyids"].as_array_mut().unwrap().push(json!(twin.id));
    delegations["roles"][0]["threshold"] = json!(2);
    repo.signers.get_mut("A").unwrap().push(twin);
    repo.update(&["targets"]);
    assert_reason!(search(&repo, &mut repo.trust(), "x"), Reason::Unsigned { threshold: 2, valid: 1, .. });
}

#[test]
fn a_role_that_the_snapshot_does_not_list_is_not_used() {
    let repo = graph(Profile::Tuf, &[("targets", "A", false)]);
    let mut without = repo.clone();
    without.roles.remove("A");
    without.publish();
    let mut trusted = without.trust();
    assert_reason!(trusted.update_delegated("targets", "A", repo.file("A"), NOW), Reason::NotListed { .. });
    assert_reason!(trusted.delegated_request("A"), Reason::NotListed { .. });
}

#[test]
fn a_delegated_role_needs_a_current_snapshot() {
    let mut repo = graph(Profile::Tuf, &[("targets", "A", false)]);
    let mut trusted = repo.trust();
    let old = repo.file("A");
    repo.update(&["A"]);
    trusted.update_timestamp(repo.file("timestamp"), NOW).unwrap();
    for bytes in [old, repo.file("A")] {
        let rejection = trusted.update_delegated("targets", "A", bytes, NOW).unwrap_err();
        assert_eq!(rejection.file, "snapshot.json");
    }
}

#[test]
fn a_role_is_verified_for_each_delegator() {
    let mut repo = Repo::new(Profile::Tuf);
    repo.delegate("targets", "A", &["a/*"], false);
    repo.delegate("targets", "B", &["b/*"], false);
    let by_a = repo.delegate("A", "release", &["a/*"], false);
    repo.delegate("B", "release", &["b/*"], false);
    repo.add_target("release", "a/x", b"");
    repo.add_target("release", "b/x", b"");
    // A's key signs, B's does not.
    repo.signers.insert("release".into(), vec![by_a]);
    repo.update(&["targets", "A", "B", "release"]);
    let mut trusted = repo.trust();
    assert!(search(&repo, &mut trusted, "a/x").unwrap().found.is_some());
    assert_reason!(search(&repo, &mut trusted, "b/x"), Reason::Unsigned { .. });
    assert!(search(&repo, &mut trusted, "a/x").unwrap().found.is_some());
    assert_reason!(
        trusted.update_delegated("targets", "release", repo.file("release"), NOW),
        Reason::NotDelegated { .. }
    );
}

#[test]
fn a_delegated_role_of_an_older_snapshot_is_fetched_again() {
    let mut repo = graph(Profile::Tuf, &[("targets", "A", false)]);
    let mut trusted = repo.trust();
    search(&repo, &mut trusted, "x").unwrap();
    repo.update(&["A"]);
    repo.refresh(&mut trusted).unwrap();
    assert_eq!(search(&repo, &mut trusted, "x").unwrap().visited, ["A"]);
}

#[test]
fn a_delegated_role_that_expires_while_it_is_kept_is_not_used() {
    let mut repo = graph(Profile::Tuf, &[("targets", "A", false)]);
    repo.role("A")["expires"] = json!("2027-01-01T00:00:00Z");
    repo.add_target("A", "x", b"");
    repo.update(&["A"]);
    let mut trusted = repo.trust();
    assert!(search(&repo, &mut trusted, "x").unwrap().found.is_some());
    let later = Time::parse("2027-01-01T00:00:00Z").unwrap();
    assert!(matches!(Search::new("x", later).step(&trusted), Ok(Step::Need { .. })));
    assert_reason!(trusted.update_delegated("targets", "A", repo.file("A"), later), Reason::Expired { .. });
}

#[test]
fn depth_and_number_of_roles_are_limited() {
    let names: Vec<String> = (0..40).map(|number| format!("r{number}")).collect();
    let mut chain = vec![("targets", names[0].as_str(), false)];
    chain.extend(names.windows(2).take(8).map(|pair| (pair[0].as_str(), pair[1].as_str(), false)));
    let depth = |count: usize| {
        let repo = graph(Profile::Tuf, &chain[..count]);
        search(&repo, &mut repo.trust(), "x")
    };
    assert_eq!(depth(8).unwrap().visited.len(), 8);
    assert_reason!(depth(9), Reason::DelegationDepth { limit: 8 });
    let star: Vec<_> = names.iter().map(|name| ("targets", name.as_str(), false)).collect();
    let width = |count: usize| {
        let repo = graph(Profile::Tuf, &star[..count]);
        search(&repo, &mut repo.trust(), "x")
    };
    assert_eq!(width(32).unwrap().visited.len(), 32);
    assert_reason!(width(33), Reason::DelegationCount { limit: 32 });
    let limits = Limits::default();
    assert_eq!((limits.depth, limits.visited_roles), (8, 32));
}

#[test]
fn a_search_needs_fresh_roles() {
    let repo = graph(Profile::Tuf, &[("targets", "A", false)]);
    let mut trusted = repo.trust_root();
    assert_reason!(search(&repo, &mut trusted, "file"), Reason::OutOfOrder { .. });
}
