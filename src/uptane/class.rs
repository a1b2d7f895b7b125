//! The error classes that servers and tools of this protocol know.

use std::fmt;

use crate::tuf::{Reason, Rejection};

/// What kind of failure it is, by the name that test suites and log readers look for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are the documentation; docs/uptane.md has the table")]
pub enum Class {
    MetadataFetchFailure,
    UnmetThreshold,
    ExpiredMetadata,
    InvalidMetadata,
    NonUniqueSignatures,
    BadKeyId,
    IllegalThreshold,
    SecurityException,
    RootRotationError,
    VersionMismatch,
    TargetMismatch,
    TargetContentMismatch,
    TargetHashMismatch,
    OversizedTarget,
    BadEcuId,
    BadHardwareId,
    DelegationHashMismatch,
    DelegationMissing,
    /// The image did not come: nothing is known to be wrong with it.
    TargetFetchFailure,
    /// This device's disk or settings: nothing is known to be wrong with the servers.
    LocalFailure,
}

impl Class {
    /// The class of a refused metadata file.
    pub fn of(rejection: &Rejection) -> Class {
        match &rejection.reason {
            // Who signs once and wrongly holds another key; who signs less often than needed forgot somebody.
            Reason::Unsigned { valid: 0, signatures: 1, .. } => Class::BadKeyId,
            Reason::Unsigned { .. } => Class::UnmetThreshold,
            Reason::TooLarge { .. } => Class::MetadataFetchFailure,
            Reason::Expired { .. } => Class::ExpiredMetadata,
            Reason::DuplicateSignature { .. } => Class::NonUniqueSignatures,
            Reason::ThresholdRange { .. } => Class::IllegalThreshold,
            Reason::RootVersion { .. } => Class::RootRotationError,
            Reason::NotListed { .. } | Reason::VersionMismatch { .. } => Class::VersionMismatch,
            Reason::LengthMismatch { .. } | Reason::HashMismatch { .. } if is_delegated(&rejection.file) => {
                Class::DelegationHashMismatch
            }
            Reason::Json { .. }
            | Reason::Shape { .. }
            | Reason::SpecVersion { .. }
            | Reason::VersionRange { .. }
            | Reason::ExpiresFormat { .. }
            | Reason::RoleMissing { .. }
            | Reason::TooManySignatures { .. }
            | Reason::TooManyKeys { .. }
            | Reason::DelegationKind { .. }
            | Reason::DuplicateRole { .. }
            | Reason::RoleName { .. }
            | Reason::NoUsableHash { .. } => Class::InvalidMetadata,
            _ => Class::SecurityException,
        }
    }
}

/// Whether a file is a delegated role's, by the name that its delegator lists.
pub(super) fn is_delegated(file: &str) -> bool {
    !matches!(file, "timestamp.json" | "snapshot.json" | "targets.json" | "root.json")
        && !file.ends_with(".root.json")
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The variants are named as the classes are.
        fmt::Debug::fmt(self, f)
    }
}
