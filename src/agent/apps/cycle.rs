//! Apps within the cycle: they are a reason for an update, they are switched or staged, and where they do not come up the
//! earlier ones are brought back.

use super::super::content::Content;
use super::super::report::Report;
use super::super::{Agent, AgentError, Back, Found, Outcome, Working, atomic, random_id};
use super::AppRoom;
use crate::decide::{Facts, Plan, Policy, Request, Stay, reason};
use crate::payload::apps::{Apps, AppsError, dropped, kept};
use crate::store::{Installed, Pending, TargetRecord};

impl Agent {
    /// Looks at the apps where nothing else is a reason to act, and keeps off those that are known not to come up.
    pub(in crate::agent) fn consider_apps(&self, found: &mut Found, request: Request<'_>) {
        if !self.settings.compose {
            return;
        }
        let forced = self.policy == Policy::Lite { by_hand: true };
        let (target, stays) = match &found.plan {
            Plan::Update(target) => ((**target).clone(), false),
            Plan::Stay(Stay::UpToDate(t)) => match found.visible.iter().find(|v| v.name == t.name) {
                Some(target) => (target.clone(), true),
                None => return,
            },
            Plan::Stay(_) => return,
        };
        let chosen = self.chosen(&target);
        let by_hand = forced || matches!(request, Request::Named(_));
        if let Some(bad) = found.facts.installed.bad_apps(&chosen).filter(|_| !by_hand) {
            let (reason_text, count) = (bad.reason.clone(), bad.count);
            found.plan = Plan::Stay(Stay::KnownBad { target: chosen, reason: reason_text, count });
            found.reason = reason(&found.facts, &found.plan);
            return;
        }
        if !stays {
            return;
        }
        let current = apps_now(&found.facts);
        let needs = self.app_needs(&chosen.apps, &current, forced);
        found.sync = needs.into_iter().map(|(name, reason)| (name, reason.to_string())).collect();
        let gone = dropped(&current, &chosen.apps).into_iter();
        found.sync.extend(gone.map(|name| (name, "not wanted any more".to_string())));
        if !found.sync.is_empty() {
            let list: Vec<String> =
                found.sync.iter().map(|(name, reason)| format!("{name}: {reason}")).collect();
            found.reason = format!("Syncing Active Target Apps ({})", list.join(", "));
            found.plan = Plan::Update(Box::new(target));
        }
    }

    /// Apps of a Target that are kept for a factory reset.
    pub(in crate::agent) fn kept_apps(&self, name: &str) -> Apps {
        let reset = self.settings.apps.reset.as_deref().filter(|list| !list.is_empty());
        let Some(list) = reset else { return Apps::new() };
        let names = self.names();
        names.iter().find(|t| t.name == name).map(|t| kept(&t.apps, Some(list))).unwrap_or_default()
    }

    fn prune_apps(&self, room: &AppRoom<'_>, installed: &Installed) {
        let name = installed.current.as_ref().map_or("", |t| t.name.as_str());
        room.prune(installed, &self.kept_apps(name));
    }
}

impl Working<'_> {
    /// The running commit under another name, with other apps, or instead of a deployment that waits for its reboot:
    /// nothing is to be booted.
    pub(in crate::agent) fn adopt(
        &self,
        content: &Content,
        target: &TargetRecord,
        report: &Report<'_>,
    ) -> Result<Outcome, AgentError> {
        let agent = self.agent;
        let state = &agent.settings.state;
        let facts = agent.facts(&agent.names())?;
        let from = apps_now(&facts);
        let room = agent.app_room();
        if agent.delay_apps && room.is_some() && from != target.apps {
            let mut installed = Installed::load(state)?;
            installed.current = remembered(&facts, &from);
            installed.pending = Some(pending(agent, target, &report.correlation_id)?);
            installed.save(state)?;
            return Ok(Outcome::AppsStaged(target.clone()));
        }
        if let Some(room) = &room {
            let forced = agent.policy == Policy::Lite { by_hand: true };
            let needs = agent.app_needs(&target.apps, &from, forced);
            let again: Vec<String> = needs.into_iter().map(|(name, _)| name).collect();
            if let Err(error) = room.switch(&from, &target.apps, &again) {
                return self.take_apps_back(room, target, &from, error);
            }
        }
        content.deploy(target)?;
        agent.bootloader.confirm()?;
        atomic::remove(&agent.settings.reboot_sentinel)?;
        let mut installed = Installed::load(state)?;
        installed.pending = None;
        if from != target.apps {
            installed.accept_apps(target);
            installed.previous = remembered(&facts, &from);
        }
        installed.current = Some(target.clone());
        installed.save(state)?;
        if let Some(room) = &room {
            agent.prune_apps(room, &installed);
        }
        Ok(Outcome::Confirmed(installed.current))
    }

    /// Before a reboot; what fails here fails the update while the earlier system still runs.
    pub(in crate::agent) fn stage_apps(&self, target: &TargetRecord) -> Result<Option<Outcome>, AgentError> {
        let agent = self.agent;
        let Some(room) = agent.app_room().filter(|_| !agent.delay_apps) else { return Ok(None) };
        let from = apps_now(&agent.facts(&agent.names())?);
        match room.stage(&from, &target.apps) {
            Ok(()) => Ok(None),
            Err(error) => self.take_apps_back(&room, target, &from, error).map(Some),
        }
    }

    /// Only a Target whose apps were seen to fail is not tried again.
    fn take_apps_back(
        &self,
        room: &AppRoom<'_>,
        target: &TargetRecord,
        from: &Apps,
        error: AppsError,
    ) -> Result<Outcome, AgentError> {
        log::error!("{error}");
        if !error.is_the_apps() {
            if let Err(again) = room.bring_back(&target.apps, from) {
                log::warn!("what ran before could not be brought back: {again}");
            }
            return Err(error.into());
        }
        let state = &self.agent.settings.state;
        // The record first: whatever happens on the way back, the Target is not tried again.
        let mut installed = Installed::load(state)?;
        installed.reject_apps(target, &error.to_string(), self.agent.now()?);
        installed.save(state)?;
        let back = match room.bring_back(&target.apps, from) {
            Ok(()) => Back::Running,
            Err(error) => Back::Failed(error.to_string()),
        };
        Ok(Outcome::AppsFailed { target: target.clone(), reason: error.to_string(), back })
    }

    /// The pending Target booted, and the bootloader knows: its apps are started. None where they came up.
    pub(in crate::agent) fn finish_apps(
        &self,
        content: &Content,
        installed: &mut Installed,
    ) -> Result<Option<Outcome>, AgentError> {
        let agent = self.agent;
        let (Some(room), Some(pending)) = (agent.app_room(), installed.pending.clone()) else {
            return Ok(None);
        };
        let target = pending.target;
        let earlier = installed.current.clone();
        let from = earlier.as_ref().map(|t| t.apps.clone()).unwrap_or_default();
        let Err(error) = room.start_all(&from, &target.apps) else { return Ok(None) };
        log::error!("{error}");
        if !error.is_the_apps() {
            // The system is good, and its apps are seen to be away at the next check.
            log::warn!("{} stays: its apps are started when this is over", target.name);
            return Ok(None);
        }
        installed.reject_apps(&target, &error.to_string(), agent.now()?);
        installed.pending = None;
        installed.save(&agent.settings.state)?;
        let back = match earlier {
            None => Back::Failed("no Target is known to have run here before".to_string()),
            Some(earlier) if earlier.commit == target.commit => match room.bring_back(&target.apps, &from) {
                Ok(()) => Back::Running,
                Err(error) => Back::Failed(error.to_string()),
            },
            Some(earlier) => match self.deploy_earlier(content, installed, &earlier) {
                Ok(()) => {
                    if let Err(error) = room.stage(&target.apps, &from) {
                        log::warn!("{error}");
                    }
                    Back::Reboot(earlier)
                }
                Err(error) => Back::Failed(error.to_string()),
            },
        };
        Ok(Some(Outcome::AppsFailed { target, reason: error.to_string(), back }))
    }

    /// After a confirmation.
    pub(in crate::agent) fn tidy_apps(&self, installed: &Installed) {
        if let Some(room) = self.agent.app_room() {
            self.agent.prune_apps(&room, installed);
        }
    }

    /// The bootloader went back: so do the apps. None where nothing was to be done, or all is well.
    pub(in crate::agent) fn apps_after_rollback(
        &self,
        failed: &TargetRecord,
        installed: &Installed,
    ) -> Option<Outcome> {
        let room = self.agent.app_room()?;
        let earlier = installed.current.as_ref().map(|t| t.apps.clone()).unwrap_or_default();
        if earlier.is_empty() && failed.apps.is_empty() {
            return None;
        }
        let error = room.bring_back(&failed.apps, &earlier).err()?;
        Some(Outcome::AppsFailed {
            target: failed.clone(),
            reason: "the bootloader rolled back".to_string(),
            back: Back::Failed(error.to_string()),
        })
    }

    /// In the order of an installation, so that a cut is told apart in the same way.
    fn deploy_earlier(
        &self,
        content: &Content,
        installed: &mut Installed,
        earlier: &TargetRecord,
    ) -> Result<(), AgentError> {
        let agent = self.agent;
        content.must_have(earlier)?;
        installed.pending = Some(pending(agent, earlier, &format!("{}-{}", earlier.version, random_id()))?);
        installed.save(&agent.settings.state)?;
        agent.bootloader.arm()?;
        content.deploy(earlier)?;
        Ok(atomic::write(&agent.settings.reboot_sentinel, b"")?)
    }
}

/// The apps of what runs, as far as this client started them. What metadata says of the running commit is no evidence.
pub(in crate::agent) fn apps_now(facts: &Facts) -> Apps {
    let known = [facts.installed.current.as_ref(), facts.installed.previous.as_ref()];
    let booted = known.into_iter().flatten().find(|t| Some(&t.commit) == facts.booted.as_ref());
    booted.map(|t| t.apps.clone()).unwrap_or_default()
}

/// What runs, with the apps that do.
pub(in crate::agent) fn remembered(facts: &Facts, apps: &Apps) -> Option<TargetRecord> {
    facts.current.clone().map(|t| TargetRecord { apps: apps.clone(), ..t })
}

fn pending(agent: &Agent, target: &TargetRecord, correlation_id: &str) -> Result<Pending, AgentError> {
    Ok(Pending {
        target: target.clone(),
        since: agent.now()?,
        correlation_id: correlation_id.to_string(),
        passed_by: false,
    })
}
