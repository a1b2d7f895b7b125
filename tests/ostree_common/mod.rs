//! Real repositories and sysroots, made by the `ostree` command.
#![allow(dead_code, missing_docs, missing_debug_implementations)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

pub mod http;

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use rust_ota::payload::ostree::{Booted, OstreeSettings, Sysroot};

/// A folder that goes away with the test. Deployments are immutable, so that is taken off first.
pub struct Folder(pub PathBuf);

impl Folder {
    pub fn new(name: &str) -> Folder {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("rust-ota-{name}-{}-{count}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Folder(path)
    }

    pub fn join(&self, path: &str) -> PathBuf {
        self.0.join(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = Command::new("chattr").args(["-R", "-f", "-i"]).arg(&self.0).status();
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Runs a program and gives its output; a failure is the test's failure.
pub fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).env("OSTREE_SYSROOT_DEBUG", "").output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success(),
        "{program} {arguments:?}: {text}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    text
}

pub fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// The server's side: an archive repository, and the tree that is committed to it.
pub struct Server {
    pub folder: Folder,
}

impl Server {
    pub fn new() -> Server {
        let folder = Folder::new("server");
        run("ostree", &["init", "--mode=archive", "--repo", text(&folder.join("repo"))]);
        let server = Server { folder };
        server.make_bootable();
        server
    }

    pub fn repo(&self) -> PathBuf {
        self.folder.join("repo")
    }

    pub fn tree(&self, path: &str) -> PathBuf {
        self.folder.join("tree").join(path)
    }

    pub fn write(&self, path: &str, content: impl AsRef<[u8]>) {
        let path = self.tree(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    /// As much as libostree asks for before it deploys a tree.
    fn make_bootable(&self) {
        self.write("usr/lib/modules/6.1.0/vmlinuz", "a kernel");
        self.write("usr/lib/modules/6.1.0/initramfs.img", "an initramfs");
        self.write("usr/etc/os-release", "NAME=test\nID=test\nPRETTY_NAME=\"Test\"\n");
        self.write("usr/etc/default.conf", "default\n");
        self.write("usr/lib/os-release", "NAME=test\nID=test\nPRETTY_NAME=\"Test\"\n");
    }

    /// Everything that makes objects differ.
    pub fn write_hard_cases(&self) {
        self.write("usr/share/empty", "");
        self.write("usr/share/also-empty", "");
        for i in 0..200 {
            self.write(&format!("usr/share/many/{}/{i}", i % 7), format!("file {i}\n"));
        }
        self.write("usr/share/large", noise(3 << 20, 1));
        self.write("usr/share/larger", noise(5 << 20, 2));
        self.write("usr/share/zeros", vec![0; 20 << 20]);
        self.write("usr/bin/setuid", "setuid");
        fs::set_permissions(self.tree("usr/bin/setuid"), fs::Permissions::from_mode(0o4755)).unwrap();
        self.write("usr/bin/sticky", "sticky");
        fs::set_permissions(self.tree("usr/bin/sticky"), fs::Permissions::from_mode(0o2711)).unwrap();
        self.write("usr/share/unreadable", "secret");
        fs::set_permissions(self.tree("usr/share/unreadable"), fs::Permissions::from_mode(0o0)).unwrap();
        self.write("usr/share/Größe und Leerzeichen", "name");
        symlink("setuid", self.tree("usr/bin/link")).unwrap();
        symlink("/nowhere/at all", self.tree("usr/bin/dangling")).unwrap();
        symlink("ü", self.tree("usr/bin/umlaut")).unwrap();
        fs::create_dir_all(self.tree("usr/share/empty-folder")).unwrap();
        fs::set_permissions(self.tree("usr/share/empty-folder"), fs::Permissions::from_mode(0o1777)).unwrap();
        let flags = rustix::fs::XattrFlags::empty();
        rustix::fs::setxattr(self.tree("usr/share/empty"), "user.colour", b"blue", flags)
            .expect("the temporary folder's file system takes extended attributes");
    }

    pub fn commit(&self) -> String {
        self.commit_with(&["--generate-sizes"])
    }

    pub fn commit_with(&self, options: &[&str]) -> String {
        let (repo, tree) = (self.repo(), self.folder.join("tree"));
        let mut arguments =
            vec!["commit", "--repo", text(&repo), "-b", "main", "--owner-uid=0", "--owner-gid=0"];
        let tree = format!("--tree=dir={}", tree.display());
        arguments.extend(options);
        arguments.push(&tree);
        run("ostree", &arguments).trim().to_string()
    }

    /// The object's file in the repository.
    pub fn object(&self, commit: &str, path: &str) -> PathBuf {
        let repo = self.repo();
        let line = run("ostree", &["ls", "-C", "--repo", text(&repo), commit, path]);
        let hash = line.split_whitespace().find(|word| word.len() == 64).unwrap();
        repo.join(format!("objects/{}/{}.filez", &hash[..2], &hash[2..]))
    }
}

/// Bytes that do not pack, the same for the same seed.
pub fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    (0..length).map(|_| next()).collect()
}

/// The device's side.
pub struct Device {
    pub folder: Folder,
}

impl Device {
    /// A sysroot as an image has it, with U-Boot's file where libostree looks for it.
    pub fn new() -> Device {
        let device = Device { folder: Folder::new("device") };
        let root = device.root();
        fs::create_dir_all(&root).unwrap();
        run("ostree", &["admin", "init-fs", "--modern", text(&root)]);
        run("ostree", &["admin", "os-init", "--sysroot", text(&root), "test"]);
        fs::create_dir_all(root.join("boot/loader.0")).unwrap();
        symlink("loader.0", root.join("boot/loader")).unwrap();
        fs::write(root.join("boot/loader/uEnv.txt"), "").unwrap();
        device
    }

    pub fn root(&self) -> PathBuf {
        self.folder.join("root")
    }

    pub fn repo(&self) -> PathBuf {
        self.root().join("ostree/repo")
    }

    pub fn open(&self) -> Sysroot {
        self.open_booted(0)
    }

    /// Opens it as if the deployment with this index were running.
    pub fn open_booted(&self, index: usize) -> Sysroot {
        let settings = OstreeSettings { path: self.root(), os: None, booted: Booted::Index(index) };
        Sysroot::open(&settings).unwrap()
    }

    pub fn status(&self) -> String {
        run("ostree", &["admin", "status", "--sysroot", text(&self.root())])
    }

    pub fn fsck(&self) -> String {
        run("ostree", &["fsck", "--repo", text(&self.repo())])
    }

    pub fn commits(&self, booted: usize) -> Vec<String> {
        self.open_booted(booted).deployments().unwrap().into_iter().map(|d| d.commit).collect()
    }

    pub fn partial_marker(&self, commit: &str) -> PathBuf {
        self.repo().join(format!("state/{commit}.commitpartial"))
    }
}
