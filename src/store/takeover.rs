//! What was taken over from the client that was here before: `takeover.json`.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::{StoreError, atomic};

const VERSION: u32 = 1;

/// How far it went, and from which state of the old client.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TakeOver {
    version: u32,
    /// Tells whether the old client wrote something since.
    pub stamp: String,
    /// Of its database.
    pub schema: i64,
    /// Whether all of it is here.
    pub done: bool,
}

impl TakeOver {
    /// A note of a state.
    pub fn new(stamp: &str, schema: i64, done: bool) -> TakeOver {
        TakeOver { version: VERSION, stamp: stamp.to_string(), schema, done }
    }

    /// Reads `FOLDER/takeover.json`.
    pub fn load(folder: &Path) -> Result<Option<TakeOver>, StoreError> {
        let path = folder.join("takeover.json");
        let note = atomic::read_json::<TakeOver>(&path)?;
        match note {
            Some(note) if note.version > VERSION => Err(StoreError::Newer { path, version: note.version }),
            note => Ok(note),
        }
    }

    /// Writes `FOLDER/takeover.json`.
    pub fn save(&self, folder: &Path) -> Result<(), StoreError> {
        atomic::write_json(&folder.join("takeover.json"), self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn version_1_of_the_file_reads() {
        let folder = std::env::temp_dir().join(format!("rust-ota-takeover-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        assert_eq!(TakeOver::load(&folder).unwrap(), None);
        std::fs::copy("tests/fixtures/store/takeover.v1.json", folder.join("takeover.json")).unwrap();
        let note = TakeOver::load(&folder).unwrap().unwrap();
        assert_eq!((note.schema, note.done), (25, true));
        TakeOver { version: 2, ..note }.save(&folder).unwrap();
        assert!(matches!(TakeOver::load(&folder), Err(StoreError::Newer { version: 2, .. })));
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
