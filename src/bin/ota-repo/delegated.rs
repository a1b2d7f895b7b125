//! Delegated roles by tag: the top-level targets list no Target of a tag themselves, but one role for each tag. A device
//! that is subscribed to a tag reads that role and no other, from one repository on any static web server.
//!
//! The commands see one list of Targets, [`Published::targets`]. It is shared out between the roles when it is signed,
//! and put together again when it is read.

use std::collections::{BTreeMap, BTreeSet};

use rust_ota::tuf::{Profile, glob};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::error::Error;
use crate::metadata::{Head, PublicKey, Role, RoleKeys, Target, Targets, to_value};
use crate::publish::Signing;
use crate::repository::Published;
use crate::tags::tags_of;

/// TUF clients visit no more roles in one search.
const MOST: usize = 32;
const DELEGATIONS: &str = "delegations";

/// What a user wants of single tags' roles.
#[derive(Clone, Debug, Default)]
pub struct Wishes {
    /// A role's own key, by tag; without one the keys of the targets role sign.
    pub keys: BTreeMap<String, String>,
    /// Patterns of the names that a role may sign, by tag; without any all names.
    pub paths: BTreeMap<String, Vec<String>>,
}

/// The object `delegations` of the top-level targets. What other tools delegate is kept.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Delegations {
    #[serde(default)]
    keys: Map<String, Value>,
    #[serde(default)]
    roles: Vec<Delegation>,
    #[serde(flatten)]
    other: Map<String, Value>,
}

/// One delegation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Delegation {
    pub name: String,
    #[serde(flatten)]
    pub keys: RoleKeys,
    #[serde(default)]
    terminating: bool,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    paths: Vec<String>,
    #[serde(flatten)]
    other: Map<String, Value>,
}

impl Delegation {
    fn of_tag(tag: &str) -> Self {
        let custom = serde_json::json!({"tags": [tag]});
        Self {
            name: role_of(tag),
            keys: RoleKeys::default(),
            terminating: false,
            paths: vec!["*".to_string()],
            other: Map::from_iter([("custom".to_string(), custom)]),
        }
    }

    /// The tags whose Targets the role lists: none for a role of another purpose.
    pub fn tags(&self) -> impl Iterator<Item = &str> {
        self.other.get("custom").and_then(Value::as_object).into_iter().flat_map(tags_of)
    }

    fn lists(&self, profile: Profile, name: &str, target: &Target) -> bool {
        let rules = match profile {
            Profile::Tuf => glob::Rules::Components,
            Profile::Ats => glob::Rules::Fnmatch,
        };
        self.tags().any(|own| tags_of(&target.custom).any(|tag| tag == own))
            && self.paths.iter().any(|pattern| glob::matches(pattern, name, rules))
    }
}

/// The roles of a tag that a top-level role delegates to, in order.
pub fn roles(top: &Targets) -> Result<Vec<Delegation>, Error> {
    let mut roles = read(top)?.roles;
    roles.retain(|role| role.tags().next().is_some());
    Ok(roles)
}

/// The name of a tag's role.
pub fn role_of(tag: &str) -> String {
    format!("tag-{tag}")
}

/// The file of a role below the metadata folder.
pub fn file_name(profile: Profile, consistent_snapshot: bool, role: &str, version: u64) -> String {
    match profile {
        Profile::Ats => format!("delegations/{role}.json"),
        Profile::Tuf if consistent_snapshot => format!("{version}.{role}.json"),
        Profile::Tuf => format!("{role}.json"),
    }
}

/// All Targets in one list: of one name the top-level role's, then the first role's in order.
pub fn together(top: &Targets, roles: &[(Delegation, Targets)]) -> Targets {
    let mut whole = top.clone();
    for (_, role) in roles {
        for (name, target) in &role.targets {
            whole.targets.entry(name.clone()).or_insert_with(|| target.clone());
        }
    }
    whole
}

/// The same Targets as the top-level role and one role for each tag. A Target without a tag stays where it is, and so
/// does one that a device could not see in all roles of its tags.
pub fn share(
    signing: &Signing,
    whole: Targets,
    before: &Published,
    keys: &BTreeMap<String, PublicKey>,
    targets_keys: &RoleKeys,
    wishes: &Wishes,
) -> Result<(Targets, Vec<(Delegation, Targets)>), Error> {
    let profile = signing.settings.profile;
    let mut delegations = read(&whole)?;
    add_missing(&mut delegations, &whole, wishes)?;
    let followed = before.root.roles.get(&Role::Targets).cloned().unwrap_or_default();
    for role in delegations.roles.iter_mut().filter(|role| role.tags().next().is_some()) {
        let tag = role.tags().next().unwrap_or_default().to_string();
        if let Some(paths) = wishes.paths.get(&tag) {
            role.paths.clone_from(paths);
        }
        if let Some(id) = wishes.keys.get(&tag) {
            role.keys = RoleKeys { keyids: vec![id.clone()], threshold: 1 };
        } else if role.keys.keyids.is_empty() || role.keys == followed {
            role.keys = targets_keys.clone();
        }
    }
    list_keys(&mut delegations, signing, keys)?;
    let shared = deal(profile, &whole, &delegations);
    let mut top = whole;
    let placed: BTreeSet<&String> = shared.iter().flat_map(|(_, targets)| targets.keys()).collect();
    top.targets.retain(|name, _| !placed.contains(name));
    top.other.insert(DELEGATIONS.to_string(), to_value(&delegations)?);
    let as_role = |(role, targets): (Delegation, BTreeMap<String, Target>)| {
        let old = before.roles.iter().find(|(own, _)| own.name == role.name).map(|(_, old)| old.clone());
        let new = || Targets {
            head: Head::new(profile, Role::Targets),
            targets: BTreeMap::new(),
            other: Map::new(),
        };
        (role, Targets { targets, ..old.unwrap_or_else(new) })
    };
    Ok((top, shared.into_iter().map(as_role).collect()))
}

fn read(top: &Targets) -> Result<Delegations, Error> {
    let Some(value) = top.other.get(DELEGATIONS) else { return Ok(Delegations::default()) };
    Delegations::deserialize(value)
        .map_err(|e| Error::Canonical { detail: format!("targets.json, {DELEGATIONS}: {e}") })
}

/// A role for each tag that has none. Roles stay when their last Target goes: a snapshot may not drop one.
fn add_missing(delegations: &mut Delegations, whole: &Targets, wishes: &Wishes) -> Result<(), Error> {
    let mut tags: BTreeSet<&str> = whole.targets.values().flat_map(|t| tags_of(&t.custom)).collect();
    tags.extend(wishes.keys.keys().chain(wishes.paths.keys()).map(String::as_str));
    let known: Vec<String> =
        delegations.roles.iter().flat_map(|role| role.tags().map(str::to_string)).collect();
    // Tags of Targets that other tools published may hold anything.
    for tag in tags.into_iter().filter(|tag| crate::tags::fits(tag) && !known.iter().any(|own| own == tag)) {
        if delegations.roles.len() >= MOST {
            let detail =
                format!("{tag} would be tag {}, and clients look into {MOST} roles at most", MOST + 1);
            return Err(Error::option("--tag", detail));
        }
        delegations.roles.push(Delegation::of_tag(tag));
    }
    Ok(())
}

/// The public keys that the roles name, and no others.
fn list_keys(
    delegations: &mut Delegations,
    signing: &Signing,
    root_keys: &BTreeMap<String, PublicKey>,
) -> Result<(), Error> {
    let ids: BTreeSet<String> = delegations.roles.iter().flat_map(|role| role.keys.keyids.clone()).collect();
    delegations.keys.retain(|id, _| ids.contains(id));
    for id in ids.iter().filter(|id| !delegations.keys.contains_key(*id)).collect::<Vec<_>>() {
        let own = || signing.keyring.get(id).map(|key| key.public(signing.settings.profile));
        let Some(public) = root_keys.get(id).cloned().or_else(own) else { continue };
        delegations.keys.insert(id.clone(), to_value(&public)?);
    }
    Ok(())
}

type Dealt = Vec<(Delegation, BTreeMap<String, Target>)>;

fn deal(profile: Profile, whole: &Targets, delegations: &Delegations) -> Dealt {
    let tagged = delegations.roles.iter().filter(|role| role.tags().next().is_some());
    let mut dealt: Dealt = tagged.map(|role| (role.clone(), BTreeMap::new())).collect();
    for (name, target) in &whole.targets {
        let lists = |role: &Delegation| role.lists(profile, name, target);
        let seen_by =
            |tag: &str| dealt.iter().any(|(role, _)| role.tags().any(|own| own == tag) && lists(role));
        // Whoever has one of its tags must see it.
        if !tags_of(&target.custom).all(seen_by) {
            continue;
        }
        for (_, targets) in dealt.iter_mut().filter(|(role, _)| lists(role)) {
            targets.insert(name.clone(), target.clone());
        }
    }
    dealt
}
