//! The typed settings, with the defaults of the clients that this one replaces.

use std::path::PathBuf;

use super::apps::{self, AppSettings};
use super::director::{DirectorSettings, SharedCredential, Trust, server};
use super::network::NetworkSettings;
use super::reader::Reader;
use super::{ConfigError, Merged};

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

impl RollbackMode {
    /// Whether a text names one.
    pub fn is_name(text: &str) -> bool {
        ROLLBACK_MODES.iter().any(|(name, _)| *name == text)
    }
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
    /// Certificate and key of this device, as they were when this was read.
    pub client: Option<(PathBuf, PathBuf)>,
    /// Where authorities, certificate and key are looked for, each time: they may come while a daemon runs.
    pub places: [Vec<PathBuf>; 3],
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
    /// `rust_ota.unsigned_deltas`: also those that the signed metadata do not name by hash.
    pub unsigned_deltas: bool,
    /// `rust_ota.deadline_sec`: an unconfirmed trial boot is given up after so long.
    pub deadline_sec: u64,
    /// `storage.path`.
    pub storage: PathBuf,
    /// `<storage.path>/rust-ota`.
    pub state: PathBuf,
    /// `storage.sqldb_path`: the state of the client that was here before.
    pub old_database: PathBuf,
    /// `rust_ota.take_over`: its state is taken over.
    pub take_over: bool,
    /// Exists while a reboot is awaited, and must not survive one: `bootloader.reboot_sentinel_dir`/`_name`.
    pub reboot_sentinel: PathBuf,
    /// The lock, beside it.
    pub lock: PathBuf,
    /// `rust_ota.aklite_lock`: the lock of aktualizr-lite, which other programs on a device know.
    pub aklite_lock: PathBuf,
    /// `logger.loglevel`: 0 trace to 5 fatal.
    pub loglevel: u8,
    /// `rust_ota.offline_statement`: no offline update without a signed statement of what it is for.
    pub offline_statement: bool,
    /// `rust_ota.strict_keys`: a private key that other users can read is an error, else a warning.
    pub strict_keys: bool,
    /// How servers are reached.
    pub network: NetworkSettings,
    /// What only the Director's way of updating needs.
    pub director: DirectorSettings,
    /// What a person should correct, though the client works: lines that are read otherwise than they look too.
    pub warnings: Vec<String>,
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
        let there = |pair: &(PathBuf, PathBuf)| pair.0.exists() && pair.1.exists();
        let own = || self.own_identity().filter(there);
        let kept = || Some(self.kept_identity()).filter(there);
        let [_, certificates, keys] = &self.places;
        let configured = first(certificates).zip(first(keys));
        // What is configured and not there is still what an error has to name.
        configured.or_else(own).or_else(kept).or_else(|| self.client.clone())
    }

    /// The same of the servers' authorities.
    pub fn authorities(&self) -> Option<PathBuf> {
        let there = |path: &PathBuf| path.exists();
        let own = self.own_authorities().filter(there).or_else(|| first(&self.places[0]));
        own.or_else(|| Some(self.kept_authorities()).filter(there)).or_else(|| self.ca.clone())
    }

    /// Where certificate and key of the client that was here before are kept, if it alone had them.
    pub fn kept_identity(&self) -> (PathBuf, PathBuf) {
        (self.state.join("client.pem"), self.state.join("pkey.pem"))
    }

    /// Where the authorities are kept that it had.
    pub fn kept_authorities(&self) -> PathBuf {
        self.state.join("root.crt")
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
        let m = Reader::new(merged);
        let storage = m.path("storage", "path").unwrap_or_else(|| m.located("/var/sota"));
        let shared = SharedCredential::read(&m, &storage)?;
        let server = server(&m, shared.as_ref())?;
        let run_dir = m.path("bootloader", "reboot_sentinel_dir");
        let run_dir = run_dir.unwrap_or_else(|| m.located("/var/run/aktualizr-session"));
        let authorities = m.tls_places(&storage, "tls_cacert_path", "root.crt");
        let certificates = m.tls_places(&storage, "tls_clientcert_path", "client.pem");
        let keys = m.tls_places(&storage, "tls_pkey_path", "pkey.pem");
        let base = |suffix: &str| server.as_ref().map(|s| format!("{s}{suffix}"));
        let mut settings = Settings {
            repo_server: m.url("uptane", "repo_server").or_else(|| base("/repo")),
            ostree_server: m.url("pacman", "ostree_server").or_else(|| base("/treehub")),
            ca: configured(&authorities),
            client: configured(&certificates)
                .zip(configured(&keys))
                // A device that is to get them is not one that lacks them.
                .filter(|(certificate, key)| shared.is_none() || certificate.exists() && key.exists()),
            places: [authorities, certificates, keys],
            metadata: m.choice("rust_ota", "metadata", Metadata::Ats, &METADATA)?,
            root: m.path("rust_ota", "root").unwrap_or_else(|| shipped_roots(&m)),
            polling_sec: m.seconds("uptane", "polling_sec", 300)?,
            os: m.text("pacman", "os"),
            sysroot: m.path("pacman", "sysroot").unwrap_or_else(|| m.located("/")),
            booted_deployment: booted_deployment(&m)?,
            compose: compose(&m),
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
            firmware_blocks: m.unless_off("pacman", "ostree_update_block"),
            pull_jobs: m.number("rust_ota", "pull_jobs", 48)?.clamp(1, 128) as usize,
            static_deltas: m.switch("rust_ota", "static_deltas", true)?,
            unsigned_deltas: m.switch("rust_ota", "unsigned_deltas", false)?,
            deadline_sec: m.seconds("rust_ota", "deadline_sec", 600)?,
            reboot_sentinel: run_dir
                .join(m.path("bootloader", "reboot_sentinel_name").unwrap_or_else(|| "need_reboot".into())),
            lock: run_dir.join("rust-ota.lock"),
            aklite_lock: m
                .path("rust_ota", "aklite_lock")
                .unwrap_or_else(|| PathBuf::from("/var/lock/aklite.lock")),
            loglevel: m.number("logger", "loglevel", 2)?.min(5) as u8,
            offline_statement: m.switch("rust_ota", "offline_statement", false)?,
            strict_keys: m.switch("rust_ota", "strict_keys", false)?,
            network: NetworkSettings::read(&m)?,
            director: DirectorSettings::read(&m, &storage, server.as_deref(), shared)?,
            old_database: storage.join(m.path("storage", "sqldb_path").unwrap_or_else(|| "sql.db".into())),
            take_over: m.switch("rust_ota", "take_over", true)?,
            state: storage.join("rust-ota"),
            storage,
            server,
            warnings: Vec::new(),
        };
        settings.warnings = merged.warnings();
        // Last, because it is about what was looked up before.
        settings.warnings.extend(super::unknown::unknown(merged, &m.asked())?);
        Ok(settings)
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

fn shipped_roots(m: &Reader<'_>) -> PathBuf {
    let other = m.path("storage", "uptane_metadata_path").filter(|p| p.is_absolute());
    other.unwrap_or_else(|| m.located("/usr/lib/sota/tuf"))
}

fn compose(m: &Reader<'_>) -> bool {
    match m.text("pacman", "type") {
        Some(kind) => kind == "ostree+compose_apps",
        None => ["/usr/bin/dockerd", "/usr/bin/docker"].iter().all(|p| m.located(*p).exists()),
    }
}

fn booted_deployment(m: &Reader<'_>) -> Result<Option<usize>, ConfigError> {
    // aktualizr takes all but these two words for a system that runs.
    let running = !matches!(m.text("pacman", "booted").as_deref(), Some("staged" | "0"));
    let index = m.number("rust_ota", "booted_deployment", 0)? as usize;
    Ok(if running { None } else { Some(index) })
}

/// The first that is there.
fn first(places: &[PathBuf]) -> Option<PathBuf> {
    places.iter().find(|path| path.exists()).cloned()
}

/// The same, or the only place that there is: an error has to name it.
fn configured(places: &[PathBuf]) -> Option<PathBuf> {
    match places {
        [only] => Some(only.clone()),
        places => first(places),
    }
}

fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

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
            ("[pacman]\nstorage_watermark = high\n", "pacman.storage_watermark"),
            ("[rust_ota]\nmetadata = guess\n", "rust_ota.metadata"),
            ("[rust_ota]\nauto_reboot = perhaps\n", "rust_ota.auto_reboot"),
        ] {
            let error = settings(text).unwrap_err().to_string();
            assert!(error.starts_with(&format!("/etc/sota/conf.d/50.toml:2: {key} = ")), "{error}");
        }
    }

    #[test]
    fn what_aktualizr_does_not_read_keeps_its_default_and_is_named() {
        let polls = |text: &str| settings(&format!("[uptane]\npolling_sec = {text}\n")).unwrap();
        assert_eq!(
            (polls("30").polling_sec, polls("+30").polling_sec, polls("30").warnings.len()),
            (30, 30, 0)
        );
        for text in ["soon", "-5", "300 # s", "\"30\"", "0x1E", "30.0", "30s"] {
            let s = polls(text);
            assert_eq!(s.polling_sec, 300, "{text}");
            let named = "/etc/sota/conf.d/50.toml:2: uptane.polling_sec";
            assert!(s.warnings.iter().any(|w| w.starts_with(named)), "{:?}", s.warnings);
        }
        for text in ["True", "yes", "\"1\"", "1;on"] {
            let s = settings(&format!("[uptane]\nforce_install_completion = {text}\n")).unwrap();
            assert_eq!((s.director.reboot, s.warnings.len()), (false, 1), "{text}");
            let s = settings(&format!("[telemetry]\nreport_network = {text}\n")).unwrap();
            assert_eq!((s.director.report_network, s.warnings.len()), (true, 1), "{text}");
        }
        let s = settings("[bootloader]\nrollback_mode = magic\n[provision]\nmode = Best\n").unwrap();
        assert_eq!(
            (s.rollback_mode, s.director.shared.is_none(), s.warnings.len()),
            (RollbackMode::None, true, 2)
        );
        let s = settings("[bootloader]\nrollback_mode = \"uboot_masked\"\n").unwrap();
        assert_eq!(
            (s.rollback_mode, s.warnings.len()),
            (RollbackMode::UbootMasked, 0),
            "a name may be quoted"
        );
        assert!(settings("[pacman]\nbooted = maybe\n").unwrap().booted_deployment.is_none());
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
