//! What an OSTree server sends before anything of it is verified by libostree.

use ostree::glib::prelude::*;
use ostree::glib::{Variant, VariantDict, VariantTy};
use rust_ota::payload::ostree::{ObjectId, ObjectKind, Superblock, parse};

fn id(kind: ObjectKind) -> ObjectId {
    ObjectId { kind, hash: [7; 32] }
}

/// Any bytes as a commit: it names its root, and objects that its sizes list have a kind.
pub fn commit(data: &[u8]) {
    let Ok(read) = parse::commit(id(ObjectKind::Commit), data) else { return };
    assert_eq!(read.root.map(|object| object.kind), [ObjectKind::DirTree, ObjectKind::DirMeta]);
    assert!(read.root.iter().all(|object| data.windows(32).any(|part| part == object.hash)));
    // Each line is a hash and three numbers: there are no more lines than the bytes allow.
    assert!(read.sizes.iter().flatten().count() <= data.len() / 34);
    for size in read.sizes.iter().flatten() {
        assert_ne!(size.id.kind, ObjectKind::Commit);
        assert!(data.windows(32).any(|part| part == size.id.hash));
    }
}

/// The same with the list of sizes alone, in a commit that is right: random bytes seldom make one.
pub fn sizes(data: &[u8]) {
    commit(&with_sizes(data));
}

/// A commit whose `ostree.sizes` has these lines: the first byte of each says how long it is.
fn with_sizes(data: &[u8]) -> Vec<u8> {
    let mut rest = data;
    let mut lines = Vec::new();
    while let Some((length, more)) = rest.split_first() {
        let (line, behind) = more.split_at(usize::from(*length).min(more.len()));
        lines.push(line);
        rest = behind;
    }
    let lines = lines.iter().map(|line| Variant::array_from_fixed_array(line));
    let metadata = VariantDict::new(None);
    metadata.insert_value("ostree.sizes", &Variant::array_from_iter_with_type(VariantTy::BYTE_STRING, lines));
    let bytes = |bytes: &[u8]| Variant::array_from_fixed_array(bytes);
    let related =
        Variant::array_from_iter_with_type(VariantTy::new("(say)").unwrap(), std::iter::empty::<Variant>());
    let fields = [
        metadata.end(),
        bytes(&[]),
        related,
        "subject".to_variant(),
        "body".to_variant(),
        1u64.to_variant(),
        bytes(&[1; 32]),
        bytes(&[2; 32]),
    ];
    Variant::tuple_from_iter(fields).data().to_vec()
}

/// Any bytes as a directory: all that it names is in it.
pub fn dirtree(data: &[u8]) {
    let Ok(named) = parse::dirtree(id(ObjectKind::DirTree), data) else { return };
    assert!(named.len() <= data.len() / 32);
    for object in named {
        assert_ne!(object.kind, ObjectKind::Commit);
        assert!(data.windows(32).any(|part| part == object.hash));
    }
}

/// Any bytes as what a directory's owner and mode are: it names nothing.
pub fn dirmeta(data: &[u8]) {
    if let Ok(named) = parse::named_by(id(ObjectKind::DirMeta), data) {
        assert!(named.is_empty() && !data.is_empty());
    }
}

/// Any bytes as the head of a compressed file, as far as it says itself that it goes.
pub fn filez(data: &[u8]) {
    let id = id(ObjectKind::File);
    let Ok(length) = parse::file_header_length(id, data) else { return };
    assert!((1..=1 << 20).contains(&length));
    let Some(header) = data.get(parse::FILE_PREFIX..parse::FILE_PREFIX + length) else { return };
    let Ok(read) = parse::file_header(id, header) else { return };
    if let Some(target) = &read.symlink {
        assert!(!target.contains('\0'));
    }
    assert!(read.xattrs.is_normal_form());
}

/// Any bytes as the superblock of a static delta: hashes are hashes, and sums do not overflow.
pub fn superblock(data: &[u8]) {
    let Ok(read) = Superblock::read(data) else { return };
    let hex = |text: &str| text.len() == 64 && text.bytes().all(|b| b.is_ascii_hexdigit());
    assert!(hex(&read.from) && hex(&read.to) && read.parts.iter().all(|part| hex(&part.sha256)));
    assert!(read.parts.iter().all(|part| part.size <= read.size() && part.unpacked <= read.unpacked()));
    assert!(read.parts.len() <= data.len() / 32);
}
