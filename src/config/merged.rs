//! All fragments in one map; each value knows its file.

use std::cell::RefCell;
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
    /// The same with its quotes.
    pub raw: String,
}

/// `section` and `key` to what each file sets, in order.
#[derive(Debug, Clone, Default)]
pub struct Merged {
    values: BTreeMap<(String, String), Vec<Value>>,
    root: Option<PathBuf>,
    warnings: RefCell<Vec<String>>,
}

impl Merged {
    /// Reads files and folders. Files are applied in the order of their base names over all folders, and a file
    /// in a later folder hides one of the same base name in an earlier folder.
    pub fn read(paths: &[PathBuf]) -> Result<Merged, ConfigError> {
        let mut merged = Merged::default();
        for file in ordered(paths, &mut Err)? {
            let text = fs::read(&file).map_err(|e| ConfigError::unreadable(&file, e))?;
            merged.apply(&file, &text)?;
        }
        Ok(merged)
    }

    /// Reads what can be read, and says what was passed over.
    pub fn read_leniently(paths: &[PathBuf]) -> (Merged, Vec<ConfigError>) {
        let (mut merged, mut faults) = (Merged::default(), Vec::new());
        let mut note = |fault| {
            faults.push(fault);
            Ok(Vec::new())
        };
        let files = ordered(paths, &mut note).unwrap_or_default();
        for file in files {
            let bytes = match fs::read(&file) {
                Ok(bytes) => bytes,
                Err(error) => {
                    faults.push(ConfigError::unreadable(&file, error));
                    continue;
                }
            };
            let (parsed, bad) = fragments::parse_leniently(&file, &bytes);
            faults.extend(bad);
            merged.take(&file, parsed);
        }
        (merged, faults)
    }

    /// Forgets what `fault` is about; all of it, where nobody can say what that is.
    pub fn forget(&mut self, fault: &ConfigError) {
        let before = self.values.len();
        self.values.retain(|(section, name), values| match fault {
            ConfigError::BadValue { key, .. } | ConfigError::UnknownKey { key, .. } => {
                *key != format!("{section}.{name}")
            }
            ConfigError::Unreadable { path, .. } => values.iter().all(|v| Path::new(&v.text) != path),
            _ => true,
        });
        if self.values.len() == before {
            self.values.clear();
        }
    }

    /// Whether nothing is set.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// Applies one file's text over what is there.
    pub fn apply(&mut self, file: &Path, text: impl AsRef<[u8]>) -> Result<(), ConfigError> {
        self.take(file, fragments::parse(file, text.as_ref())?);
        Ok(())
    }

    fn take(&mut self, file: &Path, parsed: fragments::Parsed) {
        for (line, note) in parsed.notes {
            self.warn(file, line, note);
        }
        for f in parsed.fragments {
            let value = Value { text: f.value, raw: f.raw, file: file.to_path_buf(), line: f.line };
            self.values.entry((f.section, f.key)).or_default().push(value);
        }
    }

    /// Reads files and folders of a device that lies in a folder.
    pub(super) fn read_below(root: &Path, paths: &[PathBuf]) -> Result<Merged, ConfigError> {
        Ok(Merged { root: Some(root.to_path_buf()), ..Merged::read(paths)? })
    }

    /// The folder that the device lies in; none for the running one.
    pub(super) fn root(&self) -> Option<&Path> {
        self.root.as_deref()
    }

    /// The value of `section.key`, if any file sets it.
    pub fn get(&self, section: &str, key: &str) -> Option<&Value> {
        self.history(section, key).last()
    }

    /// What each file sets it to, the last one last.
    pub(super) fn history(&self, section: &str, key: &str) -> &[Value] {
        self.values.get(&(section.to_string(), key.to_string())).map_or(&[], Vec::as_slice)
    }

    /// What a person should know of a line.
    pub(super) fn warn(&self, file: &Path, line: usize, text: &str) {
        let text = format!("{}:{line}: {text}", file.display());
        let mut warnings = self.warnings.borrow_mut();
        if warnings.len() < WARNINGS && !warnings.contains(&text) {
            warnings.push(text);
        }
    }

    /// What there is to know of all lines so far.
    pub(super) fn warnings(&self) -> Vec<String> {
        self.warnings.borrow().clone()
    }

    /// Every value, by section and key.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str, &Value)> {
        self.values.iter().filter_map(|((s, k), v)| Some((s.as_str(), k.as_str(), v.last()?)))
    }
}

/// No person reads more of them.
const WARNINGS: usize = 100;

/// The files in the order in which they are applied. `fault` says what becomes of a folder that cannot be read.
fn ordered(
    paths: &[PathBuf],
    fault: &mut dyn FnMut(ConfigError) -> Result<Vec<PathBuf>, ConfigError>,
) -> Result<Vec<PathBuf>, ConfigError> {
    let mut files: BTreeMap<std::ffi::OsString, PathBuf> = BTreeMap::new();
    for path in paths {
        for file in toml_files(path).or_else(&mut *fault)? {
            if let Some(name) = file.file_name() {
                files.insert(name.to_os_string(), file.clone());
            }
        }
    }
    Ok(files.into_values().collect())
}

fn toml_files(path: &Path) -> Result<Vec<PathBuf>, ConfigError> {
    let unreadable = |e| ConfigError::unreadable(path, e);
    if !fs::metadata(path).map_err(unreadable)?.is_dir() {
        return Ok(vec![path.to_path_buf()]);
    }
    let mut files = Vec::new();
    for entry in fs::read_dir(path).map_err(unreadable)? {
        let file = entry.map_err(unreadable)?.path();
        if file.extension().is_some_and(|e| e == "toml") && counts(&file) {
            files.push(file);
        }
    }
    Ok(files)
}

/// Also a link to /dev/null, which hides a file of its name, and one that leads nowhere: that is an error when it is read, since
/// settings that somebody wanted are not there. Not what may have no end.
fn counts(file: &Path) -> bool {
    match fs::metadata(file) {
        Ok(about) => about.is_file() || file.canonicalize().is_ok_and(|path| path == Path::new("/dev/null")),
        Err(_) => true,
    }
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
    fn a_link_hides_a_file_or_is_an_error_if_it_leads_nowhere() {
        let root = std::env::temp_dir().join(format!("rust-ota-masked-{}", std::process::id()));
        let _ = fs::remove_dir_all(&root);
        for folder in ["usr", "etc/x.toml"] {
            fs::create_dir_all(root.join(folder)).unwrap();
        }
        fs::write(root.join("usr/40.toml"), "[pacman]\ntags = old\n").unwrap();
        let paths = [root.join("usr"), root.join("etc")];
        let link = |to: &str| {
            let _ = fs::remove_file(root.join("etc/40.toml"));
            std::os::unix::fs::symlink(to, root.join("etc/40.toml")).unwrap();
        };
        link("/dev/null");
        assert_eq!(Merged::read(&paths).unwrap().get("pacman", "tags"), None);
        link("/nonexistent/x");
        assert!(Merged::read(&paths).unwrap_err().to_string().contains("etc/40.toml"));
        let (merged, faults) = Merged::read_leniently(&paths);
        assert!(faults.len() == 1 && merged.is_empty());
        // What may have no end is passed over.
        for endless in ["/dev/zero", "fifo"] {
            link(endless);
            let _ = std::process::Command::new("mkfifo").arg(root.join("etc/fifo")).status();
            assert_eq!(Merged::read(&paths).unwrap().get("pacman", "tags").unwrap().text, "old", "{endless}");
        }
        fs::remove_dir_all(root).unwrap();
    }

    #[test]
    fn a_path_that_is_not_there_is_named() {
        let error = Merged::read(&[PathBuf::from("/nonexistent/x.toml")]).unwrap_err();
        assert!(error.to_string().contains("/nonexistent/x.toml"), "{error}");
    }
}
