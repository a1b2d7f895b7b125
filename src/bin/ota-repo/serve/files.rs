//! Static files: GET and HEAD, ranges, conditional requests. Folders are never listed, links never followed.

use std::fs::{File, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags, ResolveFlags, openat2};

use super::answer::{Answer, Body};
use super::http::{Request, range};

/// The answer for a file below a folder.
pub fn answer(folder: &Path, path: &[String], request: &Request) -> Answer {
    if !matches!(request.method.as_str(), "GET" | "HEAD") {
        return Answer::status(405).with("Allow", "GET, HEAD");
    }
    match open(folder, path) {
        Some((file, metadata)) => send(file, &metadata, path, request),
        None => Answer::status(404),
    }
}

fn send(file: File, metadata: &Metadata, path: &[String], request: &Request) -> Answer {
    let tag = entity_tag(metadata);
    if request.header("if-none-match").is_some_and(|wanted| matches_tag(wanted, &tag)) {
        return Answer::status(304).with("ETag", tag);
    }
    // A range of another version of the file is of no use: If-Range turns it into the whole.
    let same = request.header("if-range").is_none_or(|wanted| wanted == tag);
    let wanted = request.header("range").filter(|_| same);
    let length = metadata.len();
    let (status, start, size) = match range(wanted, length) {
        Ok(None) => (200, 0, length),
        Ok(Some((start, size))) => (206, start, size),
        Err(refusal) => {
            return Answer::status(refusal.status).with("Content-Range", format!("bytes */{length}"));
        }
    };
    let mut answer = Answer {
        status,
        headers: vec![
            ("Content-Type", content_type(path).to_string()),
            ("Accept-Ranges", "bytes".to_string()),
            ("ETag", tag),
        ],
        body: Body::File { file, start, length: size },
    };
    if status == 206 {
        let last = start + size - 1;
        answer = answer.with("Content-Range", format!("bytes {start}-{last}/{length}"));
    }
    answer
}

/// The kernel resolves the name and refuses to leave the folder or to follow a link, so that no check can be raced.
fn open(folder: &Path, path: &[String]) -> Option<(File, Metadata)> {
    if path.is_empty() || path.iter().any(|segment| segment.starts_with('.')) {
        return None;
    }
    let folder = File::open(folder).ok()?;
    let relative: PathBuf = path.iter().collect();
    // Not blocking: a named pipe in the folder must not hold a thread.
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    let file = File::from(openat2(&folder, &relative, flags, Mode::empty(), resolve).ok()?);
    let metadata = file.metadata().ok()?;
    metadata.is_file().then_some((file, metadata))
}

/// Changes whenever a file is replaced (inode) or written in place (time, size).
fn entity_tag(metadata: &Metadata) -> String {
    format!(
        "\"{:x}-{:x}-{:x}-{:x}\"",
        metadata.ino(),
        metadata.len(),
        metadata.mtime(),
        metadata.mtime_nsec()
    )
}

fn matches_tag(wanted: &str, tag: &str) -> bool {
    wanted == "*" || wanted.split(',').map(str::trim).any(|one| one.strip_prefix("W/").unwrap_or(one) == tag)
}

fn content_type(path: &[String]) -> &'static str {
    match path.last() {
        Some(name) if name.ends_with(".json") => "application/json",
        _ => "application/octet-stream",
    }
}
