//! The zip of a fleet's credentials: members by name, stored or deflated. Nothing is ever unpacked to a path of its choosing.

use std::fmt;

use ostree::gio;
use ostree::gio::prelude::*;

/// A few kilobytes in practice.
pub const LARGEST: usize = 4 * 1024 * 1024;
/// Of one member, unpacked.
const LARGEST_MEMBER: usize = 1024 * 1024;
const MOST_MEMBERS: u16 = 100;
const END: [u8; 4] = *b"PK\x05\x06";
const CENTRAL: [u8; 4] = *b"PK\x01\x02";
const LOCAL: [u8; 4] = *b"PK\x03\x04";
const END_LENGTH: usize = 22;
const CENTRAL_LENGTH: usize = 46;
const LOCAL_LENGTH: usize = 30;
/// Where the offset of a member stands in its entry of the directory.
const OFFSET: usize = 42;

/// A zip in memory, and where its members are.
#[derive(Debug)]
pub struct Zip<'a> {
    members: Vec<Member<'a>>,
}

#[derive(Debug, Clone, Copy)]
struct Member<'a> {
    name: &'a [u8],
    /// Its entry in the directory.
    entry: &'a [u8],
    /// Its content as it is packed.
    packed: &'a [u8],
    method: u16,
    length: usize,
}

/// Why a zip or a member of it cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ZipError {
    /// It is no zip, or a cut one.
    Broken,
    /// The member is packed or encrypted in a way that is not known here.
    Method(u16),
    /// The content is not what was packed.
    Content,
}

impl fmt::Display for ZipError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ZipError::Broken => f.write_str("not a zip file, or a damaged one"),
            ZipError::Method(method) => {
                write!(f, "packed with method {method}; only stored and deflated members can be read")
            }
            ZipError::Content => f.write_str("damaged, or larger than any credential"),
        }
    }
}

impl<'a> Zip<'a> {
    /// Finds the members.
    pub fn read(bytes: &'a [u8]) -> Result<Zip<'a>, ZipError> {
        let members = (bytes.len() <= LARGEST).then(|| members(bytes)).flatten();
        members.map(|members| Zip { members }).ok_or(ZipError::Broken)
    }

    /// Whether there is a member of this name.
    pub fn has(&self, name: &str) -> bool {
        self.find(name).is_some()
    }

    /// The content of a member; none where there is none of this name.
    pub fn member(&self, name: &str) -> Result<Option<Vec<u8>>, ZipError> {
        self.find(name).map(Member::content).transpose()
    }

    /// The same zip without some members.
    pub fn without(&self, names: &[&str]) -> Result<Vec<u8>, ZipError> {
        let kept = self.members.iter().filter(|m| !names.iter().any(|name| m.name == name.as_bytes()));
        let kept: Result<Vec<_>, _> = kept.map(|m| m.content().map(|content| (m.name, content))).collect();
        Ok(pack(&kept?))
    }

    fn find(&self, name: &str) -> Option<&Member<'a>> {
        self.members.iter().find(|member| member.name == name.as_bytes())
    }
}

impl Member<'_> {
    fn content(&self) -> Result<Vec<u8>, ZipError> {
        // Bit 0: encrypted.
        if number(self.entry, 8, 2).unwrap_or_default() & 1 != 0 {
            return Err(ZipError::Method(99));
        }
        let content = match self.method {
            0 => self.packed.to_vec(),
            8 if self.length <= LARGEST_MEMBER => {
                inflate(self.packed, self.length).ok_or(ZipError::Content)?
            }
            8 => return Err(ZipError::Content),
            method => return Err(ZipError::Method(method)),
        };
        let sum = number(self.entry, 16, 4).unwrap_or_default();
        let right = content.len() == self.length && crc32(&content) as usize == sum;
        right.then_some(content).ok_or(ZipError::Content)
    }
}

/// A zip of these members, stored as they are. Each time the same, without dates: nobody may read it but who it is for.
pub fn pack(members: &[(&[u8], Vec<u8>)]) -> Vec<u8> {
    let (mut out, mut directory) = (Vec::new(), Vec::new());
    for (name, content) in members {
        // What is common to both headers: version, flags, method, time, date, sum, lengths, no extra field.
        let mut common = vec![20, 0, 0, 0, 0, 0, 0, 0, 0x21, 0];
        common.extend(crc32(content).to_le_bytes());
        common.extend([(content.len() as u32).to_le_bytes(), (content.len() as u32).to_le_bytes()].concat());
        common.extend((name.len() as u16).to_le_bytes());
        common.extend([0, 0]);
        let offset = (out.len() as u32).to_le_bytes();
        // Made on Unix, a file of mode 0600.
        directory
            .extend([&CENTRAL[..], &[20, 3], &common, &[0; 6], &[0, 0, 0x80, 0x81], &offset, name].concat());
        out.extend([&LOCAL[..], &common, name, content].concat());
    }
    let (start, length) = (out.len() as u32, directory.len() as u32);
    let count = (members.len() as u16).to_le_bytes();
    let end = [&END[..], &[0; 4], &count, &count, &length.to_le_bytes(), &start.to_le_bytes(), &[0; 2]];
    [out, directory, end.concat()].concat()
}

/// The directory is at the end, behind it a comment of any length.
fn members(bytes: &[u8]) -> Option<Vec<Member<'_>>> {
    let last = bytes.len().checked_sub(END_LENGTH)?;
    let first = last.saturating_sub(usize::from(u16::MAX));
    let end = (first..=last).rev().find(|at| bytes[*at..].starts_with(&END))?;
    let end = &bytes[end..];
    let count = number(end, 10, 2)?;
    let mut rest = bytes.get(number(end, 16, 4)?..)?;
    if count > usize::from(MOST_MEMBERS) {
        return None;
    }
    let mut found = Vec::new();
    for _ in 0..count {
        let member = member(bytes, rest)?;
        rest = rest.get(member.entry.len()..)?;
        found.push(member);
    }
    Some(found)
}

fn member<'a>(bytes: &'a [u8], directory: &'a [u8]) -> Option<Member<'a>> {
    let head = directory.strip_prefix(&CENTRAL).map(|_| directory)?;
    let (name, extra, comment) = (number(head, 28, 2)?, number(head, 30, 2)?, number(head, 32, 2)?);
    let entry = head.get(..CENTRAL_LENGTH + name + extra + comment)?;
    let local = bytes.get(number(entry, OFFSET, 4)?..)?;
    local.strip_prefix(&LOCAL)?;
    let header = LOCAL_LENGTH + number(local, 26, 2)? + number(local, 28, 2)?;
    let packed = local.get(header..)?.get(..number(entry, 20, 4)?)?;
    Some(Member {
        name: &entry[CENTRAL_LENGTH..CENTRAL_LENGTH + name],
        entry,
        packed,
        method: number(entry, 10, 2)? as u16,
        length: number(entry, 24, 4)?,
    })
}

/// A little-endian number of this many bytes.
fn number(bytes: &[u8], at: usize, length: usize) -> Option<usize> {
    let digits = bytes.get(at..at + length)?;
    Some(digits.iter().rev().fold(0, |number, digit| number << 8 | usize::from(*digit)))
}

/// libostree's own zlib does it. One byte more than announced is made room for, so that more can be told.
fn inflate(packed: &[u8], length: usize) -> Option<Vec<u8>> {
    let stream = gio::MemoryInputStream::from_bytes(&ostree::glib::Bytes::from(packed));
    let raw = gio::ZlibDecompressor::new(gio::ZlibCompressorFormat::Raw);
    let unpacked = gio::ConverterInputStream::new(&stream, &raw);
    let mut content = vec![0; length + 1];
    let (read, error) = unpacked.read_all(&mut content, gio::Cancellable::NONE).ok()?;
    content.truncate(read);
    (error.is_none() && read == length).then_some(content)
}

fn crc32(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 { (crc >> 1) ^ 0xEDB8_8320 } else { crc >> 1 };
        }
    }
    !crc
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    /// As Python's zipfile makes it: one member deflated, one stored, one empty.
    fn example() -> Vec<u8> {
        let script = "import io, sys, zipfile\n\
            buffer = io.BytesIO()\n\
            with zipfile.ZipFile(buffer, 'w') as z:\n    \
                z.writestr('autoprov.url', 'https://ota.example\\n' * 9, zipfile.ZIP_DEFLATED)\n    \
                z.writestr('autoprov_credentials.p12', b'\\0\\1secret')\n    \
                z.writestr('empty', '')\n    \
                z.comment = b'PK a comment'\n\
            sys.stdout.buffer.write(buffer.getvalue())\n";
        let output = Command::new("python3").args(["-c", script]).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        output.stdout
    }

    #[test]
    fn members_by_name_and_without_some() {
        let bytes = example();
        let zip = Zip::read(&bytes).unwrap();
        let url = "https://ota.example\n".repeat(9).into_bytes();
        assert_eq!(zip.member("autoprov.url"), Ok(Some(url.clone())));
        assert_eq!(zip.member("autoprov_credentials.p12"), Ok(Some(b"\0\x01secret".to_vec())));
        assert_eq!(zip.member("empty"), Ok(Some(Vec::new())));
        assert_eq!(zip.member("treehub.json"), Ok(None));

        let less = zip.without(&["autoprov_credentials.p12", "treehub.json"]).unwrap();
        assert!(!less.windows(6).any(|part| part == b"secret"));
        let zip = Zip::read(&less).unwrap();
        assert!(!zip.has("autoprov_credentials.p12"));
        assert_eq!((zip.member("autoprov.url"), zip.member("empty")), (Ok(Some(url)), Ok(Some(Vec::new()))));
        // Another program takes it for whole.
        let path = std::env::temp_dir().join(format!("rust-ota-zip-{}", std::process::id()));
        std::fs::write(&path, &less).unwrap();
        let test = Command::new("python3").args(["-m", "zipfile", "-t"]).arg(&path).output().unwrap();
        assert!(test.status.success() && String::from_utf8_lossy(&test.stdout).contains("Done testing"));
        std::fs::remove_file(path).unwrap();
    }

    #[test]
    fn no_cut_and_no_changed_byte_panics() {
        let bytes = example();
        for end in 0..bytes.len() {
            // A comment may be cut; what stands before it may not.
            if end < bytes.len() - 12 {
                assert_eq!(Zip::read(&bytes[..end]).unwrap_err(), ZipError::Broken, "{end}");
            }
            let mut changed = bytes.clone();
            changed[end] ^= 0xFF;
            let Ok(zip) = Zip::read(&changed) else { continue };
            for name in ["autoprov.url", "autoprov_credentials.p12", "empty"] {
                let _ = zip.member(name);
            }
            let _ = zip.without(&["empty"]);
        }
        let mut changed = bytes.clone();
        let secret = bytes.windows(6).position(|part| part == b"secret").unwrap();
        changed[secret] ^= 1;
        assert_eq!(Zip::read(&changed).unwrap().member("autoprov_credentials.p12"), Err(ZipError::Content));
    }
}
