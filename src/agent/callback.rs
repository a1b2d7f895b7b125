//! The callback program: it is told of each stage, in its environment, and cannot veto.
//!
//! No shell is involved: a Target's name or a server's error text is a value and never a command.

use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::config::Settings;
use crate::store::{StoreError, TargetRecord, atomic};

/// The program, and the file that says which Target runs.
#[derive(Debug)]
pub struct Callback {
    program: Option<PathBuf>,
    current_target: PathBuf,
}

/// What the program is told beside the stage.
#[derive(Debug, Clone, Copy, Default)]
pub struct Facts<'a> {
    /// Name of the Target that runs.
    pub current: Option<&'a str>,
    /// Name of the Target that is worked on.
    pub target: Option<&'a str>,
    /// What a stage that ended came to.
    pub result: Option<&'a str>,
}

impl Callback {
    /// Of these settings. A program that is not there is said once, and then left out.
    pub fn new(settings: &Settings) -> Callback {
        let program = settings.callback_program.clone().filter(|program| {
            let there = program.exists();
            if !there {
                log::error!(
                    "{}: pacman.callback_program does not exist; nothing is called",
                    program.display()
                );
            }
            there
        });
        Callback { program, current_target: settings.storage.join("current-target") }
    }

    /// Runs it and waits for it. What it prints goes to our stderr, so that JSON on stdout stays JSON.
    pub fn tell(&self, message: &str, facts: Facts<'_>) {
        let Some(program) = &self.program else { return };
        match self.command(program, message, facts).status() {
            Ok(status) if status.success() => log::debug!("{} {message}: done", program.display()),
            Ok(status) => log::warn!("{} {message}: {status}", program.display()),
            Err(error) => log::error!("cannot run {} for {message}: {error}", program.display()),
        }
    }

    fn command(&self, program: &Path, message: &str, facts: Facts<'_>) -> Command {
        let mut command = Command::new(program);
        command.stdin(Stdio::null()).stdout(Stdio::from(io::stderr()));
        command.env("MESSAGE", message).env("CURRENT_TARGET", &self.current_target);
        let values = [
            ("CURRENT_TARGET_NAME", facts.current),
            ("INSTALL_TARGET_NAME", facts.target),
            ("RESULT", facts.result),
        ];
        for (name, value) in values {
            match value {
                // A zero byte cannot be in an environment.
                Some(value) => command.env(name, value.replace('\0', " ")),
                None => command.env_remove(name),
            };
        }
        command
    }

    /// Whether the file that says which Target runs is there.
    pub fn has_current(&self) -> bool {
        self.current_target.exists()
    }

    /// Writes the file that says which Target runs, for programs that source it. Not written when it says so already.
    pub fn write_current(
        &self,
        target: &TargetRecord,
        tags: &[String],
        sources: &[(&'static str, String)],
    ) -> Result<(), StoreError> {
        let mut lines =
            vec![("TARGET_NAME", target.name.clone()), ("CUSTOM_VERSION", target.version.to_string())];
        lines.extend_from_slice(sources);
        lines.push(("TAG", tags.join(",")));
        let text: String =
            lines.iter().map(|(name, value)| format!("{name}=\"{}\"\n", quoted(value))).collect();
        if atomic::read(&self.current_target)?.is_some_and(|present| present == text.as_bytes()) {
            return Ok(());
        }
        atomic::write(&self.current_target, text.as_bytes())
    }
}

/// What means something to a shell between double quotes is escaped; a line stays a line.
fn quoted(value: &str) -> String {
    let mut text = String::new();
    for c in value.chars() {
        match c {
            '"' | '\\' | '$' | '`' => text.extend(['\\', c]),
            c if c.is_control() => text.push(' '),
            c => text.push(c),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn current_target_names_what_it_was_built_from() {
        let folder = std::env::temp_dir().join(format!("rust-ota-current-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let callback = Callback { program: None, current_target: folder.join("current-target") };
        let target = TargetRecord {
            name: "board-7".into(),
            version: 7,
            commit: "a".repeat(64),
            apps: Default::default(),
        };
        let sources = [("CONTAINERS_SHA", "dead$beef".to_string())];
        callback.write_current(&target, &["a".to_string(), "b".to_string()], &sources).unwrap();
        let text = std::fs::read_to_string(folder.join("current-target")).unwrap();
        let expected =
            "TARGET_NAME=\"board-7\"\nCUSTOM_VERSION=\"7\"\nCONTAINERS_SHA=\"dead\\$beef\"\nTAG=\"a,b\"\n";
        assert_eq!(text, expected);
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn nothing_is_left_for_a_shell() {
        assert_eq!(quoted("a$(reboot)\"`\n;b"), "a\\$(reboot)\\\"\\` ;b");
        let value = "name with 'quotes' \"and\" $HOME `id` \\ end";
        let script = format!("X=\"{}\"; printf %s \"$X\"", quoted(value));
        let output = Command::new("sh").args(["-c", &script]).output().unwrap();
        assert_eq!(String::from_utf8(output.stdout).unwrap(), value);
    }
}
