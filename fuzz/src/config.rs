//! The files that people and other programs write on a device.

use std::path::Path;

use rust_ota::config::{Merged, Settings, parse};

/// Any text as a fragment: a value holds no `"` and no blank at its ends, a line is named once, and what is read is
/// read the same when it is written out plainly.
pub fn config(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let path = Path::new("/etc/sota/conf.d/9.toml");
    let parsed = match parse(path, &text) {
        Ok(parsed) => parsed,
        Err(error) => {
            assert!(error.to_string().starts_with("/etc/sota/conf.d/9.toml:"), "{error}");
            return;
        }
    };
    let mut plain = String::new();
    for fragment in &parsed {
        assert!(!fragment.value.contains('"') && !fragment.value.contains('\n'), "{fragment:?}");
        let line = text.trim_start_matches('\u{feff}').lines().nth(fragment.line - 1);
        assert!(line.is_some_and(|l| l.contains('=')), "{fragment:?}");
        plain.push_str(&format!("[{}]\n\"{}\" = \"{}\"\n", fragment.section, fragment.key, fragment.value));
    }
    // A section's or key's own brackets, quotes and ends are another text when they are written plainly.
    let simple = |text: &str| text.chars().all(|c| c.is_alphanumeric() || c == '_');
    if parsed.iter().all(|f| simple(&f.section) && simple(&f.key)) {
        let again = parse(path, &plain).unwrap();
        let facts = |f: &rust_ota::config::Fragment| (f.section.clone(), f.key.clone(), f.value.trim().to_string());
        assert!(parsed.iter().map(facts).eq(again.iter().map(facts)), "{plain}");
    }
    let mut merged = Merged::default();
    merged.apply(path, &text).unwrap();
    if let Err(error) = Settings::from_merged(&merged) {
        assert!(error.to_string().contains("9.toml:"), "{error}");
    }
}
