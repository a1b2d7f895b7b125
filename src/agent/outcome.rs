//! What a step came to, and how it is said.

use std::fmt;

use crate::cli::exit;
use crate::decide::Stay;
use crate::store::{KnownBad, TargetRecord};

/// What a step came to.
#[derive(Debug)]
pub enum Outcome {
    /// Nothing was to be done, or nothing could be.
    Stayed {
        /// The rule that said so.
        plan: Stay,
        /// For a person.
        reason: String,
    },
    /// The content is here.
    Downloaded(TargetRecord),
    /// The apps are here, and are started by finalize.
    AppsStaged(TargetRecord),
    /// Its apps did not come up.
    AppsFailed {
        /// The Target.
        target: TargetRecord,
        /// Which app did what.
        reason: String,
        /// What became of what ran before.
        back: Back,
    },
    /// Deployed; a reboot is needed.
    Installed(TargetRecord),
    /// Deployed earlier; the reboot has not happened.
    RebootNeeded(TargetRecord),
    /// The boot is good.
    Confirmed(Option<TargetRecord>),
    /// The boot is good, and one more confirms the boot firmware that came with it.
    FirmwareOnTrial(TargetRecord),
    /// Nothing is installed while the firmware of an earlier update is not confirmed.
    FirmwareUnconfirmed(TargetRecord),
    /// The bootloader went back.
    RolledBack(KnownBad),
    /// The bootloader went back, and what it went back from had been damaged on this device.
    Damaged(TargetRecord),
    /// The power was cut before the deployment was whole.
    Cut(TargetRecord),
    /// There was nothing to finalize.
    NothingPending,
}

/// What became of what ran before an update failed.
#[derive(Debug)]
pub enum Back {
    /// It runs again.
    Running,
    /// It is deployed again; a reboot is needed.
    Reboot(TargetRecord),
    /// It could not be brought back.
    Failed(String),
}

impl Outcome {
    /// The exit code of a command that ends with it.
    pub fn exit_code(&self) -> u8 {
        match self {
            Outcome::Stayed { plan, .. } => plan.exit_code(),
            Outcome::Downloaded(_) | Outcome::Confirmed(_) | Outcome::Cut(_) => exit::OK,
            Outcome::Installed(_) | Outcome::RebootNeeded(_) => exit::REBOOT_NEEDED,
            Outcome::FirmwareOnTrial(_) => exit::FIRMWARE_ON_TRIAL,
            Outcome::FirmwareUnconfirmed(_) => exit::FIRMWARE_UNCONFIRMED,
            Outcome::AppsStaged(_) => exit::APPS_STAGED,
            Outcome::RolledBack(_)
            | Outcome::Damaged(_)
            | Outcome::AppsFailed { back: Back::Running, .. } => exit::ROLLED_BACK,
            Outcome::AppsFailed { back: Back::Reboot(_), .. } => exit::ROLLBACK_NEEDS_REBOOT,
            Outcome::AppsFailed { back: Back::Failed(_), .. } => exit::ROLLBACK_FAILED,
            Outcome::NothingPending => exit::NOTHING_PENDING,
        }
    }

    /// Its word for programs, and the Target that it is about.
    pub fn word(&self) -> (&'static str, Option<&TargetRecord>) {
        match self {
            Outcome::Stayed { plan, .. } => (plan.word(), None),
            Outcome::Downloaded(target) => ("downloaded", Some(target)),
            Outcome::Installed(target) => ("installed", Some(target)),
            Outcome::RebootNeeded(target) => ("reboot-needed", Some(target)),
            Outcome::Confirmed(target) => ("confirmed", target.as_ref()),
            Outcome::FirmwareOnTrial(target) => ("firmware-on-trial", Some(target)),
            Outcome::FirmwareUnconfirmed(target) => ("firmware-unconfirmed", Some(target)),
            Outcome::AppsStaged(target) => ("apps-staged", Some(target)),
            Outcome::AppsFailed { target, .. } => ("apps-failed", Some(target)),
            Outcome::RolledBack(bad) => ("rolled-back", Some(&bad.target)),
            Outcome::Damaged(target) => ("damaged", Some(target)),
            Outcome::Cut(target) => ("cut", Some(target)),
            Outcome::NothingPending => ("nothing-pending", None),
        }
    }
}

impl Stay {
    /// The exit code of a command that ends with it.
    pub fn exit_code(&self) -> u8 {
        match self {
            Stay::UpToDate(_) | Stay::KnownBad { .. } | Stay::Older { .. } => exit::OK,
            Stay::Pending(_) => exit::PENDING,
            Stay::NoneVisible { .. } => exit::NO_MATCHING_TARGET,
            Stay::NotFound(_) => exit::TARGET_NOT_FOUND,
            Stay::NoRollbackTarget(_) => exit::NO_ROLLBACK_TARGET,
        }
    }

    /// Its word for programs.
    pub fn word(&self) -> &'static str {
        match self {
            Stay::UpToDate(_) => "up-to-date",
            Stay::KnownBad { .. } => "known-bad",
            Stay::Older { .. } => "older",
            Stay::Pending(_) => "pending",
            Stay::NoneVisible { .. } => "none-visible",
            Stay::NotFound(_) => "not-found",
            Stay::NoRollbackTarget(_) => "no-rollback-target",
        }
    }
}

/// In a sentence that says what comes next.
impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Outcome::Stayed { reason, .. } => f.write_str(reason),
            Outcome::Downloaded(t) => {
                write!(f, "{} is on the device, whole; install it when you like", t.name)
            }
            Outcome::AppsStaged(t) => {
                write!(f, "The apps of {} are on the device; run finalize to start them", t.name)
            }
            Outcome::AppsFailed { target, reason, back } => {
                write!(f, "{} failed: {reason}; ", target.name)?;
                match back {
                    Back::Running => f.write_str("what ran before runs again"),
                    Back::Reboot(t) => write!(f, "{} is deployed again; reboot to start it", t.name),
                    Back::Failed(reason) => write!(f, "what ran before could not be brought back: {reason}"),
                }
            }
            Outcome::Installed(t) => write!(f, "{} is installed; reboot to start it", t.name),
            Outcome::RebootNeeded(t) => {
                write!(f, "{} is installed and not booted yet; reboot to start it", t.name)
            }
            Outcome::Confirmed(Some(t)) => write!(f, "{} runs and its boot is confirmed", t.name),
            Outcome::Confirmed(None) => f.write_str("This boot is confirmed; no Target was pending"),
            Outcome::FirmwareOnTrial(t) => {
                write!(
                    f,
                    "{} runs and its boot is confirmed; reboot once more to confirm its boot firmware",
                    t.name
                )
            }
            Outcome::FirmwareUnconfirmed(t) => write!(
                f,
                "{} is not installed: the boot firmware of an earlier update is not confirmed yet; reboot and repeat",
                t.name
            ),
            Outcome::RolledBack(bad) => write!(
                f,
                "{} did not come up: {}; it is known to be bad now and is not tried again by itself",
                bad.target.name, bad.reason
            ),
            Outcome::Damaged(t) => write!(
                f,
                "{} did not come up, and objects of it were damaged on this device; they are fetched again with the next update",
                t.name
            ),
            Outcome::Cut(t) => {
                write!(f, "The installation of {} was cut before it was whole; it can be repeated", t.name)
            }
            Outcome::NothingPending => f.write_str("Nothing is pending"),
        }
    }
}
