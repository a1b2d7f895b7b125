//! The Director's side: which device is to have which Target. It speaks the ATS dialect, as all Directors do.
//!
//! `DIR/director` has the roots, what a device reads to which nothing was ever assigned (`none/`), and the metadata of
//! each device (`devices/ID/`): targets, and a timestamp and snapshot over it, so that an old list cannot be replayed.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use rust_ota::tuf::Profile;
use serde_json::{Map, Value, json};

use crate::error::Error;
use crate::files;
use crate::init::{self, make_root};
use crate::keys::Keyring;
use crate::metadata::{Envelope, Head, Listing, Role, Root, Target, Targets};
use crate::publish::{Change, Signing, write_by_exchange};
use crate::repository::{Published, Settings, file_name, lock, newest_root, private_folders, signed};
use crate::time;
use crate::tls::check_device;

/// What a device reads to which nothing was ever assigned.
const NONE: &str = "none";

/// The published folder of the Director.
pub fn folder(dir: &Path) -> PathBuf {
    dir.join("director")
}

/// The metadata of a device, or the one for all to which nothing was assigned.
pub fn device_folder(dir: &Path, device: &str) -> PathBuf {
    let own = folder(dir).join("devices").join(device);
    if own.is_dir() { own } else { folder(dir).join(NONE) }
}

/// Where what devices send is kept: as given, or beside a repository that has a Director.
pub fn received_folder(dir: &Path, given: Option<&Path>) -> Result<Option<PathBuf>, Error> {
    if let Some(given) = given {
        return Ok(Some(given.to_path_buf()));
    }
    if !folder(dir).is_dir() {
        return Ok(None);
    }
    let dir = dir.canonicalize().map_err(Error::io("resolve", dir))?;
    let mut name = dir.file_name().unwrap_or_default().to_os_string();
    name.push(".received");
    Ok(Some(dir.with_file_name(name)))
}

/// An assignment, as it was asked for.
#[derive(Debug)]
pub struct Assignment {
    pub device: String,
    pub target: String,
    /// The ECU; without it the Primary that the device registered.
    pub ecu: Option<String>,
    /// The hardware id; without it the one that the ECU registered.
    pub hardware_id: Option<String>,
    pub correlation_id: Option<String>,
    pub received: Option<PathBuf>,
}

/// A Director whose metadata is changed.
struct Director {
    dir: PathBuf,
    settings: Settings,
    keyring: Keyring,
    root: Root,
    _lock: std::fs::File,
}

/// Makes keys, the first root, and the empty list. Returns the root.
pub fn init(dir: &Path, keys: &[PathBuf]) -> Result<PathBuf, Error> {
    if Published::load(dir)?.root.consistent_snapshot {
        return Err(Error::option(
            "DIR",
            "its metadata is in the tuf profile, and devices with a Director read the ats one: `ota-repo init DIR --profile ats`",
        ));
    }
    let (published, private) = (folder(dir), private(dir, keys)?);
    for path in [&published, &private] {
        if path.exists() {
            return Err(Error::Exists { path: path.clone(), advice: "a Director is made once" });
        }
    }
    let held = lock(dir)?;
    files::create_private_folder(&private)?;
    let days = |days: u64| days * 86400;
    let expires = BTreeMap::from([
        (Role::Root, days(365)),
        (Role::Targets, days(90)),
        (Role::Snapshot, days(90)),
        (Role::Timestamp, days(30)),
    ]);
    let settings = Settings::new(Profile::Ats, expires);
    let plan = init::Plan {
        dir: dir.to_path_buf(),
        keys: None,
        settings: settings.clone(),
        threshold: BTreeMap::new(),
        given: Vec::new(),
        now: time::now(),
    };
    let (keyring, root) = make_root(&plan, Vec::new(), &private)?;
    settings.save(&private)?;
    let director = Director { dir: dir.to_path_buf(), settings, keyring, root, _lock: held };
    let (name, bytes) = director.signing().root(&director.root, &director.root)?;
    files::create_folder(&published.join("devices"))?;
    director.publish(&published.join(NONE), |_| {})?;
    files::replace(&published.join(&name), &bytes, files::PUBLIC)?;
    Ok(published.join(name))
}

/// Assigns a Target of the Image repository to an ECU of a device, in place of what it had.
pub fn assign(dir: &Path, keys: &[PathBuf], wanted: &Assignment) -> Result<String, Error> {
    check_device(&wanted.device)?;
    let director = Director::open(dir, keys)?;
    let image = Published::load(dir)?;
    let target = image.targets.targets.get(&wanted.target);
    let target = target.ok_or_else(|| Error::NoTarget { name: wanted.target.clone() })?;
    let format = target.custom.get("targetFormat").cloned().unwrap_or_else(|| json!("OSTREE"));
    let (serial, hardware_id) = ecu(dir, wanted)?;
    let correlation = match &wanted.correlation_id {
        Some(id) => id.clone(),
        None => format!("urn:ota-repo:{}:{}", wanted.target, random()?),
    };
    director.change(&wanted.device, |targets| {
        for target in targets.targets.values_mut() {
            if let Some(Value::Object(ecus)) = target.custom.get_mut("ecuIdentifiers") {
                ecus.remove(&serial);
            }
        }
        targets.targets.retain(|_, t| t.custom.get("ecuIdentifiers").is_some_and(|e| *e != json!({})));
        let entry = targets.targets.entry(wanted.target.clone()).or_insert_with(|| Target {
            custom: Map::from_iter([
                ("targetFormat".to_string(), format),
                ("ecuIdentifiers".to_string(), json!({})),
            ]),
            ..target.clone()
        });
        entry.custom["ecuIdentifiers"][&serial] = json!({"hardwareId": hardware_id});
        targets.other.insert("custom".to_string(), json!({"correlationId": correlation}));
    })?;
    Ok(correlation)
}

/// Takes everything back that a device was assigned.
pub fn withdraw(dir: &Path, keys: &[PathBuf], device: &str) -> Result<(), Error> {
    check_device(device)?;
    Director::open(dir, keys)?.change(device, |targets| {
        targets.targets.clear();
        targets.other.remove("custom");
    })
}

/// Signs the metadata of all devices again, before it expires.
pub fn refresh(dir: &Path, keys: &[PathBuf]) -> Result<usize, Error> {
    let director = Director::open(dir, keys)?;
    let mut folders = vec![folder(dir).join(NONE)];
    let devices = folder(dir).join("devices");
    for entry in std::fs::read_dir(&devices).map_err(Error::io("list", &devices))? {
        let path = entry.map_err(Error::io("list", &devices))?.path();
        if path.is_dir() && !path.file_name().unwrap_or_default().to_string_lossy().starts_with('.') {
            folders.push(path);
        }
    }
    for path in &folders {
        director.publish(path, |_| {})?;
    }
    Ok(folders.len())
}

fn private(dir: &Path, keys: &[PathBuf]) -> Result<PathBuf, Error> {
    let folders = private_folders(dir, keys)?;
    Ok(folders.into_iter().next().unwrap_or_default().join("director"))
}

impl Director {
    fn open(dir: &Path, keys: &[PathBuf]) -> Result<Self, Error> {
        let held = lock(dir)?;
        let private = private(dir, keys)?;
        let missing =
            || Error::option("DIR", "has no Director yet: make one with `ota-repo director init DIR`");
        let version = newest_root(&folder(dir))?.ok_or_else(missing)?;
        let settings: Settings = files::read_json(&private.join("settings.json"))?;
        let keyring = Keyring::load(Profile::Ats, &[private])?;
        let root = signed(&folder(dir).join(file_name(true, Role::Root, version)))?;
        Ok(Self { dir: dir.to_path_buf(), settings, keyring, root, _lock: held })
    }

    fn signing(&self) -> Signing<'_> {
        Signing { settings: &self.settings, keyring: &self.keyring, now: time::now() }
    }

    /// Signs a device's list anew; its versions go on from what the device has read so far.
    fn change(&self, device: &str, change: impl FnOnce(&mut Targets)) -> Result<(), Error> {
        let own = folder(&self.dir).join("devices").join(device);
        if !own.is_dir() {
            let none = folder(&self.dir).join(NONE);
            let copies: Vec<_> = [Role::Targets, Role::Snapshot, Role::Timestamp]
                .iter()
                .map(|role| Ok((format!("{role}.json"), files::read(&none.join(format!("{role}.json")))?)))
                .collect::<Result<_, Error>>()?;
            self.put(&own, &copies)?;
        }
        self.publish(&own, change)
    }

    fn publish(&self, folder: &Path, change: impl FnOnce(&mut Targets)) -> Result<(), Error> {
        let before = self.before(folder)?;
        let mut targets = before.targets.clone();
        change(&mut targets);
        let change = Change { targets: Some(targets), ..Change::default() };
        let files = self.signing().others(&before, &self.root, change)?;
        self.put(folder, &files)
    }

    fn put(&self, folder: &Path, files: &[crate::publish::File]) -> Result<(), Error> {
        files::create_folder(folder)?;
        write_by_exchange(folder.parent().unwrap_or(Path::new(".")), folder, files)
    }

    fn before(&self, folder: &Path) -> Result<Published, Error> {
        let head = |role| Head::new(Profile::Ats, role);
        let listing = |role| Listing { head: head(role), meta: BTreeMap::new(), other: Map::new() };
        let none = Targets { head: head(Role::Targets), targets: BTreeMap::new(), other: Map::new() };
        let top: Targets = stored(&folder.join("targets.json"))?.unwrap_or(none);
        Ok(Published {
            root: self.root.clone(),
            timestamp: stored(&folder.join("timestamp.json"))?.unwrap_or_else(|| listing(Role::Timestamp)),
            snapshot: stored(&folder.join("snapshot.json"))?.unwrap_or_else(|| listing(Role::Snapshot)),
            targets: top.clone(),
            top,
            roles: Vec::new(),
        })
    }
}

fn stored<T: serde::de::DeserializeOwned>(path: &Path) -> Result<Option<T>, Error> {
    if !path.exists() {
        return Ok(None);
    }
    let envelope: Envelope<T> = files::read_json(path)?;
    Ok(Some(envelope.signed))
}

/// Serial and hardware id: as given, or as the device registered them.
fn ecu(dir: &Path, wanted: &Assignment) -> Result<(String, String), Error> {
    if let (Some(serial), Some(hardware_id)) = (&wanted.ecu, &wanted.hardware_id) {
        return Ok((serial.clone(), hardware_id.clone()));
    }
    let received = received_folder(dir, wanted.received.as_deref())?.unwrap_or_default();
    let path = received.join(&wanted.device).join("ecus.json");
    let unknown = |detail: String| Error::option(format!("--device {}", wanted.device), detail);
    if !path.exists() {
        return Err(unknown(format!(
            "no {}: it has not registered here; give --ecu SERIAL and --hardware-id ID",
            path.display()
        )));
    }
    let body: Value = files::read_json(&path)?;
    let serial = wanted.ecu.as_deref().or(body["primary_ecu_serial"].as_str()).unwrap_or_default();
    let ecus = body["ecus"].as_array().cloned().unwrap_or_default();
    let registered = ecus.iter().find(|ecu| ecu["ecu_serial"] == serial);
    let registered = registered.ok_or_else(|| unknown(format!("registered no ECU {serial:?}")))?;
    let hardware_id = wanted.hardware_id.as_deref().or(registered["hardware_identifier"].as_str());
    Ok((serial.to_string(), hardware_id.unwrap_or_default().to_string()))
}

fn random() -> Result<String, Error> {
    use ring::rand::{SecureRandom, SystemRandom};
    let mut bytes = [0; 8];
    SystemRandom::new().fill(&mut bytes).map_err(|_| Error::Random)?;
    Ok(rust_ota::tuf::to_hex(&bytes))
}
