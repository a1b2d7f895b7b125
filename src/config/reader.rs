//! Looks values up and gives them their types, as aktualizr gives them to its own.

use std::cell::{Ref, RefCell};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::ConfigError;
use super::merged::{Merged, Value};

/// Looks values up, and remembers which. An empty one counts as not set.
pub(super) struct Reader<'a>(pub(super) &'a Merged, RefCell<BTreeSet<(String, String)>>);

/// aktualizr ignores a number or switch that it cannot read, here. In our own sections, and where aktualizr-lite refuses to start,
/// it is an error.
const TOLERANT: [&str; 5] = ["logger", "provision", "uptane", "telemetry", "bootloader"];

/// What aktualizr reads by the rules of a `boost::filesystem::path`. Every other path is text.
const BOOST_PATHS: [(&str, &str); 10] = [
    ("bootloader", "reboot_sentinel_dir"),
    ("bootloader", "reboot_sentinel_name"),
    ("import", "base_path"),
    ("pacman", "images_path"),
    ("pacman", "packages_file"),
    ("pacman", "sysroot"),
    ("provision", "provision_path"),
    ("storage", "path"),
    ("tls", "server_url_path"),
    ("uptane", "secondary_config_file"),
];

impl<'a> Reader<'a> {
    pub(super) fn new(merged: &'a Merged) -> Reader<'a> {
        Reader(merged, RefCell::default())
    }

    /// What was looked up so far.
    pub(super) fn asked(&self) -> Ref<'_, BTreeSet<(String, String)>> {
        self.1.borrow()
    }

    pub(super) fn value(&self, section: &str, key: &str) -> Option<&Value> {
        self.1.borrow_mut().insert((section.to_string(), key.to_string()));
        self.0.get(section, key).filter(|v| !v.text.is_empty())
    }

    pub(super) fn text(&self, section: &str, key: &str) -> Option<String> {
        self.value(section, key).map(|v| v.text.clone())
    }

    /// A path on the device that the configuration is of.
    pub(super) fn path(&self, section: &str, key: &str) -> Option<PathBuf> {
        let text = if BOOST_PATHS.contains(&(section, key)) {
            let expected = "a path: one with blanks stands in quotes, and nothing stands behind it";
            self.latest(section, key, expected, boost_path)
        } else {
            self.text(section, key)
        };
        text.filter(|text| !text.is_empty()).map(|text| self.located(text))
    }

    /// Where a path of the device is: below the folder that the device lies in, if it is not the running one.
    pub(super) fn located(&self, path: impl Into<PathBuf>) -> PathBuf {
        let path = path.into();
        match (self.0.root(), path.strip_prefix("/")) {
            (Some(root), Ok(inner)) => root.join(inner),
            _ => path,
        }
    }

    pub(super) fn url(&self, section: &str, key: &str) -> Option<String> {
        self.text(section, key).map(|t| t.trim_end_matches('/').to_string())
    }

    pub(super) fn list(&self, section: &str, key: &str) -> Vec<String> {
        let text = self.text(section, key).unwrap_or_default();
        text.split([',', ' ']).filter(|t| !t.is_empty()).map(str::to_string).collect()
    }

    pub(super) fn words(&self, section: &str, key: &str, default: &str) -> Vec<String> {
        let text = self.text(section, key).unwrap_or_else(|| default.to_string());
        text.split_whitespace().map(str::to_string).collect()
    }

    pub(super) fn number(&self, section: &str, key: &str, default: u64) -> Result<u64, ConfigError> {
        self.typed(section, key, default, "a whole number of 0 or more", |text| text.parse().ok())
    }

    /// Seconds of a wait. More than a year would be for ever, and in sums more than a clock has.
    pub(super) fn seconds(&self, section: &str, key: &str, default: u64) -> Result<u64, ConfigError> {
        const LONGEST: u64 = 366 * 86_400;
        Ok(self.number(section, key, default)?.min(LONGEST))
    }

    pub(super) fn switch(&self, section: &str, key: &str, default: bool) -> Result<bool, ConfigError> {
        self.typed(section, key, default, "0, 1, true or false", boost_bool)
    }

    /// On, except for two words: so does aktualizr-lite read some of its switches.
    pub(super) fn unless_off(&self, section: &str, key: &str) -> bool {
        let text = self.text(section, key).unwrap_or_default();
        text != "0" && !text.eq_ignore_ascii_case("false")
    }

    fn typed<T: Copy>(
        &self,
        section: &str,
        key: &str,
        default: T,
        expected: &'static str,
        read: impl Fn(&str) -> Option<T>,
    ) -> Result<T, ConfigError> {
        if is_tolerant(section, key) {
            return Ok(self.latest(section, key, expected, read).unwrap_or(default));
        }
        let Some(value) = self.value(section, key) else { return Ok(default) };
        read(&value.text).ok_or_else(|| bad(value, section, key, expected))
    }

    /// What the last file says that can be read. aktualizr ignores a line that it cannot read, and knows quotes only in text.
    fn latest<T>(
        &self,
        section: &str,
        key: &str,
        expected: &str,
        read: impl Fn(&str) -> Option<T>,
    ) -> Option<T> {
        self.value(section, key);
        for value in self.0.history(section, key).iter().rev().filter(|value| !value.raw.is_empty()) {
            if let Some(found) = read(&value.raw) {
                return Some(found);
            }
            if value.text.is_empty() {
                continue;
            }
            let advice = if read(&value.text).is_some() { ": remove the quotes" } else { "" };
            let text =
                format!("{section}.{key} = {} is not {expected}; the line is ignored{advice}", value.raw);
            self.0.warn(&value.file, value.line, &text);
        }
        None
    }

    /// One of some names. aktualizr falls back to its default for another one.
    pub(super) fn choice<T: Copy>(
        &self,
        section: &str,
        key: &str,
        default: T,
        names: &[(&'static str, T)],
    ) -> Result<T, ConfigError> {
        let Some(value) = self.value(section, key) else { return Ok(default) };
        if let Some((_, found)) = names.iter().find(|(name, _)| *name == value.text) {
            return Ok(*found);
        }
        let expected = match key {
            "rollback_mode" => "one of none, uboot_generic, uboot_masked, fiovb, fioefi, grub",
            "trust" => "one of director, latest",
            "key_type" => "one of ED25519, RSA2048, RSA3072, RSA4096",
            "mode" => "one of DeviceCred, SharedCred, SharedCredReuse",
            "engine" => "one of docker, podman",
            _ => "one of ats, tuf",
        };
        if !is_tolerant(section, key) {
            return Err(bad(value, section, key, expected));
        }
        let text = format!("{section}.{key} = {} is not {expected}; the default is used", value.raw);
        self.0.warn(&value.file, value.line, &text);
        Ok(default)
    }

    /// A file that was provisioned: where `import` says, or in the storage, or where imports are put by default.
    pub(super) fn tls_places(&self, storage: &Path, key: &str, default: &str) -> Vec<PathBuf> {
        let import = self.path("import", "base_path").unwrap_or_else(|| storage.join("import"));
        if let Some(path) = self.path("import", key) {
            return vec![import.join(path)];
        }
        let stored = self.path("storage", key).unwrap_or_else(|| PathBuf::from(default));
        vec![storage.join(stored), import.join(default)]
    }
}

fn is_tolerant(section: &str, key: &str) -> bool {
    TOLERANT.contains(&section) || (section, key) == ("pacman", "fake_need_reboot")
}

/// A switch as a stream of C++ reads it: a number that is 0 or 1, or a word.
fn boost_bool(text: &str) -> Option<bool> {
    match (text, text.parse::<i64>()) {
        ("true", _) | (_, Ok(1)) => Some(true),
        ("false", _) | (_, Ok(0)) => Some(false),
        _ => None,
    }
}

/// A path as Boost reads it: one word, or what stands in quotes, where `&` takes the next letter as it is.
fn boost_path(raw: &str) -> Option<String> {
    let Some(inner) = raw.strip_prefix('"') else {
        return Some(raw.to_string()).filter(|word| !word.contains(super::fragments::is_blank));
    };
    let (mut path, mut letters) = (String::new(), inner.chars());
    while let Some(letter) = letters.next() {
        match letter {
            '"' => return letters.all(super::fragments::is_blank).then_some(path),
            '&' => path.push(letters.next()?),
            _ => path.push(letter),
        }
    }
    None
}

pub(super) fn bad(value: &Value, section: &str, key: &str, expected: &'static str) -> ConfigError {
    ConfigError::BadValue {
        path: value.file.clone(),
        line: value.line,
        key: format!("{section}.{key}"),
        value: value.text.clone(),
        expected,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn merged(files: &[&str]) -> Merged {
        let mut merged = Merged::default();
        for (index, text) in files.iter().enumerate() {
            merged.apply(Path::new(&format!("/etc/{index}.toml")), text).unwrap();
        }
        merged
    }

    #[test]
    fn a_line_that_cannot_be_read_leaves_what_an_earlier_file_set() {
        let of = |last: &str| {
            let merged =
                merged(&["[uptane]\npolling_sec = 60\n", &format!("[uptane]\npolling_sec = {last}\n")]);
            (Reader::new(&merged).number("uptane", "polling_sec", 300).unwrap(), merged.warnings().len())
        };
        assert_eq!(of("30"), (30, 0));
        assert_eq!(of("\"30\""), (60, 1));
        assert_eq!(of("30s"), (60, 1));
        assert_eq!(of(""), (60, 0));
    }

    #[test]
    fn switches_are_read_as_a_stream_of_cpp_reads_them() {
        for (text, read) in [
            ("1", Some(true)),
            ("01", Some(true)),
            ("+1", Some(true)),
            ("true", Some(true)),
            ("00", Some(false)),
            ("-0", Some(false)),
            ("false", Some(false)),
            ("2", None),
            ("10", None),
            ("-1", None),
            ("True", None),
            ("on", None),
            ("truex", None),
            ("0x1", None),
            ("", None),
        ] {
            assert_eq!(boost_bool(text), read, "{text}");
        }
    }

    /// Each pair is what a program with Boost 1.74 printed.
    #[test]
    fn paths_are_read_as_boost_reads_them() {
        for (raw, read) in [
            ("/var/sota", Some("/var/sota")),
            ("\"/var/my sota\"", Some("/var/my sota")),
            ("\"\"", Some("")),
            ("'/x'", Some("'/x'")),
            ("\"/a&b\"", Some("/ab")),
            ("\"/a&&b\"", Some("/a&b")),
            ("\"/a\\b\"", Some("/a\\b")),
            ("/a&b", Some("/a&b")),
            ("/a\"b\"", Some("/a\"b\"")),
            ("/var/my sota", None),
            ("/var/sota # here", None),
            ("\"/var/sota\" # here", None),
            ("\"/a\"b", None),
            ("\"/a", None),
        ] {
            assert_eq!(boost_path(raw).as_deref(), read, "{raw}");
        }
    }

    #[test]
    fn a_path_that_is_not_read_leaves_its_default_and_a_text_is_read_whole() {
        let merged = merged(&["[storage]\npath = /data # flash\nsqldb_path = my file\n"]);
        let reader = Reader::new(&merged);
        assert_eq!(reader.path("storage", "path"), None);
        assert_eq!(reader.path("storage", "sqldb_path"), Some(PathBuf::from("my file")));
        let warnings = merged.warnings();
        assert!(
            warnings
                .iter()
                .any(|w| w.starts_with("/etc/0.toml:2: storage.path = /data # flash is not a path"))
        );
    }
}
