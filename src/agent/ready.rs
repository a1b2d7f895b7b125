//! Whether this client can act for this device at all. Asked on its first start, before that boot is confirmed: after it, the client
//! that was here before is out of reach. Looks at files only, and asks nobody.

use super::link::INITIAL_TARGET;
use super::{Agent, AgentError, trust};
use crate::boot::BootState;
use crate::config::Trust;
use crate::device::old::OldState;
use crate::device::stored_key;
use crate::gateway::events::Kind;
use crate::store::{EventQueue, TargetRecord, atomic};
use crate::uptane::Repository;

/// The state of aktualizr and aktualizr-lite, where no configuration that can be read says another place.
const OLD_STATE: &str = "sql.db";
/// There from when something was lacking until nothing is: a state that came meanwhile does not end a first start.
const UNABLE: &str = "unable";

impl Agent {
    /// What this client lacks to act here, each in a sentence that says what to do. Nothing on a device that it has acted for.
    pub fn lacks(&self, boot: &BootState) -> Vec<String> {
        let settings = &self.settings;
        let old = settings.old_database.exists() || settings.storage.join(OLD_STATE).exists();
        let first = old && (!settings.state.join("installed.json").exists() || self.was_unable());
        if !boot.trial || boot.rolled_back == Some(true) || !first {
            return Vec::new();
        }
        let mut lacks = self.passed_over.clone();
        // What the client that was here before knows is taken over, and then this one knows it too.
        let old = self.old_to_come().unwrap_or_else(|error| {
            lacks.push(error.to_string());
            None
        });
        lacks.extend(self.no_server(old.as_ref()));
        let there =
            settings.identity().is_some_and(|(certificate, key)| certificate.exists() && key.exists());
        if there || !old.as_ref().is_some_and(OldState::has_certificate) {
            lacks.extend(self.memory.http(settings).err().map(|error| error.to_string()));
        }
        let (roots, key) = match settings.director.trust {
            Trust::Latest => (vec![trust::anchor(settings)], Ok(None)),
            Trust::Director => {
                let both = [Repository::Director, Repository::Image];
                (both.map(|one| super::director::anchor(settings, one)).into(), stored_key(settings))
            }
        };
        // A full disk is no lack: what is there can be stored later.
        let unfit = |error: &AgentError| !matches!(error, AgentError::Store(_));
        let known = |of_director| old.as_ref().is_some_and(|old| old.has_root(of_director));
        let directed = settings.director.trust == Trust::Director;
        let roots = roots.into_iter().enumerate().filter(|(index, _)| !known(directed && *index == 0));
        let roots = roots.filter_map(|(_, root)| root.err()).filter(unfit);
        lacks.extend(roots.map(|error| error.to_string()));
        lacks.extend(key.err().map(|error| error.to_string()));
        lacks
    }

    fn no_server(&self, old: Option<&OldState>) -> Vec<String> {
        let settings = &self.settings;
        let server = settings.repo_server.is_none();
        let server = server.then(|| "tls.server is not set: nobody can be asked for updates".to_string());
        let kept = old.is_some_and(OldState::has_certificate);
        let certificate = settings.identity().is_none() && settings.director.shared.is_none() && !kept;
        let certificate = certificate.then(|| {
            "there is no certificate of this device where import.* and storage.* of the configuration say"
                .to_string()
        });
        server.into_iter().chain(certificate).collect()
    }

    /// Refuses to confirm a boot after which nobody could update this device. The server hears of it when it can be told.
    pub(super) fn must_be_able(&self, boot: &BootState) -> Result<(), AgentError> {
        let lacks = self.lacks(boot);
        self.note_unable(!lacks.is_empty());
        if lacks.is_empty() {
            return Ok(());
        }
        let error = AgentError::Unable { lacks };
        self.tell_once(&error.to_string());
        Err(error)
    }

    /// The same where something was lacking before: an update of the old client that was taken over looks like one of ours.
    pub(super) fn must_be_able_again(&self) -> Result<(), AgentError> {
        match self.bootloader.state() {
            Ok(boot) if self.was_unable() => self.must_be_able(&boot),
            _ => Ok(()),
        }
    }

    /// Before a state is taken over, by whatever command.
    pub(super) fn look_at_first_start(&self) {
        if let Ok(boot) = self.bootloader.state() {
            self.note_unable(!self.lacks(&boot).is_empty());
        }
    }

    fn was_unable(&self) -> bool {
        self.settings.state.join(UNABLE).exists()
    }

    fn note_unable(&self, unable: bool) {
        let note = self.settings.state.join(UNABLE);
        if unable == note.exists() {
            return;
        }
        let noted = if unable { atomic::write(&note, b"") } else { atomic::remove(&note) };
        if let Err(error) = noted {
            log::warn!("{error}");
        }
    }

    /// Each start of a trial says the same.
    fn tell_once(&self, details: &str) {
        let events = EventQueue::of(&self.settings.state).events().unwrap_or_default();
        let said = |json: &str| {
            let event: serde_json::Value = serde_json::from_str(json).unwrap_or_default();
            event["event"]["details"] == details
        };
        if events.iter().any(|event| said(event.get())) {
            return;
        }
        let target = TargetRecord {
            name: INITIAL_TARGET.to_string(),
            version: -1,
            commit: String::new(),
            apps: Default::default(),
        };
        self.queue_of(None, Kind::EcuInstallationCompleted, &target, "takeover", Some(false), details);
    }
}
