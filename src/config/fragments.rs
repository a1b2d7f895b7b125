//! The dialect of the files on devices today: INI with every `"` removed, whatever their ending says.

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
    /// Line in the file, counted from 1.
    pub line: usize,
}

/// Parses a whole file. `path` is only for messages.
pub fn parse(path: &Path, text: &str) -> Result<Vec<Fragment>, ConfigError> {
    let mut fragments: Vec<Fragment> = Vec::new();
    let mut section = String::new();
    for (index, raw) in text.trim_start_matches('\u{feff}').lines().enumerate() {
        let line = index + 1;
        let bad = |reason| ConfigError::BadLine { path: path.to_path_buf(), line, reason };
        let text = raw.trim();
        if text.is_empty() || text.starts_with('#') || text.starts_with(';') {
            continue;
        }
        if let Some(rest) = text.strip_prefix('[') {
            section = rest.strip_suffix(']').ok_or(bad("a section has no closing ]"))?.trim().to_string();
            continue;
        }
        let (key, value) = text.split_once('=').ok_or(bad("neither a [section] nor key = value"))?;
        let key = key.trim().trim_matches('"');
        if key.is_empty() {
            return Err(bad("there is no key before ="));
        }
        if fragments.iter().any(|f| f.section == section && f.key == key) {
            return Err(bad("the key is set twice in this file"));
        }
        let value = value.trim().replace('"', "");
        fragments.push(Fragment { section: section.clone(), key: key.to_string(), value, line });
    }
    Ok(fragments)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(text: &str) -> Vec<(String, String, String)> {
        let parsed = parse(Path::new("f"), text).unwrap();
        parsed.into_iter().map(|f| (f.section, f.key, f.value)).collect()
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
        ];
        for (text, (section, key, value)) in cases {
            let expected = vec![(section.to_string(), key.to_string(), value.to_string())];
            assert_eq!(values(text), expected, "{text:?}");
        }
    }

    #[test]
    fn a_line_that_does_not_parse_is_named() {
        for (text, line) in
            [("[tls\n", 1), ("[tls]\nserver\n", 2), ("[tls]\n= x\n", 2), ("[a]\nk=1\nk=2\n", 3)]
        {
            let error = parse(Path::new("/etc/sota/conf.d/9.toml"), text).unwrap_err().to_string();
            assert!(error.starts_with(&format!("/etc/sota/conf.d/9.toml:{line}: ")), "{error}");
        }
    }
}
