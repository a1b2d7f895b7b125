//! Large bodies: a part of them, a minimum rate, and where a redirect leads.

use std::fmt;
use std::io::{self, Read};
use std::sync::PoisonError;
use std::time::{Duration, Instant};

use ureq::http::Uri;

use super::http::{check_encoding, header, is_page};
use super::watch::within;
use super::{Http, HttpError, HttpSettings, Reply};
use crate::config::public_ca;

/// Bytes a second below which a body counts as stalled, as in `ostree pull`.
const SLOWEST: u64 = 1000;
const MOST_REDIRECTS: usize = 10;

/// A reply whose body is still to be read.
pub struct Stream {
    /// HTTP status code: 200, or 206 where a range was asked and given.
    pub status: u16,
    /// Bytes of this body, where the server said so.
    pub length: Option<u64>,
    /// `ETag` as sent.
    pub etag: Option<String>,
    /// `WWW-Authenticate` as sent: how a registry wants to be asked.
    pub challenge: Option<String>,
    /// `Location` as sent.
    pub location: Option<String>,
    /// The server calls it an HTML page.
    pub page: bool,
    reader: ureq::BodyReader<'static>,
    pace: Pace,
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stream")
            .field("status", &self.status)
            .field("length", &self.length)
            .finish_non_exhaustive()
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let begun = Instant::now();
        let read = within(self.pace.window, || self.reader.read(buffer))?;
        if read > 0 && self.pace.too_slow(begun.elapsed(), read) {
            let why = format!("it came slower than {SLOWEST} bytes a second");
            return Err(io::Error::new(io::ErrorKind::TimedOut, why));
        }
        Ok(read)
    }
}

/// The time that was waited for bytes, and how many came: what a reader does between two reads is no fault of the server.
struct Pace {
    window: Duration,
    waited: Duration,
    bytes: u64,
}

impl Pace {
    fn too_slow(&mut self, waited: Duration, read: usize) -> bool {
        self.waited = self.waited.saturating_add(waited);
        self.bytes = self.bytes.saturating_add(read as u64);
        if self.waited < self.window {
            return false;
        }
        let slow = self.bytes < SLOWEST * self.window.as_secs().max(1);
        (self.waited, self.bytes) = (Duration::ZERO, 0);
        slow
    }
}

impl Http {
    /// Opens a large body, from byte `from` on. Whether the server obeyed is in the status (206). A redirect is not
    /// followed.
    pub fn open(&self, url: &str, from: u64) -> Result<Stream, HttpError> {
        let mut request = self.request("GET", url)?;
        if from > 0 {
            request = request.header("Range", format!("bytes={from}-"));
        }
        let request = request.body(()).map_err(|e| HttpError::failed(url, e.into()))?;
        let response = self.run(url, request, None)?;
        check_encoding(url, &response)?;
        let status = response.status().as_u16();
        if status == 206 {
            check_range(url, header(&response, "content-range").as_deref(), from)?;
        }
        let etag = header(&response, "etag");
        let challenge = header(&response, "www-authenticate");
        let location = header(&response, "location");
        let page = is_page(&response);
        let body = response.into_body();
        let length = body.content_length();
        let pace = Pace { window: self.settings.stall_timeout, waited: Duration::ZERO, bytes: 0 };
        Ok(Stream { status, length, etag, challenge, location, page, reader: body.into_reader(), pace })
    }

    /// The same for content that is held to its hash: where the server sends us is asked too, by HTTPS. Other servers are
    /// not told who asks.
    pub fn open_content(&self, url: &str, from: u64) -> Result<Stream, HttpError> {
        let mut at = url.to_string();
        for _ in 0..=MOST_REDIRECTS {
            let stream = match same_origin(url, &at) {
                true => self.open(&at, from),
                false => self.stranger()?.open(&at, from),
            }?;
            if !matches!(stream.status, 301 | 302 | 303 | 307 | 308) {
                return Ok(stream);
            }
            at = next(&at, stream.location.as_deref()).map_err(|reason| redirected(url, reason))?;
        }
        Err(redirected(
            url,
            format!("more than {MOST_REDIRECTS} redirects, the last to {at}; correct the server"),
        ))
    }

    /// A document that the server keeps elsewhere (`network.redirect_metadata`).
    pub(super) fn get_elsewhere(&self, url: &str, limit: u64) -> Result<Reply, HttpError> {
        let mut stream = self.open_content(url, 0)?;
        if stream.status == 200 && stream.page {
            return Err(HttpError::Page { url: url.to_string() });
        }
        let mut body = Vec::new();
        (&mut stream)
            .take(limit.saturating_add(1))
            .read_to_end(&mut body)
            .map_err(|e| HttpError::cut(url, e))?;
        if body.len() as u64 > limit {
            return Err(HttpError::TooLarge { url: url.to_string(), limit });
        }
        let Stream { status, etag, challenge, location, .. } = stream;
        Ok(Reply { status, etag, location, challenge, retry_after: None, body })
    }

    /// Asks an address that metadata or a server named: as this device where it is one of `own`, else as nobody.
    pub fn for_address(&self, url: &str, own: &[&str]) -> Result<Http, HttpError> {
        if own.iter().any(|server| same_origin(server, url)) { Ok(self.clone()) } else { self.stranger() }
    }

    /// The same without certificate, token and headers. Public authorities are trusted too: content is held to its hash.
    fn stranger(&self) -> Result<Http, HttpError> {
        let mut known = self.stranger.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(http) = &*known {
            return Ok(http.clone());
        }
        let settings = &*self.settings;
        let http = Http::new(&HttpSettings {
            public_ca: public_ca(),
            client: None,
            credential: None,
            headers: Vec::new(),
            ..settings.clone()
        })?;
        *known = Some(http.clone());
        Ok(http)
    }
}

fn redirected(url: &str, reason: String) -> HttpError {
    HttpError::Redirected { url: url.to_string(), reason }
}

/// `bytes 500-999/1000` for what was asked from byte 500 on.
fn check_range(url: &str, range: Option<&str>, from: u64) -> Result<(), HttpError> {
    let first = range.map(|text| {
        let numbers = text.trim().strip_prefix("bytes").unwrap_or_default().trim_start();
        numbers.split_once('-').and_then(|(first, _)| first.trim().parse::<u64>().ok())
    });
    match first {
        Some(first) if first != Some(from) => {
            Err(HttpError::Range { url: url.to_string(), got: range.unwrap_or_default().to_string() })
        }
        _ => Ok(()),
    }
}

/// Scheme, host and port.
fn same_origin(one: &str, other: &str) -> bool {
    let origin = |url: &str| {
        let uri: Uri = url.parse().ok()?;
        let scheme = uri.scheme_str()?.to_ascii_lowercase();
        let port = uri.port_u16().or(match scheme.as_str() {
            "https" => Some(443),
            "http" => Some(80),
            _ => None,
        });
        Some((scheme, uri.host()?.to_ascii_lowercase(), port?))
    };
    let one = origin(one);
    one.is_some() && one == origin(other)
}

/// Where a `Location` leads: an address by HTTPS, or a path at the same server.
fn next(at: &str, location: Option<&str>) -> Result<String, String> {
    let location = location.map(str::trim).filter(|text| !text.is_empty());
    let location = location.ok_or("a redirect without a Location; correct the server")?;
    if location.starts_with("https://") {
        return Ok(location.to_string());
    }
    if location.contains("://") || location.starts_with("//") {
        return Err(format!("a redirect to {location}: only https:// is followed"));
    }
    let authority = at.find("://").map_or(0, |scheme| scheme + 3);
    let rest = at.get(authority..).unwrap_or_default();
    let path = rest.find('/').map_or(at.len(), |slash| authority + slash);
    if location.starts_with('/') {
        return Ok(format!("{}{location}", at.get(..path).unwrap_or_default()));
    }
    let whole = at.split(['?', '#']).next().unwrap_or_default();
    let folder = whole.rfind('/').filter(|slash| *slash >= path).map_or(whole.len(), |slash| slash);
    Ok(format!("{}/{location}", whole.get(..folder).unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_a_redirect_leads() {
        for (location, target) in [
            (Some("https://cdn/x?sig=1"), Ok("https://cdn/x?sig=1")),
            (Some("/b/c"), Ok("https://h:1/b/c")),
            (Some("c"), Ok("https://h:1/a/c")),
            (Some("http://h:1/x"), Err("only https://")),
            (Some("//cdn/x"), Err("only https://")),
            (Some("file:///etc/passwd"), Err("only https://")),
            (Some(" "), Err("without a Location")),
            (None, Err("without a Location")),
        ] {
            match (next("https://h:1/a/b?q=/z", location), target) {
                (Ok(found), Ok(target)) => assert_eq!(found, target),
                (Err(reason), Err(part)) => assert!(reason.contains(part), "{reason}"),
                other => panic!("{location:?}: {other:?}"),
            }
        }
    }

    #[test]
    fn who_is_the_same_server() {
        for (one, other, same) in [
            ("https://h/a", "https://H:443/b", true),
            ("https://h/a", "https://h:8443/a", false),
            ("https://h/a", "http://h/a", false),
            ("https://h/a", "https://h.evil/a", false),
            ("https://h/a", "https://h@evil/a", false),
            ("/a", "/a", false),
        ] {
            assert_eq!(same_origin(one, other), same, "{one} {other}");
        }
    }

    #[test]
    fn a_part_begins_where_it_was_asked_to() {
        for (range, good) in [
            (Some("bytes 5-9/10"), true),
            (Some("bytes=5-9/10"), false),
            (Some("bytes 0-9/10"), false),
            (Some("bytes */10"), false),
            (Some("lines 5-9"), false),
            (None, true),
        ] {
            assert_eq!(check_range("u", range, 5).is_ok(), good, "{range:?}");
        }
    }

    #[test]
    fn a_reader_that_takes_its_time_is_no_slow_server() {
        let mut pace = Pace { window: Duration::from_secs(2), waited: Duration::ZERO, bytes: 0 };
        assert!(!pace.too_slow(Duration::from_secs(1), 1));
        assert!(pace.too_slow(Duration::from_secs(1), 1));
        assert!(!pace.too_slow(Duration::from_secs(2), 2000));
        assert!((0..100).all(|_| !pace.too_slow(Duration::ZERO, 1)));
    }
}
