//! U-Boot's environment, through `fw_printenv` and `fw_setenv`: redundancy and checksums are theirs.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::{BootError, BootState, Bootloader, FIRMWARE_VARIABLES, TRIAL_VARIABLES};
use crate::store::atomic::cut_here;

const SETENV: &str = "fw_setenv";
const PRINTENV: &str = "fw_printenv";

/// The U-Boot of a device.
#[derive(Debug)]
pub struct Uboot {
    /// Whether it counts only while `upgrade_available` is 1.
    masked: bool,
    config: Option<PathBuf>,
}

impl Uboot {
    /// By what it counts, and where its environment is.
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
        cut_here();
        let result = run(SETENV, command);
        cut_here();
        let _ = fs::remove_file(&path);
        result.map(|_| ())
    }

    fn read(&self) -> Result<BTreeMap<String, String>, BootError> {
        let output = run(PRINTENV, self.command(PRINTENV))?;
        Ok(parse(&output))
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
        let state = BootState::of(self.read()?.into_iter().collect());
        // Every boot is counted there, and so every boot is confirmed, or the limit would be reached without an update.
        let counted = |(name, value): &(String, String)| name == "bootcount" && value != "0";
        let trial = state.trial || (!self.masked && state.variables.iter().any(counted));
        Ok(BootState { trial, ..state })
    }

    fn arm(&self) -> Result<(), BootError> {
        let all = [("bootcount", "0"), ("rollback", "0"), ("upgrade_available", "1")];
        self.write(if self.masked { &all } else { &all[..2] })
    }

    fn confirm(&self) -> Result<(), BootError> {
        let all = [("bootcount", "0"), ("rollback", "0"), ("upgrade_available", "0")];
        self.write(if self.masked { &all } else { &all[..2] })
    }

    fn writes_firmware(&self) -> bool {
        self.masked
    }

    fn offer_firmware(&self, _deployment: &Path) -> Result<(), BootError> {
        self.write(&[("bootupgrade_available", "1")])
    }
}

/// The variables that matter here, from what `fw_printenv` prints. A value with line ends cannot be told from more variables.
pub fn parse(output: &str) -> BTreeMap<String, String> {
    let known = |name: &&str| TRIAL_VARIABLES.contains(name) || FIRMWARE_VARIABLES.contains(name);
    let pairs = output.lines().filter_map(|line| line.split_once('=')).filter(|(name, _)| known(name));
    pairs.map(|(name, value)| (name.to_string(), value.to_string())).collect()
}

pub(super) fn run(program: &'static str, mut command: Command) -> Result<String, BootError> {
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
pub(super) fn search_path() -> String {
    let inherited = std::env::var("PATH").unwrap_or_default();
    format!("{inherited}:/usr/sbin:/usr/bin:/sbin:/bin")
}
