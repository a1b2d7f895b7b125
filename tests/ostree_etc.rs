//! What a device's own people and programs leave in /etc, and what becomes of it with the next system.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod ostree_common;

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use ostree_common::http::HttpServer;
use ostree_common::{Device, Server, run, text};
use rust_ota::gateway::{Http, HttpSettings, PlainHttp};
use rust_ota::payload::ostree::{FolderSource, HttpSource, OstreeError, PullOptions, pull};

fn fetch(server: &Server, device: &Device, commit: &str) -> Result<(), OstreeError> {
    let source = FolderSource::new(server.repo());
    pull(&device.open(), &source, commit, &PullOptions::default(), &mut |_| {}).map(drop)
}

fn next(server: &Server, device: &Device) -> Result<String, OstreeError> {
    let commit = server.commit();
    fetch(server, device, &commit)?;
    device.open().deploy(&commit, "name").map(|()| commit)
}

/// The folders of all deployments, the first of the list first.
fn deployments(device: &Device) -> Vec<PathBuf> {
    let folder = device.root().join("ostree/deploy/test/deploy");
    device.commits(0).iter().map(|commit| folder.join(format!("{commit}.0"))).collect()
}

/// A device that runs a system with this in it, and its /etc.
fn world(files: &[&str]) -> (Server, Device, PathBuf) {
    let (server, device) = (Server::new(), Device::new());
    for file in files {
        server.write(&format!("usr/etc/{file}"), "of the system\n");
    }
    next(&server, &device).unwrap();
    let etc = deployments(&device)[0].join("etc");
    (server, device, etc)
}

fn write(path: &Path, content: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, content).unwrap();
}

fn put_back(from: &Path, to: &Path) {
    run("find", &[text(to), "-mindepth", "1", "-delete"]);
    run("cp", &["-a", &format!("{}/.", from.display()), text(to)]);
}

#[test]
fn what_is_no_file_stays_behind_and_all_else_comes_along() {
    let (server, device, etc) = world(&["app/shipped.conf"]);
    write(&etc.join("own/app.conf"), "local\n");
    write(&etc.join("app/shipped.conf"), "edited\n");
    fs::set_permissions(etc.join("own"), fs::Permissions::from_mode(0o1750)).unwrap();
    fs::set_permissions(etc.join("own/app.conf"), fs::Permissions::from_mode(0o4711)).unwrap();
    run("chown", &["1234:4321", text(&etc.join("own")), text(&etc.join("own/app.conf"))]);
    fs::set_permissions(etc.join("own/app.conf"), fs::Permissions::from_mode(0o4711)).unwrap();
    for path in ["own", "own/app.conf"] {
        rustix::fs::setxattr(etc.join(path), "user.colour", b"blue", rustix::fs::XattrFlags::empty())
            .unwrap();
    }
    symlink("app.conf", etc.join("own/link")).unwrap();
    fs::hard_link(etc.join("own/app.conf"), etc.join("own/again")).unwrap();
    // Below a folder of the device's own, and beside the system's files.
    for folder in ["own/deep/er", "app", ""] {
        fs::create_dir_all(etc.join(folder)).unwrap();
        for kind in ["p", "c", "b"] {
            let path = etc.join(folder).join(format!("special-{kind}"));
            let number: &[&str] = if kind == "p" { &[] } else { &["1", "5"] };
            run("mknod", &[&[text(&path), kind], number].concat());
        }
        let short = device.folder.join("s");
        drop(UnixListener::bind(&short).unwrap());
        fs::rename(short, etc.join(folder).join("socket")).unwrap();
    }
    server.write("usr/etc/version", "2");
    next(&server, &device).unwrap();
    let new = deployments(&device)[0].join("etc");
    let read = |path: &str| fs::read_to_string(new.join(path)).unwrap();
    assert_eq!(
        (read("own/app.conf"), read("app/shipped.conf"), read("version")),
        ("local\n".into(), "edited\n".into(), "2".into())
    );
    for (path, mode) in [("own", 0o41750), ("own/app.conf", 0o104711)] {
        let file = fs::metadata(new.join(path)).unwrap();
        assert_eq!((file.uid(), file.gid(), file.mode()), (1234, 4321, mode), "{path}");
        let mut value = [0; 8];
        assert_eq!(rustix::fs::getxattr(new.join(path), "user.colour", &mut value).unwrap(), 4, "{path}");
    }
    assert_eq!(fs::read_link(new.join("own/link")).unwrap(), Path::new("app.conf"));
    assert_eq!(read("own/again"), "local\n");
    for folder in ["own/deep/er", "app", ""] {
        let left: Vec<_> = fs::read_dir(new.join(folder)).unwrap().flatten().map(|e| e.file_name()).collect();
        assert!(
            left.iter().all(|n| !n.to_string_lossy().starts_with("special") && n != "socket"),
            "{left:?}"
        );
        assert!(etc.join(folder).join("socket").exists(), "what runs keeps its own");
    }
    let folders = fs::read_dir(device.root().join("ostree/deploy/test/deploy")).unwrap().flatten();
    assert_eq!(folders.filter(|f| f.path().is_dir()).count(), 2, "nothing else is left");
    assert_eq!(fs::metadata(etc.join("own/app.conf")).unwrap().nlink(), 2);
    device.fsck();
}

/// What a merge cannot settle is told before the first file is fetched, by its name.
#[test]
fn a_folder_against_a_file_is_told_before_the_download() {
    type Change = fn(&Path);
    let local: [(&str, Change); 6] = [
        ("/etc/own", |etc| write(&etc.join("own"), "local\n")),
        ("/etc/own", |etc| symlink("/nowhere", etc.join("own")).unwrap()),
        ("/etc/app", |etc| {
            fs::remove_dir_all(etc.join("app")).unwrap();
            symlink("/var/app", etc.join("app")).unwrap();
        }),
        ("/etc/turns", |etc| write(&etc.join("turns/shipped.conf"), "edited\n")),
        ("/etc/turns", |etc| write(&etc.join("turns/added.conf"), "local\n")),
        ("/etc/turns", |etc| fs::remove_file(etc.join("turns/shipped.conf")).unwrap()),
    ];
    for (index, (path, change)) in local.into_iter().enumerate() {
        let (server, device, etc) = world(&["app/shipped.conf", "turns/shipped.conf"]);
        change(&etc);
        server.write("usr/etc/own/shipped.conf", "of the system\n");
        fs::remove_dir_all(server.tree("usr/etc/turns")).unwrap();
        match index % 2 {
            0 => server.write("usr/etc/turns", "a file\n"),
            _ => symlink("../usr/lib", server.tree("usr/etc/turns")).unwrap(),
        }
        let http = HttpServer::new(server.repo());
        let settings = HttpSettings { plain_http: PlainHttp::Any, ..HttpSettings::default() };
        let source = HttpSource::new(Http::new(&settings).unwrap(), &http.url());
        let commit = server.commit();
        let result = pull(&device.open(), &source, &commit, &PullOptions::default(), &mut |_| {});
        let error = result.unwrap_err().to_string();
        assert!(
            error.starts_with(&format!("{path}: ")) && error.contains("Move it away"),
            "{index}: {error}"
        );
        assert!(
            http.requests().iter().all(|request| !request.path.ends_with("filez")),
            "no file was asked for"
        );
        // Changed after the download: told before the deployment.
        let (local, shipped) = (device.folder.join("local"), etc.join("../usr/etc"));
        run("cp", &["-a", text(&etc), text(&local)]);
        put_back(&shipped, &etc);
        fetch(&server, &device, &commit).unwrap();
        put_back(&local, &etc);
        let error = device.open().deploy(&commit, "name").unwrap_err().to_string();
        assert!(error.starts_with(&format!("{path}: ")), "{index}: {error}");
        assert_eq!(device.commits(0).len(), 1, "the deployments before are unchanged");
        put_back(&shipped, &etc);
        device.open().deploy(&commit, "name").unwrap();
    }
}

/// What the device has wins where that is possible.
#[test]
fn a_folder_of_the_device_takes_the_place_of_a_new_file() {
    let (server, device, etc) = world(&["file"]);
    write(&etc.join("own/deep/file"), "local\n");
    fs::remove_file(etc.join("file")).unwrap();
    write(&etc.join("file/inside"), "local\n");
    server.write("usr/etc/own", "of the system\n");
    next(&server, &device).unwrap();
    let new = deployments(&device)[0].join("etc");
    assert_eq!(fs::read_to_string(new.join("own/deep/file")).unwrap(), "local\n");
    assert_eq!(fs::read_to_string(new.join("file/inside")).unwrap(), "local\n");
}

#[test]
fn any_name_and_any_lock_comes_along_and_goes_with_its_system() {
    let (server, device, etc) = world(&[]);
    let names: [&[u8]; 4] = [b"caf\xe9", b"line\nbreak", b"-rf *", b"a\\b\"c"];
    for name in names {
        write(&etc.join("names").join(OsStr::from_bytes(name)), "local\n");
    }
    write(&etc.join("own/locked.conf"), "locked\n");
    write(&etc.join("log"), "grows\n");
    run("chattr", &["+i", text(&etc.join("own/locked.conf")), text(&etc.join("own"))]);
    run("chattr", &["+a", text(&etc.join("log"))]);
    run("mkfifo", &[text(&etc.join("fifo"))]);
    for version in ["2", "3", "4"] {
        server.write("usr/etc/version", version);
        next(&server, &device).unwrap();
        let new = deployments(&device)[0].join("etc");
        for name in names {
            assert!(new.join("names").join(OsStr::from_bytes(name)).exists());
        }
        assert_eq!(fs::read_to_string(new.join("own/locked.conf")).unwrap(), "locked\n");
        run("chattr", &["+i", text(&new.join("own/locked.conf"))]);
        let folders = fs::read_dir(device.root().join("ostree/deploy/test/deploy")).unwrap().flatten();
        assert_eq!(folders.filter(|f| f.path().is_dir()).count(), 2, "the oldest is gone");
    }
    device.fsck();
}

/// Deeper than any path that the kernel takes.
#[test]
fn a_path_that_is_too_long_is_told_by_its_beginning() {
    let (server, device, etc) = world(&[]);
    let script = "import os, sys\nos.chdir(sys.argv[1])\nfor name in ['deep'] + 30 * ['d' * 200]:\n    os.mkdir(name)\n    os.chdir(name)";
    run("python3", &["-c", script, text(&etc)]);
    server.write("usr/etc/version", "2");
    let error = next(&server, &device).unwrap_err().to_string();
    assert!(error.starts_with("/etc/deep/ddd") && error.contains("cannot be read"), "{error}");
}
