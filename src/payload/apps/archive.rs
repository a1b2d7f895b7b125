//! Archives, as small as they can be: a reader of `.tgz` for apps, a writer of tar for what an engine loads.
//!
//! gzip is GLib's, which libostree brings; tar is 512-byte blocks.

use std::io::{self, Read, Write};
use std::path::{Component, Path, PathBuf};

use ::ostree::gio::{self, prelude::*};

use super::folder::Folder;

/// The most that an app's archive may hold when it is unpacked.
pub const UNPACKED_LIMIT: u64 = 1 << 30;
/// The most files that it may hold.
const MOST_ENTRIES: usize = 100_000;
const BLOCK: usize = 512;
/// Long names come as a file of their own; none that is real is longer.
const NAME_LIMIT: u64 = 64 * 1024;

/// What an entry is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// A file of so many bytes.
    File(u64),
    /// A folder.
    Folder,
    /// A symbolic link and where it leads.
    Link(String),
}

/// One entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Where it goes; relative, and never upwards.
    pub path: PathBuf,
    /// What it is.
    pub kind: Kind,
    /// Permission bits.
    pub mode: u32,
}

/// Opens a gzip file to be read unpacked.
pub fn gunzip(path: &Path) -> io::Result<impl Read + use<>> {
    let file = gio::File::for_path(path).read(gio::Cancellable::NONE).map_err(io::Error::other)?;
    let gzip = gio::ZlibDecompressor::new(gio::ZlibCompressorFormat::Gzip);
    Ok(Gunzip(gio::ConverterInputStream::new(&file, &gzip)))
}

struct Gunzip(gio::ConverterInputStream);

impl Read for Gunzip {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer, gio::Cancellable::NONE).map_err(|e| io::Error::other(e.message().to_string()))
    }
}

/// Packs bytes with gzip; the same bytes give the same result.
pub fn gzip(bytes: &[u8]) -> io::Result<Vec<u8>> {
    let packed = gio::MemoryOutputStream::new_resizable();
    let gzip = gio::ZlibCompressor::new(gio::ZlibCompressorFormat::Gzip, 9);
    let stream = gio::ConverterOutputStream::new(&packed, &gzip);
    stream.write_all(bytes, gio::Cancellable::NONE).map_err(io::Error::other)?;
    stream.close(gio::Cancellable::NONE).map_err(io::Error::other)?;
    Ok(packed.steal_as_bytes().to_vec())
}

/// Reads each entry of a tar stream; `visit` may read the entry's bytes, and must not hold on to them.
pub fn entries(
    mut tar: impl Read,
    visit: &mut dyn FnMut(&Entry, &mut dyn Read) -> io::Result<()>,
) -> io::Result<()> {
    let mut total: u64 = 0;
    let mut long = Long::default();
    for _ in 0..MOST_ENTRIES {
        let mut header = [0; BLOCK];
        tar.read_exact(&mut header)?;
        if header.iter().all(|b| *b == 0) {
            return Ok(());
        }
        let size = check(&header)?;
        total = total.saturating_add(size);
        if total > UNPACKED_LIMIT {
            return Err(bad(format!("unpacks to more than {UNPACKED_LIMIT} bytes")));
        }
        let mut body = (&mut tar).take(size);
        match header[156] {
            b'x' | b'L' | b'K' if size > NAME_LIMIT => return Err(bad("has a name that is too long")),
            b'x' => long.pax(&read(&mut body)?),
            b'L' => long.path = Some(text(&read(&mut body)?)),
            b'K' => long.link = Some(text(&read(&mut body)?)),
            b'g' => {}
            kind => visit(&entry(&header, kind, size, std::mem::take(&mut long))?, &mut body)?,
        }
        let left = body.limit() + (BLOCK as u64 - size % BLOCK as u64) % BLOCK as u64;
        let skipped = io::copy(&mut (&mut tar).take(left), &mut io::sink())?;
        if skipped != left {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    Err(bad(format!("has more than {MOST_ENTRIES} entries")))
}

/// Unpacks below `folder`. What is there already and not in the archive stays: apps keep their data there. An app can change the
/// folder meanwhile, so it is never reached by a path.
pub fn unpack(tar: impl Read, folder: &Path) -> io::Result<()> {
    let folder = Folder::make(folder)?;
    entries(tar, &mut |entry, body| {
        let Some(name) = entry.path.file_name() else { return Ok(()) };
        let parent = folder.parent_of(&entry.path)?;
        match &entry.kind {
            Kind::Folder => parent.make_folder(name, entry.mode & 0o777),
            Kind::File(_) => {
                parent.write(name, entry.mode & 0o777, &mut |file| io::copy(body, file).map(drop))
            }
            Kind::Link(to) => parent.link(to, name),
        }
    })
}

/// The bytes of one file at the top of an archive.
pub fn find(tar: impl Read, name: &str, limit: u64) -> io::Result<Option<Vec<u8>>> {
    let mut found = None;
    entries(tar, &mut |entry, body| {
        match entry.kind {
            Kind::File(size) if entry.path == Path::new(name) && size > limit => {
                return Err(bad(format!("{name} has more than the {limit} bytes that are allowed")));
            }
            Kind::File(_) if entry.path == Path::new(name) => found = Some(read(body)?),
            _ => {}
        }
        Ok(())
    })?;
    Ok(found)
}

/// Writes one file into a tar stream.
pub fn put(out: &mut dyn Write, path: &str, mode: u32, size: u64, body: &mut dyn Read) -> io::Result<()> {
    out.write_all(&header(path, mode, size)?)?;
    if io::copy(&mut body.take(size), out)? != size {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    out.write_all(&vec![0; (BLOCK - size as usize % BLOCK) % BLOCK])
}

/// Ends a tar stream.
pub fn end(out: &mut dyn Write) -> io::Result<()> {
    out.write_all(&[0; 2 * BLOCK])
}

/// ustar: 100 bytes of name, and 155 more of the folders before it.
fn header(path: &str, mode: u32, size: u64) -> io::Result<[u8; BLOCK]> {
    let too_long = || bad(format!("{path} is too long a name for a tar archive"));
    let (prefix, name) = if path.len() <= 100 {
        ("", path)
    } else {
        let mut at = path.bytes().enumerate().filter(|(i, b)| *b == b'/' && *i <= 155).map(|(i, _)| i);
        let at = at.rfind(|i| path.len() - i - 1 <= 100).ok_or_else(too_long)?;
        (&path[..at], &path[at + 1..])
    };
    let mut block = [0; BLOCK];
    let mut set = |at: usize, bytes: &[u8]| block[at..at + bytes.len()].copy_from_slice(bytes);
    set(0, name.as_bytes());
    set(100, format!("{mode:07o}").as_bytes());
    set(108, b"0000000");
    set(116, b"0000000");
    set(124, format!("{size:011o}").as_bytes());
    set(136, b"00000000000");
    set(148, b"        ");
    set(156, b"0");
    set(257, b"ustar\x0000");
    set(345, prefix.as_bytes());
    let sum: u32 = block.iter().map(|b| u32::from(*b)).sum();
    block[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
    Ok(block)
}

/// Names that do not fit into a header.
#[derive(Default)]
struct Long {
    path: Option<String>,
    link: Option<String>,
}

impl Long {
    /// Records `LENGTH KEY=VALUE\n`.
    fn pax(&mut self, records: &[u8]) {
        let mut rest = records;
        while let Some(space) = rest.iter().position(|b| *b == b' ') {
            let length = std::str::from_utf8(&rest[..space]).ok().and_then(|t| t.parse::<usize>().ok());
            let Some(record) = length.filter(|l| *l > space).and_then(|l| rest.get(space + 1..l)) else {
                return;
            };
            let record = String::from_utf8_lossy(record);
            match record.trim_end_matches('\n').split_once('=') {
                Some(("path", value)) => self.path = Some(value.to_string()),
                Some(("linkpath", value)) => self.link = Some(value.to_string()),
                _ => {}
            }
            rest = &rest[length.unwrap_or(rest.len())..];
        }
    }
}

/// The size that the header tells, once its checksum fits.
fn check(header: &[u8; BLOCK]) -> io::Result<u64> {
    let stored = octal(&header[148..156]).ok_or_else(|| bad("is no tar archive"))?;
    let sum: u64 = header
        .iter()
        .enumerate()
        .map(|(i, b)| if (148..156).contains(&i) { 32 } else { u64::from(*b) })
        .sum();
    if sum != stored {
        return Err(bad("has a damaged header: not a tar archive"));
    }
    let size = octal(&header[124..136]).ok_or_else(|| bad("has an entry without a size"))?;
    // Links and folders have no bytes, whatever they say.
    Ok(if matches!(header[156], b'1' | b'2' | b'5') { 0 } else { size })
}

fn entry(header: &[u8; BLOCK], kind: u8, size: u64, long: Long) -> io::Result<Entry> {
    let name = text(&header[..100]);
    let prefix = if &header[257..262] == b"ustar" { text(&header[345..500]) } else { String::new() };
    let short = if prefix.is_empty() { name } else { format!("{prefix}/{name}") };
    let name = long.path.unwrap_or(short);
    let path = relative(&name).ok_or_else(|| bad(format!("has an entry {name:?} that leads outside")))?;
    let to = long.link.unwrap_or_else(|| text(&header[157..257]));
    if name.contains('\0') || to.contains('\0') {
        return Err(bad(format!("has an entry {name:?} with a zero byte in its name or in where it leads")));
    }
    let kind = match kind {
        b'0' | 0 => Kind::File(size),
        b'5' => Kind::Folder,
        b'2' => Kind::Link(to),
        _ => return Err(bad(format!("has an entry {name:?} that is no file, folder or symbolic link"))),
    };
    Ok(Entry { path, kind, mode: octal(&header[100..108]).unwrap_or(0o644) as u32 })
}

fn relative(name: &str) -> Option<PathBuf> {
    let mut path = PathBuf::new();
    for part in Path::new(name).components() {
        match part {
            Component::Normal(part) => path.push(part),
            Component::CurDir => {}
            _ => return None,
        }
    }
    Some(path)
}

fn read(body: &mut dyn Read) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    body.read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn text(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|b| *b == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).into_owned()
}

fn octal(bytes: &[u8]) -> Option<u64> {
    u64::from_str_radix(text(bytes).trim(), 8).ok()
}

fn bad(reason: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, reason.into())
}

#[cfg(test)]
mod tests;
