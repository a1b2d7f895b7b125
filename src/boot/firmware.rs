//! Boot firmware: which version a system brings, which one runs, and whether it may be changed.
//!
//! The bootloader's script writes firmware; the client only tells it that there is another one. The file is
//! `usr/lib/firmware/version.txt` in the deployment, with one line `bootfirmware_version=...`.

use std::fmt;

/// Where a system says which firmware it brings.
pub const VERSION_FILE: &str = "usr/lib/firmware/version.txt";

/// What the bootloader tells of its firmware.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Firmware {
    /// `bootfirmware_version`: what runs.
    pub version: Option<String>,
    /// `bootupgrade_available` is 1: another one is to be written, or is on trial.
    pub unconfirmed: bool,
    /// `rollback_protection` is 1: the board refuses an older one for ever.
    pub no_way_back: bool,
}

/// Why a system may not be installed on this firmware.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum FirmwareFault {
    /// It brings an older one, and the board has anti-rollback.
    Older {
        /// What it brings.
        offered: u64,
        /// What runs.
        running: u64,
    },
    /// The board compares versions as numbers and this one is none.
    NoNumber {
        /// What it brings.
        offered: String,
    },
}

impl Firmware {
    /// Reads it from the bootloader's variables.
    pub fn of(variables: &[(String, String)]) -> Firmware {
        let value = |name: &str| variables.iter().find(|(n, _)| n == name).map(|(_, v)| v.trim());
        Firmware {
            version: value("bootfirmware_version").filter(|v| !v.is_empty()).map(str::to_string),
            unconfirmed: value("bootupgrade_available") == Some("1"),
            no_way_back: value("rollback_protection") == Some("1"),
        }
    }

    /// Whether a system that brings `offered` changes the firmware; none brings none.
    pub fn changes(&self, offered: Option<&str>) -> Result<bool, FirmwareFault> {
        let Some(offered) = offered else { return Ok(false) };
        if self.no_way_back {
            let number = |text: &str| text.parse::<u64>().ok();
            let new = number(offered).ok_or_else(|| FirmwareFault::NoNumber { offered: offered.into() })?;
            let running = self.version.as_deref().and_then(number).unwrap_or(0);
            if new < running {
                return Err(FirmwareFault::Older { offered: new, running });
            }
        }
        Ok(self.version.as_deref() != Some(offered))
    }
}

/// The version in a [`VERSION_FILE`]; none where it has no such line.
pub fn version_in(text: &str) -> Option<String> {
    let value = text.lines().find_map(|line| line.trim().strip_prefix("bootfirmware_version="))?;
    let value = value.trim().trim_matches('"');
    (!value.is_empty()).then(|| value.to_string())
}

impl fmt::Display for FirmwareFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FirmwareFault::Older { offered, running } => write!(
                f,
                "it brings boot firmware {offered} and {running} runs, on a board that never goes back; \
                 publish a Target with firmware {running} or newer"
            ),
            FirmwareFault::NoNumber { offered } => write!(
                f,
                "its boot firmware version {offered:?} is no number, and this board has anti-rollback; \
                 give its {VERSION_FILE} a number"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn firmware(version: Option<&str>, no_way_back: bool) -> Firmware {
        Firmware { version: version.map(str::to_string), unconfirmed: false, no_way_back }
    }

    #[test]
    fn another_version_is_a_change_and_anti_rollback_is_final() {
        let table = [
            (Some("7"), false, None, Ok(false)),
            (Some("7"), true, None, Ok(false)),
            (Some("7"), false, Some("7"), Ok(false)),
            (Some("7"), false, Some("6"), Ok(true)),
            (None, false, Some("6"), Ok(true)),
            (Some("a1"), false, Some("b2"), Ok(true)),
            (Some("7"), true, Some("7"), Ok(false)),
            (Some("7"), true, Some("8"), Ok(true)),
            (Some("7"), true, Some("6"), Err(FirmwareFault::Older { offered: 6, running: 7 })),
            (Some("odd"), true, Some("1"), Ok(true)),
            (Some("7"), true, Some("b2"), Err(FirmwareFault::NoNumber { offered: "b2".into() })),
        ];
        for (running, no_way_back, offered, expected) in table {
            assert_eq!(firmware(running, no_way_back).changes(offered), expected, "{running:?} {offered:?}");
        }
    }

    #[test]
    fn the_file_as_builds_write_it() {
        assert_eq!(version_in("bootfirmware_version=93\n").as_deref(), Some("93"));
        assert_eq!(version_in("# x\n bootfirmware_version=\"a b\" \r\n").as_deref(), Some("a b"));
        for none in ["", "bootfirmware_version=", "version=3", "xbootfirmware_version=3"] {
            assert_eq!(version_in(none), None, "{none:?}");
        }
    }
}
