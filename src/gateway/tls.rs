//! What TLS needs of this device's files: authorities, certificate chain, key.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use ureq::tls::{Certificate, ClientCert, PrivateKey, RootCerts, TlsConfig, TlsProvider};
use zeroize::Zeroizing;

use super::error::HttpError;
use super::http::{ClientIdentity, HttpSettings};
use super::identity;
use super::pkcs12::Credential;

/// Reads the files; an error names the one that is wrong.
pub(super) fn tls_config(settings: &HttpSettings) -> Result<TlsConfig, HttpError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = Vec::new();
    for path in settings.ca.iter().chain(&settings.public_ca) {
        roots.extend(read_certificates(path)?);
    }
    let client = match (&settings.credential, &settings.client) {
        (Some((path, credential)), _) => {
            roots.extend(credential.authorities.iter().cloned().map(CertificateDer::from));
            Some(of_credential(path, credential, &provider)?)
        }
        (None, Some(identity)) => Some(read_identity(identity, &provider)?),
        (None, None) => None,
    };
    let roots: Vec<_> = roots.iter().map(|c| Certificate::from_der(c.as_ref()).to_owned()).collect();
    Ok(TlsConfig::builder()
        .provider(TlsProvider::Rustls)
        .unversioned_rustls_crypto_provider(provider)
        .root_certs(RootCerts::new_with_certs(&roots))
        .client_cert(client)
        .build())
}

fn read_certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, HttpError> {
    let pem = read(path)?;
    let certificates = CertificateDer::pem_slice_iter(&pem)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|e| HttpError::bad_file(path, format!("not a PEM certificate: {e:?}")))?;
    if certificates.is_empty() {
        return Err(HttpError::bad_file(path, "has no PEM certificate in it".to_string()));
    }
    Ok(certificates)
}

/// The certificates of a PEM text, in DER.
pub fn certificates(pem: &[u8]) -> Result<Vec<Vec<u8>>, String> {
    CertificateDer::pem_slice_iter(pem)
        .map(|certificate| {
            certificate.map(|der| der.as_ref().to_vec()).map_err(|e| format!("not a PEM certificate: {e:?}"))
        })
        .collect()
}

/// Whether a key works, and with this certificate.
pub fn check(credential: &Credential) -> Result<(), String> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let key = PrivateKeyDer::Pkcs8(credential.key.to_vec().into());
    fits(chain(credential), key, &provider)
}

/// Whether a certificate and a key in PEM work together.
pub fn check_pem(certificate: &[u8], key: &[u8]) -> Result<(), String> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let chain = certificates(certificate)?.into_iter().map(CertificateDer::from).collect();
    let key = PrivateKeyDer::from_pem_slice(key).map_err(|e| format!("not a PEM private key: {e:?}"))?;
    fits(chain, key, &provider).map_err(|e| format!("its key does not work: {e}"))
}

/// Of PEM texts. None if the key is in an older form than PKCS#8.
pub fn credential(certificate: &[u8], key: &[u8], authorities: &[u8]) -> Option<Credential> {
    let key = PrivatePkcs8KeyDer::from_pem_slice(key).ok()?.secret_pkcs8_der().to_vec();
    let (chain, authorities) = (certificates(certificate).ok()?, certificates(authorities).ok()?);
    Some(Credential { key: key.into(), chain, authorities })
}

/// How many authorities a PEM text has; an error for one that can vouch for nobody.
pub fn check_authorities(pem: &[u8]) -> Result<usize, String> {
    let mut store = rustls::RootCertStore::empty();
    for (index, der) in certificates(pem)?.into_iter().enumerate() {
        let number = index + 1;
        if let Some(reason) = identity::key_trouble(&der) {
            return Err(format!("authority {number} cannot be used: {reason}"));
        }
        let added = store.add(CertificateDer::from(der));
        added.map_err(|e| format!("authority {number} cannot be used: {e}"))?;
    }
    if store.is_empty() {
        Err("there is no authority to trust a server by".to_string())
    } else {
        Ok(store.len())
    }
}

fn chain(credential: &Credential) -> Vec<CertificateDer<'static>> {
    credential.chain.iter().cloned().map(CertificateDer::from).collect()
}

/// ureq would panic on a key that does not fit its certificate, so rustls is asked first.
fn fits(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    provider: &Arc<rustls::crypto::CryptoProvider>,
) -> Result<(), String> {
    rustls::ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map(|b| b.with_root_certificates(rustls::RootCertStore::empty()))
        .and_then(|b| b.with_client_auth_cert(chain, key))
        .map(|_| ())
        .map_err(|e| e.to_string())
}

fn of_credential(
    path: &Path,
    credential: &Credential,
    provider: &Arc<rustls::crypto::CryptoProvider>,
) -> Result<ClientCert, HttpError> {
    let key = PrivateKeyDer::Pkcs8(credential.key.to_vec().into());
    fits(chain(credential), key, provider)
        .map_err(|e| HttpError::bad_file(path, format!("its key does not work with its certificate: {e}")))?;
    let chain: Vec<_> = credential.chain.iter().map(|der| Certificate::from_der(der).to_owned()).collect();
    let pem = Zeroizing::new(crate::device::pem("PRIVATE KEY", &credential.key));
    let key = PrivateKey::from_pem(pem.as_bytes())
        .map_err(|e| HttpError::bad_file(path, format!("its private key cannot be used: {e}")))?;
    Ok(ClientCert::new_with_certs(&chain, key))
}

fn read_identity(
    identity: &ClientIdentity,
    provider: &Arc<rustls::crypto::CryptoProvider>,
) -> Result<ClientCert, HttpError> {
    let chain = read_certificates(&identity.certificate)?;
    let pem = Zeroizing::new(read(&identity.key)?);
    let key = PrivateKeyDer::from_pem_slice(&pem)
        .map_err(|e| HttpError::bad_file(&identity.key, format!("not a PEM private key: {e:?}")))?;
    fits(chain.clone(), key, provider).map_err(|e| {
        let certificate = identity.certificate.display();
        HttpError::bad_file(&identity.key, format!("does not work with the certificate {certificate}: {e}"))
    })?;
    let chain: Vec<_> = chain.iter().map(|c| Certificate::from_der(c.as_ref()).to_owned()).collect();
    let key = PrivateKey::from_pem(&pem)
        .map_err(|e| HttpError::bad_file(&identity.key, format!("not a PEM private key: {e}")))?;
    Ok(ClientCert::new_with_certs(&chain, key))
}

fn read(path: &Path) -> Result<Vec<u8>, HttpError> {
    fs::read(path).map_err(|e| HttpError::bad_file(path, e.to_string()))
}
