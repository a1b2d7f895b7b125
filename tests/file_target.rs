//! A Target that is a file: what is refused of it, and what that leaves.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic)]

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use rust_ota::gateway::{Http, HttpSettings, PlainHttp};
use rust_ota::payload::file::{Download, FileError, has_content, part_path, place};
use rust_ota::tuf::{Hashes, TargetInfo, from_hex, sha256_hex};

const CONTENT: &[u8] = b"firmware of a sensor";

struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let path = std::env::temp_dir().join(format!("rust-ota-file-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        Folder(path)
    }

    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.0).unwrap().flatten();
        let mut names: Vec<String> = entries.map(|e| e.file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn signed(content: &[u8]) -> TargetInfo {
    let sha256 = from_hex(&sha256_hex(content)).and_then(|bytes| bytes.try_into().ok());
    let hashes = Hashes { sha256, sha512: None, other: Vec::new() };
    TargetInfo { length: content.len() as u64, hashes, custom: None }
}

/// Answers each request with this.
fn server(answer: String) -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/target", listener.local_addr().unwrap());
    let asked = Arc::new(AtomicUsize::new(0));
    let count = asked.clone();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            let mut line = String::new();
            while reader.read_line(&mut line).unwrap_or(0) > 2 {
                line.clear();
            }
            count.fetch_add(1, Ordering::Relaxed);
            let _ = stream.write_all(answer.as_bytes());
        }
    });
    (url, asked)
}

fn resume(url: &str, info: &TargetInfo, path: &Path) -> FileError {
    let settings = HttpSettings { plain_http: PlainHttp::Any, ..HttpSettings::default() };
    let http = Http::new(&settings).unwrap();
    Download::new(&http, url, info).resume(path, &AtomicBool::new(false), &mut |_| {}).unwrap_err()
}

#[test]
fn what_was_not_signed_does_not_take_the_place_of_a_file() {
    let folder = Folder::new("place");
    let (from, to) = (folder.0.join("from"), folder.0.join("to"));
    fs::write(&to, "the old one").unwrap();
    fs::write(&from, CONTENT).unwrap();
    place(&from, &signed(CONTENT), &folder.0.join("new")).unwrap();
    // Damaged while it lay there.
    fs::write(&from, b"firmware of a sensoR").unwrap();
    let error = place(&from, &signed(CONTENT), &to).unwrap_err();
    assert!(matches!(error, FileError::Hash { .. }), "{error}");
    let large = TargetInfo { length: 1 << 60, ..signed(CONTENT) };
    let error = place(&from, &large, &to).unwrap_err();
    assert!(matches!(error, FileError::NoSpace { .. }), "{error}");
    assert_eq!(fs::read(&to).unwrap(), b"the old one");
    assert_eq!(folder.names(), ["from", "new", "to"]);
}

#[test]
fn a_file_that_is_there_proves_nothing() {
    let folder = Folder::new("there");
    let path = folder.0.join("file");
    assert!(!has_content(&signed(CONTENT), &path).unwrap());
    for (content, same) in
        [(CONTENT, true), (b"firmware of a sensoR", false), (b"firmware", false), (b"", false)]
    {
        fs::write(&path, content).unwrap();
        assert_eq!(has_content(&signed(CONTENT), &path).unwrap(), same, "{content:?}");
    }
    let hashes = Hashes { sha256: None, sha512: None, other: Vec::new() };
    let error = has_content(&TargetInfo { hashes, ..signed(CONTENT) }, &path).unwrap_err();
    assert!(matches!(error, FileError::NoHash), "{error}");
}

#[test]
fn a_file_without_room_is_not_asked_for() {
    let folder = Folder::new("room");
    let (url, asked) = server("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n".to_string());
    let large = TargetInfo { length: 1 << 60, ..signed(CONTENT) };
    let error = resume(&url, &large, &folder.0.join("file"));
    assert!(matches!(error, FileError::NoSpace { .. }), "{error}");
    assert_eq!((asked.load(Ordering::Relaxed), folder.names().len()), (0, 0));
}

#[test]
fn a_server_that_cuts_is_asked_three_times() {
    let folder = Folder::new("cut");
    // A byte each time: what brings something goes on with the next run.
    let (url, asked) =
        server("HTTP/1.1 200 OK\r\nContent-Length: 20\r\nConnection: close\r\n\r\nf".to_string());
    let path = folder.0.join("file");
    let error = resume(&url, &signed(CONTENT), &path);
    assert!(matches!(error, FileError::Cut { .. } | FileError::Http(_)), "{error}");
    assert_eq!(asked.load(Ordering::Relaxed), 3);
    assert!(part_path(&path).exists() && !path.exists());
}

#[test]
fn a_part_that_nobody_asked_for_is_no_file() {
    let folder = Folder::new("part");
    let content = String::from_utf8(CONTENT.to_vec()).unwrap();
    let head = "HTTP/1.1 206 Partial Content\r\nConnection: close\r\nContent-Length: 20";
    let (url, _) = server(format!("{head}\r\n\r\n{content}"));
    let path = folder.0.join("file");
    let error = resume(&url, &signed(CONTENT), &path);
    assert!(matches!(error, FileError::Status { status: 206, .. }), "{error}");
    assert!(!path.exists());
}
