//! Brings apps into the store: first what describes them, then the room that they need, then their blobs.

use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, mpsc};
use std::time::{Duration, Instant};

use super::super::pace::{Pace, SLOWEST};
use super::Apps;
use super::app::{App, Part};
use super::error::AppsError;
use super::manifest::{MANIFEST_LIMIT, Platform};
use super::reference::{Digest, Reference};
use super::source::Source;
use super::store::Store;

/// How many times a blob is asked for without much that is new.
const TRIES: u32 = 4;
/// Bytes of one reply that are worth to go on for. Fewer may be all that a server means to give, for ever.
const PROGRESS: u64 = SLOWEST * WINDOW.as_secs();
/// Blobs that are fetched at the same time.
const JOBS: usize = 3;
/// As other downloads have it.
const WINDOW: Duration = Duration::from_secs(30);
const CHUNK: usize = 64 * 1024;
/// What a compressed layer takes when it is unpacked, where nobody says: as composectl has it.
const UNPACKED: u64 = 5;
/// The same for an app's archive.
const UNPACKED_ARCHIVE: u64 = 3;

/// What may be used of the disk.
#[derive(Debug, Clone)]
pub struct Room {
    /// Where the engine unpacks images.
    pub images: PathBuf,
    /// Percent of a volume that may be used when all is there.
    pub watermark: u64,
    /// Where the project folders are.
    pub projects: PathBuf,
    /// What apps may ask of the host.
    pub may: Vec<String>,
}

/// How far it is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Progress {
    /// Blobs that are here now.
    pub blobs_done: u64,
    /// Blobs that are needed.
    pub blobs_total: u64,
    /// Bytes received.
    pub bytes_done: u64,
    /// Bytes needed.
    pub bytes_total: u64,
}

/// Fetches what is missing of these apps. What was fetched before it was cut, or for another app, is not fetched again.
pub fn fetch(
    apps: &Apps,
    source: &dyn Source,
    store: &Store,
    platform: &Platform,
    room: &Room,
    stop: &AtomicBool,
    progress: &mut dyn FnMut(Progress),
) -> Result<Vec<App>, AppsError> {
    let job = Job { source, store, stop, window: WINDOW };
    let mut found = Vec::new();
    for (name, uri) in apps {
        found.push(App::resolve(name, uri, store, platform, &mut |reference, part| {
            job.bring(reference, part, &mut |_| {})
        })?);
    }
    found.iter().try_for_each(|app| app.is_allowed(&room.projects, &room.may))?;
    let missing = missing(&found, store);
    room.require(store, &found, &missing)?;
    job.all(missing, progress)?;
    for app in &found {
        store.note(app)?;
    }
    Ok(found)
}

/// Each digest once, with its size.
fn missing(apps: &[App], store: &Store) -> Vec<(Reference, u64)> {
    let all = apps.iter().flat_map(App::blobs).filter(|(r, size)| !store.has(&r.digest, Some(*size)));
    let once: BTreeMap<Digest, (Reference, u64)> = all.map(|b| (b.0.digest.clone(), b)).collect();
    once.into_values().collect()
}

/// What a request came to.
enum Round {
    /// The end of what the server has.
    End(String),
    Cut(AppsError),
    /// It came, and so slowly that it would hold everything up.
    Slow(AppsError),
}

#[derive(Clone, Copy)]
struct Job<'a> {
    source: &'a dyn Source,
    store: &'a Store,
    stop: &'a AtomicBool,
    window: Duration,
}

impl Job<'_> {
    /// Several at a time; the first error ends all.
    fn all(&self, blobs: Vec<(Reference, u64)>, progress: &mut dyn FnMut(Progress)) -> Result<(), AppsError> {
        let mut state = Progress {
            blobs_total: blobs.len() as u64,
            bytes_total: sum(blobs.iter().map(|(_, size)| *size)),
            ..Progress::default()
        };
        let queue = Mutex::new(VecDeque::from(blobs));
        let failure: Mutex<Option<AppsError>> = Mutex::new(None);
        let (tell, told) = mpsc::channel::<Option<u64>>();
        std::thread::scope(|scope| {
            for _ in 0..JOBS {
                let tell = tell.clone();
                let (queue, failure) = (&queue, &failure);
                scope.spawn(move || {
                    while let Some((reference, size)) = queue.lock().ok().and_then(|mut q| q.pop_front()) {
                        let fetched = self.bring(&reference, Part::Blob(size), &mut |bytes| {
                            let _ = tell.send(Some(bytes));
                        });
                        if let Err(error) = fetched {
                            if let (Ok(mut queue), Ok(mut failure)) = (queue.lock(), failure.lock()) {
                                queue.clear();
                                failure.get_or_insert(error);
                            }
                            return;
                        }
                        let _ = tell.send(None);
                    }
                });
            }
            drop(tell);
            for news in told {
                match news {
                    Some(bytes) => state.bytes_done += bytes,
                    None => state.blobs_done += 1,
                }
                progress(state);
            }
        });
        failure.into_inner().ok().flatten().map_or(Ok(()), Err)
    }

    /// One blob or manifest. A cut is gone on with; other bytes than were named are an error.
    fn bring(&self, what: &Reference, part: Part, tell: &mut dyn FnMut(u64)) -> Result<(), AppsError> {
        let size = match part {
            Part::Manifest => None,
            Part::Blob(size) => Some(size),
        };
        if self.store.has(&what.digest, size) {
            return Ok(());
        }
        let mut incoming = self.store.incoming(&what.digest)?;
        let resumed = incoming.length() > 0;
        let limit = size.unwrap_or(MANIFEST_LIMIT);
        if incoming.length() > limit {
            incoming.clear()?;
        }
        let url = self.rounds(what, part, &mut incoming, limit, tell)?;
        match incoming.finish()? {
            None => Ok(()),
            // The bytes of the first half may be older than a repair of the registry, or of a bad disk.
            Some(_) if resumed => self.bring(what, part, tell),
            Some(found) => {
                let reason = format!("{} was asked for and {found} came", what.digest);
                Err(AppsError::Digest { url, reason })
            }
        }
    }

    /// As many requests as it takes, and no more than [`TRIES`] that bring next to nothing.
    fn rounds(
        &self,
        what: &Reference,
        part: Part,
        incoming: &mut super::store::Incoming,
        limit: u64,
        tell: &mut dyn FnMut(u64),
    ) -> Result<String, AppsError> {
        let enough = |length: u64| part == Part::Manifest || length == limit;
        let mut tries = 0;
        loop {
            let (before, begun) = (incoming.length(), Instant::now());
            let (error, slow) = match self.round(what, part, incoming, limit, tell)? {
                Round::End(url) if enough(incoming.length()) => return Ok(url),
                Round::End(url) => {
                    let reason = format!("ends after {} of {limit} bytes", incoming.length());
                    (AppsError::Fetch { url, reason }, false)
                }
                Round::Cut(error) => (error, false),
                Round::Slow(error) => (error, true),
            };
            // A server that is silent until a time limit ends it is no better than one that drips.
            let slow = slow || begun.elapsed() >= self.window;
            let gained = incoming.length().saturating_sub(before);
            tries = if gained >= PROGRESS { 1 } else { tries + if slow { 2 } else { 1 } };
            if tries >= TRIES {
                return Err(error);
            }
            std::thread::sleep(Duration::from_millis(250 << tries));
        }
    }

    /// One request, read to its end or to a cut.
    fn round(
        &self,
        what: &Reference,
        part: Part,
        incoming: &mut super::store::Incoming,
        limit: u64,
        tell: &mut dyn FnMut(u64),
    ) -> Result<Round, AppsError> {
        let mut body = match self.source.open(what, part, incoming.length()) {
            Err(error @ AppsError::Fetch { .. }) => return Ok(Round::Cut(error)),
            other => other?,
        };
        if body.from != incoming.length() {
            incoming.clear()?;
        }
        let mut buffer = vec![0; CHUNK];
        let mut pace = Pace::new(self.window);
        loop {
            if self.stop.load(Ordering::Relaxed) {
                return Err(AppsError::Stopped);
            }
            let count = match body.reader.read(&mut buffer) {
                Ok(0) => return Ok(Round::End(body.url)),
                Ok(count) => count,
                Err(e) => {
                    let reason = format!("the reply was cut: {e}");
                    return Ok(Round::Cut(AppsError::Fetch { url: body.url, reason }));
                }
            };
            if pace.too_slow(count) {
                let reason = format!("the reply came with less than {SLOWEST} bytes a second");
                return Ok(Round::Slow(AppsError::Fetch { url: body.url, reason }));
            }
            if incoming.length() + count as u64 > limit {
                incoming.clear()?;
                let reason = format!("is longer than the {limit} bytes that it should have");
                return Err(AppsError::Digest { url: body.url, reason });
            }
            incoming.write(&buffer[..count])?;
            tell(count as u64);
        }
    }
}

impl Room {
    /// Refuses when the volumes would be fuller than allowed.
    fn require(&self, store: &Store, apps: &[App], missing: &[(Reference, u64)]) -> Result<(), AppsError> {
        let lacks = |digest: &Digest| missing.iter().any(|(r, _)| r.digest == *digest);
        let blobs = sum(missing.iter().map(|(_, size)| *size));
        let archives = sum(apps.iter().map(|a| &a.archive).filter(|b| lacks(&b.digest)).map(|b| b.size));
        let images = sum(missing_layers(apps, &lacks).into_values());
        if blobs.max(images) == 0 {
            return Ok(());
        }
        let own = blobs.saturating_add(archives.saturating_mul(UNPACKED_ARCHIVE));
        let (store_at, images_at) = (existing(store.root()), existing(&self.images));
        if device(&store_at) == device(&images_at) {
            return self.fits(&store_at, own.saturating_add(images));
        }
        self.fits(&store_at, own)?;
        self.fits(&images_at, images)
    }

    fn fits(&self, path: &Path, needed: u64) -> Result<(), AppsError> {
        let volume = rustix::fs::statvfs(path).map_err(|e| AppsError::Io {
            operation: "look at the room of",
            path: path.to_path_buf(),
            source: e.into(),
        })?;
        let total = volume.f_blocks.saturating_mul(volume.f_frsize);
        let used = volume.f_blocks.saturating_sub(volume.f_bfree).saturating_mul(volume.f_frsize);
        let free = volume.f_bavail.saturating_mul(volume.f_frsize);
        let available = usable(total, used, free, self.watermark);
        if needed <= available {
            return Ok(());
        }
        Err(AppsError::NoSpace { path: path.to_path_buf(), needed, available, watermark: self.watermark })
    }
}

/// Bytes up to the watermark, and never more than are free.
fn usable(total: u64, used: u64, free: u64, watermark: u64) -> u64 {
    (total / 100 * watermark).saturating_sub(used).min(free)
}

/// Each missing layer once, with what it takes when it is unpacked.
fn missing_layers(apps: &[App], lacks: &dyn Fn(&Digest) -> bool) -> BTreeMap<Digest, u64> {
    let mut found = BTreeMap::new();
    for app in apps {
        for layer in app.images.iter().flat_map(|image| &image.layers).filter(|l| lacks(&l.digest)) {
            let guess = layer.size.saturating_mul(UNPACKED);
            found.insert(layer.digest.clone(), app.usage.get(&layer.digest).copied().unwrap_or(guess));
        }
    }
    found
}

/// Sizes are other people's: none is too large to be added.
fn sum(sizes: impl Iterator<Item = u64>) -> u64 {
    sizes.fold(0, u64::saturating_add)
}

fn existing(path: &Path) -> PathBuf {
    path.ancestors().find(|p| p.exists()).unwrap_or(Path::new("/")).to_path_buf()
}

fn device(path: &Path) -> Option<u64> {
    use std::os::unix::fs::MetadataExt;
    File::open(path).and_then(|f| f.metadata()).ok().map(|m| m.dev())
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::atomic::AtomicU32;

    use super::super::source::Body;
    use super::*;

    /// A byte now and then, for ever.
    struct Drip(AtomicU32);

    impl Read for &Drip {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            std::thread::sleep(Duration::from_millis(20));
            buffer[..1].fill(b'x');
            Ok(1)
        }
    }

    impl Source for &'static Drip {
        fn open(&self, _: &Reference, _: Part, from: u64) -> Result<Body, AppsError> {
            self.0.fetch_add(1, Ordering::Relaxed);
            Ok(Body { from, reader: Box::new(*self), url: "https://drip.example".into() })
        }
    }

    #[test]
    fn a_registry_that_drips_is_left() {
        let dir = std::env::temp_dir().join(format!("rust-ota-drip-{}", std::process::id()));
        let drip: &'static Drip = Box::leak(Box::new(Drip(AtomicU32::new(0))));
        let (store, stop) = (Store::at(&dir), AtomicBool::new(false));
        let job = Job { source: &drip, store: &store, stop: &stop, window: Duration::from_millis(100) };
        let what = Reference::parse(&format!("h.example/w@sha256:{}", "a".repeat(64))).unwrap();
        for part in [Part::Manifest, Part::Blob(1 << 30)] {
            let error = job.bring(&what, part, &mut |_| {}).unwrap_err();
            assert!(error.to_string().contains("bytes a second"), "{error}");
        }
        assert_eq!(drip.0.load(Ordering::Relaxed), 4);
        std::fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn room_is_up_to_the_watermark_and_what_is_free() {
        for (used, free, watermark, expected) in [
            (100, 900, 80, 700),
            // Blocks that are kept for root are not free.
            (100, 50, 80, 50),
            (800, 200, 80, 0),
            (950, 50, 80, 0),
            (200, 800, 20, 0),
            (199, 801, 20, 1),
        ] {
            assert_eq!(usable(1000, used, free, watermark), expected, "{used} {free} {watermark}");
        }
    }
}
