//! Other places for the content of a Target, that a device gateway names: `POST /download-urls`.

use std::path::PathBuf;

use serde::Deserialize;

use crate::config::public_ca;

use super::{Http, HttpError, HttpSettings};

const REPLY_LIMIT: u64 = 64 * 1024;
const MOST: usize = 8;

/// A place and the token that opens it.
#[derive(Debug, Deserialize)]
pub struct Remote {
    /// An OSTree repository.
    #[serde(rename = "download_url")]
    pub url: String,
    #[serde(default, rename = "access_token")]
    token: String,
}

/// What the server names, the one to ask first in front: that is the last one of its list. Whatever is wrong with the
/// answer, the server itself has the content too.
pub fn remotes(http: &Http, server: &str) -> Vec<Remote> {
    let url = format!("{server}/download-urls");
    let list = match http.send("POST", &url, "application/json", b"null", REPLY_LIMIT) {
        Ok(reply) if reply.status == 200 => serde_json::from_slice::<Option<Vec<Remote>>>(&reply.body),
        Ok(reply) => {
            log::debug!("{url}: the server answered {}", reply.status);
            return Vec::new();
        }
        Err(error) => {
            log::debug!("{error}");
            return Vec::new();
        }
    };
    let list = list.unwrap_or_else(|error| {
        log::debug!("{url}: not a list of addresses: {error}");
        None
    });
    let mut list: Vec<Remote> = list.unwrap_or_default().into_iter().rev().take(MOST).collect();
    list.retain(|remote| remote.url.starts_with("https://"));
    list
}

impl Remote {
    /// A client for this place: with its token, and without this device's certificate, which is for its own server.
    /// Public authorities are trusted besides the device's: content is verified by its hash, whoever sends it.
    pub fn http(&self, ca: Option<PathBuf>, idle_connections: usize) -> Result<Http, HttpError> {
        let settings =
            HttpSettings { ca, public_ca: public_ca(), idle_connections, ..HttpSettings::default() };
        let printable = self.token.bytes().all(|b| b.is_ascii_graphic());
        let bearer = ("Authorization".to_string(), format!("Bearer {}", self.token));
        let headers = if printable && !self.token.is_empty() { vec![bearer] } else { Vec::new() };
        Ok(Http::new(&settings)?.with_headers(headers))
    }
}
