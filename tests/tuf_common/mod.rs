//! What the black-box tests of `rust-ota tuf` share: repositories by python-tuf, a server that misbehaves on
//! demand, and the client as a process.
#![allow(dead_code, missing_docs, clippy::unwrap_used, clippy::panic)]

#[path = "../common/python.rs"]
pub mod python;

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// An empty folder of this test.
pub fn folder(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("tuf").join(name);
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).unwrap();
    folder
}

/// How the server answers a path, instead of with the file.
#[derive(Clone, Debug)]
pub enum Trouble {
    /// A status and a page of text.
    Status(u16),
    /// The head promises the whole file and the connection ends after so many bytes.
    Cut(usize),
    /// The connection ends before a byte.
    Reset,
    /// The file, and then bytes without an end.
    Endless,
    /// Other bytes.
    Bytes(Vec<u8>),
}

/// Serves a folder on loopback and remembers what it was asked.
pub struct Server {
    pub url: String,
    pub folder: PathBuf,
    log: Arc<Mutex<Vec<String>>>,
    troubles: Arc<Mutex<BTreeMap<String, Trouble>>>,
}

impl Server {
    /// Files are looked up as they are asked for: nothing is unquoted.
    pub fn new(folder: &Path) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (log, troubles) = (Arc::default(), Arc::default());
        let server = Server { url, folder: folder.to_owned(), log, troubles };
        let (folder, log, troubles) = (folder.to_owned(), server.log.clone(), server.troubles.clone());
        thread::spawn(move || {
            for stream in listener.incoming() {
                let path = request_path(stream.as_ref().unwrap());
                log.lock().unwrap().push(path.clone());
                let trouble = troubles.lock().unwrap().get(&path).cloned();
                // A client that hangs up has its reasons.
                let _ = answer(stream.unwrap(), &folder.join(path.trim_start_matches('/')), trouble);
            }
        });
        server
    }

    /// What was asked since the last call.
    pub fn requests(&self) -> Vec<String> {
        std::mem::take(&mut *self.log.lock().unwrap())
    }

    pub fn trouble(&self, path: &str, trouble: Trouble) {
        self.troubles.lock().unwrap().insert(path.to_owned(), trouble);
    }

    pub fn honest(&self) {
        self.troubles.lock().unwrap().clear();
    }
}

fn request_path(stream: &TcpStream) -> String {
    let mut lines = BufReader::new(stream).lines().map_while(Result::ok);
    let first = lines.next().unwrap_or_default();
    let _ = lines.find(String::is_empty);
    first.split(' ').nth(1).unwrap_or_default().to_owned()
}

fn answer(mut stream: TcpStream, file: &Path, trouble: Option<Trouble>) -> std::io::Result<()> {
    let found = fs::read(file).ok();
    let (status, body) = match (&trouble, found) {
        (Some(Trouble::Reset), _) => return Ok(()),
        (Some(Trouble::Status(status)), _) => (*status, b"<html>no</html>".to_vec()),
        (Some(Trouble::Bytes(bytes)), _) => (200, bytes.clone()),
        (_, Some(body)) => (200, body),
        (_, None) => (404, b"<html>not found</html>".to_vec()),
    };
    write!(stream, "HTTP/1.1 {status} x\r\nConnection: close\r\n")?;
    match trouble {
        Some(Trouble::Endless) => {
            stream.write_all(b"\r\n")?;
            stream.write_all(&body)?;
            loop {
                stream.write_all(&[b' '; 65536])?;
            }
        }
        Some(Trouble::Cut(at)) => {
            write!(stream, "Content-Length: {}\r\n\r\n", body.len())?;
            stream.write_all(&body[..at.min(body.len())])?;
        }
        _ => {
            write!(stream, "Content-Length: {}\r\n\r\n", body.len())?;
            stream.write_all(&body)?;
        }
    }
    stream.set_read_timeout(Some(Duration::from_millis(10)))
}

/// The client with its two folders.
pub struct Client {
    pub metadata_dir: PathBuf,
    pub target_dir: PathBuf,
    pub profile: &'static str,
    url: String,
}

pub struct Run {
    pub code: Option<i32>,
    pub stderr: String,
}

impl Client {
    pub fn new(folder: &Path, server: &Server) -> Client {
        let url = server.url.clone();
        Client { metadata_dir: folder.join("trust"), target_dir: folder.join("files"), profile: "tuf", url }
    }

    pub fn init(&self, root: &Path) -> Run {
        self.run(&["init", root.to_str().unwrap()])
    }

    pub fn refresh(&self) -> Run {
        self.run(&["--metadata-url", &format!("{}/metadata", self.url), "refresh"])
    }

    pub fn download(&self, targets: &[&str]) -> Run {
        let mut arguments = Vec::new();
        for target in targets {
            arguments.extend(["--target-name", target]);
        }
        let (metadata, files) = (format!("{}/metadata", self.url), format!("{}/targets/", self.url));
        arguments.extend(["--metadata-url", &metadata, "--target-base-url", &files]);
        arguments.extend(["--target-dir", self.target_dir.to_str().unwrap(), "download"]);
        self.run(&arguments)
    }

    pub fn run(&self, arguments: &[&str]) -> Run {
        let mut command = Command::new(env!("CARGO_BIN_EXE_rust-ota"));
        command.args(["tuf", "--profile", self.profile, "--metadata-dir"]).arg(&self.metadata_dir);
        let output = command.args(arguments).output().unwrap();
        Run { code: output.status.code(), stderr: String::from_utf8_lossy(&output.stderr).into_owned() }
    }

    /// Versions of what is trusted, by file.
    pub fn trusted(&self) -> BTreeMap<String, u64> {
        let files = fs::read_dir(&self.metadata_dir).unwrap().map(|entry| entry.unwrap());
        let json = files.filter(|entry| entry.path().extension().is_some_and(|ext| ext == "json"));
        json.map(|entry| {
            let document: serde_json::Value =
                serde_json::from_slice(&fs::read(entry.path()).unwrap()).unwrap();
            (entry.file_name().into_string().unwrap(), document["signed"]["version"].as_u64().unwrap())
        })
        .collect()
    }

    /// All files below the folder of Targets, hidden ones too.
    pub fn files(&self) -> Vec<Vec<u8>> {
        let Ok(entries) = fs::read_dir(&self.target_dir) else { return Vec::new() };
        entries.map(|entry| fs::read(entry.unwrap().path()).unwrap()).collect()
    }
}

impl Run {
    #[track_caller]
    pub fn ok(self) {
        assert_eq!(self.code, Some(0), "{}", self.stderr);
    }

    /// Fails with code 1 and says why, once, naming this.
    #[track_caller]
    pub fn fails(self, naming: &str) {
        assert_eq!(self.code, Some(1), "{}", self.stderr);
        assert!(self.stderr.contains(naming), "{naming:?} is not in {}", self.stderr);
        assert!(!self.stderr.contains("panicked"), "{}", self.stderr);
    }
}
