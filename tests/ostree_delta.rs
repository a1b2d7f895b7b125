//! Static deltas that are wrong in every way: the client stays alive, and the tree is right.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod ostree_common;

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ostree::glib::{Bytes, Variant, VariantTy};
use ostree_common::{Device, Folder, Server, noise, run, text};
use rust_ota::decide::{SignedDelta, SignedFile};
use rust_ota::payload::ostree::{
    FolderSource, ObjectSource, Opened, OstreeError, PullOptions, PullReport, SourceError, Superblock, pull,
};
use rust_ota::tuf::sha256_hex;

const PART: &str = "(a(uuu)aa(ayay)ayay)";

/// Remembers what was asked for.
struct Counting(FolderSource, Mutex<Vec<String>>);

impl ObjectSource for Counting {
    fn open(&self, path: &str, from: u64) -> Result<Opened, SourceError> {
        self.1.lock().unwrap().push(path.to_string());
        self.0.open(path, from)
    }

    fn name(&self, path: &str) -> String {
        self.0.name(path)
    }
}

impl Counting {
    fn asked(&self, part: &str) -> usize {
        self.1.lock().unwrap().iter().filter(|path| path.contains(part)).count()
    }
}

/// A device that runs one commit, and a server that has the next one and the delta between them.
struct Bed {
    server: Server,
    device: Device,
    second: String,
    delta: PathBuf,
}

impl Bed {
    fn new(change: impl Fn(&Server)) -> Bed {
        let (server, device) = (Server::new(), Device::new());
        server.write("usr/share/noise", noise(1 << 20, 7));
        let first = server.commit();
        let source = FolderSource::new(server.repo());
        pull(&device.open(), &source, &first, &PullOptions::default(), &mut |_| {}).unwrap();
        device.open().deploy(&first, "first").unwrap();
        // Hundreds of pulls, and no power cut among them.
        run("ostree", &["config", "set", "core.fsync", "false", "--repo", text(&device.repo())]);
        change(&server);
        let second = server.commit();
        let (from, to) = (format!("--from={first}"), format!("--to={second}"));
        let repo = format!("--repo={}", text(&server.repo()));
        run("ostree", &["static-delta", "generate", &repo, "--min-fallback-size=0", &from, &to]);
        let only = |folder: PathBuf| fs::read_dir(folder).unwrap().next().unwrap().unwrap().path();
        let delta = only(only(server.repo().join("deltas")));
        Bed { server, device, second, delta }
    }

    fn small() -> Bed {
        Bed::new(|server| {
            let mut bytes = noise(1 << 20, 7);
            bytes[500_000..500_016].copy_from_slice(&[1; 16]);
            server.write("usr/share/noise", bytes);
            server.write("usr/share/new", "new\n".repeat(5000));
            std::os::unix::fs::symlink("new", server.tree("usr/share/link")).unwrap();
        })
    }

    /// As `ota-repo` signs it.
    fn signed(&self) -> BTreeMap<String, SignedDelta> {
        let bytes = fs::read(self.delta.join("superblock")).unwrap();
        let read = Superblock::read(&bytes).unwrap();
        let superblock = SignedFile { sha256: sha256_hex(&bytes), size: bytes.len() as u64 };
        BTreeMap::from([(read.from, SignedDelta { superblock, parts: read.parts })])
    }

    fn options(&self) -> PullOptions {
        PullOptions {
            deltas: true,
            state: Some(self.device.folder.join("state")),
            program: env!("CARGO_BIN_EXE_rust-ota").into(),
            ..PullOptions::default()
        }
    }

    fn unsigned(&self) -> PullOptions {
        PullOptions { unsigned_deltas: true, ..self.options() }
    }

    fn source(&self) -> Counting {
        Counting(FolderSource::new(self.server.repo()), Mutex::default())
    }

    fn pull(&self, source: &Counting, options: &PullOptions) -> PullReport {
        let report = pull(&self.device.open(), source, &self.second, options, &mut |_| {}).unwrap();
        assert!(self.device.open().repo_has(&self.second).unwrap());
        assert!(!self.device.repo().join("tmp/rust-ota-delta").exists());
        report
    }

    fn again(&self) {
        self.device.open().discard(&self.second).unwrap();
    }

    /// What the part is when it is unpacked.
    fn raw(&self) -> Vec<u8> {
        let code = "import lzma,sys; b=open(sys.argv[1],'rb').read(); sys.stdout.buffer.write(lzma.decompress(b[1:]))";
        let output =
            Command::new("python3").args(["-c", code, text(&self.delta.join("0"))]).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        output.stdout
    }

    /// Another part 0 of these bytes, packed, and a superblock that names it.
    fn serve_packed(&self, packer: &mut Packer, unpacked: &[u8]) {
        self.serve(&packer.pack(unpacked));
    }

    /// Another part 0, and a superblock that names it.
    fn serve(&self, part: &[u8]) {
        let path = self.delta.join("superblock");
        let mut superblock = fs::read(&path).unwrap();
        let known = Superblock::read(&superblock).unwrap().parts.swap_remove(0);
        let old_hash: Vec<u8> =
            (0..32).map(|i| u8::from_str_radix(&known.sha256[2 * i..2 * i + 2], 16).unwrap()).collect();
        let hash: Vec<u8> = {
            let hex = sha256_hex(part);
            (0..32).map(|i| u8::from_str_radix(&hex[2 * i..2 * i + 2], 16).unwrap()).collect()
        };
        replace(&mut superblock, &old_hash, &hash);
        replace(&mut superblock, &known.size.to_ne_bytes(), &(part.len() as u64).to_ne_bytes());
        assert_eq!(Superblock::read(&superblock).unwrap().parts[0].size, part.len() as u64);
        fs::write(path, superblock).unwrap();
        fs::write(self.delta.join("0"), part).unwrap();
    }

    /// A program that does this before, or in place of, applying the delta.
    fn program(&self, script: &str) -> PathBuf {
        let path = self.device.folder.join("program");
        fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        path
    }
}

/// Packs parts as libostree does. One process for hundreds of them.
struct Packer(Child);

impl Packer {
    fn new() -> Packer {
        let code = "import sys,lzma,struct\nr,w=sys.stdin.buffer,sys.stdout.buffer\nwhile True:\n h=r.read(8)\n if len(h)<8: break\n\
                    \x20b=b'x'+lzma.compress(r.read(struct.unpack('<Q',h)[0]),preset=0)\n w.write(struct.pack('<Q',len(b))+b); w.flush()";
        let mut command = Command::new("python3");
        Packer(command.args(["-c", code]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap())
    }

    fn pack(&mut self, bytes: &[u8]) -> Vec<u8> {
        let to = self.0.stdin.as_mut().unwrap();
        to.write_all(&(bytes.len() as u64).to_le_bytes()).unwrap();
        to.write_all(bytes).unwrap();
        to.flush().unwrap();
        let from = self.0.stdout.as_mut().unwrap();
        let mut length = [0; 8];
        from.read_exact(&mut length).unwrap();
        let mut packed = vec![0; u64::from_le_bytes(length) as usize];
        from.read_exact(&mut packed).unwrap();
        packed
    }
}

impl Drop for Packer {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}

fn replace(bytes: &mut [u8], from: &[u8], to: &[u8]) {
    let at = bytes.windows(from.len()).position(|window| window == from).unwrap();
    bytes[at..at + from.len()].copy_from_slice(to);
}

/// An unpacked part with other operations.
fn with_operations(raw: &[u8], operations: &[u8]) -> Vec<u8> {
    let part = Variant::from_bytes_with_type(&Bytes::from(raw), VariantTy::new(PART).unwrap());
    let mut children: Vec<Variant> = part.iter().collect();
    children[3] = Variant::array_from_fixed_array(operations);
    let changed = Variant::tuple_from_iter(children);
    changed.data().to_vec()
}

#[test]
fn a_signed_delta_brings_every_kind_of_object_as_it_was() {
    let bed = Bed::new(Server::write_hard_cases);
    let source = bed.source();
    let options = PullOptions { signed_deltas: bed.signed(), ..bed.options() };
    let report = bed.pull(&source, &options);
    assert!(report.delta_bytes > 0, "{report:?}");
    assert_eq!((source.asked(".filez"), report.objects), (0, 0), "all of it came by the delta");
    let list = |repo| run("ostree", &["ls", "-R", "-C", "-X", "--repo", repo, &bed.second]);
    assert_eq!(list(text(&bed.server.repo())), list(text(&bed.device.repo())));
    assert_eq!(bed.device.open().mend(&bed.second).unwrap(), 0);
    bed.device.fsck();
    assert!(!bed.device.folder.join("state/deltas.json").exists(), "nothing to remember");
}

#[test]
fn what_is_not_signed_is_not_asked_for() {
    let bed = Bed::small();
    let source = bed.source();
    assert_eq!(bed.pull(&source, &bed.options()).delta_bytes, 0);
    assert_eq!(source.asked("deltas/"), 0);
    bed.again();
    // By the setting, through the same process.
    let source = bed.source();
    assert!(bed.pull(&source, &bed.unsigned()).delta_bytes > 0);
    assert_eq!(source.asked(".filez"), 0);
}

#[test]
fn each_file_is_what_was_signed_or_nothing_is_interpreted() {
    let bed = Bed::small();
    let good = bed.signed();
    // Would be seen to run.
    let program = bed.program(&format!("touch {}/ran", text(&bed.device.folder.0)));
    let change = |alter: &dyn Fn(&mut SignedDelta)| {
        let mut signed = good.clone();
        signed.values_mut().for_each(alter);
        signed
    };
    let served: BTreeMap<&str, Vec<u8>> =
        ["superblock", "0"].map(|name| (name, fs::read(bed.delta.join(name)).unwrap())).into();
    let flipped = |name: &str| {
        let mut bytes = served[name].clone();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        Some((name.to_string(), Some(bytes)))
    };
    let cases = [
        (change(&|d| d.superblock.sha256 = "0".repeat(64)), None),
        (change(&|d| d.superblock.size += 1), None),
        (change(&|d| d.superblock.size -= 1), None),
        (change(&|d| d.superblock.size = u64::MAX), None),
        (change(&|d| d.parts[0].sha256 = "0".repeat(64)), None),
        (change(&|d| d.parts[0].size += 1), None),
        (change(&|d| d.parts[0].unpacked -= 1), None),
        (change(&|d| d.parts.clear()), None),
        (good.clone(), flipped("superblock")),
        (good.clone(), flipped("0")),
        (good.clone(), Some(("0".to_string(), None))),
        (good.clone(), Some(("superblock".to_string(), None))),
        (good.clone(), Some(("0".to_string(), Some([&served["0"][..], &[0; 100]].concat())))),
        (good.clone(), Some(("0".to_string(), Some(served["0"][..10].to_vec())))),
    ];
    for (number, (signed_deltas, other)) in cases.into_iter().enumerate() {
        for (name, bytes) in &served {
            fs::write(bed.delta.join(name), bytes).unwrap();
        }
        match other {
            Some((name, Some(bytes))) => fs::write(bed.delta.join(name), bytes).unwrap(),
            Some((name, None)) => fs::remove_file(bed.delta.join(name)).unwrap(),
            None => {}
        }
        let options = PullOptions { signed_deltas, program: program.clone(), ..bed.options() };
        let report = bed.pull(&bed.source(), &options);
        assert!(report.delta_bytes == 0 && report.objects > 0, "{number}: {report:?}");
        assert!(!bed.device.folder.join("ran").exists(), "{number}");
        bed.again();
    }
    let options = PullOptions { signed_deltas: good, program, ..bed.options() };
    for (name, bytes) in &served {
        fs::write(bed.delta.join(name), bytes).unwrap();
    }
    bed.pull(&bed.source(), &options);
    assert!(bed.device.folder.join("ran").exists(), "the good one is applied");
}

#[test]
fn operations_that_end_the_interpreter_end_only_it_and_only_once() {
    let bed = Bed::small();
    let (raw, mut packer) = (bed.raw(), Packer::new());
    // Write before open, open twice, close what is not open: which of them ends it depends on libostree's version.
    let nonsense = [&b"w\x01\x00"[..], b"o\x10o\x10", b"c", b"o\x10w\x01\x00", b"S\xc8\x01\x00\x0a\x00"];
    let report = nonsense.iter().find_map(|operations| {
        bed.serve_packed(&mut packer, &with_operations(&raw, operations));
        let report = bed.pull(&bed.source(), &bed.unsigned());
        if report.delta_trouble.is_none() {
            bed.again();
        }
        Some(report).filter(|report| report.delta_trouble.is_some())
    });
    let report = report.expect("one of them ends it");
    let trouble = report.delta_trouble.unwrap();
    assert!(trouble.contains("its process ended by signal"), "{trouble}");
    assert!(report.objects > 0);
    bed.device.fsck();
    bed.again();
    let source = bed.source();
    let report = bed.pull(&source, &bed.unsigned());
    assert_eq!((source.asked("deltas/"), report.delta_trouble), (0, None), "it is not tried again");
    // Signed, it is another one.
    bed.again();
    let options = PullOptions { signed_deltas: bed.signed(), ..bed.options() };
    assert!(bed.pull(&bed.source(), &options).delta_trouble.is_some());
}

#[test]
fn hundreds_of_mutated_parts_never_end_the_client() {
    let bed = Bed::small();
    let (raw, packed) = (bed.raw(), fs::read(bed.delta.join("0")).unwrap());
    let part = Variant::from_bytes_with_type(&Bytes::from(&raw[..]), VariantTy::new(PART).unwrap());
    let operations = part.child_value(3).data().to_vec();
    let random = noise(40_000, 11);
    let number = |at: usize| random[2 * at] as usize * 256 + random[2 * at + 1] as usize;
    let (mut killed, mut applied) = (0, 0);
    let mut packer = Packer::new();
    let rounds = std::env::var("RUST_OTA_ROUNDS").map_or(300, |text| text.parse().unwrap());
    for round in 0..rounds {
        let seed = round * 8;
        let mutated = match round % 4 {
            // Anywhere in the file.
            0 => {
                let mut bytes = packed.clone();
                let at = number(seed) % bytes.len();
                bytes[at] ^= random[seed + 20_000] | 1;
                bed.serve(&bytes);
                None
            }
            // Anywhere in what it unpacks to.
            1 => {
                let mut bytes = raw.clone();
                let at = bytes.len() - 1 - number(seed) % bytes.len();
                bytes[at] ^= random[seed + 20_000] | 1;
                Some(bytes)
            }
            // Other operations: one of them changed, and made of nothing.
            2 => {
                let mut operations = operations.clone();
                let at = number(seed) % operations.len();
                operations[at] = random[seed + 20_000];
                Some(with_operations(&raw, &operations))
            }
            _ => {
                let words = b"SowrcB\x00\x01\x02\x0a\x7f\xff";
                let made: Vec<u8> =
                    (0..12).map(|i| words[random[seed + i + 20_000] as usize % words.len()]).collect();
                Some(with_operations(&raw, &made))
            }
        };
        if let Some(mutated) = mutated {
            bed.serve_packed(&mut packer, &mutated);
        }
        let _ = fs::remove_file(bed.device.folder.join("state/deltas.json"));
        let report = bed.pull(&bed.source(), &bed.unsigned());
        killed += usize::from(report.delta_trouble.is_some());
        applied += usize::from(report.delta_bytes > 0);
        if round % 50 == 0 {
            assert_eq!(bed.device.open().mend(&bed.second).unwrap(), 0);
        }
        bed.again();
    }
    println!("of {rounds} mutated parts {killed} ended their process, {applied} were applied");
    assert!(killed > 0);
}

#[test]
fn what_unpacks_to_more_than_is_signed_ends_early() {
    let bed = Bed::small();
    let code = "import lzma,sys; c=lzma.LZMACompressor(preset=1); w=sys.stdout.buffer.write; w(b'x')\n\
                for _ in range(512): w(c.compress(bytes(1<<20)))\nw(c.flush())";
    let bomb = Command::new("python3").args(["-c", code]).output().unwrap().stdout;
    assert!(bomb.len() < 100_000, "{}", bomb.len());
    bed.serve(&bomb);
    let before = fs::read_dir("/var/tmp").unwrap().count();
    let report = bed.pull(&bed.source(), &bed.unsigned());
    assert!(report.delta_trouble.is_some_and(|t| t.contains("signal")), "the limit of a file's size");
    assert_eq!(fs::read_dir("/var/tmp").unwrap().count(), before);
    bed.again();
    // A superblock that admits it is refused before a part is fetched.
    let path = bed.delta.join("superblock");
    let mut superblock = fs::read(&path).unwrap();
    let unpacked = Superblock::read(&superblock).unwrap().parts[0].unpacked;
    replace(&mut superblock, &unpacked.to_ne_bytes(), &(512u64 << 20).to_ne_bytes());
    fs::write(path, superblock).unwrap();
    let _ = fs::remove_dir_all(bed.device.folder.join("state"));
    let source = bed.source();
    assert!(bed.pull(&source, &bed.unsigned()).objects > 0);
    assert_eq!((source.asked("/superblock"), source.asked("deltas/")), (1, 1));
}

#[test]
fn the_process_has_limits_and_one_that_breaks_them_is_remembered() {
    let bed = Bed::small();
    let binary = env!("CARGO_BIN_EXE_rust-ota");
    let cases = [
        (format!("RUST_OTA_DELTA=memory exec {binary} \"$@\""), "signal"),
        (format!("RUST_OTA_DELTA=file exec {binary} \"$@\""), "signal"),
        // By the processor's time, or by the clock where many programs run.
        (format!("RUST_OTA_DELTA=spin exec {binary} \"$@\""), "its process"),
        ("exec sleep 3600".to_string(), "took more than 4 seconds"),
        ("kill -9 $$".to_string(), "signal: 9"),
    ];
    for (script, says) in cases {
        let options = PullOptions {
            signed_deltas: bed.signed(),
            program: bed.program(&script),
            delta_seconds: 0,
            ..bed.options()
        };
        let source = bed.source();
        let report = bed.pull(&source, &options);
        let trouble = report.delta_trouble.unwrap_or_default();
        assert!(trouble.contains(says), "{script}: {trouble}");
        assert!(report.objects > 0);
        bed.again();
        let source = bed.source();
        assert_eq!(bed.pull(&source, &bed_options_again(&options)).delta_trouble, None, "{script}");
        assert_eq!(source.asked("deltas/"), 0, "{script}");
        fs::remove_file(bed.device.folder.join("state/deltas.json")).unwrap();
        bed.again();
    }
}

fn bed_options_again(options: &PullOptions) -> PullOptions {
    PullOptions { program: env!("CARGO_BIN_EXE_rust-ota").into(), ..options.clone() }
}

/// The process of a delta, stopped when it has given up what it gives up, and the pull that waits for it.
fn with_process<T>(bed: &Bed, look: impl FnOnce(u32) -> T) -> T {
    let stop = Arc::new(AtomicBool::new(false));
    let options = PullOptions {
        signed_deltas: bed.signed(),
        program: bed.program(&format!("RUST_OTA_DELTA=hang exec {} \"$@\"", env!("CARGO_BIN_EXE_rust-ota"))),
        stop: Some(stop.clone()),
        ..bed.options()
    };
    std::thread::scope(|scope| {
        let pull =
            scope.spawn(|| pull(&bed.device.open(), &bed.source(), &bed.second, &options, &mut |_| {}));
        // Written when all else is prepared.
        let prepared = bed.device.repo().join("tmp/rust-ota-delta/repo/config");
        while fs::read(&prepared).unwrap_or_default().is_empty() && !pull.is_finished() {
            std::thread::sleep(Duration::from_millis(5));
        }
        let found = process_of(&bed.device.repo()).map(look);
        stop.store(true, Ordering::Relaxed);
        assert!(matches!(pull.join().unwrap(), Err(OstreeError::Stopped)));
        found.expect("its process is there")
    })
}

/// The process that was told of this repository.
fn process_of(repo: &Path) -> Option<u32> {
    let repo = fs::canonicalize(repo).unwrap();
    let number = |entry: fs::DirEntry| {
        let line = String::from_utf8_lossy(&fs::read(entry.path().join("cmdline")).ok()?).into_owned();
        let ours = line.contains("internal-apply") && line.contains(text(&repo));
        entry.file_name().to_str()?.parse().ok().filter(|_| ours)
    };
    fs::read_dir("/proc").unwrap().flatten().find_map(number)
}

#[test]
fn what_the_process_of_a_delta_has_given_up() {
    let bed = Bed::small();
    let (status, limits, root, namespaces) = with_process(&bed, |pid| {
        let read = |name: &str| fs::read_to_string(format!("/proc/{pid}/{name}")).unwrap();
        let link = |pid: &str, name: &str| fs::read_link(format!("/proc/{pid}/{name}")).unwrap();
        let same =
            ["ns/net", "ns/ipc", "ns/mnt"].map(|name| link(&pid.to_string(), name) == link("self", name));
        (read("status"), read("limits"), link(&pid.to_string(), "root"), same)
    });
    let field =
        |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).unwrap().trim().to_string();
    assert_eq!(field("NoNewPrivs:"), "1");
    // CAP_DAC_READ_SEARCH at most.
    for set in ["CapInh:", "CapPrm:", "CapEff:"] {
        let held = u64::from_str_radix(&field(set), 16).unwrap();
        assert_eq!(held & !(1 << 2), 0, "{set} {held:x}");
    }
    let limit = |name: &str| {
        let line = limits.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        let (soft, hard) = line.trim().split_once(char::is_whitespace).unwrap();
        assert_eq!(soft, hard.split_whitespace().next().unwrap(), "{name}");
        soft.parse::<u64>().unwrap_or(u64::MAX)
    };
    assert_eq!((limit("Max core file size"), limit("Max open files")), (0, 256));
    assert!(limit("Max data size") <= 48 << 20 && limit("Max cpu time") < 3600);
    assert!(limit("Max file size") < 64 << 20 && limit("Max address space") < 2 << 30);
    // Where this test may make namespaces: no network, and no folder but its own.
    if rustix::process::getuid().is_root() {
        assert_eq!(namespaces, [false; 3]);
        assert!(root.ends_with("tmp/rust-ota-delta"), "{}", root.display());
    }
}

/// The other half of the next test: runs in a process of its own.
#[test]
#[ignore = "a helper process of another test"]
fn pull_a_delta_in_a_process() {
    let bed = Bed::small();
    with_process(&bed, |pid| {
        println!("pid {pid}");
        std::io::stdout().flush().unwrap();
        std::thread::sleep(Duration::from_secs(600));
    });
}

#[test]
fn a_client_that_is_killed_takes_the_process_with_it() {
    let folder = Folder::new("killed");
    let mut client = Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "pull_a_delta_in_a_process", "--nocapture"])
        .env("TMPDIR", &folder.0)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(client.stdout.take().unwrap()).lines();
    let pid =
        lines.map_while(Result::ok).find_map(|line| Some(line.split_once("pid ")?.1.to_string())).unwrap();
    let there = || {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        !status.is_empty() && !status.contains("State:\tZ")
    };
    assert!(there());
    client.kill().unwrap();
    client.wait().unwrap();
    let gone = (0..1000).any(|_| {
        std::thread::sleep(Duration::from_millis(10));
        !there()
    });
    if !gone {
        let _ = Command::new("kill").args(["-9", &pid]).status();
    }
    assert!(gone);
}

#[test]
fn without_namespaces_it_is_applied_too() {
    let bed = Bed::small();
    let binary = env!("CARGO_BIN_EXE_rust-ota");
    // As in a unit, or a container, that allows none.
    let script = format!("exec setpriv --bounding-set=-sys_admin,-sys_chroot {binary} \"$@\"");
    let options = PullOptions { signed_deltas: bed.signed(), program: bed.program(&script), ..bed.options() };
    assert!(bed.pull(&bed.source(), &options).delta_bytes > 0);
    assert_eq!(bed.device.open().mend(&bed.second).unwrap(), 0);
}

#[test]
fn an_error_of_its_own_is_not_remembered() {
    let bed = Bed::small();
    for script in ["echo 'no such thing' >&2; exit 1", "exit 2", "exit 77"] {
        let options =
            PullOptions { signed_deltas: bed.signed(), program: bed.program(script), ..bed.options() };
        let report = bed.pull(&bed.source(), &options);
        assert!(report.delta_trouble.is_none() && report.objects > 0, "{script}: {report:?}");
        bed.again();
    }
    let options = PullOptions { signed_deltas: bed.signed(), ..bed.options() };
    assert!(bed.pull(&bed.source(), &options).delta_bytes > 0);
}

#[test]
fn a_client_that_ended_twice_during_a_delta_takes_the_objects() {
    let bed = Bed::small();
    let options = PullOptions { signed_deltas: bed.signed(), ..bed.options() };
    let id = options.signed_deltas.values().next().unwrap().superblock.sha256.clone();
    let state = bed.device.folder.join("state");
    fs::create_dir_all(&state).unwrap();
    for (tries, taken) in [(1, true), (2, false)] {
        let text = format!("{{\"version\":1,\"deltas\":[{{\"delta\":\"{id}\",\"tries\":{tries}}}]}}");
        fs::write(state.join("deltas.json"), text).unwrap();
        assert_eq!(bed.pull(&bed.source(), &options).delta_bytes > 0, taken, "{tries}");
        bed.again();
    }
}

#[test]
fn a_stop_ends_the_process_too() {
    let bed = Bed::small();
    let stop = Arc::new(AtomicBool::new(false));
    let pid = bed.device.folder.join("pid");
    let options = PullOptions {
        signed_deltas: bed.signed(),
        program: bed.program(&format!("echo $$ > {}; exec sleep 3600", text(&pid))),
        stop: Some(stop.clone()),
        ..bed.options()
    };
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while fs::read_to_string(&pid).unwrap_or_default().is_empty() {
                std::thread::sleep(Duration::from_millis(5));
            }
            stop.store(true, Ordering::Relaxed);
        });
        let ended = pull(&bed.device.open(), &bed.source(), &bed.second, &options, &mut |_| {});
        assert!(matches!(ended, Err(OstreeError::Stopped)), "{ended:?}");
    });
    let pid = fs::read_to_string(pid).unwrap();
    assert!(!Path::new(&format!("/proc/{}", pid.trim())).exists());
    assert!(!bed.device.folder.join("state/deltas.json").exists(), "a stop is not the delta's fault");
}

#[test]
fn objects_that_the_process_left_are_checked_again() {
    let bed = Bed::small();
    let binary = env!("CARGO_BIN_EXE_rust-ota");
    // What an interpreter that was taken over could leave: other content, a pipe, other attributes, a link.
    for script in [
        "for f in $(find repo/objects -name '*.file'); do chmod u+w $f; echo x >> $f; done",
        "for f in $(find repo/objects -name '*.file'); do rm $f; mkfifo $f; done",
        "for f in $(find repo/objects -name '*.file'); do cp $f other; rm $f; mv other $f; done",
        "for f in $(find repo/objects -name '*.file'); do chmod u+w $f; printf 'a\\0b\\0' > $f; done",
        "for f in $(find repo/objects -name '*.dirtree'); do echo x >> $f; done",
        "for f in $(find repo/objects -type f); do rm $f; ln -s /etc/passwd $f; done",
        "rm -r repo/objects; ln -s /etc repo/objects",
    ] {
        let options = PullOptions {
            signed_deltas: bed.signed(),
            program: bed.program(&format!("{binary} \"$@\" || exit 3\n{script}\nexit 0")),
            ..bed.options()
        };
        bed.pull(&bed.source(), &options);
        assert_eq!(bed.device.open().mend(&bed.second).unwrap(), 0);
        bed.device.fsck();
        bed.again();
    }
}
