//! Real deployments in a sysroot that libostree's own tools accept, with U-Boot's back-end.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod ostree_common;

use std::fs;

use ostree_common::{Device, Server, run, text};
use rust_ota::payload::ostree::{FolderSource, OstreeError, PullOptions, pull};

/// Commits the server's tree with `version` in it, pulls it, and deploys it as `name`.
fn update(server: &Server, device: &Device, booted: usize, version: &str) -> String {
    server.write("usr/etc/version", version);
    let commit = server.commit();
    fetch(server, device, &commit);
    device.open_booted(booted).deploy(&commit, &format!("name-{version}")).unwrap();
    commit
}

fn fetch(server: &Server, device: &Device, commit: &str) {
    let source = FolderSource::new(server.repo());
    pull(&device.open(), &source, commit, &PullOptions::default(), &mut |_| {}).unwrap();
}

/// What an image builder does: the first deployment, with kernel arguments.
fn first_deployment(server: &Server, device: &Device) -> String {
    let commit = server.commit();
    fetch(server, device, &commit);
    let root = device.root();
    let arguments = ["admin", "deploy", "--sysroot", text(&root), "--os=test"];
    let kargs =
        ["--karg-append=root=LABEL=otaroot", "--karg-append=quiet", "--karg-append=console=ttyS0,115200"];
    run("ostree", &[&arguments[..], &kargs[..], &[&commit]].concat());
    commit
}

fn uenv(device: &Device) -> String {
    fs::read_to_string(device.root().join("boot/loader/uEnv.txt")).unwrap()
}

fn value<'a>(uenv: &'a str, key: &str) -> &'a str {
    uenv.lines().find_map(|l| l.strip_prefix(key)?.strip_prefix('=')).unwrap_or("")
}

/// The deployment's folder, from the kernel arguments that boot it.
fn etc(device: &Device, bootargs: &str) -> std::path::PathBuf {
    let link = bootargs.split(' ').find_map(|a| a.strip_prefix("ostree=/")).unwrap();
    fs::canonicalize(device.root().join(link)).unwrap().join("etc")
}

#[test]
fn an_update_keeps_arguments_and_etc_and_the_way_back() {
    let (server, device) = (Server::new(), Device::new());
    let a = first_deployment(&server, &device);
    let before = uenv(&device);
    let etc_a = etc(&device, value(&before, "bootargs"));
    fs::write(etc_a.join("default.conf"), "edited\n").unwrap();
    fs::write(etc_a.join("local.conf"), "local\n").unwrap();

    let b = update(&server, &device, 0, "2");
    assert_eq!(device.commits(0), [b.clone(), a.clone()]);
    let after = uenv(&device);
    let arguments = |text: &str| {
        text.split(' ').filter(|a| !a.starts_with("ostree=")).map(str::to_string).collect::<Vec<_>>()
    };
    assert_eq!(arguments(value(&after, "bootargs")), ["root=LABEL=otaroot", "quiet", "console=ttyS0,115200"]);
    assert_eq!(arguments(value(&after, "bootargs")), arguments(value(&before, "bootargs")));
    // The second entry is the way back.
    assert_eq!(etc(&device, value(&after, "bootargs2")), etc_a);
    let etc_b = etc(&device, value(&after, "bootargs"));
    assert_eq!(fs::read_to_string(etc_b.join("default.conf")).unwrap(), "edited\n");
    assert_eq!(fs::read_to_string(etc_b.join("local.conf")).unwrap(), "local\n");
    assert_eq!(fs::read_to_string(etc_b.join("version")).unwrap(), "2");
    for key in ["kernel_image", "ramdisk_image", "kernel_image2", "ramdisk_image2"] {
        assert!(device.root().join(&value(&after, key)[1..]).exists(), "{key}");
    }
    assert!(device.status().contains("name-2"), "{}", device.status());
    device.fsck();

    // The running one is now B; A goes when C comes.
    let c = update(&server, &device, 0, "3");
    assert_eq!(device.commits(0), [c, b]);
    let refs = run("ostree", &["refs", "--repo", text(&device.repo())]);
    assert!(!refs.contains("rust-ota"), "{refs}");
    let objects = run("ostree", &["log", "--repo", text(&device.repo()), &device.commits(0)[0]]);
    assert!(objects.contains("commit"), "{objects}");
    assert!(!device.open().repo_has(&a).unwrap(), "the oldest is pruned");
    device.fsck();
}

#[test]
fn deploying_what_is_first_already_changes_nothing() {
    let (server, device) = (Server::new(), Device::new());
    first_deployment(&server, &device);
    let b = update(&server, &device, 0, "2");
    let before = uenv(&device);
    device.open_booted(0).deploy(&b, "again").unwrap();
    // Also while it only waits for the reboot.
    device.open_booted(1).deploy(&b, "again").unwrap();
    assert_eq!(uenv(&device), before);
    assert!(!device.status().contains("again"));
}

#[test]
fn the_bootloader_went_back_and_order_is_made() {
    let (server, device) = (Server::new(), Device::new());
    let a = first_deployment(&server, &device);
    let bad = update(&server, &device, 0, "bad");
    let running = etc(&device, value(&uenv(&device), "bootargs2"));
    assert_eq!(device.open_booted(1).booted_commit().unwrap().unwrap(), a);

    assert_eq!(device.open_booted(1).put_in_order().unwrap(), [bad]);
    assert_eq!(device.commits(0), std::slice::from_ref(&a));
    let uenv = uenv(&device);
    assert_eq!(etc(&device, value(&uenv, "bootargs")), running);
    assert_eq!(value(&uenv, "kernel_image2"), "");
    assert!(device.open_booted(0).put_in_order().unwrap().is_empty());

    let c = update(&server, &device, 0, "good");
    assert_eq!(device.commits(0), [c, a]);
    device.fsck();
}

#[test]
fn the_next_update_comes_before_order_is_made() {
    let (server, device) = (Server::new(), Device::new());
    let a = first_deployment(&server, &device);
    let bad = update(&server, &device, 0, "bad");
    let c = update(&server, &device, 1, "good");
    assert_eq!(device.commits(0), [c, a.clone()]);
    assert!(!device.open().repo_has(&bad).unwrap());
    // /etc comes from the running one, not from the bad one.
    let uenv = uenv(&device);
    assert_eq!(fs::read_to_string(etc(&device, value(&uenv, "bootargs")).join("version")).unwrap(), "good");
}

#[test]
fn a_pinned_deployment_stays_behind_the_way_back() {
    let (server, device) = (Server::new(), Device::new());
    let a = first_deployment(&server, &device);
    run("ostree", &["admin", "pin", "--sysroot", text(&device.root()), "0"]);
    let b = update(&server, &device, 0, "2");
    let c = update(&server, &device, 0, "3");
    assert_eq!(device.commits(0), [c.clone(), b.clone(), a.clone()]);
    let d = update(&server, &device, 1, "4");
    assert_eq!(device.commits(0), [d.clone(), b.clone(), a.clone()], "B runs, C is given up");
    assert!(device.open_booted(1).undeploy_bad(&d).unwrap());
    assert_eq!(device.commits(0), [b.clone(), a.clone()]);
    assert!(!device.open_booted(0).undeploy_bad(&b).unwrap(), "what runs is never removed");
    assert!(!device.open_booted(0).undeploy_bad(&a).unwrap(), "nor what is pinned");
    device.fsck();
}

#[test]
fn the_running_commit_pushes_a_waiting_one_out() {
    let (server, device) = (Server::new(), Device::new());
    let a = first_deployment(&server, &device);
    update(&server, &device, 0, "2");
    device.open_booted(1).deploy(&a, "name-1").unwrap();
    assert_eq!(device.commits(0), [a]);
}

#[test]
fn back_to_a_commit_that_is_deployed_already() {
    let (server, device) = (Server::new(), Device::new());
    let a = first_deployment(&server, &device);
    let b = update(&server, &device, 0, "2");
    let waiting = etc(&device, value(&uenv(&device), "bootargs2"));
    device.open_booted(0).deploy(&a, "name-1").unwrap();
    assert_eq!(device.commits(0), [a, b]);
    // A fresh tree, not the old one: its /etc is merged from what runs.
    assert_ne!(etc(&device, value(&uenv(&device), "bootargs")), waiting);
}

#[test]
fn a_pulled_commit_survives_a_cleanup_and_a_discarded_one_does_not() {
    let (server, device) = (Server::new(), Device::new());
    first_deployment(&server, &device);
    server.write("usr/etc/version", "2");
    let commit = server.commit();
    fetch(&server, &device, &commit);
    device.open().cleanup().unwrap();
    assert!(device.open().repo_has(&commit).unwrap());
    device.open().discard(&commit).unwrap();
    assert!(!device.open().repo_has(&commit).unwrap());
    device.fsck();
}

#[test]
fn a_sysroot_of_another_program_is_busy() {
    let (server, device) = (Server::new(), Device::new());
    let a = first_deployment(&server, &device);
    server.write("usr/etc/version", "2");
    let commit = server.commit();
    fetch(&server, &device, &commit);
    let lock = fs::File::create(device.root().join("ostree/lock")).unwrap();
    rustix::fs::fcntl_lock(&lock, rustix::fs::FlockOperation::LockExclusive).unwrap();
    let error = device.open().deploy(&commit, "x").unwrap_err();
    assert!(matches!(error, OstreeError::Busy { .. }), "{error}");
    drop(lock);
    device.open().deploy(&commit, "x").unwrap();
    assert_eq!(device.commits(0), [commit, a]);
}

#[test]
fn a_new_sysroot_gets_its_first_deployment() {
    let (server, device) = (Server::new(), Device::new());
    let commit = server.commit();
    fetch(&server, &device, &commit);
    assert_eq!(device.open().booted_commit().unwrap(), None);
    device.open().deploy(&commit, "name-1").unwrap();
    let list = device.open().deployments().unwrap();
    assert_eq!((list.len(), list[0].booted, list[0].os.as_str()), (1, true, "test"));
    assert_eq!(list[0].origin.as_deref(), Some("name-1"));
}

/// A root that starts as a composefs image alone, and a libostree that cannot make one: nothing changes, and the words say the way out.
/// (SELinux is tested beside the code: Debian's libostree has it, and wants a whole policy.)
#[test]
fn a_kind_of_root_that_libostree_cannot_make_is_refused() {
    let (server, device) = (Server::new(), Device::new());
    let a = first_deployment(&server, &device);
    let before = uenv(&device);
    server.write("usr/lib/ostree/prepare-root.conf", "[composefs]\nenabled = yes\n");
    let b = server.commit();
    fetch(&server, &device, &b);
    let error = device.open_booted(0).deploy(&b, "name").unwrap_err();
    assert!(matches!(error, OstreeError::RootKind { .. }), "{error}");
    assert!(
        error.to_string().contains("composefs") && error.to_string().contains("RUST_OTA_BUILD"),
        "{error}"
    );
    assert_eq!((device.commits(0), uenv(&device)), (vec![a], before));
    let left = fs::read_dir(device.root().join("ostree/deploy/test/deploy")).unwrap();
    assert!(left.flatten().all(|e| !e.file_name().to_string_lossy().starts_with(&b)), "the folder is left");
}

#[test]
fn systems_of_other_names_stay() {
    let (server, device) = (Server::new(), Device::new());
    let a = first_deployment(&server, &device);
    let root = device.root();
    run("ostree", &["admin", "os-init", "--sysroot", text(&root), "other"]);
    let deploy = ["admin", "deploy", "--sysroot", text(&root), "--os=other", "--not-as-default", "--retain"];
    run("ostree", &[&deploy[..], &["--karg=root=LABEL=otaroot", &a]].concat());
    for version in ["2", "3"] {
        let commit = update(&server, &device, usize::from(version == "3"), version);
        let status = device.status();
        assert!(status.contains(&format!("test {commit}.0")), "{status}");
        assert!(status.contains(&format!("other {a}.0")), "{status}");
    }
}

#[test]
fn only_what_was_pulled_whole_is_deployed() {
    let (server, device) = (Server::new(), Device::new());
    let a = first_deployment(&server, &device);
    server.write("usr/etc/version", "2");
    let b = server.commit();
    let refused = |commit: &str| {
        let error = device.open_booted(0).deploy(commit, "b").unwrap_err();
        assert!(matches!(error, OstreeError::NotPulled { .. }), "{error}");
        assert_eq!(device.commits(0), std::slice::from_ref(&a));
    };
    refused(&b);
    fetch(&server, &device, &b);
    fs::write(device.partial_marker(&b), "").unwrap();
    refused(&b);
    fetch(&server, &device, &b);
    device.open_booted(0).deploy(&b, "b").unwrap();
}
