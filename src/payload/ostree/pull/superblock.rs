//! PURE. The superblock of a static delta: between which commits it is, and what its parts are.

use ::ostree::glib::{Bytes, Variant, VariantDict, VariantTy};

use crate::decide::SignedPart;
use crate::tuf::to_hex;

/// Metadata, timestamp, from, to, the commit, recursion, parts (version, hash, size, unpacked size, objects), objects
/// that are not in the parts (type, hash, size, unpacked size).
const SHAPE: &str = "(a{sv}tayay(a{sv}aya(say)sstayay)aya(uayttay)a(yaytt))";
const MOST_PARTS: usize = 4096;

/// What a superblock says. Nothing of it is signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Superblock {
    /// The commit that must be present.
    pub from: String,
    /// The commit that results.
    pub to: String,
    /// Files `0`, `1` and so on beside the superblock.
    pub parts: Vec<SignedPart>,
    /// Bytes of objects that are fetched as objects.
    pub besides: u64,
}

impl Superblock {
    /// Reads the bytes of the file `superblock`.
    pub fn read(bytes: &[u8]) -> Result<Superblock, String> {
        let shape = VariantTy::new(SHAPE).map_err(|e| e.to_string())?;
        // Copied: the binding's from_data would keep a pointer into the caller's bytes.
        let superblock = Variant::from_bytes_with_type(&Bytes::from(bytes), shape);
        if !superblock.is_normal_form() {
            return Err("its superblock has another form".to_string());
        }
        let swap = swapped(&superblock.child_value(0));
        let parts = superblock.child_value(6);
        if parts.n_children() > MOST_PARTS {
            return Err(format!("it has more than {MOST_PARTS} parts"));
        }
        let besides = superblock.child_value(7);
        Ok(Superblock {
            from: hash(&superblock.child_value(2))?,
            to: hash(&superblock.child_value(3))?,
            parts: parts.iter().map(|part| read_part(&part, swap)).collect::<Result<_, _>>()?,
            besides: total(besides.iter().map(|object| number(&object.child_value(2), swap))),
        })
    }

    /// Bytes of all parts.
    pub fn size(&self) -> u64 {
        total(self.parts.iter().map(|part| part.size))
    }

    /// Bytes of all objects in the parts.
    pub fn unpacked(&self) -> u64 {
        total(self.parts.iter().map(|part| part.unpacked))
    }
}

/// A sum of numbers from outside.
pub(super) fn total(numbers: impl Iterator<Item = u64>) -> u64 {
    numbers.fold(0, u64::saturating_add)
}

fn read_part(part: &Variant, swap: bool) -> Result<SignedPart, String> {
    let [size, unpacked] = [2, 3].map(|index| number(&part.child_value(index), swap));
    Ok(SignedPart { sha256: hash(&part.child_value(1))?, size, unpacked })
}

fn hash(value: &Variant) -> Result<String, String> {
    match value.data() {
        bytes if bytes.len() == 32 => Ok(to_hex(bytes)),
        bytes => Err(format!("it names a checksum of {} bytes", bytes.len())),
    }
}

fn number(value: &Variant, swap: bool) -> u64 {
    value.get::<u64>().map_or(u64::MAX, |n| if swap { n.swap_bytes() } else { n })
}

/// Numbers are written as the machine does that made the delta; it says which one that was.
fn swapped(metadata: &Variant) -> bool {
    let made = VariantDict::new(Some(metadata)).lookup::<u8>("ostree.endianness").ok().flatten();
    match made {
        Some(b'l') => cfg!(target_endian = "big"),
        Some(b'B') => cfg!(target_endian = "little"),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use ::ostree::glib::prelude::ToVariant;

    use super::*;

    #[test]
    fn what_is_no_superblock_is_refused() {
        for bytes in [&b""[..], b"x", &[0xff; 100], &[0; 300]] {
            assert!(Superblock::read(bytes).is_err(), "{bytes:?}");
        }
    }

    #[test]
    fn sums_do_not_overflow() {
        let part = SignedPart { sha256: String::new(), size: u64::MAX, unpacked: u64::MAX };
        let (from, to) = (String::new(), String::new());
        let superblock = Superblock { from, to, parts: vec![part; 2], besides: 0 };
        assert_eq!((superblock.size(), superblock.unpacked()), (u64::MAX, u64::MAX));
    }

    fn superblock(to: &[u8], parts: usize) -> Vec<u8> {
        let bytes = |bytes: &[u8]| Variant::array_from_fixed_array(bytes);
        let none = || VariantDict::new(None).end();
        let empty = |kind: &str| {
            Variant::array_from_iter_with_type(VariantTy::new(kind).unwrap(), Vec::<Variant>::new())
        };
        let commit = [
            none(),
            bytes(&[]),
            empty("(say)"),
            "".to_variant(),
            "".to_variant(),
            0u64.to_variant(),
            bytes(&[]),
            bytes(&[]),
        ];
        let part = || {
            let part = [0u32.to_variant(), bytes(&[3; 32]), 5u64.to_variant(), 9u64.to_variant(), bytes(&[])];
            Variant::tuple_from_iter(part)
        };
        let parts: Vec<Variant> = (0..parts).map(|_| part()).collect();
        let whole = Variant::tuple_from_iter([
            none(),
            0u64.to_variant(),
            bytes(&[1; 32]),
            bytes(to),
            Variant::tuple_from_iter(commit),
            bytes(&[]),
            Variant::array_from_iter_with_type(VariantTy::new("(uayttay)").unwrap(), parts),
            empty("(yaytt)"),
        ]);
        whole.data().to_vec()
    }

    #[test]
    fn what_a_superblock_may_have() {
        let good = Superblock::read(&superblock(&[2; 32], MOST_PARTS)).unwrap();
        assert_eq!((good.parts.len(), good.to, good.parts[0].size), (MOST_PARTS, "02".repeat(32), 5));
        let refused = |bytes: &[u8]| Superblock::read(bytes).unwrap_err();
        assert!(refused(&superblock(&[2; 32], MOST_PARTS + 1)).contains("more than 4096 parts"));
        for length in [0, 31, 33] {
            assert!(refused(&superblock(&vec![2; length], 1)).contains("checksum of"), "{length}");
        }
        // What says the same in another form is another superblock.
        let mut odd = superblock(&[2; 32], 1);
        let padding = odd.windows(4).position(|four| four == [3; 4]).unwrap() + 32;
        assert_eq!(odd[padding], 0);
        odd[padding] = 1;
        assert!(refused(&odd).contains("another form"));
    }
}
