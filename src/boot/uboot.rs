//! U-Boot's environment, through `fw_printenv` and `fw_setenv`: redundancy and checksums are theirs.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::program::{command, run_both};
use super::{BootError, BootState, Bootloader, FIRMWARE_VARIABLES, TRIAL_VARIABLES};
use crate::store::atomic::cut_here;

const SETENV: &str = "fw_setenv";
const PRINTENV: &str = "fw_printenv";
/// Of both programs, in every version of them.
const LOCK: &str = "/var/lock/fw_printenv.lock";

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
        let present = self.saved()?;
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

    /// The variables go through a pipe: a file would be one more thing that a full disk, or another user, could stop.
    fn run_script(&self, variables: &[(&str, &str)], separator: char) -> Result<(), BootError> {
        let text: String =
            variables.iter().map(|(name, value)| format!("{name}{separator}{value}\n")).collect();
        cut_here();
        let result = self.ask(SETENV, &["-s", "-"], &text);
        cut_here();
        result.map(|_| ())
    }

    fn read(&self) -> Result<BTreeMap<String, String>, BootError> {
        Ok(parse(&self.ask(PRINTENV, &[], "")?.0))
    }

    /// What is really in the environment. Where that was never saved, or its checksum is wrong, both programs print
    /// defaults of their own, and a write would put those in place of the board's variables.
    fn saved(&self) -> Result<BTreeMap<String, String>, BootError> {
        let (output, said) = self.ask(PRINTENV, &[], "")?;
        if is_default(&said) {
            return Err(BootError::NeverSaved { output: printable(&said) });
        }
        Ok(parse(&output))
    }

    /// Both programs wait for one lock file, and a user may hold that. One that somebody held for so long is not for the
    /// programs' own short work.
    fn ask(
        &self,
        program: &'static str,
        arguments: &[&str],
        input: &str,
    ) -> Result<(String, String), BootError> {
        let once = || {
            let mut command = command(program);
            if let Some(config) = &self.config {
                command.arg("-c").arg(config);
            }
            command.args(arguments);
            run_both(program, command, input)
        };
        match once() {
            Err(error) if is_in_the_way(&error) && fs::remove_file(LOCK).is_ok() => {
                log::warn!("{error}; {LOCK} was in the way, and is made anew");
                once()
            }
            Err(BootError::Failed { output, .. }) if is_default(&output) => {
                Err(BootError::NeverSaved { output: printable(&output) })
            }
            done => done,
        }
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

    fn ready(&self) -> Result<(), BootError> {
        self.saved().map(|_| ())
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

/// u-boot-tools: "Bad CRC, using default environment"; libubootenv: "Cannot read environment, using default".
fn is_default(said: &str) -> bool {
    said.to_ascii_lowercase().contains("using default")
}

/// What a program said, as one line of a message.
fn printable(said: &str) -> String {
    said.trim().chars().take(300).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// Whether the lock file may be what stopped a program: another user's cannot be opened in a folder that all may write to.
fn is_in_the_way(error: &BootError) -> bool {
    let foreign = || fs::symlink_metadata(LOCK).is_ok_and(|lock| lock.uid() != 0 || !lock.is_file());
    matches!(error, BootError::Late { .. }) || matches!(error, BootError::Failed { .. }) && foreign()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_told_from_what_was_saved() {
        assert!(is_default("Warning: Bad CRC, using default environment\n"));
        assert!(is_default("Cannot read environment, using default\n"));
        assert!(!is_default("## Error: \"x\" not defined\n"));
        assert!(!is_default(""));
    }
}
