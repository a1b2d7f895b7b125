//! The dialect of the files on devices today, as Boost's INI reader has it, whatever their ending says. docs/aktualizr.md has a
//! table of what is read how.

use std::path::Path;

use super::ConfigError;

/// One line that sets something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fragment {
    /// Name between `[` and `]`; empty before the first one.
    pub section: String,
    /// Name before `=`.
    pub key: String,
    /// What stands behind `=`, without surrounding blanks and without any `"`.
    pub value: String,
    /// The same with every `"`: aktualizr reads numbers, switches and some paths from this.
    pub raw: String,
    /// Line in the file, counted from 1.
    pub line: usize,
}

/// What a file sets.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Parsed {
    /// Line by line.
    pub fragments: Vec<Fragment>,
    /// Lines that mean something else than they look like, each with its number.
    pub notes: Vec<(usize, &'static str)>,
}

/// Parses a whole file. `path` is only for messages.
pub fn parse(path: &Path, bytes: &[u8]) -> Result<Parsed, ConfigError> {
    let (parsed, faults) = parse_leniently(path, bytes);
    faults.into_iter().next().map_or(Ok(parsed), Err)
}

/// Parses what can be parsed, and says what was passed over.
pub fn parse_leniently(path: &Path, bytes: &[u8]) -> (Parsed, Vec<ConfigError>) {
    let (mut parsed, mut faults) = (Parsed::default(), Vec::new());
    let mut section = String::new();
    let bytes = bytes.strip_prefix("\u{feff}".as_bytes()).unwrap_or(bytes);
    for (index, raw) in bytes.split(|byte| *byte == b'\n').enumerate() {
        let line = index + 1;
        let (text, is_latin) = decode(raw);
        let text = text.trim_matches(is_blank);
        if text.is_empty() || text.starts_with('#') || text.starts_with(';') {
            continue;
        }
        if is_latin {
            parsed.notes.push((line, "the line is not UTF-8; it is read as Latin-1"));
        }
        let read = match text.strip_prefix('[') {
            Some(rest) => {
                let name = parsed.section(rest, line);
                // What follows belongs to no section before it.
                section = name.clone().unwrap_or_else(|_| rest.trim_matches(is_blank).to_string());
                name.map(|_| ())
            }
            None => parsed.assignment(&section, text, line),
        };
        if let Err(reason) = read {
            faults.push(ConfigError::BadLine { path: path.to_path_buf(), line, reason });
        }
    }
    (parsed, faults)
}

impl Parsed {
    /// The name of a section, of what stands behind its `[`.
    fn section(&mut self, rest: &str, line: usize) -> Result<String, &'static str> {
        let (name, behind) = rest.split_once(']').ok_or("a section has no closing ]")?;
        if !behind.is_empty() {
            self.notes.push((line, "the text after ] is ignored"));
        }
        let name = name.trim_matches(is_blank).to_string();
        if self.fragments.iter().any(|f| f.section == name || f.section.is_empty() && f.key == name) {
            self.notes.push((
                line,
                "the section is in this file already, and aktualizr would not start; merge the two",
            ));
        }
        Ok(name)
    }

    fn assignment(&mut self, section: &str, text: &str, line: usize) -> Result<(), &'static str> {
        let (key, value) = text.split_once('=').ok_or("neither a [section] nor key = value")?;
        let key = key.trim_matches(is_blank);
        if key.is_empty() {
            return Err("there is no key before =");
        }
        if key.contains('"') {
            self.notes.push((line, "a key in quotes is another key, which nothing reads; remove the quotes"));
        }
        if self.fragments.iter().any(|f| f.section == section && f.key == key) {
            return Err("the key is set twice in this file");
        }
        let value = value.trim_matches(is_blank);
        if has_remark(value) {
            self.notes.push((line, "a remark after a value is part of the value; move it to its own line"));
        }
        self.fragments.push(Fragment {
            section: section.to_string(),
            key: key.to_string(),
            value: value.replace('"', ""),
            raw: value.to_string(),
            line,
        });
        Ok(())
    }
}

/// Whether something outside of quotes looks like the begin of a remark.
fn has_remark(value: &str) -> bool {
    let outside = value.split('"').step_by(2);
    outside.into_iter().any(|part| {
        let signs = part.char_indices().filter(|(_, c)| matches!(c, '#' | ';'));
        signs.into_iter().any(|(at, _)| part[..at].ends_with(is_blank))
    })
}

/// The blanks of C.
pub(super) fn is_blank(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\n' | '\x0B' | '\x0C' | '\r')
}

/// UTF-8, or else one character a byte, as editors wrote it before; and whether it is the latter.
fn decode(raw: &[u8]) -> (String, bool) {
    match std::str::from_utf8(raw) {
        Ok(text) => (text.to_string(), false),
        Err(_) => (raw.iter().map(|byte| char::from(*byte)).collect(), true),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(text: &str) -> Vec<(String, String, String)> {
        let parsed = parse(Path::new("f"), text.as_bytes()).unwrap();
        parsed.fragments.into_iter().map(|f| (f.section, f.key, f.value)).collect()
    }

    #[test]
    fn what_devices_have_today() {
        let cases: &[(&str, (&str, &str, &str))] = &[
            ("[uptane]\npolling_sec = 30\n", ("uptane", "polling_sec", "30")),
            ("[uptane]\npolling_sec = \"30\"\n", ("uptane", "polling_sec", "30")),
            (
                "[pacman]\r\ncallback_program = /usr/bin/callback\r\n",
                ("pacman", "callback_program", "/usr/bin/callback"),
            ),
            ("# note\n; note\n[pacman]\n  tags=\"main, test\"  \n", ("pacman", "tags", "main, test")),
            ("[pacman]\ncompose_apps = \"\"\n", ("pacman", "compose_apps", "")),
            ("\u{feff}[tls]\nserver = https://h:8443/a?b=c\n", ("tls", "server", "https://h:8443/a?b=c")),
            ("[x]\nk = a # not a comment", ("x", "k", "a # not a comment")),
            ("[ x ] # polling\nk = a", ("x", "k", "a")),
            ("[x]y]\nk = a", ("x", "k", "a")),
            ("[x]\nk y = \u{a0}a", ("x", "k y", "\u{a0}a")),
            ("k = a\n[x]\n", ("", "k", "a")),
            ("[x]\n\"k\" = a", ("x", "\"k\"", "a")),
        ];
        for (text, (section, key, value)) in cases {
            let expected = vec![(section.to_string(), key.to_string(), value.to_string())];
            assert_eq!(values(text), expected, "{text:?}");
        }
    }

    #[test]
    fn what_looks_like_something_else_is_noted() {
        let notes = |bytes: &[u8]| parse(Path::new("f"), bytes).unwrap().notes;
        assert_eq!(notes(b"# Ger\xe4t\n; \xff\n[x]\nk = a\n"), []);
        assert_eq!(notes(b"[x]\n\nk = Ger\xe4t\n"), [(3, "the line is not UTF-8; it is read as Latin-1")]);
        assert_eq!(notes(b"[x] # y\nk = a\n"), [(1, "the text after ] is ignored")]);
        assert_eq!(notes(b"[x]\n\"k\" = a\n")[0].0, 2);
        for (value, count) in [("a # b", 1), ("\"a\" ; b", 1), ("\"a # b\"", 0), ("a#b;c", 0), ("\"a\"", 0)] {
            assert_eq!(notes(format!("[x]\nk = {value}\n").as_bytes()).len(), count, "{value}");
        }
        assert_eq!(notes(b"[x]\nk = a\n[y]\nk = a\n[x]\nl = a\n")[0].0, 5);
        assert_eq!(notes(b"x = 1\n[x]\nl = a\n")[0].0, 2);
        assert_eq!(notes(b"[x]\n[y]\nk = a\n[x]\nl = a\n"), [], "an empty section does not count");
        let latin = parse(Path::new("f"), b"[x]\nk = Ger\xe4t\n").unwrap();
        assert_eq!(latin.fragments[0].value, "Ger\u{e4}t");
    }

    #[test]
    fn a_line_that_does_not_parse_is_named() {
        for (text, line) in
            [("[tls\n", 1), ("[tls]\nserver\n", 2), ("[tls]\n= x\n", 2), ("[a]\nk=1\nk=2\n", 3)]
        {
            let error = parse(Path::new("/etc/sota/conf.d/9.toml"), text.as_bytes()).unwrap_err().to_string();
            assert!(error.starts_with(&format!("/etc/sota/conf.d/9.toml:{line}: ")), "{error}");
        }
    }
}
