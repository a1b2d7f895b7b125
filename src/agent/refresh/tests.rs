//! The order of requests and writes, and what is left when any of them fails.

use std::collections::BTreeMap;

use serde_json::json;

use super::*;
use crate::tuf::testing::{BEFORE, Key, NOW, Repo};
use crate::tuf::{Reason, quote};

/// What a server has, what it was asked, and which request it fails.
#[derive(Default)]
struct Server {
    files: BTreeMap<String, Vec<u8>>,
    log: Vec<String>,
    broken: Option<&'static str>,
    not_modified: bool,
    /// Says "unchanged" to everything.
    lazy: bool,
}

impl Fetch for Server {
    fn fetch(&mut self, request: &Request) -> Result<Fetched, FetchError> {
        self.log.push(request.path.clone());
        if self.broken.is_some_and(|broken| request.path.ends_with(broken)) {
            return Err("503".into());
        }
        if self.lazy || self.not_modified && request.path == "timestamp.json" {
            return Ok(Fetched::NotModified);
        }
        let Some(bytes) = self.files.get(&request.path) else {
            return Ok(Fetched::Absent);
        };
        if bytes.len() as u64 > request.limit {
            return Err("too large".into());
        }
        Ok(Fetched::Body(bytes.clone()))
    }
}

/// A disk that loses power at its nth change.
#[derive(Clone, Default)]
struct Disk {
    files: BTreeMap<String, Vec<u8>>,
    log: Vec<String>,
    changes_left: Option<usize>,
}

impl Disk {
    fn change(&mut self, what: String) -> Result<(), StoreError> {
        if self.changes_left == Some(0) {
            let source = std::io::Error::other("power cut");
            return Err(StoreError::Io { operation: "write", path: what.into(), source });
        }
        self.changes_left = self.changes_left.map(|left| left - 1);
        self.log.push(what);
        Ok(())
    }
}

impl Persist for Disk {
    fn read(&mut self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.files.get(name).cloned())
    }
    fn write(&mut self, name: &str, bytes: &[u8]) -> Result<(), StoreError> {
        self.change(format!("+{name}"))?;
        self.files.insert(name.to_owned(), bytes.to_vec());
        Ok(())
    }
    fn remove(&mut self, name: &str) -> Result<(), StoreError> {
        self.change(format!("-{name}"))?;
        self.files.remove(name);
        Ok(())
    }
    fn set_aside(&mut self, name: &str, _: &str) -> Result<(), StoreError> {
        self.change(format!("!{name}"))?;
        self.files.remove(name);
        Ok(())
    }
}

/// A device and the repository that it follows.
struct World {
    repo: Repo,
    server: Server,
    disk: Disk,
}

impl World {
    fn new(profile: Profile) -> World {
        let repo = Repo::new(profile);
        let mut world = World { server: Server::default(), disk: Disk::default(), repo };
        init(&mut world.disk, world.repo.file("root"), profile, Limits::default()).unwrap();
        world.serve();
        world.disk.log.clear();
        world
    }

    fn serve(&mut self) {
        self.repo.serve(&mut self.server.files);
    }

    /// One run of a new process.
    fn run(&mut self) -> Result<Changes, RefreshError> {
        self.server.log.clear();
        self.disk.log.clear();
        let mut trusted = load(&mut self.disk, self.repo.profile, Limits::default())?;
        Refresh::new(&mut trusted, &mut self.server, &mut self.disk, NOW).refresh()
    }

    fn find(&mut self, target: &str) -> Result<Option<(String, TargetInfo)>, RefreshError> {
        let mut trusted = load(&mut self.disk, self.repo.profile, Limits::default())?;
        let mut refresh = Refresh::new(&mut trusted, &mut self.server, &mut self.disk, NOW);
        refresh.refresh()?;
        refresh.find_target(target)
    }

    fn requests(&self) -> String {
        self.server.log.join(" ")
    }

    fn writes(&self) -> String {
        self.disk.log.join(" ")
    }

    fn stored_version(&self, role: &str) -> Option<u64> {
        let bytes = self.disk.files.get(&format!("{}.json", quote(role)))?;
        let document: serde_json::Value = serde_json::from_slice(bytes).unwrap();
        document["signed"]["version"].as_u64()
    }
}

const PROFILES: [Profile; 2] = [Profile::Tuf, Profile::Ats];

#[test]
fn first_run_then_only_what_changed() {
    let mut world = World::new(Profile::Tuf);
    let changes = world.run().unwrap();
    assert_eq!(changes, Changes { roots: 0, timestamp: true, snapshot: true, targets: true });
    assert_eq!(world.requests(), "2.root.json timestamp.json 1.snapshot.json 1.targets.json");
    assert_eq!(world.writes(), "+timestamp.json +snapshot.json +targets.json");
    // Nothing new: two requests, no byte written.
    assert_eq!(world.run().unwrap(), Changes::default());
    assert_eq!((world.requests().as_str(), world.writes().as_str()), ("2.root.json timestamp.json", ""));
    world.repo.update(&[]);
    world.serve();
    world.run().unwrap();
    assert_eq!(world.requests(), "2.root.json timestamp.json 2.snapshot.json");
    world.repo.update(&["targets"]);
    world.serve();
    world.run().unwrap();
    assert_eq!(world.requests(), "2.root.json timestamp.json 3.snapshot.json 2.targets.json");
    assert_eq!(world.disk.files["targets.json"], world.repo.file("targets"));
}

#[test]
fn ats_names_are_unversioned() {
    let mut world = World::new(Profile::Ats);
    world.run().unwrap();
    assert_eq!(world.requests(), "2.root.json timestamp.json snapshot.json targets.json");
    assert_eq!(world.run().unwrap(), Changes::default());
    assert_eq!((world.requests().as_str(), world.writes().as_str()), ("2.root.json timestamp.json", ""));
}

#[test]
fn an_unchanged_poll_of_a_running_process_verifies_and_writes_nothing() {
    let mut world = World::new(Profile::Ats);
    let mut trusted = load(&mut world.disk, Profile::Ats, Limits::default()).unwrap();
    for not_modified in [false, true] {
        world.server.not_modified = not_modified;
        for poll in 0..3 {
            world.server.log.clear();
            world.disk.log.clear();
            let first = !not_modified && poll == 0;
            let changes =
                Refresh::new(&mut trusted, &mut world.server, &mut world.disk, NOW).refresh().unwrap();
            assert_eq!(changes.targets, first);
            assert_eq!(world.server.log.len(), if first { 4 } else { 2 });
            assert_eq!(world.writes().is_empty(), !first);
        }
    }
    let later = Time::parse("2031-01-01T00:00:00Z").unwrap();
    let run = Refresh::new(&mut trusted, &mut world.server, &mut world.disk, later).refresh();
    assert!(matches!(run, Err(RefreshError::Rejected(r)) if matches!(r.reason, Reason::Expired { .. })));
}

#[test]
fn unchanged_means_nothing_without_a_stored_file() {
    let mut world = World::new(Profile::Tuf);
    world.server.not_modified = true;
    assert!(matches!(world.run(), Err(RefreshError::Rejected(_))));
    assert_eq!(world.writes(), "");
}

#[test]
fn unchanged_is_no_answer_to_the_question_for_the_next_root() {
    let mut world = World::new(Profile::Tuf);
    world.run().unwrap();
    world.server.lazy = true;
    assert!(matches!(world.run(), Err(RefreshError::Unasked { path }) if path == "2.root.json"));
    assert_eq!(world.requests(), "2.root.json");
}

#[test]
fn an_expired_root_ends_the_run_before_the_timestamp() {
    let mut world = World::new(Profile::Tuf);
    world.repo.bump("root");
    world.repo.role("root")["expires"] = json!(BEFORE);
    world.serve();
    assert!(
        matches!(world.run(), Err(RefreshError::Rejected(r)) if matches!(r.reason, Reason::Expired { .. }))
    );
    assert_eq!(
        (world.requests().as_str(), world.writes().as_str()),
        ("2.root.json 3.root.json", "+root.json +root-floor")
    );
}

#[test]
fn walks_all_roots_and_stores_each() {
    let mut world = World::new(Profile::Tuf);
    for _ in 0..3 {
        world.repo.bump("root");
        world.repo.role("root")["expires"] = json!(BEFORE);
        world.serve();
    }
    world.repo.bump("root");
    world.repo.role("root")["expires"] = json!("2030-01-01T00:00:00Z");
    world.serve();
    assert_eq!(world.run().unwrap().roots, 4);
    assert!(
        world
            .requests()
            .starts_with("2.root.json 3.root.json 4.root.json 5.root.json 6.root.json timestamp.json")
    );
    assert!(world.writes().starts_with(&("+root.json +root-floor ".repeat(4) + "+timestamp.json")));
}

#[test]
fn only_an_honest_no_ends_the_walk_of_roots() {
    for profile in PROFILES {
        let mut world = World::new(profile);
        world.server.broken = Some("2.root.json");
        assert!(matches!(world.run(), Err(RefreshError::Fetch { path, .. }) if path == "2.root.json"));
        assert_eq!(world.requests(), "2.root.json");
        world.server.broken = None;
        let bad = world.repo.file("timestamp");
        world.server.files.insert("2.root.json".into(), bad);
        assert!(matches!(world.run(), Err(RefreshError::Rejected(_))));
        assert_eq!(world.writes(), "");
    }
}

#[test]
fn the_walk_of_roots_is_bounded_and_goes_on_next_time() {
    let mut world = World::new(Profile::Tuf);
    for _ in 0..5 {
        world.repo.bump("root");
        world.serve();
    }
    let limits = Limits { roots: 3, ..Limits::default() };
    let mut trusted = load(&mut world.disk, Profile::Tuf, limits).unwrap();
    let mut refresh = Refresh::new(&mut trusted, &mut world.server, &mut world.disk, NOW);
    assert_eq!(refresh.refresh().unwrap().roots, 3);
    assert_eq!(world.stored_version("root"), Some(4));
    world.run().unwrap();
    assert_eq!(world.stored_version("root"), Some(6));
}

#[test]
fn what_fails_is_not_stored_and_what_came_before_is() {
    // Each file in turn: not there, not reached, not signed.
    let files = [
        ("timestamp.json", ""),
        ("2.snapshot.json", "+timestamp.json"),
        ("2.targets.json", "+timestamp.json +snapshot.json"),
    ];
    for (file, stored) in files {
        for trouble in ["absent", "broken", "unsigned"] {
            let mut world = World::new(Profile::Tuf);
            world.run().unwrap();
            world.repo.hashes = false;
            world.repo.update(&["targets"]);
            world.serve();
            match trouble {
                "absent" => drop(world.server.files.remove(file)),
                "broken" => world.server.broken = Some(file),
                _ => {
                    let role = file.trim_start_matches("2.").trim_end_matches(".json");
                    let bytes = world.repo.file_by(role, &[Key::new(99, Profile::Tuf)]);
                    world.server.files.insert(file.into(), bytes);
                }
            }
            let error = world.run().unwrap_err();
            assert!(error.to_string().contains(file.trim_start_matches("2.")), "{error}");
            assert_eq!(world.writes(), stored, "{file} {trouble}");
            // And the next honest run succeeds.
            world.server.broken = None;
            world.serve();
            world.run().unwrap();
            assert_eq!(world.stored_version("targets"), Some(2));
        }
    }
}

/// A repository whose files of version 1000 a device has, and what it serves after a new root for the snapshot role.
fn rotated(profile: Profile, keys: &dyn Fn(&mut Vec<Key>)) -> World {
    let mut world = World::new(profile);
    for name in ["snapshot", "targets"] {
        world.repo.role(name)["version"] = json!(1000);
    }
    world.repo.publish();
    world.serve();
    world.run().unwrap();
    keys(world.repo.signers.get_mut("snapshot").unwrap());
    world.repo.write_root();
    world.repo.bump("root");
    for name in ["snapshot", "targets"] {
        world.repo.role(name)["version"] = json!(1);
    }
    world.repo.bump("timestamp");
    world.repo.publish();
    world.serve();
    world
}

#[test]
fn a_replaced_key_starts_again_whenever_the_power_goes() {
    for profile in PROFILES {
        let mut world = rotated(profile, &|keys| *keys = vec![Key::new(60, profile)]);
        let before = world.disk.clone();
        for cut in 0..6 {
            world.disk = before.clone();
            world.disk.changes_left = Some(cut);
            assert_eq!(world.run().is_ok(), cut >= 5, "{cut}");
            world.disk.changes_left = None;
            world.run().unwrap();
            assert_eq!(world.stored_version("targets"), Some(1), "{cut}");
        }
        world.disk = before;
        world.run().unwrap();
        let expected = "+root.json +root-floor +timestamp.json +snapshot.json +targets.json";
        assert_eq!(world.writes(), expected);
    }
}

#[test]
fn an_added_key_lowers_nothing_whenever_the_power_goes() {
    for profile in PROFILES {
        let mut world = rotated(profile, &|keys| keys.push(Key::new(60, profile)));
        let before = world.disk.clone();
        for cut in 0..4 {
            for hidden in [false, true] {
                world.disk = before.clone();
                world.disk.changes_left = Some(cut);
                assert!(world.run().is_err());
                world.disk.changes_left = None;
                // The server may keep the new root back after the cut.
                let root = world.server.files.remove("2.root.json").filter(|_| hidden);
                let error = world.run().unwrap_err();
                assert!(matches!(error, RefreshError::Rejected(r) if r.reason.is_rollback()), "{cut}");
                assert_eq!(world.stored_version("targets"), Some(1000), "{cut}");
                let _ = root;
                world.serve();
            }
        }
    }
}

#[test]
fn a_root_that_was_known_is_not_lost_with_its_file() {
    for profile in PROFILES {
        let mut world = World::new(profile);
        let first = world.repo.file("root");
        world.repo.bump("root");
        world.serve();
        world.run().unwrap();
        // The device's own file is damaged, and trust starts again from the first root.
        world.disk.files.insert("root.json".into(), first);
        let newer = world.server.files.remove("2.root.json").unwrap();
        assert!(matches!(world.run(), Err(RefreshError::RootRollback { trusted: 2, got: 1 })));
        world.server.files.insert("2.root.json".into(), newer);
        world.run().unwrap();
        assert_eq!(world.stored_version("root"), Some(2));
    }
}

#[test]
fn a_power_cut_at_any_write_loses_no_version() {
    for profile in PROFILES {
        let mut world = World::new(profile);
        world.run().unwrap();
        let before = world.disk.clone();
        world.repo.bump("root");
        world.repo.update(&["targets"]);
        world.serve();
        for cut in 0..4 {
            world.disk = before.clone();
            world.disk.changes_left = Some(cut);
            assert!(world.run().is_err());
            world.disk.changes_left = None;
            world.run().unwrap();
            for role in ["root", "timestamp", "snapshot", "targets"] {
                assert_eq!(world.stored_version(role), Some(2));
            }
        }
    }
}

#[test]
fn a_damaged_file_is_set_aside_and_fetched_again() {
    for (file, set_aside) in [("timestamp.json", true), ("snapshot.json", true), ("targets.json", false)] {
        for damage in [&b""[..], b"{", b"\0\0\0\0"] {
            let mut world = World::new(Profile::Tuf);
            world.run().unwrap();
            world.disk.files.insert(file.into(), damage.to_vec());
            world.run().unwrap();
            assert_eq!(world.writes().contains(&format!("!{file}")), set_aside);
            assert!(world.writes().contains(&format!("+{file}")));
            world.run().unwrap();
            assert_eq!(world.writes(), "");
        }
    }
    let mut world = World::new(Profile::Tuf);
    world.disk.files.insert("root.json".into(), b"{".to_vec());
    assert!(matches!(world.run(), Err(RefreshError::Rejected(r)) if r.file == "root.json"));
    world.disk.files.remove("root.json");
    assert!(matches!(world.run(), Err(RefreshError::NoRoot)));
    assert_eq!(world.requests(), "");
}

#[test]
fn a_rollback_is_refused_by_a_new_process() {
    for profile in PROFILES {
        for name in ["timestamp", "snapshot", "targets"] {
            let mut world = World::new(profile);
            world.repo.update(&["targets"]);
            world.serve();
            world.run().unwrap();
            world.repo.role(name)["version"] = json!(1);
            if name != "timestamp" {
                world.repo.bump("timestamp");
            }
            if name == "targets" {
                world.repo.bump("snapshot");
            }
            world.repo.publish();
            world.serve();
            let error = world.run().unwrap_err();
            let RefreshError::Rejected(rejection) = error else { panic!("{error}") };
            assert!(
                matches!(
                    rejection.reason,
                    Reason::TimestampRollback { .. }
                        | Reason::SnapshotRollback { .. }
                        | Reason::RoleRollback { .. }
                ),
                "{rejection}"
            );
            assert_eq!(world.stored_version(name), Some(2));
        }
    }
}

#[test]
fn delegated_roles_come_lazily_once_and_are_kept() {
    for (profile, folder) in [(Profile::Tuf, ""), (Profile::Ats, "delegations/")] {
        let mut world = World::new(profile);
        world.repo.role("root")["consistent_snapshot"] = json!(false);
        init(&mut world.disk, world.repo.file("root"), profile, Limits::default()).unwrap();
        for name in ["../a", "b", "c"] {
            world.repo.delegate("targets", name, &["*"], false);
        }
        world.repo.add_target("b", "x", b"");
        world.repo.update(&["targets"]);
        world.serve();
        assert_eq!(world.find("x").unwrap().unwrap().0, "b");
        let top = "2.root.json timestamp.json snapshot.json targets.json";
        assert_eq!(world.requests(), format!("{top} {folder}..%2Fa.json {folder}b.json"));
        assert!(world.disk.files.contains_key("..%2Fa.json"));
        // A later process has them.
        world.server.log.clear();
        assert!(world.find("missing").unwrap().is_none());
        assert_eq!(world.requests(), format!("2.root.json timestamp.json {folder}c.json"));
        // A changed one comes again.
        world.repo.update(&["b"]);
        world.serve();
        world.server.log.clear();
        world.find("x").unwrap();
        assert_eq!(world.requests(), format!("2.root.json timestamp.json snapshot.json {folder}b.json"));
    }
}

#[test]
fn the_roles_of_tags_come_once_and_only_when_they_change() {
    for profile in PROFILES {
        let mut world = World::new(profile);
        for (index, (name, tag)) in [("a", "x"), ("b", "y")].into_iter().enumerate() {
            world.repo.delegate("targets", name, &["*"], false);
            world.repo.role("targets")["delegations"]["roles"][index]["custom"] = json!({"tags": [tag]});
        }
        world.repo.update(&["targets"]);
        world.serve();
        let mut tagged = |repo: &dyn Fn(&mut Repo), tags: &[&str]| {
            repo(&mut world.repo);
            world.serve();
            world.server.log.clear();
            world.disk.log.clear();
            let tags: Vec<String> = tags.iter().map(|tag| tag.to_string()).collect();
            let mut trusted = load(&mut world.disk, profile, Limits::default()).unwrap();
            let mut run = Refresh::new(&mut trusted, &mut world.server, &mut world.disk, NOW);
            run.refresh().unwrap();
            let done = run.update_tagged(&tags);
            let asked: Vec<String> = world
                .server
                .log
                .iter()
                .filter(|path| path.ends_with("a.json") || path.ends_with("b.json"))
                .cloned()
                .collect();
            (done.map_err(|e| e.to_string()), asked.len(), world.writes())
        };
        let all = "+timestamp.json +snapshot.json +targets.json +a.json";
        assert_eq!(tagged(&|_| (), &["x"]), (Ok(true), 1, all.into()));
        assert_eq!(tagged(&|_| (), &["x"]), (Ok(false), 0, String::new()));
        assert_eq!(tagged(&|_| (), &[]), (Ok(true), 1, "+b.json".into()));
        let snapshot = "+timestamp.json +snapshot.json";
        assert_eq!(tagged(&|repo| repo.update(&["b"]), &["x"]), (Ok(false), 0, snapshot.into()));
        assert_eq!(tagged(&|repo| repo.update(&["a"]), &["x"]), (Ok(true), 1, format!("{snapshot} +a.json")));
        // Refused: what is stored stays.
        let expired = |repo: &mut Repo| {
            repo.role("a")["expires"] = json!(BEFORE);
            repo.update(&["a"]);
        };
        let (refused, asked, writes) = tagged(&expired, &["x"]);
        assert!(refused.unwrap_err().starts_with("a.json: a date after"));
        assert_eq!((asked, writes.as_str()), (1, snapshot));
    }
}

#[test]
fn the_roles_of_tags_are_restored_without_a_network() {
    let mut world = World::new(Profile::Tuf);
    world.repo.delegate("targets", "a", &["*"], false);
    world.repo.role("targets")["delegations"]["roles"][0]["custom"] = json!({"tags": ["x"]});
    world.repo.add_target("a", "t", b"");
    world.repo.update(&["targets"]);
    world.serve();
    world.run().unwrap();
    let again = |disk: &mut Disk| {
        let mut trusted = load(disk, Profile::Tuf, Limits::default()).unwrap();
        restore(&mut trusted, disk, NOW).unwrap();
        let missing = restore_tagged(&mut trusted, disk, &["x".into()], NOW);
        missing.map(|missing| (missing, trusted.tagged_targets(&[], NOW).len())).map_err(|e| e.to_string())
    };
    assert_eq!(again(&mut world.disk), Ok((Some("a".into()), 0)));
    let good = world.repo.file("a");
    world.disk.files.insert("a.json".into(), good.clone());
    assert_eq!(again(&mut world.disk), Ok((None, 1)));
    let other = String::from_utf8(good).unwrap().replace("\"t\"", "\"u\"");
    world.disk.files.insert("a.json".into(), other.into_bytes());
    assert!(again(&mut world.disk).unwrap_err().starts_with("a.json: "));
}

#[test]
fn a_role_that_fails_for_another_delegator_is_not_asked_for_twice() {
    let mut world = World::new(Profile::Tuf);
    world.repo.delegate("targets", "A", &["a/*"], false);
    world.repo.delegate("targets", "B", &["b/*"], false);
    let by_a = world.repo.delegate("A", "release", &["a/*"], false);
    world.repo.delegate("B", "release", &["b/*"], false);
    world.repo.add_target("release", "a/x", b"");
    world.repo.add_target("release", "b/x", b"");
    world.repo.signers.insert("release".into(), vec![by_a]);
    world.repo.update(&["targets"]);
    world.serve();
    let mut trusted = load(&mut world.disk, Profile::Tuf, Limits::default()).unwrap();
    let mut refresh = Refresh::new(&mut trusted, &mut world.server, &mut world.disk, NOW);
    refresh.refresh().unwrap();
    assert!(refresh.find_target("a/x").unwrap().is_some());
    assert!(matches!(refresh.find_target("b/x"), Err(RefreshError::Rejected(_))));
    assert_eq!(world.server.log.iter().filter(|path| path.contains("release")).count(), 1);
}

#[test]
fn restores_without_a_network() {
    for profile in PROFILES {
        let mut world = World::new(profile);
        world.run().unwrap();
        let restore_at = |world: &mut World, time: &str| {
            let mut trusted = load(&mut world.disk, profile, Limits::default()).unwrap();
            restore(&mut trusted, &mut world.disk, Time::parse(time).unwrap()).map(|()| trusted)
        };
        assert_eq!(restore_at(&mut world, "2026-01-01T00:00:00Z").unwrap().targets().count(), 1);
        let expired = restore_at(&mut world, "2031-01-01T00:00:00Z").unwrap_err();
        let RefreshError::Rejected(rejection) = expired else { panic!("{expired}") };
        assert!(matches!(rejection.reason, Reason::Expired { .. }));
        for file in ["timestamp.json", "snapshot.json", "targets.json"] {
            let mut world =
                World { repo: world.repo.clone(), disk: world.disk.clone(), server: Server::default() };
            world.disk.files.remove(file);
            assert!(restore_at(&mut world, "2026-01-01T00:00:00Z").is_err());
        }
    }
}
