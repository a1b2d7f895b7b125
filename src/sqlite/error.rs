//! Why a database cannot be read.

use std::fmt;

/// Each of them means that nothing of the table was taken.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum SqliteError {
    /// The bytes did not come.
    Read {
        /// Number of the page.
        page: u32,
        /// What the kernel said.
        reason: String,
    },
    /// The file is of another kind.
    NotADatabase,
    /// Only a newer SQLite reads it.
    Newer {
        /// The version that it asks for.
        version: u8,
    },
    /// Its texts are not UTF-8.
    Encoding {
        /// As its header has it: 2 and 3 are UTF-16.
        encoding: u32,
    },
    /// Pages are missing at its end.
    Cut {
        /// How many there are.
        pages: u32,
        /// How many there should be.
        of: u32,
    },
    /// A page is not what it should be.
    Damaged {
        /// Its number.
        page: u32,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A table is of a kind that is not read here.
    Table {
        /// Its name.
        name: String,
        /// What kind.
        reason: &'static str,
    },
    /// The rollback journal or the write-ahead log cannot be honored.
    Beside {
        /// `-journal` or `-wal`.
        file: &'static str,
        /// Why.
        reason: &'static str,
    },
    /// More than any client keeps.
    TooLarge,
}

impl SqliteError {
    pub(super) fn read(page: u32, error: &std::io::Error) -> SqliteError {
        match error.kind() {
            std::io::ErrorKind::UnexpectedEof => SqliteError::Damaged { page, reason: "it is not whole" },
            _ => SqliteError::Read { page, reason: error.to_string() },
        }
    }
}

impl fmt::Display for SqliteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SqliteError::Read { page, reason } => write!(f, "page {page} cannot be read: {reason}"),
            SqliteError::NotADatabase => f.write_str("it is not an SQLite database"),
            SqliteError::Newer { version } => {
                write!(f, "it has version {version} of the file format; 1 and 2 are known")
            }
            SqliteError::Encoding { encoding } => {
                write!(f, "its texts are UTF-16 (encoding {encoding}); only UTF-8 is read")
            }
            SqliteError::Cut { pages, of } => write!(f, "it is cut: {pages} of {of} pages are there"),
            SqliteError::Damaged { page, reason } => write!(f, "it is damaged: page {page}: {reason}"),
            SqliteError::Table { name, reason } => write!(f, "table {name} cannot be read: {reason}"),
            SqliteError::Beside { file, reason } => write!(f, "the file {file} beside it: {reason}"),
            SqliteError::TooLarge => f.write_str("a table is larger than any that the client writes"),
        }
    }
}

impl std::error::Error for SqliteError {}
