//! Where blobs come from: a registry, or the folder of an offline update. What has them all is in `proxy`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::sync::Mutex;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use super::app::Part;
use super::error::AppsError;
use super::reference::Reference;
use super::store::Store;
use crate::gateway::{Http, Stream};

/// Of a token or a login. The time that one may take grows with it.
const REPLY_LIMIT: u64 = 32 * 1024;
/// Registries keep blobs elsewhere: one or two hops.
const MOST_REDIRECTS: u32 = 4;
pub(super) const MANIFEST_TYPES: &str = "application/vnd.oci.image.manifest.v1+json, application/vnd.oci.image.index.v1+json, \
    application/vnd.docker.distribution.manifest.v2+json, application/vnd.docker.distribution.manifest.list.v2+json";

/// Something that has blobs. Several threads ask it.
pub trait Source: Sync {
    /// Opens a blob or a manifest from byte `from` on.
    fn open(&self, what: &Reference, part: Part, from: u64) -> Result<Body, AppsError>;
}

/// A body that is to be read.
pub struct Body {
    /// Where it begins: at what was asked for, or at 0.
    pub from: u64,
    /// Its bytes.
    pub reader: Box<dyn Read + Send>,
    /// For messages.
    pub url: String,
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Body").field("url", &self.url).field("from", &self.from).finish_non_exhaustive()
    }
}

impl Source for Store {
    fn open(&self, what: &Reference, _: Part, from: u64) -> Result<Body, AppsError> {
        let path = self.path(&what.digest);
        let url = path.display().to_string();
        let opened = File::open(&path).and_then(|mut file| file.seek(SeekFrom::Start(from)).map(|_| file));
        let file = opened.map_err(|e| AppsError::Refused { url: url.clone(), reason: e.to_string() })?;
        Ok(Body { from, reader: Box::new(file), url })
    }
}

/// Registries over HTTPS, each request with what the registry wants to see.
#[derive(Debug)]
pub struct Registry {
    pub(super) http: Http,
    login: Login,
    /// The registries that the login is for.
    known: BTreeSet<String>,
    /// `Authorization` for each repository.
    tokens: Mutex<BTreeMap<String, String>>,
}

/// Who knows a login for a registry that wants one.
#[derive(Debug)]
pub enum Login {
    /// Nobody: only what everybody may read is read.
    Nobody,
    /// The device gateway, at this address.
    Gateway(Http, String),
    /// A person did.
    Known(Credentials),
}

/// What a device gateway, or a person, gives to log in with.
#[derive(Debug, Clone, Deserialize)]
pub struct Credentials {
    /// The user.
    #[serde(rename = "Username")]
    pub user: String,
    /// Its password or token.
    #[serde(rename = "Secret")]
    pub secret: String,
}

impl Registry {
    /// `http` has no certificate of the device: registries are other people's. The login is for the registries of `known`:
    /// images may be anywhere, and a stranger is told no password, nor whom to ask with it.
    pub fn new(http: Http, login: Login, known: BTreeSet<String>) -> Registry {
        Registry { http, login, known, tokens: Mutex::default() }
    }

    fn get(&self, what: &Reference, url: &str, part: Part, from: u64) -> Result<Stream, AppsError> {
        let stream = self.once(url, url, part, self.token(&what.name()), from)?;
        if stream.status != 401 {
            return Ok(stream);
        }
        let challenge = stream.challenge.clone().unwrap_or_default();
        drop(stream);
        let header = self.answer(&challenge, url, &what.name())?;
        self.once(url, url, part, Some(header), from)
    }

    /// `shown` is what messages say: an address that a registry sends on to may have a key of its own in it.
    fn once(
        &self,
        url: &str,
        shown: &str,
        part: Part,
        authorization: Option<String>,
        from: u64,
    ) -> Result<Stream, AppsError> {
        let mut headers = Vec::new();
        if part == Part::Manifest {
            headers.push(("Accept".to_string(), MANIFEST_TYPES.to_string()));
        }
        headers.extend(authorization.map(|value| ("Authorization".to_string(), value)));
        let opened = self.http.with_headers(headers).open(url, from);
        opened.map_err(|e| AppsError::Fetch {
            url: shown.to_string(),
            reason: e.to_string().replace(url, "the address that was asked"),
        })
    }

    /// Answers a `WWW-Authenticate`: Basic at once, Bearer with a token of the realm.
    pub(super) fn answer(&self, challenge: &str, url: &str, repository: &str) -> Result<String, AppsError> {
        let header = self.authorization(challenge, url, repository)?;
        if let Ok(mut tokens) = self.tokens.lock() {
            tokens.insert(repository.to_string(), header.clone());
        }
        Ok(header)
    }

    fn authorization(&self, challenge: &str, url: &str, repository: &str) -> Result<String, AppsError> {
        let refused = |reason: &str| AppsError::Refused { url: url.to_string(), reason: reason.to_string() };
        let host = repository.split('/').next().unwrap_or_default();
        let ours = self.known.contains(host);
        let credentials = if ours { self.credentials()? } else { None };
        if scheme(challenge, "Basic").is_some() {
            let lacks = match ours {
                true => "the registry wants a login, and the device gateway has none",
                false => "the registry wants a login, and there is only one for the registry of the app",
            };
            return credentials.as_ref().map(basic).ok_or_else(|| refused(lacks));
        }
        let parameters = scheme(challenge, "Bearer")
            .map(parameters)
            .ok_or_else(|| refused(&format!("the registry answered 401 and asks for {challenge:?}")))?;
        let realm =
            parameters.get("realm").ok_or_else(|| refused("the registry names no realm to log in at"))?;
        let query: Vec<String> = ["service", "scope"]
            .into_iter()
            .filter_map(|key| Some(format!("{key}={}", escaped(parameters.get(key)?))))
            .collect();
        let separator = if realm.contains('?') { '&' } else { '?' };
        let address = format!("{realm}{separator}{}", query.join("&"));
        let headers = credentials.iter().map(|c| ("Authorization".to_string(), basic(c))).collect();
        let failed = |reason: String| AppsError::Fetch { url: address.clone(), reason };
        let reply =
            self.http.with_headers(headers).get(&address, REPLY_LIMIT).map_err(|e| failed(e.to_string()))?;
        if reply.status != 200 {
            return Err(AppsError::Refused {
                url: address,
                reason: format!("the login answered {}", reply.status),
            });
        }
        let token: Token =
            serde_json::from_slice(&reply.body).map_err(|e| failed(format!("gave no token: {e}")))?;
        let token = token.token.or(token.access_token).ok_or_else(|| failed("gave no token".to_string()))?;
        Ok(format!("Bearer {token}"))
    }

    /// From the device gateway; none where it has no such endpoint.
    fn credentials(&self) -> Result<Option<Credentials>, AppsError> {
        let (http, url) = match &self.login {
            Login::Nobody => return Ok(None),
            Login::Known(credentials) => return Ok(Some(credentials.clone())),
            Login::Gateway(http, url) => (http, url),
        };
        let failed = |reason: String| AppsError::Fetch { url: url.clone(), reason };
        let reply = http.get(url, REPLY_LIMIT).map_err(|e| failed(e.to_string()))?;
        match reply.status {
            200 => serde_json::from_slice(&reply.body)
                .map(Some)
                .map_err(|e| failed(format!("no credentials: {e}"))),
            404 | 405 | 501 => Ok(None),
            status => Err(failed(format!("the server answered {status}"))),
        }
    }

    pub(super) fn token(&self, repository: &str) -> Option<String> {
        self.tokens.lock().ok()?.get(repository).cloned()
    }
}

impl Source for Registry {
    fn open(&self, what: &Reference, part: Part, from: u64) -> Result<Body, AppsError> {
        let first = format!("https://{}/v2/{}/{}/{}", what.host(), what.repository, kind(part), what.digest);
        let mut stream = self.get(what, &first, part, from)?;
        let mut shown = first.clone();
        for _ in 0..MOST_REDIRECTS {
            let Some(location) = stream.location.clone().filter(|_| (300..400).contains(&stream.status))
            else {
                break;
            };
            // Elsewhere nothing is said of who asks; what comes is held to its digest.
            let here = location.starts_with('/');
            let url = if here { format!("https://{}{location}", what.host()) } else { location };
            shown = format!("{first}, sent on to {}", host_of(&url));
            let token = if here { self.token(&what.name()) } else { None };
            stream = self.once(&url, &shown, part, token, from)?;
        }
        body(stream, from, shown)
    }
}

/// Scheme and host alone.
fn host_of(url: &str) -> &str {
    let begin = url.find("://").map_or(0, |at| at + 3);
    let end = url[begin..].find(['/', '?', '#']).map_or(url.len(), |at| begin + at);
    &url[..end]
}

/// What a reply means whose body is a blob or a manifest.
pub(super) fn body(stream: Stream, from: u64, url: String) -> Result<Body, AppsError> {
    let refused = |url: &str, reason: String| AppsError::Refused { url: url.to_string(), reason };
    match stream.status {
        200 => Ok(Body { from: 0, reader: Box::new(stream), url }),
        206 => Ok(Body { from, reader: Box::new(stream), url }),
        // The server has no more bytes than are here; whether they are the right ones, their hash tells.
        416 => Ok(Body { from, reader: Box::new(io::empty()), url }),
        401 | 403 => Err(refused(&url, format!("the registry refused the login ({})", stream.status))),
        404 => Err(refused(&url, "the registry does not have it (404)".to_string())),
        status => Err(AppsError::Fetch { url, reason: format!("the registry answered {status}") }),
    }
}

/// As URLs of registries name it.
pub(super) fn kind(part: Part) -> &'static str {
    match part {
        Part::Manifest => "manifests",
        Part::Blob(_) => "blobs",
    }
}

#[derive(Deserialize)]
struct Token {
    token: Option<String>,
    access_token: Option<String>,
}

fn basic(credentials: &Credentials) -> String {
    format!("Basic {}", STANDARD.encode(format!("{}:{}", credentials.user, credentials.secret)))
}

fn scheme<'a>(challenge: &'a str, name: &str) -> Option<&'a str> {
    let (scheme, rest) = challenge.trim().split_once(' ')?;
    scheme.eq_ignore_ascii_case(name).then_some(rest)
}

/// `key="value",key="value"`; a comma within quotes separates nothing.
fn parameters(text: &str) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut rest = text;
    while let Some((key, after)) = rest.split_once('=') {
        let key = key.trim_matches([',', ' ']).to_ascii_lowercase();
        let (value, tail) = match after.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"').unwrap_or((quoted, "")),
            None => after.split_once(',').unwrap_or((after, "")),
        };
        found.insert(key, value.to_string());
        rest = tail;
    }
    found
}

fn escaped(value: &str) -> String {
    let mut text = String::new();
    for byte in value.bytes() {
        match byte {
            b if b.is_ascii_alphanumeric() || b"-._~:/".contains(&b) => text.push(char::from(b)),
            b => text.push_str(&format!("%{b:02X}")),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_key_of_an_address_is_shown() {
        for url in [
            "https://s3.example/b/x?sig=K",
            "https://s3.example?sig=K",
            "https://s3.example#K",
            "https://s3.example",
        ] {
            assert_eq!(host_of(url), "https://s3.example", "{url}");
        }
        assert_eq!(host_of("::::?K"), "::::");
    }

    #[test]
    fn what_registries_ask_for() {
        let challenge = r#"Bearer realm="https://auth.example/token",service="hub.example",scope="repository:f/web:pull,push""#;
        let found = parameters(scheme(challenge, "bearer").unwrap());
        assert_eq!(found["realm"], "https://auth.example/token");
        assert_eq!(found["scope"], "repository:f/web:pull,push");
        assert_eq!(escaped(&found["scope"]), "repository:f/web:pull%2Cpush");
        assert_eq!(parameters("realm=x, service=y")["service"], "y");
        assert_eq!(scheme("Basic realm=\"r\"", "Basic"), Some("realm=\"r\""));
        assert_eq!(scheme("Negotiate", "Basic"), None);
    }
}
