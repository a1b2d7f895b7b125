//! The server's side of TLS: its certificate, and the authority whose devices it lets in.

use std::io;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use rust_ota::gateway::identity::common_name_of;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, ServerConnection, StreamOwned};

use super::IDLE;
use crate::error::Error;

/// The files that TLS needs.
#[derive(Clone, Debug)]
pub struct Files {
    pub certificate: PathBuf,
    pub key: PathBuf,
    /// With it, only devices with a certificate of this authority are let in.
    pub client_ca: Option<PathBuf>,
}

impl Files {
    /// Reads and checks them.
    pub fn load(&self) -> Result<Arc<ServerConfig>, Error> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|e| cannot("use TLS", &e))?;
        let builder = match &self.client_ca {
            None => builder.with_no_client_auth(),
            Some(path) => {
                let mut roots = RootCertStore::empty();
                for certificate in certificates(path)? {
                    roots.add(certificate).map_err(|e| Error::content(path, e))?;
                }
                let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
                    .build()
                    .map_err(|e| Error::content(path, e))?;
                builder.with_client_cert_verifier(verifier)
            }
        };
        let key = PrivateKeyDer::from_pem_file(&self.key)
            .map_err(|e| Error::content(&self.key, format!("no private key in PEM: {e}")))?;
        let config = builder
            .with_single_cert(certificates(&self.certificate)?, key)
            .map_err(|e| Error::content(&self.certificate, e))?;
        Ok(Arc::new(config))
    }
}

/// Completes the handshake of a connection within [`IDLE`].
pub fn handshake(
    config: &Arc<ServerConfig>,
    mut stream: TcpStream,
) -> io::Result<StreamOwned<ServerConnection, TcpStream>> {
    let started = Instant::now();
    let mut connection = ServerConnection::new(Arc::clone(config)).map_err(io::Error::other)?;
    while connection.is_handshaking() {
        if connection.wants_write() {
            connection.write_tls(&mut stream)?;
        } else if connection.read_tls(&mut stream)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        } else if let Err(error) = connection.process_new_packets() {
            // The alert tells the peer what was wrong with its certificate.
            let _ = connection.write_tls(&mut stream);
            return Err(io::Error::other(error));
        }
        if started.elapsed() > IDLE {
            return Err(io::ErrorKind::TimedOut.into());
        }
    }
    Ok(StreamOwned::new(connection, stream))
}

/// Which device a connection is of: the common name of its certificate.
pub fn device(stream: &StreamOwned<ServerConnection, TcpStream>) -> Option<String> {
    common_name_of(stream.conn.peer_certificates()?.first()?)
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    let found = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|e| Error::content(path, e))?;
    if found.is_empty() {
        return Err(Error::content(path, "holds no certificate in PEM"));
    }
    Ok(found)
}

fn cannot(operation: &str, error: &rustls::Error) -> Error {
    Error::Tls { operation: operation.to_string(), detail: error.to_string() }
}
