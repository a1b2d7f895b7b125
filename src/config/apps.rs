//! The settings of Compose apps. Names and defaults in `[pacman]` are aktualizr-lite's.

use std::path::PathBuf;

use super::ConfigError;
use super::settings::{Reader, bad};

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
        prune: m.switch("pacman", "docker_prune", true)?,
        create_before_reboot: m.switch("pacman", "create_containers_before_reboot", true)?,
        stop_before_update: m.switch("pacman", "stop_apps_before_update", true)?,
        compose: compose(m, engine),
        engine,
        proxy: proxy(m)?,
        registry_ca: m.path("rust_ota", "registry_ca").or_else(super::public_ca),
        start_sec: m.number("rust_ota", "app_start_sec", 120)?,
        settle_sec: m.number("rust_ota", "app_settle_sec", 5)?,
    })
}

fn proxy(m: &Reader<'_>) -> Result<Option<String>, ConfigError> {
    match m.value("pacman", "compose_apps_proxy") {
        Some(value) if !value.text.starts_with("https://") => {
            Err(bad(value, "pacman", "compose_apps_proxy", "an https:// address"))
        }
        value => Ok(value.map(|v| v.text.clone())),
    }
}

fn watermark(m: &Reader<'_>) -> Result<u64, ConfigError> {
    let percent = m.number("pacman", "storage_watermark", 80)?;
    match m.value("pacman", "storage_watermark") {
        Some(value) if !(20..=95).contains(&percent) => {
            Err(bad(value, "pacman", "storage_watermark", "a percentage from 20 to 95"))
        }
        _ => Ok(percent),
    }
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
        for bad in [
            "[pacman]\nstorage_watermark = 19\n",
            "[pacman]\nstorage_watermark = 96\n",
            "[rust_ota]\nengine = rkt\n",
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
