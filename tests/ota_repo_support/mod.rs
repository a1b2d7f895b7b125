//! What the tests of `ota-repo` share: a workshop with a folder, an OSTree repository and the tool; a running server;
//! and Python with python-tuf, the independent judge.

#![allow(dead_code)]

#[path = "../common/python.rs"]
mod python;

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use ostree::gio::{self, Cancellable, prelude::*};
use ostree::{MutableTree, Repo, RepoMode};
use serde_json::Value;

/// A folder of its own for one test, removed when the test went well.
pub struct Workshop {
    pub dir: PathBuf,
}

impl Workshop {
    pub fn new(name: &str) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let dir = std::env::temp_dir().join(format!("ota-repo-{name}-{}-{number}", std::process::id()));
        let _ = fs::remove_dir_all(&dir);
        fs::create_dir_all(&dir).unwrap();
        Self { dir }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// Runs the tool in the folder; words are split at blanks.
    pub fn run(&self, words: &str) -> Output {
        self.run_args(&words.split_whitespace().collect::<Vec<_>>())
    }

    pub fn run_args(&self, args: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_ota-repo")).args(args).current_dir(&self.dir).output().unwrap()
    }

    /// Runs the tool, which must do what it is told; gives its stdout.
    pub fn ok(&self, words: &str) -> String {
        let output = self.run(words);
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        assert!(output.status.success(), "ota-repo {words}\n{}", text(&output.stderr));
        text(&output.stdout)
    }

    /// Runs the tool, which must refuse with 1 and one line; gives that line.
    pub fn refused(&self, words: &str) -> String {
        let output = self.run(words);
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "ota-repo {words}\n{text}");
        assert!(text.starts_with("ota-repo: ") && text.trim_end().lines().count() == 1, "{text}");
        text
    }

    pub fn json(&self, words: &str) -> Value {
        serde_json::from_str(&self.ok(words)).unwrap()
    }

    /// Commits files with this content to the ref `main` of the OSTree repository `src`; gives the commit.
    pub fn commit(&self, content: &str) -> String {
        let tree = self.path("tree");
        fs::create_dir_all(tree.join("usr/bin")).unwrap();
        fs::write(tree.join("usr/bin/content"), content).unwrap();
        for number in 0..20 {
            fs::write(tree.join(format!("usr/bin/{number}")), format!("{content} {number}")).unwrap();
        }
        commit_tree(&self.path("src"), &tree)
    }

    /// A repository `ota` with the Target `board-1`; gives its commit.
    pub fn published(&self, options: &str) -> String {
        self.ok(&format!("init ota {options}"));
        let commit = self.commit("one");
        self.add(1);
        commit
    }

    /// Publishes the ref `main` as a version of `board`.
    pub fn add(&self, version: u32) {
        self.ok(&format!(
            "target add ota --ostree-repo src --ref main --name board --version {version} --hardware-id board-hw --tag main"
        ));
    }

    /// Serves `ota` without TLS.
    pub fn serve(&self, options: &str) -> Server {
        Server::start(self, &format!("serve ota --listen 127.0.0.1:0 {options}"))
    }
}

impl Drop for Workshop {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            let _ = fs::remove_dir_all(&self.dir);
        }
    }
}

/// A running `ota-repo serve`, ended with its value.
pub struct Server {
    child: Child,
    /// `http://127.0.0.1:PORT`.
    pub url: String,
}

impl Server {
    fn start(workshop: &Workshop, words: &str) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_ota-repo"))
            .args(words.split_whitespace())
            .current_dir(&workshop.dir)
            .stdout(Stdio::piped())
            .stderr(File::create(workshop.path("serve.log")).unwrap())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let url = line.trim_end().rsplit(' ').next().unwrap().to_string();
        assert!(url.starts_with("http"), "{line:?} {:?}", fs::read_to_string(workshop.path("serve.log")));
        Self { child, url }
    }

    /// `127.0.0.1:PORT`.
    pub fn address(&self) -> &str {
        self.url.split("//").nth(1).unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn commit_tree(path: &Path, tree: &Path) -> String {
    let none = None::<&Cancellable>;
    let repo = Repo::new_for_path(path);
    if !path.exists() {
        fs::create_dir_all(path).unwrap();
        repo.create(RepoMode::BareUserOnly, none).unwrap();
    }
    repo.open(none).unwrap();
    let transaction = repo.auto_transaction(none).unwrap();
    let mutable = MutableTree::new();
    let modifier =
        ostree::RepoCommitModifier::new(ostree::RepoCommitModifierFlags::CANONICAL_PERMISSIONS, None);
    repo.write_directory_to_mtree(&gio::File::for_path(tree), &mutable, Some(&modifier), none).unwrap();
    let root = repo.write_mtree(&mutable, none).unwrap();
    let root = root.downcast_ref::<ostree::RepoFile>().unwrap();
    let commit = repo.write_commit(None, Some("test"), None, None, root, none).unwrap();
    repo.transaction_set_ref(None, "main", Some(&commit));
    transaction.commit(none).unwrap();
    commit.to_string()
}

/// Python with python-tuf.
pub struct Python {
    program: PathBuf,
}

impl Python {
    pub fn new() -> Self {
        Self { program: python::interpreter() }
    }

    /// Runs a script of tests/python; gives the JSON that it prints, or what it says on stderr.
    pub fn check(&self, script: &str, args: &[&str]) -> Result<Value, String> {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python").join(script);
        let output = Command::new(&self.program).arg(path).args(args).output().unwrap();
        if output.status.success() {
            Ok(serde_json::from_slice(&output.stdout).unwrap())
        } else {
            Err(String::from_utf8_lossy(&output.stderr).into_owned())
        }
    }
}
