//! The rules of aktualizr-lite: a Target is its name, a version only orders, a person may insist.

use super::{Facts, Plan, Request, Stay, find, visible};
use crate::decide::Target;
use crate::store::TargetRecord;

/// Decides. Each rule that applies ends it.
pub fn decide(facts: &Facts, offered: &[Target], request: Request<'_>, by_hand: bool) -> Plan {
    if let Some(pending) = &facts.installed.pending {
        return Plan::Stay(Stay::Pending(pending.target.clone()));
    }
    let visible = visible(facts, offered);
    let Some(newest) = visible.last() else {
        return Plan::Stay(Stay::NoneVisible { offered: offered.len() });
    };
    match request {
        Request::Latest => latest(facts, &visible, newest, by_hand),
        Request::Named(wanted) => match find(&visible, wanted) {
            None => Plan::Stay(Stay::NotFound(wanted.to_string())),
            Some(t) if runs(facts, t) => Plan::Stay(Stay::UpToDate(t.record())),
            Some(t) => Plan::Update(Box::new(t.clone())),
        },
    }
}

fn latest(facts: &Facts, visible: &[&Target], newest: &Target, by_hand: bool) -> Plan {
    if let Some(current) = &facts.current {
        if newest.version < current.version {
            return Plan::Stay(Stay::Older { offered: newest.record(), current: current.clone() });
        }
        if runs(facts, newest) && facts.installed.bad(&current.commit).is_some() {
            return back_from(facts, visible, current);
        }
    }
    if runs(facts, newest) {
        return Plan::Stay(Stay::UpToDate(newest.record()));
    }
    match facts.installed.bad(&newest.commit) {
        Some(bad) if !by_hand => Plan::Stay(Stay::KnownBad {
            target: newest.record(),
            reason: bad.reason.clone(),
            count: bad.count,
        }),
        _ => Plan::Update(Box::new(newest.clone())),
    }
}

/// What ran before, even if the metadata does not name it any more.
fn back_from(facts: &Facts, visible: &[&Target], current: &TargetRecord) -> Plan {
    let good = |t: &&TargetRecord| t.commit != current.commit && facts.installed.bad(&t.commit).is_none();
    match facts.installed.previous.as_ref().filter(good) {
        Some(previous) => Plan::Update(Box::new(whole(visible, previous))),
        None => Plan::Stay(Stay::NoRollbackTarget(current.clone())),
    }
}

fn whole(visible: &[&Target], record: &TargetRecord) -> Target {
    let known = visible.iter().find(|t| t.name == record.name && t.commit == record.commit);
    known.map_or_else(|| Target::from_record(record), |t| (*t).clone())
}

fn runs(facts: &Facts, target: &Target) -> bool {
    facts.current.as_ref().is_some_and(|c| c.name == target.name)
}
