//! The commands of `ota-repo`: what they make, what they refuse, and what a failure in the middle leaves.

mod ota_repo_support;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use ostree::Repo;
use ostree::gio::Cancellable;
use ota_repo_support::Workshop;
use rustix::fs::{FlockOperation, flock};
use serde_json::{Value, json};

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

/// Every file of the published metadata.
fn published(workshop: &Workshop) -> BTreeMap<String, Vec<u8>> {
    fs::read_dir(workshop.path("ota/repo"))
        .unwrap()
        .map(|entry| entry.unwrap())
        .filter(|entry| entry.file_type().unwrap().is_file())
        .map(|entry| (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap()))
        .collect()
}

#[test]
fn init_keeps_secrets_apart() {
    let workshop = Workshop::new("init");
    let made = workshop.json("init ota --threshold root=3 --json");
    assert_eq!(made["root"], json!("ota/repo/1.root.json"));
    let keys = workshop.path("ota.keys");
    assert_eq!(mode(&keys), 0o700);
    let files: Vec<_> = fs::read_dir(&keys).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(files.len(), 9, "six keys, settings, root and timestamp: {files:?}");
    assert!(files.iter().all(|path| mode(path) == 0o600), "{files:?}");
    assert_eq!(mode(&workshop.path("ota/repo/timestamp.json")), 0o644);
    let names: Vec<_> = published(&workshop).into_keys().collect();
    assert_eq!(names, ["1.root.json", "1.snapshot.json", "1.targets.json", "timestamp.json"]);
    assert!(fs::read_to_string(workshop.path("ota/treehub/config")).unwrap().contains("mode=archive-z2"));
}

#[test]
fn init_refuses_what_it_would_spoil() {
    let workshop = Workshop::new("refuse");
    workshop.ok("init ota");
    let before = published(&workshop);
    assert!(workshop.refused("init ota").contains("a repository is made once"));
    assert!(workshop.refused("init two --keys ota.keys").contains("give an empty folder with --keys"));
    assert!(workshop.refused("init three --keys three/keys").contains("would be published"));
    for (words, part) in [
        ("init x --profile foo", "--profile: \"foo\""),
        ("init x --threshold root=0", "--threshold root=0: use a number"),
        ("init x --threshold boot=1", "\"boot\" is no role"),
        ("init x --expires timestamp=0", "--expires timestamp=0: use 1 to"),
        ("init x --expires timestamp=99999999999999999999d", "use 1 to"),
        ("init x --key-type rsa", "openssl genpkey -algorithm RSA"),
        ("init x --key root=none.pem", "cannot read none.pem"),
        ("init x --key root=ota/repo/1.root.json", "holds no PEM block"),
    ] {
        let text = workshop.refused(words);
        assert!(text.contains(part), "{words}: {text}");
        assert!(!workshop.path("x/repo").exists() && !workshop.path("x.keys").exists(), "{words}");
    }
    assert_eq!(published(&workshop), before);
}

#[test]
fn target_add_copies_the_whole_commit_before_it_names_it() {
    let workshop = Workshop::new("add");
    let commit = workshop.published("");
    let repo = Repo::new_for_path(workshop.path("ota/treehub"));
    repo.open(None::<&Cancellable>).unwrap();
    let (_, state) = repo.load_commit(&commit).unwrap();
    assert_eq!(state, ostree::RepoCommitState::NORMAL);
    repo.fsck_object(ostree::ObjectType::Commit, &commit, None::<&Cancellable>).unwrap();
    assert_eq!(repo.resolve_rev("targets/board-1", false).unwrap().unwrap(), commit);

    // The very same again changes nothing; other content under the same name is refused.
    let before = published(&workshop);
    workshop.add(1);
    assert_eq!(published(&workshop), before);
    let other = workshop.commit("two");
    let words = "target add ota --ostree-repo src --ref main --name board --version 1 --hardware-id board-hw --tag main";
    assert!(workshop.refused(words).contains("Target board-1 is published with other content"));
    assert_eq!(published(&workshop), before);
    workshop.add(2);
    let list = workshop.json("target list ota --json");
    assert_eq!(list[1]["commit"], json!(other));
    assert_eq!(list.as_array().unwrap().len(), 2);
    workshop.ok("target remove ota board-1 board-2");
    assert_eq!(workshop.json("target list ota --json"), json!([]));
    assert!(repo.resolve_rev("targets/board-1", true).unwrap().is_none());
}

#[test]
fn target_add_refuses_bad_values() {
    let workshop = Workshop::new("values");
    let commit = workshop.published("");
    let before = published(&workshop);
    let start = "target add ota --ostree-repo src";
    let end = "--hardware-id hw";
    for (words, part) in [
        (format!("{start} --ref main --name b --version 010 {end}"), "--version: \"010\""),
        (format!("{start} --ref main --name b --version 1.2 {end}"), "--version: \"1.2\""),
        (format!("{start} --ref main --name b --version +1 {end}"), "--version: \"+1\""),
        (format!("{start} --ref main --name b --version 4294967296 {end}"), "--version:"),
        (format!("{start} --ref main --name ../b --version 1 {end}"), "--name: \"../b\""),
        (format!("{start} --ref main --name b --version 1"), "--hardware-id: give at least one"),
        (format!("{start} --ref main --name b --version 1 {end} --tag a/b"), "--tag: \"a/b\""),
        (format!("{start} --ref none --name b --version 1 {end}"), "cannot find the ref (src)"),
        (format!("{start} --name b --version 1 {end}"), "give exactly one"),
        (format!("{start} --ref main --commit {commit} --name b --version 1 {end}"), "give exactly one"),
        (format!("{start} --commit {} --name b --version 1 {end}", &commit[..10]), "is no full commit"),
        (format!("{start} --commit {} --name b --version 1 {end}", "0".repeat(64)), "cannot load the commit"),
        (format!("{start} --ref main --name b --version 1 {end} --custom a"), "is not KEY=JSON"),
        (format!("{start} --ref main --name b --version 1 {end} --custom a=b"), "the value of a is no JSON"),
        (
            format!("{start} --ref main --name b --version 1 {end} --custom a=1.5"),
            "the value of a cannot be signed: the number 1.5",
        ),
        (format!("{start} --ref main --name b --version 1 {end} --custom version=1"), "an option of its own"),
        (format!("target add ota --ostree-repo none --ref main --name b --version 1 {end}"), "cannot open"),
        (
            format!("target add none --ostree-repo src --ref main --name b --version 1 {end}"),
            "none holds no published",
        ),
        ("target remove ota board-9".to_string(), "no Target board-9 is published"),
    ] {
        let text = workshop.refused(&words);
        assert!(text.contains(part), "{words}: {text}");
    }
    assert_eq!(published(&workshop), before);
}

#[test]
fn a_commit_that_is_there_in_part_is_refused() {
    let workshop = Workshop::new("partial");
    workshop.published("");
    let commit = workshop.commit("two");
    File::create(workshop.path("src/state").join(format!("{commit}.commitpartial"))).unwrap();
    let words = "target add ota --ostree-repo src --ref main --name board --version 2 --hardware-id hw";
    assert!(workshop.refused(words).contains("only a part of"));
}

#[test]
fn keys_that_are_elsewhere_are_asked_for() {
    let workshop = Workshop::new("elsewhere");
    workshop.published("--threshold root=2");
    let safe = workshop.path("safe");
    fs::create_dir(&safe).unwrap();
    let keys = workshop.path("ota.keys");
    for entry in fs::read_dir(&keys).unwrap().map(|entry| entry.unwrap()) {
        if entry.file_name().to_str().unwrap().starts_with("root-") {
            fs::rename(entry.path(), safe.join(entry.file_name())).unwrap();
        }
    }
    let before = published(&workshop);
    let text = workshop.refused("rotate ota timestamp");
    assert!(text.contains("the root role needs signatures by 2 of its keys"), "{text}");
    assert_eq!(published(&workshop), before);
    // Daily work needs no root key.
    workshop.ok("refresh ota");
    workshop.ok("rotate ota timestamp --keys ota.keys --keys safe");
    // Root alone needs only root keys.
    fs::create_dir(workshop.path("desk")).unwrap();
    for name in ["settings.json", "root.json"] {
        fs::copy(keys.join(name), workshop.path("desk").join(name)).unwrap();
    }
    workshop.ok("rotate ota root --keys desk --keys safe");
    assert!(workshop.refused("refresh ota --keys none").contains("no keys and settings in none"));
    let list = workshop.json("keys list ota --json");
    let at_hand = |role: &str| {
        let of_role = |key: &&Value| key["roles"] == json!([role]);
        list.as_array().unwrap().iter().filter(of_role).map(|key| key["file"].is_string()).collect::<Vec<_>>()
    };
    assert_eq!(at_hand("root"), [false; 4]);
    assert_eq!(at_hand("timestamp"), [true; 2]);
}

#[test]
fn rotate_counts_keys_and_thresholds() {
    let workshop = Workshop::new("rotate");
    workshop.published("");
    let roles = |role: &str| {
        let own = workshop.json("show ota --json")["roles"][role].clone();
        (own["keyids"].as_array().unwrap().len(), own["threshold"].as_u64().unwrap())
    };
    assert!(workshop.refused("keys add ota targets --threshold 3").contains("would have 2 keys and need 3"));
    workshop.ok("keys add ota targets");
    workshop.ok("keys add ota targets --threshold 3");
    assert_eq!(roles("targets"), (3, 3));
    let first =
        workshop.json("show ota --json")["roles"]["targets"]["keyids"][0].as_str().unwrap().to_string();
    assert!(
        workshop
            .refused(&format!("keys remove ota targets {first}"))
            .contains("would have 2 keys and need 3")
    );
    workshop.ok(&format!("keys remove ota targets {} --threshold 2", &first[..16]));
    assert_eq!(roles("targets"), (2, 2));
    assert!(workshop.refused("keys remove ota targets ffff0000").contains("no key ffff0000 signs"));
    workshop.ok("rotate ota targets --remove-old");
    assert_eq!(roles("targets"), (2, 2));
    workshop.ok("rotate ota root --remove-old");
    assert_eq!(roles("root"), (1, 1));
    // As many new keys as must sign.
    workshop.ok("rotate ota root --threshold 2 --remove-old");
    assert_eq!(roles("root"), (2, 2));
    assert!(workshop.refused("rotate ota boot").contains("\"boot\" is no role"));
}

#[test]
fn refresh_renews_what_would_expire_and_says_what_it_cannot() {
    let workshop = Workshop::new("refresh");
    workshop.published("--expires timestamp=10 --expires snapshot=5 --expires root=5 --expires targets=20");
    let version = |role: &str| workshop.json("show ota --json")["roles"][role]["version"].clone();
    workshop.ok("refresh ota");
    let versions = ["root", "targets", "snapshot", "timestamp"].map(version);
    assert_eq!(versions, [json!(2), json!(2), json!(3), json!(3)]);
    for entry in fs::read_dir(workshop.path("ota.keys")).unwrap().map(|entry| entry.unwrap()) {
        if entry.file_name().to_str().unwrap().starts_with("root-") {
            fs::remove_file(entry.path()).unwrap();
        }
    }
    let output = workshop.run("refresh ota");
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("the root role expires on"));
    assert_eq!(version("timestamp"), json!(4));
    assert_eq!(version("root"), json!(2));
}

/// A publication that fails before its last file leaves what devices read as it was, and the next one goes through.
#[test]
fn a_failure_in_the_middle_leaves_the_old_set() {
    for name in [".3.targets.json.new", ".3.snapshot.json.new", ".timestamp.json.new"] {
        let workshop = Workshop::new("middle");
        workshop.published("");
        let before = published(&workshop);
        workshop.commit("two");
        // A folder where the temporary file must be made is a fault that root feels too.
        let obstacle = workshop.path("ota/repo").join(name);
        fs::create_dir(&obstacle).unwrap();
        let words = "target add ota --ostree-repo src --ref main --name board --version 2 --hardware-id board-hw --tag main";
        assert!(workshop.refused(words).contains(name.trim_start_matches('.')), "{name}");
        let after = published(&workshop);
        assert!(before.iter().all(|(name, bytes)| after.get(name) == Some(bytes)), "{name}");
        assert_eq!(workshop.json("target list ota --json").as_array().unwrap().len(), 1);
        fs::remove_dir(&obstacle).unwrap();
        workshop.add(2);
        assert_eq!(workshop.json("target list ota --json").as_array().unwrap().len(), 2);
    }
}

#[test]
fn leftovers_of_a_crash_are_swept() {
    let workshop = Workshop::new("sweep");
    workshop.published("");
    for name in ["ota/repo/.9.root.json.new", "ota.keys/.root-01234567.pem.new"] {
        fs::write(workshop.path(name), "torn").unwrap();
        workshop.ok("refresh ota");
        assert!(!workshop.path(name).exists(), "{name}");
    }
    // A key that is torn all the same is named.
    fs::write(workshop.path("ota.keys/torn.pem"), "").unwrap();
    assert!(workshop.refused("refresh ota").contains("ota.keys/torn.pem: holds no PEM block"));
}

#[test]
fn plain_names_change_all_at_once() {
    let workshop = Workshop::new("exchange");
    workshop.published("--profile ats");
    let before = published(&workshop);
    assert_eq!(before.len(), 4);
    // A folder in the way of the last file, which is written into the copy.
    fs::create_dir_all(workshop.path("ota/repo/.timestamp.json.new")).unwrap();
    workshop.refused("refresh ota --all");
    assert_eq!(published(&workshop), before);
    fs::remove_dir(workshop.path("ota/repo/.timestamp.json.new")).unwrap();
    workshop.ok("refresh ota --all");
    let after = published(&workshop);
    assert_eq!(after.len(), 4);
    assert_ne!(after["targets.json"], before["targets.json"]);
    assert!(!workshop.path("ota/.repo.new").exists());
}

#[test]
fn one_command_at_a_time() {
    let workshop = Workshop::new("lock");
    workshop.published("");
    let lock = File::open(workshop.path("ota")).unwrap();
    // Shared: whoever changes the folder must want it alone.
    flock(&lock, FlockOperation::LockShared).unwrap();
    assert!(workshop.refused("refresh ota").contains("another ota-repo is changing ota"));
    workshop.ok("target list ota");
    drop(lock);
    workshop.ok("refresh ota");
}

#[test]
fn device_config_has_all_that_a_device_needs() {
    let workshop = Workshop::new("device");
    workshop.published("");
    workshop.ok("tls ota --host localhost --device dev-1");
    workshop.ok("rotate ota root");
    let words =
        "device-config ota --server https://ota.example:8443/ --hardware-id board-hw --tag main --tag next";
    let text = workshop.ok(words);
    assert!(
        text.contains("server = \"https://ota.example:8443\"\n") && text.contains("tags = \"main,next\"")
    );
    workshop.ok(&format!("{words} --device dev-1 --polling-sec 60 --out device"));
    let device = workshop.path("device");
    let same = |on_device: &str, source: &str| {
        assert_eq!(fs::read(device.join(on_device)).unwrap(), fs::read(workshop.path(source)).unwrap());
    };
    same("usr/lib/sota/tuf/root.json", "ota/repo/2.root.json");
    same("var/sota/import/client.pem", "ota.keys/tls/devices/dev-1/client.pem");
    same("var/sota/import/root.crt", "ota.keys/tls/root.crt");
    assert_eq!(mode(&device.join("var/sota")), 0o700);
    assert_eq!(mode(&device.join("var/sota/import/pkey.pem")), 0o600);

    // The client reads the fragment as it is meant.
    let (_, settings) = rust_ota::config::load(&[device.join("etc/sota/conf.d")]).unwrap();
    assert_eq!(settings.repo_server.as_deref(), Some("https://ota.example:8443/repo"));
    assert_eq!(settings.ostree_server.as_deref(), Some("https://ota.example:8443/treehub"));
    assert_eq!(settings.metadata, rust_ota::config::Metadata::Tuf);
    assert_eq!(settings.tags, ["main", "next"]);
    assert_eq!((settings.hardware_id.as_str(), settings.polling_sec), ("board-hw", 60));

    assert!(workshop.refused(&format!("{words} --device none")).contains("ota-repo tls DIR --device none"));
    assert!(workshop.refused("device-config ota --server ftp://x").contains("is no URL"));
    assert_eq!(settings.director.trust, rust_ota::config::Trust::Latest);
    assert!(text.contains("trust = \"latest\"\n"), "{text}");
}

#[test]
fn device_config_of_a_director_has_its_root_and_says_whose_word_counts() {
    let workshop = Workshop::new("device-director");
    workshop.ok("init ota --profile ats");
    workshop.ok("director init ota");
    workshop.ok("device-config ota --server https://ota.example:8443 --out device");
    let device = workshop.path("device");
    let same = |on_device: &str, source: &str| {
        assert_eq!(fs::read(device.join(on_device)).unwrap(), fs::read(workshop.path(source)).unwrap());
    };
    same("usr/lib/sota/tuf/root.json", "ota/repo/1.root.json");
    same("usr/lib/sota/tuf/director-root.json", "ota/director/1.root.json");
    let (_, settings) = rust_ota::config::load(&[device.join("etc/sota/conf.d")]).unwrap();
    assert_eq!(settings.director.trust, rust_ota::config::Trust::Director);
    assert_eq!(settings.director.director_roots[0], Path::new("/usr/lib/sota/tuf/director-root.json"));
}

#[test]
fn tls_keeps_what_it_made() {
    let workshop = Workshop::new("certificates");
    workshop.ok("init ota");
    workshop.ok("tls ota --host localhost --device dev-1");
    let folder = workshop.path("ota.keys/tls");
    for name in ["root.key", "server.key", "devices/dev-1/pkey.pem"] {
        assert_eq!(mode(&folder.join(name)), 0o600, "{name}");
    }
    let root = fs::read(folder.join("root.crt")).unwrap();
    let server = fs::read(folder.join("server.crt")).unwrap();
    workshop.ok("tls ota --device dev-2");
    assert_eq!(fs::read(folder.join("root.crt")).unwrap(), root);
    assert_eq!(fs::read(folder.join("server.crt")).unwrap(), server);
    assert!(workshop.refused("tls ota --device dev-1").contains("dev-1/client.pem exists already"));
    assert!(workshop.refused("tls ota --device ../x").contains("--device: \"../x\""));
    assert!(workshop.refused("tls ota --days 0 --device x").contains("--days: use 1 to"));
    assert!(workshop.refused("serve ota --tls-cert a").contains("give both"));
    assert!(workshop.refused("serve ota --client-ca a").contains("needs --tls-cert"));
    assert!(workshop.refused("serve ota --listen nowhere").contains("cannot listen on nowhere"));
    assert!(workshop.refused("serve none").contains("none holds no published repository"));
    let bad = workshop.refused("serve ota --tls-cert ota.keys/tls/root.key --tls-key ota.keys/tls/root.key");
    assert!(bad.contains("root.key: holds no certificate"), "{bad}");
}

/// Whoever can write into the published folder must not get a signature by waiting for the next one.
#[test]
fn what_was_changed_in_the_published_folder_is_not_signed_again() {
    let workshop = Workshop::new("tampered");
    workshop.published("");
    let repo = workshop.path("ota/repo");
    let replace = |name: &str, bytes: &[u8]| fs::write(repo.join(name), bytes).unwrap();
    let old = published(&workshop);
    workshop.ok("refresh ota --all");
    workshop.ok("rotate ota root");
    let new = published(&workshop);
    // Another repository's files, well signed by its own keys.
    workshop.ok("init evil");
    let foreign = |name: &str| fs::read(workshop.path("evil/repo").join(name)).unwrap();
    let other_tag = String::from_utf8(new["3.targets.json"].clone()).unwrap().replace("main", "evil");

    let cases: [(&str, Vec<u8>, &str); 6] = [
        ("3.targets.json", other_tag.into_bytes(), "3.targets.json"),
        ("3.targets.json", foreign("1.targets.json"), "3.targets.json"),
        ("timestamp.json", old["timestamp.json"].clone(), "timestamp.json"),
        ("timestamp.json", foreign("timestamp.json"), "timestamp.json"),
        ("2.root.json", foreign("1.root.json"), "2.root.json"),
        ("3.root.json", foreign("1.root.json"), "3.root.json"),
    ];
    for (name, bytes, named) in cases {
        replace(name, &bytes);
        for words in ["refresh ota --all", "rotate ota timestamp", "target remove ota board-1"] {
            let text = workshop.refused(words);
            assert!(text.contains(named) && text.contains("It is not signed again"), "{name}: {text}");
        }
        match new.get(name) {
            Some(bytes) => replace(name, bytes),
            None => fs::remove_file(repo.join(name)).unwrap(),
        }
        assert_eq!(published(&workshop), new, "{name}");
    }
    workshop.ok("refresh ota --all");
}

#[test]
fn torn_and_foreign_files_are_named() {
    let workshop = Workshop::new("torn");
    workshop.published("");
    let timestamp = workshop.path("ota/repo/timestamp.json");
    let whole = fs::read(&timestamp).unwrap();
    for content in [&b""[..], &whole[..whole.len() / 2], b"{}", b"[]"] {
        fs::write(&timestamp, content).unwrap();
        assert!(workshop.refused("refresh ota").contains("ota/repo/timestamp.json"));
    }
    fs::write(&timestamp, whole).unwrap();
    let settings = workshop.path("ota.keys/settings.json");
    let text = fs::read_to_string(&settings).unwrap();
    fs::write(&settings, text.replace("\"version\": 1", "\"version\": 2")).unwrap();
    assert!(workshop.refused("refresh ota").contains("settings.json: version 2 is of a newer ota-repo"));
}

#[test]
fn a_reader_that_left_is_no_fault() {
    for (program, args) in [
        (env!("CARGO_BIN_EXE_ota-repo"), "--help"),
        (env!("CARGO_BIN_EXE_rust-ota"), "--help"),
        (env!("CARGO_BIN_EXE_rust-ota"), "--version"),
    ] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = std::process::Command::new(program).arg(args).stdout(writer).output().unwrap();
        assert_eq!((output.status.code(), String::from_utf8_lossy(&output.stderr).as_ref()), (Some(1), ""));
    }
}
