//! What becomes of the old client's log: the Target that runs, the one that waits for its boot, those that are bad, and who this
//! device is. Computed first, written after.

use crate::config::{Settings, Trust};
use crate::device::old::{OldState, OldVersion};
use crate::store::{
    Assigned, DeviceResult, DirectorState, EcuRecord, Installed, KnownBad, Pending, StoreError, TargetRecord,
    atomic,
};

const NEEDS_REBOOT: &str = "NEED_COMPLETION";
const BAD: &str = "it was tried by the client that was here before, and never ran";

/// What is to be written.
pub(super) struct Records {
    installed: Option<Installed>,
    director: Option<DirectorState>,
    ecu: Option<EcuRecord>,
    key: Option<Vec<u8>>,
    /// What events call this ECU, where no Director gave it a name.
    serial: Option<String>,
}

type Before = (Installed, DirectorState, Option<EcuRecord>);

pub(super) fn records(settings: &Settings, old: &OldState, before: Before, now: i64) -> Records {
    let (installed, director, ecu) = before;
    let directed = settings.director.trust == Trust::Director;
    let installed = installed_of(old, installed, now);
    Records {
        director: directed.then(|| director_of(settings, old, director, &installed)),
        // A Primary that is a file is looked at, and not remembered.
        installed: (!settings.primary_is_file()).then_some(installed),
        ecu: if directed { ecu_of(old, ecu) } else { None },
        key: old.key.clone().filter(|_| directed),
        serial: old.primary().filter(|_| !directed).map(|ecu| ecu.serial.clone()),
    }
}

impl Records {
    /// Each file is written whole, and only where it is another one.
    pub(super) fn write(self, settings: &Settings) -> Result<(), StoreError> {
        let folder = &settings.state;
        if let Some(key) = self.key {
            super::write_changed_secret(&folder.join("ecu-key.pem"), &key)?;
        }
        if let Some(mut ecu) = self.ecu {
            ecu.save(folder)?;
        }
        let path = folder.join("ecu-serial");
        if let Some(serial) = self.serial.filter(|_| !path.exists()) {
            atomic::write(&path, format!("{serial}\n").as_bytes())?;
        }
        if let Some(mut director) = self.director {
            director.save(folder)?;
        }
        self.installed.map_or(Ok(()), |mut installed| installed.save(folder))
    }
}

/// The old client's word about what runs and what waits is the newer one; what was bad before stays bad.
fn installed_of(old: &OldState, mut installed: Installed, now: i64) -> Installed {
    let log = || old.versions.iter().filter(|v| is_commit(&v.sha256));
    let current = log().rfind(|v| v.current).map(record);
    let differs = |v: &&OldVersion| current.as_ref().is_none_or(|c| c.commit != v.sha256);
    let previous = log().rfind(|v| v.installed && !v.current && differs(v)).map(record);
    installed.previous = previous.or(installed.previous.take());
    installed.current = current.or(installed.current.take());
    installed.pending = log().rfind(|v| v.pending).map(|v| Pending {
        target: record(v),
        since: now,
        correlation_id: v.correlation_id.clone(),
        passed_by: false,
    });
    for version in bad(old) {
        if installed.bad(&version.sha256).is_none() {
            let reason = BAD.to_string();
            installed.known_bad.push(KnownBad { target: record(version), reason, since: now, count: 1 });
        }
    }
    installed
}

/// aktualizr-lite's rule: in the log, never installed under this name, and not what waits for its boot. A commit that
/// ran once is good, whatever it was called.
fn bad(old: &OldState) -> impl Iterator<Item = &OldVersion> {
    let same = |a: &OldVersion, b: &OldVersion| a.name == b.name || a.sha256 == b.sha256;
    old.versions.iter().filter(move |version| {
        let good = |v: &OldVersion| (v.installed || v.pending) && same(v, version);
        is_commit(&version.sha256) && !old.versions.iter().any(good)
    })
}

fn director_of(
    settings: &Settings,
    old: &OldState,
    mut director: DirectorState,
    installed: &Installed,
) -> DirectorState {
    director.installing =
        installed.pending.as_ref().map(|pending| assigned(pending.target.clone(), &pending.correlation_id));
    for version in bad(old).filter(|v| !v.correlation_id.is_empty()) {
        director.fail(assigned(record(version), &version.correlation_id));
    }
    let told =
        |result: &DeviceResult| old.result.as_ref().is_none_or(|o| o.correlation_id != result.correlation_id);
    if director.result.as_ref().is_none_or(told) {
        director.result = result(old, settings).or(director.result.take());
    }
    director
}

/// What the Director was not told; an installation that waits for its boot has not come to anything yet.
fn result(old: &OldState, settings: &Settings) -> Option<DeviceResult> {
    let result =
        old.result.as_ref().filter(|result| result.code != NEEDS_REBOOT && !settings.primary_is_file())?;
    Some(DeviceResult {
        correlation_id: result.correlation_id.clone(),
        success: result.success,
        code: result.code.clone(),
        description: result.description.clone(),
        ecus: old.primary().map(|ecu| ecu.serial.clone()).into_iter().collect(),
        items: Vec::new(),
    })
}

fn assigned(target: TargetRecord, correlation_id: &str) -> Assigned {
    let correlation = Some(correlation_id.to_string()).filter(|id| !id.is_empty());
    Assigned {
        target,
        assignment: correlation.clone().unwrap_or_else(|| "taken over".to_string()),
        correlation_id: correlation,
        release_counter: 0,
        failures: 0,
    }
}

/// The names that the servers know. Without a registration the next one is made under them.
fn ecu_of(old: &OldState, before: Option<EcuRecord>) -> Option<EcuRecord> {
    let primary = old.primary()?;
    let same =
        |record: &EcuRecord| record.serial == primary.serial && record.hardware_id == primary.hardware_id;
    let mut record = before
        .filter(same)
        .unwrap_or_else(|| EcuRecord::new(primary.serial.clone(), primary.hardware_id.clone()));
    record.device_id = old.device_id.clone().or(record.device_id);
    if old.registered && record.registered.is_none() {
        record.known_ecus = old.ecus.iter().map(|e| (e.serial.clone(), e.hardware_id.clone())).collect();
    }
    Some(record)
}

/// Its apps are asked for again: which of them ran is not in the log.
fn record(version: &OldVersion) -> TargetRecord {
    let custom: serde_json::Value = serde_json::from_str(&version.custom).unwrap_or_default();
    let number = match &custom["version"] {
        serde_json::Value::String(text) => text.parse().ok(),
        other => other.as_i64(),
    };
    TargetRecord {
        name: version.name.clone(),
        version: number.unwrap_or(-1),
        commit: version.sha256.clone(),
        apps: Default::default(),
    }
}

fn is_commit(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}
