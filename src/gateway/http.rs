//! The one place that speaks HTTP and TLS (ureq over rustls over ring).
//!
//! No compression, no web PKI for a device's own servers: it trusts the CA that it was provisioned with. Redirects are
//! for content only (`stream`). Every wait has an end: connecting, the reply's head, and each read.

use std::io::Read;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ureq::unversioned::transport::{Connector, DefaultConnector};

use super::error::HttpError;
use super::pkcs12::Credential;
use super::proxy::Proxies;
use super::resolver::RememberingResolver;
use super::retry_after;
use super::tls::tls_config;
use super::watch::Watch;
use crate::config::NetworkSettings;

/// Bytes a second that a document of the largest allowed size must come with.
const SLOWEST: u64 = 16 * 1024;

/// How to reach a server.
#[derive(Debug, Clone)]
pub struct HttpSettings {
    /// PEM file with the CA certificates to trust. Without it only plain HTTP can be spoken.
    pub ca: Option<PathBuf>,
    /// PEM file with more of them, for places that are not this device's own servers.
    pub public_ca: Option<PathBuf>,
    /// PEM files of the client certificate chain and its key.
    pub client: Option<ClientIdentity>,
    /// In place of `client`, and with its authorities besides `ca`: what was in a file that is no PEM, and its path.
    pub credential: Option<(PathBuf, Credential)>,
    /// Which `http://` addresses are asked; a device is `https` only.
    pub plain_http: PlainHttp,
    /// Proxies and patience.
    pub network: NetworkSettings,
    /// Headers of every request, by name and value.
    pub headers: Vec<(String, String)>,
    /// Longest wait for name resolution, connection and TLS handshake.
    pub connect_timeout: Duration,
    /// Longest wait for the head of a reply, and for each further read of its body.
    pub stall_timeout: Duration,
    /// Longest time for a whole small document; one that may be large gets [`SLOWEST`] besides. Without it a server
    /// that sends a byte now and then would hold a device for ever.
    pub total_timeout: Duration,
    /// Connections that are kept open when idle.
    pub idle_connections: usize,
}

impl HttpSettings {
    /// As a device's configuration has it, without any identity.
    pub fn of(network: &NetworkSettings) -> HttpSettings {
        HttpSettings {
            plain_http: if network.allow_http { PlainHttp::Private } else { PlainHttp::No },
            connect_timeout: network.stall,
            stall_timeout: network.stall,
            total_timeout: network.stall * 2,
            network: network.clone(),
            ..HttpSettings::default()
        }
    }
}

impl Default for HttpSettings {
    fn default() -> Self {
        HttpSettings {
            ca: None,
            public_ca: None,
            client: None,
            credential: None,
            plain_http: PlainHttp::No,
            network: NetworkSettings::default(),
            headers: Vec::new(),
            connect_timeout: Duration::from_secs(30),
            stall_timeout: Duration::from_secs(30),
            total_timeout: Duration::from_secs(60),
            idle_connections: 4,
        }
    }
}

/// Where plain `http://` is spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PlainHttp {
    /// Nowhere.
    No,
    /// At addresses of this machine and of private networks (`network.allow_http`).
    Private,
    /// Everywhere: for debugging commands and tests.
    Any,
}

/// Where the device's TLS certificate and key are.
#[derive(Debug, Clone)]
pub struct ClientIdentity {
    /// PEM file of the certificate chain.
    pub certificate: PathBuf,
    /// PEM file of the private key (PKCS#8, PKCS#1 or SEC1).
    pub key: PathBuf,
}

/// A client that keeps its connections. Cloning shares them.
#[derive(Debug, Clone)]
pub struct Http {
    agent: ureq::Agent,
    headers: Vec<(String, String)>,
    pub(super) settings: Arc<HttpSettings>,
    proxies: Arc<Proxies>,
    /// For content at other places: without this device's identity. Made when it is first needed.
    pub(super) stranger: Arc<Mutex<Option<Http>>>,
}

/// A whole reply, whatever its status.
#[derive(Debug)]
pub struct Reply {
    /// HTTP status code.
    pub status: u16,
    /// `ETag` as sent, for a conditional request later.
    pub etag: Option<String>,
    /// `Location` as sent.
    pub location: Option<String>,
    /// `WWW-Authenticate` as sent.
    pub challenge: Option<String>,
    /// Seconds of a `Retry-After` header, where the server sent a number or a date.
    pub retry_after: Option<u64>,
    /// The body, at most as long as the limit of the call.
    pub body: Vec<u8>,
}

impl Http {
    /// Reads the certificates and makes a client. Nothing is connected yet.
    pub fn new(settings: &HttpSettings) -> Result<Http, HttpError> {
        let tls = tls_config(settings)?;
        let config = ureq::Agent::config_builder()
            .tls_config(tls)
            .http_status_as_error(false)
            .https_only(settings.plain_http == PlainHttp::No)
            // A redirect would take the device's certificate, or its trust, to a place nobody signed for.
            .max_redirects(0)
            .max_redirects_will_error(false)
            // Chosen for each request.
            .proxy(None)
            .user_agent(concat!("rust-ota/", env!("CARGO_PKG_VERSION")))
            .accept_encoding("identity")
            .max_response_header_size(64 * 1024)
            // For each open connection; a download has many. A reply's head has to fit into the first.
            .input_buffer_size(64 * 1024)
            .output_buffer_size(16 * 1024)
            .max_idle_connections(settings.idle_connections)
            .max_idle_connections_per_host(settings.idle_connections)
            .timeout_resolve(Some(settings.connect_timeout))
            .timeout_connect(Some(settings.connect_timeout))
            .timeout_recv_response(Some(settings.stall_timeout))
            .timeout_per_read(Some(settings.stall_timeout))
            .timeout_per_write(Some(settings.stall_timeout))
            .build();
        Ok(Http {
            agent: ureq::Agent::with_parts(
                config,
                DefaultConnector::default().chain(Watch),
                RememberingResolver::new(settings.plain_http == PlainHttp::Private),
            ),
            headers: settings.headers.clone(),
            settings: Arc::new(settings.clone()),
            proxies: Arc::new(Proxies::of_process(&settings.network)),
            stranger: Arc::default(),
        })
    }

    /// The same client and connections with other headers.
    pub fn with_headers(&self, headers: Vec<(String, String)>) -> Http {
        Http { headers, ..self.clone() }
    }

    /// GETs a small document, refusing more than `limit` bytes of body.
    pub fn get(&self, url: &str, limit: u64) -> Result<Reply, HttpError> {
        self.get_unless(url, None, limit)
    }

    /// GETs a document unless it still has the `etag` seen before; then the status is 304 and the body empty.
    pub fn get_unless(&self, url: &str, etag: Option<&str>, limit: u64) -> Result<Reply, HttpError> {
        let mut request = self.request("GET", url)?;
        if let Some(etag) = etag {
            request = request.header("If-None-Match", etag);
        }
        let request = request.body(()).map_err(|e| HttpError::failed(url, e.into()))?;
        let response = self.run(url, request, Some(limit))?;
        check_reply(url, &response)?;
        match self.settings.network.redirect_metadata
            && matches!(response.status().as_u16(), 301..=303 | 307 | 308)
        {
            true => self.get_elsewhere(url, limit),
            false => read_reply(url, response, limit),
        }
    }

    /// Sends a body (PUT or POST) and reads the reply, refusing more than `limit` bytes of it.
    pub fn send(
        &self,
        method: &str,
        url: &str,
        content_type: &str,
        body: &[u8],
        limit: u64,
    ) -> Result<Reply, HttpError> {
        let request = self
            .request(method, url)?
            .header("Content-Type", content_type)
            .body(body)
            .map_err(|e| HttpError::failed(url, e.into()))?;
        let response = self.run(url, request, Some(limit))?;
        read_reply(url, response, limit)
    }

    /// Through the proxy that is for this address. With a limit there is an end to all of it, the body too.
    pub(super) fn run<S: ureq::AsSendBody>(
        &self,
        url: &str,
        request: ureq::http::Request<S>,
        limit: Option<u64>,
    ) -> Result<ureq::http::Response<ureq::Body>, HttpError> {
        let private = self.settings.plain_http == PlainHttp::Private && url.starts_with("http://");
        let chosen =
            if private { None } else { self.proxies.of(url).map_err(|e| HttpError::proxy(url, e))? };
        let (proxy, name) = chosen.unzip();
        let total = limit.map(|limit| self.settings.total_timeout + Duration::from_secs(limit / SLOWEST));
        let request = self.agent.configure_request(request).timeout_global(total).proxy(proxy).build();
        self.agent.run(request).map_err(|error| match name {
            Some(name) => HttpError::proxy(url, format!("through the proxy {name}: {error}")),
            None => HttpError::failed(url, error),
        })
    }

    pub(super) fn request(&self, method: &str, url: &str) -> Result<ureq::http::request::Builder, HttpError> {
        let plain = self.settings.plain_http != PlainHttp::No && url.starts_with("http://");
        let allowed = plain || url.starts_with("https://");
        if !allowed {
            return Err(HttpError::NotHttps { url: url.to_string() });
        }
        let mut request = ureq::http::Request::builder().method(method).uri(url);
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        Ok(request)
    }
}

/// Seconds since 1970.
fn clock() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs() as i64)
}

fn read_reply(url: &str, response: ureq::http::Response<ureq::Body>, limit: u64) -> Result<Reply, HttpError> {
    let etag = header(&response, "etag");
    let date = header(&response, "date");
    let wait = header(&response, "retry-after");
    let retry_after = wait.and_then(|value| retry_after::seconds(&value, date.as_deref(), clock()));
    let location = header(&response, "location");
    let challenge = header(&response, "www-authenticate");
    let status = response.status().as_u16();
    let mut body = Vec::new();
    // One byte more than allowed is asked for, so that "too large" is told apart from "just fits".
    response
        .into_body()
        .into_reader()
        .take(limit.saturating_add(1))
        .read_to_end(&mut body)
        .map_err(|e| HttpError::cut(url, e))?;
    if body.len() as u64 > limit {
        return Err(HttpError::TooLarge { url: url.to_string(), limit });
    }
    Ok(Reply { status, etag, location, challenge, retry_after, body })
}

/// What is no document at all, whatever its bytes are: a login page, or an encoding that nobody asked for.
fn check_reply(url: &str, response: &ureq::http::Response<ureq::Body>) -> Result<(), HttpError> {
    check_encoding(url, response)?;
    if response.status() == 200 && is_page(response) {
        return Err(HttpError::Page { url: url.to_string() });
    }
    Ok(())
}

pub(super) fn check_encoding(
    url: &str,
    response: &ureq::http::Response<ureq::Body>,
) -> Result<(), HttpError> {
    match header(response, "content-encoding").filter(|encoding| !encoding.eq_ignore_ascii_case("identity")) {
        Some(encoding) => Err(HttpError::Encoded { url: url.to_string(), encoding }),
        None => Ok(()),
    }
}

pub(super) fn is_page(response: &ureq::http::Response<ureq::Body>) -> bool {
    header(response, "content-type")
        .is_some_and(|kind| kind.trim().to_ascii_lowercase().starts_with("text/html"))
}

pub(super) fn header(response: &ureq::http::Response<ureq::Body>, name: &str) -> Option<String> {
    response.headers().get(name)?.to_str().ok().map(str::to_string)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::net::TcpListener;
    use std::time::Instant;

    #[test]
    fn a_device_speaks_https_only() {
        let http = Http::new(&HttpSettings::default()).unwrap();
        for url in ["http://127.0.0.1:9/x", "HTTP://127.0.0.1:9/x", "file:///etc/passwd", "//x", ""] {
            assert!(matches!(http.get(url, 10), Err(HttpError::NotHttps { .. })), "{url}");
            assert!(matches!(http.open(url, 0), Err(HttpError::NotHttps { .. })), "{url}");
        }
    }

    #[test]
    fn plain_http_stays_at_private_addresses() {
        let settings = HttpSettings {
            plain_http: PlainHttp::Private,
            connect_timeout: Duration::from_secs(2),
            ..HttpSettings::default()
        };
        let http = Http::new(&settings).unwrap();
        // Documentation's own addresses: nobody is there, so only the rule can answer.
        for url in ["http://192.0.2.1:9/x", "http://[2001:db8::1]:9/x"] {
            let error = http.get(url, 10).unwrap_err().to_string();
            assert!(error.contains("network.allow_http"), "{error}");
        }
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/x", listener.local_addr().unwrap());
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let _ = stream.read(&mut [0; 1024]);
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n.").unwrap();
        });
        assert_eq!(http.get(&url, 10).unwrap().body, b".");
    }

    #[test]
    fn a_document_that_drips_has_an_end() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/timestamp.json", listener.local_addr().unwrap());
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n").unwrap();
            // Never a stall, and never the end.
            while stream.write_all(b".").is_ok() {
                std::thread::sleep(Duration::from_millis(50));
            }
        });
        let total_timeout = Duration::from_millis(400);
        let http =
            Http::new(&HttpSettings { plain_http: PlainHttp::Any, total_timeout, ..HttpSettings::default() });
        let began = Instant::now();
        let error = http.unwrap().get(&url, 1000).unwrap_err();
        assert!(matches!(error, HttpError::Cut { .. } | HttpError::Failed { .. }), "{error}");
        // Twenty times what it should be: all of the body would take 50 s.
        assert!(began.elapsed() < Duration::from_secs(20), "{error}");
    }
}
