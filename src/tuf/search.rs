//! The search for one Target through delegations: pre-order, depth first, each role once (5.6.7).

use std::collections::BTreeSet;

use super::error::{Reason, Rejection};
use super::names::listed_name;
use super::roles::TargetInfo;
use super::time::Time;
use super::trusted::TrustedMetadata;

/// A search that is under way. It asks for one role at a time, so that only what is needed is fetched.
#[derive(Debug)]
pub struct Search {
    target: String,
    now: Time,
    /// The next role to visit is the last one.
    to_visit: Vec<Visit>,
    visited: BTreeSet<String>,
}

#[derive(Debug)]
struct Visit {
    role: String,
    delegator: String,
    depth: usize,
}

/// What a search found, or needs.
#[derive(Debug)]
pub enum Step<'t> {
    /// The role that speaks for this Target says this.
    Found {
        /// `targets` or a delegated role.
        role: String,
        /// Length, hashes, custom.
        info: &'t TargetInfo,
    },
    /// No role that may speak about it knows this Target.
    NotFound,
    /// Take this role by [`TrustedMetadata::update_delegated`], then ask again.
    Need {
        /// The delegated role.
        role: String,
        /// The role that delegates to it on this path.
        delegator: String,
    },
}

impl Search {
    /// Starts at the top-level targets.
    pub fn new(target: &str, now: Time) -> Search {
        let top = Visit { role: "targets".to_owned(), delegator: "root".to_owned(), depth: 0 };
        Search { target: target.to_owned(), now, to_visit: vec![top], visited: BTreeSet::new() }
    }

    /// Goes on until a role has to be fetched or the search ends.
    pub fn step<'t>(&mut self, trusted: &'t TrustedMetadata) -> Result<Step<'t>, Rejection> {
        trusted.check(self.now)?;
        while let Some(visit) = self.to_visit.pop() {
            if self.visited.contains(&visit.role) {
                continue;
            }
            if visit.depth > 0 {
                self.check_limits(&visit, trusted)?;
                if !trusted.delegated_is_current(&visit.delegator, &visit.role, self.now) {
                    let step = Step::Need { role: visit.role.clone(), delegator: visit.delegator.clone() };
                    self.to_visit.push(visit);
                    return Ok(step);
                }
            }
            if let Some(info) = self.visit(visit.role.clone(), visit.depth, trusted) {
                return Ok(Step::Found { role: visit.role, info });
            }
        }
        Ok(Step::NotFound)
    }

    fn check_limits(&self, visit: &Visit, trusted: &TrustedMetadata) -> Result<(), Rejection> {
        let limits = trusted.limits();
        let file = || listed_name(&visit.role);
        if visit.depth > limits.depth {
            return Err(Reason::DelegationDepth { limit: limits.depth }.of(file()));
        }
        // The top-level targets are among the visited ones.
        if self.visited.len() > limits.visited_roles {
            return Err(Reason::DelegationCount { limit: limits.visited_roles }.of(file()));
        }
        Ok(())
    }

    /// What the role says of the Target; otherwise its delegations are next, the first one first.
    fn visit<'t>(
        &mut self,
        role: String,
        depth: usize,
        trusted: &'t TrustedMetadata,
    ) -> Option<&'t TargetInfo> {
        let document = trusted.targets_role(&role);
        self.visited.insert(role.clone());
        let targets = &document?.role;
        if let Some(info) = targets.targets.get(&self.target) {
            return Some(info);
        }
        let matches = targets.delegations.matching(&self.target);
        if matches.iter().any(|delegation| delegation.terminating) {
            // Nobody but this role's delegates may speak any more (5.6.7.2.1).
            self.to_visit.clear();
        }
        for delegation in matches.into_iter().rev() {
            self.to_visit.push(Visit { role: delegation.name, delegator: role.clone(), depth: depth + 1 });
        }
        None
    }
}
