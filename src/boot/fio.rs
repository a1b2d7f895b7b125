//! Bootloader variables behind programs of a board's maker: `fiovb_printenv NAME` (replay-protected memory, through
//! OP-TEE) and `fioefi_printenv NAME` (EFI variables), and `_setenv NAME VALUE`. One variable a call.

use std::path::Path;

use super::program::{command, run};
use super::{BootError, BootState, Bootloader, FIRMWARE_VARIABLES, TRIAL_VARIABLES};

/// The programs of one family.
#[derive(Debug)]
pub struct Fio {
    name: &'static str,
    print: &'static str,
    set: &'static str,
}

/// Variables in replay-protected memory.
pub const FIOVB: Fio = Fio { name: "fiovb", print: "fiovb_printenv", set: "fiovb_setenv" };
/// EFI variables.
pub const FIOEFI: Fio = Fio { name: "fioefi", print: "fioefi_printenv", set: "fioefi_setenv" };

impl Fio {
    /// None where the variable is not set: then the program ends with an error.
    fn get(&self, name: &str) -> Result<Option<String>, BootError> {
        let mut command = command(self.print);
        command.arg(name);
        match run(self.print, command, "") {
            Ok(text) => {
                let text = text.trim();
                let value = text.strip_prefix(name).and_then(|t| t.strip_prefix('=')).unwrap_or(text);
                Ok(Some(value.to_string()).filter(|v| !v.is_empty()))
            }
            Err(BootError::Failed { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Writes what differs, and looks whether it stayed: replay-protected memory wears, and a closed board may refuse.
    fn put(&self, name: &str, value: &str, deployment: Option<&Path>) -> Result<(), BootError> {
        if self.get(name)?.as_deref() == Some(value) {
            return Ok(());
        }
        let mut command = command(self.set);
        command.args([name, value]);
        if let Some(folder) = deployment {
            // Where `fioefi` finds the files of the new firmware.
            command.env("FIO_OSTREE_TARGET_SYSROOT", folder);
        }
        run(self.set, command, "")?;
        let found = self.get(name)?.unwrap_or_default();
        if found == value {
            return Ok(());
        }
        Err(BootError::NotKept { variable: name.to_string(), wanted: value.to_string(), found })
    }
}

impl Bootloader for Fio {
    fn name(&self) -> &'static str {
        self.name
    }

    fn state(&self) -> Result<BootState, BootError> {
        let mut variables = Vec::new();
        for name in TRIAL_VARIABLES.iter().chain(&FIRMWARE_VARIABLES) {
            variables.extend(self.get(name)?.map(|value| (name.to_string(), value)));
        }
        Ok(BootState::of(variables))
    }

    /// The trial begins with the last of the writes: a power cut before it leaves none.
    fn arm(&self) -> Result<(), BootError> {
        self.put("bootcount", "0", None)?;
        self.put("rollback", "0", None)?;
        self.put("upgrade_available", "1", None)
    }

    /// And it ends with the first of them.
    fn confirm(&self) -> Result<(), BootError> {
        self.put("upgrade_available", "0", None)?;
        self.put("bootcount", "0", None)?;
        self.put("rollback", "0", None)
    }

    fn writes_firmware(&self) -> bool {
        true
    }

    fn offer_firmware(&self, deployment: &Path) -> Result<(), BootError> {
        self.put("bootupgrade_available", "1", Some(deployment))
    }
}
