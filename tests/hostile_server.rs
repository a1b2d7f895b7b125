//! A server that answers each request in every bad way there is. Whatever it says: an error of its own, in bounded time, with
//! bounded memory and disk, and the next honest run succeeds. `cargo test --test hostile_server -- --nocapture` prints the table.

#![allow(missing_docs, clippy::unwrap_used)]

mod hostile_common;

use std::fs;
use std::os::unix::fs::PermissionsExt;

use hostile_common::Case;
use hostile_common::answer::ALL;

#[test]
fn metadata() {
    let case = Case::new("hostile-metadata");
    let reset = || {
        let _ = fs::remove_dir_all(case.world.path("sota/rust-ota"));
    };
    // Fetch failed; for what came whole and is wrong also: refused; "unchanged" of what is not here fails the check.
    let codes = [13, 11, 12, 4, 16];
    for request in ["/timestamp.json", ".root.json", ".snapshot.json", ".targets.json"] {
        case.table("check", request, &ALL, &codes, &reset);
    }
}

fn objects(case: &Case, kind: &'static str) {
    case.run("check");
    let reset = || {
        let (saved, repo) = (case.world.path("repo.saved"), case.world.path("sysroot/ostree/repo"));
        fs::remove_dir_all(&repo).unwrap();
        case.world.run("cp", &["-a", &saved, &repo]);
    };
    // Download failed, or what came is not what was signed. What is sent whole in an odd way may be taken: it has its hash.
    case.table("download", kind, &ALL, &[50, 70, 0], &reset);
}

#[test]
fn commits() {
    objects(&Case::new("hostile-commits"), ".commit");
}

#[test]
fn files() {
    objects(&Case::new("hostile-files"), ".filez");
}

#[test]
fn folders() {
    objects(&Case::new("hostile-folders"), ".dirtree");
}

#[test]
fn rights() {
    // A folder with rights that no folder of the device has yet.
    let case = Case::with("hostile-rights", &|world| {
        world.commit(2, &[("usr/share/data", b"data")]);
        let folder = world.dir.join("tree/usr/share");
        fs::set_permissions(folder, fs::Permissions::from_mode(0o711)).unwrap();
        let (repo, tree) =
            (format!("--repo={}", world.path("build")), format!("--tree=dir={}", world.path("tree")));
        let rights = ["--no-xattrs", "--owner-uid=0", "--owner-gid=0", "--generate-sizes"];
        let options = ["commit", &repo, "-b", "test/2", "-s", "version 2", &tree];
        world.run("ostree", &[&options[..], &rights].concat());
        world.publish(2, "main");
    });
    objects(&case, ".dirmeta");
}

/// What a device tells must not stop what it does.
#[test]
fn events_and_facts() {
    let case = Case::new("hostile-events");
    let reset = || {
        let _ = fs::remove_dir_all(case.world.path("sota/rust-ota"));
    };
    for request in ["/events", "/system_info/config"] {
        case.table("check", request, &ALL, &[16], &reset);
    }
}
