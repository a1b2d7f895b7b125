//! Delegated roles that are of a tag: which of them a device reads, and for which Targets each of them speaks.
//!
//! The top-level targets say of a delegation whose it is, by `"custom": {"tags": ["devel"]}` in its object. A device
//! reads the roles of its own tags and no others. Clients that do not know the field find the same Targets by name.

use std::collections::BTreeSet;

use super::delegation::Delegation;
use super::error::{Reason, Rejection};
use super::names::listed_name;
use super::roles::TargetInfo;
use super::time::Time;
use super::trusted::TrustedMetadata;

/// The role that may speak about all Targets.
pub const TOP: &str = "targets";

impl TrustedMetadata {
    /// The roles that the top-level targets delegate to for these tags, in order; for all tags if none is given.
    /// Roles without a tag are not among them.
    pub fn tagged_roles(&self, tags: &[String]) -> Result<Vec<String>, Rejection> {
        let names: Vec<String> = self.tagged(tags).iter().map(|delegation| delegation.name.clone()).collect();
        let limit = self.limits().visited_roles;
        match names.get(limit) {
            // 5.6.7.1.
            Some(one_more) => Err(Reason::DelegationCount { limit }.of(listed_name(one_more))),
            None => Ok(names),
        }
    }

    /// The Targets of these roles that the roles may speak about, each with the delegation that made it so: of one
    /// name the first role's in order, and no name that the top-level targets have (5.6.7). A role that was not taken,
    /// or not for the top-level targets, or is no longer the listed one, says nothing.
    pub fn tagged_targets(&self, tags: &[String], now: Time) -> Vec<(&Delegation, &str, &TargetInfo)> {
        let Some(top) = self.top_targets() else { return Vec::new() };
        let mut seen: BTreeSet<&str> = top.role.targets.keys().map(String::as_str).collect();
        let mut found = Vec::new();
        for delegation in self.tagged(tags) {
            if !self.delegated_is_current(TOP, &delegation.name, now) {
                continue;
            }
            let role = self.targets_role(&delegation.name);
            for (name, info) in role.iter().flat_map(|document| &document.role.targets) {
                if top.role.delegations.speaks_for(&delegation.name, name) && seen.insert(name) {
                    found.push((delegation, name.as_str(), info));
                }
            }
        }
        found
    }

    /// The size of all targets roles that are held.
    pub fn tagged_bytes(&self) -> usize {
        let tagged = self.tagged(&[]);
        let roles = tagged.iter().filter_map(|delegation| self.targets_role(&delegation.name));
        roles.chain(self.top_targets()).map(|document| document.bytes.len()).sum()
    }

    fn tagged<'t>(&'t self, tags: &[String]) -> Vec<&'t Delegation> {
        let all = self.top_targets().into_iter().flat_map(|document| document.role.delegations.roles());
        let wanted = |own: &String| tags.is_empty() || tags.contains(own);
        all.filter(|delegation| delegation.tags.iter().any(wanted)).collect()
    }
}
