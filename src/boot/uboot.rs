//! U-Boot's environment, through `fw_printenv` and `fw_setenv`: redundancy and checksums are theirs.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use super::{BootError, BootState, Bootloader};

const SETENV: &str = "fw_setenv";
const PRINTENV: &str = "fw_printenv";
const VARIABLES: [&str; 4] = ["bootcount", "bootlimit", "upgrade_available", "rollback"];

/// The U-Boot of a device.
#[derive(Debug)]
pub struct Uboot {
    /// Whether it counts only while `upgrade_available` is 1.
    masked: bool,
    config: Option<PathBuf>,
}

impl Uboot {
    pub fn new(masked: bool, config: Option<PathBuf>) -> Uboot {
        Uboot { masked, config }
    }

    /// All variables in one write: between two writes a power cut would leave a state that nobody meant.
    fn write(&self, variables: &[(&str, &str)]) -> Result<(), BootError> {
        let present = self.read()?;
        if holds(&present, variables).is_ok() {
            return Ok(());
        }
        // libubootenv wants `name=value` in a script, u-boot-tools `name value`; each ignores the other's form
        // and still ends with 0. So the result is what counts.
        self.run_script(variables, '=')?;
        if holds(&self.read()?, variables).is_err() {
            self.run_script(variables, ' ')?;
        }
        holds(&self.read()?, variables)
    }

    fn run_script(&self, variables: &[(&str, &str)], separator: char) -> Result<(), BootError> {
        let text: String =
            variables.iter().map(|(name, value)| format!("{name}{separator}{value}\n")).collect();
        let path = std::env::temp_dir().join(format!("rust-ota-env-{}", std::process::id()));
        fs::write(&path, text)
            .map_err(|e| BootError::Script { path: path.clone(), reason: e.to_string() })?;
        let mut command = self.command(SETENV);
        command.arg("-s").arg(&path);
        let result = run(SETENV, command);
        let _ = fs::remove_file(&path);
        result.map(|_| ())
    }

    fn read(&self) -> Result<BTreeMap<String, String>, BootError> {
        let output = run(PRINTENV, self.command(PRINTENV))?;
        let pairs = output.lines().filter_map(|line| line.split_once('='));
        Ok(pairs
            .filter(|(name, _)| VARIABLES.contains(name))
            .map(|(name, value)| (name.to_string(), value.to_string()))
            .collect())
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.env_clear().env("PATH", search_path()).stdin(Stdio::null());
        if let Some(config) = &self.config {
            command.arg("-c").arg(config);
        }
        command
    }
}

impl Bootloader for Uboot {
    fn name(&self) -> &'static str {
        if self.masked { "uboot_masked" } else { "uboot_generic" }
    }

    fn state(&self) -> Result<BootState, BootError> {
        let variables = self.read()?;
        let number = |name: &str| variables.get(name).and_then(|v| v.parse::<u32>().ok());
        let is_one = |name: &str| number(name) == Some(1);
        // Boards without a counting script go back by `altbootcmd`, and leave only the count behind.
        let counted_out =
            number("bootcount").zip(number("bootlimit")).is_some_and(|(count, limit)| count > limit);
        Ok(BootState {
            trial: is_one("upgrade_available"),
            rolled_back: Some(is_one("rollback") || counted_out),
            variables: variables.into_iter().collect(),
        })
    }

    fn arm(&self) -> Result<(), BootError> {
        let all = [("bootcount", "0"), ("rollback", "0"), ("upgrade_available", "1")];
        self.write(if self.masked { &all } else { &all[..2] })
    }

    fn confirm(&self) -> Result<(), BootError> {
        let all = [("bootcount", "0"), ("rollback", "0"), ("upgrade_available", "0")];
        self.write(if self.masked { &all } else { &all[..2] })
    }
}

fn run(program: &'static str, mut command: Command) -> Result<String, BootError> {
    let output = command.output().map_err(|e| BootError::Program { program, reason: e.to_string() })?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let text = String::from_utf8_lossy(&output.stderr);
    let text = if text.trim().is_empty() { output.status.to_string() } else { text.trim().to_string() };
    Err(BootError::Failed { program, output: text })
}

fn holds(present: &BTreeMap<String, String>, wanted: &[(&str, &str)]) -> Result<(), BootError> {
    for (name, value) in wanted {
        let found = present.get(*name).map(String::as_str).unwrap_or_default();
        if found != *value {
            return Err(BootError::NotKept {
                variable: name.to_string(),
                wanted: value.to_string(),
                found: found.to_string(),
            });
        }
    }
    Ok(())
}

/// The tools live in /usr/bin or /usr/sbin, depending on the distribution; a unit's PATH may lack the latter.
fn search_path() -> String {
    let inherited = std::env::var("PATH").unwrap_or_default();
    format!("{inherited}:/usr/sbin:/usr/bin:/sbin:/bin")
}
