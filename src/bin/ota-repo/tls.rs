//! `tls`: a certificate authority for development, the server's certificate, and one for each device.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, Certificate, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, date_time_ymd,
};

use rust_ota::device::zip;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use crate::error::Error;
use crate::files;
use crate::pkcs12;
use crate::time;

/// The authority's name. It must never change: the authority is recognised by it and its key.
const AUTHORITY: &str = "rust-ota development CA";

/// The common name of the credential that all devices share. No device id can be the same.
pub const SHARED: &str = "shared credential";

/// The files of the authority, in the private folder.
#[derive(Debug)]
pub struct Folder {
    pub path: PathBuf,
}

impl Folder {
    /// The folder below a private folder.
    pub fn of(private: &Path) -> Self {
        Self { path: private.join("tls") }
    }

    /// What a device and a server trust.
    pub fn root(&self) -> PathBuf {
        self.path.join("root.crt")
    }

    /// The server's certificate.
    pub fn server_certificate(&self) -> PathBuf {
        self.path.join("server.crt")
    }

    /// The server's key.
    pub fn server_key(&self) -> PathBuf {
        self.path.join("server.key")
    }

    /// The folder of a device's three files.
    pub fn device(&self, id: &str) -> PathBuf {
        self.path.join("devices").join(id)
    }

    /// What a fleet shares until each of its devices has a certificate of its own.
    pub fn shared(&self) -> PathBuf {
        self.path.join("credentials.zip")
    }

    /// Whether there is an authority.
    pub fn has_authority(&self) -> bool {
        self.root_key().exists()
    }

    fn root_key(&self) -> PathBuf {
        self.path.join("root.key")
    }
}

/// A certificate authority that can sign.
#[derive(Debug)]
pub struct Authority {
    folder: Folder,
    issuer: Issuer<'static, KeyPair>,
    lifetime_days: u64,
}

impl Authority {
    /// Opens the authority of a folder, or makes it.
    pub fn open(folder: Folder, lifetime_days: u64) -> Result<Self, Error> {
        files::create_private_folder(&folder.path)?;
        let key_path = folder.root_key();
        let params = authority_params(lifetime_days);
        let key = if key_path.exists() {
            read_key(&key_path)?
        } else {
            let key = KeyPair::generate().map_err(failed("make the CA's key"))?;
            files::create_secret(&key_path, key.serialize_pem().as_bytes())?;
            key
        };
        if !folder.root().exists() {
            let root = params.self_signed(&key).map_err(failed("sign the CA's certificate"))?;
            files::replace(&folder.root(), root.pem().as_bytes(), files::PUBLIC)?;
        }
        Ok(Self { folder, issuer: Issuer::new(params, key), lifetime_days })
    }

    /// Signs a certificate for a server of these names and addresses.
    pub fn server(&self, hosts: &[String]) -> Result<PathBuf, Error> {
        let mut names: Vec<String> = hosts.to_vec();
        let mut seen = HashSet::new();
        names.retain(|name| seen.insert(name.clone()));
        let mut params = CertificateParams::new(names)
            .map_err(|e| Error::option("--host", format!("no host name or address: {e}")))?;
        params.distinguished_name = name(hosts.first().map_or("", |host| host));
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let path = self.folder.server_certificate();
        self.issue(params, &path, &self.folder.server_key())?;
        Ok(path)
    }

    /// Signs a device's certificate; its common name is the device id. Returns the folder with the device's files.
    pub fn device(&self, id: &str) -> Result<PathBuf, Error> {
        check_device(id)?;
        let folder = self.folder.device(id);
        let certificate = folder.join("client.pem");
        if certificate.exists() {
            return Err(Error::Exists {
                path: certificate,
                advice: "remove the device's folder to give it a new identity",
            });
        }
        files::create_private_folder(&self.folder.path.join("devices"))?;
        files::create_private_folder(&folder)?;
        let params = client(id);
        let root = files::read(&self.folder.root())?;
        files::replace(&folder.join("root.crt"), &root, files::PUBLIC)?;
        self.issue(params, &certificate, &folder.join("pkey.pem"))?;
        Ok(folder)
    }

    /// Writes the credential that a fleet shares: a zip as devices have it.
    pub fn share(&self, server: &str, image_root: Option<Vec<u8>>) -> Result<PathBuf, Error> {
        let path = self.folder.shared();
        let (certificate, key) = self.sign(client(SHARED), self.lifetime_days)?;
        let url = format!("{}\n", server.trim_end_matches('/')).into_bytes();
        let mut members: Vec<(&[u8], Vec<u8>)> =
            vec![(b"autoprov.url", url), (b"autoprov_credentials.p12", self.packed(&certificate, &key)?)];
        members.extend(image_root.map(|root| (&b"root.json"[..], root)));
        files::replace(&path, &zip::pack(&members), files::SECRET)?;
        Ok(path)
    }

    /// Signs a certificate for a device that has none: PKCS#12 with an empty password. None where there is one already. Of the
    /// certificate a copy is kept, of the key none.
    pub fn provision(&self, id: &str, days: u64) -> Result<Option<Vec<u8>>, Error> {
        check_device(id)?;
        let folder = self.folder.device(id);
        let copy = folder.join("client.pem");
        if copy.exists() {
            return Ok(None);
        }
        files::create_private_folder(&self.folder.path.join("devices"))?;
        files::create_private_folder(&folder)?;
        let (certificate, key) = self.sign(client(id), days)?;
        files::replace(&copy, certificate.pem().as_bytes(), files::PUBLIC)?;
        self.packed(&certificate, &key).map(Some)
    }

    fn packed(&self, certificate: &Certificate, key: &KeyPair) -> Result<Vec<u8>, Error> {
        let path = self.folder.root();
        let root = CertificateDer::from_pem_file(&path).map_err(|e| Error::content(&path, e))?;
        pkcs12::pack(&key.serialize_der(), certificate.der(), &root)
    }

    fn issue(&self, params: CertificateParams, certificate: &Path, key_path: &Path) -> Result<(), Error> {
        let (signed, key) = self.sign(params, self.lifetime_days)?;
        files::replace(key_path, key.serialize_pem().as_bytes(), files::SECRET)?;
        files::replace(certificate, signed.pem().as_bytes(), files::PUBLIC)
    }

    fn sign(&self, mut params: CertificateParams, days: u64) -> Result<(Certificate, KeyPair), Error> {
        set_validity(&mut params, days);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate().map_err(failed("make a key"))?;
        let signed = params.signed_by(&key, &self.issuer).map_err(failed("sign a certificate"))?;
        Ok((signed, key))
    }
}

fn client(common_name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = name(common_name);
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    params
}

fn authority_params(lifetime_days: u64) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = name(AUTHORITY);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages =
        vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign, KeyUsagePurpose::DigitalSignature];
    set_validity(&mut params, lifetime_days);
    params
}

/// Valid from 1975 on: a device whose clock is not set yet must still reach its server.
fn set_validity(params: &mut CertificateParams, days: u64) {
    let end = time::format(time::now() + days * 86400);
    let field = |range: std::ops::Range<usize>| end.get(range).and_then(|text| text.parse::<u16>().ok());
    let (year, month, day) = (field(0..4), field(5..7), field(8..10));
    params.not_before = date_time_ymd(1975, 1, 1);
    params.not_after =
        date_time_ymd(year.unwrap_or(9999).into(), month.unwrap_or(1) as u8, day.unwrap_or(1) as u8);
}

fn name(common_name: &str) -> rcgen::DistinguishedName {
    let mut name = rcgen::DistinguishedName::new();
    name.push(DnType::CommonName, common_name);
    name
}

/// A device id is a certificate's common name and a folder's name.
pub fn check_device(id: &str) -> Result<(), Error> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    if id.is_empty() || id.len() > 64 || id.starts_with('.') || !id.bytes().all(fits) {
        return Err(Error::option(
            "--device",
            format!("{id:?}: use 1 to 64 letters, digits and ._-, not beginning with a dot"),
        ));
    }
    Ok(())
}

fn read_key(path: &Path) -> Result<KeyPair, Error> {
    let text = fs::read_to_string(path).map_err(Error::io("read", path))?;
    KeyPair::from_pem(&text).map_err(|e| Error::content(path, e))
}

fn failed(operation: &str) -> impl FnOnce(rcgen::Error) -> Error {
    let operation = operation.to_string();
    move |error| Error::Tls { operation, detail: error.to_string() }
}
