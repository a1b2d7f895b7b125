//! What the bootloader is told about a trial boot, and what it tells back.

mod fio;
pub mod firmware;
pub mod grub;
mod program;
pub mod uboot;

use std::fmt;
use std::path::{Path, PathBuf};

use crate::config::{RollbackMode, Settings};

/// What the boot script counts with.
const TRIAL_VARIABLES: [&str; 4] = ["bootcount", "bootlimit", "upgrade_available", "rollback"];
/// What it keeps of its own firmware.
const FIRMWARE_VARIABLES: [&str; 3] =
    ["bootfirmware_version", "bootupgrade_available", "rollback_protection"];

/// What a bootloader keeps over a boot.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BootState {
    /// Whether the running boot is on trial.
    pub trial: bool,
    /// Whether the bootloader gave the newest deployment up. `None`: it keeps no record of that.
    pub rolled_back: Option<bool>,
    /// The variables behind it, for a person.
    pub variables: Vec<(String, String)>,
}

impl BootState {
    /// Whether the variable is set that only an update sets.
    pub fn is_announced(&self) -> bool {
        self.variables.iter().any(|(name, value)| name == "upgrade_available" && value == "1")
    }

    /// What the variables of a counting boot script mean.
    fn of(mut variables: Vec<(String, String)>) -> BootState {
        variables.sort();
        let value = |name: &str| variables.iter().find(|(n, _)| n == name).map(|(_, v)| v);
        let number = |name: &str| value(name).and_then(|v| v.parse::<u32>().ok());
        // Boards without a counting script go back by `altbootcmd`, and leave only the count behind.
        let counted_out =
            number("bootcount").zip(number("bootlimit")).is_some_and(|(count, limit)| count > limit);
        BootState {
            trial: number("upgrade_available") == Some(1),
            rolled_back: Some(number("rollback") == Some(1) || counted_out),
            variables,
        }
    }
}

/// A bootloader that can try a deployment and fall back.
pub trait Bootloader: fmt::Debug {
    /// Short name for status.
    fn name(&self) -> &'static str;
    /// Reads what it keeps.
    fn state(&self) -> Result<BootState, BootError>;
    /// Whether it could be told of a trial: asked before anything is fetched.
    fn ready(&self) -> Result<(), BootError> {
        Ok(())
    }
    /// Before a deployment is written: the next boot is on trial.
    fn arm(&self) -> Result<(), BootError>;
    /// This boot is good: nothing is on trial and nothing is rolled back any more.
    fn confirm(&self) -> Result<(), BootError>;
    /// Whether its script writes boot firmware when it is told that there is another one.
    fn writes_firmware(&self) -> bool {
        false
    }
    /// After a deployment is written that brings another firmware.
    fn offer_firmware(&self, _deployment: &Path) -> Result<(), BootError> {
        Ok(())
    }
}

/// The bootloader that the settings name.
pub fn bootloader(settings: &Settings) -> Box<dyn Bootloader> {
    match settings.rollback_mode {
        _ if settings.primary_is_file() => Box::new(NoBootloader),
        RollbackMode::None => Box::new(NoBootloader),
        RollbackMode::UbootGeneric => Box::new(uboot::Uboot::new(false, settings.fw_env_config.clone())),
        RollbackMode::Fiovb => Box::new(fio::FIOVB),
        RollbackMode::Fioefi => Box::new(fio::FIOEFI),
        RollbackMode::Grub => Box::new(grub::Grub::new(settings.grub_env.clone())),
        RollbackMode::UbootMasked => Box::new(uboot::Uboot::new(true, settings.fw_env_config.clone())),
    }
}

/// What counts boots here, where the configuration cannot say: the first whose variables can be read and are those of an update.
pub fn found(settings: &Settings) -> RollbackMode {
    let candidates = [
        (RollbackMode::UbootMasked, "upgrade_available"),
        (RollbackMode::UbootGeneric, "bootcount"),
        (RollbackMode::Fiovb, "upgrade_available"),
        (RollbackMode::Fioefi, "upgrade_available"),
        (RollbackMode::Grub, "upgrade_available"),
    ];
    let fits = |(mode, wanted): &(RollbackMode, &str)| {
        let state = bootloader(&Settings { rollback_mode: *mode, ..settings.clone() }).state();
        state.is_ok_and(|state| state.variables.iter().any(|(name, _)| name == wanted))
    };
    candidates.into_iter().find(fits).map_or(RollbackMode::None, |(mode, _)| mode)
}

/// A warning for a device whose bootloader counts trial boots, while the settings say that it does not.
pub fn unused_record(settings: &Settings) -> Option<String> {
    if settings.rollback_mode != RollbackMode::None || settings.primary_is_file() {
        return None;
    }
    let found = found(settings);
    let mode = bootloader(&Settings { rollback_mode: found, ..settings.clone() }).name();
    (found != RollbackMode::None).then(|| {
        format!(
            "bootloader.rollback_mode is none, but the bootloader of this device counts boots: a system that does not come \
             up is not rolled back; set it to {mode}"
        )
    })
}

/// A device without boot counting.
#[derive(Debug)]
struct NoBootloader;

impl Bootloader for NoBootloader {
    fn name(&self) -> &'static str {
        "none"
    }

    fn state(&self) -> Result<BootState, BootError> {
        Ok(BootState::default())
    }

    fn arm(&self) -> Result<(), BootError> {
        Ok(())
    }

    fn confirm(&self) -> Result<(), BootError> {
        Ok(())
    }
}

/// Why the bootloader could not be asked or told.
#[derive(Debug)]
#[non_exhaustive]
pub enum BootError {
    /// A program is missing or did not start.
    Program {
        /// Its name.
        program: &'static str,
        /// What the kernel said.
        reason: String,
    },
    /// A program ended with an error.
    Failed {
        /// Its name.
        program: &'static str,
        /// What it printed.
        output: String,
    },
    /// U-Boot's environment was never saved, or is damaged: the programs show defaults.
    NeverSaved {
        /// What the program said.
        output: String,
    },
    /// A variable was written and reads back as something else.
    NotKept {
        /// The variable.
        variable: String,
        /// What was written.
        wanted: String,
        /// What is read now.
        found: String,
    },
    /// GRUB's environment block cannot be read or written.
    Environment {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A program did not end, and was killed.
    Late {
        /// Its name.
        program: &'static str,
    },
}

impl fmt::Display for BootError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BootError::Program { program, reason } => write!(
                f,
                "cannot run {program}: {reason}; install it, or set bootloader.rollback_mode to what this device has"
            ),
            BootError::Failed { program, output } => write!(
                f,
                "{program} failed: {output}; check /etc/fw_env.config and that the environment's place is writable"
            ),
            BootError::NeverSaved { output } => write!(
                f,
                "U-Boot's environment is not there or damaged ({output}), and a write would replace the board's variables by defaults; run saveenv once at U-Boot's prompt, or correct the place and size in /etc/fw_env.config"
            ),
            BootError::NotKept { variable, wanted, found } => write!(
                f,
                "the boot environment did not keep {variable}={wanted} (it reads {found:?}); check /etc/fw_env.config"
            ),
            BootError::Environment { path, reason } => write!(
                f,
                "{}: {reason}; make it with grub-editenv create, or set rust_ota.grub_env to where it is",
                path.display()
            ),
            BootError::Late { program } => write!(
                f,
                "{program} did not end and was killed; look whether its device answers and who holds its lock file"
            ),
        }
    }
}

impl std::error::Error for BootError {}
