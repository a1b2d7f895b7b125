//! A gateway that has the blobs of all registries (`pacman.compose_apps_proxy`). Asked by POST, with the device's certificate,
//! it gives an address with a token that is good for a while (dg-satellite: an hour); below it, blobs are named as a registry
//! names them, and whose registry it was does not matter.

use std::sync::Mutex;

use super::app::Part;
use super::error::AppsError;
use super::reference::Reference;
use super::source::{Body, MANIFEST_TYPES, Source, body, kind};
use crate::gateway::{Http, Stream};

const REPLY_LIMIT: u64 = 4 * 1024;

/// Blobs of every registry, from one place. No registry is asked, nor is anybody for a login.
#[derive(Debug)]
pub struct Proxy {
    gateway: Http,
    ask: String,
    http: Http,
    address: Mutex<Option<Address>>,
}

/// Where blobs are, and the token.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Address {
    base: String,
    query: String,
}

impl Proxy {
    /// `gateway` shows the device's certificate to who is asked for the address; `http`, for blobs, does not.
    pub fn new(gateway: Http, ask: &str, http: Http) -> Proxy {
        Proxy { gateway, ask: ask.to_string(), http, address: Mutex::default() }
    }

    fn address(&self) -> Result<Address, AppsError> {
        // Held while the gateway is asked: several threads begin at the same time, and one address is enough.
        let mut known = self.address.lock().map_err(|_| AppsError::Stopped)?;
        if known.is_none() {
            *known = Some(self.new_address()?);
        }
        known.clone().ok_or(AppsError::Stopped)
    }

    /// Its token has run out; another thread may have seen that, too.
    fn forget(&self, old: &Address) {
        if let Ok(mut known) = self.address.lock()
            && known.as_ref() == Some(old)
        {
            *known = None;
        }
    }

    fn new_address(&self) -> Result<Address, AppsError> {
        let failed = |reason: String| AppsError::Fetch { url: self.ask.clone(), reason };
        let reply = self.gateway.send("POST", &self.ask, "text/plain", b"", REPLY_LIMIT);
        let reply = reply.map_err(|e| failed(e.to_string()))?;
        match reply.status {
            200 | 201 => {
                let text = String::from_utf8_lossy(&reply.body);
                Address::parse(text.trim()).ok_or_else(|| failed("gave no https:// address of blobs".into()))
            }
            status @ (401 | 403 | 404 | 405) => Err(AppsError::Refused {
                url: self.ask.clone(),
                reason: format!(
                    "answered {status} and gives no address of blobs; correct pacman.compose_apps_proxy or remove it"
                ),
            }),
            status => Err(failed(format!("the server answered {status}"))),
        }
    }

    fn ask_for(
        &self,
        address: &Address,
        what: &Reference,
        part: Part,
        from: u64,
    ) -> Result<Stream, AppsError> {
        let accept = ("Accept".to_string(), MANIFEST_TYPES.to_string());
        let headers = if part == Part::Manifest { vec![accept] } else { Vec::new() };
        let opened = self.http.with_headers(headers).open(&address.of(what, part, &address.query), from);
        opened.map_err(|e| AppsError::Fetch {
            url: address.of(what, part, ""),
            // The token is nobody's business who reads a log.
            reason: e.to_string().replace(&address.query, ""),
        })
    }
}

impl Source for Proxy {
    fn open(&self, what: &Reference, part: Part, from: u64) -> Result<Body, AppsError> {
        let mut address = self.address()?;
        let mut stream = self.ask_for(&address, what, part, from)?;
        if matches!(stream.status, 401 | 403) {
            self.forget(&address);
            address = self.address()?;
            stream = self.ask_for(&address, what, part, from)?;
        }
        body(stream, from, address.of(what, part, ""))
    }
}

impl Address {
    fn parse(text: &str) -> Option<Address> {
        let (base, query) = text.find('?').map_or((text, ""), |at| text.split_at(at));
        let clean = text.bytes().all(|b| b.is_ascii_graphic() && b != b'#');
        let host = base.strip_prefix("https://").filter(|rest| !rest.starts_with('/'));
        host.filter(|rest| clean && !rest.is_empty())?;
        Some(Address { base: base.trim_end_matches('/').to_string(), query: query.to_string() })
    }

    fn of(&self, what: &Reference, part: Part, query: &str) -> String {
        format!("{}/v2/{}/{}/{}{query}", self.base, what.repository, kind(part), what.digest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_with_a_token() {
        let digest = "0".repeat(64);
        let what = Reference::parse(&format!("hub.example/f/web@sha256:{digest}")).unwrap();
        let address = Address::parse("https://gw.example:8443/registry?token=T").unwrap();
        let base = "https://gw.example:8443/registry/v2/f/web";
        assert_eq!(
            address.of(&what, Part::Blob(1), &address.query),
            format!("{base}/blobs/sha256:{digest}?token=T")
        );
        assert_eq!(address.of(&what, Part::Manifest, ""), format!("{base}/manifests/sha256:{digest}"));
        assert_eq!(
            Address::parse("https://h").unwrap(),
            Address { base: "https://h".into(), query: "".into() }
        );
        for bad in [
            "",
            "http://h/r",
            "https://",
            "https:///r",
            "https://?token=T",
            "<html>",
            "https://h/a b",
            "https://h/#x",
        ] {
            assert_eq!(Address::parse(bad), None, "{bad}");
        }
    }
}
