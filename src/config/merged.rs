//! All fragments in one map; each value knows its file.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use super::{ConfigError, fragments};

/// A value and where it was set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Value {
    /// The text, without quotes.
    pub text: String,
    /// The file that set it last.
    pub file: PathBuf,
    /// The line in that file.
    pub line: usize,
}

/// `section` and `key` to value, in order.
#[derive(Debug, Clone, Default)]
pub struct Merged {
    values: BTreeMap<(String, String), Value>,
}

impl Merged {
    /// Reads files and folders. Files are applied in the order of their base names over all folders, and a file
    /// in a later folder hides one of the same base name in an earlier folder.
    pub fn read(paths: &[PathBuf]) -> Result<Merged, ConfigError> {
        let mut files: BTreeMap<std::ffi::OsString, PathBuf> = BTreeMap::new();
        for path in paths {
            for file in toml_files(path)? {
                if let Some(name) = file.file_name() {
                    files.insert(name.to_os_string(), file.clone());
                }
            }
        }
        let mut merged = Merged::default();
        for file in files.values() {
            let text = fs::read_to_string(file).map_err(|e| ConfigError::unreadable(file, e))?;
            merged.apply(file, &text)?;
        }
        Ok(merged)
    }

    /// Applies one file's text over what is there.
    pub fn apply(&mut self, file: &Path, text: &str) -> Result<(), ConfigError> {
        for f in fragments::parse(file, text)? {
            let value = Value { text: f.value, file: file.to_path_buf(), line: f.line };
            self.values.insert((f.section, f.key), value);
        }
        Ok(())
    }

    /// The value of `section.key`, if any file sets it.
    pub fn get(&self, section: &str, key: &str) -> Option<&Value> {
        self.values.get(&(section.to_string(), key.to_string()))
    }

    /// Every value, by section and key.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str, &Value)> {
        self.values.iter().map(|((s, k), v)| (s.as_str(), k.as_str(), v))
    }
}

fn toml_files(path: &Path) -> Result<Vec<PathBuf>, ConfigError> {
    let unreadable = |e| ConfigError::unreadable(path, e);
    if !fs::metadata(path).map_err(unreadable)?.is_dir() {
        return Ok(vec![path.to_path_buf()]);
    }
    let mut files = Vec::new();
    for entry in fs::read_dir(path).map_err(unreadable)? {
        let file = entry.map_err(unreadable)?.path();
        if file.extension().is_some_and(|e| e == "toml") && file.is_file() {
            files.push(file);
        }
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_is_by_base_name_and_a_later_folder_hides_the_same_name() {
        let root = std::env::temp_dir().join(format!("rust-ota-merged-{}", std::process::id()));
        let write = |name: &str, text: &str| {
            let path = root.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        write("usr/40-hwid.toml", "[provision]\nprimary_ecu_hardware_id = old\n[tls]\nserver = a\n");
        write("usr/60-poll.toml", "[uptane]\npolling_sec = 1\n");
        write("etc/40-hwid.toml", "[provision]\nprimary_ecu_hardware_id = new\n");
        write("etc/z-50.toml", "[uptane]\npolling_sec = 3\n");
        write("etc/notes.txt", "not a fragment");
        write("sota.toml", "[uptane]\npolling_sec = 2\n");
        let paths = [root.join("usr"), root.join("sota.toml"), root.join("etc")];
        let merged = Merged::read(&paths).unwrap();
        assert_eq!(merged.get("provision", "primary_ecu_hardware_id").unwrap().text, "new");
        assert_eq!(merged.get("tls", "server"), None, "the hidden file does not count");
        let polling = merged.get("uptane", "polling_sec").unwrap();
        assert_eq!((polling.text.as_str(), polling.line), ("3", 2));
        assert!(polling.file.ends_with("etc/z-50.toml"));
        fs::remove_dir_all(root).unwrap();
    }

    #[test]
    fn a_path_that_is_not_there_is_named() {
        let error = Merged::read(&[PathBuf::from("/nonexistent/x.toml")]).unwrap_err();
        assert!(error.to_string().contains("/nonexistent/x.toml"), "{error}");
    }
}
