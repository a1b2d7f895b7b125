//! The one place that speaks HTTP and TLS (ureq over rustls over ring).
//!
//! No redirects, no compression, no web PKI: a device trusts the CA that it was provisioned with and asks
//! exactly the URL that it means. Every wait has an end: connecting, the reply's head, and each read.

use std::fmt;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ureq::unversioned::transport::DefaultConnector;

use super::pkcs12::Credential;
use super::resolver::RememberingResolver;
use super::retry_after;
use super::tls::tls_config;

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
    /// Plain `http://` is for debugging commands and tests; a device is `https` only.
    pub plain_http: bool,
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

impl Default for HttpSettings {
    fn default() -> Self {
        HttpSettings {
            ca: None,
            public_ca: None,
            client: None,
            credential: None,
            plain_http: false,
            headers: Vec::new(),
            connect_timeout: Duration::from_secs(30),
            stall_timeout: Duration::from_secs(30),
            total_timeout: Duration::from_secs(60),
            idle_connections: 4,
        }
    }
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
    plain_http: bool,
    total_timeout: Duration,
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
    /// `Location` as sent. It is not followed here.
    pub location: Option<String>,
    reader: ureq::BodyReader<'static>,
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
        self.reader.read(buffer)
    }
}

impl Http {
    /// Reads the certificates and makes a client. Nothing is connected yet.
    pub fn new(settings: &HttpSettings) -> Result<Http, HttpError> {
        let tls = tls_config(settings)?;
        let config = ureq::Agent::config_builder()
            .tls_config(tls)
            .http_status_as_error(false)
            .https_only(!settings.plain_http)
            // A redirect would take the device's certificate, or its trust, to a place nobody signed for.
            .max_redirects(0)
            .max_redirects_will_error(false)
            .proxy(ureq::Proxy::try_from_env())
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
                DefaultConnector::default(),
                RememberingResolver::default(),
            ),
            headers: settings.headers.clone(),
            plain_http: settings.plain_http,
            total_timeout: settings.total_timeout,
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
        let response = self.run(request, limit).map_err(|e| HttpError::failed(url, e))?;
        read_reply(url, response, limit)
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
        let response = self.run(request, limit).map_err(|e| HttpError::failed(url, e))?;
        read_reply(url, response, limit)
    }

    /// Opens a large body, from byte `from` on. Whether the server obeyed is in the status (206).
    pub fn open(&self, url: &str, from: u64) -> Result<Stream, HttpError> {
        let mut request = self.request("GET", url)?;
        if from > 0 {
            request = request.header("Range", format!("bytes={from}-"));
        }
        let request = request.body(()).map_err(|e| HttpError::failed(url, e.into()))?;
        let response = self.agent.run(request).map_err(|e| HttpError::failed(url, e))?;
        let etag = header(&response, "etag");
        let challenge = header(&response, "www-authenticate");
        let location = header(&response, "location");
        let status = response.status().as_u16();
        let body = response.into_body();
        let length = body.content_length();
        Ok(Stream { status, length, etag, challenge, location, reader: body.into_reader() })
    }

    /// With an end to all of it, the body too.
    fn run<S: ureq::AsSendBody>(
        &self,
        request: ureq::http::Request<S>,
        limit: u64,
    ) -> Result<ureq::http::Response<ureq::Body>, ureq::Error> {
        let total = self.total_timeout + Duration::from_secs(limit / SLOWEST);
        self.agent.run(self.agent.configure_request(request).timeout_global(Some(total)).build())
    }

    fn request(&self, method: &str, url: &str) -> Result<ureq::http::request::Builder, HttpError> {
        let allowed = url.starts_with("https://") || (self.plain_http && url.starts_with("http://"));
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

fn header(response: &ureq::http::Response<ureq::Body>, name: &str) -> Option<String> {
    response.headers().get(name)?.to_str().ok().map(str::to_string)
}

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
    /// The body ended early or stalled.
    Cut {
        /// The URL that was asked for.
        url: String,
        /// What the transport said.
        reason: String,
    },
}

impl HttpError {
    pub(super) fn bad_file(path: &Path, reason: String) -> HttpError {
        HttpError::BadFile { path: path.to_path_buf(), reason }
    }

    fn failed(url: &str, error: ureq::Error) -> HttpError {
        HttpError::Failed { url: url.to_string(), reason: error.to_string() }
    }

    fn cut(url: &str, error: io::Error) -> HttpError {
        HttpError::Cut { url: url.to_string(), reason: error.to_string() }
    }
}

impl fmt::Display for HttpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HttpError::BadFile { path, reason } => {
                write!(f, "{}: {reason}; check the file and the [import] and [storage] paths", path.display())
            }
            HttpError::NotHttps { url } => {
                write!(
                    f,
                    "{url}: only https:// is allowed; correct the server's address in the configuration"
                )
            }
            HttpError::TooLarge { url, limit } => {
                write!(
                    f,
                    "{url}: the server sent more than the {limit} bytes that are allowed; nothing was kept"
                )
            }
            HttpError::Failed { url, reason } => {
                write!(f, "{url}: {reason}; check the network, the server and the certificates")
            }
            HttpError::Cut { url, reason } => {
                write!(f, "{url}: the reply was cut: {reason}; it is safe to try again")
            }
        }
    }
}

impl std::error::Error for HttpError {}

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
        let http = Http::new(&HttpSettings { plain_http: true, total_timeout, ..HttpSettings::default() });
        let began = Instant::now();
        let error = http.unwrap().get(&url, 1000).unwrap_err();
        assert!(matches!(error, HttpError::Cut { .. } | HttpError::Failed { .. }), "{error}");
        // Twenty times what it should be: all of the body would take 50 s.
        assert!(began.elapsed() < Duration::from_secs(20), "{error}");
    }
}
