//! `refresh`: signs again what would expire, so that devices go on trusting an unchanged repository.

use std::path::{Path, PathBuf};

use crate::error::Error;
use crate::metadata::{Head, Role};
use crate::publish::Change;
use crate::repository::{Published, Repository};
use crate::target::sign_and_publish;
use crate::time;

/// What was signed again, and what should have been.
#[derive(Debug, Default)]
pub struct Refreshed {
    pub roles: Vec<String>,
    /// Roles that expire before the new timestamp does, and whose keys are not at hand.
    pub overdue: Vec<(String, String)>,
}

/// Signs the timestamp, and with it every role that would expire before the new timestamp does. With `all`, every role
/// but root in any case.
pub fn refresh(dir: &Path, keys: &[PathBuf], all: bool) -> Result<Refreshed, Error> {
    let repository = Repository::open(dir, keys)?;
    let published = repository.published()?;
    let keyring = repository.keyring()?;
    let horizon = time::now() + repository.settings.lifetime(Role::Timestamp);
    let mut refreshed = Refreshed::default();
    let mut change = Change { timestamp: true, ..Change::default() };
    for (delegation, role) in &published.roles {
        let due = time::parse(&role.head.expires).is_none_or(|expires| expires < horizon);
        if !due && !all {
            continue;
        }
        if keyring.signers(&delegation.name, &delegation.keys).is_err() {
            refreshed.overdue.push((delegation.name.clone(), role.head.expires.clone()));
            continue;
        }
        refreshed.roles.push(delegation.name.clone());
        change.again.insert(delegation.name.clone());
        change.targets = Some(published.targets.clone());
    }
    for role in [Role::Root, Role::Targets, Role::Snapshot] {
        let head = head(&published, role);
        let due = time::parse(&head.expires).is_none_or(|expires| expires < horizon);
        // A new snapshot follows from new targets in any case.
        let follows = role == Role::Snapshot && change.targets.is_some();
        let wanted = due || follows || (all && role != Role::Root);
        if !wanted {
            continue;
        }
        let role_keys = published.root.roles.get(&role).cloned().unwrap_or_default();
        if role != Role::Snapshot && keyring.signers(role, &role_keys).is_err() {
            refreshed.overdue.push((role.to_string(), head.expires.clone()));
            continue;
        }
        refreshed.roles.push(role.to_string());
        match role {
            Role::Root => {
                let mut root = published.root.clone();
                root.head.version += 1;
                change.root = Some(root);
            }
            Role::Targets => {
                change.targets = Some(published.targets.clone());
                change.again.insert(role.to_string());
            }
            _ => change.snapshot = true,
        }
    }
    refreshed.roles.push(Role::Timestamp.to_string());
    sign_and_publish(&repository, &published, change)?;
    Ok(refreshed)
}

fn head(published: &Published, role: Role) -> &Head {
    match role {
        Role::Root => &published.root.head,
        Role::Targets => &published.targets.head,
        Role::Snapshot => &published.snapshot.head,
        Role::Timestamp => &published.timestamp.head,
    }
}
