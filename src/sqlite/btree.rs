//! The tree of a table (file format, section 1.6): inner pages lead to leaves, leaves have records, long records go on
//! in overflow pages.

use super::record::{Value, values, varint};
use super::{Database, SqliteError, be32};

const INNER: u8 = 0x05;
const LEAF: u8 = 0x0D;
/// No tree of that many pages is deeper.
const DEEPEST: usize = 40;
/// Of one table, in memory.
const MOST_BYTES: usize = 64 << 20;
const MOST_ROWS: usize = 100_000;

pub(super) type Rows = Vec<(i64, Vec<Value>)>;

struct Walk<'d, 's> {
    database: &'d Database<'s>,
    rows: Rows,
    bytes: usize,
    /// Pages that may still be visited: a tree that leads in circles has more.
    left: u32,
}

impl Database<'_> {
    /// The rows of the table whose tree begins with this page.
    pub(super) fn rows_of(&self, root: u32) -> Result<Rows, SqliteError> {
        let mut walk = Walk { database: self, rows: Vec::new(), bytes: 0, left: self.pages };
        walk.visit(root, 0)?;
        Ok(walk.rows)
    }
}

impl Walk<'_, '_> {
    fn take(&mut self, number: u32) -> Result<Vec<u8>, SqliteError> {
        let left = self.left.checked_sub(1);
        self.left = left.ok_or(damaged(number, "the pages lead in circles"))?;
        self.database.page(number)
    }

    fn visit(&mut self, number: u32, depth: usize) -> Result<(), SqliteError> {
        if depth > DEEPEST {
            return Err(damaged(number, "the tree is too deep"));
        }
        let page = self.take(number)?;
        // The first page begins with the header of the file.
        let start = if number == 1 { 100 } else { 0 };
        let kind = page[start];
        let header = match kind {
            INNER => 12,
            LEAF => 8,
            _ => return Err(damaged(number, "it is no page of a table")),
        };
        let count = be16(&page, start + 3);
        for index in 0..count {
            let pointer = start + header + 2 * index;
            if pointer + 2 > self.database.usable {
                return Err(damaged(number, "it has more cells than room"));
            }
            let cell = be16(&page, pointer);
            let cell = page.get(cell..self.database.usable).filter(|_| cell >= start + header + 2 * count);
            let cell = cell.ok_or(damaged(number, "a cell is outside of it"))?;
            match kind {
                INNER => self.visit(be32(cell, 0), depth + 1)?,
                _ => self.row(number, cell)?,
            }
        }
        if kind == INNER { self.visit(be32(&page, start + 8), depth + 1) } else { Ok(()) }
    }

    fn row(&mut self, number: u32, cell: &[u8]) -> Result<(), SqliteError> {
        let short = || damaged(number, "a cell is cut");
        let (length, rest) = varint(cell).ok_or_else(short)?;
        let (rowid, rest) = varint(rest).ok_or_else(short)?;
        let length =
            usize::try_from(length).ok().filter(|n| *n <= MOST_BYTES).ok_or(SqliteError::TooLarge)?;
        self.bytes += length;
        if self.bytes > MOST_BYTES || self.rows.len() >= MOST_ROWS {
            return Err(SqliteError::TooLarge);
        }
        let local = self.local(length);
        let mut payload = rest.get(..local).ok_or_else(short)?.to_vec();
        if local < length {
            let next = rest.get(local..local + 4).ok_or_else(short)?;
            self.follow(be32(next, 0), length, &mut payload)?;
        }
        let values = values(&payload).ok_or(damaged(number, "a record is not what its header says"))?;
        // A NULL is one byte in the file and many here.
        self.bytes += values.len() * size_of::<Value>();
        if self.bytes > MOST_BYTES {
            return Err(SqliteError::TooLarge);
        }
        self.rows.push((rowid, values));
        Ok(())
    }

    /// How much of a payload stands in the leaf.
    fn local(&self, length: usize) -> usize {
        let usable = self.database.usable;
        let most = usable - 35;
        if length <= most {
            return length;
        }
        let least = (usable - 12) * 32 / 255 - 23;
        let fits = least + (length - least) % (usable - 4);
        if fits <= most { fits } else { least }
    }

    fn follow(&mut self, first: u32, length: usize, payload: &mut Vec<u8>) -> Result<(), SqliteError> {
        let mut next = first;
        while payload.len() < length {
            let page = self.take(next)?;
            let here = (length - payload.len()).min(self.database.usable - 4);
            payload.extend(&page[4..4 + here]);
            next = be32(&page, 0);
        }
        Ok(())
    }
}

fn damaged(page: u32, reason: &'static str) -> SqliteError {
    SqliteError::Damaged { page, reason }
}

fn be16(bytes: &[u8], at: usize) -> usize {
    let byte = |at: usize| usize::from(bytes.get(at).copied().unwrap_or(0));
    byte(at) << 8 | byte(at + 1)
}
