//! Keeps the record of what happened last: one of each run, written only if it is news.

use std::cell::{Cell, RefCell};
use std::time::Duration;

use super::director::Answer;
use super::{Agent, AgentError, Found, Outcome, clock};
use crate::cli::exit;
use crate::decide::{Plan, Stay};
use crate::store::{Last, Stage, StoreError};

/// What is known of the run that is under way, and what this process remembers of the one before.
#[derive(Debug, Default)]
pub struct Run {
    stage: Cell<Stage>,
    target: RefCell<Option<String>>,
    /// A check failed, and the run went on with what was known.
    checked_with: RefCell<Option<(u8, String)>>,
    /// This run has its record.
    recorded: Cell<bool>,
    /// The exact record; the file may be older.
    last: RefCell<Option<Last>>,
    /// A daemon writes a failure when it knows for how long it waits.
    polls: Cell<bool>,
}

/// How a run ended, for the record.
#[derive(Debug)]
pub struct Ending {
    outcome: &'static str,
    code: u8,
    target: Option<String>,
    error: Option<String>,
}

/// What a run returns. None is not worth a record: nothing happened.
pub trait Recorded {
    /// For the record.
    fn ending(&self) -> Option<Ending>;
}

impl Agent {
    /// The record of the last run: the exact one of this process, or the file's if another process wrote it since.
    pub fn last(&self) -> Option<Last> {
        match self.last_two() {
            Ok((_, last)) => last,
            Err(error) => {
                log::debug!("{error}");
                None
            }
        }
    }

    /// The run has come to this stage, with this Target.
    pub(super) fn reaches(&self, stage: Stage, target: Option<&str>) {
        let run = &self.memory.run;
        run.stage.set(stage);
        if stage == Stage::Check || target.is_some() {
            *run.target.borrow_mut() = target.map(str::to_string);
        }
    }

    /// A check failed, and the run goes on with the metadata of an earlier one.
    pub(super) fn goes_on_despite(&self, error: &AgentError) {
        *self.memory.run.checked_with.borrow_mut() = Some((error.exit_code(), error.to_string()));
    }

    /// Makes the record of a run that ended.
    pub(super) fn recorded<T: Recorded>(&self, result: Result<T, AgentError>) -> Result<T, AgentError> {
        match &result {
            Ok(value) => {
                if let Some(ending) = value.ending() {
                    self.record(ending);
                }
            }
            Err(error) => self.record_error(error),
        }
        self.memory.run.recorded.set(true);
        result
    }

    fn record_error(&self, error: &AgentError) {
        let (code, text) = (error.exit_code(), Some(error.to_string()));
        match error {
            // A person ended it, or is at work.
            _ if self.stopping() => {}
            AgentError::Store(StoreError::Locked { .. }) => {}
            _ => self.record(Ending { outcome: "error", code, target: None, error: text }),
        }
    }

    fn record(&self, ending: Ending) {
        let run = &self.memory.run;
        let mut stage = run.stage.get();
        let mut target = ending.target.or_else(|| run.target.borrow().clone());
        let (mut code, mut error, mut outcome) = (ending.code, ending.error, ending.outcome);
        // The run came to nothing because of what it could not find out.
        if let Some((failed, text)) =
            run.checked_with.take().filter(|_| stage == Stage::Check && error.is_none())
        {
            (code, error, outcome, target, stage) = (failed, Some(text), "error", None, Stage::Check);
        }
        let last = Last {
            stage,
            target,
            when: clock(),
            outcome: outcome.to_string(),
            code,
            error,
            ..Last::default()
        };
        let Ok((stored, before)) = self.last_two().inspect_err(|e| log::debug!("{e}")) else { return };
        let last = last.after(before.as_ref());
        if before.as_ref().is_some_and(|b| b.outlives(&last)) {
            return;
        }
        let waits = run.polls.get() && last.error.is_some();
        if !waits && last.is_news(stored.as_ref()) {
            self.write_last(&last);
        }
        *run.last.borrow_mut() = Some(last);
    }

    /// The file's record, and the newer of that and this process's own.
    fn last_two(&self) -> Result<(Option<Last>, Option<Last>), StoreError> {
        let stored = match Last::load(&self.settings.state) {
            Err(error @ StoreError::Damaged { .. }) => {
                log::warn!("{error}");
                None
            }
            loaded => loaded?,
        };
        let own = self.memory.run.last.borrow().clone();
        let newer = own.filter(|own| stored.as_ref().is_none_or(|stored| own.when >= stored.when));
        Ok((stored.clone(), newer.or(stored)))
    }

    fn write_last(&self, last: &Last) {
        // A record is worth less than an update: nothing fails because of it.
        if let Err(error) = last.save(&self.settings.state) {
            log::warn!("what happened is not recorded: {error}");
        }
    }

    /// A daemon's turn begins.
    pub(super) fn turn_begins(&self) {
        self.memory.run.polls.set(true);
        self.memory.run.recorded.set(false);
        self.memory.run.checked_with.take();
    }

    /// A daemon's turn failed; it may have a record already.
    pub(super) fn turn_failed(&self, error: &AgentError) {
        if !self.memory.run.recorded.get() {
            self.record_error(error);
        }
    }

    /// Whether the run before this one ended with this failure of its check.
    pub(super) fn check_failed_so_before(&self, error: &str) -> bool {
        let last = self.last();
        last.is_some_and(|last| {
            last.stage == Stage::Check && last.error.is_some_and(|before| error.starts_with(&before))
        })
    }

    /// A daemon waits: a failure gets the time of the next try, and is written if it is news. Returns what to show.
    pub(super) fn waits(&self, time: Duration) -> Option<String> {
        let mut own = self.memory.run.last.borrow_mut();
        let last = own.as_mut().filter(|last| last.error.is_some())?;
        last.next_try = Some(clock().saturating_add(time.as_secs() as i64));
        let stored = Last::load(&self.settings.state).ok()?;
        if last.is_news(stored.as_ref()) {
            self.write_last(last);
        }
        Some(format!(
            "{} failed ({} in a row): {}; next try in {} s",
            last.stage.name(),
            last.failures,
            last.error.as_deref().unwrap_or_default(),
            time.as_secs()
        ))
    }
}

impl Recorded for Outcome {
    fn ending(&self) -> Option<Ending> {
        let (outcome, target) = self.word();
        let error = match self {
            Outcome::NothingPending | Outcome::RebootNeeded(_) | Outcome::Confirmed(None) => return None,
            Outcome::AppsFailed { .. } | Outcome::RolledBack(_) | Outcome::Damaged(_) => {
                Some(self.to_string())
            }
            _ => None,
        };
        let target = match self {
            Outcome::Stayed { plan, .. } => plan.target(),
            _ => target.map(|t| t.name.clone()),
        };
        Some(Ending { outcome, code: self.exit_code(), target, error })
    }
}

impl Recorded for Found {
    fn ending(&self) -> Option<Ending> {
        let (outcome, code, target) = match &self.plan {
            Plan::Update(target) => ("available", exit::NEW_TARGET, Some(target.name.clone())),
            Plan::Stay(stay) => (stay.word(), stay.exit_code(), stay.target()),
        };
        Some(Ending { outcome, code, target, error: None })
    }
}

impl Recorded for Answer {
    fn ending(&self) -> Option<Ending> {
        let (outcome, target) = self.word();
        Some(Ending { outcome, code: self.exit_code(), target: target.map(|t| t.name.clone()), error: None })
    }
}

impl Stay {
    fn target(&self) -> Option<String> {
        match self {
            Stay::UpToDate(t) | Stay::Pending(t) | Stay::NoRollbackTarget(t) => Some(t.name.clone()),
            Stay::KnownBad { target, .. } | Stay::Older { offered: target, .. } => Some(target.name.clone()),
            Stay::NoneVisible { .. } | Stay::NotFound(_) => None,
        }
    }
}
