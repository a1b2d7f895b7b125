//! What a power cut leaves in the device's repository, and a volume of /boot that is too small.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod ostree_common;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;

use ostree_common::http::HttpServer;
use ostree_common::{Device, Server, noise, run, text};
use rust_ota::gateway::{Http, HttpSettings, PlainHttp};
use rust_ota::payload::ostree::{
    Booted, FolderSource, HttpSource, OstreeError, OstreeErrorClass, OstreeSettings, PullOptions, PullReport,
    Sysroot, pull,
};

fn fetch(server: &Server, device: &Device, commit: &str) -> Result<PullReport, OstreeError> {
    pull(&device.open(), &FolderSource::new(server.repo()), commit, &PullOptions::default(), &mut |_| {})
}

/// A device that runs one commit, and the next one beside it, fetched.
fn world() -> (Server, Device, String, String) {
    let (server, device) = (Server::new(), Device::new());
    let first = server.commit();
    fetch(&server, &device, &first).unwrap();
    device.open().deploy(&first, "first").unwrap();
    server.write("usr/share/new/file", "new\n");
    let second = server.commit();
    fetch(&server, &device, &second).unwrap();
    (server, device, first, second)
}

fn objects(device: &Device, extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for folder in fs::read_dir(device.repo().join("objects")).unwrap().flatten() {
        let files = fs::read_dir(folder.path()).unwrap().flatten().map(|file| file.path());
        found.extend(files.filter(|file| file.extension().is_some_and(|e| e == extension)));
    }
    found
}

type Damage = fn(Vec<u8>) -> Vec<u8>;
const EMPTY: Damage = |_| Vec::new();
const HALF: Damage = |bytes| bytes[..bytes.len() / 2].to_vec();
const ZEROS: Damage = |bytes| vec![0; bytes.len()];

fn damage(path: &PathBuf, how: Damage) {
    let bytes = fs::read(path).unwrap();
    // Another file: the one that a deployment shares stays as it is.
    fs::remove_file(path).unwrap();
    fs::write(path, how(bytes)).unwrap();
}

#[test]
fn damaged_metadata_is_never_used_and_comes_again() {
    for how in [EMPTY, HALF, ZEROS] {
        for kind in ["commit", "dirtree", "dirmeta"] {
            let (server, device, first, second) = world();
            // Of both systems: also the running one's commit is read by libostree.
            for path in objects(&device, kind) {
                damage(&path, how);
            }
            if kind == "commit" {
                assert!(!device.open().repo_has(&first).unwrap());
                let error = device.open().deploy(&second, "second").unwrap_err();
                assert!(matches!(error, OstreeError::NotPulled { .. }), "{error}");
            }
            fetch(&server, &device, &second).unwrap();
            assert_eq!(device.open().mend(&second).unwrap(), 0);
            device.open().deploy(&second, "second").unwrap();
            assert_eq!(device.commits(1), [second, first]);
            assert!(!device.fsck().contains("partial"));
        }
    }
}

#[test]
fn a_damaged_file_is_found_removed_and_fetched() {
    for how in [EMPTY, HALF, ZEROS] {
        let (server, device, _, second) = world();
        for path in objects(&device, "file").into_iter().take(2) {
            if path.is_file() && fs::metadata(&path).unwrap().len() > 1 {
                damage(&path, how);
                assert_eq!(device.open().mend(&second).unwrap(), 1);
                assert!(!device.open().repo_has(&second).unwrap());
                assert_eq!(fetch(&server, &device, &second).unwrap().objects, 1);
            }
        }
        assert_eq!(device.open().mend(&second).unwrap(), 0);
        device.fsck();
    }
}

/// The server has the running system's commit no more: the update goes on as far as libostree lets it, and nothing dies.
#[test]
fn what_cannot_be_restored_stops_nothing_else() {
    let (server, device, first, second) = world();
    let object = format!("objects/{}/{}.commit", &first[..2], &first[2..]);
    damage(&device.repo().join(&object), EMPTY);
    fs::remove_file(server.repo().join(&object)).unwrap();
    fetch(&server, &device, &second).unwrap();
    device.open().cleanup().unwrap();
    assert!(device.open().repo_has(&second).unwrap());
}

#[test]
fn a_ref_that_names_nothing_is_no_obstacle() {
    for content in ["", "garbage\n", &format!("{}\n", "ab".repeat(32))] {
        let (server, device, _, second) = world();
        fs::create_dir_all(device.repo().join("refs/heads/some")).unwrap();
        for name in ["rust-ota/pulled", "some/one"] {
            fs::write(device.repo().join("refs/heads").join(name), content).unwrap();
        }
        fetch(&server, &device, &second).unwrap();
        device.open().deploy(&second, "second").unwrap();
        device.open().cleanup().unwrap();
    }
}

/// The files without which libostree opens nothing: no command would work again.
#[test]
fn a_damaged_configuration_of_the_repository_is_put_right() {
    let (server, device, first, second) = world();
    let config = device.repo().join("config");
    run("ostree", &["config", "--repo", text(&device.repo()), "set", "core.min-free-space-size", "7MB"]);
    fetch(&server, &device, &second).unwrap();
    let whole = fs::read(&config).unwrap();
    for with_copy in [true, false] {
        for how in [EMPTY, HALF, ZEROS] {
            let before = fs::read(&config).unwrap();
            damage(&config, how);
            if !with_copy {
                let _ = fs::remove_file(device.repo().join("config.copy"));
            }
            assert_eq!(device.open().booted_commit().unwrap().unwrap(), first);
            assert_eq!(fs::read(device.repo().join("config.damaged")).unwrap(), how(before));
            if with_copy {
                assert_eq!(fs::read(&config).unwrap(), whole);
            }
            device.fsck();
        }
    }
    fs::remove_file(&config).unwrap();
    device.open().deploy(&second, "second").unwrap();
    assert_eq!(device.commits(1), [second, first]);
}

#[test]
fn folders_of_the_repository_that_are_gone_are_made() {
    for folder in ["refs", "refs/heads", "tmp", "state"] {
        let (server, device, first, second) = world();
        fs::remove_dir_all(device.repo().join(folder)).unwrap();
        fetch(&server, &device, &second).unwrap();
        device.open().deploy(&second, "second").unwrap();
        device.open().cleanup().unwrap();
        assert_eq!(device.commits(1), [second, first], "{folder}");
    }
}

#[test]
fn a_damaged_origin_of_a_deployment_stops_nothing() {
    for how in [EMPTY, HALF, ZEROS, |bytes: Vec<u8>| [&bytes[..], b"\xff\xfe garbage"].concat()] {
        let (server, device, first, second) = world();
        let origin = device.root().join(format!("ostree/deploy/test/deploy/{first}.0.origin"));
        damage(&origin, how);
        assert_eq!(device.open().booted_commit().unwrap().unwrap(), first);
        fetch(&server, &device, &second).unwrap();
        device.open().deploy(&second, "second").unwrap();
        assert_eq!(device.commits(1), [second, first]);
    }
}

#[test]
fn a_marker_of_an_incomplete_commit_may_say_anything() {
    for content in ["", "f", "garbage", "\0\0\0\0"] {
        let (server, device, _, second) = world();
        fs::write(device.partial_marker(&second), content).unwrap();
        assert!(!device.open().repo_has(&second).unwrap());
        fetch(&server, &device, &second).unwrap();
        assert!(device.open().repo_has(&second).unwrap());
        device.open().deploy(&second, "second").unwrap();
        assert!(!device.fsck().contains("partial"));
    }
}

/// Something else in the place of an object, or the right content with another mode.
#[test]
fn an_object_of_another_kind_or_mode_comes_again() {
    type Change = fn(&PathBuf);
    let folder: Change = |path| {
        fs::remove_file(path).unwrap();
        fs::create_dir(path).unwrap();
        fs::write(path.join("inside"), "").unwrap();
    };
    let link: Change = |path| {
        fs::remove_file(path).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", path).unwrap();
    };
    let mode: Change = |path| {
        // Another file: the one that a deployment shares stays as it is.
        let bytes = fs::read(path).unwrap();
        fs::remove_file(path).unwrap();
        fs::write(path, bytes).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o6777)).unwrap();
    };
    let table = [
        ("commit", folder, true),
        ("commit", mode, false),
        ("dirtree", link, true),
        ("dirmeta", folder, true),
        ("file", folder, true),
        ("file", link, true),
        ("file", mode, true),
    ];
    for (kind, change, is_lost) in table {
        let (server, device, first, second) = world();
        for path in objects(&device, kind) {
            change(&path);
        }
        assert_eq!(device.open().mend(&second).unwrap() > 0, is_lost, "{kind}");
        fetch(&server, &device, &second).unwrap();
        assert_eq!(device.open().mend(&second).unwrap(), 0, "{kind}");
        device.open().deploy(&second, "second").unwrap();
        assert_eq!(device.commits(1), [second, first]);
    }
}

/// A volume of its own for /boot, with what is in it; unmounted with the test.
struct Boot(PathBuf);

impl Boot {
    fn mount(device: &Device, options: &str) -> Boot {
        let boot = device.root().join("boot");
        let copy = device.folder.join("boot.copy");
        run("cp", &["-aT", text(&boot), text(&copy)]);
        run("mount", &["-t", "tmpfs", "-o", options, "none", text(&boot)]);
        let mounted = Boot(boot);
        run("cp", &["-a", &format!("{}/.", copy.display()), text(&mounted.0)]);
        mounted
    }

    fn change(&self, options: &str) {
        run("mount", &["-o", &format!("remount,{options}"), text(&self.0)]);
    }
}

impl Drop for Boot {
    fn drop(&mut self) {
        let _ = Command::new("umount").args(["-l", text(&self.0)]).status();
    }
}

/// Pulls from a server that counts; tells whether a whole file was asked for. The head of one is enough for its size.
fn pull_counted(server: &Server, device: &Device, commit: &str) -> (Result<PullReport, OstreeError>, usize) {
    let http = HttpServer::new(server.repo());
    let settings =
        HttpSettings { plain_http: PlainHttp::Any, idle_connections: 64, ..HttpSettings::default() };
    let source = HttpSource::new(Http::new(&settings).unwrap(), &http.url());
    let result = pull(&device.open(), &source, commit, &PullOptions::default(), &mut |_| {});
    (result, http.requests().iter().filter(|request| request.path.ends_with("filez")).count())
}

/// The kernel does not fit into /boot: told before the first file, by the volume's name. Also where the commit has no sizes.
#[test]
fn room_in_boot_is_asked_for_before_the_download() {
    for (options, asked) in [(&["--generate-sizes"][..], 0), (&[], 1)] {
        let (server, device, ..) = world();
        server.write("usr/lib/modules/6.1.0/vmlinuz", noise(3 << 20, 7));
        let third = server.commit_with(options);
        let boot = Boot::mount(&device, "size=2m");
        let (result, files) = pull_counted(&server, &device, &third);
        let error = result.unwrap_err();
        assert_eq!(error.class(), OstreeErrorClass::NoSpace);
        let OstreeError::NoSpace { path, needed: Some(needed), available, .. } = error else {
            panic!("{error}")
        };
        assert_eq!(path, boot.0.canonicalize().unwrap());
        assert!(needed >= 3 << 20 && available < 2 << 20);
        assert!(files <= asked, "{files} files were asked for");
        boot.change("size=20m");
        fetch(&server, &device, &third).unwrap();
        device.open().deploy(&third, "third").unwrap();
    }
}

#[test]
fn inodes_of_boot_are_asked_for_before_the_download() {
    let (server, device, ..) = world();
    for index in 0..40 {
        server.write(&format!("usr/lib/modules/6.1.0/dtb/board-{index}.dtb"), noise(100, index));
    }
    let third = server.commit();
    let boot = Boot::mount(&device, "size=20m,nr_inodes=30");
    let (result, files) = pull_counted(&server, &device, &third);
    let error = result.unwrap_err();
    let OstreeError::NoInodes { ref path, needed, available } = error else { panic!("{error}") };
    assert_eq!(*path, boot.0.canonicalize().unwrap());
    assert!(needed >= 40 && available < 30 && files == 0);
    assert!(error.to_string().contains(&format!("{needed} are needed, {available} are there")), "{error}");
    // A file system that does not count them, as FAT: no reason to refuse.
    drop(boot);
    let _boot = Boot::mount(&device, "size=20m,nr_inodes=0");
    fetch(&server, &device, &third).unwrap();
    device.open().deploy(&third, "third").unwrap();
}

#[test]
fn inodes_of_the_sysroot_are_asked_for_before_the_download() {
    let (server, device, ..) = world();
    for index in 0..300 {
        server.write(&format!("usr/share/many/{index}/file"), format!("{index}"));
    }
    let third = server.commit();
    let whole = device.root();
    let copy = device.folder.join("root.copy");
    run("chattr", &["-R", "-f", "-i", text(&whole.join("ostree/deploy/test/deploy"))]);
    run("cp", &["-a", text(&whole), text(&copy)]);
    run("mount", &["-t", "tmpfs", "-o", "size=200m,nr_inodes=500", "none", text(&whole)]);
    let mounted = Boot(whole.clone());
    run("cp", &["-a", &format!("{}/.", copy.display()), text(&whole)]);
    let (result, files) = pull_counted(&server, &device, &third);
    let error = result.unwrap_err();
    let OstreeError::NoInodes { ref path, needed, .. } = error else { panic!("{error}") };
    assert_eq!((path, files), (&mounted.0.canonicalize().unwrap(), 0));
    assert!(needed > 600, "folders of the deployment count too: {needed}");
}

/// Two kernels fit into /boot and a third does not: the system before the running one gives way.
#[test]
fn a_boot_that_has_room_for_two_kernels_is_enough() {
    let (server, device) = (Server::new(), Device::new());
    let mut systems = Vec::new();
    for version in 0..2 {
        server.write("usr/lib/modules/6.1.0/vmlinuz", noise(3 << 20, version));
        systems.push(server.commit());
        fetch(&server, &device, &systems[version as usize]).unwrap();
        device.open().deploy(&systems[version as usize], "name").unwrap();
    }
    server.write("usr/lib/modules/6.1.0/vmlinuz", noise(3 << 20, 3));
    let third = server.commit();
    let _boot = Boot::mount(&device, "size=8m");
    fetch(&server, &device, &third).unwrap();
    device.open().deploy(&third, "third").unwrap();
    assert_eq!(device.commits(0), [third, systems[1].clone()]);
    device.fsck();
}

/// Of the system that does not run: its entry in the menu, or what that leads to.
#[test]
fn a_damaged_entry_of_the_menu_stops_nothing() {
    const CUT: Damage = |bytes| bytes[..bytes.windows(3).position(|w| w == b"/0\n").unwrap()].to_vec();
    for how in [EMPTY, |bytes| bytes[..20].to_vec(), ZEROS, CUT] {
        let (server, device, first, second) = world();
        device.open().deploy(&second, "second").unwrap();
        let menu = device.root().join("boot/loader/entries");
        damage(&menu.join("ostree-2-test.conf"), how);
        // Of another system, which libostree leaves alone.
        fs::write(menu.join("rescue.conf"), "title Rescue\nlinux /rescue\n").unwrap();
        assert_eq!(device.commits(0), std::slice::from_ref(&first));
        server.write("usr/share/new/file", "newer\n");
        let third = server.commit();
        fetch(&server, &device, &third).unwrap();
        device.open().deploy(&third, "third").unwrap();
        assert_eq!(device.commits(1), [third, first]);
        assert!(!device.root().join("boot/loader/entries/rescue.conf.damaged").exists());
    }
    let (_server, device, first, second) = world();
    device.open().deploy(&second, "second").unwrap();
    let gone = device.root().join(format!("ostree/deploy/test/deploy/{second}.0"));
    run("chattr", &["-i", text(&gone)]);
    fs::remove_dir_all(&gone).unwrap();
    assert_eq!(device.commits(0), [first]);
}

/// Nothing is taken out of a menu in which nothing would be left.
#[test]
fn a_menu_without_a_sound_entry_stays_as_it_is() {
    let (_server, device, _, _) = world();
    let entry = device.root().join("boot/loader/entries/ostree-1-test.conf");
    damage(&entry, EMPTY);
    let settings = OstreeSettings { path: device.root(), os: None, booted: Booted::Index(0) };
    assert!(Sysroot::open(&settings).is_err());
    assert!(entry.exists());
}
