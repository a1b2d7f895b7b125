//! What changes the device: check, fetch, deploy, forget. Each stage tells who wants to know.

use std::collections::BTreeSet;

use super::apps::{apps_now, remembered};
use super::content::Content;
use super::daemon::notify;
use super::firmware::Change;
use super::link::Link;
use super::refresh::RefreshError;
use super::report::Report;
use super::{AgentError, Found, Outcome, Step, Transfer, Working, callback, trust};
use crate::boot::unused_record;
use crate::cli::exit;
use crate::decide::{Plan, Policy, Request, Target};
use crate::payload::ostree::OstreeError;
use crate::store::{DirectorState, Installed, Pending, Stage, TargetRecord, atomic};

impl Working<'_> {
    /// Refreshes the trusted metadata and decides.
    pub fn check(&self) -> Result<Found, AgentError> {
        self.agent.reaches(Stage::Check, None);
        let found = self.agent.link().and_then(|link| self.look(&link, Request::Latest));
        self.agent.recorded(found)
    }

    /// Carries out one stage, and keeps a record of how it ended.
    pub fn step(
        &self,
        step: Step,
        request: Request<'_>,
        progress: &mut dyn FnMut(Transfer),
    ) -> Result<Outcome, AgentError> {
        let outcome = self.unrecorded(step, request, progress);
        self.agent.recorded(outcome)
    }

    fn unrecorded(
        &self,
        step: Step,
        request: Request<'_>,
        progress: &mut dyn FnMut(Transfer),
    ) -> Result<Outcome, AgentError> {
        let agent = self.agent;
        if let Some(outcome) = self.settle(step)? {
            return Ok(outcome);
        }
        agent.reaches(step.first_stage(), None);
        let link = agent.link()?;
        let found = match step {
            Step::Update => self.look(&link, request)?,
            Step::Download | Step::Install => {
                agent.found(&agent.restricted(trust::stored(&agent.settings, agent.now()?)?)?, request)?
            }
        };
        let target = match found.plan {
            Plan::Stay(plan) => return Ok(Outcome::Stayed { plan, reason: found.reason }),
            Plan::Update(ref target) => target,
        };
        let outcome = self.carry_out(step, &link, &found, target, progress);
        if step != Step::Install {
            self.report(&link);
        }
        outcome
    }

    /// A boot that is confirmed and could not be recorded then is recorded now. None where nothing is in the way any more.
    fn settle(&self, step: Step) -> Result<Option<Outcome>, AgentError> {
        let agent = self.agent;
        // aktualizr-lite leaves that to `finalize`.
        if step == Step::Download || agent.policy != Policy::Native {
            return Ok(None);
        }
        let Some(pending) = Installed::load(&agent.settings.state)?.pending else { return Ok(None) };
        let runs = agent.content()?.current_commit()?.as_ref() == Some(&pending.target.commit);
        if !runs || agent.bootloader.state()?.trial {
            return Ok(None);
        }
        match self.finalize()? {
            Outcome::Confirmed(_) => Ok(None),
            other => Ok(Some(other)),
        }
    }

    fn carry_out(
        &self,
        step: Step,
        link: &Link<'_>,
        found: &Found,
        target: &Target,
        progress: &mut dyn FnMut(Transfer),
    ) -> Result<Outcome, AgentError> {
        log::info!("{}", found.reason);
        let target = &self.agent.chosen(target);
        if step != Step::Download && self.agent.policy != Policy::Native {
            self.lines_of_lite(found, &target.name);
        }
        let stage = if step == Step::Install { Stage::Install } else { Stage::Download };
        self.agent.reaches(stage, Some(&target.name));
        let report = Report::new(self.agent, target.clone(), found.facts.current.as_ref());
        if step != Step::Install {
            report.download_starts(&found.reason);
            let fetched = self.fetch(link, target, progress);
            report.download_ended(&fetched);
            fetched?;
        }
        match step {
            Step::Download => Ok(Outcome::Downloaded(target.clone())),
            Step::Install | Step::Update => self.install(target, &report),
        }
    }

    /// The lines that scripts look for in the log of aktualizr-lite.
    fn lines_of_lite(&self, found: &Found, target: &str) {
        let current = found.facts.current.as_ref().map_or("unknown", |t| t.name.as_str());
        if self.agent.policy == (Policy::Lite { by_hand: false }) {
            log::info!("Going to install {target}. Reason: {}", found.reason);
        }
        if current == target {
            log::info!(
                "The specified Target is already installed, enforcing installation to make sure it's synced and running: {target}"
            );
        } else {
            log::info!("Updating Active Target: {current}");
            log::info!("To New Target: {target}");
        }
    }

    pub(super) fn fetch(
        &self,
        link: &Link<'_>,
        target: &TargetRecord,
        progress: &mut dyn FnMut(Transfer),
    ) -> Result<(), AgentError> {
        self.fetch_commit(link, target, progress)?;
        let Some(room) = self.agent.app_room() else { return Ok(()) };
        let mut apps = self.agent.kept_apps(&target.name);
        apps.extend(target.apps.clone());
        room.fetch(link, &apps, progress)
    }

    fn fetch_commit(
        &self,
        link: &Link<'_>,
        target: &TargetRecord,
        progress: &mut dyn FnMut(Transfer),
    ) -> Result<(), AgentError> {
        let here = self.agent.content()?.must_have(target).is_ok();
        if !here {
            // What could not be installed is not fetched either.
            self.agent.bootloader.ready()?;
        }
        let deltas = self.agent.signed_deltas(target);
        for source in self.agent.other_sources(link, &target.name) {
            let content = self.agent.content()?;
            match content.fetch(self.agent, source.as_ref(), &target.commit, &deltas, progress) {
                Err(error) if error.exit_code() != exit::NO_SPACE && !self.agent.stopping() => {
                    log::warn!("{error}; asking the next server");
                }
                done => return done,
            }
        }
        let source = self.agent.source(link, &target.name)?;
        self.agent.content()?.fetch(self.agent, source.as_ref(), &target.commit, &deltas, progress)
    }

    /// Refreshes and decides; tells who wants to know.
    fn look(&self, link: &Link<'_>, request: Request<'_>) -> Result<Found, AgentError> {
        let agent = self.agent;
        let current = link.current();
        let name = current.map(|t| t.name.as_str());
        let tell = |message, target: Option<&str>, result: Option<&str>| {
            agent.callback.tell(message, callback::Facts { current: name, target, result });
        };
        tell("check-for-update-pre", None, None);
        let refreshed = agent.metadata(link).and_then(|mut fetch| {
            trust::refresh(&agent.settings, &agent.memory, fetch.as_mut(), agent.now()?)
        });
        agent.memory.trouble.set(refreshed.as_ref().err().map(|e| trust::retry_after(e).unwrap_or_default()));
        match &refreshed {
            Ok((_, None)) => {}
            Ok((_, Some(news))) => agent.metadata_event(current, None, news),
            Err(error) => agent.metadata_event(current, Some(error), ""),
        }
        // Where metadata could not be fetched nothing can be handed over either.
        if !matches!(refreshed, Err(AgentError::Trust(RefreshError::Fetch { .. }))) {
            self.report(link);
        }
        match refreshed {
            Ok((offered, _)) => {
                let found = agent.found(&agent.restricted(offered)?, request)?;
                if let Some(current) = found.facts.current.as_ref().filter(|_| !agent.callback.has_current())
                {
                    agent.write_current(current);
                }
                let target = match &found.plan {
                    Plan::Update(target) => Some(target.name.as_str()),
                    Plan::Stay(_) => None,
                };
                tell("check-for-update-post", target, Some("OK"));
                Ok(found)
            }
            Err(error) => {
                tell("check-for-update-post", None, Some(&format!("FAILED: {error}")));
                self.look_at_stored(error, request)
            }
        }
    }

    /// By aktualizr-lite's rules a device goes on with what it trusts already, as long as that is whole and has not
    /// expired. By ours a person is told.
    fn look_at_stored(&self, error: AgentError, request: Request<'_>) -> Result<Found, AgentError> {
        let agent = self.agent;
        // From a folder only where this device knows newer metadata already.
        let older = matches!(&error, AgentError::Trust(RefreshError::Rejected(r)) if r.reason.is_rollback());
        if agent.policy == Policy::Native || (agent.bundle.is_some() && !older) {
            return Err(error);
        }
        let Ok(offered) = trust::stored(&agent.settings, agent.now()?) else { return Err(error) };
        agent.goes_on_despite(&error);
        log::error!("{error}; going on with the metadata of an earlier check");
        agent.found(&agent.restricted(offered)?, request)
    }

    fn report(&self, link: &Link<'_>) {
        if self.agent.bundle.is_none() {
            self.agent.send_reports(link);
        }
    }

    /// Forgets known-bad Targets, and what a Director assigned that came to nothing; gives how many Targets.
    pub fn clear_failed(&self, name: Option<&str>) -> Result<usize, AgentError> {
        let folder = &self.agent.settings.state;
        let mut cleared = BTreeSet::new();
        let mut stays = |target: &TargetRecord| {
            let stays = name.is_some_and(|n| n != target.name);
            if !stays {
                cleared.insert(target.name.clone());
            }
            stays
        };
        let mut installed = Installed::load(folder)?;
        let before = (installed.known_bad.len(), installed.bad_apps.len());
        installed.known_bad.retain(|b| stays(&b.target));
        installed.bad_apps.retain(|b| stays(&b.target));
        if before != (installed.known_bad.len(), installed.bad_apps.len()) {
            installed.save(folder)?;
        }
        let mut director = DirectorState::load(folder)?;
        let before = director.failed.len();
        director.failed.retain(|f| stays(&f.target));
        if before != director.failed.len() {
            director.save(folder)?;
        }
        Ok(cleared.len())
    }

    /// Takes an installation back that no boot has tried; false where that cannot be. The deployment goes first: a cut
    /// after that is one that finalize tells apart, and ends in the same state.
    pub(super) fn undo_pending(&self) -> Result<bool, AgentError> {
        let agent = self.agent;
        let mut installed = Installed::load(&agent.settings.state)?;
        let Some(pending) = installed.pending.take() else { return Ok(false) };
        if agent.firmware()?.is_some_and(|firmware| firmware.unconfirmed) {
            log::warn!("{} came with boot firmware, so it is not taken back", pending.target.name);
            return Ok(false);
        }
        let content = agent.content()?;
        content.keep_only_current()?;
        if content.has_deployment(&pending.target.commit)? {
            log::warn!("the deployment of {} is kept, so it is not taken back", pending.target.name);
            return Ok(false);
        }
        agent.bootloader.confirm()?;
        atomic::remove(&agent.settings.reboot_sentinel)?;
        installed.save(&agent.settings.state)?;
        Report::of_pending(agent, &pending, installed.current.as_ref()).completed(false, "withdrawn");
        Ok(true)
    }

    pub(super) fn install(&self, target: &TargetRecord, report: &Report<'_>) -> Result<Outcome, AgentError> {
        self.agent.reaches(Stage::Install, Some(&target.name));
        let content = self.agent.content()?;
        content.must_have(target)?;
        let runs = content.current_commit()?.as_ref() == Some(&target.commit);
        if !runs && !content.is_whole(self.agent, &target.commit)? {
            return Err(OstreeError::Damaged { commit: target.commit.clone() }.into());
        }
        let firmware = if runs { Ok(Change::None) } else { self.firmware_of(&content, target) };
        if let Ok(Change::Blocked) = firmware {
            return Ok(Outcome::FirmwareUnconfirmed(target.clone()));
        }
        if let Some(room) = self.agent.app_room() {
            room.ready(&target.apps)?;
        }
        report.install_starts();
        let outcome = match firmware {
            Err(error) => Err(error),
            Ok(_) if runs => self.adopt(&content, target, report),
            Ok(change) => self.deploy(&content, target, change, report),
        };
        report.install_ended(&outcome);
        outcome
    }

    /// In this order, so that a power cut between any two steps is told apart after the boot: pending without a
    /// deployment was cut; pending with one was tried.
    fn deploy(
        &self,
        content: &Content,
        target: &TargetRecord,
        firmware: Change,
        report: &Report<'_>,
    ) -> Result<Outcome, AgentError> {
        if let Some(warning) = unused_record(&self.agent.settings) {
            log::warn!("{warning}");
        }
        if let Some(failed) = self.stage_apps(target)? {
            return Ok(failed);
        }
        let state = &self.agent.settings.state;
        let mut installed = Installed::load(state)?;
        let facts = self.agent.facts(&self.agent.names())?;
        installed.current = remembered(&facts, &apps_now(&facts));
        let correlation_id = report.correlation_id.clone();
        installed.pending = Some(Pending {
            target: target.clone(),
            since: self.agent.now()?,
            correlation_id,
            passed_by: false,
        });
        installed.save(state)?;
        if let Err(error) = self.write(content, target, firmware) {
            self.unless_deployed(content, target, installed);
            return Err(error);
        }
        Ok(Outcome::Installed(target.clone()))
    }

    fn write(&self, content: &Content, target: &TargetRecord, firmware: Change) -> Result<(), AgentError> {
        self.agent.bootloader.arm()?;
        log::info!(
            "deploying {}: this may take minutes on slow flash, and is finished before anything else",
            target.name
        );
        notify(&format!("STATUS=Deploying {}", target.name));
        content.deploy(target)?;
        if firmware == Change::Another {
            self.agent.bootloader.offer_firmware(&content.deployment_folder(&target.commit)?)?;
        }
        Ok(atomic::write(&self.agent.settings.reboot_sentinel, b"")?)
    }

    /// What failed before there was a deployment is not pending: a daemon would reboot for nothing.
    fn unless_deployed(&self, content: &Content, target: &TargetRecord, mut installed: Installed) {
        if content.has_deployment(&target.commit).unwrap_or(true) {
            return;
        }
        installed.pending = None;
        let saved = installed.save(&self.agent.settings.state).map_err(AgentError::from);
        if let Err(error) = saved.and_then(|()| Ok(self.agent.bootloader.confirm()?)) {
            log::warn!("taking back what was begun: {error}");
        }
    }
}
