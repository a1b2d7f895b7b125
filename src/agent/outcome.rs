//! What a step came to, and how it is said.

use std::fmt;

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
            Outcome::Cut(t) => {
                write!(f, "The installation of {} was cut before it was whole; it can be repeated", t.name)
            }
            Outcome::NothingPending => f.write_str("Nothing is pending"),
        }
    }
}
