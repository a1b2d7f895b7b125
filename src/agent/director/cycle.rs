//! The update cycle: what is assigned is verified, fetched, deployed, and told about.

use std::collections::BTreeMap;

use super::super::content::SignedDeltas;
use super::super::report::Report;
use super::super::trust::Server;
use super::super::uptane::{Noted, Source, UptaneError, verify_noting};
use super::super::{AgentError, Outcome, Transfer};
use super::files::Assignment;
use super::runs_already::fulfilled;
use super::session::Session;
use super::trust::{Stored, folder, prepare};
use super::{Answer, Depth};
use crate::config::ConfigError;
use crate::decide::SignedDelta;
use crate::payload::ostree::HttpSource;
use crate::store::{Assigned, ReportCounter, Stage};
use crate::tuf::Time;
use crate::uptane::{DirectorPlan, Ecu, Fault, FilePlan, Primary, Repository, plan, plan_file};

/// Longest text about a fault that is reported.
const MOST_ATTACK: usize = 500;

/// What is to be done with each ECU.
pub struct Plans {
    /// With the Primary, where it is an OSTree system.
    pub primary: DirectorPlan,
    /// In the order of the ECUs that are files.
    pub files: Vec<FilePlan>,
}

/// What is assigned to Secondaries, and what to say where nothing is.
type Sorted = (Vec<Assignment>, Result<Answer, AgentError>);

/// What a run does about a plan, besides knowing it.
#[derive(Debug, Clone, Copy)]
struct Steps {
    download: bool,
    install: bool,
}

impl From<Depth> for Steps {
    fn from(depth: Depth) -> Steps {
        Steps { download: depth >= Depth::Download, install: depth >= Depth::Install }
    }
}

impl<'a> Session<'a> {
    /// Asks the servers and goes as far as `depth`.
    pub fn online(
        mut self,
        counter: &mut ReportCounter,
        depth: Depth,
        progress: &mut dyn FnMut(Transfer),
    ) -> Result<Answer, AgentError> {
        let awaiting = self.settle()?;
        self.provision()?;
        self.register()?;
        // A Director that does not take a report may still have an update, so this alone ends nothing.
        if let Err(error) = self.send_manifest(counter) {
            log::warn!("{error}; the report is sent again with the next check");
        }
        self.send_device_data();
        let told = self.state.clone();
        if let Some(target) = awaiting {
            log::info!("There are pending updates, no new updates are checked");
            if depth < Depth::Install || !self.is_withdrawn(&target) || !self.take_back(&target)? {
                return Ok(Answer::Awaiting(target));
            }
        }
        self.agent.reaches(Stage::Check, None);
        let answer = self.verified(true).and_then(|plans| self.carry_out(plans, depth.into(), progress));
        self.send_device_data();
        // What this run came to is told now, and not only at the next poll.
        if (self.state.result != told.result
            || self.state.attack != told.attack
            || matches!(answer, Ok(Answer::Adopted(_))))
            && let Err(error) = self.send_manifest(counter)
        {
            log::warn!("{error}; the report is sent again with the next check");
        }
        answer
    }

    /// Installs what was downloaded, without asking anybody.
    pub fn install_stored(mut self) -> Result<Answer, AgentError> {
        if let Some(target) = self.settle()? {
            return Ok(Answer::Awaiting(target));
        }
        self.agent.reaches(Stage::Install, None);
        let plans = self.verified(false)?;
        self.carry_out(plans, Steps { download: false, install: true }, &mut |_| {})
    }

    /// Verifies both repositories, from the servers or from what is stored, and decides.
    pub fn verified(&mut self, online: bool) -> Result<Plans, AgentError> {
        let settings = &self.agent.settings;
        let mut ecus: Vec<Ecu> = self.file_ecus.iter().map(|ecu| ecu.ecu(&self.state)).collect();
        if self.file_primary().is_none() {
            ecus.push(self.ostree_ecu()?);
        }
        let reported = self.state.fulfilled.clone();
        let is_settled = |id: Option<&str>| id.is_none() || id == reported.as_deref();
        let mut noted = Noted { correlation_id: None, is_settled: &is_settled };
        let now = Time(self.agent.now()?);
        for repository in [Repository::Director, Repository::Image] {
            prepare(settings, repository)?;
        }
        let (mut director_folder, mut image_folder) =
            (folder(settings, Repository::Director), folder(settings, Repository::Image));
        let trust_first_root = settings.director.trust_first_root;
        let bundle = if online {
            let mut director = self.server(settings.director.server.clone())?;
            let mut image = self.server(settings.repo_server.clone())?;
            let mut director =
                Source { fetch: &mut director, persist: &mut director_folder, trust_first_root };
            let mut image = Source { fetch: &mut image, persist: &mut image_folder, trust_first_root };
            verify_noting(&mut director, &mut image, &ecus, now, &mut noted)
        } else {
            let mut director = Stored(folder(settings, Repository::Director));
            let mut image = Stored(folder(settings, Repository::Image));
            if !settings.state.join("trust/director/targets.json").exists() {
                return Err(AgentError::NotChecked);
            }
            let mut director =
                Source { fetch: &mut director, persist: &mut director_folder, trust_first_root: false };
            let mut image = Source { fetch: &mut image, persist: &mut image_folder, trust_first_root: false };
            verify_noting(&mut director, &mut image, &ecus, now, &mut noted)
        };
        let bundle = match bundle {
            Ok(bundle) => bundle,
            Err(error) => {
                let id = noted.correlation_id.as_ref().map(|id| id.as_deref());
                self.note_fault(&error, id)?;
                return Err(error.into());
            }
        };
        let facts = self.agent.facts(&[])?;
        let primary = Primary {
            serial: &self.identity.record.serial,
            booted: facts.booted.as_deref(),
            current: facts.current.as_ref(),
        };
        let assignment = (bundle.correlation_id.as_deref(), bundle.version);
        let file_ecus = ecus.iter().take(self.file_ecus.len());
        let decided = Plans {
            primary: match self.file_primary() {
                Some(_) => DirectorPlan::Stay,
                None => plan(&bundle.targets, assignment, &self.state, primary),
            },
            files: file_ecus.map(|ecu| plan_file(&bundle.targets, assignment, &self.state, ecu)).collect(),
        };
        let fulfilled = fulfilled(&bundle, &decided, &self.identity.record.serial);
        if online && self.state.attack.take().is_some() {
            self.save()?;
        }
        if let Some(fulfilled) = fulfilled.filter(|_| online) {
            self.note_fulfilled(fulfilled)?;
        }
        Ok(decided)
    }

    fn server(&self, base: Option<String>) -> Result<Server, AgentError> {
        let base = base.ok_or(AgentError::Config(ConfigError::Missing {
            key: "tls.server",
            purpose: "where updates come from",
        }))?;
        Ok(Server { http: self.http()?, base })
    }

    /// A broken rule is told to the Director, once for as long as it stays the same. A network that is away is not.
    fn note_fault(
        &mut self,
        error: &UptaneError,
        correlation: Option<Option<&str>>,
    ) -> Result<(), AgentError> {
        let UptaneError::Fault(fault) = error else { return Ok(()) };
        // A proxy's page, or a file that is cut, is no metadata at all.
        if fault.is_no_metadata() {
            return Ok(());
        }
        let text: String = format!("{}: {fault}", fault.class()).chars().take(MOST_ATTACK).collect();
        if self.state.attack.as_ref() == Some(&text) {
            return Ok(());
        }
        // Of one repository that is wrong, or only half published, nobody knows yet whether they disagree.
        if !matches!(fault, Fault::Rejected { .. })
            && let Some(id) = correlation
        {
            self.result(id, false, "VERIFICATION_FAILED", &text);
        }
        self.state.attack = Some(text);
        self.save()
    }

    /// The Secondaries first: they need no reboot, and after the Primary's installation this run may be this boot's last.
    fn carry_out(
        &mut self,
        plans: Plans,
        steps: Steps,
        progress: &mut dyn FnMut(Transfer),
    ) -> Result<Answer, AgentError> {
        let (updates, mut answer) = self.sort_files(plans.files)?;
        if steps.download {
            self.download_files(&updates, progress)?;
            if let DirectorPlan::Update { assigned, uri, deltas } = &plans.primary {
                self.download(assigned, uri.as_deref(), deltas, progress)?;
            }
        }
        if let Some((_, first)) = updates.first() {
            let target = first.assigned.target.clone();
            let of_files = match steps {
                Steps { install: true, .. } => {
                    if let DirectorPlan::Update { assigned, .. } = &plans.primary {
                        self.agent.content()?.must_have(&assigned.target)?;
                    }
                    self.install_files(&updates).map(|()| match self.awaiting_file() {
                        Some(waits) => Answer::Installed(waits.target.clone()),
                        None => Answer::Updated(target),
                    })
                }
                Steps { download: true, .. } => Ok(Answer::Downloaded(target)),
                _ => Ok(Answer::Available(target)),
            };
            answer = answer.and(of_files);
        }
        let primary = match plans.primary {
            DirectorPlan::Stay => None,
            DirectorPlan::Failed(assigned) => Some(Ok(Answer::Failed(assigned.target))),
            DirectorPlan::NotOstree(assigned) => Some(Err(self.not_ostree(*assigned)?)),
            DirectorPlan::Update { assigned, .. } => Some(match steps {
                Steps { install: true, .. } => self.install(*assigned),
                Steps { download: true, .. } => Ok(Answer::Downloaded(assigned.target)),
                _ => Ok(Answer::Available(assigned.target)),
            }),
        };
        self.conclude_and_save()?;
        match (primary, answer) {
            (None, answer) | (Some(Ok(Answer::Failed(_))), answer @ Err(_)) => answer,
            (Some(Ok(Answer::Failed(_))), Ok(answer)) if answer != Answer::NoUpdate => Ok(answer),
            (Some(primary), answer) => {
                if let Err(error) = answer {
                    log::error!("{error}");
                }
                primary
            }
        }
    }

    /// What is to be fetched for the Secondaries, and what to say where that is nothing.
    fn sort_files(&mut self, plans: Vec<FilePlan>) -> Result<Sorted, AgentError> {
        let (mut updates, mut answer) = (Vec::new(), Ok(Answer::NoUpdate));
        for (index, plan) in plans.into_iter().enumerate() {
            match plan {
                FilePlan::Stay => {}
                FilePlan::Failed(assigned) => {
                    answer = answer.and(Ok(Answer::Failed(assigned.target)));
                }
                FilePlan::NotAFile(assigned) => answer = Err(self.not_a_file(index, *assigned)?),
                FilePlan::Update(update) => updates.push((index, *update)),
            }
        }
        Ok((updates, answer))
    }

    pub fn conclude_and_save(&mut self) -> Result<(), AgentError> {
        if self.state.ecu_results.is_empty() {
            return Ok(());
        }
        self.conclude();
        self.save()
    }

    /// Told once: it does not get better by asking again.
    fn not_ostree(&mut self, assigned: Assigned) -> Result<AgentError, AgentError> {
        let error = AgentError::NotOstree { target: assigned.target.name.clone() };
        self.failed(assigned, "INSTALL_FAILED", &error.to_string());
        self.save()?;
        Ok(error)
    }

    fn download(
        &mut self,
        assigned: &Assigned,
        uri: Option<&str>,
        deltas: &BTreeMap<String, SignedDelta>,
        progress: &mut dyn FnMut(Transfer),
    ) -> Result<(), AgentError> {
        let agent = self.agent;
        agent.reaches(Stage::Download, Some(&assigned.target.name));
        let report = self.report_of(assigned)?;
        report.download_starts("");
        let server = uri.or(agent.settings.ostree_server.as_deref());
        let fetched = server
            .ok_or(AgentError::Config(ConfigError::Missing {
                key: "tls.server",
                purpose: "where updates come from",
            }))
            .and_then(|server| {
                let source = HttpSource::new(self.http()?, server);
                let signed = SignedDeltas { deltas: deltas.clone(), stats: None };
                agent.content()?.fetch(agent, &source, &assigned.target.commit, &signed, progress)
            });
        report.download_ended(&fetched);
        if let Err(error) = &fetched
            && !agent.stopping()
        {
            self.result(assigned.correlation_id.as_deref(), false, "DOWNLOAD_FAILED", &error.to_string());
            self.save()?;
        }
        fetched
    }

    /// The assignment is on disk before the first change, so that whatever this boot or the next one comes to is told.
    fn install(&mut self, mut assigned: Assigned) -> Result<Answer, AgentError> {
        self.agent.content()?.must_have(&assigned.target)?;
        let report = self.report_of(&assigned)?;
        let installed = crate::store::Installed::load(&self.agent.settings.state)?;
        assigned.failures = installed.bad(&assigned.target.commit).map_or(0, |bad| bad.count);
        self.state.installing = Some(assigned.clone());
        self.save()?;
        let target = assigned.target.clone();
        match self.working.install(&target, &report) {
            Ok(Outcome::Confirmed(_)) => {
                self.state.installing = None;
                self.succeeded(assigned, "The assigned version runs already");
                self.save()?;
                Ok(Answer::Adopted(target))
            }
            Ok(Outcome::FirmwareUnconfirmed(_)) => {
                self.state.installing = None;
                self.save()?;
                Ok(Answer::FirmwareUnconfirmed(target))
            }
            Ok(_) => Ok(Answer::Installed(target)),
            Err(error) => {
                self.state.installing = None;
                self.failed(assigned, "INSTALL_FAILED", &error.to_string());
                self.save()?;
                Err(error)
            }
        }
    }

    fn report_of(&self, assigned: &Assigned) -> Result<Report<'a>, AgentError> {
        let current = self.agent.facts(&[])?.current;
        let id = assigned.correlation_id.as_deref();
        Ok(Report::directed(self.agent, assigned.target.clone(), current.as_ref(), id))
    }
}
