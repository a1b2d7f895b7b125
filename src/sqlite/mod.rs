//! A reader of SQLite 3 files: whole tables of a database that another program wrote. Pure: bytes come in through
//! [`Source`]. There is no SQL here and nothing that writes, so the file stays as it is.
//!
//! What a crash left beside the file is honored as SQLite would do it (file format, sections 3 and 4): a hot rollback
//! journal is rolled back and the frames of a write-ahead log are applied, both in memory. All that is not understood is an error.

mod btree;
mod error;
mod journal;
mod record;
mod schema;
mod wal;

pub use error::SqliteError;
pub use record::Value;

use std::collections::BTreeMap;

/// The longest journal or log that is looked at.
const MOST_BESIDE: u64 = 1 << 30;
const MAGIC: &[u8; 16] = b"SQLite format 3\0";

/// Where bytes come from: a file, or memory.
pub trait Source {
    /// How many there are.
    fn length(&self) -> u64;
    /// Fills `buffer` from this place on; fewer bytes are an error.
    fn read_at(&self, at: u64, buffer: &mut [u8]) -> std::io::Result<()>;
}

impl Source for &[u8] {
    fn length(&self) -> u64 {
        self.len() as u64
    }

    fn read_at(&self, at: u64, buffer: &mut [u8]) -> std::io::Result<()> {
        let from = usize::try_from(at).ok().and_then(|at| self.get(at..at.checked_add(buffer.len())?));
        buffer.copy_from_slice(from.ok_or(std::io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }
}

/// The database, and what lies beside it under its name with `-journal` and with `-wal`.
#[derive(Clone, Copy)]
pub struct Files<'s> {
    /// The database itself.
    pub database: &'s dyn Source,
    /// The rollback journal.
    pub journal: Option<&'s dyn Source>,
    /// The write-ahead log.
    pub wal: Option<&'s dyn Source>,
}

impl std::fmt::Debug for Files<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Files").finish_non_exhaustive()
    }
}

/// Pages that stand elsewhere than in the database: by number, where in the file beside it.
struct Overlay {
    page_size: u32,
    /// Pages of the database, once it is applied.
    pages: u32,
    places: BTreeMap<u32, u64>,
}

/// A database that is open for reading.
pub struct Database<'s> {
    files: Files<'s>,
    journal: Option<Overlay>,
    wal: Option<Overlay>,
    page_size: u32,
    /// Bytes of a page that are in use.
    usable: usize,
    pages: u32,
}

/// All rows of a table, with the names of its columns.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Table {
    columns: Vec<String>,
    rows: Vec<Vec<Value>>,
}

/// A row of a table.
#[derive(Debug, Clone, Copy)]
pub struct Row<'t> {
    columns: &'t [String],
    values: &'t [Value],
}

impl Table {
    /// Its rows, by their row id.
    pub fn rows(&self) -> impl DoubleEndedIterator<Item = Row<'_>> {
        self.rows.iter().map(|values| Row { columns: &self.columns, values })
    }

    /// Whether it has a column of this name.
    pub fn has(&self, column: &str) -> bool {
        self.columns.iter().any(|name| name.eq_ignore_ascii_case(column))
    }
}

impl Row<'_> {
    /// The value of a column. A column that was added after the row was written is not in the row; it counts as null.
    pub fn get(&self, column: &str) -> &Value {
        let index = self.columns.iter().position(|name| name.eq_ignore_ascii_case(column));
        index.and_then(|index| self.values.get(index)).unwrap_or(&Value::Null)
    }
}

impl<'s> Database<'s> {
    /// Reads the header and what lies beside the file.
    pub fn open(files: Files<'s>) -> Result<Database<'s>, SqliteError> {
        let journal = files.journal.map(journal::read).transpose()?.flatten();
        let wal = files.wal.map(wal::read).transpose()?.flatten();
        let mut database = Database { files, journal, wal, page_size: 512, usable: 0, pages: 0 };
        let beside = database.wal.as_ref().or(database.journal.as_ref());
        let (page_size, pages) = beside.map_or((None, None), |o| (Some(o.page_size), Some(o.pages)));
        // A journal of the very first transaction takes it back to nothing.
        if pages == Some(0) || (pages.is_none() && files.database.length() == 0) {
            return Ok(database);
        }
        // Before the size of a page is known, its first bytes are enough.
        database.page_size = page_size.unwrap_or(512);
        database.pages = pages.unwrap_or(1).max(1);
        let header = database.page(1)?;
        let facts = Header::read(&header)?;
        if page_size.is_some_and(|size| size != facts.page_size) {
            return Err(SqliteError::Damaged {
                page: 1,
                reason: "its page size is not that of the file beside it",
            });
        }
        database.page_size = facts.page_size;
        database.usable = facts.usable;
        database.pages = match pages {
            Some(pages) => pages,
            None => facts.pages(files.database.length())?,
        };
        Ok(database)
    }

    /// All rows of a table; none where there is no such table.
    pub fn table(&self, name: &str) -> Result<Option<Table>, SqliteError> {
        if self.pages == 0 {
            return Ok(None);
        }
        let found = schema::find(&self.rows_of(1)?, name)?;
        let Some((root, schema)) = found else { return Ok(None) };
        let mut rows = Vec::new();
        for (rowid, mut values) in self.rows_of(root)? {
            // The record has null in the place of the row id.
            if let Some(value) = schema.rowid.and_then(|index| values.get_mut(index)) {
                *value = Value::Integer(rowid);
            }
            rows.push(values);
        }
        Ok(Some(Table { columns: schema.columns, rows }))
    }

    /// Whether a crash left something beside the database that counts.
    pub fn was_interrupted(&self) -> bool {
        self.journal.is_some() || self.wal.is_some()
    }

    fn page(&self, number: u32) -> Result<Vec<u8>, SqliteError> {
        if number == 0 || number > self.pages {
            return Err(SqliteError::Damaged { page: number, reason: "there is no such page" });
        }
        let place = |overlay: &Option<Overlay>| overlay.as_ref()?.places.get(&number).copied();
        let in_file = u64::from(number - 1) * u64::from(self.page_size);
        let (source, at) = match (place(&self.wal), place(&self.journal)) {
            (Some(at), _) => (self.files.wal.unwrap_or(self.files.database), at),
            (None, Some(at)) => (self.files.journal.unwrap_or(self.files.database), at),
            (None, None) => (self.files.database, in_file),
        };
        let mut bytes = vec![0; self.page_size as usize];
        source.read_at(at, &mut bytes).map_err(|e| SqliteError::read(number, &e))?;
        Ok(bytes)
    }
}

impl std::fmt::Debug for Database<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Database").field("pages", &self.pages).finish_non_exhaustive()
    }
}

struct Header {
    page_size: u32,
    usable: usize,
    /// Pages by the header, where it is known to be right.
    counted: Option<u32>,
}

impl Header {
    fn read(page: &[u8]) -> Result<Header, SqliteError> {
        if !page.starts_with(MAGIC) {
            return Err(SqliteError::NotADatabase);
        }
        let byte = |at: usize| page.get(at).copied().unwrap_or(0);
        let page_size = match u32::from(byte(16)) << 8 | u32::from(byte(17)) {
            1 => 65_536,
            size if size.is_power_of_two() && size >= 512 => size,
            _ => return Err(SqliteError::Damaged { page: 1, reason: "its page size is none" }),
        };
        let usable = page_size as usize - usize::from(byte(20));
        if byte(19) > 2 {
            return Err(SqliteError::Newer { version: byte(19) });
        }
        if usable < 480 || [byte(21), byte(22), byte(23)] != [64, 32, 32] {
            return Err(SqliteError::Damaged { page: 1, reason: "its header is not one of SQLite 3" });
        }
        match be32(page, 56) {
            0 | 1 => {}
            encoding => return Err(SqliteError::Encoding { encoding }),
        }
        // The count is right only if the program that wrote last knew of it.
        let counted = Some(be32(page, 28)).filter(|n| *n > 0 && be32(page, 24) == be32(page, 92));
        Ok(Header { page_size, usable, counted })
    }

    fn pages(&self, length: u64) -> Result<u32, SqliteError> {
        let there = u32::try_from(length / u64::from(self.page_size)).unwrap_or(u32::MAX);
        match self.counted {
            Some(counted) if counted > there => Err(SqliteError::Cut { pages: there, of: counted }),
            Some(counted) => Ok(counted),
            None => Ok(there),
        }
    }
}

/// A big-endian number; zeros where the bytes end.
fn be32(bytes: &[u8], at: usize) -> u32 {
    (at..at + 4).fold(0, |number, at| number << 8 | u32::from(bytes.get(at).copied().unwrap_or(0)))
}

#[cfg(test)]
mod tests;
