//! Settings of a device that is what a Director says.

use std::path::{Path, PathBuf};

use super::ConfigError;
use super::reader::{Reader, bad};
use crate::device::zip::Zip;

/// Whose word a device takes for what it is to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trust {
    /// The newest Target that it may see: plain TUF, as aktualizr-lite.
    Latest,
    /// What the Director assigns to it: Uptane, as aktualizr.
    Director,
}

/// Which kind of key signs what the device reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyType {
    /// Made on the device.
    Ed25519,
    /// Brought along: nothing in this program makes RSA keys.
    Rsa,
}

/// A credential that all devices of a fleet have, for nothing but to get one of their own.
#[derive(Clone)]
pub struct SharedCredential {
    /// `provision.provision_path`: a zip with `autoprov_credentials.p12` and `autoprov.url`.
    pub zip: PathBuf,
    /// `provision.p12_password`.
    pub password: String,
    /// `provision.mode = SharedCredReuse`: it stays in the zip when it was used.
    pub reuse: bool,
    /// `provision.expiry_days`, as it is sent.
    pub ttl: String,
    /// `provision.server`, by default `tls.server`.
    pub server: Option<String>,
}

/// The password is never shown.
impl std::fmt::Debug for SharedCredential {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SharedCredential").field("zip", &self.zip).finish_non_exhaustive()
    }
}

impl SharedCredential {
    /// What `provision` says; none where a device has a certificate from its factory.
    pub(super) fn read(m: &Reader<'_>, storage: &Path) -> Result<Option<Self>, ConfigError> {
        let path = m.path("provision", "provision_path");
        let default = if path.is_some() { Mode::Shared } else { Mode::Device };
        let mode = m.choice("provision", "mode", default, &MODES)?;
        if mode == Mode::Device {
            return Ok(None);
        }
        Ok(Some(SharedCredential {
            zip: path.unwrap_or_else(|| storage.join("sota_provisioning_credentials.zip")),
            password: m.text("provision", "p12_password").unwrap_or_default(),
            reuse: mode == Mode::SharedReuse,
            ttl: m.text("provision", "expiry_days").unwrap_or_else(|| "36000".to_string()),
            server: m.url("provision", "server"),
        }))
    }

    /// `autoprov.url` of the zip. What is wrong with the zip is said when it is needed.
    pub(super) fn url(&self) -> Option<String> {
        let bytes = std::fs::read(&self.zip).ok()?;
        let url = String::from_utf8(Zip::read(&bytes).ok()?.member("autoprov.url").ok()??).ok()?;
        Some(url.trim().trim_end_matches('/').to_string()).filter(|url| !url.is_empty())
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    Device,
    Shared,
    SharedReuse,
}

/// What only the Director's way of updating needs.
#[derive(Debug, Clone)]
pub struct DirectorSettings {
    /// `rust_ota.trust`; where it is not set, see [`Trust`] in docs/aktualizr.md.
    pub trust: Trust,
    /// Whether `trust` is stated, or follows from settings that only one of the two kinds of device has.
    pub trust_is_known: bool,
    /// `uptane.director_server`, by default `<tls.server>/director`.
    pub server: Option<String>,
    /// `provision.ecu_registration_endpoint`, by default `<tls.server>/director/ecus`.
    pub registration: Option<String>,
    /// Where the Director's first root may lie: `rust_ota.director_root`, `<import.base_path>/director/root.json`, the
    /// image's.
    pub director_roots: Vec<PathBuf>,
    /// The same for the Image repository: `rust_ota.root`, `<import.base_path>/repo/root.json`, the image's.
    pub image_roots: Vec<PathBuf>,
    /// `rust_ota.trust_first_root`: a device without any root takes the first that it sees, as aktualizr does.
    pub trust_first_root: bool,
    /// `uptane.key_type`.
    pub key_type: KeyType,
    /// `import.uptane_private_key_path`.
    pub imported_key: Option<PathBuf>,
    /// `import.base_path`/`installed_versions`: what a factory put on the device.
    pub installed_versions: PathBuf,
    /// `provision.device_id`, where it is not the common name of the certificate.
    pub device_id: Option<String>,
    /// `provision.mode`, by `provision.provision_path` where it is not set.
    pub shared: Option<SharedCredential>,
    /// `uptane.secondary_config_file`.
    pub secondaries: Option<PathBuf>,
    /// `pacman.type` is `none`: see [`super::Settings::primary_is_file`].
    pub no_ostree: bool,
    /// `pacman.fake_need_reboot`: a file for the Primary takes effect with a reboot.
    pub file_needs_reboot: bool,
    /// `pacman.images_path`: where Targets that are files wait for their installation.
    pub images: PathBuf,
    /// `uptane.force_install_completion`: the daemon reboots by itself.
    pub reboot: bool,
    /// `uptane.running_mode`.
    pub running_mode: Option<String>,
    /// `pacman.packages_file`.
    pub packages_file: PathBuf,
    /// `telemetry.report_network`.
    pub report_network: bool,
}

impl DirectorSettings {
    pub(super) fn read(
        m: &Reader<'_>,
        storage: &Path,
        server: Option<&str>,
        shared: Option<SharedCredential>,
    ) -> Result<Self, ConfigError> {
        let base = |suffix: &str| server.map(|s| format!("{s}{suffix}"));
        let import = m.path("import", "base_path").unwrap_or_else(|| storage.join("import"));
        let roots = |key, place: &str, shipped: &str| {
            let own = m.path("rust_ota", key);
            own.into_iter().chain([import.join(place), m.located(shipped)]).collect()
        };
        Ok(DirectorSettings {
            trust: trust(m)?,
            trust_is_known: m.value("rust_ota", "trust").is_some() || guess(m).is_some(),
            server: m.url("uptane", "director_server").or_else(|| base("/director")),
            registration: m.url("provision", "ecu_registration_endpoint").or_else(|| base("/director/ecus")),
            director_roots: roots(
                "director_root",
                "director/root.json",
                "/usr/lib/sota/tuf/director-root.json",
            ),
            image_roots: roots("root", "repo/root.json", "/usr/lib/sota/tuf/root.json"),
            trust_first_root: m.switch("rust_ota", "trust_first_root", false)?,
            key_type: m.choice("uptane", "key_type", KeyType::Ed25519, &KEY_TYPES)?,
            imported_key: m.path("import", "uptane_private_key_path").map(|p| import.join(p)),
            installed_versions: import.join("installed_versions"),
            device_id: m.text("provision", "device_id"),
            shared,
            secondaries: m.path("uptane", "secondary_config_file"),
            no_ostree: has_no_ostree(m),
            file_needs_reboot: m.switch("pacman", "fake_need_reboot", false)?,
            images: m.path("pacman", "images_path").unwrap_or_else(|| storage.join("images")),
            reboot: m.switch("uptane", "force_install_completion", false)?,
            running_mode: m.text("uptane", "running_mode"),
            packages_file: m
                .path("pacman", "packages_file")
                .unwrap_or_else(|| m.located("/usr/package.manifest")),
            report_network: m.switch("telemetry", "report_network", true)?,
        })
    }
}

const TRUST: [(&str, Trust); 2] = [("director", Trust::Director), ("latest", Trust::Latest)];
pub(super) const KEY_TYPES: [(&str, KeyType); 4] = [
    ("ED25519", KeyType::Ed25519),
    ("RSA2048", KeyType::Rsa),
    ("RSA3072", KeyType::Rsa),
    ("RSA4096", KeyType::Rsa),
];
const MODES: [(&str, Mode); 3] =
    [("DeviceCred", Mode::Device), ("SharedCred", Mode::Shared), ("SharedCredReuse", Mode::SharedReuse)];

/// What is configured, or else what the other settings are of: those that only one of the two clients reads.
fn trust(m: &Reader<'_>) -> Result<Trust, ConfigError> {
    m.choice("rust_ota", "trust", guess(m).unwrap_or(Trust::Latest), &TRUST)
}

/// None: the settings say nothing about it. ATS metadata is served to both kinds of device.
fn guess(m: &Reader<'_>) -> Option<Trust> {
    let set = |keys: &[(&str, &str)]| keys.iter().any(|(section, key)| m.value(section, key).is_some());
    let is = |section, key, text: &str| m.text(section, key).as_deref() == Some(text);
    if set(&[("uptane", "director_server")]) {
        Some(Trust::Director)
    } else if set(&[("pacman", "tags"), ("pacman", "compose_apps")])
        || is("rust_ota", "metadata", "tuf")
        || is("pacman", "type", "ostree+compose_apps")
    {
        Some(Trust::Latest)
    } else if set(&[("provision", "provision_path"), ("provision", "mode"), ("tls", "server_url_path")])
        || has_no_ostree(m)
    {
        Some(Trust::Director)
    } else {
        None
    }
}

fn has_no_ostree(m: &Reader<'_>) -> bool {
    m.text("pacman", "type").as_deref() == Some("none")
}

/// `tls.server`, the content of the file that `tls.server_url_path` names, or the URL beside the shared credential. A file
/// that is not there yet is no error: commands that need no server work without it.
pub(super) fn server(
    m: &Reader<'_>,
    shared: Option<&SharedCredential>,
) -> Result<Option<String>, ConfigError> {
    if let Some(server) = m.url("tls", "server") {
        return Ok(Some(server));
    }
    let (Some(path), Some(value)) = (m.path("tls", "server_url_path"), m.value("tls", "server_url_path"))
    else {
        return Ok(shared.and_then(SharedCredential::url));
    };
    match std::fs::read_to_string(&path) {
        Ok(text) if text.trim().is_empty() => {
            Err(bad(value, "tls", "server_url_path", "a file with a URL in it"))
        }
        Ok(text) => Ok(Some(text.trim().trim_end_matches('/').to_string())),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(ConfigError::unreadable(&path, e)),
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Merged, Settings};
    use super::*;

    fn read(text: &str) -> Result<DirectorSettings, ConfigError> {
        let mut merged = Merged::default();
        merged.apply(Path::new("/etc/sota/conf.d/50.toml"), text)?;
        Ok(Settings::from_merged(&merged)?.director)
    }

    #[test]
    fn whose_word_it_is() {
        let table = [
            ("", Trust::Latest),
            ("[tls]\nserver = https://a\n", Trust::Latest),
            ("[uptane]\ndirector_server = https://a/director\n[pacman]\ntags = main\n", Trust::Director),
            ("[provision]\nprovision_path = /var/sota/x.zip\n", Trust::Director),
            ("[provision]\nmode = DeviceCred\n", Trust::Director),
            ("[provision]\nmode = DeviceCred\n[pacman]\ntags = main\n", Trust::Latest),
            ("[provision]\nmode = DeviceCred\n[rust_ota]\nmetadata = tuf\n", Trust::Latest),
            ("[pacman]\ntype = none\n", Trust::Director),
            ("[pacman]\ntype = none\ntags = main\n", Trust::Latest),
            ("[rust_ota]\ntrust = director\n[pacman]\ntags = main\n", Trust::Director),
            ("[rust_ota]\ntrust = latest\n[provision]\nmode = DeviceCred\n", Trust::Latest),
        ];
        for (text, trust) in table {
            assert_eq!(read(text).unwrap().trust, trust, "{text}");
        }
        assert!(read("[rust_ota]\ntrust = nobody\n").is_err());
        for (text, known) in [
            ("", false),
            ("[rust_ota]\nmetadata = ats\n", false),
            ("[rust_ota]\nmetadata = tuf\n", true),
            ("[pacman]\ntags = main\n", true),
            ("[rust_ota]\nmetadata = ats\ntrust = latest\n", true),
        ] {
            assert_eq!(read(text).unwrap().trust_is_known, known, "{text}");
        }
    }

    #[test]
    fn who_shares_a_credential() {
        assert!(read("[provision]\nmode = DeviceCred\nprovision_path = /a.zip\n").unwrap().shared.is_none());
        assert!(read("").unwrap().shared.is_none());
        let shared =
            read("[provision]\nmode = SharedCredReuse\np12_password = hush\n").unwrap().shared.unwrap();
        assert_eq!(shared.zip, Path::new("/var/sota/sota_provisioning_credentials.zip"));
        assert!(shared.reuse && shared.ttl == "36000" && shared.password == "hush");
        assert!(!format!("{shared:?}").contains("hush"));
        let shared = read("[provision]\nprovision_path = /a.zip\nexpiry_days = 9\n").unwrap().shared.unwrap();
        assert!(!shared.reuse && shared.ttl == "9" && shared.url().is_none());
        assert!(
            read("[provision]\nmode = Shared\n").unwrap().shared.is_none(),
            "as aktualizr: with a warning"
        );
    }

    #[test]
    fn addresses_follow_from_the_gateway() {
        let s = read("[tls]\nserver = https://ota.example:8443/\n[uptane]\nkey_type = RSA2048\n").unwrap();
        assert_eq!(s.server.as_deref(), Some("https://ota.example:8443/director"));
        assert_eq!(s.registration.as_deref(), Some("https://ota.example:8443/director/ecus"));
        assert_eq!(s.key_type, KeyType::Rsa);
        assert!(read("[uptane]\nkey_type = ECDSA\n").unwrap().key_type == KeyType::Ed25519, "with a warning");
        assert!(!s.trust_first_root, "never by default");
    }
}
