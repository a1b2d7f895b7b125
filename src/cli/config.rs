//! `rust-ota config show`: every value and the file it came from.

use std::path::PathBuf;

use crate::config::{ConfigError, Merged, Settings, load, report};

/// What `config show` prints. Values that are secrets are not shown.
pub fn show(paths: &[PathBuf]) -> Result<String, ConfigError> {
    let (merged, settings) = load(paths)?;
    Ok(render(&merged, &settings))
}

fn render(merged: &Merged, settings: &Settings) -> String {
    let mut text = String::new();
    let mut current = "";
    for (section, key, value) in merged.iter() {
        if section != current {
            text.push_str(&format!("[{section}]\n"));
            current = section;
        }
        let shown =
            if is_secret(key) { "(set, not shown)".to_string() } else { report::shown(key, &value.text) };
        text.push_str(&format!("{key} = \"{shown}\"  # {}:{}\n", value.file.display(), value.line));
    }
    if !settings.warnings.is_empty() {
        text.push_str("\n# Warnings\n");
    }
    for warning in &settings.warnings {
        text.push_str(&format!("# {warning}\n"));
    }
    text.push_str("\n# In force, defaults included\n");
    for (name, value) in in_force(settings) {
        text.push_str(&format!("# {name}: {}\n", report::shown(name, &value)));
    }
    text
}

fn in_force(s: &Settings) -> Vec<(&'static str, String)> {
    let or_none = |o: &Option<String>| o.clone().unwrap_or_else(|| "(not set)".to_string());
    let path =
        |o: &Option<PathBuf>| o.as_ref().map_or("(not found)".to_string(), |p| p.display().to_string());
    vec![
        ("what to be", format!("{:?}", s.director.trust).to_lowercase()),
        ("Director", or_none(&s.director.server)),
        ("metadata from", or_none(&s.repo_server)),
        ("content from", or_none(&s.ostree_server)),
        ("metadata dialect", format!("{:?}", s.metadata).to_lowercase()),
        ("trusted root", s.root.display().to_string()),
        ("CA certificate", path(&s.authorities())),
        ("device certificate", path(&s.identity().map(|(c, _)| c))),
        ("hardware id", s.hardware_id.clone()),
        ("tags", if s.tags.is_empty() { "(all)".to_string() } else { s.tags.join(",") }),
        ("polling", format!("every {} s", s.polling_sec)),
        ("rollback mode", format!("{:?}", s.rollback_mode)),
        ("state", s.state.display().to_string()),
    ]
}

fn is_secret(key: &str) -> bool {
    ["pass", "p12_password", "token", "secret"].contains(&key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_login_is_shown() {
        let mut merged = Merged::default();
        let text = "[tls]\nserver = https://u:hush@h/x\n[network]\nproxy = u:hush@p:1\n[p11]\npass = hush\n";
        merged.apply(std::path::Path::new("/etc/a.toml"), text).unwrap();
        let shown = render(&merged, &Settings::from_merged(&merged).unwrap());
        assert!(!shown.contains("hush") && shown.contains("(withheld)@h/x"), "{shown}");
    }
}
