//! A server that answers in every bad way there is.
#![allow(dead_code)]

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// What SECURITY.md promises.
pub const MOST_MEMORY: u64 = 64 * 1024;
/// Kilobytes beyond what honest runs leave: metadata and objects of this world are far smaller.
pub const MOST_DISK: u64 = 4096;
/// With `stall_sec = 1`; far above what is needed, far below "for ever".
pub const MOST_TIME: Duration = Duration::from_secs(120);

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Answer {
    Endless,
    Drip,
    Silence,
    HugeHeader,
    CutWithoutLength,
    TooLongALength,
    RedirectLoop,
    RedirectToHttp,
    Gzip,
    Page,
    OtherPart,
    Error,
    HeaderDrip,
    Interim,
    ChunkExtension,
    ChunkDrip,
    ChunkOfAllBytes,
    Trailers,
    TwoLengths,
    LengthOfAllBytes,
    NothingNew,
    NoContent,
}

pub const ALL: [Answer; 22] = [
    Answer::Endless,
    Answer::Drip,
    Answer::Silence,
    Answer::HugeHeader,
    Answer::CutWithoutLength,
    Answer::TooLongALength,
    Answer::RedirectLoop,
    Answer::RedirectToHttp,
    Answer::Gzip,
    Answer::Page,
    Answer::OtherPart,
    Answer::Error,
    Answer::HeaderDrip,
    Answer::Interim,
    Answer::ChunkExtension,
    Answer::ChunkDrip,
    Answer::ChunkOfAllBytes,
    Answer::Trailers,
    Answer::TwoLengths,
    Answer::LengthOfAllBytes,
    Answer::NothingNew,
    Answer::NoContent,
];

/// The end of a path, and how requests for it are answered.
pub type Rule = Arc<Mutex<Option<(&'static str, Answer)>>>;

pub fn serve(folder: PathBuf) -> (String, Rule) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let rule = Rule::default();
    let shared = rule.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let (folder, rule) = (folder.clone(), shared.clone());
            std::thread::spawn(move || {
                let _ = connection(stream, &folder, &rule);
            });
        }
    });
    (address, rule)
}

fn connection(mut stream: TcpStream, folder: &Path, rule: &Rule) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Ok(());
        }
        let path = line.split(' ').nth(1).unwrap_or("/").to_string();
        let mut length = 0;
        loop {
            let mut header = String::new();
            reader.read_line(&mut header)?;
            if header.trim().is_empty() {
                break;
            }
            if let Some(value) = header.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().unwrap();
            }
        }
        std::io::copy(&mut (&mut reader).take(length), &mut std::io::sink())?;
        let body = fs::read(folder.join(path.trim_start_matches('/')));
        let hostile = rule.lock().unwrap().filter(|(end, _)| path.ends_with(end)).map(|(_, answer)| answer);
        match (hostile, body) {
            (Some(answer), body) => return answer.give(&mut stream, &path, &body.unwrap_or_default()),
            (None, Ok(body)) => {
                write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len())?;
                stream.write_all(&body)?;
            }
            (None, Err(_)) => stream.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")?,
        }
    }
}

impl Answer {
    fn give(self, stream: &mut TcpStream, path: &str, body: &[u8]) -> std::io::Result<()> {
        let mut say = |text: &str| stream.write_all(text.as_bytes());
        match self {
            Answer::Endless => {
                say("HTTP/1.1 200 OK\r\n\r\n")?;
                let block = [b' '; 65536];
                loop {
                    stream.write_all(&block)?;
                }
            }
            Answer::Drip => {
                say("HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")?;
                loop {
                    stream.write_all(b" ")?;
                    std::thread::sleep(Duration::from_millis(100));
                }
            }
            Answer::Silence => std::thread::sleep(MOST_TIME),
            Answer::HugeHeader => loop {
                say(&format!("X-More: {}\r\n", "x".repeat(60_000)))?;
            },
            Answer::CutWithoutLength => {
                say("HTTP/1.1 200 OK\r\n\r\n")?;
                stream.write_all(&body[..body.len() / 2])?;
            }
            Answer::TooLongALength => {
                say("HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n")?;
                stream.write_all(body)?;
            }
            Answer::RedirectLoop => {
                say(&format!("HTTP/1.1 302 Found\r\nLocation: {path}\r\nContent-Length: 0\r\n\r\n"))?;
            }
            Answer::RedirectToHttp => say(
                "HTTP/1.1 307 Elsewhere\r\nLocation: http://192.0.2.1/login?secret=1\r\nContent-Length: 0\r\n\r\n",
            )?,
            Answer::Gzip => {
                say(&format!(
                    "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: {}\r\n\r\n",
                    body.len()
                ))?;
                stream.write_all(body)?;
            }
            Answer::Page => {
                let page = "<!DOCTYPE html><title>Welcome to our WLAN</title>";
                say(&format!(
                    "HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=utf-8\r\nContent-Length: {}\r\n\r\n{page}",
                    page.len()
                ))?;
            }
            Answer::OtherPart => {
                let range = "Content-Range: bytes 5-8/9\r\nContent-Length: 4";
                say(&format!("HTTP/1.1 206 Partial Content\r\n{range}\r\n\r\nxxxx"))?;
            }
            Answer::Error => say("HTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n")?,
            Answer::HeaderDrip => {
                say("HTTP/1.1 200 OK\r\nX-More: ")?;
                loop {
                    stream.write_all(b"x")?;
                    std::thread::sleep(Duration::from_millis(100));
                }
            }
            Answer::Interim => loop {
                say("HTTP/1.1 103 Early Hints\r\nLink: <https://192.0.2.1/>\r\n\r\n")?;
                std::thread::sleep(Duration::from_millis(5));
            },
            Answer::ChunkExtension => {
                say("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;x=")?;
                loop {
                    stream.write_all(&[b'x'; 65536])?;
                }
            }
            Answer::ChunkDrip => {
                say("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;x=")?;
                loop {
                    stream.write_all(b"x")?;
                    std::thread::sleep(Duration::from_millis(100));
                }
            }
            Answer::ChunkOfAllBytes => {
                say("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n")?;
                stream.write_all(body)?;
            }
            Answer::Trailers => {
                say(&format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n", body.len()))?;
                stream.write_all(body)?;
                stream.write_all(b"\r\n0\r\n")?;
                loop {
                    stream.write_all(format!("X-More: {}\r\n", "x".repeat(60_000)).as_bytes())?;
                }
            }
            Answer::TwoLengths => {
                say(&format!(
                    "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: {}\r\n\r\n",
                    body.len()
                ))?;
                stream.write_all(body)?;
            }
            Answer::LengthOfAllBytes => {
                say(&format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", u64::MAX))?;
                stream.write_all(body)?;
            }
            Answer::NothingNew => say("HTTP/1.1 304 Not Modified\r\nETag: \"x\"\r\n\r\n")?,
            Answer::NoContent => say("HTTP/1.1 204 No Content\r\n\r\n")?,
        }
        Ok(())
    }
}
