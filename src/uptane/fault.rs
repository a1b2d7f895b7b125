//! Why an assignment is refused. One variant a rule, so that each can be tested and told apart.

use std::fmt;

use super::class::{Class, is_delegated};
use crate::tuf::{Reason, Rejection};

/// Which of the two repositories.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Repository {
    /// Says which ECU is to have which Target.
    Director,
    /// Says which Targets there are.
    Image,
}

/// The rule that was broken. Nothing is downloaded then.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
#[allow(missing_docs, reason = "the fields are what the sentence above them says: expected and got")]
pub enum Fault {
    /// A metadata file broke a rule of its own repository.
    Rejected { repository: Repository, rejection: Rejection },
    /// The Director's targets are older than ones that were accepted before, empty ones included.
    DirectorRollback { trusted: u64, got: u64 },
    /// The Director delegates. It must not: nobody else may say what an ECU is to have.
    DirectorDelegation { role: String },
    /// The Director gives one ECU two Targets.
    RepeatedEcu { serial: String },
    /// `custom` of a Target cannot be read.
    Custom { repository: Repository, target: String, detail: String },
    /// A Target is assigned to an ECU that is not here.
    UnknownEcu { target: String, serial: String },
    /// The Director names another hardware id than the ECU has.
    WrongHardware { target: String, serial: String, expected: String, got: String },
    /// The Target has the name of the installed one and other content.
    ContentChanged { target: String },
    /// The Target's release counter is below that of the installed one.
    ReleaseCounter { target: String, installed: u64, got: u64 },
    /// No role of the Image repository that may speak for the Target knows it.
    NotInImageRepository { target: String },
    /// The two repositories give different lengths.
    LengthDiffers { target: String, director: u64, image: u64 },
    /// One of them gives no sha256, so that there is nothing to compare.
    NoSha256 { target: String, repository: Repository },
    /// The two repositories give different hashes.
    HashDiffers { target: String, algorithm: String },
    /// The Image repository does not make the Target for this hardware id.
    HardwareNotListed { target: String, hardware_id: String, listed: Vec<String> },
    /// The two repositories give different release counters.
    CounterDiffers { target: String, director: u64, image: u64 },
}

impl Fault {
    /// An answer that is no metadata at all, and says nothing about the repository.
    pub fn is_no_metadata(&self) -> bool {
        matches!(self, Fault::Rejected { rejection, .. } if matches!(rejection.reason, Reason::Json { .. }))
    }

    /// The error class.
    pub fn class(&self) -> Class {
        match self {
            // A role that has expired says nothing any more, so the Target is in one repository only.
            Fault::Rejected { repository: Repository::Image, rejection }
                if matches!(rejection.reason, Reason::Expired { .. }) && is_delegated(&rejection.file) =>
            {
                Class::TargetMismatch
            }
            Fault::Rejected { rejection, .. } => Class::of(rejection),
            Fault::DirectorRollback { .. } | Fault::ReleaseCounter { .. } => Class::SecurityException,
            Fault::DirectorDelegation { .. } | Fault::RepeatedEcu { .. } | Fault::Custom { .. } => {
                Class::InvalidMetadata
            }
            Fault::UnknownEcu { .. } => Class::BadEcuId,
            Fault::WrongHardware { .. } => Class::BadHardwareId,
            Fault::ContentChanged { .. } => Class::TargetContentMismatch,
            Fault::NotInImageRepository { .. }
            | Fault::LengthDiffers { .. }
            | Fault::NoSha256 { .. }
            | Fault::HashDiffers { .. }
            | Fault::HardwareNotListed { .. }
            | Fault::CounterDiffers { .. } => Class::TargetMismatch,
        }
    }
}

impl fmt::Display for Repository {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Repository::Director => "Director",
            Repository::Image => "Image repository",
        })
    }
}

impl std::error::Error for Fault {}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::Rejected { repository, rejection } => write!(f, "{repository}: {rejection}"),
            Fault::DirectorRollback { trusted, got } => write!(
                f,
                "Director: targets.json: version {trusted} or later expected, got {got}; an older state is served: restore the newest one, or rotate the Director's targets key if versions have to start again"
            ),
            Fault::DirectorDelegation { role } => write!(
                f,
                "Director: targets.json: no delegation expected, got one to {role:?}; a Director must not delegate"
            ),
            Fault::RepeatedEcu { serial } => write!(
                f,
                "Director: targets.json: one Target for each ECU expected, got two for {serial:?}; assign one"
            ),
            Fault::Custom { repository, target, detail } => write!(
                f,
                "{repository}: targets.json: custom of {target:?} is not in the expected form: {detail}; correct the entry"
            ),
            Fault::UnknownEcu { target, serial } => write!(
                f,
                "Director: {target:?} is assigned to the ECU {serial:?}, which is not here; assign it to the serial that the device registered"
            ),
            Fault::WrongHardware { target, serial, expected, got } => write!(
                f,
                "Director: {target:?} for the ECU {serial:?}: hardware id {expected:?} expected, got {got:?}; correct the assignment"
            ),
            _ => self.fmt_target(f),
        }
    }
}

impl Fault {
    /// The rules about one Target.
    fn fmt_target(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::ContentChanged { target } => {
                write!(f, "Director: {target:?} is installed with other content; give new content a new name")
            }
            Fault::ReleaseCounter { target, installed, got } => write!(
                f,
                "{target:?}: release counter {installed} or higher expected, got {got} (none is 0); an older image is assigned: assign a newer one"
            ),
            Fault::NotInImageRepository { target } => write!(
                f,
                "{target:?} is assigned and no role of the Image repository that may speak for it has it; publish it there"
            ),
            Fault::LengthDiffers { target, director, image } => write!(
                f,
                "{target:?}: {director} bytes expected as the Director says, the Image repository says {image}; assign it again"
            ),
            Fault::NoSha256 { target, repository } => write!(
                f,
                "{target:?}: a sha256 expected in the {repository}, got none; publish the Target again"
            ),
            Fault::HashDiffers { target, algorithm } => write!(
                f,
                "{target:?}: the {algorithm} of the Director and that of the Image repository expected to be equal, and they differ; assign it again"
            ),
            Fault::HardwareNotListed { target, hardware_id, listed } => write!(
                f,
                "{target:?}: hardware id {hardware_id:?} expected in the Image repository, got {listed:?}; it is made for other hardware"
            ),
            Fault::CounterDiffers { target, director, image } => write!(
                f,
                "{target:?}: release counter {director} expected as the Director says, the Image repository says {image}; assign it again"
            ),
            _ => Ok(()),
        }
    }
}
