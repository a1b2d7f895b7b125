//! Two repositories, their servers and a device, all in memory.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::super::{Bundle, Source, UptaneError, verify};
use crate::agent::refresh::{Fetch, FetchError, Fetched, Persist};
use crate::agent::trust;
use crate::gateway::Http;
use crate::store::StoreError;
use crate::tuf::testing::{Key, NOW, Repo, sha256};
use crate::tuf::{Profile, Request};
use crate::uptane::{Class, Ecu, Fault};

pub type Files = BTreeMap<String, Vec<u8>>;

pub struct World {
    pub director: Repo,
    pub image: Repo,
    director_files: Files,
    image_files: Files,
    /// Served instead of the repositories' own files.
    pub director_forged: Files,
    pub image_forged: Files,
    /// Serve the Director's timestamp and snapshot.
    pub full: bool,
    /// Serve nothing of the Image repository.
    pub image_offline: bool,
    /// Without it, a device without roots has nothing to trust.
    pub trust_first_roots: bool,
    /// Paths that no server has.
    pub absent: Vec<String>,
    /// Paths that servers fail at.
    pub failing: Vec<String>,
    /// Paths that servers call unchanged, though nobody asked that.
    pub unchanged: Vec<String>,
    /// What comes a byte at a time.
    pub slow: Option<Slow>,
    pub director_store: Store,
    pub image_store: Store,
    pub ecus: Vec<Ecu>,
}

/// What a repository says of a Target.
pub fn target(content: &[u8], custom: Value) -> Value {
    json!({"length": content.len(), "hashes": {"sha256": sha256(content)}, "custom": custom})
}

impl World {
    /// Nothing is assigned yet. ECU `S1` is of hardware `H1`, `S2` of `H2`.
    pub fn new() -> World {
        let ecu = |number: u8| Ecu {
            serial: format!("S{number}"),
            hardware_id: format!("H{number}"),
            ..Ecu::default()
        };
        World {
            director: repo(10),
            image: repo(20),
            director_files: Files::new(),
            image_files: Files::new(),
            director_forged: Files::new(),
            image_forged: Files::new(),
            full: false,
            image_offline: false,
            trust_first_roots: true,
            absent: Vec::new(),
            failing: Vec::new(),
            unchanged: Vec::new(),
            slow: None,
            director_store: Store::default(),
            image_store: Store::default(),
            ecus: vec![ecu(1), ecu(2)],
        }
    }

    /// Publishes a Target and assigns it to the ECU of this number, and nothing else to anybody.
    pub fn assign(&mut self, name: &str, content: &[u8], number: u8) {
        let hardware = format!("H{number}");
        self.publish(name, target(content, json!({"hardwareIds": [hardware]})));
        self.director.role("targets")["targets"] = json!({});
        self.assign_also(name, content, number);
    }

    /// Assigns one more, which the Image repository may not have.
    pub fn assign_also(&mut self, name: &str, content: &[u8], number: u8) {
        let (serial, hardware) = (format!("S{number}"), format!("H{number}"));
        let custom = json!({"ecuIdentifiers": {serial: {"hardwareId": hardware}}});
        self.director.role("targets")["targets"][name] = target(content, custom);
        self.direct();
    }

    /// A new version of the Image repository with this Target.
    pub fn publish(&mut self, name: &str, info: Value) {
        self.image.role("targets")["targets"][name] = info;
        self.image.update(&["targets"]);
    }

    /// A new version of the Director's targets.
    pub fn direct(&mut self) {
        self.director.update(&["targets"]);
    }

    /// Another version of the Director's targets, whatever was before.
    pub fn direct_as(&mut self, version: u64) {
        self.director.role("targets")["version"] = json!(version);
        self.director.update(&[]);
    }

    /// New versions of both.
    pub fn redo(&mut self) {
        self.direct();
        self.image.update(&["targets"]);
    }

    pub fn cycle(&mut self) -> Result<Bundle<'_>, UptaneError> {
        // Older roots stay where they are.
        self.director.serve(&mut self.director_files);
        self.image.serve(&mut self.image_files);
        let (mut director, mut image) = (self.director_files.clone(), self.image_files.clone());
        if !self.full {
            director.retain(|path, _| path.ends_with("root.json") || path == "targets.json");
        }
        if self.image_offline {
            image.clear();
        }
        director.extend(self.director_forged.clone());
        image.extend(self.image_forged.clone());
        let server = |files: Files| Server {
            files,
            absent: &self.absent,
            failing: &self.failing,
            unchanged: &self.unchanged,
            slow: &self.slow,
        };
        let (mut director, mut image) = (server(director), server(image));
        let mut director = Source {
            fetch: &mut director,
            persist: &mut self.director_store,
            trust_first_root: self.trust_first_roots,
        };
        let mut image = Source {
            fetch: &mut image,
            persist: &mut self.image_store,
            trust_first_root: self.trust_first_roots,
        };
        verify(&mut director, &mut image, &self.ecus, NOW)
    }

    /// The class of a cycle that has to fail.
    #[track_caller]
    pub fn refused(&mut self) -> Class {
        self.cycle().unwrap_err().class()
    }

    /// The broken rule of a cycle that has to fail.
    #[track_caller]
    pub fn fault(&mut self) -> Fault {
        match self.cycle().unwrap_err() {
            UptaneError::Fault(fault) => fault,
            error => panic!("{error}"),
        }
    }

    pub fn writes(&self) -> usize {
        self.director_store.writes + self.image_store.writes
    }
}

/// A repository with keys of its own and no Targets.
fn repo(first_key: u8) -> Repo {
    let mut repo = Repo::new(Profile::Ats);
    for (role, number) in ["root", "timestamp", "snapshot", "targets"].iter().zip(first_key..) {
        repo.signers.insert((*role).into(), vec![Key::new(number, Profile::Ats)]);
    }
    repo.write_root();
    repo.role("targets")["targets"] = json!({});
    repo.publish();
    repo
}

/// A path that is asked for at a real server, which drips.
pub struct Slow {
    pub path: String,
    pub http: Http,
    pub base: String,
}

struct Server<'w> {
    files: Files,
    absent: &'w [String],
    failing: &'w [String],
    unchanged: &'w [String],
    slow: &'w Option<Slow>,
}

impl Fetch for Server<'_> {
    fn fetch(&mut self, request: &Request) -> Result<Fetched, FetchError> {
        if let Some(Slow { path, http, base }) = self.slow
            && *path == request.path
        {
            return trust::Server { http: http.clone(), base: base.clone() }.fetch(request);
        }
        if self.failing.contains(&request.path) {
            return Err("the server answered 503".into());
        }
        if self.unchanged.contains(&request.path) {
            return Ok(Fetched::NotModified);
        }
        if self.absent.contains(&request.path) {
            return Ok(Fetched::Absent);
        }
        match self.files.get(&request.path) {
            Some(bytes) if bytes.len() as u64 > request.limit => Err("more than is allowed".into()),
            Some(bytes) => Ok(Fetched::Body(bytes.clone())),
            None => Ok(Fetched::Absent),
        }
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Store {
    pub files: Files,
    pub writes: usize,
    /// How many more there are until the power goes.
    pub writes_left: Option<usize>,
}

impl Persist for Store {
    fn read(&mut self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.files.get(name).cloned())
    }

    fn write(&mut self, name: &str, bytes: &[u8]) -> Result<(), StoreError> {
        if self.writes_left == Some(0) {
            let source = std::io::Error::other("power cut");
            return Err(StoreError::Io { operation: "write", path: name.into(), source });
        }
        self.writes_left = self.writes_left.map(|left| left - 1);
        self.writes += 1;
        self.files.insert(name.to_owned(), bytes.to_vec());
        Ok(())
    }

    fn remove(&mut self, name: &str) -> Result<(), StoreError> {
        self.files.remove(name);
        Ok(())
    }

    fn set_aside(&mut self, name: &str, _: &str) -> Result<(), StoreError> {
        self.remove(name)
    }
}
