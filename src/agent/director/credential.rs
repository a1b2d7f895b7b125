//! A device without a certificate gets one, with the credential that all devices of its fleet share.
//!
//! A cut at any point leaves what the next run goes on from: the device id is kept before it is asked for, the server's answer
//! as it came before it is unpacked, and it is there until all of it is in its place.

use std::path::Path;

use serde_json::json;
use zeroize::Zeroizing;

use super::super::refresh::{self, Persist};
use super::super::{AgentError, random_id};
use super::provision::Problem;
use super::session::Session;
use super::trust;
use crate::config::{ConfigError, SharedCredential};
use crate::device::{pem, zip::Zip};
use crate::gateway::pkcs12::{self, Credential};
use crate::gateway::{Http, HttpSettings, tls};
use crate::store::atomic;
use crate::tuf::{Limits, Profile};
use crate::uptane::{Repository, canonical};

const CREDENTIAL: &str = "autoprov_credentials.p12";
/// Authorities of the server, where they are not in the credential.
const SERVER_CA: &str = "server_ca.pem";
const IMAGE_ROOT: &str = "root.json";
/// Not for devices, and in the zip of a fleet.
const FOR_HOSTS: &str = "treehub.json";
const REPLY_LIMIT: u64 = 64 * 1024;

impl Session<'_> {
    /// Gets a certificate, unless there is one or the device is not to ask for one.
    pub fn provision(&mut self) -> Result<(), AgentError> {
        let settings = &self.agent.settings;
        let Some(shared) = settings.director.shared.clone() else { return Ok(()) };
        let kept = settings.state.join("provisioned.p12");
        let answer = match atomic::read(&kept)? {
            Some(answer) => answer,
            None if settings.identity().is_some() => return Ok(()),
            None => {
                let answer = self.ask(&shared)?;
                atomic::write_secret(&kept, &answer)?;
                answer
            }
        };
        let own = unlocked(&answer).map_err(|reason| atomic::set_aside(&kept, reason))?;
        self.unpack(&own)?;
        self.strip(&shared);
        atomic::remove(&kept)?;
        log::info!("this device has a certificate of its own now");
        Ok(())
    }

    /// Asks the server: once, or twice where the first device id was made up here and is another device's.
    fn ask(&mut self, shared: &SharedCredential) -> Result<Vec<u8>, AgentError> {
        let settings = &self.agent.settings;
        let zip = read(&shared.zip)?;
        let http = connection(shared, &zip, settings.authorities().as_deref())?;
        self.trust_root_of(&zip);
        let server = shared.server.as_ref().or(settings.server.as_ref());
        let server = server.ok_or(AgentError::Config(ConfigError::Missing {
            key: "tls.server",
            purpose: "who gives this device a certificate, and is not in the credentials either",
        }))?;
        let url = format!("{server}/devices");
        let given = settings.director.device_id.clone();
        let mut tries = if given.is_some() { 1 } else { 2 };
        loop {
            tries -= 1;
            let id = match &given {
                Some(id) => id.clone(),
                None => self.chosen_id()?,
            };
            let body = canonical(&json!({"deviceId": id, "ttl": shared.ttl}));
            let reply = http.send("POST", &url, "application/json", &body, REPLY_LIMIT)?;
            let problem = Problem::read(&reply.body);
            let taken = problem.code == "device_already_registered";
            if (200..=299).contains(&reply.status) {
                return match unlocked(&reply.body) {
                    Ok(_) => Ok(reply.body),
                    Err(reason) => Err(AgentError::Server { url, status: reply.status, reason }),
                };
            }
            if taken && given.is_none() {
                self.identity.record.device_id = None;
                self.identity.record.save(&settings.state)?;
                if tries > 0 {
                    log::info!("the server knows a device {id} already; asking with another id");
                    continue;
                }
            }
            return Err(AgentError::Server { url, status: reply.status, reason: explain(&problem, &id) });
        }
    }

    /// Made up once, and kept before anybody hears it.
    fn chosen_id(&mut self) -> Result<String, AgentError> {
        if let Some(id) = &self.identity.record.device_id {
            return Ok(id.clone());
        }
        let id = random_id();
        self.identity.record.device_id = Some(id.clone());
        self.identity.record.save(&self.agent.settings.state)?;
        Ok(id)
    }

    /// The first root of the Image repository came with the credential, where the image has none elsewhere.
    fn trust_root_of(&self, zip: &[u8]) {
        let settings = &self.agent.settings;
        let mut folder = trust::folder(settings, Repository::Image);
        let known = matches!(folder.read("root.json"), Ok(Some(_)));
        if known || settings.director.image_roots.iter().any(|path| path.exists()) {
            return;
        }
        let Ok(Some(root)) = Zip::read(zip).and_then(|zip| zip.member(IMAGE_ROOT)) else { return };
        if let Err(error) = refresh::init(&mut folder, root, Profile::Ats, Limits::default()) {
            log::warn!("{IMAGE_ROOT} of the credentials is not trusted: {error}");
        }
    }

    /// The certificate last: it is there when the rest is.
    fn unpack(&self, own: &Credential) -> Result<(), AgentError> {
        let settings = &self.agent.settings;
        let text = |certificates: &[Vec<u8>]| -> String {
            certificates.iter().map(|der| pem("CERTIFICATE", der)).collect()
        };
        if let Some(path) = settings.own_authorities().filter(|_| !own.authorities.is_empty()) {
            atomic::write(&path, text(&own.authorities).as_bytes())?;
        }
        if let Some((certificate, key)) = settings.own_identity() {
            atomic::write_secret(&key, Zeroizing::new(pem("PRIVATE KEY", &own.key)).as_bytes())?;
            atomic::write_secret(&certificate, text(&own.chain).as_bytes())?;
        }
        Ok(())
    }

    /// What was used and is everybody's is no longer needed here. That it stays is no reason to go without updates.
    fn strip(&self, shared: &SharedCredential) {
        if shared.reuse {
            return;
        }
        let stripped = read(&shared.zip).and_then(|bytes| {
            let zip = Zip::read(&bytes).map_err(|e| unusable(shared, e.to_string()))?;
            if zip.has(CREDENTIAL) || zip.has(FOR_HOSTS) {
                let less = zip.without(&[CREDENTIAL, FOR_HOSTS]);
                atomic::write_secret(&shared.zip, &less.map_err(|e| unusable(shared, e.to_string()))?)?;
            }
            Ok(())
        });
        if let Err(error) = stripped {
            log::warn!("the shared credential stays on this device: {error}");
        }
    }
}

fn read(path: &Path) -> Result<Vec<u8>, AgentError> {
    let missing = || AgentError::SharedCredential {
        path: path.to_path_buf(),
        reason:
            "it is not there; put it back, or put root.crt, client.pem and pkey.pem into import.base_path"
                .to_string(),
    };
    atomic::read(path)?.ok_or_else(missing)
}

/// Whether a certificate could be asked for with it. `authorities` is what the device trusts besides.
pub fn check(shared: &SharedCredential, authorities: Option<&Path>) -> Result<(), AgentError> {
    connection(shared, &read(&shared.zip)?, authorities).map(|_| ())
}

fn unusable(shared: &SharedCredential, reason: String) -> AgentError {
    AgentError::SharedCredential { path: shared.zip.clone(), reason }
}

/// A connection as what all devices are.
fn connection(shared: &SharedCredential, zip: &[u8], known: Option<&Path>) -> Result<Http, AgentError> {
    let unusable = |reason| unusable(shared, reason);
    let zip = Zip::read(zip).map_err(|e| unusable(format!("{e}; pack it again")))?;
    let member = |name: &str| zip.member(name).map_err(|e| unusable(format!("{name} is {e}; pack it again")));
    let file = member(CREDENTIAL)?.ok_or_else(|| {
        unusable(format!(
            "there is no {CREDENTIAL} in it; a device that was provisioned once has none: bring back its state, or the zip as it was"
        ))
    })?;
    let mut credential = pkcs12::open(&file, &shared.password)
        .map_err(|e| unusable(format!("{CREDENTIAL}: {e}; see provision.p12_password")))?;
    if let Some(pem) = member(SERVER_CA)? {
        credential
            .authorities
            .extend(tls::certificates(&pem).map_err(|e| unusable(format!("{SERVER_CA}: {e}")))?);
    }
    if credential.authorities.is_empty() && known.is_none() {
        return Err(unusable(format!(
            "it names no authority for the server; put it into {CREDENTIAL}, or as {SERVER_CA} beside it"
        )));
    }
    let path = shared.zip.join(CREDENTIAL);
    Ok(Http::new(&HttpSettings {
        ca: known.map(Path::to_path_buf),
        credential: Some((path, credential)),
        ..HttpSettings::default()
    })?)
}

/// What a server gives: the password is empty.
fn unlocked(answer: &[u8]) -> Result<Credential, String> {
    let own = pkcs12::open(answer, "").map_err(|e| format!("instead of a certificate it sent {e}"))?;
    tls::check(&own).map_err(|e| format!("the key that it sent does not work with the certificate: {e}"))?;
    Ok(own)
}

fn explain(problem: &Problem, id: &str) -> String {
    match problem.code.as_str() {
        "device_already_registered" => format!(
            "device_already_registered: it gave out a certificate for {id} before; remove the device there, or set another provision.device_id"
        ),
        "" => "it gave this device no certificate; look into its log".to_string(),
        code => format!("{code}: {}", problem.description),
    }
}
