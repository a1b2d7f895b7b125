//! Elements of BER. Most files are DER; some servers write lengths and strings in the open-ended ways of BER.

const SEQUENCE: u8 = 0x30;
const OCTETS: u8 = 0x04;
const CONSTRUCTED: u8 = 0x20;
const OID: u8 = 0x06;
const INTEGER: u8 = 0x02;
/// Deeper than any of these files.
const DEEPEST: u8 = 16;

/// Reads elements one after the other; none where they do not come as they are asked for.
#[derive(Debug, Clone, Copy)]
pub struct Reader<'a>(pub &'a [u8]);

impl<'a> Reader<'a> {
    /// Whether there is no more.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Tag and content of the next element.
    pub fn next(&mut self) -> Option<(u8, &'a [u8])> {
        let (tag, content, rest) = element(self.0, 0)?;
        self.0 = rest;
        Some((tag, content))
    }

    /// The content of the next element, which must have this tag.
    pub fn expect(&mut self, tag: u8) -> Option<&'a [u8]> {
        let (found, content) = self.next()?;
        (found == tag).then_some(content)
    }

    /// What is in the next element, a sequence.
    pub fn sequence(&mut self) -> Option<Reader<'a>> {
        self.expect(SEQUENCE).map(Reader)
    }

    /// An object identifier, as it is encoded.
    pub fn oid(&mut self) -> Option<&'a [u8]> {
        self.expect(OID)
    }

    /// A string of bytes under its own tag.
    pub fn octets(&mut self) -> Option<Vec<u8>> {
        self.octets_as(OCTETS)
    }

    /// A string of bytes under this tag, in one piece or in several.
    pub fn octets_as(&mut self, tag: u8) -> Option<Vec<u8>> {
        let (found, content) = self.next()?;
        match found {
            _ if found == tag => Some(content.to_vec()),
            _ if found == tag | CONSTRUCTED => joined(content, 0),
            _ => None,
        }
    }

    /// A number that is not negative.
    pub fn number(&mut self) -> Option<u32> {
        let content = self.expect(INTEGER)?;
        let digits = content.strip_prefix(&[0]).unwrap_or(content);
        let negative = content.first()? & 0x80 != 0;
        (!negative && digits.len() <= 4)
            .then(|| digits.iter().fold(0, |number, digit| number << 8 | u32::from(*digit)))
    }
}

/// Splits the first element off: its tag, its content, what follows.
fn element(bytes: &[u8], depth: u8) -> Option<(u8, &[u8], &[u8])> {
    let (tag, rest) = bytes.split_first()?;
    // A tag of more than one byte is in none of these files.
    if tag & 0x1F == 0x1F || depth > DEEPEST {
        return None;
    }
    let (first, rest) = rest.split_first()?;
    let (length, rest) = match first {
        0..=0x7F => (usize::from(*first), rest),
        0x80 if tag & CONSTRUCTED != 0 => return open_ended(*tag, rest, depth),
        0x81..=0x84 => {
            let (digits, rest) = rest.split_at_checked(usize::from(first & 0x7F))?;
            (digits.iter().fold(0, |n, d| n << 8 | usize::from(*d)), rest)
        }
        _ => return None,
    };
    let (content, rest) = rest.split_at_checked(length)?;
    Some((*tag, content, rest))
}

/// Content without a length: elements, up to two zeros.
fn open_ended(tag: u8, content: &[u8], depth: u8) -> Option<(u8, &[u8], &[u8])> {
    let mut rest = content;
    loop {
        if let Some(after) = rest.strip_prefix(&[0, 0]) {
            return Some((tag, &content[..content.len() - rest.len()], after));
        }
        rest = element(rest, depth + 1)?.2;
    }
}

fn joined(content: &[u8], depth: u8) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    let mut reader = Reader(content);
    while !reader.is_empty() {
        let (tag, part) = reader.next()?;
        match tag {
            OCTETS => out.extend_from_slice(part),
            _ if tag == OCTETS | CONSTRUCTED && depth < DEEPEST => out.extend(joined(part, depth + 1)?),
            _ => return None,
        }
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn open_ended_elements_and_strings_in_pieces() {
        // SEQUENCE { OCTET STRING in pieces "ab" "c" }, INTEGER 300
        let bytes =
            [0x30, 0x80, 0x24, 0x80, 0x04, 2, b'a', b'b', 0x04, 1, b'c', 0, 0, 0, 0, 0x02, 2, 1, 0x2C];
        let mut reader = Reader(&bytes);
        assert_eq!(reader.sequence().unwrap().octets().unwrap(), b"abc");
        assert_eq!(reader.number(), Some(300));
        assert!(reader.is_empty());
        for end in 0..bytes.len() - 5 {
            assert!(Reader(&bytes[..end]).sequence().is_none(), "{end}");
        }
    }

    #[test]
    fn what_is_not_an_element() {
        let none = |bytes: &[u8]| Reader(bytes).next().is_none();
        assert!(none(&[]) && none(&[0x30]) && none(&[0x30, 2, 0]) && none(&[0x30, 0x85, 0, 0, 0, 0, 1, 0]));
        // A primitive one has a length, and nothing is deeper than it may be.
        assert!(none(&[0x04, 0x80, 0, 0]) && none(&[0x3F, 0x81, 1, 0]));
        assert!(none(&[0x30, 0x80].repeat(100_000)));
        assert_eq!(Reader(&[0x02, 1, 0xFF]).number(), None);
        assert_eq!(Reader(&[0x02, 5, 1, 0, 0, 0, 0]).number(), None);
        assert_eq!(Reader(&[0x02, 0]).number(), None);
    }
}
