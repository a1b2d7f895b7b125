//! `show` and `keys list`: what is published, until when it is valid, and who signs it.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::error::Error;
use crate::metadata::{Head, Role, RoleKeys};
use crate::repository::{Published, Repository};
use crate::time;

/// A published set as a script reads it.
pub fn summary(dir: &Path, now: u64) -> Result<Value, Error> {
    let published = Published::load(dir)?;
    let roles: serde_json::Map<_, _> = [
        (Role::Root, &published.root.head),
        (Role::Targets, &published.targets.head),
        (Role::Snapshot, &published.snapshot.head),
        (Role::Timestamp, &published.timestamp.head),
    ]
    .into_iter()
    .map(|(role, head)| (role.name().to_string(), role_summary(&published, role, head, now)))
    .collect();
    Ok(json!({
        "dir": dir,
        "profile": if published.root.head.type_name == "root" { "tuf" } else { "ats" },
        "consistent_snapshot": published.root.consistent_snapshot,
        "roles": roles,
        "targets": published.targets.targets.len(),
    }))
}

/// The summary for a person.
pub fn text(summary: &Value) -> String {
    let mut out = format!(
        "{} profile, {} Targets, {}\n",
        summary["profile"].as_str().unwrap_or_default(),
        summary["targets"],
        if summary["consistent_snapshot"] == true { "versioned names" } else { "plain names" }
    );
    for role in Role::ALL {
        let own = &summary["roles"][role.name()];
        let state = match own["expires_in"].as_i64() {
            Some(left) if left < 0 => "EXPIRED".to_string(),
            Some(left) => format!("{} left", span(left.unsigned_abs())),
            None => "expiry unreadable".to_string(),
        };
        out.push_str(&format!(
            "{:<9}  version {:<4}  expires {}  {state}; {} of {} keys sign\n",
            role.name(),
            own["version"],
            own["expires"].as_str().unwrap_or("?"),
            own["threshold"],
            own["keyids"].as_array().map_or(0, Vec::len),
        ));
    }
    out
}

/// Which keys sign which role, and where the private halves are.
pub fn keys(dir: &Path, private: &[PathBuf]) -> Result<Vec<Value>, Error> {
    let repository = Repository::open(dir, private)?;
    let published = repository.published()?;
    let keyring = repository.keyring()?;
    let mut list = Vec::new();
    for (id, public) in &published.root.keys {
        let of_role = |keys: &RoleKeys| keys.keyids.contains(id);
        let roles: Vec<_> =
            published.root.roles.iter().filter(|(_, k)| of_role(k)).map(|(r, _)| *r).collect();
        list.push(json!({
            "keyid": id,
            "type": public.keytype.to_lowercase(),
            "roles": roles,
            "file": keyring.get(id).map(|key| key.path.clone()),
        }));
    }
    for (id, key) in keyring.iter().filter(|(id, _)| !published.root.keys.contains_key(*id)) {
        list.push(json!({"keyid": id, "type": key.kind(), "roles": [], "file": key.path}));
    }
    Ok(list)
}

fn role_summary(published: &Published, role: Role, head: &Head, now: u64) -> Value {
    let keys = published.root.roles.get(&role).cloned().unwrap_or_default();
    let left = time::parse(&head.expires).map(|expires| expires as i64 - now as i64);
    json!({
        "version": head.version,
        "expires": head.expires,
        "expires_in": left,
        "threshold": keys.threshold,
        "keyids": keys.keyids,
    })
}

fn span(seconds: u64) -> String {
    match seconds {
        172_800.. => format!("{} days", seconds / 86400),
        7200.. => format!("{} hours", seconds / 3600),
        _ => format!("{} minutes", seconds / 60),
    }
}
