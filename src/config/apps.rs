//! The settings of Compose apps. Names and defaults in `[pacman]` are aktualizr-lite's.

use std::path::PathBuf;

use super::ConfigError;
use super::reader::{Reader, bad};

/// Which engine runs apps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EngineKind {
    /// Docker with `docker compose`.
    Docker,
    /// Podman with `podman-compose`.
    Podman,
}

/// How Compose apps are fetched and run.
#[derive(Debug, Clone)]
pub struct AppSettings {
    /// `pacman.reset_apps`: apps that are fetched and kept besides those that run; `*` is all.
    pub reset: Option<Vec<String>>,
    /// `pacman.compose_apps_root`: the project folders.
    pub projects: PathBuf,
    /// `pacman.reset_apps_root`: the store of apps and blobs.
    pub store: PathBuf,
    /// `pacman.images_data_root`: where the engine unpacks images.
    pub images: PathBuf,
    /// `pacman.storage_watermark`: percent of a volume that may be used.
    pub watermark: u64,
    /// `pacman.docker_prune`: images that no app needs any more are removed.
    pub prune: bool,
    /// `pacman.create_containers_before_reboot`.
    pub create_before_reboot: bool,
    /// `pacman.stop_apps_before_update`.
    pub stop_before_update: bool,
    /// `rust_ota.engine`.
    pub engine: EngineKind,
    /// `pacman.docker_compose_bin`: a program named `docker` gets `compose` as its first argument.
    pub compose: Vec<String>,
    /// `pacman.compose_apps_proxy`: who gives, when POSTed to, the address of a place that has the blobs of all registries.
    pub proxy: Option<String>,
    /// `rust_ota.registry_ca`: whom to trust for registries; by default the system's bundle, or else the CA of `tls`.
    pub registry_ca: Option<PathBuf>,
    /// `rust_ota.apps_may`: what apps may ask of the host; `*` is all that engines take.
    pub may: Vec<String>,
    /// `rust_ota.app_start_sec`: how long an app may take until it is up.
    pub start_sec: u64,
    /// `rust_ota.app_settle_sec`: how long it must then stay up before it counts.
    pub settle_sec: u64,
}

const KINDS: [(&str, EngineKind); 2] = [("docker", EngineKind::Docker), ("podman", EngineKind::Podman)];

pub(super) fn read(m: &Reader<'_>) -> Result<AppSettings, ConfigError> {
    let path = |key: &str, default: &str| m.path("pacman", key).unwrap_or_else(|| PathBuf::from(default));
    let engine = m.choice("rust_ota", "engine", EngineKind::Docker, &KINDS)?;
    let images = match engine {
        EngineKind::Docker => "/var/lib/docker",
        EngineKind::Podman => "/var/lib/containers",
    };
    Ok(AppSettings {
        reset: m.0.get("pacman", "reset_apps").map(|_| m.list("pacman", "reset_apps")),
        projects: path("compose_apps_root", "/var/sota/compose-apps"),
        store: path("reset_apps_root", "/var/sota/reset-apps"),
        images: path("images_data_root", images),
        watermark: watermark(m)?,
        prune: m.unless_off("pacman", "docker_prune"),
        create_before_reboot: m.switch("pacman", "create_containers_before_reboot", true)?,
        stop_before_update: m.switch("pacman", "stop_apps_before_update", true)?,
        compose: compose(m, engine),
        engine,
        proxy: proxy(m)?,
        registry_ca: m.path("rust_ota", "registry_ca").or_else(super::public_ca),
        may: may(m)?,
        start_sec: m.seconds("rust_ota", "app_start_sec", 120)?,
        settle_sec: m.seconds("rust_ota", "app_settle_sec", 5)?,
    })
}

/// Besides absolute paths and `*`.
const RIGHTS: [&str; 6] = ["privileged", "host-namespaces", "devices", "capabilities", "security", "other"];

fn may(m: &Reader<'_>) -> Result<Vec<String>, ConfigError> {
    let Some(value) = m.0.get("rust_ota", "apps_may") else { return Ok(vec!["*".to_string()]) };
    let words = m.list("rust_ota", "apps_may");
    let known = |word: &String| word == "*" || word.starts_with('/') || RIGHTS.contains(&word.as_str());
    if words.iter().all(known) {
        return Ok(words);
    }
    let expected = "*, or a list of absolute paths, privileged, host-namespaces, devices, capabilities, security and other";
    Err(bad(value, "rust_ota", "apps_may", expected))
}

fn proxy(m: &Reader<'_>) -> Result<Option<String>, ConfigError> {
    match m.value("pacman", "compose_apps_proxy") {
        Some(value) if !value.text.starts_with("https://") => {
            Err(bad(value, "pacman", "compose_apps_proxy", "an https:// address"))
        }
        value => Ok(value.map(|v| v.text.clone())),
    }
}

/// aktualizr-lite reads it as C does: what stands behind the digits does not count, as in `80%`.
fn watermark(m: &Reader<'_>) -> Result<u64, ConfigError> {
    let Some(value) = m.value("pacman", "storage_watermark") else { return Ok(80) };
    let text = value.text.trim_start();
    let text = text.strip_prefix('+').unwrap_or(text);
    let digits = text.split(|c: char| !c.is_ascii_digit()).next().unwrap_or_default();
    let percent = digits.parse().ok().filter(|percent| (20..=95).contains(percent));
    percent.ok_or_else(|| bad(value, "pacman", "storage_watermark", "a percentage from 20 to 95"))
}

/// Debian has `docker-compose`, others `docker compose`; aktualizr-lite's default names `docker` and may mean either.
fn compose(m: &Reader<'_>, engine: EngineKind) -> Vec<String> {
    let words = |words: &[&str]| words.iter().map(|w| w.to_string()).collect::<Vec<_>>();
    match m.text("pacman", "docker_compose_bin") {
        Some(bin) if bin.rsplit('/').next() != Some("docker") => words(&[&bin]),
        Some(bin) => words(&[&bin, "compose"]),
        None if engine == EngineKind::Podman => words(&["podman-compose"]),
        None => {
            let plugins = [
                "/usr/libexec/docker",
                "/usr/lib/docker",
                "/usr/local/lib/docker",
                "/usr/local/libexec/docker",
            ];
            let plugin = plugins.iter().any(|p| PathBuf::from(p).join("cli-plugins/docker-compose").exists());
            let alone = PathBuf::from("/usr/bin/docker-compose").exists();
            if alone && !plugin { words(&["docker-compose"]) } else { words(&["docker", "compose"]) }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::{Merged, Settings};

    fn apps(text: &str) -> Result<AppSettings, ConfigError> {
        let mut merged = Merged::default();
        merged.apply(Path::new("f.toml"), text)?;
        Settings::from_merged(&merged).map(|s| s.apps)
    }

    #[test]
    fn defaults_and_their_limits() {
        let s = apps("").unwrap();
        assert_eq!((s.watermark, s.prune, s.engine), (80, true, EngineKind::Docker));
        assert_eq!(s.store, Path::new("/var/sota/reset-apps"));
        assert_eq!(s.images, Path::new("/var/lib/docker"));
        assert_eq!(apps("[pacman]\nreset_apps = \"\"\n").unwrap().reset, Some(vec![]));
        assert_eq!(s.may, ["*"]);
        assert_eq!(apps("[rust_ota]\napps_may = \"\"\n").unwrap().may, [""; 0]);
        let some = apps("[rust_ota]\napps_may = \"devices, /var/run/secrets\"\n").unwrap().may;
        assert_eq!(some, ["devices", "/var/run/secrets"]);
        for (text, percent) in [("80%", 80), ("+25", 25), ("30 # percent", 30), ("95.9", 95)] {
            let s = apps(&format!("[pacman]\nstorage_watermark = {text}\n")).unwrap();
            assert_eq!(s.watermark, percent, "{text}");
        }
        for (text, on) in [("no", true), ("False", false), ("0", false), ("false", false), ("1", true)] {
            assert_eq!(apps(&format!("[pacman]\ndocker_prune = {text}\n")).unwrap().prune, on, "{text}");
        }
        for bad in [
            "[pacman]\nstorage_watermark = %80\n",
            "[pacman]\nstorage_watermark = -30\n",
            "[pacman]\nstorage_watermark = 19\n",
            "[pacman]\nstorage_watermark = 96\n",
            "[rust_ota]\nengine = rkt\n",
            "[rust_ota]\napps_may = \"devices, everything\"\n",
            "[pacman]\ncompose_apps_proxy = \"/app-proxy-url\"\n",
        ] {
            assert!(apps(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_program_for_compose() {
        let compose = |text: &str| apps(text).unwrap().compose;
        assert_eq!(
            compose("[pacman]\ndocker_compose_bin = /usr/bin/docker\n"),
            ["/usr/bin/docker", "compose"]
        );
        assert_eq!(compose("[pacman]\ndocker_compose_bin = /opt/docker-compose\n"), ["/opt/docker-compose"]);
        assert_eq!(compose("[rust_ota]\nengine = podman\n"), ["podman-compose"]);
    }
}
