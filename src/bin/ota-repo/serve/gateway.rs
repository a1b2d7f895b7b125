//! The device gateway: a device's Director metadata, its registration, its reports. What devices send is kept as JSON
//! files, `RECEIVED/DEVICE/…`, one folder for each client certificate's common name.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use rust_ota::tuf::{Envelope, Limits, Profile, Signers};
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::answer::{Answer, Body};
use super::files as site_files;
use super::http::Request;
use crate::director::{device_folder, folder};
use crate::error::Error;
use crate::files;
use crate::run::MAX_DAYS;
use crate::tls::{Authority, SHARED, check_device};

/// Manifests of a device that are kept.
const MOST_MANIFESTS: u64 = 1000;

/// Answers devices by who they are.
#[derive(Debug)]
pub struct Gateway {
    dir: PathBuf,
    received: PathBuf,
    authority: Option<Authority>,
    /// One request at a time changes what is kept.
    writing: Mutex<()>,
}

impl Gateway {
    /// Of a repository; makes the folder for what is received.
    pub fn open(dir: &Path, received: &Path, authority: Option<Authority>) -> Result<Self, Error> {
        files::create_private_folder(received)?;
        Ok(Self {
            dir: dir.to_path_buf(),
            received: received.to_path_buf(),
            authority,
            writing: Mutex::new(()),
        })
    }

    /// The answer to a device.
    pub fn answer(&self, request: &Request, body: &[u8], device: Option<&str>) -> Answer {
        // Whoever has the shared credential may get a certificate, and nothing else.
        if device == Some(SHARED) && request.method == "POST" && request.path == ["devices"] {
            return or_500(self.provision(body));
        }
        let Some(device) = device.filter(|device| check_device(device).is_ok()) else {
            return problem(
                403,
                "no_device",
                "a client certificate with a device id as its common name is needed",
            );
        };
        let path: Vec<&str> = request.path.iter().map(String::as_str).collect();
        let _writing = self.writing.lock();
        let answer = match (request.method.as_str(), path.as_slice()) {
            ("GET" | "HEAD", ["director", name]) => return self.metadata(request, name, device),
            ("GET" | "HEAD", ["campaigner", "campaigns"]) => self.campaigns(device),
            ("POST", ["director", "ecus"]) => self.register(device, body),
            ("PUT", ["director", "manifest"]) => self.manifest(device, body),
            ("POST", ["events"]) => self.events(device, body),
            ("PUT", ["system_info"]) => self.keep(device, "system_info.json", body),
            ("PUT", ["system_info", "network"]) => self.keep(device, "network.json", body),
            ("PUT", ["core", "installed"]) => self.keep(device, "installed.json", body),
            ("PUT" | "POST", ["system_info", "config"]) => self.keep(device, "config.toml", body),
            _ => Ok(Answer::status(404)),
        };
        or_500(answer)
    }

    fn provision(&self, body: &[u8]) -> Result<Answer, Error> {
        let wanted = serde_json::from_slice::<Wanted>(body).ok();
        let days = wanted.as_ref().and_then(Wanted::days).filter(|days| (1..=MAX_DAYS).contains(days));
        let Some((wanted, days)) = wanted.filter(|w| check_device(&w.device_id).is_ok()).zip(days) else {
            return Ok(problem(400, "invalid_entity", "a deviceId and a ttl in days are needed"));
        };
        let Some(authority) = &self.authority else {
            return Ok(problem(403, "no_authority", "this server has no key to sign certificates with"));
        };
        let _writing = self.writing.lock();
        Ok(match authority.provision(&wanted.device_id, days)? {
            Some(packed) => Answer {
                status: 200,
                headers: vec![("Content-Type", "application/x-pkcs12".to_string())],
                body: Body::Bytes(packed),
            },
            None => problem(409, "device_already_registered", "there is a certificate for this device id"),
        })
    }

    fn metadata(&self, request: &Request, name: &str, device: &str) -> Answer {
        let place =
            if name.ends_with(".root.json") { folder(&self.dir) } else { device_folder(&self.dir, device) };
        site_files::answer(&place, &[name.to_string()], request)
    }

    /// What is offered to all devices: `DIR/campaigns.json`, an array.
    fn campaigns(&self, device: &str) -> Result<Answer, Error> {
        let path = self.dir.join("campaigns.json");
        let list: Value = if path.exists() { files::read_json(&path)? } else { json!([]) };
        Ok(Answer::json(200, &json!({"campaigns": list, "deviceId": device})))
    }

    /// Once. A second time is a conflict, also with the same content: that is what servers of this protocol say.
    fn register(&self, device: &str, body: &[u8]) -> Result<Answer, Error> {
        let Ok(registration) = serde_json::from_slice::<Registration>(body) else {
            return Ok(problem(400, "invalid_entity", "not a registration"));
        };
        if !registration.ecus.iter().any(|ecu| ecu.ecu_serial == registration.primary_ecu_serial) {
            return Ok(problem(400, "invalid_entity", "the Primary is not among the ECUs"));
        }
        if let Some(ecu) = registration.ecus.iter().find(|ecu| ecu.signers("k").is_none()) {
            return Ok(problem(
                400,
                "invalid_entity",
                &format!("{}: a key that cannot be used", ecu.ecu_serial),
            ));
        }
        let path = self.received.join(device).join("ecus.json");
        if path.exists() {
            return Ok(problem(409, "ecu_already_registered", "this device has registered its ECUs"));
        }
        self.keep(device, "ecus.json", body)
    }

    /// Only what the registered keys signed, with counters that go up.
    fn manifest(&self, device: &str, body: &[u8]) -> Result<Answer, Error> {
        let own = self.received.join(device);
        if !own.join("ecus.json").exists() {
            return Ok(problem(404, "missing_device", "this device has not registered its ECUs"));
        }
        let registration: Registration = files::read_json(&own.join("ecus.json"))?;
        let before: Value = match fs::read(own.join("manifest.json")) {
            Ok(bytes) => serde_json::from_slice(&bytes).unwrap_or_default(),
            Err(_) => Value::Null,
        };
        if let Err(reason) = check_manifest(&registration, body, &before) {
            return Ok(problem(400, "invalid_manifest", &reason));
        }
        let log = own.join("manifests");
        files::create_folder(&log)?;
        let number = fs::read_dir(&log).map_err(Error::io("list", &log))?.count() as u64 + 1;
        if number <= MOST_MANIFESTS {
            files::replace(&log.join(format!("{number:04}.json")), body, files::PUBLIC)?;
        }
        self.keep(device, "manifest.json", body)
    }

    /// One event a line; one that came before is not kept twice.
    fn events(&self, device: &str, body: &[u8]) -> Result<Answer, Error> {
        let Ok(events) = serde_json::from_slice::<Vec<Value>>(body) else {
            return Ok(problem(400, "invalid_entity", "not an array of events"));
        };
        let path = self.received.join(device).join("events.jsonl");
        let mut text = fs::read_to_string(&path).unwrap_or_default();
        let seen = |text: &str, id: &Value| {
            text.lines().filter_map(|l| serde_json::from_str::<Value>(l).ok()).any(|e| e["id"] == *id)
        };
        for event in events {
            if !seen(&text, &event["id"]) {
                text.push_str(&format!("{event}\n"));
            }
        }
        self.keep(device, "events.jsonl", text.as_bytes())
    }

    fn keep(&self, device: &str, name: &str, body: &[u8]) -> Result<Answer, Error> {
        let own = self.received.join(device);
        files::create_folder(&own)?;
        files::replace(&own.join(name), body, files::PUBLIC)?;
        Ok(Answer::json(200, &json!({})))
    }
}

/// What a device asks for. Clients write the number as a number, or as text.
#[derive(Deserialize)]
struct Wanted {
    #[serde(rename = "deviceId")]
    device_id: String,
    ttl: Value,
}

impl Wanted {
    fn days(&self) -> Option<u64> {
        self.ttl.as_u64().or_else(|| self.ttl.as_str()?.parse().ok())
    }
}

#[derive(Deserialize)]
struct Registration {
    primary_ecu_serial: String,
    ecus: Vec<Registered>,
}

#[derive(Deserialize)]
struct Registered {
    ecu_serial: String,
    #[serde(rename = "clientKey")]
    client_key: Box<RawValue>,
}

impl Registered {
    fn signers(&self, keyid: &str) -> Option<Signers> {
        Signers::of_key(keyid, &self.client_key).ok()
    }
}

fn check_manifest(registration: &Registration, body: &[u8], before: &Value) -> Result<(), String> {
    let value: Value = serde_json::from_slice(body).map_err(|e| e.to_string())?;
    let primary = &registration.primary_ecu_serial;
    if value["signed"]["primary_ecu_serial"] != primary.as_str() {
        return Err("of another Primary".to_string());
    }
    check_signature(registration, primary, &value)?;
    let manifests = value["signed"]["ecu_version_manifests"].as_object().ok_or("no ECU says anything")?;
    for (serial, manifest) in manifests {
        check_signature(registration, serial, manifest)?;
        if manifest["signed"]["ecu_serial"] != serial.as_str() {
            return Err(format!("{serial}: the word of another ECU"));
        }
        let old = &before["signed"]["ecu_version_manifests"][serial];
        let (old, new) = (counter(old), counter(manifest));
        if new.is_none() || new <= old {
            return Err(format!("{serial}: the report counter went from {old:?} to {new:?}"));
        }
    }
    Ok(())
}

fn counter(manifest: &Value) -> Option<u64> {
    manifest["signed"]["report_counter"].as_str()?.parse().ok()
}

fn check_signature(registration: &Registration, serial: &str, manifest: &Value) -> Result<(), String> {
    let ecu = registration.ecus.iter().find(|ecu| ecu.ecu_serial == serial);
    let keyid = manifest["signatures"][0]["keyid"].as_str().unwrap_or_default();
    let signers =
        ecu.and_then(|ecu| ecu.signers(keyid)).ok_or_else(|| format!("{serial}: not registered"))?;
    let bytes = manifest.to_string();
    let envelope =
        Envelope::open(bytes.as_bytes(), Profile::Ats, &Limits::default()).map_err(|e| e.to_string())?;
    envelope.verify(serial, &signers).map_err(|e| e.to_string())
}

fn or_500(answer: Result<Answer, Error>) -> Answer {
    answer.unwrap_or_else(|error| {
        eprintln!("ota-repo: {error}");
        Answer::status(500)
    })
}

fn problem(status: u16, code: &str, description: &str) -> Answer {
    Answer::json(status, &json!({"code": code, "description": description}))
}
