//! The typed settings, with the defaults of the clients that this one replaces.

use std::path::{Path, PathBuf};

use super::apps::{self, AppSettings};
use super::director::{DirectorSettings, SharedCredential, Trust, server};
use super::{ConfigError, Merged, Value};

/// Which dialect the metadata is written in. A setting, never guessed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Metadata {
    /// What aktualizr's and Foundries' servers sign.
    Ats,
    /// TUF 1.0 as its specification has it.
    Tuf,
}

/// How the bootloader is told about a trial boot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RollbackMode {
    /// Not at all.
    None,
    /// U-Boot counts every boot.
    UbootGeneric,
    /// U-Boot counts while `upgrade_available` is 1.
    UbootMasked,
    /// The same, with its variables behind `fiovb_setenv` and `fiovb_printenv`.
    Fiovb,
    /// The same, behind `fioefi_setenv` and `fioefi_printenv`.
    Fioefi,
    /// A grub.cfg counts, in GRUB's environment block.
    Grub,
}

/// Everything that the client can be told.
#[derive(Debug, Clone)]
pub struct Settings {
    /// `tls.server`, without a final slash.
    pub server: Option<String>,
    /// `uptane.repo_server`, by default `<tls.server>/repo`.
    pub repo_server: Option<String>,
    /// `pacman.ostree_server`, by default `<tls.server>/treehub`.
    pub ostree_server: Option<String>,
    /// CA certificates of the servers.
    pub ca: Option<PathBuf>,
    /// Certificate and key of this device.
    pub client: Option<(PathBuf, PathBuf)>,
    /// `rust_ota.metadata`.
    pub metadata: Metadata,
    /// `rust_ota.root`: the trusted root that the image ships, or the folder of all that it ships: `root.json`, or
    /// `N.root.json`, in `ci/` and `prod/` where it ships both. By default `storage.uptane_metadata_path` where that
    /// is absolute, else /usr/lib/sota/tuf.
    pub root: PathBuf,
    /// `uptane.polling_sec`.
    pub polling_sec: u64,
    /// `pacman.os`: the stateroot; the booted one where empty.
    pub os: Option<String>,
    /// `pacman.sysroot`, `/` where empty.
    pub sysroot: PathBuf,
    /// Which deployment counts as running on a sysroot that nobody runs: 0 with `pacman.booted = 0`, or
    /// `rust_ota.booted_deployment`. None on a device: the one that the kernel was told to boot.
    pub booted_deployment: Option<usize>,
    /// `pacman.type` is `ostree+compose_apps`, or it is not set and Docker is installed.
    pub compose: bool,
    /// `pacman.compose_apps`: the apps that are enabled. None is all of a Target's; an empty list is none of them.
    pub compose_apps: Option<Vec<String>>,
    /// How Compose apps are fetched and run.
    pub apps: AppSettings,
    /// `pacman.callback_program`: run at each stage.
    pub callback_program: Option<PathBuf>,
    /// `pacman.tags`: what is visible to this device; empty is everything.
    pub tags: Vec<String>,
    /// `provision.primary_ecu_hardware_id`, the host name where not set.
    pub hardware_id: String,
    /// The configuration as the server is told it; none with `telemetry.report_config = false`.
    pub config_report: Option<String>,
    /// `provision.primary_ecu_serial`: the `ecu` of events; made up and kept where not set.
    pub ecu_serial: Option<String>,
    /// `bootloader.rollback_mode`.
    pub rollback_mode: RollbackMode,
    /// `bootloader.reboot_command`, as an argument vector.
    pub reboot_command: Vec<String>,
    /// `rust_ota.auto_reboot`: the daemon reboots into a pending Target by itself.
    pub auto_reboot: bool,
    /// `rust_ota.fw_env_config`: the file that says where U-Boot's environment is.
    pub fw_env_config: Option<PathBuf>,
    /// `rust_ota.grub_env`: GRUB's environment block.
    pub grub_env: PathBuf,
    /// `pacman.ostree_update_block`: nothing is installed while boot firmware is unconfirmed.
    pub firmware_blocks: bool,
    /// `rust_ota.pull_jobs`: objects that are fetched at the same time.
    pub pull_jobs: usize,
    /// `rust_ota.static_deltas`: OSTree's static deltas are taken where they are cheaper.
    pub static_deltas: bool,
    /// `rust_ota.deadline_sec`: an unconfirmed trial boot is given up after so long.
    pub deadline_sec: u64,
    /// `storage.path`.
    pub storage: PathBuf,
    /// `<storage.path>/rust-ota`.
    pub state: PathBuf,
    /// Exists while a reboot is awaited, and must not survive one: `bootloader.reboot_sentinel_dir`/`_name`.
    pub reboot_sentinel: PathBuf,
    /// The lock, beside it.
    pub lock: PathBuf,
    /// `rust_ota.aklite_lock`: the lock of aktualizr-lite, which other programs on a device know.
    pub aklite_lock: PathBuf,
    /// `logger.loglevel`: 0 trace to 5 fatal.
    pub loglevel: u8,
    /// What only the Director's way of updating needs.
    pub director: DirectorSettings,
}

impl Settings {
    /// Whether a Compose app of a Target is wanted on this device.
    pub fn enables(&self, app: &str) -> bool {
        self.compose_apps.as_ref().is_none_or(|apps| apps.iter().any(|a| a == app))
    }

    /// A Director's device without OSTree: its Primary is a file, and it has no sysroot and no bootloader of ours.
    pub fn primary_is_file(&self) -> bool {
        self.director.no_ostree && self.director.trust == Trust::Director
    }

    /// Certificate and key as they are now: a device may have got them since it started.
    pub fn identity(&self) -> Option<(PathBuf, PathBuf)> {
        let own = || self.own_identity().filter(|(certificate, key)| certificate.exists() && key.exists());
        self.client.clone().or_else(own)
    }

    /// The same of the servers' authorities.
    pub fn authorities(&self) -> Option<PathBuf> {
        self.own_authorities().filter(|path| path.exists()).or_else(|| self.ca.clone())
    }

    /// Where certificate and key are put that a device gets with a shared credential.
    pub fn own_identity(&self) -> Option<(PathBuf, PathBuf)> {
        let shared = self.director.shared.as_ref();
        shared.map(|_| (self.storage.join("client.pem"), self.storage.join("pkey.pem")))
    }

    /// Where the authorities are put that come with them.
    pub fn own_authorities(&self) -> Option<PathBuf> {
        self.director.shared.as_ref().map(|_| self.storage.join("root.crt"))
    }

    /// Types and checks the merged values.
    pub fn from_merged(merged: &Merged) -> Result<Settings, ConfigError> {
        let m = Reader(merged);
        let storage = m.path("storage", "path").unwrap_or_else(|| PathBuf::from("/var/sota"));
        let shared = SharedCredential::read(&m, &storage)?;
        let server = server(&m, shared.as_ref())?;
        let run_dir = m.path("bootloader", "reboot_sentinel_dir");
        let run_dir = run_dir.unwrap_or_else(|| PathBuf::from("/var/run/aktualizr-session"));
        let base = |suffix: &str| server.as_ref().map(|s| format!("{s}{suffix}"));
        Ok(Settings {
            repo_server: m.url("uptane", "repo_server").or_else(|| base("/repo")),
            ostree_server: m.url("pacman", "ostree_server").or_else(|| base("/treehub")),
            ca: m.tls_file(&storage, "tls_cacert_path", "root.crt"),
            client: m
                .tls_file(&storage, "tls_clientcert_path", "client.pem")
                .zip(m.tls_file(&storage, "tls_pkey_path", "pkey.pem"))
                // A device that is to get them is not one that lacks them.
                .filter(|(certificate, key)| shared.is_none() || certificate.exists() && key.exists()),
            metadata: m.choice("rust_ota", "metadata", Metadata::Ats, &METADATA)?,
            root: m.path("rust_ota", "root").unwrap_or_else(|| m.shipped_roots()),
            polling_sec: m.number("uptane", "polling_sec", 300)?,
            os: m.text("pacman", "os"),
            sysroot: m.path("pacman", "sysroot").unwrap_or_else(|| PathBuf::from("/")),
            booted_deployment: m.booted_deployment()?,
            compose: m.compose(),
            compose_apps: m.0.get("pacman", "compose_apps").map(|_| m.list("pacman", "compose_apps")),
            apps: apps::read(&m)?,
            callback_program: m.path("pacman", "callback_program"),
            tags: m.list("pacman", "tags"),
            hardware_id: m.text("provision", "primary_ecu_hardware_id").unwrap_or_else(host_name),
            config_report: m
                .switch("telemetry", "report_config", true)?
                .then(|| super::report::report(merged)),
            ecu_serial: m.text("provision", "primary_ecu_serial"),
            rollback_mode: m.choice("bootloader", "rollback_mode", RollbackMode::None, &ROLLBACK_MODES)?,
            reboot_command: m.words("bootloader", "reboot_command", "/sbin/reboot"),
            auto_reboot: m.switch("rust_ota", "auto_reboot", true)?,
            fw_env_config: m.path("rust_ota", "fw_env_config"),
            grub_env: m.path("rust_ota", "grub_env").unwrap_or_else(|| PathBuf::from("/boot/grub/grubenv")),
            firmware_blocks: m.switch("pacman", "ostree_update_block", true)?,
            pull_jobs: m.number("rust_ota", "pull_jobs", 48)?.clamp(1, 128) as usize,
            static_deltas: m.switch("rust_ota", "static_deltas", true)?,
            deadline_sec: m.number("rust_ota", "deadline_sec", 600)?,
            reboot_sentinel: run_dir
                .join(m.text("bootloader", "reboot_sentinel_name").as_deref().unwrap_or("need_reboot")),
            lock: run_dir.join("rust-ota.lock"),
            aklite_lock: m
                .path("rust_ota", "aklite_lock")
                .unwrap_or_else(|| PathBuf::from("/var/lock/aklite.lock")),
            loglevel: m.number("logger", "loglevel", 2)?.min(5) as u8,
            director: DirectorSettings::read(&m, &storage, server.as_deref(), shared)?,
            state: storage.join("rust-ota"),
            storage,
            server,
        })
    }
}

const METADATA: [(&str, Metadata); 2] = [("ats", Metadata::Ats), ("tuf", Metadata::Tuf)];
const ROLLBACK_MODES: [(&str, RollbackMode); 6] = [
    ("none", RollbackMode::None),
    ("uboot_generic", RollbackMode::UbootGeneric),
    ("uboot_masked", RollbackMode::UbootMasked),
    ("fiovb", RollbackMode::Fiovb),
    ("fioefi", RollbackMode::Fioefi),
    ("grub", RollbackMode::Grub),
];

/// Looks values up; an empty one counts as not set.
pub(super) struct Reader<'a>(pub(super) &'a Merged);

impl Reader<'_> {
    pub(super) fn value(&self, section: &str, key: &str) -> Option<&Value> {
        self.0.get(section, key).filter(|v| !v.text.is_empty())
    }

    pub(super) fn text(&self, section: &str, key: &str) -> Option<String> {
        self.value(section, key).map(|v| v.text.clone())
    }

    pub(super) fn path(&self, section: &str, key: &str) -> Option<PathBuf> {
        self.text(section, key).map(PathBuf::from)
    }

    pub(super) fn url(&self, section: &str, key: &str) -> Option<String> {
        self.text(section, key).map(|t| t.trim_end_matches('/').to_string())
    }

    pub(super) fn list(&self, section: &str, key: &str) -> Vec<String> {
        let text = self.text(section, key).unwrap_or_default();
        text.split([',', ' ']).filter(|t| !t.is_empty()).map(str::to_string).collect()
    }

    fn words(&self, section: &str, key: &str, default: &str) -> Vec<String> {
        let text = self.text(section, key).unwrap_or_else(|| default.to_string());
        text.split_whitespace().map(str::to_string).collect()
    }

    pub(super) fn number(&self, section: &str, key: &str, default: u64) -> Result<u64, ConfigError> {
        let Some(value) = self.value(section, key) else { return Ok(default) };
        value.text.parse().map_err(|_| bad(value, section, key, "a whole number of 0 or more"))
    }

    pub(super) fn switch(&self, section: &str, key: &str, default: bool) -> Result<bool, ConfigError> {
        let Some(value) = self.value(section, key) else { return Ok(default) };
        match value.text.as_str() {
            "1" | "true" => Ok(true),
            "0" | "false" => Ok(false),
            _ => Err(bad(value, section, key, "0, 1, true or false")),
        }
    }

    pub(super) fn choice<T: Copy>(
        &self,
        section: &str,
        key: &str,
        default: T,
        names: &[(&'static str, T)],
    ) -> Result<T, ConfigError> {
        let Some(value) = self.value(section, key) else { return Ok(default) };
        let found = names.iter().find(|(name, _)| *name == value.text);
        found.map(|(_, t)| *t).ok_or_else(|| {
            let expected = match key {
                "rollback_mode" => "one of none, uboot_generic, uboot_masked, fiovb, fioefi, grub",
                "trust" => "one of director, latest",
                "key_type" => "one of ED25519, RSA2048, RSA3072, RSA4096",
                "mode" => "one of DeviceCred, SharedCred, SharedCredReuse",
                "engine" => "one of docker, podman",
                _ => "one of ats, tuf",
            };
            bad(value, section, key, expected)
        })
    }

    fn shipped_roots(&self) -> PathBuf {
        let other = self.path("storage", "uptane_metadata_path").filter(|p| p.is_absolute());
        other.unwrap_or_else(|| PathBuf::from("/usr/lib/sota/tuf"))
    }

    fn compose(&self) -> bool {
        match self.text("pacman", "type") {
            Some(kind) => kind == "ostree+compose_apps",
            None => ["/usr/bin/dockerd", "/usr/bin/docker"].iter().all(|p| Path::new(p).exists()),
        }
    }

    fn booted_deployment(&self) -> Result<Option<usize>, ConfigError> {
        let running = match self.value("pacman", "booted").map(|v| v.text.as_str()) {
            Some("staged") => false,
            _ => self.switch("pacman", "booted", true)?,
        };
        let index = self.number("rust_ota", "booted_deployment", 0)? as usize;
        Ok(if running { None } else { Some(index) })
    }

    /// A file that was provisioned: where `import` says, or in the storage, or where imports are put by default.
    fn tls_file(&self, storage: &Path, key: &str, default: &str) -> Option<PathBuf> {
        let import = self.path("import", "base_path").unwrap_or_else(|| storage.join("import"));
        if let Some(path) = self.path("import", key) {
            return Some(import.join(path));
        }
        let stored = self.path("storage", key).unwrap_or_else(|| PathBuf::from(default));
        [storage.join(&stored), import.join(default)].into_iter().find(|p| p.exists())
    }
}

pub(super) fn bad(value: &Value, section: &str, key: &str, expected: &'static str) -> ConfigError {
    ConfigError::BadValue {
        path: value.file.clone(),
        line: value.line,
        key: format!("{section}.{key}"),
        value: value.text.clone(),
        expected,
    }
}

fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(text: &str) -> Result<Settings, ConfigError> {
        let mut merged = Merged::default();
        merged.apply(Path::new("/etc/sota/conf.d/50.toml"), text)?;
        Settings::from_merged(&merged)
    }

    #[test]
    fn defaults_and_derived_addresses() {
        let s = settings("[tls]\nserver = \"https://ota.example:8443/\"\n[pacman]\ntags = \"main,test\"\n")
            .unwrap();
        assert_eq!(s.repo_server.as_deref(), Some("https://ota.example:8443/repo"));
        assert_eq!(s.ostree_server.as_deref(), Some("https://ota.example:8443/treehub"));
        assert_eq!((s.polling_sec, s.booted_deployment, s.metadata), (300, None, Metadata::Ats));
        assert_eq!(s.tags, ["main", "test"]);
        assert_eq!(s.reboot_command, ["/sbin/reboot"]);
        assert_eq!(s.state, Path::new("/var/sota/rust-ota"));
    }

    #[test]
    fn a_value_of_the_wrong_kind_names_file_line_and_key() {
        for (text, key) in [
            ("[uptane]\npolling_sec = soon\n", "uptane.polling_sec"),
            ("[uptane]\npolling_sec = -5\n", "uptane.polling_sec"),
            ("[bootloader]\nrollback_mode = magic\n", "bootloader.rollback_mode"),
            ("[rust_ota]\nmetadata = guess\n", "rust_ota.metadata"),
            ("[rust_ota]\nauto_reboot = perhaps\n", "rust_ota.auto_reboot"),
        ] {
            let error = settings(text).unwrap_err().to_string();
            assert!(error.starts_with(&format!("/etc/sota/conf.d/50.toml:2: {key} = ")), "{error}");
        }
    }

    #[test]
    fn no_apps_is_not_all_apps() {
        let apps = |text: &str| settings(text).unwrap().compose_apps;
        assert_eq!(apps(""), None);
        assert_eq!(apps("[pacman]\ncompose_apps = \"\"\n"), Some(vec![]));
        assert_eq!(apps("[pacman]\ncompose_apps = \"web, db\"\n").unwrap(), ["web", "db"]);
    }

    #[test]
    fn staged_means_not_booted() {
        let booted = |text: &str| settings(text).unwrap().booted_deployment;
        assert_eq!(booted("[pacman]\nbooted = staged\n"), Some(0));
        assert_eq!(booted("[pacman]\nbooted = 0\n[rust_ota]\nbooted_deployment = 1\n"), Some(1));
        assert_eq!(booted("[pacman]\nbooted = 1\n"), None);
    }
}
