//! A repository in memory for the tests of this crate: valid as it is made, and every field can be spoiled.
#![allow(missing_docs, missing_debug_implementations, clippy::unwrap_used)]

use std::collections::BTreeMap;

use base64::Engine;
use ed25519_dalek::{Signer, SigningKey};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::canonical::{Canonical, Form};
use super::hashes::to_hex;
use super::{Limits, Profile, Time, TrustedMetadata, quote};

/// The time of all tests: 2026-01-01T00:00:00Z.
pub const NOW: Time = Time(1_767_225_600);
pub const LATER: &str = "2030-01-01T00:00:00Z";
pub const BEFORE: &str = "2025-12-31T23:59:59Z";

/// An Ed25519 key pair with its key object.
#[derive(Clone)]
pub struct Key {
    pub id: String,
    pub object: Value,
    pub pair: SigningKey,
}

impl Key {
    /// The same number gives the same key.
    pub fn new(number: u8, profile: Profile) -> Key {
        let pair = SigningKey::from_bytes(&[number; 32]);
        let public = to_hex(pair.verifying_key().as_bytes());
        let object = match profile {
            Profile::Tuf => json!({"keytype": "ed25519", "scheme": "ed25519", "keyval": {"public": public}}),
            Profile::Ats => json!({"keytype": "ED25519", "keyval": {"public": public}}),
        };
        Key { id: key_id(&object), object, pair }
    }
}

pub fn key_id(object: &Value) -> String {
    sha256(&canonical(object, Form::Olpc))
}

/// As [`key_id`], for an object that may have no canonical form.
pub fn key_id_of(object: &Value) -> Option<String> {
    let canonical = Canonical::new(object.to_string().as_bytes(), Form::Olpc).ok()?;
    Some(sha256(canonical.document()))
}

pub fn sha256(bytes: &[u8]) -> String {
    to_hex(&Sha256::digest(bytes))
}

pub fn canonical(value: &Value, form: Form) -> Vec<u8> {
    Canonical::new(value.to_string().as_bytes(), form).unwrap().document().to_vec()
}

/// A repository: the `signed` part of each role and who signs it.
#[derive(Clone)]
pub struct Repo {
    pub profile: Profile,
    pub signers: BTreeMap<String, Vec<Key>>,
    pub roles: BTreeMap<String, Value>,
    /// Whether snapshot lists hashes and lengths. The timestamp does in the ATS dialect anyway.
    pub hashes: bool,
}

impl Repo {
    /// Version 1 of all roles, one key each, valid until [`LATER`].
    pub fn new(profile: Profile) -> Repo {
        let names = ["root", "timestamp", "snapshot", "targets"];
        let keys = names.iter().zip(1..).map(|(name, number)| (*name, Key::new(number, profile)));
        let signers: BTreeMap<String, Vec<Key>> =
            keys.map(|(name, key)| (name.to_owned(), vec![key])).collect();
        let mut repo = Repo { profile, signers, roles: BTreeMap::new(), hashes: true };
        for name in names {
            repo.roles.insert(name.to_owned(), repo.fresh(name));
        }
        repo.role("root")["consistent_snapshot"] = json!(profile == Profile::Tuf);
        repo.role("targets")["targets"] = json!({});
        repo.add_target("targets", "file", b"content");
        repo.write_root();
        repo.publish();
        repo
    }

    fn fresh(&self, name: &str) -> Value {
        let kind = match self.profile {
            Profile::Tuf => name.to_owned(),
            Profile::Ats => name[..1].to_uppercase() + &name[1..],
        };
        json!({"_type": kind, "spec_version": "1.0.31", "version": 1, "expires": LATER})
    }

    /// The `signed` part of a role.
    pub fn role(&mut self, name: &str) -> &mut Value {
        self.roles.get_mut(name).unwrap()
    }

    /// Lists the keys of the top-level roles in root.
    pub fn write_root(&mut self) {
        let (mut keys, mut roles) = (json!({}), json!({}));
        for name in ["root", "timestamp", "snapshot", "targets"] {
            for key in &self.signers[name] {
                keys[&key.id] = key.object.clone();
            }
            let ids: Vec<_> = self.signers[name].iter().map(|key| key.id.clone()).collect();
            roles[name] = json!({"keyids": ids, "threshold": 1});
        }
        self.role("root")["keys"] = keys;
        self.role("root")["roles"] = roles;
    }

    /// Adds a target to a role.
    pub fn add_target(&mut self, role: &str, name: &str, content: &[u8]) {
        self.role(role)["targets"][name] =
            json!({"length": content.len(), "hashes": {"sha256": sha256(content)}, "custom": {"n": name}});
    }

    /// Adds a delegation; the role is made if there is none. Each delegation has a key of its own.
    pub fn delegate(&mut self, delegator: &str, name: &str, paths: &[&str], terminating: bool) -> Key {
        let number = 100 + u8::try_from(self.signers.values().flatten().count()).unwrap();
        let key = Key::new(number, self.profile);
        if !self.roles.contains_key(name) {
            let mut role = self.fresh("targets");
            role["targets"] = json!({});
            self.roles.insert(name.to_owned(), role);
        }
        self.signers.entry(name.to_owned()).or_default().push(key.clone());
        let role = self.role(delegator);
        if role.get("delegations").is_none() {
            role["delegations"] = json!({"keys": {}, "roles": []});
        }
        role["delegations"]["keys"][&key.id] = key.object.clone();
        role["delegations"]["roles"].as_array_mut().unwrap().push(json!({
            "name": name, "keyids": [key.id], "threshold": 1, "terminating": terminating, "paths": paths,
        }));
        key
    }

    /// Adds one to a role's version.
    pub fn bump(&mut self, name: &str) {
        let version = self.roles[name]["version"].as_u64().unwrap();
        self.role(name)["version"] = json!(version + 1);
    }

    /// Lists the current state of all targets roles in the snapshot, and that in the timestamp.
    pub fn publish(&mut self) {
        let targets: Vec<String> = self
            .roles
            .keys()
            .filter(|name| !["root", "timestamp", "snapshot"].contains(&name.as_str()))
            .cloned()
            .collect();
        let meta =
            targets.iter().map(|name| (format!("{name}.json"), self.listed(name, self.hashes))).collect();
        self.role("snapshot")["meta"] = Value::Object(meta);
        let listed = self.listed("snapshot", self.hashes || self.profile == Profile::Ats);
        self.role("timestamp")["meta"] = json!({"snapshot.json": listed});
    }

    fn listed(&self, name: &str, hashes: bool) -> Value {
        let bytes = self.file(name);
        let version = &self.roles[name]["version"];
        if hashes {
            json!({"version": version, "length": bytes.len(), "hashes": {"sha256": sha256(&bytes)}})
        } else {
            json!({"version": version})
        }
    }

    /// A new version of these roles and of all that vouch for them.
    pub fn update(&mut self, names: &[&str]) {
        for name in names.iter().chain(&["snapshot", "timestamp"]) {
            self.bump(name);
        }
        self.publish();
    }

    /// The signed file of a role.
    pub fn file(&self, name: &str) -> Vec<u8> {
        self.file_by(name, &self.signers[name])
    }

    /// The file of a role, signed by these keys.
    pub fn file_by(&self, name: &str, keys: &[Key]) -> Vec<u8> {
        self.envelope(&self.roles[name], keys).to_string().into_bytes()
    }

    pub fn envelope(&self, signed: &Value, keys: &[Key]) -> Value {
        let signatures: Vec<Value> = keys.iter().map(|key| self.signature(signed, key)).collect();
        json!({"signatures": signatures, "signed": signed})
    }

    pub fn signature(&self, signed: &Value, key: &Key) -> Value {
        let form = match self.profile {
            Profile::Tuf => Form::Olpc,
            Profile::Ats => Form::Ascii,
        };
        let signature = key.pair.sign(&canonical(signed, form)).to_bytes();
        match self.profile {
            Profile::Tuf => json!({"keyid": key.id, "sig": to_hex(&signature)}),
            Profile::Ats => {
                let sig = base64::engine::general_purpose::STANDARD.encode(signature);
                json!({"keyid": key.id, "method": "ed25519", "sig": sig})
            }
        }
    }

    /// Trusts the root and nothing else.
    pub fn trust_root(&self) -> TrustedMetadata {
        TrustedMetadata::new(self.file("root"), self.profile, Limits::default()).unwrap()
    }

    /// Trusts all four roles as they are.
    pub fn trust(&self) -> TrustedMetadata {
        let mut trusted = self.trust_root();
        self.refresh(&mut trusted).unwrap();
        trusted
    }

    /// Gives the three roles after root.
    pub fn refresh(&self, trusted: &mut TrustedMetadata) -> Result<(), super::Rejection> {
        trusted.update_timestamp(self.file("timestamp"), NOW)?;
        trusted.update_snapshot(self.file("snapshot"), NOW)?;
        trusted.update_targets(self.file("targets"), NOW)
    }

    /// The files as a server has them.
    pub fn serve(&self, files: &mut BTreeMap<String, Vec<u8>>) {
        let consistent = self.roles["root"]["consistent_snapshot"] == json!(true);
        for (name, role) in &self.roles {
            let plain = format!("{}.json", quote(name));
            let versioned = format!("{}.{plain}", role["version"]);
            let path = match name.as_str() {
                "root" => versioned,
                "timestamp" => plain,
                "snapshot" | "targets" if !consistent => plain,
                _ if self.profile == Profile::Ats => format!("delegations/{plain}"),
                _ if consistent => versioned,
                _ => plain,
            };
            files.insert(path, self.file(name));
        }
    }
}
