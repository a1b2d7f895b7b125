//! What `ota-repo` publishes is checked by python-tuf, and the ATS dialect by a script that shares no code with it.

mod ota_repo_support;

use ota_repo_support::{Python, Server, Workshop};
use serde_json::{Value, json};

/// A client of python-tuf with its state.
struct Client<'a> {
    python: Python,
    workshop: &'a Workshop,
    url: String,
}

impl<'a> Client<'a> {
    fn new(workshop: &'a Workshop, server: &Server) -> Self {
        Self { python: Python::new(), workshop, url: format!("{}/repo/", server.url) }
    }

    fn refresh(&self, state: &str) -> Result<Value, String> {
        let state = self.workshop.path(state);
        let root = self.workshop.path("ota/repo/1.root.json");
        let args = [&self.url, state.to_str().unwrap(), root.to_str().unwrap(), "board-1", "board-2"];
        self.python.check("check_repo.py", &args)
    }

    /// A device that has been there all the time, and one that begins at the first root, see the same.
    fn versions(&self, name: &str) -> Value {
        let old = self.refresh("state").unwrap();
        let new = self.refresh(&format!("state-{name}")).unwrap();
        assert_eq!(old, new);
        old["versions"].clone()
    }
}

fn versions(root: u32, targets: u32, snapshot: u32, timestamp: u32) -> Value {
    json!({"root": root, "targets": targets, "snapshot": snapshot, "timestamp": timestamp})
}

#[test]
fn python_tuf_finds_the_target_with_its_custom_object() {
    let workshop = Workshop::new("find");
    let commit = workshop.published("");
    let server = workshop.serve("");
    let found = Client::new(&workshop, &server).refresh("state").unwrap();
    assert_eq!(
        found["targets"]["board-1"],
        json!({
            "length": 0,
            "hashes": {"sha256": commit},
            "custom": {
                "name": "board", "version": "1", "hardwareIds": ["board-hw"], "tags": ["main"], "targetFormat": "OSTREE",
            },
        })
    );
    assert_eq!(found["targets"]["board-2"], Value::Null);
}

#[test]
fn python_tuf_follows_every_change() {
    let workshop = Workshop::new("follow");
    workshop.published("--threshold root=2 --threshold targets=2");
    let server = workshop.serve("");
    let client = Client::new(&workshop, &server);
    assert_eq!(client.versions("start"), versions(1, 2, 2, 2));
    let steps = [
        ("refresh ota", versions(1, 2, 2, 3)),
        ("refresh ota --all", versions(1, 3, 3, 4)),
        ("rotate ota timestamp --remove-old", versions(2, 3, 3, 5)),
        ("rotate ota snapshot --remove-old", versions(3, 3, 4, 6)),
        ("rotate ota targets --remove-old", versions(4, 4, 5, 7)),
        ("rotate ota root", versions(5, 4, 5, 7)),
        ("rotate ota root --remove-old", versions(6, 4, 5, 7)),
        ("rotate ota root --threshold 3", versions(7, 4, 5, 7)),
        ("keys add ota targets", versions(8, 5, 6, 8)),
        ("refresh ota", versions(8, 5, 6, 9)),
        ("target remove ota board-1", versions(8, 6, 7, 10)),
    ];
    for (words, expected) in steps {
        workshop.ok(words);
        assert_eq!(client.versions(&words.replace(' ', "-")), expected, "{words}");
    }
    assert_eq!(client.refresh("state").unwrap()["targets"]["board-1"], Value::Null);
}

#[test]
fn python_tuf_finds_targets_through_the_roles_of_tags() {
    let workshop = Workshop::new("delegated");
    let commit = workshop.published("");
    workshop.ok("tags ota --delegated --path main=board-*");
    let server = workshop.serve("");
    let client = Client::new(&workshop, &server);
    let target = |found: &Value, name: &str| found["targets"][name]["hashes"]["sha256"].clone();
    let found = client.refresh("state").unwrap();
    assert_eq!((target(&found, "board-1"), &found["targets"]["board-2"]), (json!(commit), &Value::Null));
    // A second tag, and keys that change.
    let second = workshop.commit("two");
    workshop.ok(
        "target add ota --ostree-repo src --ref main --name board --version 2 --hardware-id hw --tag test+1",
    );
    for step in ["refresh ota --all", "rotate ota targets --remove-old", "target remove ota board-1"] {
        let found = client.refresh("state").unwrap();
        assert_eq!((target(&found, "board-1"), target(&found, "board-2")), (json!(commit), json!(second)));
        workshop.ok(step);
    }
    assert_eq!(client.refresh("state").unwrap()["targets"]["board-1"], Value::Null);
}

/// The moment in a rotation when all but the new root is in place, or a crash that ended there.
#[test]
fn in_a_rotation_the_old_root_is_still_served() {
    let workshop = Workshop::new("moment");
    workshop.published("");
    let server = workshop.serve("");
    let client = Client::new(&workshop, &server);
    for (root, role) in [(2, "timestamp"), (3, "snapshot"), (4, "targets")] {
        workshop.ok(&format!("rotate ota {role} --remove-old"));
        let newest = workshop.path(&format!("ota/repo/{root}.root.json"));
        let aside = workshop.path("aside");
        std::fs::rename(&newest, &aside).unwrap();
        let versions = client.refresh(&format!("state-{role}")).unwrap()["versions"].clone();
        assert_eq!(versions["root"], json!(root - 1), "{role}");
        std::fs::rename(&aside, &newest).unwrap();
        assert_eq!(client.versions(&format!("{role}-after"))["root"], json!(root), "{role}");
    }
}

#[test]
fn rsa_keys_sign_in_both_dialects() {
    let workshop = Workshop::new("rsa");
    let python = Python::new();
    let pem = workshop.path("rsa.pem");
    python.check("make_rsa_key.py", &[pem.to_str().unwrap(), "2048"]).unwrap();
    let keys: String =
        ["root", "targets", "snapshot", "timestamp"].map(|role| format!("--key {role}=rsa.pem ")).concat();
    workshop.published(&format!("--key-type rsa {keys}"));
    let server = workshop.serve("");
    let found = Client::new(&workshop, &server).refresh("state").unwrap();
    assert_eq!(found["versions"], versions(1, 2, 2, 2));

    workshop.ok(&format!("init ats --profile ats --key-type rsa {keys}"));
    let folder = workshop.path("ats/repo");
    python.check("check_ats_repo.py", &[folder.to_str().unwrap()]).unwrap();
}

#[test]
fn the_ats_dialect_holds_through_every_change() {
    let workshop = Workshop::new("ats");
    let python = Python::new();
    let commit = workshop.published("--profile ats --threshold root=2");
    let folder = workshop.path("ota/repo");
    let check = || python.check("check_ats_repo.py", &[folder.to_str().unwrap()]).unwrap();
    assert_eq!(check()["targets"]["board-1"]["hashes"]["sha256"], json!(commit));
    // A text that the two canonical forms write differently.
    let custom = "arch=\"schön\u{1f600}\\n\"";
    let words =
        "target add ota --ostree-repo src --ref main --name board --version 2 --hardware-id hw --custom";
    let mut args: Vec<_> = words.split(' ').collect();
    args.push(custom);
    assert!(workshop.run_args(&args).status.success());
    assert_eq!(check()["targets"]["board-2"]["custom"]["arch"], json!("schön\u{1f600}\n"));
    let steps = [
        "refresh ota",
        "refresh ota --all",
        "rotate ota timestamp --remove-old",
        "rotate ota targets",
        "rotate ota root --remove-old",
        "target remove ota board-2",
    ];
    for words in steps {
        workshop.ok(words);
        check();
    }
    assert_eq!(check()["root"], json!(4));
}

#[test]
fn the_judges_do_refuse() {
    let workshop = Workshop::new("judge");
    workshop.published("");
    let server = workshop.serve("");
    let client = Client::new(&workshop, &server);
    let path = workshop.path("ota/repo/timestamp.json");
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, text.replace("\"version\":2}", "\"version\":3}")).unwrap();
    assert!(client.refresh("state").unwrap_err().contains("timestamp"));

    workshop.ok("init ats --profile ats");
    let path = workshop.path("ats/repo/targets.json");
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, text.replace("\"version\":1}", "\"version\":2}")).unwrap();
    let folder = workshop.path("ats/repo");
    assert!(client.python.check("check_ats_repo.py", &[folder.to_str().unwrap()]).is_err());
}
