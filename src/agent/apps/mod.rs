//! Compose apps with the agent's settings: fetched, started, taken back, told of.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

mod cycle;
mod report;

pub(super) use cycle::{apps_now, remembered};

use super::link::Link;
use super::{Agent, AgentError, Transfer};
use crate::cli::exit;
use crate::config::EngineKind;
use crate::decide::Target;
use crate::payload::apps::{
    self, App, Apps, AppsError, AppsErrorClass, Container, Engine, Login, Platform, Present, Reason,
    Reference, Registry, Room, Source, StartLimits, Store, engine,
};
use crate::store::{Installed, TargetRecord};

/// What an app is on this device now.
#[derive(Debug, Clone)]
pub struct AppState {
    /// Its name.
    pub name: String,
    /// Its URI.
    pub uri: String,
    /// Whether it should run.
    pub on: bool,
    /// `healthy`, `starting`, `unhealthy`, `missing`; `not fetched` where nobody can say what should run.
    pub state: &'static str,
    /// Its containers.
    pub services: Vec<Container>,
}

impl AppState {
    /// Whether it is up.
    pub fn running(&self) -> bool {
        self.state == "healthy"
    }
}

/// The store and the engine of this device.
#[derive(Debug)]
pub(super) struct AppRoom<'a> {
    agent: &'a Agent,
    store: Store,
    engine: Engine,
    platform: Platform,
}

impl Agent {
    /// None on a device that runs no apps.
    pub(super) fn app_room(&self) -> Option<AppRoom<'_>> {
        let settings = &self.settings.apps;
        let kind = match settings.engine {
            EngineKind::Docker => engine::Kind::Docker,
            EngineKind::Podman => engine::Kind::Podman,
        };
        let limits = StartLimits {
            start: Duration::from_secs(settings.start_sec),
            settle: Duration::from_secs(settings.settle_sec),
        };
        self.settings.compose.then(|| AppRoom {
            agent: self,
            store: Store::at(&settings.store),
            engine: Engine::new(kind, settings.compose.clone(), &settings.projects, limits),
            platform: apps::this_platform(),
        })
    }

    /// A Target as it is to be on this device: with the apps that are to run here.
    pub(super) fn chosen(&self, target: &Target) -> TargetRecord {
        let record = target.record();
        let wanted = |apps: &Apps| apps::wanted(apps, self.settings.compose_apps.as_deref());
        let apps = if self.settings.compose { wanted(&record.apps) } else { Apps::new() };
        TargetRecord { apps, ..record }
    }

    /// Why apps of the Target that runs need work, with the name of each.
    pub(super) fn app_needs(&self, wanted: &Apps, current: &Apps, forced: bool) -> Vec<(String, Reason)> {
        let Some(room) = self.app_room() else { return Vec::new() };
        apps::needs(wanted, current, forced, |name, uri| room.present(name, uri))
    }

    /// The apps of what runs, each with its state.
    pub fn app_states(&self, apps: &Apps) -> Vec<AppState> {
        let Some(room) = self.app_room() else { return Vec::new() };
        apps.iter().map(|(name, uri)| room.state(name, uri)).collect()
    }
}

impl AppRoom<'_> {
    /// Fetches what is missing: first all that describes the apps, then the room, then their blobs.
    pub fn fetch(
        &self,
        link: &Link<'_>,
        apps: &Apps,
        progress: &mut dyn FnMut(Transfer),
    ) -> Result<(), AgentError> {
        if apps.is_empty() {
            return Ok(());
        }
        let settings = &self.agent.settings.apps;
        let room = Room {
            images: settings.images.clone(),
            watermark: settings.watermark,
            projects: settings.projects.clone(),
            may: settings.may.clone(),
        };
        let source: Box<dyn Source> = match &self.agent.bundle {
            Some(bundle) => Box::new(Store::at(&bundle.apps())),
            None => match &settings.proxy {
                Some(ask) => Box::new(link.blobs_by(ask)?),
                None => Box::new(self.registry(link, apps)?),
            },
        };
        let stop = self.agent.stop_flag();
        let mut bytes = 0;
        apps::fetch(apps, source.as_ref(), &self.store, &self.platform, &room, &stop, &mut |p| {
            bytes = p.bytes_done;
            progress(Transfer {
                objects_done: p.blobs_done,
                objects_total: p.blobs_total,
                bytes_done: p.bytes_done,
                bytes_total: Some(p.bytes_total),
            });
        })?;
        log::info!("fetched {bytes} bytes for {} apps", apps.len());
        Ok(())
    }

    /// The gateway's login is for the registries of the apps themselves, which the Target's signature covers.
    fn registry(&self, link: &Link<'_>, apps: &Apps) -> Result<Registry, AgentError> {
        let login = link.credentials().map_or(Login::Nobody, |(http, url)| Login::Gateway(http, url));
        let known = apps.values().filter_map(|uri| Reference::parse(uri).ok()).map(|r| r.registry);
        Ok(Registry::new(link.registries()?, login, known.collect()))
    }

    /// All of these apps, whole; an error says which one is not.
    pub fn must_have(&self, apps: &Apps) -> Result<Vec<App>, AppsError> {
        let found = apps::whole(apps, &self.store, &self.platform)?;
        let settings = &self.agent.settings.apps;
        found.iter().try_for_each(|app| app.is_allowed(&settings.projects, &settings.may))?;
        Ok(found)
    }

    /// All that these apps need is on the device, and the engine knows their images. Nothing was stopped for it.
    pub fn ready(&self, apps: &Apps) -> Result<(), AppsError> {
        self.load(&self.must_have(apps)?)
    }

    /// Before a reboot: the images are loaded, and where the settings say so the containers are made. Afterwards nothing
    /// of an update needs a network.
    pub fn stage(&self, from: &Apps, to: &Apps) -> Result<(), AppsError> {
        let found = self.must_have(to)?;
        self.load(&found)?;
        if !self.agent.settings.apps.create_before_reboot {
            return Ok(());
        }
        for name in apps::dropped(from, to) {
            self.engine.stop(&name)?;
        }
        for app in found.iter().filter(|a| from.get(&a.name) != to.get(&a.name)) {
            self.engine.stop(&app.name)?;
            self.engine.prepare(app, &self.store).map(drop)?;
            self.engine.create(app)?;
        }
        Ok(())
    }

    /// From these apps to those: what changes is stopped and started, what is not wanted any more goes when all is up.
    /// Everything that is needed is on the device, and loaded, before anything is stopped.
    pub fn switch(&self, from: &Apps, to: &Apps, again: &[String]) -> Result<(), AppsError> {
        let found = self.must_have(to)?;
        self.load(&found)?;
        let dropped = apps::dropped(from, to);
        let changes = |a: &&App| from.get(&a.name) != to.get(&a.name) || again.contains(&a.name);
        let changed: Vec<&App> = found.iter().filter(changes).collect();
        for name in &dropped {
            self.engine.stop(name)?;
        }
        if self.agent.settings.apps.stop_before_update {
            changed.iter().try_for_each(|app| self.engine.stop(&app.name))?;
        }
        for app in changed {
            log::info!("starting app {}", app.name);
            let given = self.engine.prepare(app, &self.store)?;
            self.engine.start(app, &given)?;
        }
        dropped.iter().try_for_each(|name| self.engine.remove(name))
    }

    /// After a boot the engine may need a while.
    pub fn start_all(&self, from: &Apps, to: &Apps) -> Result<(), AppsError> {
        if to.is_empty() && from.is_empty() {
            return Ok(());
        }
        self.wait_for_engine();
        let all: Vec<String> = to.keys().cloned().collect();
        self.switch(from, to, &all)
    }

    /// Back to what ran, from what failed, with what is on the device. An app that was never fetched was never started here.
    pub fn bring_back(&self, failed: &Apps, earlier: &Apps) -> Result<(), AppsError> {
        if failed.is_empty() && earlier.is_empty() {
            return Ok(());
        }
        let mut back = Apps::new();
        for (name, uri) in earlier {
            match App::stored(name, uri, &self.store, &self.platform).map(|a| a.is_whole(&self.store)) {
                Ok(true) => drop(back.insert(name.clone(), uri.clone())),
                _ => log::warn!("app {name} of the earlier Target is not on the device and is left alone"),
            }
        }
        self.wait_for_engine();
        let changed: Vec<String> = back.keys().filter(|n| failed.get(*n) != back.get(*n)).cloned().collect();
        self.switch(failed, &back, &changed)
    }

    /// Removes what neither the current, the previous nor the pending Target needs, nor a factory reset.
    pub fn prune(&self, installed: &Installed, kept: &Apps) {
        let records = [installed.current.as_ref(), installed.previous.as_ref()];
        let pending = installed.pending.as_ref().map(|p| &p.target);
        let sets = records.into_iter().flatten().chain(pending).map(|t| &t.apps).chain([kept]);
        let keep: BTreeSet<(&String, &String)> = sets.flatten().collect();
        let read = |(name, uri): (&String, &String)| App::stored(name, uri, &self.store, &self.platform).ok();
        let keep: Vec<App> = keep.into_iter().filter_map(read).collect();
        let gone: Vec<App> = self.store.noted().iter().filter_map(|(n, u)| read((n, u))).collect();
        match self.store.prune(&keep) {
            Ok(0) => {}
            Ok(freed) => log::info!("removed {freed} bytes of apps that are not needed any more"),
            Err(error) => log::warn!("{error}"),
        }
        if !self.agent.settings.apps.prune {
            return;
        }
        let needed: BTreeSet<_> = keep.iter().flat_map(|a| &a.images).map(|i| &i.config.digest).collect();
        let images = gone.iter().flat_map(|a| &a.images).filter(|i| !needed.contains(&i.config.digest));
        self.engine.forget(&images.cloned().collect::<Vec<_>>());
    }

    fn load(&self, apps: &[App]) -> Result<(), AppsError> {
        apps.iter().try_for_each(|app| self.engine.load(app, &self.store))
    }

    fn wait_for_engine(&self) {
        let began = Instant::now();
        let limit = Duration::from_secs(self.agent.settings.apps.start_sec);
        while let Err(error) = self.engine.answers() {
            if began.elapsed() >= limit || self.agent.stopping() {
                log::error!("{error}");
                return;
            }
            std::thread::sleep(Duration::from_secs(1));
        }
    }

    fn present(&self, name: &str, uri: &str) -> Present {
        match App::stored(name, uri, &self.store, &self.platform) {
            Ok(app) => Present { fetched: app.is_whole(&self.store), running: self.engine.runs(&app) },
            Err(_) => Present { fetched: false, running: true },
        }
    }

    fn state(&self, name: &str, uri: &str) -> AppState {
        let on = self.agent.settings.enables(name);
        let (name, uri) = (name.to_string(), uri.to_string());
        let services = self.engine.containers(&name).unwrap_or_else(|error| {
            log::warn!("{error}");
            Vec::new()
        });
        let state = match App::stored(&name, &uri, &self.store, &self.platform) {
            Ok(app) if apps::stranger(&app, &services).is_some() => "unhealthy",
            Ok(app) => apps::summary(&app.expected(), &services),
            Err(_) => "not fetched",
        };
        AppState { name, uri, on, state, services }
    }
}

/// The exit code of an error of the apps room.
pub(super) fn exit_code(error: &AppsError) -> u8 {
    match error.class() {
        AppsErrorClass::Download => exit::DOWNLOAD_FAILED,
        AppsErrorClass::NoSpace => exit::NO_SPACE,
        AppsErrorClass::Verification => exit::VERIFICATION_FAILED,
        AppsErrorClass::NotInstallable => exit::NOT_DOWNLOADED,
        AppsErrorClass::App | AppsErrorClass::Other => exit::ERROR,
    }
}
