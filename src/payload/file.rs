//! A Target that is one file: fetched, compared with every hash that was signed, and only then put in its place.

mod error;

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

pub use error::FileError;
use sha2::{Digest, Sha256};

use super::pace::{Pace, SLOWEST};
use crate::gateway::{Http, HttpError, Stream};
use crate::store::{StoreError, atomic};
use crate::tuf::{Checker, TargetInfo};

/// What was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fetched {
    /// The file was there already, with the signed content.
    Unchanged,
    /// It was fetched.
    New,
}

/// Takes the next bytes, and how many there are with them.
type Take<'t> = dyn FnMut(&[u8], u64) -> Result<(), FileError> + 't;

/// One file to fetch.
#[derive(Debug)]
pub struct Download<'a> {
    /// The connection.
    pub http: &'a Http,
    /// Where it is.
    pub url: &'a str,
    /// Its length and hashes.
    pub info: &'a TargetInfo,
    /// A body that comes slower than [`SLOWEST`] over this time is given up.
    pub window: Duration,
}

/// Puts the Target at `path`, unless it is there. A server that sends something else leaves no file behind,
/// and what was at `path` stays.
pub fn fetch(http: &Http, url: &str, info: &TargetInfo, path: &Path) -> Result<Fetched, FileError> {
    let download = Download::new(http, url, info);
    if download.is_there(path)? {
        return Ok(Fetched::Unchanged);
    }
    let partial = path.with_file_name(PARTIAL);
    atomic::remove(&partial)?;
    let done = download.attempt(&partial, &AtomicBool::new(false), &mut |_| {});
    let done = done.and_then(|()| Ok(atomic::rename(&partial, path)?));
    if done.is_err() {
        let _ = fs::remove_file(&partial);
    }
    done.map(|()| Fetched::New)
}

impl<'a> Download<'a> {
    /// With the usual patience.
    pub fn new(http: &'a Http, url: &'a str, info: &'a TargetInfo) -> Download<'a> {
        Download { http, url, info, window: WINDOW }
    }

    /// The same, and goes on where an earlier run was cut: what came stays beside `path` as `.part` until it is whole or
    /// is found to be wrong. A few attempts are made; the next run is another one. Tells how many bytes are here.
    pub fn resume(
        &self,
        path: &Path,
        stop: &AtomicBool,
        progress: &mut dyn FnMut(u64),
    ) -> Result<Fetched, FileError> {
        if self.is_there(path)? {
            return Ok(Fetched::Unchanged);
        }
        let part = part_path(path);
        atomic::make_parent(&part)?;
        self.require_space(&part)?;
        let mut attempt = 1;
        while let Err(error) = self.attempt(&part, stop, progress) {
            if error.is_refusal() {
                // What is wrong may be older than a repair of the server, or a power cut's: one more, from nothing.
                atomic::remove(&part)?;
            }
            if attempt == ATTEMPTS || !error.may_pass() || stop.load(Ordering::Relaxed) {
                return Err(error);
            }
            log::info!("{error}");
            std::thread::sleep(PAUSE * attempt);
            attempt += 1;
        }
        atomic::rename(&part, path)?;
        Ok(Fetched::New)
    }

    /// Whether the file has the signed content: looked at each time, since a file that is there proves nothing.
    pub fn is_there(&self, path: &Path) -> Result<bool, FileError> {
        has_content(self.info, path)
    }

    /// One request, for what is missing of the part.
    fn attempt(
        &self,
        part: &Path,
        stop: &AtomicBool,
        progress: &mut dyn FnMut(u64),
    ) -> Result<(), FileError> {
        let write = |e| FileError::Store(StoreError::io("write", part, e));
        atomic::make_parent(part)?;
        let mut file = File::options().read(true).append(true).create(true).open(part).map_err(write)?;
        let (mut checker, mut got) = self.known(&mut file).map_err(write)?;
        if got < self.info.length {
            let stream = self.http.open_content(self.url, got).map_err(FileError::Http)?;
            let page = stream.page;
            match stream.status {
                206 if got > 0 => {}
                // The whole again: this server gives no ranges.
                200 => (checker, got) = (self.start_over(&file).map_err(write)?, 0),
                // It has less than is here already: that cannot have been the beginning of it.
                416 => {
                    self.start_over(&file).map_err(write)?;
                    return Err(FileError::Status { url: self.url.to_owned(), status: 416 });
                }
                status => return Err(FileError::Status { url: self.url.to_owned(), status }),
            }
            self.read(stream, &mut got, stop, &mut |bytes, got| {
                checker.update(bytes);
                progress(got);
                file.write_all(bytes).map_err(write)
            })?;
            if page && got != self.info.length {
                // A login page, more likely than another file. A Target may be a page, so its length decides.
                self.start_over(&file).map_err(write)?;
                return Err(FileError::Http(HttpError::Page { url: self.url.to_owned() }));
            }
        }
        if got != self.info.length {
            return Err(FileError::Length { url: self.url.to_owned(), expected: self.info.length, got });
        }
        checker.finish().map_err(|mismatch| FileError::Hash { url: self.url.to_owned(), mismatch })?;
        file.sync_all().map_err(write)
    }

    /// Hashes what is there of an earlier attempt. More than was signed cannot be the beginning of it.
    fn known(&self, file: &mut File) -> io::Result<(Checker<'_>, u64)> {
        if file.metadata()?.len() > self.info.length {
            return Ok((self.start_over(file)?, 0));
        }
        let mut checker = Checker::new(&self.info.hashes);
        let got = each_chunk(file, &mut |bytes| checker.update(bytes))?;
        Ok((checker, got))
    }

    fn start_over(&self, file: &File) -> io::Result<Checker<'_>> {
        file.set_len(0)?;
        Ok(Checker::new(&self.info.hashes))
    }

    fn read(
        &self,
        stream: Stream,
        got: &mut u64,
        stop: &AtomicBool,
        take: &mut Take<'_>,
    ) -> Result<(), FileError> {
        let cut = |reason: String| FileError::Cut { url: self.url.to_owned(), reason };
        // One byte more than signed is asked for, so that an endless body is told apart from the right one.
        let mut body = stream.take((self.info.length - *got).saturating_add(1));
        let mut buffer = vec![0; BUFFER];
        let mut pace = Pace::new(self.window);
        loop {
            if stop.load(Ordering::Relaxed) {
                return Err(cut("this program was told to end".to_string()));
            }
            let count = match body.read(&mut buffer) {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                read => read.map_err(|e| cut(e.to_string()))?,
            };
            let bytes = buffer.get(..count).unwrap_or_default();
            if bytes.is_empty() {
                return Ok(());
            }
            *got += bytes.len() as u64;
            take(bytes, *got)?;
            if pace.too_slow(count) {
                return Err(cut(format!("it came slower than {SLOWEST} bytes a second")));
            }
        }
    }

    fn require_space(&self, part: &Path) -> Result<(), FileError> {
        let here = fs::metadata(part).map_or(0, |m| m.len());
        let needed = self.info.length.saturating_sub(here).saturating_add(SPARE);
        require_space(part, needed)
    }
}

/// Puts a verified file in its place at once: whoever reads `to` sees the old content or the new one. It is verified
/// again on its way, since it may have been on this disk for long.
pub fn place(from: &Path, info: &TargetInfo, to: &Path) -> Result<(), FileError> {
    let mut source = File::open(from).map_err(|e| StoreError::io("read", from, e))?;
    let new = beside(to, ".rust-ota-new");
    atomic::make_parent(to)?;
    require_space(&new, info.length)?;
    let write = |e| StoreError::io("write", &new, e);
    let mut file = File::create(&new).map_err(write)?;
    let mut checker = Checker::new(&info.hashes);
    let mut written = Ok(());
    each_chunk(&mut source, &mut |bytes| {
        checker.update(bytes);
        if written.is_ok() {
            written = file.write_all(bytes);
        }
    })
    .map_err(|e| StoreError::io("read", from, e))?;
    let kept = fs::metadata(to).map(|old| old.permissions()).and_then(|mode| file.set_permissions(mode));
    match kept {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(write(e).into()),
        _ => {}
    }
    let done = written.and_then(|()| file.sync_all()).map_err(|e| FileError::Store(write(e)));
    let url = || from.display().to_string();
    let done = done.and_then(|()| {
        checker.finish().map_err(|mismatch| FileError::Hash { url: url(), mismatch })?;
        Ok(atomic::rename(&new, to)?)
    });
    if done.is_err() {
        let _ = fs::remove_file(&new);
    }
    done
}

/// Length and SHA-256 of a file; none where there is no file.
pub fn describe(path: &Path) -> Result<Option<(u64, [u8; 32])>, StoreError> {
    let read = |e| StoreError::io("read", path, e);
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(read(e)),
    };
    let mut sha256 = Sha256::new();
    let length = each_chunk(&mut file, &mut |bytes| sha256.update(bytes)).map_err(read)?;
    Ok(Some((length, sha256.finalize().into())))
}

/// Where what came so far of a file is.
pub fn part_path(path: &Path) -> PathBuf {
    beside(path, ".part")
}

/// Whether the file is there and has the signed content.
pub fn has_content(info: &TargetInfo, path: &Path) -> Result<bool, FileError> {
    if !info.hashes.usable() {
        return Err(FileError::NoHash);
    }
    let read = |e| FileError::Store(StoreError::io("read", path, e));
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(e) => return Err(read(e)),
    };
    if file.metadata().map_err(read)?.len() != info.length {
        return Ok(false);
    }
    let mut checker = Checker::new(&info.hashes);
    each_chunk(&mut file, &mut |bytes| checker.update(bytes)).map_err(read)?;
    Ok(checker.finish().is_ok())
}

const BUFFER: usize = 64 * 1024;
const WINDOW: Duration = Duration::from_secs(30);
/// Requests in one run. Not one more for those that brought a few bytes: who drips could go on for ever.
const ATTEMPTS: u32 = 3;
const PAUSE: Duration = Duration::from_millis(500);
/// Bytes that are left free.
const SPARE: u64 = 1024 * 1024;
/// A name that no Target's file has: those never begin with a point.
const PARTIAL: &str = ".rust-ota-partial";

/// Reads to the end, a piece at a time, so that the size of a file costs no memory.
fn each_chunk(file: &mut File, take: &mut dyn FnMut(&[u8])) -> io::Result<u64> {
    let mut buffer = vec![0; BUFFER];
    let mut length = 0;
    loop {
        let count = match file.read(&mut buffer) {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            read => read?,
        };
        if count == 0 {
            return Ok(length);
        }
        length += count as u64;
        take(buffer.get(..count).unwrap_or_default());
    }
}

/// Bytes that are free on the volume of a folder; none where it is not there.
pub fn free_space(folder: &Path) -> Option<u64> {
    let volume = rustix::fs::statvfs(folder).ok()?;
    Some(volume.f_bavail.saturating_mul(volume.f_frsize))
}

fn require_space(path: &Path, needed: u64) -> Result<(), FileError> {
    let folder = path.parent().unwrap_or(Path::new("."));
    // A volume that cannot be looked at counts as large enough: writing tells.
    match free_space(folder) {
        Some(available) if available < needed => {
            Err(FileError::NoSpace { path: folder.to_path_buf(), needed, available })
        }
        _ => Ok(()),
    }
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_os_string();
    name.push(suffix);
    PathBuf::from(name)
}
