//! What goes wrong between a server and a device, and that the next pull works once the cause is gone.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod ostree_common;

use std::collections::HashSet;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use ostree_common::http::{Answer, HttpServer, Request};
use ostree_common::{Device, Server, noise, run, text};
use rust_ota::gateway::{Http, HttpSettings, PlainHttp};
use rust_ota::payload::ostree::{
    HttpSource, Limits, OstreeError, OstreeErrorClass, PullOptions, PullReport, plan, pull,
};

fn options() -> PullOptions {
    PullOptions { retries: 1, ..PullOptions::default() }
}

fn source(url: &str) -> HttpSource {
    let settings = HttpSettings {
        plain_http: PlainHttp::Any,
        idle_connections: 64,
        stall_timeout: Duration::from_secs(1),
        ..HttpSettings::default()
    };
    HttpSource::new(Http::new(&settings).unwrap(), url)
}

fn try_pull(device: &Device, url: &str, commit: &str) -> Result<PullReport, OstreeError> {
    pull(&device.open(), &source(url), commit, &options(), &mut |_| {})
}

/// The device has nothing half-done that it would take for whole, and an honest server makes it whole.
fn recovers(server: &Server, device: &Device, commit: &str) -> PullReport {
    assert!(!device.open().repo_has(commit).unwrap());
    let honest = HttpServer::new(server.repo());
    let report = try_pull(device, &honest.url(), commit).unwrap();
    assert!(device.open().repo_has(commit).unwrap());
    assert!(!device.fsck().contains("partial"));
    report
}

fn hard_server() -> (Server, String) {
    let server = Server::new();
    server.write_hard_cases();
    let commit = server.commit();
    (server, commit)
}

fn relative(server: &Server, object: &Path) -> String {
    object.strip_prefix(server.repo()).unwrap().to_str().unwrap().to_string()
}

#[test]
fn a_missing_object_is_named_by_its_url() {
    let (server, commit) = hard_server();
    let device = Device::new();
    for path in ["/usr/share/larger", "/usr/share/many/3/3"] {
        let object = server.object(&commit, path);
        let away = object.with_extension("away");
        fs::rename(&object, &away).unwrap();
        let http = HttpServer::new(server.repo());
        let error = try_pull(&device, &http.url(), &commit).unwrap_err();
        let url = format!("{}/{}", http.url(), relative(&server, &object));
        assert!(matches!(&error, OstreeError::NotFound { url: u } if *u == url), "{error}");
        assert_eq!(error.class(), OstreeErrorClass::Download);
        fs::rename(&away, &object).unwrap();
    }
    recovers(&server, &device, &commit);
}

#[test]
fn a_missing_commit_leaves_nothing() {
    let (server, device) = (Server::new(), Device::new());
    let http = HttpServer::new(server.repo());
    let commit = "ab".repeat(32);
    assert!(matches!(try_pull(&device, &http.url(), &commit), Err(OstreeError::NotFound { .. })));
    assert!(!device.partial_marker(&commit).exists());
}

/// Every way to damage an object that the server then serves as if it were right.
#[test]
fn a_damaged_object_is_named_and_thrown_away() {
    type Damage = fn(&mut Vec<u8>);
    let flip_near_the_end: Damage = |bytes| {
        let near = bytes.len() - 4;
        bytes[near] ^= 1;
    };
    let flip_in_the_middle: Damage = |bytes| {
        let middle = bytes.len() / 2;
        bytes[middle] ^= 0x10;
    };
    let truncate: Damage = |bytes| bytes.truncate(bytes.len() * 2 / 3);
    let cut_in_the_header: Damage = |bytes| bytes.truncate(11);
    let empty: Damage = Vec::clear;
    let longer: Damage = |bytes| bytes.extend([0; 100]);
    let owner: Damage = |bytes| bytes[19] ^= 1;
    let (server, commit) = hard_server();
    let all = [flip_near_the_end, flip_in_the_middle, truncate, cut_in_the_header, empty, owner];
    for (number, damage) in all.iter().enumerate() {
        for path in ["/usr/share/many/3/3", "/usr/share/large", "/usr/bin/umlaut"] {
            // A new device each time: one that was damaged before may have come well since.
            let device = Device::new();
            let object = server.object(&commit, path);
            let good = fs::read(&object).unwrap();
            let mut bad = good.clone();
            damage(&mut bad);
            fs::write(&object, &bad).unwrap();
            let http = HttpServer::new(server.repo());
            let error = try_pull(&device, &http.url(), &commit).unwrap_err();
            fs::write(&object, &good).unwrap();
            assert_eq!(error.class(), OstreeErrorClass::Verification, "damage {number} of {path}: {error}");
            let (folder, file) = (object.parent().unwrap(), object.file_name().unwrap());
            let hash = format!("{}{}", folder.file_name().unwrap().display(), file.display());
            assert!(error.to_string().contains(&hash), "damage {number} of {path}: {error}");
        }
    }
    let device = Device::new();
    // Bytes behind the end of the packed content are never looked at, by `ostree pull` neither.
    let object = server.object(&commit, "/usr/share/many/3/3");
    let mut bytes = fs::read(&object).unwrap();
    longer(&mut bytes);
    fs::write(&object, &bytes).unwrap();
    recovers(&server, &device, &commit);
}

/// The size in an object's header is not part of its hash: a server can make it up.
#[test]
fn a_size_that_the_commit_does_not_say_is_refused() {
    let (server, commit) = hard_server();
    for path in ["/usr/share/many/3/3", "/usr/share/large"] {
        let object = server.object(&commit, path);
        let good = fs::read(&object).unwrap();
        let size = u64::from_be_bytes(good[8..16].try_into().unwrap());
        for wrong in [size + 1, size - 1, 0, 1 << 30, u64::MAX] {
            let device = Device::new();
            let mut bad = good.clone();
            bad[8..16].copy_from_slice(&wrong.to_be_bytes());
            fs::write(&object, &bad).unwrap();
            let http = HttpServer::new(server.repo());
            let error = try_pull(&device, &http.url(), &commit).unwrap_err();
            assert_eq!(error.class(), OstreeErrorClass::Verification, "{path}, {wrong}: {error}");
            let said = format!("it claims {wrong} bytes, the commit says {size}");
            assert!(error.to_string().contains(&said), "{path}, {wrong}: {error}");
            fs::write(&object, &good).unwrap();
            recovers(&server, &device, &commit);
        }
    }
}

#[test]
fn the_content_of_another_object_is_refused() {
    let (server, commit) = hard_server();
    let device = Device::new();
    let (one, other) =
        (server.object(&commit, "/usr/share/many/3/3"), server.object(&commit, "/usr/share/many/3/10"));
    let good = fs::read(&one).unwrap();
    fs::copy(&other, &one).unwrap();
    let http = HttpServer::new(server.repo());
    let error = try_pull(&device, &http.url(), &commit).unwrap_err();
    assert!(matches!(error, OstreeError::Checksum { .. } | OstreeError::Malformed { .. }), "{error}");
    // Also when the other one is in the repository already, where libostree would answer "written".
    let error = try_pull(&device, &http.url(), &commit).unwrap_err();
    assert_eq!(error.class(), OstreeErrorClass::Verification, "{error}");
    fs::write(&one, good).unwrap();
    recovers(&server, &device, &commit);
}

#[test]
fn wrong_metadata_is_refused_before_it_leads_anywhere() {
    let (server, commit) = hard_server();
    let device = Device::new();
    let swapped = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&swapped);
    let other = fs::read(find(&server, "dirtree").last().unwrap()).unwrap();
    let http = HttpServer::with_faults(server.repo(), move |request: &Request| {
        if request.path.ends_with("dirtree") && count.fetch_add(1, Ordering::Relaxed) > 2 {
            Answer::Bytes(other.clone())
        } else {
            Answer::File
        }
    });
    let error = try_pull(&device, &http.url(), &commit).unwrap_err();
    assert!(matches!(error, OstreeError::Checksum { .. }), "{error}");
    let wrong_commit = fs::read(find(&server, "dirmeta").last().unwrap()).unwrap();
    let http = HttpServer::with_faults(server.repo(), move |_| Answer::Bytes(wrong_commit.clone()));
    let fresh = Device::new();
    let error = try_pull(&fresh, &http.url(), &commit).unwrap_err();
    assert!(matches!(error, OstreeError::Checksum { .. }), "{error}");
    recovers(&server, &device, &commit);
}

/// A cache or a proxy that damages an object now and then costs a few requests, and no update.
#[test]
fn a_damaged_object_is_asked_for_again() {
    let server = Server::new();
    server.write("usr/share/larger", noise(300 << 10, 1));
    let commit = server.commit();
    let large = relative(&server, &server.object(&commit, "/usr/share/larger"));
    for kind in ["commit", "dirtree", "dirmeta", "filez", large.as_str()] {
        for (wrong_times, works) in [(3, true), (4, false)] {
            let device = Device::new();
            let victim = std::sync::Mutex::new(None);
            let (end, asked) = (kind.to_string(), AtomicUsize::new(0));
            let http = HttpServer::with_faults(server.repo(), move |request: &Request| {
                let mut victim = victim.lock().unwrap();
                if request.path.ends_with(&end) && victim.is_none() {
                    *victim = Some(request.path.clone());
                }
                let mine = victim.as_ref() == Some(&request.path);
                let wrong = mine && asked.fetch_add(1, Ordering::Relaxed) < wrong_times;
                if wrong { Answer::Bytes(b"<html>log in</html>".to_vec()) } else { Answer::File }
            });
            let pulled = try_pull(&device, &http.url(), &commit);
            match pulled {
                Ok(_) => assert!(works, "{kind}: taken after {wrong_times}"),
                Err(error) => {
                    assert!(!works, "{kind}: {error}");
                    // The page is longer than a dirmeta is signed to be.
                    let wrong = matches!(error, OstreeError::Checksum { .. } | OstreeError::Malformed { .. });
                    assert!(wrong || matches!(error, OstreeError::TooLarge { .. }), "{error}");
                }
            }
            recovers_or_is_whole(&server, &device, &commit);
        }
    }
}

fn recovers_or_is_whole(server: &Server, device: &Device, commit: &str) {
    if !device.open().repo_has(commit).unwrap() {
        recovers(server, device, commit);
    }
    device.fsck();
}

fn find(server: &Server, extension: &str) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for folder in fs::read_dir(server.repo().join("objects")).unwrap().flatten() {
        for file in fs::read_dir(folder.path()).unwrap().flatten() {
            if file.path().extension().is_some_and(|e| e == extension) {
                found.push(file.path());
            }
        }
    }
    found.sort();
    found
}

#[test]
fn a_cut_inside_a_large_object_goes_on_from_there() {
    let (server, commit) = hard_server();
    let device = Device::new();
    let large = relative(&server, &server.object(&commit, "/usr/share/larger"));
    let large_too = large.clone();
    let http = HttpServer::with_faults(server.repo(), move |request: &Request| {
        if request.path == large_too && request.from < 4_000_000 {
            Answer::Cut(1_500_000)
        } else {
            Answer::File
        }
    });
    let report = try_pull(&device, &http.url(), &commit).unwrap();
    let starts: Vec<u64> = http.requests().iter().filter(|r| r.path == large).map(|r| r.from).collect();
    assert_eq!(starts, [0, 1_500_000, 3_000_000, 4_500_000]);
    assert_eq!(report.retries, 3);
    assert_eq!(Some(report.bytes), plan_bytes(&server, &commit), "no byte came twice");
    device.fsck();
}

fn plan_bytes(server: &Server, commit: &str) -> Option<u64> {
    let http = HttpServer::new(server.repo());
    let fresh = Device::new();
    let plan = plan(&fresh.open(), &source(&http.url()), commit, &options()).unwrap();
    assert_eq!(http.requests().len(), 1, "a plan costs the commit object");
    plan.sizes.map(|sizes| sizes.download)
}

#[test]
fn a_large_object_goes_on_in_the_next_pull() {
    let (server, commit) = hard_server();
    let device = Device::new();
    let large = relative(&server, &server.object(&commit, "/usr/share/larger"));
    let large_too = large.clone();
    let http = HttpServer::with_faults(server.repo(), move |request: &Request| match request.from {
        _ if request.path != large_too => Answer::File,
        0 => Answer::Cut(2_000_000),
        _ => Answer::Status(503),
    });
    let error = try_pull(&device, &http.url(), &commit).unwrap_err();
    assert!(matches!(error, OstreeError::Fetch { .. }), "{error}");
    let honest = HttpServer::new(server.repo());
    try_pull(&device, &honest.url(), &commit).unwrap();
    let starts: Vec<u64> = honest.requests().iter().filter(|r| r.path == large).map(|r| r.from).collect();
    assert_eq!(starts, [2_000_000]);
    device.fsck();
    let left = fs::read_dir(device.repo().join("tmp")).unwrap().flatten();
    assert!(left.into_iter().all(|e| !e.file_name().to_str().unwrap().starts_with("rust-ota")));
}

#[test]
fn a_damaged_part_is_fetched_whole() {
    let (server, commit) = hard_server();
    let object = server.object(&commit, "/usr/share/larger");
    let length = fs::metadata(&object).unwrap().len() as usize;
    let hash = relative(&server, &object)["objects/".len()..].replace(['/'], "").replace(".filez", "");
    // Too short, as long as the object, and longer than it; all with the wrong content.
    for wrong in [1_000_000, length, length + 5] {
        let fresh = Device::new();
        let part = fresh.repo().join(format!("tmp/rust-ota-{hash}.filez"));
        fs::write(&part, noise(wrong, 99)).unwrap();
        let http = HttpServer::new(server.repo());
        try_pull(&fresh, &http.url(), &commit).unwrap();
        assert!(!part.exists());
        fresh.fsck();
    }
}

#[test]
fn a_server_without_ranges_or_lengths_works() {
    let (server, commit) = hard_server();
    let device = Device::new();
    let cut = AtomicBool::new(false);
    let http = HttpServer::with_faults(server.repo(), move |request: &Request| {
        let large = request.path.ends_with("filez") && !cut.swap(true, Ordering::Relaxed);
        if large { Answer::Cut(100) } else { Answer::Whole }
    });
    try_pull(&device, &http.url(), &commit).unwrap();
    device.fsck();
    let device = Device::new();
    let http = HttpServer::with_faults(server.repo(), |_| Answer::Chunked);
    try_pull(&device, &http.url(), &commit).unwrap();
    device.fsck();
}

#[test]
fn a_server_that_dies_costs_nothing_that_came_before() {
    let (server, commit) = hard_server();
    let device = Device::new();
    let served = AtomicUsize::new(0);
    let http = HttpServer::with_faults(server.repo(), move |_| {
        if served.fetch_add(1, Ordering::Relaxed) < 150 { Answer::File } else { Answer::Status(503) }
    });
    let error = try_pull(&device, &http.url(), &commit).unwrap_err();
    assert!(matches!(error, OstreeError::Fetch { .. }), "{error}");
    assert!(device.partial_marker(&commit).exists());
    assert!(device.fsck().contains("partial"));
    let first: HashSet<String> = http.requests().into_iter().take(150).map(|r| r.path).collect();

    let honest = HttpServer::new(server.repo());
    assert!(!device.open().repo_has(&commit).unwrap());
    try_pull(&device, &honest.url(), &commit).unwrap();
    let again = honest.requests().iter().filter(|r| first.contains(&r.path)).count();
    assert_eq!(again, 0);
    device.fsck();
}

#[test]
fn ostree_itself_can_go_on_with_our_pull() {
    let (server, commit) = hard_server();
    let device = Device::new();
    let served = AtomicUsize::new(0);
    let http = HttpServer::with_faults(server.repo(), move |_| {
        if served.fetch_add(1, Ordering::Relaxed) < 100 { Answer::File } else { Answer::Status(404) }
    });
    try_pull(&device, &http.url(), &commit).unwrap_err();
    let url = format!("file://{}", server.repo().display());
    run("ostree", &["remote", "add", "--no-gpg-verify", "--repo", text(&device.repo()), "r", &url]);
    run("ostree", &["pull", "--repo", text(&device.repo()), "r", &commit]);
    assert!(device.open().repo_has(&commit).unwrap());
    device.fsck();
}

#[test]
fn a_server_that_hangs_or_never_ends_is_given_up() {
    let (server, commit) = hard_server();
    let device = Device::new();
    let http = HttpServer::with_faults(server.repo(), |request: &Request| {
        if request.path.ends_with("filez") { Answer::Silence } else { Answer::File }
    });
    let error = try_pull(&device, &http.url(), &commit).unwrap_err();
    assert!(matches!(error, OstreeError::Fetch { .. }), "{error}");
    for kind in ["commit", "dirtree", "dirmeta", "filez"] {
        let device = Device::new();
        let http = HttpServer::with_faults(server.repo(), move |request: &Request| {
            if request.path.ends_with(kind) { Answer::Endless } else { Answer::File }
        });
        // The repository has an honest file of 20 MiB: only where files are endless may it be over the limit.
        let file = if kind == "filez" { 8 << 20 } else { Limits::default().file };
        let limits = Limits { file, ..Limits::default() };
        let error = pull(
            &device.open(),
            &source(&http.url()),
            &commit,
            &PullOptions { limits, ..options() },
            &mut |_| {},
        )
        .unwrap_err();
        assert!(matches!(error, OstreeError::TooLarge { .. }), "{kind}: {error}");
    }
    recovers(&server, &device, &commit);
}

#[test]
fn a_pull_has_a_total_limit_and_can_be_stopped() {
    let (server, commit) = hard_server();
    let device = Device::new();
    let http = HttpServer::new(server.repo());
    let limits = Limits { total: 1 << 20, ..Limits::default() };
    let limited = PullOptions { limits, ..options() };
    let error = pull(&device.open(), &source(&http.url()), &commit, &limited, &mut |_| {}).unwrap_err();
    assert!(matches!(error, OstreeError::TotalTooLarge { .. }), "{error}");
    let stop = Arc::new(AtomicBool::new(false));
    let stoppable = PullOptions { stop: Some(Arc::clone(&stop)), ..options() };
    let error = pull(&device.open(), &source(&http.url()), &commit, &stoppable, &mut |p| {
        if p.objects_done > 20 {
            stop.store(true, Ordering::Relaxed);
        }
    })
    .unwrap_err();
    assert!(matches!(error, OstreeError::Stopped), "{error}");
    let all = find(&server, "filez").len() as u64;
    assert!(recovers(&server, &device, &commit).objects < all);
}

/// The other half of `a_killed_pull_goes_on`: runs in a process of its own.
#[test]
#[ignore = "a helper process of another test"]
fn pull_in_a_process() {
    let get = |name| std::env::var(name).unwrap();
    let settings = rust_ota::payload::ostree::OstreeSettings {
        path: get("DEVICE").into(),
        os: None,
        booted: rust_ota::payload::ostree::Booted::Index(0),
    };
    let sysroot = rust_ota::payload::ostree::Sysroot::open(&settings).unwrap();
    let few = PullOptions { jobs: 4, ..options() };
    pull(&sysroot, &source(&get("URL")), &get("COMMIT"), &few, &mut |_| {}).unwrap();
}

#[test]
fn a_killed_pull_goes_on() {
    let (server, commit) = hard_server();
    let device = Device::new();
    let mut seen = HashSet::new();
    let mut again = 0;
    // Later and later: while the commit is walked, in the middle, near the end.
    for requests in [1, 5, 40, 80, 80] {
        let served = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&served);
        let http = HttpServer::with_faults(server.repo(), move |_| {
            count.fetch_add(1, Ordering::Relaxed);
            std::thread::sleep(Duration::from_millis(5));
            Answer::File
        });
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--ignored", "--exact", "pull_in_a_process", "--quiet"])
            .env("DEVICE", device.root())
            .env("URL", http.url())
            .env("COMMIT", &commit)
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap();
        while served.load(Ordering::Relaxed) < requests && child.try_wait().unwrap().is_none() {
            std::thread::sleep(Duration::from_millis(1));
        }
        child.kill().unwrap();
        child.wait().unwrap();
        for request in http.requests() {
            again += usize::from(!seen.insert(request.path));
        }
        assert!(!device.open().repo_has(&commit).unwrap());
    }
    let honest = HttpServer::new(server.repo());
    try_pull(&device, &honest.url(), &commit).unwrap();
    again += honest.requests().iter().filter(|r| seen.contains(&r.path)).count();
    println!("{} objects, {again} requests made again", seen.len());
    // Only what was between the server and libostree when each of five processes died.
    assert!(again <= 5 * 21, "{again} requests were made again");
    device.fsck();
}

#[test]
fn a_full_volume_is_told_before_the_first_object() {
    let server = Server::new();
    server.write("usr/share/large", noise(30 << 20, 3));
    for i in 0..300 {
        server.write(&format!("usr/share/many/{i}"), noise(100 + i, i as u64));
    }
    let with_sizes = server.commit();
    let without_sizes = server.commit_with(&["--add-metadata-string=n=2"]);
    let device = Device::new();
    let volume = Volume::mount(&device, 20);
    run("ostree", &["admin", "init-fs", "--modern", text(&device.root())]);
    run("ostree", &["admin", "os-init", "--sysroot", text(&device.root()), "test"]);

    let http = HttpServer::new(server.repo());
    let error = try_pull(&device, &http.url(), &with_sizes).unwrap_err();
    let OstreeError::NoSpace { needed: Some(needed), available, reserved, .. } = error else {
        panic!("{error}")
    };
    assert!(needed > 60 << 20 && available < 20 << 20 && reserved > 0, "{error}");
    assert_eq!(error.class(), OstreeErrorClass::NoSpace);
    assert_eq!(http.requests().len(), 1, "only the commit was asked for");

    let error = try_pull(&device, &http.url(), &without_sizes).unwrap_err();
    assert!(matches!(error, OstreeError::NoSpace { .. }), "{error}");
    assert!(!device.open().repo_has(&without_sizes).unwrap());
    // The reserve was kept while it was tried.
    let stat = rustix::fs::statvfs(device.repo()).unwrap();
    assert!(stat.f_bavail * stat.f_frsize >= reserved);

    volume.grow(200);
    try_pull(&device, &http.url(), &with_sizes).unwrap();
    device.fsck();
}

/// Not even what libostree itself writes has room, also for a commit that is here already.
#[test]
fn a_volume_without_room_for_one_more_file_is_told_as_full() {
    let server = Server::new();
    let commit = server.commit();
    let (device, volume) = device_on(20);
    let http = HttpServer::new(server.repo());
    try_pull(&device, &http.url(), &commit).unwrap();
    volume.remount("nr_inodes=2000");
    let filler = device.root().join("filler");
    fs::create_dir(&filler).unwrap();
    let last = (0..).find_map(|i| fs::write(filler.join(i.to_string()), []).err());
    assert_eq!(last.unwrap().kind(), std::io::ErrorKind::StorageFull);
    let error = try_pull(&device, &http.url(), &commit).unwrap_err();
    assert_eq!(error.class(), OstreeErrorClass::NoSpace, "{error}");

    fs::remove_dir_all(&filler).unwrap();
    try_pull(&device, &http.url(), &commit).unwrap();
    device.fsck();
}

/// A body without end, for an object whose size was signed: what comes too much is not written.
#[test]
fn a_body_ends_at_its_signed_size() {
    let (server, commit) = hard_server();
    for path in ["/usr/share/many/3/3", "/usr/share/larger"] {
        let device = Device::new();
        let victim = relative(&server, &server.object(&commit, path));
        let object = victim.clone();
        let http = HttpServer::with_faults(server.repo(), move |request: &Request| {
            if request.path == object { Answer::Endless } else { Answer::File }
        });
        let error = try_pull(&device, &http.url(), &commit).unwrap_err();
        let OstreeError::TooLarge { limit, .. } = error else { panic!("{error}") };
        assert!(limit < 6 << 20, "{error}");
        let hash = victim["objects/".len()..].replace('/', "");
        assert!(!parts(&device).contains(&format!("rust-ota-{hash}")));
        recovers(&server, &device, &commit);
    }
}

/// What a file unpacks to is limited too, with or without signed sizes: little that is packed may be much.
#[test]
fn a_file_that_unpacks_to_more_than_the_limit_is_refused() {
    let server = Server::new();
    server.write("usr/share/zeros", vec![0; 4 << 20]);
    for options in [&["--generate-sizes"][..], &[]] {
        let commit = server.commit_with(options);
        let http = HttpServer::new(server.repo());
        let limits = Limits { file: 1 << 20, ..Limits::default() };
        let limited = PullOptions { limits, ..self::options() };
        let device = Device::new();
        let error = pull(&device.open(), &source(&http.url()), &commit, &limited, &mut |_| {}).unwrap_err();
        assert_eq!(error.class(), OstreeErrorClass::Verification, "{error}");
        assert!(error.to_string().contains(&format!("{} bytes are over {}", 4 << 20, 1 << 20)), "{error}");
        recovers(&server, &device, &commit);
    }
}

/// A folder with so many files. The object of one with 1500 is not held in memory.
fn wide_folder(server: &Server, files: usize, content: &str) -> (String, String) {
    for number in 0..files {
        server.write(&format!("usr/share/wide/{}-{number:04}", "n".repeat(100)), content);
    }
    let commit = server.commit();
    let repo = server.repo();
    let line = run("ostree", &["ls", "-d", "-C", "--repo", text(&repo), &commit, "/usr/share/wide"]);
    let hash = line.split_whitespace().find(|word| word.len() == 64).unwrap();
    (commit, format!("objects/{}/{}.dirtree", &hash[..2], &hash[2..]))
}

#[test]
fn what_a_wrong_folder_names_is_not_asked_for() {
    for (files, least) in [(3, 0), (1500, 128 << 10)] {
        let server = Server::new();
        let (commit, folder) = wide_folder(&server, files, "one\n");
        let (other_commit, other_folder) = wide_folder(&server, files, "two\n");
        let other = fs::read(server.repo().join(&other_folder)).unwrap();
        assert!(other.len() > least && folder != other_folder);
        let name = format!("/usr/share/wide/{}-0000", "n".repeat(100));
        let named = relative(&server, &server.object(&other_commit, &name));
        let device = Device::new();
        let http = HttpServer::with_faults(server.repo(), move |request: &Request| {
            if request.path == folder { Answer::Bytes(other.clone()) } else { Answer::File }
        });
        let error = try_pull(&device, &http.url(), &commit).unwrap_err();
        assert!(matches!(error, OstreeError::Checksum { .. }), "{error}");
        assert!(http.requests().iter().all(|request| request.path != named), "{files}");
        recovers(&server, &device, &commit);
    }
}

#[test]
fn a_folder_ends_at_its_signed_size() {
    let server = Server::new();
    let (commit, folder) = wide_folder(&server, 1500, "one\n");
    let length = fs::metadata(server.repo().join(&folder)).unwrap().len();
    let device = Device::new();
    let http = HttpServer::with_faults(server.repo(), move |request: &Request| {
        if request.path == folder { Answer::Endless } else { Answer::File }
    });
    let error = try_pull(&device, &http.url(), &commit).unwrap_err();
    assert!(matches!(error, OstreeError::TooLarge { limit, .. } if limit == length), "{length}: {error}");
    recovers(&server, &device, &commit);
}

/// The parts of objects that lie in the repository.
fn parts(device: &Device) -> Vec<String> {
    let entries = fs::read_dir(device.repo().join("tmp")).unwrap().flatten();
    let names = entries.map(|e| e.file_name().to_str().unwrap().to_string());
    names.filter(|name| name.starts_with("rust-ota-")).collect()
}

fn device_on(volume_of: usize) -> (Device, Volume) {
    let device = Device::new();
    let volume = Volume::mount(&device, volume_of);
    run("ostree", &["admin", "init-fs", "--modern", text(&device.root())]);
    run("ostree", &["admin", "os-init", "--sysroot", text(&device.root()), "test"]);
    (device, volume)
}

fn free(device: &Device) -> u64 {
    let stat = rustix::fs::statvfs(device.repo()).unwrap();
    stat.f_bavail * stat.f_frsize
}

/// What is done, and the least that was free meanwhile.
fn least_free<T>(device: &Device, work: impl FnOnce() -> T) -> (T, u64) {
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let watch = scope.spawn(|| {
            let mut least = free(device);
            while !done.load(Ordering::Relaxed) {
                least = least.min(free(device));
                std::thread::sleep(Duration::from_micros(200));
            }
            least
        });
        let result = work();
        done.store(true, Ordering::Relaxed);
        (result, watch.join().unwrap())
    })
}

/// The same where no size was signed: the reserve is kept, and the next run with an honest server needs no help.
#[test]
fn a_body_without_end_leaves_the_reserve_and_nothing_else() {
    let server = Server::new();
    server.write("usr/share/victim", noise(200 << 10, 4));
    let commit = server.commit_with(&[]);
    let victim = relative(&server, &server.object(&commit, "/usr/share/victim"));
    for kind in ["commit", "dirtree", victim.as_str()] {
        let (device, _volume) = device_on(60);
        let end = kind.to_string();
        let http = HttpServer::with_faults(server.repo(), move |request: &Request| {
            if request.path.ends_with(&end) { Answer::Endless } else { Answer::File }
        });
        for _ in 0..2 {
            let (error, least) = least_free(&device, || try_pull(&device, &http.url(), &commit).unwrap_err());
            let OstreeError::NoSpace { reserved, .. } = error else { panic!("{kind}: {error}") };
            // What is read at once may come between two looks.
            assert!(reserved > 0 && least + (128 << 10) >= reserved, "{kind}: {least} of {reserved}");
            assert!(free(&device) >= reserved, "{kind}: {} of {reserved}", free(&device));
            assert!(parts(&device).is_empty(), "{kind}");
        }
        recovers(&server, &device, &commit);
    }
}

/// Parts of what is not wanted any more, and objects of another commit that was never deployed, give way.
#[test]
fn what_nobody_wants_gives_way() {
    let server = Server::new();
    server.write("usr/share/large", noise(6 << 20, 3));
    let earlier = server.commit();
    server.write("usr/share/large", noise(6 << 20, 4));
    let (with_sizes, without_sizes) = (server.commit(), server.commit_with(&["--add-metadata-string=n=2"]));
    for commit in [&with_sizes, &without_sizes] {
        let (device, _volume) = device_on(24);
        let http = HttpServer::new(server.repo());
        try_pull(&device, &http.url(), &earlier).unwrap();
        let part = device.repo().join(format!("tmp/rust-ota-{}.filez", "ab".repeat(32)));
        fs::write(&part, noise(9 << 20, 9)).unwrap();
        try_pull(&device, &http.url(), commit).unwrap();
        assert!(!part.exists());
        assert!(device.open().repo_has(commit).unwrap());
        device.fsck();
    }
}

/// A small file system at the device's root. Needs root, as deploying does.
struct Volume(String);

impl Volume {
    fn mount(device: &Device, megabytes: usize) -> Volume {
        let path = device.root();
        let _ = Command::new("chattr").args(["-R", "-f", "-i"]).arg(&path).status();
        run("mount", &["-t", "tmpfs", "-o", &format!("size={megabytes}m"), "tmpfs", text(&path)]);
        Volume(text(&path).to_string())
    }

    fn grow(&self, megabytes: usize) {
        self.remount(&format!("size={megabytes}m"));
    }

    fn remount(&self, options: &str) {
        run("mount", &["-o", &format!("remount,{options}"), &self.0]);
    }
}

impl Drop for Volume {
    fn drop(&mut self) {
        let _ = Command::new("umount").args(["-l", &self.0]).status();
    }
}
