//! PURE. Bytes of metadata objects in, the objects that they name out.
//!
//! The shapes are libostree's; its own validators are asked first, so that a name like `../x` or a checksum of
//! the wrong length never gets further.

use ::ostree::glib;
use glib::{Variant, VariantTy};

use super::error::OstreeError;
use super::object::{ObjectId, ObjectKind};

/// What a commit says about itself.
#[derive(Debug)]
pub struct Commit {
    /// The root directory: its dirtree and its dirmeta.
    pub root: [ObjectId; 2],
    /// Size of every object, where the commit was made with `--generate-sizes`.
    pub sizes: Option<Vec<ObjectSize>>,
}

/// A line of `ostree.sizes`.
#[derive(Debug, Clone)]
pub struct ObjectSize {
    /// The object.
    pub id: ObjectId,
    /// Bytes that are fetched.
    pub archived: u64,
    /// Bytes on the device.
    pub unpacked: u64,
}

/// The head of a compressed file object (`.filez`).
#[derive(Debug)]
pub struct FileHeader {
    /// Bytes of the content when unpacked.
    pub size: u64,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Where a symbolic link points; None for a regular file.
    pub symlink: Option<String>,
    /// Extended attributes, as libostree wants them.
    pub xattrs: Variant,
}

/// Parses the bytes of a commit object.
pub fn commit(id: ObjectId, bytes: &[u8]) -> Result<Commit, OstreeError> {
    let variant = metadata(id, bytes);
    ::ostree::validate_structureof_commit(&variant).map_err(|e| malformed(id, e))?;
    let tree = checksum(id, &variant.child_value(6))?;
    let meta = checksum(id, &variant.child_value(7))?;
    Ok(Commit {
        root: [ObjectId::new(ObjectKind::DirTree, tree), ObjectId::new(ObjectKind::DirMeta, meta)],
        sizes: sizes(id, &variant)?,
    })
}

/// Parses the bytes of a dirtree object: all that the directory names.
pub fn dirtree(id: ObjectId, bytes: &[u8]) -> Result<Vec<ObjectId>, OstreeError> {
    let variant = metadata(id, bytes);
    ::ostree::validate_structureof_dirtree(&variant).map_err(|e| malformed(id, e))?;
    let mut named = Vec::new();
    for file in variant.child_value(0).iter() {
        named.push(ObjectId::new(ObjectKind::File, checksum(id, &file.child_value(1))?));
    }
    for directory in variant.child_value(1).iter() {
        named.push(ObjectId::new(ObjectKind::DirTree, checksum(id, &directory.child_value(1))?));
        named.push(ObjectId::new(ObjectKind::DirMeta, checksum(id, &directory.child_value(2))?));
    }
    Ok(named)
}

/// The names in a directory, each with its file object or its dirtree.
pub fn children(id: ObjectId, bytes: &[u8]) -> Result<Vec<(String, ObjectId)>, OstreeError> {
    let variant = metadata(id, bytes);
    ::ostree::validate_structureof_dirtree(&variant).map_err(|e| malformed(id, e))?;
    let mut children = Vec::new();
    for (index, kind) in [(0, ObjectKind::File), (1, ObjectKind::DirTree)] {
        for child in variant.child_value(index).iter() {
            let name = child.child_value(0).get::<String>().unwrap_or_default();
            children.push((name, ObjectId::new(kind, checksum(id, &child.child_value(1))?)));
        }
    }
    Ok(children)
}

/// The objects that a metadata object names.
pub fn named_by(id: ObjectId, bytes: &[u8]) -> Result<Vec<ObjectId>, OstreeError> {
    match id.kind {
        ObjectKind::Commit => Ok(commit(id, bytes)?.root.to_vec()),
        ObjectKind::DirTree => dirtree(id, bytes),
        ObjectKind::DirMeta => {
            ::ostree::validate_structureof_dirmeta(&metadata(id, bytes)).map_err(|e| malformed(id, e))?;
            Ok(Vec::new())
        }
        ObjectKind::File => Ok(Vec::new()),
    }
}

/// A metadata object as the value that libostree writes.
pub fn metadata(id: ObjectId, bytes: &[u8]) -> Variant {
    shaped(glib::Bytes::from(bytes), shape(id.kind))
}

/// The same without a second copy of what may be long.
pub fn metadata_of(id: ObjectId, bytes: Vec<u8>) -> Variant {
    shaped(glib::Bytes::from_owned(bytes), shape(id.kind))
}

fn shape(kind: ObjectKind) -> &'static str {
    match kind {
        ObjectKind::Commit => "(a{sv}aya(say)sstayay)",
        ObjectKind::DirTree => "(a(say)a(sayay))",
        ObjectKind::DirMeta | ObjectKind::File => "(uuua(ayay))",
    }
}

/// Bytes before the header: its length as a big-endian u32, and four bytes of padding.
pub const FILE_PREFIX: usize = 8;

/// Length of the header from the prefix, where it is believable.
pub fn file_header_length(id: ObjectId, prefix: &[u8]) -> Result<usize, OstreeError> {
    // Extended attributes are the only long thing in it; the kernel allows 64 KiB for each.
    const LONGEST: u32 = 1 << 20;
    let length = match prefix {
        [a, b, c, d, ..] if prefix.len() >= FILE_PREFIX => u32::from_be_bytes([*a, *b, *c, *d]),
        _ => return Err(malformed(id, "it ends inside its header")),
    };
    match length {
        1..=LONGEST => Ok(length as usize),
        _ => Err(malformed(id, format!("its header claims {length} bytes"))),
    }
}

/// Parses the header of a file object (the bytes behind the prefix).
pub fn file_header(id: ObjectId, header: &[u8]) -> Result<FileHeader, OstreeError> {
    const REGULAR: u32 = 0o100_000;
    const SYMLINK: u32 = 0o120_000;
    let variant = variant(header, "(tuuuusa(ayay))");
    if !variant.is_normal_form() {
        return Err(malformed(id, "its header is not in normal form"));
    }
    let number = |index| variant.child_value(index).get::<u32>().map(u32::from_be).unwrap_or(0);
    let mode = number(3);
    let symlink = match mode & 0o170_000 {
        REGULAR => None,
        SYMLINK => Some(variant.child_value(5).get::<String>().unwrap_or_default()),
        _ => return Err(malformed(id, format!("mode {mode:o} is neither a file's nor a symbolic link's"))),
    };
    Ok(FileHeader {
        size: variant.child_value(0).get::<u64>().map(u64::from_be).unwrap_or(0),
        uid: number(1),
        gid: number(2),
        symlink,
        xattrs: variant.child_value(6),
    })
}

/// Read here and not by libostree, which ends without an error of its own at a number that is cut.
fn sizes(id: ObjectId, commit: &Variant) -> Result<Option<Vec<ObjectSize>>, OstreeError> {
    let mut entries = commit.child_value(0).iter();
    let Some(entry) = entries.find(|entry| entry.child_value(0).str() == Some("ostree.sizes")) else {
        return Ok(None);
    };
    let lines = entry.child_value(1).as_variant().filter(|lines| lines.type_().as_str() == "aay");
    let lines = lines.ok_or_else(|| malformed(id, "its ostree.sizes is no list of byte strings"))?;
    let mut sizes = Vec::new();
    for line in lines.iter() {
        let line = line.fixed_array::<u8>().map_err(|e| malformed(id, e))?.to_vec();
        match size_line(&line)
            .ok_or_else(|| malformed(id, "a line of its ostree.sizes is cut or too large"))?
        {
            Some(size) => sizes.push(size),
            // libostree before 2020 wrote no kind; such a list cannot tell what is missing.
            None => return Ok(None),
        }
    }
    Ok(Some(sizes))
}

/// Hash, bytes in the archive, bytes unpacked, kind. None within: no kind that a tree has.
fn size_line(line: &[u8]) -> Option<Option<ObjectSize>> {
    let (hash, rest) = line.split_first_chunk::<32>()?;
    let (archived, rest) = number(rest)?;
    let (unpacked, rest) = number(rest)?;
    let kind = match rest.first() {
        Some(1) => ObjectKind::File,
        Some(2) => ObjectKind::DirTree,
        Some(3) => ObjectKind::DirMeta,
        _ => return Some(None),
    };
    Some(Some(ObjectSize { id: ObjectId::new(kind, *hash), archived, unpacked }))
}

/// Seven bits a byte, the lowest first; the eighth says that more come.
fn number(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let mut value = 0u64;
    for (index, byte) in bytes.iter().enumerate().take(10) {
        let bits = u64::from(byte & 0x7f);
        value |= bits.checked_shl(7 * index as u32).filter(|moved| moved >> (7 * index) == bits)?;
        if byte & 0x80 == 0 {
            return Some((value, &bytes[index + 1..]));
        }
    }
    None
}

fn variant(bytes: &[u8], shape: &str) -> Variant {
    // Copied: the binding's from_data would keep a pointer into the caller's bytes.
    shaped(glib::Bytes::from(bytes), shape)
}

fn shaped(bytes: glib::Bytes, shape: &str) -> Variant {
    // The shapes are constants of this file; an unusable one would be a mistake here, seen by every test.
    let shape = VariantTy::new(shape).unwrap_or(VariantTy::UNIT);
    Variant::from_bytes_with_type(&bytes, shape)
}

fn checksum(id: ObjectId, variant: &Variant) -> Result<[u8; 32], OstreeError> {
    let bytes = variant.fixed_array::<u8>().map_err(|e| malformed(id, e))?;
    bytes.try_into().map_err(|_| malformed(id, format!("it names a checksum of {} bytes", bytes.len())))
}

fn malformed(object: ObjectId, reason: impl std::fmt::Display) -> OstreeError {
    OstreeError::Malformed { object, reason: reason.to_string() }
}

#[cfg(test)]
mod tests {
    use ::ostree::glib::VariantDict;
    use ::ostree::glib::prelude::ToVariant;

    use super::*;

    #[test]
    fn lines_of_sizes_and_those_that_are_cut() {
        let line = |rest: &[u8]| {
            size_line(&[&[7; 32], rest].concat()).map(|size| size.map(|s| (s.archived, s.unpacked)))
        };
        assert_eq!(line(&[5, 0x80, 1, 1]), Some(Some((5, 128))));
        assert_eq!(line(&[5, 6]), Some(None), "no kind");
        assert_eq!(line(&[5, 6, 4]), Some(None), "a commit is in no tree");
        let most = [&[0xff; 9][..], &[1]].concat();
        assert_eq!(line(&[&most[..], &[0, 3]].concat()), Some(Some((u64::MAX, 0))));
        for cut in [&[][..], &[5], &[5, 0x80], &[0x80; 12], &[&[0xff; 9][..], &[2, 0, 1]].concat()] {
            assert_eq!(line(cut), None, "{cut:?}");
        }
        assert!(size_line(&[7; 31]).is_none());
    }

    type Xattrs = Vec<(Vec<u8>, Vec<u8>)>;

    #[test]
    fn heads_of_files_that_nobody_means() {
        let id = ObjectId::new(ObjectKind::File, [7; 32]);
        for (length, good) in
            [(0, false), (1, true), (1 << 20, true), ((1 << 20) + 1, false), (u32::MAX, false)]
        {
            let prefix = [&u32::to_be_bytes(length)[..], &[0; 4]].concat();
            assert_eq!(file_header_length(id, &prefix).is_ok(), good, "{length}");
        }
        let head = |mode: u32| {
            let head = (5u64.to_be(), 0u32, 0u32, mode.to_be(), 0u32, "target", Xattrs::new());
            head.to_variant().data().to_vec()
        };
        for (mode, good) in [
            (0o100_644, true),
            (0o104_755, true),
            (0o120_777, true),
            // Folder, devices, pipe, socket, nothing.
            (0o040_755, false),
            (0o060_600, false),
            (0o020_600, false),
            (0o010_600, false),
            (0o140_600, false),
            (0, false),
        ] {
            assert_eq!(file_header(id, &head(mode)).is_ok(), good, "{mode:o}");
        }
        let whole = head(0o100_644);
        for odd in [&whole[..whole.len() - 1], &[&whole[..], &[0; 8]].concat(), &whole[..20]] {
            assert!(file_header(id, odd).is_err(), "{odd:?}");
        }
    }

    #[test]
    fn metadata_that_names_what_cannot_be() {
        let hash = || vec![7u8; 32];
        let id = |kind| ObjectId::new(kind, [7; 32]);
        type Files = Vec<(String, Vec<u8>)>;
        type Folders = Vec<(String, Vec<u8>, Vec<u8>)>;
        let tree = |files: Files, folders: Folders| {
            let bytes = (files, folders).to_variant().data().to_vec();
            let id = id(ObjectKind::DirTree);
            assert_eq!(dirtree(id, &bytes).is_ok(), children(id, &bytes).is_ok());
            named_by(id, &bytes).map(|named| named.len())
        };
        for (name, good) in
            [("a", true), ("..", false), ("../x", false), ("a/b", false), ("/etc", false), (".", false)]
        {
            let named = tree(vec![(name.into(), hash())], vec![]);
            assert_eq!(named.ok(), good.then_some(1), "file {name:?}");
            let named = tree(vec![], vec![(name.into(), hash(), hash())]);
            assert_eq!(named.ok(), good.then_some(2), "folder {name:?}");
        }
        for (mode, good) in [(0o040_755u32, true), (0o100_644, false), (0o120_777, false), (0, false)] {
            let bytes = (0u32, 0u32, mode.to_be(), Xattrs::new()).to_variant().data().to_vec();
            assert_eq!(named_by(id(ObjectKind::DirMeta), &bytes).is_ok(), good, "{mode:o}");
        }
        for (parent, good) in [(vec![], true), (hash(), true), (vec![7; 31], false)] {
            let (none, related) = (VariantDict::new(None).end(), Files::new());
            let text = || "".to_variant();
            let hashes = [hash().to_variant(), hash().to_variant()];
            let head = [none, parent.to_variant(), related.to_variant(), text(), text(), 0u64.to_variant()];
            let commit = Variant::tuple_from_iter(head.into_iter().chain(hashes));
            let read = super::commit(id(ObjectKind::Commit), commit.data());
            assert_eq!(read.is_ok(), good, "{read:?}");
        }
    }
}
