//! The files that people and other programs write on a device.

use std::path::Path;

use rust_ota::config::{Merged, Settings, parse};

/// Section, key and value of each line, as bytes.
type Lines = Vec<(Vec<u8>, Vec<u8>, Vec<u8>)>;

/// Any bytes as a fragment: where the model of Boost's reader takes them, the same is read, but for quotes, and for bytes that are
/// no UTF-8. What it does not take may be read here; what is refused here is refused there.
pub fn config(data: &[u8]) {
    let path = Path::new("/etc/sota/conf.d/9.toml");
    let model = boost(data);
    let parsed = match parse(path, data) {
        Ok(parsed) => parsed,
        Err(error) => {
            assert!(error.to_string().starts_with("/etc/sota/conf.d/9.toml:"), "{error}");
            assert!(model.is_none() || data.starts_with(b"\xef\xbb\xbf"), "{error}");
            return;
        }
    };
    for fragment in &parsed.fragments {
        assert!(!fragment.value.contains('"') && !fragment.value.contains('\n'), "{fragment:?}");
    }
    if let Some(lines) = model.filter(|_| !data.starts_with(b"\xef\xbb\xbf")) {
        assert_eq!(lines.len(), parsed.fragments.len());
        for ((section, key, value), read) in lines.iter().zip(&parsed.fragments) {
            let plain: Vec<u8> = value.iter().copied().filter(|byte| *byte != b'"').collect();
            let pairs = [(section, &read.section), (key, &read.key), (value, &read.raw), (&plain, &read.value)];
            for (bytes, text) in pairs {
                let latin: String = bytes.iter().map(|byte| char::from(*byte)).collect();
                assert!(text.as_bytes() == &bytes[..] || *text == latin, "{bytes:?} is not {text:?}");
            }
        }
    }
    let mut merged = Merged::default();
    merged.apply(path, data).unwrap();
    match Settings::from_merged(&merged) {
        Err(error) => assert!(error.to_string().contains("9.toml:"), "{error}"),
        Ok(settings) => assert!(settings.warnings.iter().all(|w| w.contains("9.toml:"))),
    }
}

/// `read_ini` of Boost's property tree, by its documentation and behavior; none where it throws.
fn boost(data: &[u8]) -> Option<Lines> {
    let (mut lines, mut section): (Lines, Option<Vec<u8>>) = (Vec::new(), None);
    let mut sections: Vec<Vec<u8>> = Vec::new();
    for line in data.split(|byte| *byte == b'\n') {
        let line = trimmed(line);
        match line.first() {
            None | Some(b';' | b'#') => {}
            Some(b'[') => {
                // A section without a key does not stay.
                if section.take().is_some_and(|s| !lines.iter().any(|l| l.0 == s)) {
                    sections.pop();
                }
                let end = line.iter().position(|byte| *byte == b']')?;
                let name = trimmed(&line[1..end]).to_vec();
                if sections.contains(&name) {
                    return None;
                }
                sections.push(name.clone());
                section = Some(name);
            }
            Some(_) => {
                let equals = line.iter().position(|byte| *byte == b'=').filter(|at| *at > 0)?;
                let key = trimmed(&line[..equals]).to_vec();
                let section = section.clone().unwrap_or_default();
                if lines.iter().any(|l| l.0 == section && l.1 == key) {
                    return None;
                }
                lines.push((section, key, trimmed(&line[equals + 1..]).to_vec()));
            }
        }
    }
    Some(lines)
}

/// Without the blanks of C at both ends.
fn trimmed(mut line: &[u8]) -> &[u8] {
    let blank = |byte: &u8| matches!(byte, b' ' | 9..=13);
    while line.first().is_some_and(blank) {
        line = &line[1..];
    }
    while line.last().is_some_and(blank) {
        line = &line[..line.len() - 1];
    }
    line
}
