//! What lies on the device: the old client's state, who the device is, its roots, its ECUs, its units.

use std::path::{Path, PathBuf};

use super::{Finding, Findings, Level};
use crate::boot::Bootloader;
use crate::config::{RollbackMode, Settings, Trust, secondaries};
use crate::device::old::{self, OldState};
use crate::device::{EcuKey, stored_key};
use crate::payload::file::free_space;

/// State, metadata and certificates take some 100 kB; a temporary file beside each.
const LEAST_FREE: u64 = 1024 * 1024;
const UNIT_FOLDERS: [&str; 2] = ["etc/systemd/system", "usr/lib/systemd/system"];

/// The state of the client that is there, where it is still to be taken over.
pub(super) fn old_state(settings: &Settings, findings: &mut Findings) -> Option<OldState> {
    let path = &settings.old_database;
    if !settings.take_over {
        findings.warn("state", "rust_ota.take_over = 0: the old client's state is not taken over");
        return None;
    }
    match old::peek(path) {
        Ok(Some(old)) => {
            let (schema, count) = (old.schema, old.versions.len());
            findings.good("state", format!("{}: schema {schema}, installations: {count}", path.display()));
            if let Some(pending) = old.versions.iter().rfind(|v| v.pending) {
                findings.warn(
                    "state",
                    format!("{} is pending; let it finish or fail before the change", pending.name),
                );
            }
            Some(old)
        }
        Ok(None) => {
            findings.warn(
                "state",
                format!("{}: not found; this client starts without an old state", path.display()),
            );
            None
        }
        Err(error) => {
            findings.problem("state", error.to_string());
            None
        }
    }
}

pub(super) fn look(settings: &Settings, old: Option<&OldState>, is_image: bool, findings: &mut Findings) {
    if settings.director.trust == Trust::Director {
        identity(settings, old, findings);
    }
    roots(settings, old, is_image, findings);
    ecus(settings, old, findings);
    if settings.rollback_mode == RollbackMode::None && !settings.primary_is_file() {
        findings.warn(
            "bootloader",
            "bootloader.rollback_mode = none: an update that does not boot is not rolled back",
        );
    }
    if !is_image {
        space(&settings.storage, findings);
    }
}

/// The key that the Director knows this device by.
fn identity(settings: &Settings, old: Option<&OldState>, findings: &mut Findings) {
    let own = stored_key(settings).map(|found| found.map(|(key, _)| key));
    let key = match (own, old.and_then(|old| old.key.as_ref()), &settings.director.imported_key) {
        (Ok(None), Some(bytes), _) => EcuKey::read(&settings.old_database, bytes).map(Some),
        (Ok(None), None, Some(path)) => EcuKey::at(path),
        (own, _, _) => own,
    };
    let registered = old.is_some_and(|old| old.registered);
    match key {
        Ok(Some(key)) => findings.good("key", format!("{}, id {}", key.kind(), key.id())),
        Ok(None) if registered => findings.problem("key", "the ECU is registered, and its key is not in the old client's state; put it into a file and name that with import.uptane_private_key_path"),
        Ok(None) => findings.good("key", "none yet; one is made and registered"),
        Err(error) => findings.problem("key", error.to_string()),
    }
    if let Some(ecu) = old.and_then(OldState::primary) {
        let known = if registered { "registered" } else { "not registered yet" };
        findings.good("identity", format!("ECU {} on {}, {known}", ecu.serial, ecu.hardware_id));
    }
}

/// Without a root there is nothing to begin from.
fn roots(settings: &Settings, old: Option<&OldState>, is_image: bool, findings: &mut Findings) {
    let has = |director: bool| {
        old.is_some_and(|old| old.metadata.iter().any(|m| m.director == director && m.role == "root"))
    };
    let trust = settings.state.join("trust");
    let mut check = |name: &str, there: bool, place: &Path| {
        let place = place.display();
        if there {
            findings.good("roots", format!("{name}: there is a root to begin from"));
        } else if is_image {
            findings.warn(
                "roots",
                format!("{name}: devices without the old client's state need a root at {place}"),
            );
        } else {
            findings.problem("roots", format!("{name}: no root to begin from; put one at {place}"));
        }
    };
    if settings.director.trust == Trust::Latest {
        let there = settings.root.exists() || has(false) || trust.join("root.json").exists();
        return check("the repository", there, &settings.root);
    }
    let director = &settings.director;
    for (name, folder, old, places) in [
        ("the Director", "director", has(true), &director.director_roots),
        ("the Image repository", "image", has(false), &director.image_roots),
    ] {
        let known = old || director.trust_first_root || trust.join(folder).join("root.json").exists();
        let place = places.last().cloned().unwrap_or_default();
        check(name, known || places.iter().any(|path| path.exists()), &place);
    }
}

/// Each ECU that the servers know has to be one that this client drives.
fn ecus(settings: &Settings, old: Option<&OldState>, findings: &mut Findings) {
    let others = old.map_or(0, |old| old.ecus.iter().filter(|ecu| !ecu.primary).count());
    let configured = match &settings.director.secondaries {
        Some(path) => match secondaries(path) {
            Ok(all) => all.len(),
            Err(reason) => {
                return findings.problem(
                    "secondaries",
                    format!("{}: {reason}; keep the old client on this device", path.display()),
                );
            }
        },
        None => 0,
    };
    match (others, configured) {
        (0, 0) => {}
        (a, b) if a == b || old.is_none() => findings.good("secondaries", format!("{b} virtual")),
        (a, b) => findings.warn(
            "secondaries",
            format!("the server knows {a} of them and {b} are configured; the device will register again"),
        ),
    }
}

fn space(folder: &Path, findings: &mut Findings) {
    match free_space(folder) {
        Some(free) if free < LEAST_FREE => findings.problem(
            "space",
            format!("{}: {free} bytes are free, {LEAST_FREE} are needed; make room", folder.display()),
        ),
        Some(_) => findings.good("space", format!("{}: enough for the state", folder.display())),
        None => findings
            .problem("space", format!("{}: it is not there, or cannot be looked at", folder.display())),
    }
}

pub(super) fn bootloader(bootloader: &dyn Bootloader, findings: &mut Findings) {
    match bootloader.state().and_then(|_| bootloader.ready()) {
        Ok(()) => findings.good("bootloader", format!("{}: its variables can be read", bootloader.name())),
        Err(error) => findings.problem("bootloader", error.to_string()),
    }
}

/// Programs that the bootloader needs, in the root folder of an image. A folder without any programs is none.
pub fn programs(root: &Path, mode: RollbackMode) -> Vec<Finding> {
    let mut findings = Findings::default();
    let names: &[&str] = match mode {
        RollbackMode::UbootGeneric | RollbackMode::UbootMasked => &["fw_setenv", "fw_printenv"],
        RollbackMode::Fiovb => &["fiovb_setenv", "fiovb_printenv"],
        RollbackMode::Fioefi => &["fioefi_setenv", "fioefi_printenv"],
        RollbackMode::None | RollbackMode::Grub => &[],
    };
    let folders = ["usr/bin", "usr/sbin", "bin", "sbin"].map(|folder| root.join(folder));
    if !folders.iter().any(|folder| folder.is_dir()) {
        return findings.0;
    }
    for name in names {
        // A link may lead to a path of the device.
        let is_there = |folder: &PathBuf| folder.join(name).symlink_metadata().is_ok();
        if !folders.iter().any(is_there) {
            findings.problem("bootloader", format!("{name} is not in the image, and bootloader.rollback_mode needs it; install the package that has it"));
        }
    }
    findings.0
}

/// Changes to the old client's units have no effect on ours.
pub fn units(root: &Path) -> Vec<Finding> {
    let mut findings = Findings::default();
    for folder in UNIT_FOLDERS.map(|folder| root.join(folder)) {
        for unit in ["aktualizr.service", "aktualizr-lite.service", "aktualizr-torizon.service"] {
            let additions =
                std::fs::read_dir(folder.join(format!("{unit}.d"))).into_iter().flatten().flatten();
            for path in additions.map(|entry| entry.path()) {
                let proxy = if has_proxy(&path) { "a proxy is set here; " } else { "" };
                findings.warn("units", format!("{}: {proxy}it is for the old client's unit; copy what is still needed to rust-ota.service.d", path.display()));
            }
            let unit = folder.join(unit);
            if has_proxy(&unit) {
                findings.warn(
                    "units",
                    format!(
                        "{}: a proxy is set here; copy it to rust-ota.service.d, or set [network] proxy",
                        unit.display()
                    ),
                );
            }
        }
    }
    findings.0.sort_by(|a, b| a.text.cmp(&b.text));
    if findings.0.is_empty() {
        findings.add(Level::Good, "units", "the old client's units have no additions");
    }
    findings.0
}

/// Our own unit may stand there by the old name.
fn has_proxy(unit: &Path) -> bool {
    let text = std::fs::read_to_string(unit).unwrap_or_default().to_ascii_lowercase();
    text.lines().any(|line| line.starts_with("environment") && line.contains("_proxy"))
}
