//! Pulls from real repositories into real sysroots, and deploys what came.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod ostree_common;

use std::fs;
use std::os::unix::fs::symlink;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use ostree_common::http::{Answer, HttpServer, Request};
use ostree_common::{Device, Server, noise, run, text};
use rust_ota::gateway::{Http, HttpSettings, PlainHttp};
use rust_ota::payload::ostree::{
    Booted, FolderSource, HttpSource, OstreeSettings, Progress, PullOptions, Sysroot, plan, pull,
};

#[test]
fn every_kind_of_object_arrives_as_it_was() {
    let (server, device) = (Server::new(), Device::new());
    server.write_hard_cases();
    let commit = server.commit();
    let source = FolderSource::new(server.repo());
    let sysroot = device.open();

    let planned = plan(&sysroot, &source, &commit, &PullOptions::default()).unwrap();
    assert!(!planned.complete);
    let sizes = planned.sizes.unwrap();

    let mut steps = Vec::<Progress>::new();
    let report = pull(&sysroot, &source, &commit, &PullOptions::default(), &mut |p| steps.push(p)).unwrap();

    assert_eq!((report.objects, report.bytes), (sizes.objects, sizes.download));
    let last = steps.last().unwrap();
    assert_eq!((last.objects_done, last.bytes_total), (last.objects_total, Some(last.bytes_done)));
    assert!(
        steps
            .windows(2)
            .all(|w| w[0].objects_done <= w[1].objects_done && w[0].bytes_done <= w[1].bytes_done)
    );
    assert!(steps.windows(2).all(|w| w[0].objects_total <= w[1].objects_total));

    assert!(sysroot.repo_has(&commit).unwrap());
    assert!(!device.partial_marker(&commit).exists());
    assert!(device.fsck().contains("complete"), "{}", device.fsck());
    // What libostree's own reader sees on both sides is the same, and so is a checkout.
    let list = |repo| run("ostree", &["ls", "-R", "-C", "-X", "--repo", repo, &commit]);
    assert_eq!(list(text(&server.repo())), list(text(&device.repo())));
    let out = device.folder.join("out");
    run("ostree", &["checkout", "--repo", text(&device.repo()), &commit, text(&out)]);
    run("diff", &["-r", "--no-dereference", text(&out), text(&server.tree(""))]);

    let again = pull(&sysroot, &source, &commit, &PullOptions::default(), &mut |_| {}).unwrap();
    assert_eq!(again.objects, 0);
    assert!(plan(&sysroot, &source, &commit, &PullOptions::default()).unwrap().complete);
}

#[test]
fn a_commit_without_sizes_is_pulled_too() {
    let (server, device) = (Server::new(), Device::new());
    server.write_hard_cases();
    let commit = server.commit_with(&[]);
    let (source, sysroot) = (FolderSource::new(server.repo()), device.open());
    assert_eq!(plan(&sysroot, &source, &commit, &PullOptions::default()).unwrap().sizes, None);
    pull(&sysroot, &source, &commit, &PullOptions::default(), &mut |_| {}).unwrap();
    device.fsck();
    assert!(sysroot.repo_has(&commit).unwrap());
}

#[test]
fn an_update_brings_only_what_changed() {
    let (server, device) = (Server::new(), Device::new());
    server.write_hard_cases();
    let first = server.commit();
    let (source, sysroot) = (FolderSource::new(server.repo()), device.open());
    pull(&sysroot, &source, &first, &PullOptions::default(), &mut |_| {}).unwrap();
    server.write("usr/share/many/0/0", "changed\n");
    let second = server.commit();
    let planned = plan(&sysroot, &source, &second, &PullOptions::default()).unwrap().sizes.unwrap();
    let report = pull(&sysroot, &source, &second, &PullOptions::default(), &mut |_| {}).unwrap();
    // The commit, the file, and the folders 0, many, share, usr and the root.
    assert_eq!((report.objects, planned.objects), (7, 7));
}

#[test]
fn a_commit_object_alone_is_not_the_commit() {
    let (server, device) = (Server::new(), Device::new());
    let commit = server.commit();
    let url = format!("file://{}", server.repo().display());
    run("ostree", &["remote", "add", "--no-gpg-verify", "--repo", text(&device.repo()), "r", &url]);
    run("ostree", &["pull", "--commit-metadata-only", "--repo", text(&device.repo()), "r", &commit]);
    let (source, sysroot) = (FolderSource::new(server.repo()), device.open());
    assert!(!sysroot.repo_has(&commit).unwrap());
    assert!(sysroot.deploy(&commit, "x").unwrap_err().to_string().contains("download it first"));
    assert!(sysroot.repo_has(&commit[..20]).is_err(), "a prefix is not a name");
    pull(&sysroot, &source, &commit, &PullOptions::default(), &mut |_| {}).unwrap();
    assert!(sysroot.repo_has(&commit).unwrap());
    device.fsck();
}

#[test]
fn what_was_lost_is_fetched_again() {
    let (server, device) = (Server::new(), Device::new());
    server.write_hard_cases();
    let commit = server.commit();
    let (source, sysroot) = (FolderSource::new(server.repo()), device.open());
    pull(&sysroot, &source, &commit, &PullOptions::default(), &mut |_| {}).unwrap();
    let lost = server.object(&commit, "/usr/share/large");
    let lost = lost.strip_prefix(server.repo()).unwrap().with_extension("file");
    fs::remove_file(device.repo().join(lost)).unwrap();
    assert!(sysroot.mend(&commit).unwrap() > 0);
    let report = pull(&sysroot, &source, &commit, &PullOptions::default(), &mut |_| {}).unwrap();
    assert_eq!(report.objects, 1);
    assert_eq!(sysroot.mend(&commit).unwrap(), 0);
    device.fsck();
}

#[test]
fn what_changed_on_the_disk_is_found() {
    let (server, device) = (Server::new(), Device::new());
    let commit = server.commit();
    let (source, sysroot) = (FolderSource::new(server.repo()), device.open());
    pull(&sysroot, &source, &commit, &PullOptions::default(), &mut |_| {}).unwrap();
    let object = server.object(&commit, "/usr/etc/default.conf");
    let object = object.strip_prefix(server.repo()).unwrap().with_extension("file");
    fs::write(device.repo().join(&object), "changed").unwrap();
    assert_eq!(sysroot.mend(&commit).unwrap(), 1);
    assert!(!sysroot.repo_has(&commit).unwrap());
    assert_eq!(pull(&sysroot, &source, &commit, &PullOptions::default(), &mut |_| {}).unwrap().objects, 1);
    assert_eq!(sysroot.mend(&commit).unwrap(), 0);
    device.fsck();
}

/// The other half of `memory_does_not_grow_with_a_file`: runs in a process of its own, which prints its peak.
#[test]
#[ignore = "a helper process of another test"]
fn pull_and_print_peak() {
    let get = |name| std::env::var(name).unwrap();
    let settings = OstreeSettings { path: get("DEVICE").into(), os: None, booted: Booted::Index(0) };
    let sysroot = Sysroot::open(&settings).unwrap();
    let server = get("SERVER");
    let commit = get("COMMIT");
    if server.starts_with("http") {
        // From a server that lies.
        let settings =
            HttpSettings { plain_http: PlainHttp::Any, idle_connections: 64, ..HttpSettings::default() };
        let source = HttpSource::new(Http::new(&settings).unwrap(), &server);
        pull(&sysroot, &source, &commit, &PullOptions::default(), &mut |_| {}).unwrap_err();
    } else {
        let source = FolderSource::new(server);
        pull(&sysroot, &source, &commit, &PullOptions::default(), &mut |_| {}).unwrap();
    }
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let peak = status.lines().find_map(|l| l.strip_prefix("VmHWM:")).unwrap();
    println!("peak {}", peak.trim());
}

fn peak_of(device: &Device, server: &str, commit: &str) -> u64 {
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "pull_and_print_peak", "--nocapture"])
        .env("DEVICE", device.root())
        .env("SERVER", server)
        .env("COMMIT", commit)
        .output()
        .unwrap();
    let output = String::from_utf8(output.stdout).unwrap();
    let peak = output.lines().find_map(|l| l.split_once("peak ")).expect("a peak").1;
    peak.split(' ').next().unwrap().parse::<u64>().unwrap()
}

/// Metadata of unknown length that never ends, for as many threads as ask.
#[test]
fn memory_does_not_grow_with_what_a_server_sends() {
    let server = Server::new();
    for i in 0..200 {
        server.write(&format!("usr/share/{i}/file"), format!("{i}"));
    }
    let commit = server.commit_with(&[]);
    for kind in ["commit", "dirtree"] {
        let device = Device::new();
        let answered = AtomicUsize::new(0);
        let http = HttpServer::with_faults(server.repo(), move |request: &Request| {
            // The first come honestly and late, so that there are threads enough.
            if answered.fetch_add(1, Ordering::Relaxed) < 60 && kind != "commit" {
                std::thread::sleep(Duration::from_millis(20));
            } else if request.path.ends_with(kind) {
                return Answer::Endless;
            }
            Answer::File
        });
        let peak = peak_of(&device, &http.url(), &commit);
        println!("{kind}: {peak} kB");
        assert!(peak < 64 * 1024, "{kind}: {peak} kB");
        let left = fs::read_dir(device.repo().join("tmp")).unwrap().flatten();
        let left: u64 = left.map(|e| e.metadata().unwrap()).filter(|m| m.is_file()).map(|m| m.len()).sum();
        assert!(left < 256 << 20, "{kind}: {left} bytes are left on the disk");
    }
}

/// More than 128 KiB of names in one folder, which libostree takes too.
#[test]
fn a_folder_of_very_many_names_arrives() {
    let (server, device) = (Server::new(), Device::new());
    let folder = server.tree("usr/share/many");
    fs::create_dir_all(&folder).unwrap();
    for i in 0..5_000 {
        symlink("../x", folder.join(format!("a-name-of-a-file-{i:06}-{}", "n".repeat(i % 200)))).unwrap();
    }
    for options in [&["--generate-sizes"][..], &[]] {
        let commit = server.commit_with(options);
        let source = FolderSource::new(server.repo());
        pull(&device.open(), &source, &commit, &PullOptions::default(), &mut |_| {}).unwrap();
        assert!(device.open().repo_has(&commit).unwrap());
        device.fsck();
    }
}

#[test]
fn memory_does_not_grow_with_a_file() {
    let peak = |megabytes: usize| {
        let (server, device) = (Server::new(), Device::new());
        server.write("usr/share/file", noise(megabytes << 20, 5));
        peak_of(&device, text(&server.repo()), &server.commit())
    };
    let (small, large) = (peak(1), peak(40));
    assert!(large < small + 8 * 1024, "{small} kB for 1 MB, {large} kB for 40 MB");
}
