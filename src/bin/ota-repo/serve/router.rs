//! Which part of the server answers a path.

use std::path::{Path, PathBuf};

use super::answer::Answer;
use super::files;
use super::gateway::Gateway;
use super::http::Request;
use crate::error::Error;
use crate::repository::metadata_folder;
use crate::tags;
use crate::tls::Authority;
use crate::treehub;

/// The published folders, and the device gateway where there is one.
#[derive(Debug)]
pub struct Site {
    metadata: PathBuf,
    treehub: PathBuf,
    tags: PathBuf,
    gateway: Option<Gateway>,
}

impl Site {
    /// The site of a repository; a gateway where what devices send is to be kept.
    pub fn open(dir: &Path, received: Option<&Path>, authority: Option<Authority>) -> Result<Self, Error> {
        let gateway = received.map(|received| Gateway::open(dir, received, authority)).transpose()?;
        let site = Self {
            metadata: metadata_folder(dir),
            treehub: treehub::folder(dir),
            tags: tags::folder(dir),
            gateway,
        };
        if site.metadata.is_dir() { Ok(site) } else { Err(Error::NotARepository { path: dir.to_path_buf() }) }
    }

    /// Whether the answer depends on the body.
    pub fn wants_body(&self, request: &Request) -> bool {
        self.gateway.is_some() && matches!(request.method.as_str(), "PUT" | "POST")
    }

    /// The answer to a request of a device.
    pub fn answer(&self, request: &Request, body: &[u8], device: Option<&str>) -> Answer {
        match request.path.split_first() {
            Some((first, rest)) if first == "repo" => files::answer(&self.metadata, rest, request),
            Some((first, rest)) if first == "treehub" => files::answer(&self.treehub, rest, request),
            Some((first, rest)) if first == "tags" => files::answer(&self.tags, rest, request),
            _ => match &self.gateway {
                Some(gateway) => gateway.answer(request, body, device),
                None => Answer::status(404),
            },
        }
    }
}
