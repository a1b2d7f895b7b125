use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value as Json, json};

use super::*;

/// Databases of many kinds, made by SQLite, each with what SQLite itself reads of it.
fn states(name: &str) -> PathBuf {
    let root = std::env::temp_dir().join(format!("rust-ota-sqlite-{name}-{}", std::process::id()));
    let _ = fs::remove_dir_all(&root);
    fs::create_dir_all(&root).unwrap();
    let made = Command::new("python3").arg("tests/python/sqlite_states.py").arg(&root).output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    root
}

struct Loaded {
    database: Vec<u8>,
    journal: Option<Vec<u8>>,
    wal: Option<Vec<u8>>,
}

impl Loaded {
    fn of(folder: &Path) -> Loaded {
        let read = |name: &str| fs::read(folder.join(name)).ok();
        Loaded { database: read("sql.db").unwrap(), journal: read("sql.db-journal"), wal: read("sql.db-wal") }
    }

    fn with<T>(&self, with: impl FnOnce(Files<'_>) -> T) -> T {
        let (database, journal, wal) = (&self.database[..], self.journal.as_deref(), self.wal.as_deref());
        let files = Files {
            database: &database,
            journal: journal.as_ref().map(|b| b as &dyn Source),
            wal: wal.as_ref().map(|b| b as &dyn Source),
        };
        with(files)
    }

    fn table(&self, name: &str) -> Result<Option<Table>, SqliteError> {
        self.with(|files| Database::open(files)?.table(name))
    }
}

fn shown(table: &Table) -> Json {
    let value = |value: &Value| match value {
        Value::Null => Json::Null,
        Value::Integer(number) => json!(number),
        Value::Bytes(bytes) => json!(crate::tuf::to_hex(bytes)),
        Value::Real => json!(0.5),
    };
    let columns = &table.columns;
    table.rows().map(|row| Json::from_iter(columns.iter().map(|name| value(row.get(name))))).collect()
}

#[test]
fn every_kind_reads_as_sqlite_reads_it() {
    let root = states("kinds");
    let (mut read, mut refused) = (Vec::new(), Vec::new());
    for entry in fs::read_dir(&root).unwrap().flatten() {
        let name = entry.file_name().into_string().unwrap();
        let loaded = Loaded::of(&entry.path());
        let Ok(expected) = fs::read(entry.path().join("expected.json")) else {
            let error = loaded.table("plain").expect_err(&name);
            refused.push(format!("{name}: {error}"));
            continue;
        };
        let expected: Json = serde_json::from_slice(&expected).unwrap();
        for (table, rows) in expected.as_object().unwrap() {
            let found = loaded.table(table).unwrap_or_else(|e| panic!("{name}: {e}"));
            let found = found.unwrap_or_else(|| panic!("{name}: no {table}"));
            assert_eq!(&shown(&found), rows, "{name}: {table}");
        }
        assert_eq!(loaded.table("nowhere"), Ok(None), "{name}");
        read.push(name);
    }
    refused.sort();
    assert_eq!(read.len(), 23, "{read:?}");
    assert_eq!(
        refused,
        [
            "refused-cut: it is cut: 3 of 7 pages are there",
            "refused-journal-of-several: the file -journal beside it: it is part of a transaction over several databases",
            "refused-no-database: it is not an SQLite database",
            "refused-page-of-another-kind: it is damaged: page 2: it is no page of a table",
            "refused-utf16: its texts are UTF-16 (encoding 2); only UTF-8 is read",
            "refused-without-rowid: table plain cannot be read: it has no row ids",
            "refused-zeros: it is not an SQLite database",
        ]
    );
    fs::remove_dir_all(root).unwrap();
}

#[test]
fn no_cut_and_no_changed_byte_panics_or_leads_in_circles() {
    let root = states("changed");
    for name in ["page-512", "journal-hot-512", "wal-second-round"] {
        let whole = Loaded::of(&root.join(name));
        let mut random: u64 = 0x9E37_79B9_7F4A_7C15;
        for _ in 0..400 {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            let mut changed = Loaded {
                database: whole.database.clone(),
                journal: whole.journal.clone(),
                wal: whole.wal.clone(),
            };
            let part = match (random % 3, &mut changed) {
                (0, Loaded { journal: Some(bytes), .. }) | (1, Loaded { wal: Some(bytes), .. }) => bytes,
                (_, Loaded { database, .. }) => database,
            };
            let at = (random >> 8) as usize % part.len();
            match random % 5 {
                0 => part.truncate(at),
                _ => part[at] ^= (random >> 40) as u8 | 1,
            }
            for table in ["plain", "with id"] {
                let _ = changed.table(table);
            }
        }
    }
    fs::remove_dir_all(root).unwrap();
}
