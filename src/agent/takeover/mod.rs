//! The state of the client that was here before becomes ours: at the first work on the device, and again when that client has
//! worked since (as after a rollback to its system). Its own files stay as they are, so that it can go on with them.
//!
//! What cannot be used is said before anything changes. Then comes a note that this has begun, then the state, then the note
//! that it is done. Each step writes the same when it is done again, so a cut anywhere ends in the same state as none.

mod metadata;
mod records;

use super::{Agent, AgentError, Working};
use crate::config::{Settings, Trust};
use crate::device::old::{self, OldState, OldStateError, Stamp};
use crate::device::{EcuKey, check_names};
use crate::store::{
    DirectorState, EcuRecord, EventQueue, Installed, ReportCounter, StoreError, TakeOver, atomic,
};

impl Working<'_> {
    /// What was taken over, in a sentence; none where there was nothing.
    pub fn taken_over(&self) -> Result<Option<String>, AgentError> {
        let settings = &self.agent.settings;
        let note = TakeOver::load(&settings.state)?;
        let path = settings.old_database.display();
        Ok(note.map(|note| format!("the state in {path} (schema {}) is taken over", note.schema)))
    }

    /// Takes over what is new in the old client's state.
    pub(super) fn take_over(&self) -> Result<(), AgentError> {
        let settings = &self.agent.settings;
        let note = TakeOver::load(&settings.state)?;
        let done = note.as_ref().is_some_and(|note| note.done);
        match self.agent.old_state(note.as_ref()) {
            Ok(None) => Ok(()),
            Ok(Some((old, stamp))) => self.import(&old, &stamp),
            // What was taken over once is enough to go on with.
            Err(error) if done => {
                log::warn!("{error}");
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    fn import(&self, old: &OldState, stamp: &Stamp) -> Result<(), AgentError> {
        let agent = self.agent;
        let folder = &agent.settings.state;
        let now = agent.now()?;
        let records = agent.records(old, now)?;
        agent.look_at_first_start();
        TakeOver::new(stamp.text(), old.schema, false).save(folder)?;
        metadata::import(&agent.settings, old);
        agent.keep_credentials(old)?;
        records.write(&agent.settings)?;
        ReportCounter::at_least(folder, old.counter.unsigned_abs())?;
        keep_events(&EventQueue::of(folder), old, now)?;
        TakeOver::new(stamp.text(), old.schema, true).save(folder)?;
        log::info!(
            "{}: the state of the client that was here before is taken over (schema {}, {} installations)",
            agent.settings.old_database.display(),
            old.schema,
            old.versions.len()
        );
        Ok(())
    }
}

impl Agent {
    /// What is there to be taken over; none where there is nothing new.
    fn old_state(&self, note: Option<&TakeOver>) -> Result<Option<(OldState, Stamp)>, AgentError> {
        let settings = &self.settings;
        // A device that had this client before it could take anything over has a state that is newer.
        if !settings.take_over || (note.is_none() && has_own_state(settings)) {
            return Ok(None);
        }
        let stamp = old::stamp(&settings.old_database)?;
        let known = note.filter(|note| note.done).map(|note| note.stamp.as_str());
        if stamp.is_none() || known == stamp.as_ref().map(Stamp::text) {
            return Ok(None);
        }
        Ok(old::read(&settings.old_database)?)
    }

    /// What is to be taken over, if it can be.
    pub(super) fn old_to_come(&self) -> Result<Option<OldState>, AgentError> {
        let note = TakeOver::load(&self.settings.state)?;
        let Some((old, _)) = self.old_state(note.as_ref())? else { return Ok(None) };
        if self.settings.director.trust == Trust::Director {
            usable(&self.settings, &old)?;
        }
        Ok(Some(old))
    }

    /// Checks everything before anything is written.
    fn records(&self, old: &OldState, now: i64) -> Result<records::Records, AgentError> {
        let settings = &self.settings;
        if settings.director.trust == Trust::Director {
            usable(settings, old)?;
        }
        let folder = &settings.state;
        let before = (Installed::load(folder)?, DirectorState::load(folder)?, EcuRecord::load(folder)?);
        Ok(records::records(settings, old, before, now))
    }

    /// Certificate, key and authorities, where the configuration names no files that are there.
    fn keep_credentials(&self, old: &OldState) -> Result<(), StoreError> {
        let settings = &self.settings;
        let kept = settings.kept_identity();
        let own = settings.identity().filter(|found| *found != kept && found.0.exists() && found.1.exists());
        if let (None, Some(certificate), Some(key)) = (own, &old.certificate, &old.tls_key) {
            // The certificate last: it is there when the rest is.
            write_changed_secret(&kept.1, key)?;
            write_changed_secret(&kept.0, certificate)?;
        }
        let kept = settings.kept_authorities();
        let own = settings.authorities().filter(|found| *found != kept && found.exists());
        if let (None, Some(ca)) = (own, &old.ca) {
            write_changed_secret(&kept, ca)?;
        }
        Ok(())
    }
}

/// Whether this client was at work here before.
fn has_own_state(settings: &Settings) -> bool {
    // Roots and events may be there of a first start that was given up.
    let names = ["installed.json", "director.json", "ecu.json", "ecu-key.pem"];
    names.iter().any(|name| settings.state.join(name).exists())
}

/// A Director knows its ECUs by their keys: without the key this would be another device.
fn usable(settings: &Settings, old: &OldState) -> Result<(), AgentError> {
    let path = &settings.old_database;
    let bad = |reason: String| AgentError::OldState(OldStateError::Schema { path: path.clone(), reason });
    match &old.key {
        Some(key) => drop(EcuKey::read(path, key)?),
        None if old.registered => {
            return Err(bad(
                "the ECU is registered, and its key is not in it; a key in a token (PKCS#11) cannot be used"
                    .into(),
            ));
        }
        None => {}
    }
    if let Some(ecu) = old.primary() {
        check_names(("the old serial", &ecu.serial), ("the old hardware id", &ecu.hardware_id))?;
    }
    Ok(())
}

/// Those that are not there yet: a cut may have come after some of them.
fn keep_events(queue: &EventQueue, old: &OldState, now: i64) -> Result<(), StoreError> {
    let known: Vec<String> = queue.events()?.iter().map(|event| event.get().to_string()).collect();
    for text in &old.events {
        let Ok(value) = serde_json::from_str::<serde_json::Value>(text) else { continue };
        let Ok(event) = serde_json::value::to_raw_value(&value) else { continue };
        if value.is_object() && !known.iter().any(|k| k == event.get()) {
            queue.push(event, now)?;
        }
    }
    Ok(())
}

fn write_changed_secret(path: &std::path::Path, bytes: &[u8]) -> Result<(), StoreError> {
    match atomic::read(path)? {
        Some(there) if there == bytes => Ok(()),
        _ => atomic::write_secret(path, bytes),
    }
}
