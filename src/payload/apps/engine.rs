//! Docker or Podman with Compose: loads images, starts and stops projects, tells what runs.
//!
//! Programs are run by argument vector. The image of each service is named by its verified digest, so neither a tag on the
//! device nor a registry is asked what it is.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::app::{App, Image};
use super::archive;
use super::error::AppsError;
use super::fault::is_the_apps;
use super::inspect::Inspected;
use super::process::{feed, output, run, tail};
use super::state::{Container, Verdict, judge};
use super::store::Store;

mod given;

pub use given::Given;
use given::{GIVEN, GIVEN_FILE, VARIABLES};

/// Which engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Docker and `docker compose`.
    Docker,
    /// Podman and `podman-compose`.
    Podman,
}

/// An engine and where it works.
#[derive(Debug, Clone)]
pub struct Engine {
    kind: Kind,
    compose: Vec<String>,
    projects: PathBuf,
    limits: StartLimits,
}

/// How long an app may take.
#[derive(Debug, Clone, Copy)]
pub struct StartLimits {
    /// Until it is up.
    pub start: Duration,
    /// It must be up, without a restart, for so long before it counts.
    pub settle: Duration,
}

const PODMAN_SOCKET: &str = "/run/podman/podman.sock";
const PROJECT_LABEL: &str = "com.docker.compose.project";
/// A question to the engine.
const ASK: Duration = Duration::from_secs(60);
/// Starting, stopping, loading: slow disks are slow.
const WORK: Duration = Duration::from_secs(1800);
const POLL: Duration = Duration::from_millis(500);

impl Engine {
    /// `compose`: the program and its first arguments. `projects`: a folder with a project folder for each app.
    pub fn new(kind: Kind, compose: Vec<String>, projects: &Path, limits: StartLimits) -> Engine {
        Engine { kind, compose, projects: projects.to_path_buf(), limits }
    }

    /// Whether it is there to be asked.
    pub fn answers(&self) -> Result<(), AppsError> {
        self.ask(&["info", "--format", "{{.ID}}"]).or_else(|_| self.ask(&["ps", "--quiet"])).map(drop)
    }

    /// Makes every image of an app known to the engine.
    pub fn load(&self, app: &App, store: &Store) -> Result<(), AppsError> {
        app.images.iter().try_for_each(|image| self.local_name(image, store).map(drop))
    }

    /// Makes the containers of a prepared app, and does not start them.
    pub fn create(&self, app: &App) -> Result<(), AppsError> {
        self.make_way(app)?;
        self.compose(&app.name, &["up", "--no-start", "--remove-orphans"]).map(drop)
    }

    /// Starts a prepared app and waits until it is up, or is seen not to come up.
    pub fn start(&self, app: &App, given: &Given) -> Result<(), AppsError> {
        self.make_way(app)?;
        let said = self.compose(&app.name, &["up", "-d", "--remove-orphans"]).map_err(|e| match e {
            AppsError::Engine { reason, .. } if is_the_apps(&reason) => not_up(app, reason),
            other => other,
        })?;
        if !self.is_unchanged(app, given) {
            self.stop(&app.name)?;
            return Err(not_started(
                app,
                "somebody changed what it was to read, so it was stopped".to_string(),
            ));
        }
        let expected = app.expected();
        let began = Instant::now();
        let mut quiet: Option<(Instant, Vec<Container>)> = None;
        loop {
            let containers = self.containers(&app.name)?;
            self.only_its_own(app, &containers)?;
            // podman-compose ends with 0 whatever happened, and only what it printed tells.
            if let Some(service) = expected.iter().find(|e| !containers.iter().any(|c| c.service == **e)) {
                let reason = format!("service {service} has no container: {}", tail(&said));
                return Err(if is_the_apps(&said) { not_up(app, reason) } else { not_started(app, reason) });
            }
            let reason = match judge(&expected, &containers) {
                Verdict::Up => {
                    let (since, before) = quiet.get_or_insert_with(|| (Instant::now(), containers.clone()));
                    let same = before.iter().map(|c| c.restarts).eq(containers.iter().map(|c| c.restarts));
                    if same && since.elapsed() >= self.limits.settle {
                        return Ok(());
                    }
                    if !same {
                        quiet = None;
                    }
                    "it restarts again and again".to_string()
                }
                Verdict::NotYet(reason) => {
                    quiet = None;
                    reason
                }
                Verdict::Failed(reason) => return Err(not_up(app, reason)),
            };
            let settling = quiet.is_some() && began.elapsed() < self.limits.start + self.limits.settle;
            if began.elapsed() >= self.limits.start && !settling {
                return Err(self.late(app, &containers, &reason, &said));
            }
            std::thread::sleep(POLL);
        }
    }

    /// Its time is over. What the engine never started was not seen to fail.
    fn late(&self, app: &App, containers: &[Container], reason: &str, said: &str) -> AppsError {
        let reason = format!("{reason} after {} seconds", self.limits.start.as_secs());
        if containers.iter().all(Container::was_started) || is_the_apps(said) {
            return not_up(app, reason);
        }
        not_started(app, format!("{reason}: {}", tail(said.trim())))
    }

    /// A container of the project that the app does not name, or with another image than it names, is stopped.
    fn only_its_own(&self, app: &App, containers: &[Container]) -> Result<(), AppsError> {
        let Some(stranger) = stranger(app, containers) else { return Ok(()) };
        if !stranger.id.is_empty() {
            self.of_all(&["stop"], std::slice::from_ref(&stranger.id), WORK)?;
        }
        let reason = if app.compose.services.iter().any(|s| s.name == stranger.service) {
            format!("service {} runs another image than its own; it was stopped", stranger.service)
        } else {
            format!(
                "a container of service {:?}, which the app does not have, was there and was stopped",
                stranger.service
            )
        };
        Err(not_started(app, reason))
    }

    /// Stops an app's containers and leaves them.
    pub fn stop(&self, app: &str) -> Result<(), AppsError> {
        self.of_all(&["stop"], &self.ids(app)?, WORK)
    }

    /// Stops an app and removes its containers and networks. Volumes stay: they are the product's data.
    pub fn down(&self, app: &str) -> Result<(), AppsError> {
        self.stop(app)?;
        self.of_all(&["rm", "-f"], &self.ids(app)?, WORK)?;
        let filter = format!("label={PROJECT_LABEL}={app}");
        let listing = self.ask(&["network", "ls", "-q", "--filter", &filter])?;
        let networks: Vec<String> = listing.split_whitespace().map(str::to_string).collect();
        self.of_all(&["network", "rm"], &networks, WORK)
    }

    /// The same, and its project folder goes too.
    pub fn remove(&self, app: &str) -> Result<(), AppsError> {
        self.down(app)?;
        let given = self.projects.join(GIVEN).join(app);
        // It follows no link, also not one that comes meanwhile.
        [self.project(app), given].iter().try_for_each(|folder| match fs::remove_dir_all(folder) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(AppsError::io("remove", folder)(e)),
            _ => Ok(()),
        })
    }

    /// Forgets images that no app needs. One that is in use elsewhere stays.
    pub fn forget(&self, images: &[Image]) {
        for image in images {
            for digest in [&image.config.digest, &image.manifest] {
                let _ = self.ask(&["image", "rm", &digest.to_string()]);
            }
        }
    }

    /// Every container of an app.
    pub fn containers(&self, app: &str) -> Result<Vec<Container>, AppsError> {
        let ids = self.ids(app)?;
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let mut words = vec!["container", "inspect"];
        words.extend(ids.iter().map(String::as_str));
        let text = self.ask(&words)?;
        let read: Vec<Inspected> = serde_json::from_str(&text).map_err(|e| AppsError::Engine {
            command: format!("{} container inspect", self.program()),
            reason: format!("printed something else than was expected: {e}"),
        })?;
        let mut found: Vec<Container> = read.into_iter().map(Inspected::container).collect();
        found.sort_by(|a, b| a.service.cmp(&b.service));
        Ok(found)
    }

    /// Whether all services of an app are up, and none is known to be ill.
    pub fn runs(&self, app: &App) -> bool {
        let containers = self.containers(&app.name).unwrap_or_default();
        let failed = matches!(judge(&app.expected(), &containers), Verdict::Failed(_));
        // Containers that were made before a reboot, and not started after it, do not run.
        let started = !containers.is_empty() && containers.iter().all(Container::was_started);
        !failed && started && stranger(app, &containers).is_none()
    }

    /// podman-compose leaves a container as it is when only its image is another one, so it gets nothing to leave.
    fn make_way(&self, app: &App) -> Result<(), AppsError> {
        if self.kind == Kind::Docker {
            return Ok(());
        }
        self.stop(&app.name)?;
        self.of_all(&["rm", "-f"], &self.ids(&app.name)?, WORK)
    }

    fn ids(&self, app: &str) -> Result<Vec<String>, AppsError> {
        let filter = format!("label={PROJECT_LABEL}={app}");
        let listing = self.ask(&["ps", "--all", "--quiet", "--no-trunc", "--filter", &filter])?;
        Ok(listing.split_whitespace().map(str::to_string).collect())
    }

    fn of_all(&self, words: &[&str], names: &[String], limit: Duration) -> Result<(), AppsError> {
        if names.is_empty() {
            return Ok(());
        }
        let arguments = words.iter().copied().chain(names.iter().map(String::as_str)).collect::<Vec<_>>();
        run(self.command(&arguments), limit).map(drop)
    }

    /// What the engine calls an image: its configuration's digest, or with containerd's store its manifest's.
    fn local_name(&self, image: &Image, store: &Store) -> Result<String, AppsError> {
        if let Some(name) = self.known(image) {
            return Ok(name);
        }
        let refused = |reason: String| AppsError::Load { image: image.reference.to_string(), reason };
        self.load_image(image, store).map_err(|e| match e {
            AppsError::Engine { reason, .. } => refused(reason),
            other => other,
        })?;
        self.known(image).ok_or_else(|| refused("it was loaded and has another digest".to_string()))
    }

    fn known(&self, image: &Image) -> Option<String> {
        let names = [image.config.digest.to_string(), image.manifest.to_string()];
        let quietly = |name: &String| {
            let found = self.ask(&["image", "inspect", "--format", "{{.Id}}", name]).ok()?;
            found.trim().trim_start_matches("sha256:").eq(name.trim_start_matches("sha256:")).then_some(())
        };
        names.into_iter().find(|name| quietly(name).is_some())
    }

    /// A tar of the image's blobs as they are: what `docker save` writes, so every engine knows it. The engine checks each layer
    /// against the configuration, and the configuration gives the image its name.
    fn load_image(&self, image: &Image, store: &Store) -> Result<(), AppsError> {
        log::info!("loading image {}", image.reference);
        let mut command = self.command(&["load"]);
        command.stdin(Stdio::piped());
        let name = format!("{}:{}", image.reference.name(), &image.reference.digest.hex()[..12]);
        feed(command, WORK, &mut |out| write_image(image, &name, store, out))
    }

    fn project(&self, app: &str) -> PathBuf {
        self.projects.join(app)
    }

    /// Gives what the program printed.
    fn compose(&self, app: &str, words: &[&str]) -> Result<String, AppsError> {
        let (program, first) = self.compose.split_first().ok_or_else(|| AppsError::Engine {
            command: "pacman.docker_compose_bin".to_string(),
            reason: "is empty".to_string(),
        })?;
        let mut command = Command::new(program);
        self.surroundings(&mut command);
        command.args(first).arg("-f").arg(self.given_path(app, GIVEN_FILE)).args(["-p", app]);
        if self.kind == Kind::Docker {
            command.arg("--project-directory").arg(self.project(app));
            command.arg("--env-file").arg(self.given_path(app, VARIABLES));
        }
        // Engines take variables from the folder that they are run in, and the app's own is the app's to write.
        command.args(words).current_dir(self.projects.join(GIVEN).join(app));
        let (out, errors) = output(command, WORK)?;
        Ok(format!("{}\n{}", out.trim(), errors.trim()))
    }

    fn ask(&self, words: &[&str]) -> Result<String, AppsError> {
        run(self.command(words), ASK)
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(self.program());
        self.surroundings(&mut command);
        command.args(words);
        command
    }

    /// Through its socket, where there is one, Podman works from within the sandbox of our units too.
    fn surroundings(&self, command: &mut Command) {
        let socket = Path::new(PODMAN_SOCKET);
        if self.kind == Kind::Podman && std::env::var_os("CONTAINER_HOST").is_none() && socket.exists() {
            command.env("CONTAINER_HOST", format!("unix://{PODMAN_SOCKET}"));
        }
    }

    fn program(&self) -> &'static str {
        match self.kind {
            Kind::Docker => "docker",
            Kind::Podman => "podman",
        }
    }
}

/// A container that the app does not name, or that does not run the image which it names. A tag on the device, or an engine's own
/// idea of what changed, must not decide what runs.
pub fn stranger<'a>(app: &App, containers: &'a [Container]) -> Option<&'a Container> {
    let strange = |container: &&Container| {
        let Some(service) = app.compose.services.iter().find(|s| s.name == container.service) else {
            return true;
        };
        let pinned = super::Reference::parse(&service.image).ok();
        let image = app.images.iter().find(|i| Some(&i.reference) == pinned.as_ref());
        let runs = container.image.trim_start_matches("sha256:");
        image.is_none_or(|i| i.config.digest.hex() != runs && i.manifest.hex() != runs)
    };
    containers.iter().find(strange)
}

fn not_up(app: &App, reason: String) -> AppsError {
    AppsError::NotUp { app: app.name.clone(), reason }
}

fn not_started(app: &App, reason: String) -> AppsError {
    AppsError::NotStarted { app: app.name.clone(), reason }
}

fn write_image(image: &Image, name: &str, store: &Store, out: &mut dyn Write) -> Result<(), AppsError> {
    let path = |digest: &super::Digest| format!("blobs/sha256/{}", digest.hex());
    let broken = |e: io::Error| AppsError::Engine { command: "load".to_string(), reason: e.to_string() };
    let manifest = fs::metadata(store.path(&image.manifest)).map_err(broken)?.len();
    let blobs = std::iter::once(&image.config).chain(&image.layers).map(|b| (&b.digest, b.size));
    let mut written = std::collections::BTreeSet::new();
    for (digest, size) in blobs.chain([(&image.manifest, manifest)]) {
        if !written.insert(digest.clone()) {
            continue;
        }
        let source = store.path(digest);
        let mut file = fs::File::open(&source).map_err(AppsError::io("open", &source))?;
        archive::put(out, &path(digest), 0o644, size, &mut file).map_err(broken)?;
    }
    let layers: Vec<String> = image.layers.iter().map(|l| path(&l.digest)).collect();
    let docker = json!([{"Config": path(&image.config.digest), "RepoTags": [name], "Layers": layers}]);
    let mut put = |name: &str, value: &Value| {
        let text = value.to_string();
        archive::put(out, name, 0o644, text.len() as u64, &mut text.as_bytes())
    };
    put("manifest.json", &docker).map_err(broken)?;
    archive::end(out).map_err(broken)
}

#[cfg(test)]
mod tests {
    use super::super::manifest::Blob;
    use super::super::{Compose, Digest, Reference};
    use super::*;

    #[test]
    fn who_does_not_belong_to_an_app() {
        let hex = |digit: &str| digit.repeat(64);
        let blob = |digit: &str| Blob { digest: Digest::from_hex(&hex(digit)).unwrap(), size: 1 };
        let name = format!("h.example/w@sha256:{}", hex("a"));
        let reference = Reference::parse(&name).unwrap();
        let app = App {
            name: "web".into(),
            uri: Reference::parse(&format!("h.example/web@sha256:{}", hex("f"))).unwrap(),
            archive: blob("e"),
            extra: Vec::new(),
            usage: Default::default(),
            compose: Compose::read(&format!("services:\n  web:\n    image: {name}\n")).unwrap(),
            images: vec![Image { reference, manifest: blob("b").digest, config: blob("c"), layers: vec![] }],
            manifests: Vec::new(),
        };
        let is_strange = |service: &str, image: &str| {
            let container = Container {
                id: "1".into(),
                service: service.into(),
                status: "running".into(),
                exit_code: 0,
                health: None,
                restarts: 0,
                image: image.into(),
            };
            stranger(&app, &[container]).is_some()
        };
        for (service, image, strange) in [
            ("web", format!("sha256:{}", hex("c")), false),
            // As Podman names it, and as an engine with containerd's store does.
            ("web", hex("c"), false),
            ("web", format!("sha256:{}", hex("b")), false),
            ("web", format!("sha256:{}", hex("d")), true),
            ("web", "h.example/w:latest".into(), true),
            ("web", String::new(), true),
            ("other", format!("sha256:{}", hex("c")), true),
            ("", format!("sha256:{}", hex("c")), true),
        ] {
            assert_eq!(is_strange(service, &image), strange, "{service} {image}");
        }
    }
}
