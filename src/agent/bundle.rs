//! An offline update: a folder with the repository's metadata, OSTree content, and a signed statement about which
//! Targets it is for. The metadata alone may list more than a device may get from this folder.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::refresh::{Fetch, FetchError, Fetched};
use crate::config::Settings;
use crate::decide::Target;
use crate::gateway::identity::is_production;
use crate::payload::apps::{Reference, Store, wanted};
use crate::store::atomic;
use crate::tuf::{Envelope, Limits, Profile, Request, Signers, Time};

const STATEMENT: &str = "bundle-targets.json";
const STATEMENT_LIMIT: u64 = 1024 * 1024;

/// In the state folder: this device was given offline updates with a statement.
const SEEN: &str = "offline-statement";

/// The folder.
#[derive(Debug, Clone)]
pub struct Bundle(pub PathBuf);

/// The signed statement.
#[derive(Deserialize)]
struct Statement {
    signed: Signed,
}

#[derive(Deserialize)]
struct Signed {
    expires: String,
    #[serde(rename = "x-fio-offline-bundle")]
    bundle: About,
}

#[derive(Deserialize)]
struct About {
    #[serde(rename = "type")]
    kind: String,
    tag: String,
    targets: Vec<String>,
}

impl Bundle {
    /// Where the OSTree content is.
    pub fn repository(&self) -> PathBuf {
        self.0.join("ostree_repo")
    }

    /// Where the apps are: a store.
    pub fn apps(&self) -> PathBuf {
        self.0.join("apps")
    }

    /// Where the metadata is.
    pub fn metadata(&self) -> BundleMetadata {
        BundleMetadata(self.0.join("tuf"))
    }

    /// The Targets that this folder is for and has the content of. `signers` are those of the trusted targets role.
    pub fn restrict(
        &self,
        settings: &Settings,
        signers: &Signers,
        profile: Profile,
        now: Time,
        offered: Vec<Target>,
    ) -> Result<Vec<Target>, BundleError> {
        let allowed = self.statement(settings, signers, profile, now)?;
        let meant = |t: &Target| allowed.as_ref().is_none_or(|names| names.contains(&t.name));
        let fits = |t: &&Target| t.fits(&settings.hardware_id, &settings.tags);
        let offered: Vec<Target> = offered.into_iter().filter(meant).collect();
        let newest = offered.iter().filter(fits).max_by_key(|t| t.version);
        let lacking = newest.and_then(|t| Some((t.name.clone(), self.lacks(t, settings)?)));
        let there: Vec<Target> = offered.into_iter().filter(|t| self.lacks(t, settings).is_none()).collect();
        match lacking {
            Some((_, path)) if !there.iter().any(|t| fits(&t)) => Err(BundleError::NoContent { path }),
            Some((target, path)) => {
                log::warn!(
                    "{}: has not all that {target} needs; an older Target is looked for",
                    path.display()
                );
                Ok(there)
            }
            None => Ok(there),
        }
    }

    /// What of a Target is neither here nor on the device: its commit, or an app that is to run on this device.
    fn lacks(&self, target: &Target, settings: &Settings) -> Option<PathBuf> {
        let (folder, name) = target.commit.split_at(2);
        let commit = self.repository().join("objects").join(folder).join(format!("{name}.commit"));
        if !commit.exists() {
            return Some(self.repository());
        }
        let wanted = settings.compose.then(|| wanted(&target.apps, settings.compose_apps.as_deref()));
        let (here, device) = (Store::at(&self.apps()), Store::at(&settings.apps.store));
        // What is no URI is told where it is fetched.
        let absent = |uri: &String| {
            Reference::parse(uri).is_ok_and(|r| !here.has(&r.digest, None) && !device.has(&r.digest, None))
        };
        wanted?.values().any(absent).then(|| self.apps())
    }

    /// None where the folder has no statement and never had one.
    fn statement(
        &self,
        settings: &Settings,
        signers: &Signers,
        profile: Profile,
        now: Time,
    ) -> Result<Option<Vec<String>>, BundleError> {
        let path = self.0.join("tuf").join(STATEMENT);
        let refused = |reason: String| BundleError::Refused { path: path.clone(), reason };
        let seen = settings.state.join(SEEN);
        let Some(bytes) = read(&path, STATEMENT_LIMIT).map_err(refused)? else {
            if settings.offline_statement || seen.exists() {
                return Err(refused(
                    "there is none, and this device takes no offline update without it: it may have been taken out".into(),
                ));
            }
            log::warn!("{}: there is none; every Target of the metadata may be installed", path.display());
            return Ok(None);
        };
        let envelope =
            Envelope::open(&bytes, profile, &Limits::default()).map_err(|e| refused(e.to_string()))?;
        envelope.verify("targets", signers).map_err(|e| refused(e.to_string()))?;
        let statement: Statement = serde_json::from_slice(&bytes).map_err(|e| refused(e.to_string()))?;
        check(&statement.signed, settings, now).map_err(refused)?;
        if !seen.exists() {
            // Whoever takes the next one out must not gain by it.
            atomic::write(&seen, b"").map_err(|e| refused(e.to_string()))?;
        }
        Ok(Some(statement.signed.bundle.targets))
    }
}

/// What a valid signature does not say: that it is for this device and for today.
fn check(signed: &Signed, settings: &Settings, now: Time) -> Result<(), String> {
    let expires =
        Time::parse(&signed.expires).ok_or(format!("its expiry {:?} is no date", signed.expires))?;
    if expires <= now {
        return Err(format!("it expired at {expires}; get a newer offline update"));
    }
    let bundle = &signed.bundle;
    if let Some((certificate, _)) = &settings.identity() {
        let kind = if is_production(certificate) { "prod" } else { "ci" };
        if bundle.kind != kind {
            return Err(format!("it is of type {:?} and this device takes {kind:?}", bundle.kind));
        }
    }
    if !settings.tags.is_empty() && !settings.tags.contains(&bundle.tag) {
        return Err(format!(
            "it is for tag {:?} and this device has {}",
            bundle.tag,
            settings.tags.join(",")
        ));
    }
    Ok(())
}

/// The metadata of an offline update.
#[derive(Debug)]
pub struct BundleMetadata(PathBuf);

impl Fetch for BundleMetadata {
    fn fetch(&mut self, request: &Request) -> Result<Fetched, FetchError> {
        // A server takes the quotes off, so the files that it publishes have none.
        let path = unquoted(&request.path).unwrap_or_else(|| request.path.clone());
        Ok(read(&self.0.join(path), request.limit)?.map_or(Fetched::Absent, Fetched::Body))
    }
}

/// A path without its percent-quotes; nothing if a quoted byte would lead elsewhere.
fn unquoted(path: &str) -> Option<String> {
    let mut parts = path.split('%');
    let mut bytes = parts.next()?.as_bytes().to_vec();
    for part in parts {
        let byte = u8::from_str_radix(part.get(..2)?, 16).ok()?;
        if matches!(byte, b'/' | 0) {
            return None;
        }
        bytes.push(byte);
        bytes.extend(part.get(2..)?.bytes());
    }
    let path = String::from_utf8(bytes).ok()?;
    path.split('/').all(|part| part != "..").then_some(path)
}

fn read(path: &Path, limit: u64) -> Result<Option<Vec<u8>>, String> {
    let named = |e: io::Error| format!("{}: {e}", path.display());
    let file = match File::open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(named(e)),
    };
    let mut bytes = Vec::new();
    file.take(limit.saturating_add(1)).read_to_end(&mut bytes).map_err(named)?;
    if bytes.len() as u64 > limit {
        return Err(format!("{}: has more than the {limit} bytes that are allowed", path.display()));
    }
    Ok(Some(bytes))
}

/// Why an offline update is refused.
#[derive(Debug)]
#[non_exhaustive]
pub enum BundleError {
    /// The statement is not signed, not for this device, or too old.
    Refused {
        /// Its file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// It has the metadata of Targets, and the content of none.
    NoContent {
        /// Where the newest one lacks something: the OSTree repository, or the apps.
        path: PathBuf,
    },
}

impl fmt::Display for BundleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BundleError::Refused { path, reason } => write!(f, "{}: {reason}", path.display()),
            BundleError::NoContent { path } => write!(
                f,
                "{}: has not all that the newest Target for this device needs, and no older one is there whole; make the offline update again",
                path.display()
            ),
        }
    }
}

impl std::error::Error for BundleError {}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::json;

    use super::*;
    use crate::config::Merged;
    use crate::tuf::testing::{Key, NOW, Repo};

    fn settings() -> Settings {
        settings_at(Path::new("/nonexistent"))
    }

    fn settings_at(storage: &Path) -> Settings {
        let text = format!(
            "[pacman]\ntags = main,test\n[storage]\npath = {}\n[provision]\nprimary_ecu_hardware_id = b\n",
            storage.display()
        );
        let mut merged = Merged::default();
        merged.apply(Path::new("f"), &text).unwrap();
        Settings::from_merged(&merged).unwrap()
    }

    fn target(version: i64) -> Target {
        let record = crate::store::TargetRecord {
            name: format!("b-{version}"),
            version,
            commit: format!("{version:064}"),
            apps: BTreeMap::new(),
        };
        Target { hardware_ids: vec!["b".into()], tags: vec!["main".into()], ..Target::from_record(&record) }
    }

    /// A folder with a statement that names version 2, and with the content of the given versions.
    fn bundle(name: &str, repo: &Repo, keys: &[Key], content: &[i64]) -> Bundle {
        let folder = std::env::temp_dir().join(format!("rust-ota-bundle-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        let signed = json!({"_type": "Targets", "expires": "2099-01-01T00:00:00Z", "version": 1,
            "x-fio-offline-bundle": {"type": "ci", "tag": "test", "targets": ["b-2"]}});
        std::fs::create_dir_all(folder.join("tuf")).unwrap();
        std::fs::write(folder.join("tuf").join(STATEMENT), repo.envelope(&signed, keys).to_string()).unwrap();
        for version in content {
            let objects = folder.join("ostree_repo/objects/00");
            std::fs::create_dir_all(&objects).unwrap();
            std::fs::write(objects.join(format!("{version:062}.commit")), "").unwrap();
        }
        Bundle(folder)
    }

    fn seen(bundle: &Bundle, repo: &Repo) -> Result<Vec<i64>, BundleError> {
        let trusted = repo.trust_root();
        let signers = &trusted.root().role.targets;
        let offered = vec![target(1), target(2), target(3)];
        let left = bundle.restrict(&settings_at(&bundle.0), signers, repo.profile, NOW, offered);
        std::fs::remove_dir_all(&bundle.0).unwrap();
        Ok(left?.iter().map(|t| t.version).collect())
    }

    #[test]
    fn only_what_the_targets_role_signed_is_seen() {
        for profile in [Profile::Tuf, Profile::Ats] {
            let repo = Repo::new(profile);
            let good = bundle("good", &repo, &repo.signers["targets"], &[1, 2, 3]);
            assert_eq!(seen(&good, &repo).unwrap(), [2]);
            let stranger = bundle("stranger", &repo, &repo.signers["snapshot"], &[1, 2, 3]);
            assert!(matches!(seen(&stranger, &repo), Err(BundleError::Refused { .. })));
            let empty = bundle("empty", &repo, &repo.signers["targets"], &[1, 3]);
            assert!(matches!(seen(&empty, &repo), Err(BundleError::NoContent { .. })));
        }
    }

    #[test]
    fn a_statement_that_was_taken_out_is_missed() {
        let repo = Repo::new(Profile::Ats);
        let good = bundle("stripped", &repo, &repo.signers["targets"], &[1, 2, 3]);
        let trusted = repo.trust_root();
        let signers = &trusted.root().role.targets;
        let mut settings = settings_at(&good.0);
        let offered = || vec![target(1), target(2), target(3)];
        let seen = |settings: &Settings| {
            let left = good.restrict(settings, signers, repo.profile, NOW, offered());
            left.map(|left| left.len())
        };
        let statement = good.0.join("tuf").join(STATEMENT);
        let bytes = std::fs::read(&statement).unwrap();
        std::fs::remove_file(&statement).unwrap();
        assert_eq!(seen(&settings).unwrap(), 3, "a fleet that has never signed one");
        settings.offline_statement = true;
        assert!(matches!(seen(&settings), Err(BundleError::Refused { .. })));
        settings.offline_statement = false;
        std::fs::write(&statement, bytes).unwrap();
        assert_eq!(seen(&settings).unwrap(), 1);
        std::fs::remove_file(&statement).unwrap();
        assert!(matches!(seen(&settings), Err(BundleError::Refused { .. })));
        std::fs::remove_dir_all(&good.0).unwrap();
    }

    #[test]
    fn names_of_files_have_no_quotes_and_stay_inside() {
        for (quoted, plain) in [
            ("7.targets.json", Some("7.targets.json")),
            ("delegations/tag-a%2Bb.json", Some("delegations/tag-a+b.json")),
            ("%C3%A9.json", Some("é.json")),
            ("..%2Fx.json", None),
            ("%2E%2E/x.json", None),
            ("a%00.json", None),
            ("a%2", None),
            ("a%zz", None),
            ("%FF.json", None),
        ] {
            assert_eq!(unquoted(quoted).as_deref(), plain, "{quoted}");
        }
    }

    #[test]
    fn a_statement_is_for_this_device_and_for_today() {
        let said = |expires: &str, tag: &str| {
            let bundle = About { kind: "ci".into(), tag: tag.into(), targets: vec![] };
            check(&Signed { expires: expires.into(), bundle }, &settings(), Time(1_767_225_600)).err()
        };
        assert_eq!(said("2026-01-01T00:00:01Z", "test"), None);
        assert!(
            said("2026-01-01T00:00:00Z", "test").unwrap().starts_with("it expired at 2026-01-01T00:00:00Z")
        );
        assert!(said("soon", "test").unwrap().contains("is no date"));
        assert!(said("2026-02-01T00:00:00Z", "other").unwrap().contains("for tag \"other\""));
    }

    #[test]
    fn a_statement_is_for_this_kind_of_device() {
        let folder = std::env::temp_dir().join(format!("rust-ota-bundle-kind-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        for name in ["client.pem", "pkey.pem"] {
            std::fs::write(folder.join(name), "").unwrap();
        }
        let mut merged = Merged::default();
        let text =
            format!("[import]\nbase_path = {}\n[provision]\nprimary_ecu_hardware_id = b\n", folder.display());
        merged.apply(Path::new("f"), &text).unwrap();
        let settings = Settings::from_merged(&merged).unwrap();
        assert!(settings.identity().is_some());
        // What is not known as a device of production takes nothing that is meant for those.
        for (kind, good) in [("ci", true), ("prod", false), ("", false)] {
            let bundle = About { kind: kind.into(), tag: "test".into(), targets: vec![] };
            let signed = Signed { expires: "2099-01-01T00:00:00Z".into(), bundle };
            assert_eq!(check(&signed, &settings, NOW).is_ok(), good, "{kind:?}");
        }
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_file_of_an_offline_update_has_a_limit() {
        let path = std::env::temp_dir().join(format!("rust-ota-bundle-limit-{}", std::process::id()));
        std::fs::write(&path, "1234").unwrap();
        assert_eq!(read(&path, 4).unwrap().as_deref(), Some(&b"1234"[..]));
        let refused = read(&path, 3).unwrap_err();
        assert!(refused.contains("more than the 3 bytes"), "{refused}");
        std::fs::remove_file(&path).unwrap();
        assert_eq!(read(&path, 3), Ok(None));
    }
}
