//! The exit codes. They are those that scripts around aktualizr-lite know.

/// Done, or nothing to do.
pub const OK: u8 = 0;
/// Anything that has no code of its own.
pub const ERROR: u8 = 1;
/// Nothing to do, by the metadata of an earlier check.
pub const OK_CACHED: u8 = 3;
/// The metadata could not be refreshed.
pub const CHECK_FAILED: u8 = 4;
/// The boot is confirmed; one more reboot confirms the boot firmware.
pub const FIRMWARE_ON_TRIAL: u8 = 5;
/// No Target for this hardware id and these tags.
pub const NO_MATCHING_TARGET: u8 = 6;
/// The apps are on the device and wait for `finalize`; no reboot is needed.
pub const APPS_STAGED: u8 = 10;
/// An offline update has the content of no Target.
pub const NO_CONTENT: u8 = 8;
/// A signature, a version or a hash of metadata is wrong.
pub const SECURITY: u8 = 11;
/// Metadata has expired.
pub const EXPIRED: u8 = 12;
/// Metadata could not be fetched.
pub const FETCH_FAILED: u8 = 13;
/// An offline update lacks metadata.
pub const METADATA_NOT_FOUND: u8 = 14;
/// An offline update is not meant for this device, or nobody signed that it is.
pub const BAD_BUNDLE: u8 = 15;
/// `check` found a Target to update to.
pub const NEW_TARGET: u8 = 16;
/// `check` found that apps of the Target that runs need work.
pub const SYNC_APPS: u8 = 17;
/// `check` found that what runs is bad, and a Target to go back to.
pub const ROLLBACK_TARGET: u8 = 18;
/// The Target that was named is not visible.
pub const TARGET_NOT_FOUND: u8 = 20;
/// What runs is bad and there is nothing to go back to.
pub const NO_ROLLBACK_TARGET: u8 = 21;
/// Something is pending; reboot or finalize first.
pub const PENDING: u8 = 30;
/// `finalize` with nothing pending.
pub const NOTHING_PENDING: u8 = 40;
/// Content could not be fetched.
pub const DOWNLOAD_FAILED: u8 = 50;
/// No space for the content.
pub const NO_SPACE: u8 = 60;
/// Content is not what was signed.
pub const VERIFICATION_FAILED: u8 = 70;
/// `install` without a `download` before it.
pub const NOT_DOWNLOADED: u8 = 80;
/// The boot firmware of an earlier update is not confirmed: reboot, and repeat.
pub const FIRMWARE_UNCONFIRMED: u8 = 90;
/// Installed; a reboot is needed.
pub const REBOOT_NEEDED: u8 = 100;
/// An update failed and what ran before runs again: the bootloader went back, or the apps did.
pub const ROLLED_BACK: u8 = 110;
/// An update failed and what ran before is deployed again; a reboot is needed.
pub const ROLLBACK_NEEDS_REBOOT: u8 = 120;
/// An update failed, and so did the way back.
pub const ROLLBACK_FAILED: u8 = 130;
