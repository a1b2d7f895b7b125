//! `show` and `keys list`: what is published, until when it is valid, and who signs it.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::delegated::Delegation;
use crate::error::Error;
use crate::metadata::{Head, Role, RoleKeys, Targets};
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
    .map(|(role, head)| {
        let keys = published.root.roles.get(&role).cloned().unwrap_or_default();
        (role.name().to_string(), role_summary(&keys, head, now))
    })
    .collect();
    let of_tag = |(own, role): &(Delegation, Targets)| {
        let mut summary = role_summary(&own.keys, &role.head, now);
        summary["name"] = json!(own.name);
        summary["tags"] = own.tags().collect();
        summary["targets"] = json!(role.targets.len());
        summary
    };
    Ok(json!({
        "dir": dir,
        "profile": if published.root.head.type_name == "root" { "tuf" } else { "ats" },
        "consistent_snapshot": published.root.consistent_snapshot,
        "roles": roles,
        "tags": published.roles.iter().map(of_tag).collect::<Vec<_>>(),
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
    let all = Role::ALL.iter().map(|role| (role.name(), &summary["roles"][role.name()]));
    let of_tags = summary["tags"].as_array().into_iter().flatten();
    for (name, own) in all.chain(of_tags.map(|own| (own["name"].as_str().unwrap_or_default(), own))) {
        let state = match own["expires_in"].as_i64() {
            Some(left) if left < 0 => "EXPIRED".to_string(),
            Some(left) => format!("{} left", span(left.unsigned_abs())),
            None => "expiry unreadable".to_string(),
        };
        out.push_str(&format!(
            "{:<9}  version {:<4}  expires {}  {state}; {} of {} keys sign\n",
            name,
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
        let of_tags = published.roles.iter().filter(|(own, _)| own.keys.keyids.iter().any(|k| k == id));
        let roles: Vec<_> = of_tags.map(|(own, _)| &own.name).collect();
        list.push(json!({"keyid": id, "type": key.kind(), "roles": roles, "file": key.path}));
    }
    Ok(list)
}

fn role_summary(keys: &RoleKeys, head: &Head, now: u64) -> Value {
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
