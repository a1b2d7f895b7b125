//! Delegations of a targets role: who may say what about which Targets (4.5).

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

use super::error::Reason;
use super::glob;
use super::hashes::to_hex;
use super::keys::{KeyRing, RoleWire, Signers};
use super::names::check_role_name;
use super::profile::{Limits, Profile};

/// The delegations of one role, in the order that gives precedence.
#[derive(Clone, Debug, Default)]
pub struct Delegations {
    roles: Vec<Delegation>,
    bins: Option<Bins>,
    rules: glob::Rules,
}

/// One delegation.
#[derive(Clone, Debug)]
pub struct Delegation {
    /// The delegated role.
    pub name: String,
    /// Who signs for it.
    pub signers: Signers,
    /// Whether nobody after it may speak about a Target that it matches.
    pub terminating: bool,
    /// The tags whose Targets the role lists. Not of the specification: `custom.tags` of the delegation.
    pub tags: Vec<String>,
    scope: Scope,
}

#[derive(Clone, Debug)]
enum Scope {
    Paths(Vec<String>),
    HashPrefixes(Vec<String>),
}

/// Succinct hash bin delegations (TAP 15): 2^bits roles that share the Targets by their hash.
#[derive(Clone, Debug)]
struct Bins {
    prefix: String,
    bits: u32,
    signers: Signers,
}

#[derive(Deserialize)]
pub(super) struct DelegationsWire<'b> {
    #[serde(borrow)]
    keys: BTreeMap<String, &'b RawValue>,
    #[serde(default)]
    roles: Vec<DelegationWire>,
    succinct_roles: Option<BinsWire>,
}

#[derive(Deserialize)]
struct DelegationWire {
    name: String,
    keyids: Vec<String>,
    threshold: u64,
    #[serde(default)]
    terminating: bool,
    paths: Option<Vec<String>>,
    path_hash_prefixes: Option<Vec<String>>,
    custom: Option<Box<RawValue>>,
}

#[derive(Default, Deserialize)]
struct Custom {
    #[serde(default)]
    tags: Vec<String>,
}

#[derive(Deserialize)]
struct BinsWire {
    keyids: Vec<String>,
    threshold: u64,
    bit_length: u32,
    name_prefix: String,
}

/// A delegation that matches a Target.
#[derive(Clone, Debug)]
pub struct Match<'d> {
    /// The delegated role.
    pub name: String,
    /// Who signs for it.
    pub signers: &'d Signers,
    /// Whether the search ends with it.
    pub terminating: bool,
}

impl Delegations {
    pub(super) fn read(
        wire: DelegationsWire<'_>,
        profile: Profile,
        limits: &Limits,
    ) -> Result<Delegations, Reason> {
        let ring = KeyRing::new(&wire.keys, profile, limits)?;
        if let (Some(bins), false) = (&wire.succinct_roles, wire.roles.is_empty()) {
            return Err(Reason::DelegationKind { role: bins.name_prefix.clone() });
        }
        check_unique(&wire.roles)?;
        let roles = wire.roles.into_iter().map(|role| Delegation::read(role, &ring, limits));
        let bins = wire.succinct_roles.map(|bins| Bins::read(bins, &ring, limits));
        Ok(Delegations {
            roles: roles.collect::<Result<_, _>>()?,
            bins: bins.transpose()?,
            rules: rules(profile),
        })
    }

    /// The delegations that match a Target, in order, up to and with the first terminating one.
    pub fn matching(&self, target: &str) -> Vec<Match<'_>> {
        let mut matches = Vec::new();
        for role in &self.roles {
            if role.scope.matches(target, self.rules) {
                matches.push(role.as_match());
                if role.terminating {
                    break;
                }
            }
        }
        matches.extend(self.bins.as_ref().map(|bins| bins.bin_of(target)));
        matches
    }

    /// Whether a role of the list may say what a Target is: it matches, and no terminating one before it does.
    pub fn speaks_for(&self, role: &str, target: &str) -> bool {
        let mut matching =
            self.roles.iter().filter(|delegation| delegation.scope.matches(target, self.rules));
        matching
            .find(|delegation| delegation.terminating || delegation.name == role)
            .is_some_and(|d| d.name == role)
    }

    /// Who signs for a delegated role.
    pub fn signers(&self, role: &str) -> Option<&Signers> {
        let listed = self.roles.iter().find(|delegation| delegation.name == role);
        let bins = || self.bins.as_ref().filter(|bins| bins.has(role)).map(|bins| &bins.signers);
        listed.map(|delegation| &delegation.signers).or_else(bins)
    }

    /// One that is delegated to, if anybody is: by its name, or by what the names of hash bins begin with.
    pub fn first(&self) -> Option<&str> {
        let bins = self.bins.as_ref().map(|bins| bins.prefix.as_str());
        self.roles.first().map(|delegation| delegation.name.as_str()).or(bins)
    }

    /// The named delegations, in order. Hash bins are not among them.
    pub fn roles(&self) -> &[Delegation] {
        &self.roles
    }
}

impl Delegation {
    fn read(wire: DelegationWire, ring: &KeyRing, limits: &Limits) -> Result<Delegation, Reason> {
        check_role_name(&wire.name)?;
        let scope = match (wire.paths, wire.path_hash_prefixes) {
            (Some(_), Some(_)) => return Err(Reason::DelegationKind { role: wire.name }),
            (Some(paths), None) => Scope::Paths(paths),
            (None, Some(prefixes)) => Scope::HashPrefixes(prefixes),
            // Both are optional; a role without either is trusted for nothing.
            (None, None) => Scope::Paths(Vec::new()),
        };
        let keys = RoleWire { keyids: wire.keyids, threshold: wire.threshold };
        let signers = ring.signers(&wire.name, &keys, limits)?;
        // Anybody may use the field for anything: what is not ours is no tag.
        let custom = wire.custom.and_then(|custom| serde_json::from_str::<Custom>(custom.get()).ok());
        let tags = custom.unwrap_or_default().tags;
        Ok(Delegation { name: wire.name, signers, terminating: wire.terminating, tags, scope })
    }

    fn as_match(&self) -> Match<'_> {
        Match { name: self.name.clone(), signers: &self.signers, terminating: self.terminating }
    }
}

impl Scope {
    fn matches(&self, target: &str, rules: glob::Rules) -> bool {
        match self {
            Scope::Paths(patterns) => patterns.iter().any(|pattern| glob::matches(pattern, target, rules)),
            Scope::HashPrefixes(prefixes) => {
                let hash = to_hex(&Sha256::digest(target));
                prefixes.iter().any(|prefix| hash.starts_with(prefix.as_str()))
            }
        }
    }
}

impl Bins {
    fn read(wire: BinsWire, ring: &KeyRing, limits: &Limits) -> Result<Bins, Reason> {
        if !(1..=32).contains(&wire.bit_length) {
            let detail = format!("bit_length 1 to 32 expected, got {}", wire.bit_length);
            return Err(Reason::Shape { detail });
        }
        let keys = RoleWire { keyids: wire.keyids, threshold: wire.threshold };
        let signers = ring.signers(&wire.name_prefix, &keys, limits)?;
        let bins = Bins { prefix: wire.name_prefix, bits: wire.bit_length, signers };
        check_role_name(&bins.name(0))?;
        Ok(bins)
    }

    /// The bin of a Target: the first bits of the SHA-256 of its name.
    fn bin_of(&self, target: &str) -> Match<'_> {
        let hash = Sha256::digest(target);
        let first = hash.iter().take(4).fold(0u64, |bits, byte| bits << 8 | u64::from(*byte));
        let bin = first >> (32 - self.bits);
        Match { name: self.name(bin), signers: &self.signers, terminating: true }
    }

    fn name(&self, bin: u64) -> String {
        let digits = self.bits.div_ceil(4) as usize;
        format!("{}-{bin:0digits$x}", self.prefix)
    }

    fn has(&self, role: &str) -> bool {
        let bin = role.strip_prefix(&self.prefix).and_then(|rest| rest.strip_prefix('-'));
        let bin = bin.and_then(|digits| u64::from_str_radix(digits, 16).ok());
        bin.is_some_and(|bin| bin < 1 << self.bits && self.name(bin) == role)
    }
}

fn check_unique(roles: &[DelegationWire]) -> Result<(), Reason> {
    let mut seen = BTreeSet::new();
    match roles.iter().find(|role| !seen.insert(role.name.as_str())) {
        Some(twice) => Err(Reason::DuplicateRole { role: twice.name.clone() }),
        None => Ok(()),
    }
}

fn rules(profile: Profile) -> glob::Rules {
    match profile {
        Profile::Tuf => glob::Rules::Components,
        Profile::Ats => glob::Rules::Fnmatch,
    }
}
