//! Which part of the server answers a path.
//!
//! Everything that is not a published file will be an endpoint of the device gateway: its place is [`Site::answer`].

use std::path::{Path, PathBuf};

use super::answer::Answer;
use super::files;
use super::http::Request;
use crate::error::Error;
use crate::repository::metadata_folder;
use crate::treehub;

/// The published folders.
#[derive(Debug)]
pub struct Site {
    metadata: PathBuf,
    treehub: PathBuf,
}

impl Site {
    /// The site of a repository.
    pub fn open(dir: &Path) -> Result<Self, Error> {
        let site = Self { metadata: metadata_folder(dir), treehub: treehub::folder(dir) };
        if site.metadata.is_dir() { Ok(site) } else { Err(Error::NotARepository { path: dir.to_path_buf() }) }
    }

    /// The answer to a request.
    pub fn answer(&self, request: &Request) -> Answer {
        match request.path.split_first() {
            Some((first, rest)) if first == "repo" => files::answer(&self.metadata, rest, request),
            Some((first, rest)) if first == "treehub" => files::answer(&self.treehub, rest, request),
            _ => Answer::status(404),
        }
    }
}
