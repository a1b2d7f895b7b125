//! Whether this client can do its work here, and what to do if it cannot: before a device changes its client
//! (`takeover --check`), and after its configuration changed (`config check`).

mod certificate;
mod device;
mod server;

pub use device::{programs, units};

use super::Agent;
use crate::config::{Merged, Settings};

/// How much a finding matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// It works.
    Good,
    /// It works, and a person should know something.
    Warning,
    /// It does not work.
    Problem,
}

impl Level {
    /// As it is printed.
    pub fn name(self) -> &'static str {
        match self {
            Level::Good => "ok",
            Level::Warning => "warning",
            Level::Problem => "PROBLEM",
        }
    }
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// How it is.
    pub level: Level,
    /// Which part of the device: the first word that a script looks for.
    pub subject: &'static str,
    /// What was found, and what to do.
    pub text: String,
}

/// What is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// All of it, on the device: its server is asked, and its bootloader.
    Device,
    /// The files of a device or an image.
    Files,
    /// Configuration and certificates; the server is asked.
    Configuration,
}

/// Findings as they are made.
#[derive(Debug, Default)]
pub(super) struct Findings(Vec<Finding>);

impl Findings {
    fn add(&mut self, level: Level, subject: &'static str, text: impl Into<String>) {
        self.0.push(Finding { level, subject, text: text.into() });
    }

    fn good(&mut self, subject: &'static str, text: impl Into<String>) {
        self.add(Level::Good, subject, text);
    }

    fn warn(&mut self, subject: &'static str, text: impl Into<String>) {
        self.add(Level::Warning, subject, text);
    }

    fn problem(&mut self, subject: &'static str, text: impl Into<String>) {
        self.add(Level::Problem, subject, text);
    }
}

impl Agent {
    /// Everything that there is to say about this device, part by part. Changes nothing.
    pub fn fitness(&self, merged: &Merged, scope: Scope) -> Vec<Finding> {
        let settings = &self.settings;
        let mut findings = Findings::default();
        configuration(settings, merged, &mut findings);
        let is_image = scope == Scope::Files && !settings.old_database.exists() && !settings.state.exists();
        let old = if scope == Scope::Configuration || is_image {
            None
        } else {
            device::old_state(settings, &mut findings)
        };
        certificate::look(settings, old.as_ref(), is_image, self.now().unwrap_or(0), &mut findings);
        if scope != Scope::Configuration {
            device::look(settings, old.as_ref(), is_image, &mut findings);
        }
        if scope == Scope::Device {
            device::bootloader(self.bootloader.as_ref(), &mut findings);
            self.system(&mut findings);
        }
        server::look(settings, merged, old.as_ref(), scope, is_image, &mut findings);
        findings.0
    }

    fn system(&self, findings: &mut Findings) {
        if self.settings.primary_is_file() {
            return;
        }
        let commit = self.content().and_then(|content| content.current_commit());
        match commit {
            Ok(Some(commit)) => findings.good("system", format!("OSTree commit {commit} is running")),
            Ok(None) => findings
                .problem("system", "no OSTree deployment is running; this client updates nothing else"),
            Err(error) => findings.problem("system", error.to_string()),
        }
    }
}

/// Lines that are not read as they look, and settings that this client does not support.
fn configuration(settings: &Settings, merged: &Merged, findings: &mut Findings) {
    for warning in &settings.warnings {
        findings.warn("configuration", warning);
    }
    let tokens = merged.iter().filter(|(section, key, value)| {
        ["tls", "uptane"].contains(section) && key.ends_with("_source") && value.text == "pkcs11"
    });
    for (section, key, value) in tokens {
        findings.problem(
            "token",
            format!(
                "{}:{}: {section}.{key}: keys in a PKCS#11 token are not supported; provision this device with files, or keep its old client",
                value.file.display(),
                value.line
            ),
        );
    }
    if let Some(kind) = merged.get("pacman", "type").map(|v| v.text.as_str())
        && !["", "ostree", "none", "ostree+compose_apps"].contains(&kind)
    {
        findings.problem(
            "configuration",
            format!("pacman.type = {kind:?} is not known here; ostree, ostree+compose_apps and none are"),
        );
    }
    if findings.0.is_empty() {
        findings.good("configuration", "every line is read as it looks");
    }
}
