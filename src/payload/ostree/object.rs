//! The names of objects: a SHA-256 and a kind.

use std::fmt;

use super::error::OstreeError;

/// What an object is. File objects are the contents and symbolic links; the others are metadata.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ObjectKind {
    /// The root of everything: the hash that signed metadata names.
    Commit,
    /// Names of a directory, each with the hash of what it is.
    DirTree,
    /// Owner, mode and extended attributes of a directory.
    DirMeta,
    /// A regular file or a symbolic link with its owner, mode and extended attributes.
    File,
}

/// An object's name in every repository.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ObjectId {
    /// What the object is.
    pub kind: ObjectKind,
    /// SHA-256 of the object in its canonical form.
    pub hash: [u8; 32],
}

impl ObjectId {
    /// A commit's name from the 64 lower-case hexadecimal digits of signed metadata.
    ///
    /// Nothing shorter: a prefix would let "is it there" be answered by another commit.
    pub fn commit(hex: &str) -> Result<ObjectId, OstreeError> {
        let hash = from_hex(hex).ok_or_else(|| OstreeError::BadCommitName { name: hex.to_string() })?;
        Ok(ObjectId { kind: ObjectKind::Commit, hash })
    }

    pub(super) fn new(kind: ObjectKind, hash: [u8; 32]) -> ObjectId {
        ObjectId { kind, hash }
    }

    /// The checksum as libostree writes it.
    pub fn hex(&self) -> String {
        let mut text = String::with_capacity(64);
        for byte in self.hash {
            text.push(char::from(HEX[usize::from(byte >> 4)]));
            text.push(char::from(HEX[usize::from(byte & 15)]));
        }
        text
    }

    /// Where an archive repository has the object, relative to the repository.
    pub fn path(&self) -> String {
        let hex = self.hex();
        let (first, rest) = hex.split_at(2);
        format!("objects/{first}/{rest}.{}", self.extension())
    }

    /// True for all but file objects. Metadata is small, and it names further objects.
    pub fn is_metadata(&self) -> bool {
        self.kind != ObjectKind::File
    }

    pub(super) fn ostree_type(&self) -> ::ostree::ObjectType {
        match self.kind {
            ObjectKind::Commit => ::ostree::ObjectType::Commit,
            ObjectKind::DirTree => ::ostree::ObjectType::DirTree,
            ObjectKind::DirMeta => ::ostree::ObjectType::DirMeta,
            ObjectKind::File => ::ostree::ObjectType::File,
        }
    }

    /// The object that a name as that of [`fmt::Display`] means.
    pub(super) fn from_name(name: &str) -> Option<ObjectId> {
        let (hex, extension) = name.split_once('.')?;
        let kind = match extension {
            "commit" => ObjectKind::Commit,
            "dirtree" => ObjectKind::DirTree,
            "dirmeta" => ObjectKind::DirMeta,
            "filez" => ObjectKind::File,
            _ => return None,
        };
        Some(ObjectId::new(kind, from_hex(hex)?))
    }

    fn extension(&self) -> &'static str {
        match self.kind {
            ObjectKind::Commit => "commit",
            ObjectKind::DirTree => "dirtree",
            ObjectKind::DirMeta => "dirmeta",
            ObjectKind::File => "filez",
        }
    }
}

impl fmt::Display for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.hex(), self.extension())
    }
}

impl fmt::Debug for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The longest body that is read for each kind of object, and for one pull.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Commits carry `ostree.sizes`: 36 bytes an object and more. libostree's own limit.
    pub commit: u64,
    /// A directory of half a million names with the longest that there can be fits. libostree's own limit.
    pub dirtree: u64,
    /// Owner, mode and extended attributes.
    pub dirmeta: u64,
    /// One file, compressed; and the same for its size when unpacked.
    pub file: u64,
    /// All bodies of one pull.
    pub total: u64,
}

impl Default for Limits {
    fn default() -> Self {
        const MIB: u64 = 1 << 20;
        Limits { commit: 128 * MIB, dirtree: 128 * MIB, dirmeta: MIB, file: 16 << 30, total: 64 << 30 }
    }
}

impl Limits {
    /// The limit for one object.
    pub fn of(&self, id: &ObjectId) -> u64 {
        match id.kind {
            ObjectKind::Commit => self.commit,
            ObjectKind::DirTree => self.dirtree,
            ObjectKind::DirMeta => self.dirmeta,
            ObjectKind::File => self.file,
        }
    }
}

const HEX: &[u8; 16] = b"0123456789abcdef";

pub(super) fn from_hex(text: &str) -> Option<[u8; 32]> {
    let mut hash = [0; 32];
    let digits = text.as_bytes();
    if digits.len() != 64 {
        return None;
    }
    for (byte, pair) in hash.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(hash)
}

fn digit(c: u8) -> Option<u8> {
    match c {
        b'0'..=b'9' => Some(c - b'0'),
        b'a'..=b'f' => Some(c - b'a' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SUM: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

    #[test]
    fn a_name_survives_both_ways() {
        let id = ObjectId::commit(SUM).unwrap();
        assert_eq!(id.hex(), SUM);
        assert_eq!(id.path(), format!("objects/00/{}.commit", &SUM[2..]));
        assert_eq!(id.to_string(), format!("{SUM}.commit"));
        for kind in [ObjectKind::Commit, ObjectKind::DirTree, ObjectKind::DirMeta, ObjectKind::File] {
            let id = ObjectId::new(kind, id.hash);
            assert_eq!(ObjectId::from_name(&id.to_string()), Some(id));
        }
        assert_eq!(ObjectId::from_name(&format!("{SUM}.file")), None);
        assert_eq!(ObjectId::from_name(SUM), None);
    }

    #[test]
    fn only_a_whole_lower_case_hash_is_a_name() {
        for bad in ["", &SUM[..63], &SUM.to_uppercase(), &format!("{SUM}0"), &format!("../{}", &SUM[3..])] {
            assert!(ObjectId::commit(bad).is_err(), "{bad}");
        }
    }
}
