//! Our pull beside `ostree pull` of the system: the same repository, the same server, the same kind of sysroot,
//! one after the other in the same run. `cargo bench --bench ostree_pull`
//!
//! Environment: FILES (5000), RUNS (3), RTT_MS ("0 50"), SCHEMES ("http https"), JOBS (our default).
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../tests/ostree_common/mod.rs"]
mod ostree_common;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use ostree_common::http::{HttpServer, certificate, delaying_proxy};
use ostree_common::{Device, Server, noise, run, text};
use rust_ota::gateway::{Http, HttpSettings, PlainHttp};
use rust_ota::payload::ostree::{Booted, HttpSource, OstreeSettings, PullOptions, Sysroot, pull};

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if let [_, mode, root, url, ca, commit] = arguments.as_slice()
        && mode == "--pull"
    {
        return pull_as_process(Path::new(root), url, ca, commit);
    }
    let files = setting("FILES", 5000);
    let server = make_repository(files);
    let commit = server.commit();
    let objects = server.repo();
    println!("{files} files, {} in objects/", human(folder_size(&objects.join("objects"))));
    let (pem, tls) = certificate();
    let ca = server.folder.join("ca.pem");
    fs::write(&ca, pem).unwrap();
    let (wall, cpu) = ("wall", "cpu");
    println!("{:<13}  {:^35}  {:^35}  {:^12}", "", "ostree pull", "rust-ota", "ratio");
    println!("{:<7}{:>6}  {wall:>26} {cpu:>8}  {wall:>26} {cpu:>8}  {wall:>5}  {cpu:>5}", "scheme", "rtt");
    let mut devices = Vec::new();
    for scheme in words("SCHEMES", "http https") {
        let http = match scheme.as_str() {
            "https" => HttpServer::with_tls(objects.clone(), tls.clone()),
            _ => HttpServer::new(objects.clone()),
        };
        for rtt in words("RTT_MS", "0 50") {
            let rtt: u64 = rtt.parse().unwrap();
            let port = match rtt {
                0 => http.address.port(),
                _ => delaying_proxy(http.address, Duration::from_micros(rtt * 500)).port(),
            };
            compare(&mut devices, &scheme, rtt, &format!("{scheme}://localhost:{port}"), &ca, &commit);
        }
    }
}

/// Alternates the two, so that what else the machine does hits both, and takes the median of each.
fn compare(devices: &mut Vec<Device>, scheme: &str, rtt: u64, url: &str, ca: &Path, commit: &str) {
    let (mut theirs, mut ours) = (Vec::new(), Vec::new());
    for _ in 0..setting("RUNS", 3) {
        theirs.push(measure(devices, |device| ostree_pull(device, url, ca, commit)));
        ours.push(measure(devices, |device| our_pull(device, url, ca, commit)));
    }
    let (theirs, ours) = (Median::of(theirs), Median::of(ours));
    let wall = ours.wall / theirs.wall;
    let cpu = ours.cpu / theirs.cpu;
    println!("{scheme:<7}{rtt:>4}ms  {}  {}  {wall:>5.2}  {cpu:>5.2}", theirs.show(), ours.show());
}

/// Seconds of wall time and of the processors for one pull.
fn measure(devices: &mut Vec<Device>, work: impl Fn(&Device)) -> (f64, f64) {
    let device = Device::new();
    rustix::fs::sync();
    let cpu = children_cpu();
    let begun = Instant::now();
    work(&device);
    let passed = (begun.elapsed().as_secs_f64(), children_cpu() - cpu);
    if std::env::var_os("FSCK").is_some() {
        device.fsck();
    }
    // Kept to the end: ext4 is slow in making files just after many were deleted.
    devices.push(device);
    passed
}

/// User and system time of all processes that were started here and have ended, from proc_pid_stat(5).
fn children_cpu() -> f64 {
    let stat = fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    let ticks: u64 = fields[13..15].iter().map(|f| f.parse::<u64>().unwrap()).sum();
    ticks as f64 / 100.0
}

struct Median {
    all: Vec<f64>,
    wall: f64,
    cpu: f64,
}

impl Median {
    fn of(measured: Vec<(f64, f64)>) -> Median {
        let middle = |mut values: Vec<f64>| {
            values.sort_by(f64::total_cmp);
            values[values.len() / 2]
        };
        let all: Vec<f64> = measured.iter().map(|m| m.0).collect();
        let cpu = middle(measured.iter().map(|m| m.1).collect());
        Median { wall: middle(all.clone()), all, cpu }
    }

    fn show(&self) -> String {
        let all: Vec<_> = self.all.iter().map(|t| format!("{t:.2}")).collect();
        format!("{:>24} s {:>6.2} s", all.join(" "), self.cpu)
    }
}

fn ostree_pull(device: &Device, url: &str, ca: &Path, commit: &str) {
    let repo = device.repo();
    let ca = format!("--set=tls-ca-path={}", ca.display());
    run("ostree", &["remote", "add", "--no-gpg-verify", &ca, "--repo", text(&repo), "r", url]);
    run("ostree", &["pull", "--repo", text(&repo), "r", commit]);
}

/// As a process of its own, because `ostree pull` is one.
fn our_pull(device: &Device, url: &str, ca: &Path, commit: &str) {
    let me = std::env::current_exe().unwrap();
    let status =
        Command::new(me).arg("--pull").arg(device.root()).args([url, text(ca), commit]).status().unwrap();
    assert!(status.success());
}

fn pull_as_process(root: &Path, url: &str, ca: &str, commit: &str) {
    let defaults = PullOptions::default();
    let options = PullOptions { jobs: setting("JOBS", defaults.jobs), ..defaults };
    let settings = HttpSettings {
        ca: Some(PathBuf::from(ca)),
        plain_http: PlainHttp::Any,
        idle_connections: options.jobs,
        ..HttpSettings::default()
    };
    let source = HttpSource::new(Http::new(&settings).unwrap(), url);
    let settings = OstreeSettings { path: root.to_path_buf(), os: None, booted: Booted::Index(0) };
    let report = pull(&Sysroot::open(&settings).unwrap(), &source, commit, &options, &mut |_| {}).unwrap();
    if std::env::var_os("VERBOSE").is_some() {
        let status = fs::read_to_string("/proc/self/status").unwrap();
        let peak = status.lines().find(|l| l.starts_with("VmHWM")).unwrap_or_default();
        eprintln!("{report:?} {peak}");
    }
}

/// Sizes as in a small root file system: most files are small, a few are not.
fn make_repository(files: usize) -> Server {
    let server = Server::new();
    let noise = noise(1 << 20, 7);
    for i in 0..files {
        let size = match i % 100 {
            0 => 400_000,
            1..10 => 40_000,
            10..40 => 6_000,
            _ => 200 + i % 1500,
        };
        // Half of it packs well, as programs and texts do.
        let start = i * 131 % (noise.len() - size);
        let mut content = noise[start..start + size / 2].to_vec();
        content.extend(format!("line {i}\n").bytes().cycle().take(size / 2));
        server.write(&format!("usr/share/{}/{}/{i}", i % 20, i % 300), content);
    }
    server
}

fn setting(name: &str, default: usize) -> usize {
    std::env::var(name).ok().and_then(|v| v.parse().ok()).unwrap_or(default)
}

fn words(name: &str, default: &str) -> Vec<String> {
    std::env::var(name)
        .unwrap_or_else(|_| default.to_string())
        .split_whitespace()
        .map(str::to_string)
        .collect()
}

fn folder_size(folder: &Path) -> u64 {
    fs::read_dir(folder)
        .unwrap()
        .flatten()
        .map(|entry| match entry.metadata().unwrap() {
            meta if meta.is_dir() => folder_size(&entry.path()),
            meta => meta.len(),
        })
        .sum()
}

fn human(bytes: u64) -> String {
    format!("{:.1} MB", bytes as f64 / 1e6)
}
