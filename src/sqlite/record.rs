//! A row as it is stored (file format, section 2): a header of types, then the values.

/// A value of a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// Nothing.
    Null,
    /// A whole number.
    Integer(i64),
    /// A text or a blob: who asks knows which.
    Bytes(Vec<u8>),
    /// A number with a fraction. No client writes one.
    Real,
}

impl Value {
    /// A whole number; null, as of a column that was added later, is the default of all such columns: 0.
    pub fn integer(&self) -> i64 {
        match self {
            Value::Integer(number) => *number,
            _ => 0,
        }
    }

    /// The bytes of a text or blob; none of anything else.
    pub fn bytes(&self) -> Option<&[u8]> {
        match self {
            Value::Bytes(bytes) => Some(bytes),
            _ => None,
        }
    }

    /// A text; none of anything else, and of what is not UTF-8. SQLite's own readers end a text at a zero byte.
    pub fn text(&self) -> Option<&str> {
        let text = std::str::from_utf8(self.bytes()?).ok()?;
        Some(text.split('\0').next().unwrap_or_default())
    }
}

/// Columns of a table that SQLite itself can be built for. Without it a page of zeros would be as many values as it has bytes.
const MOST_COLUMNS: usize = 32_767;

/// The values of a record; none where it is not whole.
pub(super) fn values(payload: &[u8]) -> Option<Vec<Value>> {
    let (header, rest) = varint(payload)?;
    let header = usize::try_from(header).ok()?;
    let used = payload.len() - rest.len();
    let mut types = payload.get(used..header)?;
    let mut body = payload.get(header..)?;
    let mut values = Vec::new();
    while !types.is_empty() {
        if values.len() == MOST_COLUMNS {
            return None;
        }
        let kind;
        (kind, types) = varint(types)?;
        let value;
        (value, body) = value_of(kind, body)?;
        values.push(value);
    }
    Some(values)
}

fn value_of(kind: i64, body: &[u8]) -> Option<(Value, &[u8])> {
    let length = match kind {
        0 | 8 | 9 => 0,
        1..=4 => kind as usize,
        5 => 6,
        6 | 7 => 8,
        // 10 and 11 are for SQLite's own use, and never in a file.
        12.. => usize::try_from((kind - 12) / 2).ok()?,
        _ => return None,
    };
    let (content, rest) = body.split_at_checked(length)?;
    let value = match kind {
        0 => Value::Null,
        7 => Value::Real,
        8 | 9 => Value::Integer(kind - 8),
        1..=6 => Value::Integer(signed(content)),
        _ => Value::Bytes(content.to_vec()),
    };
    Some((value, rest))
}

fn signed(bytes: &[u8]) -> i64 {
    let negative = bytes.first().is_some_and(|byte| *byte >= 0x80);
    bytes.iter().fold(if negative { -1 } else { 0 }, |number, byte| number << 8 | i64::from(*byte))
}

/// A number of one to nine bytes, and what follows it.
pub(super) fn varint(bytes: &[u8]) -> Option<(i64, &[u8])> {
    let mut number: i64 = 0;
    for (index, byte) in bytes.iter().take(9).enumerate() {
        if index == 8 {
            return Some((number << 8 | i64::from(*byte), &bytes[9..]));
        }
        number = number << 7 | i64::from(byte & 0x7F);
        if byte & 0x80 == 0 {
            return Some((number, &bytes[index + 1..]));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_has_as_many_columns_as_sqlite_has() {
        // The header's length in three bytes, and a NULL for each byte that follows.
        let nulls = |count: usize| {
            let header = count + 3;
            let length =
                [0x80 | (header >> 14) as u8, 0x80 | (header >> 7 & 0x7F) as u8, (header & 0x7F) as u8];
            [&length[..], &vec![0; count]].concat()
        };
        assert_eq!(values(&nulls(MOST_COLUMNS)).map(|values| values.len()), Some(MOST_COLUMNS));
        assert!(values(&nulls(MOST_COLUMNS + 1)).is_none());
    }
}
