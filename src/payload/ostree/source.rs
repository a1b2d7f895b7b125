//! Where objects come from: a web server, or a folder (offline).

use std::fmt;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::PathBuf;

use crate::gateway::{Http, HttpError};

/// An archive repository that objects can be read from. Many threads ask it at the same time.
pub trait ObjectSource: Sync {
    /// Opens `path`, relative to the repository, from byte `from` on.
    fn open(&self, path: &str, from: u64) -> Result<Opened, SourceError>;

    /// The whole name of `path`, for people.
    fn name(&self, path: &str) -> String;
}

/// A body that is to be read.
pub struct Opened {
    /// Where in the object the body begins: what was asked for, or 0 where the source cannot do that.
    pub from: u64,
    /// Bytes of the body, where known.
    pub length: Option<u64>,
    /// The bytes.
    pub body: Box<dyn Read + Send>,
}

impl fmt::Debug for Opened {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Opened")
            .field("from", &self.from)
            .field("length", &self.length)
            .finish_non_exhaustive()
    }
}

/// Why a source did not give an object.
#[derive(Debug, Clone)]
pub enum SourceError {
    /// It does not have the object.
    NotFound {
        /// URL or path.
        url: String,
    },
    /// It will not give it; asking again does not help.
    Refused {
        /// URL or path.
        url: String,
        /// What it said.
        reason: String,
    },
    /// It may give it when asked again.
    Transient {
        /// URL or path.
        url: String,
        /// What the transport said.
        reason: String,
    },
    /// The object is not longer than the byte to go on from.
    Range {
        /// URL or path.
        url: String,
    },
}

/// A repository below a URL.
#[derive(Debug)]
pub struct HttpSource {
    http: Http,
    base: String,
}

impl HttpSource {
    /// `http` should keep as many idle connections as a pull has jobs, or each object pays for a handshake.
    pub fn new(http: Http, base: &str) -> HttpSource {
        HttpSource { http, base: base.trim_end_matches('/').to_string() }
    }
}

impl ObjectSource for HttpSource {
    fn open(&self, path: &str, from: u64) -> Result<Opened, SourceError> {
        let url = self.name(path);
        let stream = self.http.open_content(&url, from).map_err(|error| match error {
            HttpError::Failed { reason, .. }
            | HttpError::Cut { reason, .. }
            | HttpError::Proxy { reason, .. } => SourceError::Transient { url: url.clone(), reason },
            other => SourceError::Refused { url: url.clone(), reason: other.to_string() },
        })?;
        let from = match stream.status {
            200 if stream.page => {
                return Err(SourceError::Refused {
                    reason: HttpError::Page { url: url.clone() }.to_string(),
                    url,
                });
            }
            200 => 0,
            206 => from,
            404 | 410 => return Err(SourceError::NotFound { url }),
            416 => return Err(SourceError::Range { url }),
            status @ (408 | 425 | 429 | 500..=599) => {
                return Err(SourceError::Transient { url, reason: format!("the server answered {status}") });
            }
            status => {
                return Err(SourceError::Refused { url, reason: format!("the server answered {status}") });
            }
        };
        Ok(Opened { from, length: stream.length, body: Box::new(stream) })
    }

    fn name(&self, path: &str) -> String {
        format!("{}/{path}", self.base)
    }
}

/// A repository in a folder: a USB stick, or a mounted share.
#[derive(Debug)]
pub struct FolderSource {
    folder: PathBuf,
}

impl FolderSource {
    /// `folder` is the repository: it has `objects/` in it.
    pub fn new(folder: impl Into<PathBuf>) -> FolderSource {
        FolderSource { folder: folder.into() }
    }
}

impl ObjectSource for FolderSource {
    fn open(&self, path: &str, from: u64) -> Result<Opened, SourceError> {
        let failed = |error: io::Error| {
            let url = self.name(path);
            match error.kind() {
                io::ErrorKind::NotFound => SourceError::NotFound { url },
                _ => SourceError::Refused { url, reason: error.to_string() },
            }
        };
        let mut file = File::open(self.folder.join(path)).map_err(failed)?;
        let length = file.metadata().map_err(failed)?.len();
        if from > 0 && from >= length {
            return Err(SourceError::Range { url: self.name(path) });
        }
        file.seek(SeekFrom::Start(from)).map_err(failed)?;
        Ok(Opened { from, length: Some(length - from), body: Box::new(file) })
    }

    fn name(&self, path: &str) -> String {
        self.folder.join(path).display().to_string()
    }
}
