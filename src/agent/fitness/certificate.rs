//! Certificates as rustls takes them, which is stricter than OpenSSL.

use super::Findings;
use crate::agent::director::credential;
use crate::config::{Settings, Trust};
use crate::device::old::OldState;
use crate::gateway::identity::{common_name_of, key_trouble, not_after, version};
use crate::gateway::tls;

/// Certificate and key of this device, and the authorities that it trusts.
pub(super) fn look(
    settings: &Settings,
    old: Option<&OldState>,
    is_image: bool,
    now: i64,
    findings: &mut Findings,
) {
    let files = settings.identity().filter(|(certificate, key)| certificate.exists() && key.exists());
    let read = |path: &std::path::Path| std::fs::read(path).unwrap_or_default();
    let pair = match (files, old) {
        (Some((certificate, key)), _) => {
            Some((certificate.display().to_string(), read(&certificate), read(&key)))
        }
        (None, Some(OldState { certificate: Some(certificate), tls_key: Some(key), .. })) => {
            Some((settings.old_database.display().to_string(), certificate.clone(), key.clone()))
        }
        _ => None,
    };
    match pair {
        Some((name, certificate, key)) => device(&name, &certificate, &key, now, findings),
        None if settings.director.shared.as_ref().is_some_and(|shared| shared.zip.exists()) => {
            shared_credential(settings, findings);
        }
        None if is_image => findings.warn(
            "certificate",
            "there is none in the image; each device needs root.crt, client.pem and pkey.pem in import.base_path",
        ),
        // A repository may be public.
        None if settings.director.trust == Trust::Latest => {
            findings.warn("certificate", "this device has none; servers that require one will refuse it");
        }
        None => findings.problem(
            "certificate",
            "this device has none; put root.crt, client.pem and pkey.pem into import.base_path",
        ),
    }
    let ca = settings.authorities().filter(|path| path.exists()).map(|path| read(&path));
    if let Some(pem) = ca.or_else(|| old.and_then(|old| old.ca.clone())) {
        authorities(&pem, findings);
    }
}

fn shared_credential(settings: &Settings, findings: &mut Findings) {
    let authorities = settings.authorities().filter(|path| path.exists());
    let checked =
        settings.director.shared.as_ref().map(|shared| credential::check(shared, authorities.as_deref()));
    match checked {
        Some(Err(error)) => findings.problem("certificate", error.to_string()),
        _ => findings.good("certificate", "none yet; one is requested with the shared credential"),
    }
}

fn device(name: &str, certificate: &[u8], key: &[u8], now: i64, findings: &mut Findings) {
    let first = tls::certificates(certificate).ok().and_then(|all| all.into_iter().next());
    let Some(der) = first else {
        return findings
            .problem("certificate", format!("{name}: not a PEM certificate; provision the device again"));
    };
    if version(&der) == Some(1) {
        return findings.problem(
            "certificate",
            format!(
                "{name}: an X.509 v1 certificate; have it issued anew as version 3 (openssl x509 -extfile)"
            ),
        );
    }
    if let Some(reason) = key_trouble(&der) {
        return findings
            .problem("certificate", format!("{name}: {reason}; have it issued anew with one of these"));
    }
    if let Err(reason) = tls::check_pem(certificate, key) {
        return findings
            .problem("certificate", format!("{name}: {reason}; put the key of this certificate beside it"));
    }
    if common_name_of(&der).is_none() {
        findings.warn(
            "certificate",
            format!("{name}: it has no common name, and servers of this kind identify a device by that"),
        );
    }
    match not_after(&der) {
        Some(end) if now > 0 && end.0 <= now => {
            findings
                .problem("certificate", format!("{name}: it expired at {end}; provision the device again"));
        }
        Some(end) => findings.good("certificate", format!("{name}: valid until {end}")),
        None => findings.warn("certificate", format!("{name}: its end of validity cannot be read")),
    }
}

fn authorities(pem: &[u8], findings: &mut Findings) {
    match tls::check_authorities(pem) {
        Ok(count) => findings.good(
            "authorities",
            match count {
                1 => "1 authority is trusted".to_string(),
                _ => format!("{count} authorities are trusted"),
            },
        ),
        Err(reason) => findings
            .problem("authorities", format!("{reason}; replace it, and the certificates that it issued")),
    }
}
