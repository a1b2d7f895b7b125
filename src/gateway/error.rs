//! Why a server could not be asked, or its answer is none.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use super::redact::redacted;

/// Why a request could not be made or its reply not be read.
#[derive(Debug)]
#[non_exhaustive]
pub enum HttpError {
    /// A certificate or key file is missing or unusable.
    BadFile {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// Only `https://` URLs are allowed here.
    NotHttps {
        /// The URL that was asked for.
        url: String,
    },
    /// The body is longer than the role or document may be.
    TooLarge {
        /// The URL that was asked for.
        url: String,
        /// The limit in bytes.
        limit: u64,
    },
    /// The connection, the handshake or the reply's head failed.
    Failed {
        /// The URL that was asked for.
        url: String,
        /// What the transport said.
        reason: String,
    },
    /// The proxy, or the way through it, failed.
    Proxy {
        /// The URL that was asked for.
        url: String,
        /// Which proxy, and what happened.
        reason: String,
    },
    /// An HTML page came in place of what was asked for.
    Page {
        /// The URL that was asked for.
        url: String,
    },
    /// The server encoded what it was asked to send as it is.
    Encoded {
        /// The URL that was asked for.
        url: String,
        /// Its `Content-Encoding`.
        encoding: String,
    },
    /// Another part came than the one that was asked for.
    Range {
        /// The URL that was asked for.
        url: String,
        /// What it sent.
        got: String,
    },
    /// The way led on and on, or to a place that is not asked.
    Redirected {
        /// The URL that was asked for.
        url: String,
        /// Where it led, or why it was left.
        reason: String,
    },
    /// The body ended early or stalled.
    Cut {
        /// The URL that was asked for.
        url: String,
        /// What the transport said.
        reason: String,
    },
}

impl HttpError {
    pub(super) fn proxy(url: &str, reason: String) -> HttpError {
        HttpError::Proxy { url: url.to_string(), reason }
    }

    pub(super) fn bad_file(path: &Path, reason: String) -> HttpError {
        HttpError::BadFile { path: path.to_path_buf(), reason }
    }

    pub(super) fn failed(url: &str, error: ureq::Error) -> HttpError {
        HttpError::Failed { url: url.to_string(), reason: error.to_string() }
    }

    pub(super) fn cut(url: &str, error: io::Error) -> HttpError {
        HttpError::Cut { url: url.to_string(), reason: error.to_string() }
    }
}

impl fmt::Display for HttpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&redacted(&self.text()))
    }
}

impl HttpError {
    fn text(&self) -> String {
        match self {
            HttpError::BadFile { path, reason } => {
                format!("{}: {reason}; check the file and the [import] and [storage] paths", path.display())
            }
            HttpError::NotHttps { url } => {
                format!("{url}: only https:// is allowed; correct the server's address in the configuration")
            }
            HttpError::TooLarge { url, limit } => {
                format!(
                    "{url}: the server sent more than the {limit} bytes that are allowed; nothing was kept"
                )
            }
            HttpError::Failed { url, reason } => {
                format!("{url}: {reason}; check the network, the server and the certificates")
            }
            HttpError::Proxy { url, reason } => {
                format!(
                    "{url}: {reason}; check [network] proxy, or https_proxy and no_proxy in the environment"
                )
            }
            HttpError::Page { url } => format!(
                "{url}: an HTML page came in place of the file; is there a login page (captive portal) in this network, or another server at this address?"
            ),
            HttpError::Encoded { url, encoding } => format!(
                "{url}: the server or a proxy encoded the reply ({encoding}), which was not asked for; switch that off there"
            ),
            HttpError::Range { url, got } => format!(
                "{url}: the server sent another part than it was asked for ({got}); correct its handling of ranges"
            ),
            HttpError::Redirected { url, reason } => format!("{url}: {reason}"),
            HttpError::Cut { url, reason } => {
                format!("{url}: the reply was cut: {reason}; it is safe to try again")
            }
        }
    }
}

impl std::error::Error for HttpError {}
