//! Where updates come from, and whether rustls can make a connection there.

use super::{Finding, Findings, Level, Scope};
use crate::config::{Merged, Settings, Trust};
use crate::device::old::OldState;
use crate::gateway::redact::redacted;
use crate::gateway::{ClientIdentity, Http, HttpError, HttpSettings, tls};

const REPLY_LIMIT: u64 = 64 * 1024;

const NO_CIPHER: &str = "the server offers no cipher that works here, or its key is on P-521; enable TLS 1.3, or TLS 1.2 with ECDHE and GCM or ChaCha20 (CBC and RSA key exchange do not work), with a key of RSA, P-256 or P-384";
const NO_NAME: &str = "the server's certificate does not name the host in its subjectAltName (a common name alone does not count); have it issued anew with that name";
const REFUSED: &str = "the server refuses this device's certificate; compare it with what the server trusts";

/// What rustls says, and what to do about it.
const ADVICE: [(&str, &str); 21] = [
    ("UnsupportedCertVersion", "the server's certificate is X.509 v1; have it issued anew as version 3"),
    ("NotValidForName", NO_NAME),
    ("not valid for name", NO_NAME),
    (
        "CaUsedAsEndEntity",
        "the server's certificate is that of an authority; have one issued for the server, with basicConstraints CA:FALSE",
    ),
    (
        "UnsupportedSignatureAlgorithm",
        "a certificate of the server is signed on P-521 or with SHA-1; use RSA, P-256 or P-384 with SHA-2",
    ),
    (
        "BadSignature",
        "a signature of the server does not fit its certificate, or its RSA key has less than 2048 bits; have the certificate issued anew for a longer key",
    ),
    (
        "UnknownIssuer",
        "no authority of this device issued the server's certificate; compare root.crt with the server's chain",
    ),
    (
        "peer certificate: Expired",
        "the server's certificate has expired, or this device's clock is wrong; renew it",
    ),
    (
        "certificate expired",
        "the server's certificate has expired, or this device's clock is wrong; renew it",
    ),
    (
        "NotValidYet",
        "the server's certificate is not valid yet, or this device's clock is wrong; set the clock",
    ),
    (
        "not valid yet",
        "the server's certificate is not valid yet, or this device's clock is wrong; set the clock",
    ),
    ("HandshakeFailure", NO_CIPHER),
    ("PeerIncompatible", NO_CIPHER),
    ("peer is incompatible", NO_CIPHER),
    ("ProtocolVersion", "the server speaks neither TLS 1.2 nor TLS 1.3; update it"),
    ("fatal alert: CertificateRequired", "the server requires a certificate, and this device has none"),
    ("fatal alert: BadCertificate", REFUSED),
    ("fatal alert: UnsupportedCertificate", REFUSED),
    ("fatal alert: CertificateExpired", REFUSED),
    ("fatal alert: UnknownCA", REFUSED),
    ("fatal alert: CertificateUnknown", REFUSED),
];

pub(super) fn look(
    settings: &Settings,
    merged: &Merged,
    old: Option<&OldState>,
    scope: Scope,
    is_image: bool,
    findings: &mut Findings,
) {
    let director = settings.director.server.clone().filter(|_| settings.director.trust == Trust::Director);
    let missing = match (settings.director.trust, &director, &settings.repo_server) {
        (Trust::Director, None, _) => Some("uptane.director_server"),
        (_, _, None) => Some("uptane.repo_server"),
        _ => None,
    };
    if let Some(key) = missing {
        return findings.0.push(unnamed(merged, key, is_image));
    }
    let content = settings.ostree_server.iter().filter(|_| !settings.primary_is_file());
    let all = settings.server.iter().chain(&director).chain(&settings.repo_server).chain(content);
    let mut addresses: Vec<&String> = Vec::new();
    for url in all {
        if !addresses.iter().any(|known| host(known) == host(url)) {
            addresses.push(url);
        }
    }
    for url in addresses {
        if !url.starts_with("https://") && !settings.network.allow_http {
            let text = "only https:// is spoken; give the server a certificate";
            findings.problem("server", format!("{}: {text}", redacted(url)));
        } else if scope != Scope::Files {
            connect(settings, old, url, findings);
        } else {
            findings.good("server", redacted(url));
        }
    }
}

/// No server: none is set, or the file that names it is one that devices bring.
fn unnamed(merged: &Merged, key: &str, is_image: bool) -> Finding {
    let file = [("tls", "server_url_path"), ("provision", "provision_path")];
    let named = file.iter().find_map(|(section, key)| {
        let value = merged.get(section, key).filter(|value| !value.text.is_empty())?;
        Some(format!("{section}.{key} = {}", value.text))
    });
    let (level, text) = match named {
        Some(name) if is_image => (
            Level::Warning,
            format!("{name}: not in the image; each device needs it, with the server's address"),
        ),
        Some(name) => (
            Level::Problem,
            format!("{name}: not found, or without the server's address; put it there, or set tls.server"),
        ),
        None => {
            (Level::Problem, format!("neither tls.server nor {key} is set; set one to the server's address"))
        }
    };
    Finding { level, subject: "server", text }
}

fn host(url: &str) -> &str {
    url.split('/').nth(2).unwrap_or(url)
}

/// Any answer will do, since it came through TLS.
fn connect(settings: &Settings, old: Option<&OldState>, url: &str, findings: &mut Findings) {
    let http = http_settings(settings, old);
    let has_identity = http.client.is_some() || http.credential.is_some();
    match Http::new(&http).and_then(|http| http.get(url, REPLY_LIMIT)) {
        Ok(reply) => findings
            .good("server", format!("{}: a connection works (status {})", redacted(url), reply.status)),
        Err(
            HttpError::Page { .. }
            | HttpError::Redirected { .. }
            | HttpError::TooLarge { .. }
            | HttpError::Encoded { .. },
        ) => findings.good("server", format!("{}: a connection works", redacted(url))),
        // What is wrong with the device's own files is a finding of its own.
        Err(error @ HttpError::BadFile { .. }) => {
            findings.warn("server", format!("{}: not asked: {error}", redacted(url)));
        }
        Err(error) => {
            let text = error.to_string();
            match ADVICE.iter().find(|(word, _)| text.contains(word)) {
                // So does a server with TLS 1.2 say that it wants a certificate.
                Some(("HandshakeFailure", advice)) if !has_identity => findings.problem(
                    "server",
                    format!(
                        "{}: {advice}; or it requires a certificate, and this device has none",
                        redacted(url)
                    ),
                ),
                Some((_, advice)) => {
                    findings.problem("server", format!("{}: {advice} ({text})", redacted(url)))
                }
                // A server that is down now may be up when the client changes.
                None => findings.warn("server", text),
            }
        }
    }
}

/// With what the device has in files, or else in the old client's state.
fn http_settings(settings: &Settings, old: Option<&OldState>) -> HttpSettings {
    let client = settings.identity().filter(|(certificate, key)| certificate.exists() && key.exists());
    let ca = settings.authorities().filter(|path| path.exists());
    let credential = match (&client, old) {
        (
            None,
            Some(OldState { certificate: Some(certificate), tls_key: Some(key), ca: authorities, .. }),
        ) => tls::credential(certificate, key, authorities.as_deref().unwrap_or_default()),
        _ => None,
    };
    HttpSettings {
        ca,
        client: client.map(|(certificate, key)| ClientIdentity { certificate, key }),
        credential: credential.map(|credential| (settings.old_database.clone(), credential)),
        ..HttpSettings::of(&settings.network)
    }
}
