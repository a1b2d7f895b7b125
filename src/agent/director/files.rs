//! Targets that are files: fetched into a folder of their own, verified as they arrive, and put in place at once.

use std::fs;
use std::path::{Path, PathBuf};

use super::super::uptane::{UptaneError, content_url};
use super::super::{AgentError, Transfer};
use super::secondaries::Secondary;
use super::session::Session;
use crate::config::ConfigError;
use crate::gateway::events::Kind;
use crate::payload::file::{self, Download};
use crate::store::{Assigned, EcuResult, Stage, StoreError, atomic};
use crate::tuf::{Hashes, TargetInfo, to_hex};
use crate::uptane::FileUpdate;

/// A file that is assigned to one of the Secondaries, by its place among them.
pub type Assignment = (usize, FileUpdate);

impl Session<'_> {
    /// Finishes what a cut left: content without its name. Then looks at what is there.
    pub fn settle_files(&mut self) -> Result<(), AgentError> {
        let before = self.state.files.clone();
        for index in 0..self.file_ecus.len() {
            let Some(serial) = self.file_ecus.get(index).map(|ecu| ecu.serial.clone()) else { continue };
            if !self.awaits_reboot(index)
                && let Some(assigned) = self.state.files.entry(serial).or_default().installing.take()
            {
                self.settle_file(index, assigned)?;
            }
            self.look(index)?;
        }
        if self.state.files != before {
            self.conclude();
            self.save()?;
        }
        Ok(())
    }

    fn settle_file(&mut self, index: usize, assigned: Assigned) -> Result<(), AgentError> {
        let Some(ecu) = self.file_ecus.get(index) else { return Ok(()) };
        if self.needs_reboot(index)
            && let Err(error) = put_whole(ecu, &self.staged(&assigned.target.commit), &assigned)
        {
            self.file_ended(index, assigned, Some(error.to_string()));
        } else if ecu.has_content(&assigned.target.commit)? {
            ecu.put_name(&assigned.target.name)?;
            self.file_ended(index, assigned, None);
        }
        Ok(())
    }

    /// All of it is here before any of it is installed.
    pub fn download_files(
        &mut self,
        updates: &[Assignment],
        progress: &mut dyn FnMut(Transfer),
    ) -> Result<(), AgentError> {
        self.remove_unwanted(updates)?;
        for (index, update) in updates {
            let assigned = &update.assigned;
            self.agent.reaches(Stage::Download, Some(&assigned.target.name));
            self.file_event(*index, Kind::EcuDownloadStarted, assigned, None, "");
            let fetched = self.download_file(update, progress);
            let details = fetched.as_ref().err().map(ToString::to_string).unwrap_or_default();
            self.file_event(*index, Kind::EcuDownloadCompleted, assigned, Some(fetched.is_ok()), &details);
            if fetched.is_err() && !self.agent.stopping() {
                self.file_result(*index, assigned, false, "DOWNLOAD_FAILED", &details);
                self.conclude();
                self.save()?;
            }
            fetched?;
        }
        Ok(())
    }

    fn download_file(
        &self,
        update: &FileUpdate,
        progress: &mut dyn FnMut(Transfer),
    ) -> Result<(), AgentError> {
        let settings = &self.agent.settings;
        let server = settings.repo_server.as_deref().ok_or(AgentError::Config(ConfigError::Missing {
            key: "tls.server",
            purpose: "where updates come from",
        }))?;
        let target = &update.assigned.target;
        let url = content_url(server, &target.name, update.uri.as_deref());
        let own = [Some(server), settings.server.as_deref(), settings.director.server.as_deref()];
        let own: Vec<&str> = own.into_iter().chain([settings.ostree_server.as_deref()]).flatten().collect();
        let http = self.http()?.for_address(&url, &own)?;
        let download = Download::new(&http, &url, &update.info);
        let length = update.info.length;
        let fetched =
            download.resume(&self.staged(&target.commit), &self.agent.stop_flag(), &mut |bytes_done| {
                progress(Transfer {
                    objects_done: u64::from(bytes_done == length),
                    objects_total: 1,
                    bytes_done,
                    bytes_total: Some(length),
                });
            });
        fetched.map_err(|error| UptaneError::Download { target: target.name.clone(), error })?;
        Ok(())
    }

    /// Whether all of it was downloaded.
    pub fn must_have_files(&self, updates: &[Assignment]) -> Result<(), AgentError> {
        for (_, update) in updates {
            let target = &update.assigned.target;
            let here = file::has_content(&update.info, &self.staged(&target.commit))
                .map_err(|error| UptaneError::Download { target: target.name.clone(), error })?;
            if !here {
                return Err(AgentError::NotDownloaded { target: target.name.clone() });
            }
        }
        Ok(())
    }

    /// Each ECU by itself: what fails on one is no reason to keep another from what it is assigned. Gives the first
    /// error.
    pub fn install_files(&mut self, updates: &[Assignment]) -> Result<(), AgentError> {
        self.must_have_files(updates)?;
        let mut failed = Ok(());
        for (index, update) in updates {
            let done = self.install_file(*index, update)?;
            failed = failed.and(done);
        }
        for (_, update) in updates {
            let commit = &update.assigned.target.commit;
            if self.awaiting_file().is_none_or(|waits| waits.target.commit != *commit) {
                atomic::remove(&self.staged(commit))?;
            }
        }
        failed
    }

    /// The outer error is about this device's own notes.
    fn install_file(
        &mut self,
        index: usize,
        update: &FileUpdate,
    ) -> Result<Result<(), AgentError>, AgentError> {
        let Some(secondary) = self.file_ecus.get(index) else { return Ok(Ok(())) };
        let (serial, assigned) = (secondary.serial.clone(), update.assigned.clone());
        self.agent.reaches(Stage::Install, Some(&assigned.target.name));
        self.file_event(index, Kind::EcuInstallationStarted, &assigned, None, "");
        if self.needs_reboot(index) {
            return self.leave_to_reboot(index, assigned).map(Ok);
        }
        self.state.files.entry(serial.clone()).or_default().installing = Some(assigned.clone());
        self.save()?;
        let put = match self.file_ecus.get(index) {
            Some(secondary) => {
                secondary.put(&self.staged(&assigned.target.commit), &update.info, &assigned.target.name)
            }
            None => Ok(()),
        };
        self.state.files.entry(serial.clone()).or_default().installing = None;
        self.file_ended(index, assigned, put.as_ref().err().map(ToString::to_string));
        self.look(index)?;
        self.save()?;
        if put.is_ok() {
            log::info!("{} is installed on the ECU {serial}", update.assigned.target.name);
        }
        Ok(put)
    }

    /// An OSTree commit for an ECU that is a file: told once, since it does not get better by asking again.
    pub fn not_a_file(&mut self, index: usize, assigned: Assigned) -> Result<AgentError, AgentError> {
        let target = assigned.target.name.clone();
        let serial = self.file_ecus.get(index).map(|s| s.serial.clone()).unwrap_or_default();
        let error = AgentError::NotAFile { target, serial };
        self.file_ended(index, assigned, Some(error.to_string()));
        self.conclude();
        self.save()?;
        Ok(error)
    }

    fn file_ended(&mut self, index: usize, assigned: Assigned, error: Option<String>) {
        let Some(serial) = self.file_ecus.get(index).map(|s| s.serial.clone()) else { return };
        let details = error.as_deref().unwrap_or_default();
        self.file_event(index, Kind::EcuInstallationCompleted, &assigned, Some(error.is_none()), details);
        match &error {
            None => {
                let counter = self.state.release_counters.entry(serial).or_default();
                *counter = assigned.release_counter.max(*counter);
                self.state.failed.retain(|f| f.assignment != assigned.assignment);
                self.file_result(index, &assigned, true, "OK", "");
            }
            Some(reason) => {
                self.file_result(index, &assigned, false, "INSTALL_FAILED", reason);
                self.state.fail(assigned);
            }
        }
    }

    pub fn file_result(
        &mut self,
        index: usize,
        assigned: &Assigned,
        success: bool,
        code: &str,
        description: &str,
    ) {
        let Some(secondary) = self.file_ecus.get(index) else { return };
        let id = assigned.correlation_id.clone().unwrap_or_default();
        self.state.ecu_results.push(EcuResult {
            serial: secondary.serial.clone(),
            hardware_id: secondary.hardware_id.clone(),
            correlation_id: id,
            success,
            code: code.to_string(),
            description: description.to_string(),
        });
    }

    pub fn file_event(
        &self,
        index: usize,
        kind: Kind,
        assigned: &Assigned,
        success: Option<bool>,
        details: &str,
    ) {
        let serial = self.file_ecus.get(index).map(|s| s.serial.as_str());
        let id = assigned.correlation_id.as_deref().unwrap_or_default();
        self.agent.queue_of(serial, kind, &assigned.target, id, success, details);
    }

    fn look(&mut self, index: usize) -> Result<(), AgentError> {
        let Some(secondary) = self.file_ecus.get_mut(index) else { return Ok(()) };
        let file = self.state.files.entry(secondary.serial.clone()).or_default();
        secondary.look(&mut file.seen)
    }

    /// Where a file waits for its installation: named by its hash, as `aktualizr` names it.
    fn staged(&self, sha256: &str) -> PathBuf {
        self.agent.settings.director.images.join(sha256.to_ascii_uppercase())
    }

    /// What was fetched, whole or in part, and is not assigned any more.
    fn remove_unwanted(&self, updates: &[Assignment]) -> Result<(), AgentError> {
        let folder = &self.agent.settings.director.images;
        let wanted: Vec<PathBuf> =
            updates.iter().map(|(_, u)| self.staged(&u.assigned.target.commit)).collect();
        let entries = match fs::read_dir(folder) {
            Ok(entries) => entries,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            Err(e) => return Err(StoreError::io("list", folder, e).into()),
        };
        for path in entries.flatten().map(|entry| entry.path()) {
            let kept = wanted.iter().any(|w| *w == path || file::part_path(w) == path);
            if is_staged(&path) && !kept {
                atomic::remove(&path)?;
            }
        }
        Ok(())
    }
}

/// After the reboot, and with nobody asked: what waited is compared with the hash that was assigned.
fn put_whole(ecu: &Secondary, staged: &Path, assigned: &Assigned) -> Result<(), AgentError> {
    let Some((length, sha256)) = file::describe(staged)? else { return Ok(()) };
    if to_hex(&sha256) != assigned.target.commit {
        return Ok(());
    }
    let hashes = Hashes { sha256: Some(sha256), sha512: None, other: Vec::new() };
    ecu.put(staged, &TargetInfo { length, hashes, custom: None }, &assigned.target.name)?;
    Ok(atomic::remove(staged)?)
}

/// 64 upper-case hex digits, and `.part` after what is not whole.
fn is_staged(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let stem = name.strip_suffix(".part").unwrap_or(&name);
    stem.len() == 64 && stem.bytes().all(|b| b.is_ascii_digit() || (b'A'..=b'F').contains(&b))
}
