//! Pure: what I am, what is offered and what I may, to a plan with a reason that a person can read.

mod delta;
mod lite;
mod target;

pub(crate) use delta::read as read_deltas;
pub use delta::{SignedDelta, SignedFile, SignedPart};
pub use target::Target;

use crate::store::{Installed, TargetRecord};

/// What this device is and knows.
#[derive(Debug, Clone)]
pub struct Facts {
    /// The hardware id that a Target must name.
    pub hardware_id: String,
    /// Tags of which a Target must have one; empty sees every Target.
    pub tags: Vec<String>,
    /// The commit of the booted deployment.
    pub booted: Option<String>,
    /// The Target that runs, where anybody knows.
    pub current: Option<TargetRecord>,
    /// What is remembered.
    pub installed: Installed,
}

impl Facts {
    /// The Target that runs, by its commit: as it is remembered, or else as the metadata names it. A device that
    /// was flashed, and never updated, remembers nothing.
    pub fn recognise(&mut self, offered: &[Target]) {
        let Some(booted) = self.booted.as_deref() else { return };
        let known = [self.installed.current.as_ref(), self.installed.previous.as_ref()];
        let remembered = known.into_iter().flatten().find(|t| t.commit == booted).cloned();
        let newest = || visible(self, offered).into_iter().rfind(|t| t.commit == booted).map(Target::record);
        self.current = remembered.or_else(newest);
    }
}

/// What a person asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Request<'a> {
    /// The newest Target that is visible.
    Latest,
    /// This one, by name or version, even if it is older or known to be bad.
    Named(&'a str),
}

/// Whose rules are followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Policy {
    /// Ours: a Target is its commit.
    Native,
    /// aktualizr-lite's: a Target is its name. `by_hand`: a person asked, so a known-bad Target is tried again.
    Lite {
        /// Whether a command of a person runs, and not the daemon.
        by_hand: bool,
    },
}

impl Policy {
    /// Decides by these rules.
    pub fn decide(self, facts: &Facts, offered: &[Target], request: Request<'_>) -> Plan {
        match self {
            Policy::Native => decide(facts, offered, request),
            Policy::Lite { by_hand } => lite::decide(facts, offered, request, by_hand),
        }
    }
}

/// What is to be done. Made first, shown or carried out later.
#[derive(Debug, Clone, PartialEq)]
pub enum Plan {
    /// Be this Target.
    Update(Box<Target>),
    /// Stay.
    Stay(Stay),
}

/// Why nothing is to be done, or nothing can be done.
#[derive(Debug, Clone, PartialEq)]
pub enum Stay {
    /// The newest visible Target runs already.
    UpToDate(TargetRecord),
    /// A Target waits for its reboot and boot confirmation.
    Pending(TargetRecord),
    /// The newest visible Target failed here before.
    KnownBad {
        /// The Target.
        target: TargetRecord,
        /// What happened.
        reason: String,
        /// How often.
        count: u32,
    },
    /// The newest visible Target is older than what runs.
    Older {
        /// The newest visible one.
        offered: TargetRecord,
        /// What runs.
        current: TargetRecord,
    },
    /// No Target has this hardware id and one of these tags.
    NoneVisible {
        /// Targets in the metadata altogether.
        offered: usize,
    },
    /// No visible Target has the name or version that was asked for.
    NotFound(String),
    /// What runs is known to be bad, and nothing else is known to have run.
    NoRollbackTarget(TargetRecord),
}

/// Whether a Target is chosen because what runs is known to be bad.
pub fn is_rollback(facts: &Facts, target: &Target) -> bool {
    let bad = |t: &TargetRecord| facts.installed.bad(&t.commit).is_some();
    let previous = |t: &TargetRecord| t.commit == target.commit;
    facts.current.as_ref().is_some_and(bad) && facts.installed.previous.as_ref().is_some_and(previous)
}

fn current_name(facts: &Facts) -> &str {
    facts.current.as_ref().map_or("unknown", |t| t.name.as_str())
}

/// The Targets that this device may see, oldest first.
pub fn visible<'a>(facts: &Facts, offered: &'a [Target]) -> Vec<&'a Target> {
    let mut seen: Vec<&Target> = offered.iter().filter(|t| t.fits(&facts.hardware_id, &facts.tags)).collect();
    seen.sort_by(|a, b| a.version.cmp(&b.version).then_with(|| a.name.cmp(&b.name)));
    seen
}

/// Decides. The order of the rules is the order in which a person would ask.
pub fn decide(facts: &Facts, offered: &[Target], request: Request<'_>) -> Plan {
    if let Some(pending) = &facts.installed.pending {
        return Plan::Stay(Stay::Pending(pending.target.clone()));
    }
    let visible = visible(facts, offered);
    match request {
        Request::Latest => latest(facts, &visible, offered.len()),
        Request::Named(wanted) => named(facts, &visible, wanted),
    }
}

fn latest(facts: &Facts, visible: &[&Target], offered: usize) -> Plan {
    let Some(candidate) = visible.last() else {
        return Plan::Stay(Stay::NoneVisible { offered });
    };
    if facts.booted.as_deref() == Some(candidate.commit.as_str()) {
        return Plan::Stay(Stay::UpToDate(candidate.record()));
    }
    if let Some(bad) = facts.installed.bad(&candidate.commit) {
        return Plan::Stay(Stay::KnownBad {
            target: candidate.record(),
            reason: bad.reason.clone(),
            count: bad.count,
        });
    }
    match &facts.current {
        Some(current) if candidate.version < current.version => {
            Plan::Stay(Stay::Older { offered: candidate.record(), current: current.clone() })
        }
        _ => Plan::Update(Box::new((*candidate).clone())),
    }
}

fn named(facts: &Facts, visible: &[&Target], wanted: &str) -> Plan {
    match find(visible, wanted) {
        None => Plan::Stay(Stay::NotFound(wanted.to_string())),
        Some(t) if facts.booted.as_deref() == Some(t.commit.as_str()) => {
            Plan::Stay(Stay::UpToDate(t.record()))
        }
        Some(t) => Plan::Update(Box::new(t.clone())),
    }
}

fn find<'a>(visible: &[&'a Target], wanted: &str) -> Option<&'a Target> {
    let version = wanted.parse::<i64>().ok();
    visible.iter().find(|t| t.name == wanted || version == Some(t.version)).copied()
}

/// The reason in a sentence, with its evidence.
pub fn reason(facts: &Facts, plan: &Plan) -> String {
    match plan {
        Plan::Update(target) if is_rollback(facts, target) => {
            format!("Rolling back from {} to {}", current_name(facts), target.name)
        }
        Plan::Update(target) => match &facts.current {
            Some(current) => format!("Updating from {} to {}", current.name, target.name),
            None => format!("Updating from an unknown Target to {}", target.name),
        },
        Plan::Stay(Stay::UpToDate(t)) => format!("Up to date: {} is the newest Target and it runs", t.name),
        Plan::Stay(Stay::Pending(t)) => {
            format!("{} is installed and waits for its reboot and boot confirmation", t.name)
        }
        Plan::Stay(Stay::KnownBad { target, reason, count }) => format!(
            "{} is the newest Target, but it is known to be bad ({reason}, {count} time{}); a newer one will be taken, or clear it with clear-failed",
            target.name,
            if *count == 1 { "" } else { "s" }
        ),
        Plan::Stay(Stay::Older { offered, current }) => format!(
            "The newest visible Target {} is older than {}, which runs; name it to go back",
            offered.name, current.name
        ),
        Plan::Stay(Stay::NoneVisible { offered }) => format!(
            "No Target for hardware id {}{} among the {offered} in the metadata",
            facts.hardware_id,
            if facts.tags.is_empty() { String::new() } else { format!(" and tags {}", facts.tags.join(",")) }
        ),
        Plan::Stay(Stay::NoRollbackTarget(t)) => format!(
            "{} runs and is known to be bad, but no other Target is known to have run here; name one to install it",
            t.name
        ),
        Plan::Stay(Stay::NotFound(wanted)) => format!("No visible Target has the name or version {wanted}"),
    }
}

#[cfg(test)]
mod tests;
