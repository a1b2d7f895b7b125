//! Static deltas: what changed between two commits in a few large files, instead of an object for each changed file.
//!
//! The files of a delta carry no signature, and libostree interprets them: operations that make no sense end the
//! process. So a delta is used only if the signed metadata name the hash of each of its files (or a setting allows the
//! others), it is applied in a process of its own (`child`, `apply`, `sandbox`), and of its result only objects with
//! the right hash are taken (`import`). What is missing afterwards is fetched as objects.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::alphabet::Alphabet;
use base64::engine::{GeneralPurpose, general_purpose::NO_PAD};
use sha2::{Digest, Sha256};

use super::child::{self, Fault};
use super::import::Import;
use super::superblock::{Superblock, total};
use super::{PullOptions, stats};
use crate::decide::{SignedDelta, SignedFile};
use crate::payload::ostree::error::OstreeError;
use crate::payload::ostree::source::{ObjectSource, SourceError};
use crate::payload::ostree::space::Space;
use crate::payload::ostree::sysroot::Sysroot;
use crate::payload::pace::{Pace, SLOWEST};
use crate::store::TriedDeltas;
use crate::tuf::{from_hex, to_hex};

/// Standard base64 with `_` for `/`, which would be a folder.
const ALPHABET: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+_";
/// It names each object by its hash: 200,000 of them fit. It is in memory as a whole.
const SUPERBLOCK_LIMIT: u64 = 8 << 20;

/// From a commit that is here to one that is wanted.
#[derive(Debug, Clone, Copy)]
pub struct Step<'a> {
    pub from: &'a str,
    pub to: &'a str,
}

/// Bytes of the missing objects, as the signed commit tells them.
#[derive(Debug, Clone, Copy)]
pub struct Missing {
    pub archived: u64,
    pub unpacked: u64,
}

/// What became of the delta.
#[derive(Debug, Default)]
pub struct Taken {
    /// Bytes that came, if it was applied.
    pub bytes: u64,
    /// Why it was not, if it ended its process.
    pub trouble: Option<String>,
}

/// Where a pull happens.
pub struct Place<'a> {
    pub sysroot: &'a Sysroot,
    pub repo_path: &'a Path,
    pub source: &'a dyn ObjectSource,
    pub space: &'a Space,
    pub options: &'a PullOptions,
}

/// What is known of a delta before anything of it is fetched.
struct Offer<'a> {
    step: Step<'a>,
    signed: Option<&'a SignedDelta>,
    /// By this name it is remembered.
    id: String,
    /// The bytes of the missing objects: it has to be cheaper.
    objects: Option<u64>,
    /// The bytes of its parts, by signed statistics: it is another one if it has more.
    parts: Option<u64>,
    /// What it unpacks to, at most.
    unpacked: u64,
}

/// Why a delta is not taken. All of these lead to the objects.
pub(super) enum Refusal {
    NotThere,
    Dear { cost: u64, objects: u64 },
    Wrong(Wrong),
    Process(Fault),
    Other(OstreeError),
}

/// What is wrong with a delta.
pub(super) enum Wrong {
    Name,
    Superblock(String),
    OtherCommits,
    OtherParts,
    PartMissing(usize),
    Length { file: String, signed: u64, got: u64 },
    Hash { file: String, signed: String, got: String },
    LargerThanStatistics,
    UnpacksTo { claimed: u64, most: u64 },
    Slow(String),
}

impl<'a> Place<'a> {
    /// Takes a static delta from the running system if that is cheaper than the missing objects. A delta that fails is
    /// no failure of the pull.
    pub fn take_delta(&self, commit: &str, missing: Option<Missing>) -> Result<Taken, OstreeError> {
        let Some(from) = self.sysroot.booted_commit()? else { return Ok(Taken::default()) };
        if !self.sysroot.repo_has(&from)? {
            return Ok(Taken::default());
        }
        let step = Step { from: &from, to: commit };
        let Some(offer) = self.offer(step, missing)? else { return Ok(Taken::default()) };
        let taken = match self.try_once(&offer) {
            Ok(bytes) => return Ok(Taken { bytes, trouble: None }),
            Err(Refusal::Other(OstreeError::Stopped) | Refusal::Process(Fault::Stopped)) => {
                return Err(OstreeError::Stopped);
            }
            Err(Refusal::NotThere) => Taken::default(),
            Err(Refusal::Dear { cost, objects }) => {
                log::debug!("the static delta has {cost} bytes and the objects {objects}: it does not help");
                Taken::default()
            }
            Err(refusal) => {
                let reason = format!("static delta from {} to {}: {refusal}", step.from, step.to);
                log::warn!("{reason}; fetching the objects");
                let ended = matches!(&refusal, Refusal::Process(fault) if fault.is_final());
                Taken { bytes: 0, trouble: ended.then_some(reason) }
            }
        };
        Ok(taken)
    }

    /// None if no delta may be used, or it is known not to help, or nobody knows.
    fn offer<'s>(
        &'s self,
        step: Step<'s>,
        missing: Option<Missing>,
    ) -> Result<Option<Offer<'s>>, OstreeError> {
        let objects = missing.map(|missing| missing.archived);
        let signed = self.options.signed_deltas.get(step.from);
        let offer = match signed {
            Some(delta) => {
                let unpacked = total(delta.parts.iter().map(|part| part.unpacked));
                let id = delta.superblock.sha256.clone();
                Offer { step, signed, id, objects, parts: None, unpacked }
            }
            None if !self.options.unsigned_deltas => {
                log::debug!("no static delta from {} is signed", step.from);
                return Ok(None);
            }
            None => {
                let Some(known) = self.statistics(step, objects)? else { return Ok(None) };
                let parts = known.map(|known| known.size);
                let unpacked = missing.map(|missing| missing.unpacked).or(known.map(|known| known.unpacked));
                let Some(unpacked) = unpacked else { return Ok(None) };
                let id = format!("{}-{}", step.from, step.to);
                Offer { step, signed, id, objects, parts, unpacked }
            }
        };
        Ok(self.wanted(&offer).then_some(offer))
    }

    /// Signed statistics of a delta that is not signed itself: none if it does not help by them.
    fn statistics(
        &self,
        step: Step<'_>,
        objects: Option<u64>,
    ) -> Result<Option<Option<stats::DeltaSize>>, OstreeError> {
        let known = match self.options.delta_stats.as_ref().map(|file| stats::of(self, file, step)) {
            Some(Ok(known)) => known,
            Some(Err(error)) => {
                log::warn!("{error}; deciding without the statistics of static deltas");
                None
            }
            None => None,
        };
        match (known, objects) {
            (Some(known), Some(objects)) if known.size >= objects => {
                log::debug!(
                    "the static delta has {} bytes and the objects {objects}: it does not help",
                    known.size
                );
                return Ok(None);
            }
            // Without sizes in the commit nothing else tells how much room is needed.
            (Some(known), None) => self.space.require(known.unpacked)?,
            _ => {}
        }
        Ok(Some(known))
    }

    /// By its signed sizes, and by what is remembered of it.
    fn wanted(&self, offer: &Offer<'_>) -> bool {
        let (step, signed) = (offer.step, offer.signed);
        let cost = signed.map_or(0, |delta| {
            total(delta.parts.iter().map(|part| part.size)).saturating_add(delta.superblock.size)
        });
        if offer.objects.is_some_and(|objects| cost >= objects) {
            log::debug!("the static delta has {cost} bytes and the objects fewer: it does not help");
            return false;
        }
        let Some(state) = &self.options.state else { return true };
        let refused = match TriedDeltas::load(state) {
            Ok(tried) => tried.refuses(&offer.id),
            Err(error) => Some(error.to_string()),
        };
        if let Some(reason) = &refused {
            log::warn!("the static delta from {} to {} is not tried again: {reason}", step.from, step.to);
        }
        refused.is_none()
    }

    /// Returns the bytes that came.
    fn try_once(&self, offer: &Offer<'_>) -> Result<u64, Refusal> {
        let scratch = Scratch::new(self.repo_path)?;
        let folder = folder(offer.step)?;
        let superblock = self.superblock(offer, &folder, &scratch)?;
        let parts = superblock.size();
        let from_file = fs::metadata(scratch.file("superblock")).map_or(0, |found| found.len());
        let cost = parts.saturating_add(superblock.besides).saturating_add(from_file);
        if let Some(objects) = offer.objects
            && cost >= objects
        {
            return Err(Refusal::Dear { cost, objects });
        }
        // Parts, one of them unpacked, and the objects.
        let unpacked = offer.unpacked.saturating_mul(2);
        self.space.require(parts.saturating_add(unpacked))?;
        for (number, part) in superblock.parts.iter().enumerate() {
            let wanted = SignedFile { sha256: part.sha256.clone(), size: part.size };
            let path = format!("{folder}/{number}");
            if !self.keep(&path, &wanted, &scratch.file(&number.to_string()))? {
                return Err(Wrong::PartMissing(number).into());
            }
        }
        self.apply(offer, &scratch)?;
        let import = Import {
            repo: &self.sysroot.repo(),
            from: &scratch.0.join("repo"),
            space: self.space,
            options: self.options,
        };
        import.take(offer.step.to)?;
        Ok(parts.saturating_add(from_file))
    }

    /// Fetches the superblock; checks it before it is read, and what it says against what is signed.
    fn superblock(&self, offer: &Offer<'_>, folder: &str, scratch: &Scratch) -> Result<Superblock, Refusal> {
        let path = format!("{folder}/superblock");
        let to = scratch.file("superblock");
        let there = match offer.signed {
            Some(signed) if signed.superblock.size > SUPERBLOCK_LIMIT => return Err(self.too_large(&path)),
            Some(signed) => self.keep(&path, &signed.superblock, &to)?,
            None => self.keep_unsigned(&path, offer.objects, &to)?,
        };
        if !there {
            return Err(Refusal::NotThere);
        }
        let bytes = fs::read(&to).map_err(kept)?;
        let superblock = Superblock::read(&bytes).map_err(Wrong::Superblock)?;
        if superblock.from != offer.step.from || superblock.to != offer.step.to {
            return Err(Wrong::OtherCommits.into());
        }
        match offer.signed {
            Some(signed) if signed.parts != superblock.parts => return Err(Wrong::OtherParts.into()),
            None if offer.parts.is_some_and(|signed| superblock.size() > signed) => {
                return Err(Wrong::LargerThanStatistics.into());
            }
            _ => {}
        }
        let (claimed, most) = (superblock.unpacked(), offer.unpacked);
        if claimed > most {
            return Err(Wrong::UnpacksTo { claimed, most }.into());
        }
        Ok(superblock)
    }

    fn keep_unsigned(&self, path: &str, objects: Option<u64>, to: &Path) -> Result<bool, Refusal> {
        let limit = objects.unwrap_or(u64::MAX).min(SUPERBLOCK_LIMIT);
        let mut file = File::create(to).map_err(kept)?;
        Ok(self.stream(path, limit, &mut |bytes| file.write_all(bytes))?.is_some())
    }

    /// Streams a file whose hash is known; false if the source does not have it.
    fn keep(&self, path: &str, wanted: &SignedFile, to: &Path) -> Result<bool, Refusal> {
        let mut file = File::create(to).map_err(kept)?;
        let mut hash = Sha256::new();
        let got = self.stream(path, wanted.size, &mut |bytes| {
            hash.update(bytes);
            file.write_all(bytes)
        })?;
        let Some(got) = got else { return Ok(false) };
        let (file, signed) = (path.to_string(), wanted.size);
        if got != signed {
            return Err(Wrong::Length { file, signed, got }.into());
        }
        let got = to_hex(&hash.finalize());
        if got != wanted.sha256 {
            return Err(Wrong::Hash { file, signed: wanted.sha256.clone(), got }.into());
        }
        Ok(true)
    }

    /// Hands on the body, at most `limit` bytes of it; returns its length, or none if the source does not have it.
    /// No retries: there is another way to the objects.
    pub(super) fn stream(
        &self,
        path: &str,
        limit: u64,
        take: &mut dyn FnMut(&[u8]) -> io::Result<()>,
    ) -> Result<Option<u64>, Refusal> {
        let mut body = match self.source.open(path, 0) {
            Ok(opened) => opened.body,
            Err(SourceError::NotFound { .. }) => return Ok(None),
            Err(error) => return Err(OstreeError::from(error).into()),
        };
        let failed = |e: io::Error| OstreeError::Fetch { url: self.source.name(path), reason: e.to_string() };
        let mut pace = Pace::new(self.options.stall);
        let mut buffer = vec![0; 64 << 10];
        let mut length = 0u64;
        loop {
            if self.options.is_stopped() {
                return Err(OstreeError::Stopped.into());
            }
            let read = match body.read(&mut buffer) {
                Ok(0) => return Ok(Some(length)),
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(failed(error).into()),
            };
            length = length.saturating_add(read as u64);
            if length > limit {
                return Err(OstreeError::TooLarge { url: self.source.name(path), limit }.into());
            }
            if pace.too_slow(read) {
                return Err(Wrong::Slow(path.to_string()).into());
            }
            take(&buffer[..read]).map_err(kept)?;
        }
    }

    fn too_large(&self, path: &str) -> Refusal {
        OstreeError::TooLarge { url: self.source.name(path), limit: SUPERBLOCK_LIMIT }.into()
    }

    /// In the other process. What ends that one, or this one with it, is remembered.
    fn apply(&self, offer: &Offer<'_>, scratch: &Scratch) -> Result<(), Refusal> {
        let mut tried = match &self.options.state {
            Some(state) => Some(TriedDeltas::load(state).map_err(stored)?),
            None => None,
        };
        if let Some(tried) = &mut tried {
            tried.begin(&offer.id).map_err(stored)?;
        }
        let ended = child::run(&scratch.0, self.repo_path, offer.unpacked, self.space, self.options);
        if let Some(tried) = &mut tried {
            match &ended {
                Err(fault) if fault.is_final() => tried.killed(&offer.id, &fault.to_string()),
                _ => tried.ended(&offer.id),
            }
            .map_err(stored)?;
        }
        ended.map_err(Refusal::Process)
    }
}

/// `deltas/AB/CDEF...-TO`, of the hashes in base64.
fn folder(step: Step<'_>) -> Result<String, Wrong> {
    let alphabet = Alphabet::new(ALPHABET).map_err(|_| Wrong::Name)?;
    let engine = GeneralPurpose::new(&alphabet, NO_PAD);
    let name = |commit: &str| from_hex(commit).map(|bytes| engine.encode(bytes)).ok_or(Wrong::Name);
    let (from, to) = (name(step.from)?, name(step.to)?);
    let (first, rest) = from.split_at_checked(2).ok_or(Wrong::Name)?;
    Ok(format!("deltas/{first}/{rest}-{to}"))
}

/// Removes what an earlier pull left of a delta.
pub fn clean(repo_path: &Path) {
    let _ = fs::remove_dir_all(Scratch::path(repo_path));
}

/// A folder that goes when it is no longer needed.
struct Scratch(PathBuf);

impl Scratch {
    fn path(repo_path: &Path) -> PathBuf {
        repo_path.join("tmp/rust-ota-delta")
    }

    fn new(repo_path: &Path) -> Result<Scratch, Refusal> {
        let scratch = Scratch(Scratch::path(repo_path));
        let _ = fs::remove_dir_all(&scratch.0);
        for folder in ["delta", "tmp"] {
            fs::create_dir_all(scratch.0.join(folder)).map_err(kept)?;
        }
        Ok(scratch)
    }

    /// A file of the delta itself.
    fn file(&self, name: &str) -> PathBuf {
        self.0.join("delta").join(name)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn kept(error: io::Error) -> Refusal {
    OstreeError::repo("keeping a static delta", error).into()
}

fn stored(error: crate::store::StoreError) -> Refusal {
    OstreeError::repo("remembering a static delta", error).into()
}

impl From<OstreeError> for Refusal {
    fn from(error: OstreeError) -> Refusal {
        Refusal::Other(error)
    }
}

impl From<Wrong> for Refusal {
    fn from(wrong: Wrong) -> Refusal {
        Refusal::Wrong(wrong)
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::NotThere => f.write_str("the server does not have it"),
            Refusal::Dear { cost, .. } => write!(f, "its {cost} bytes do not help"),
            Refusal::Wrong(wrong) => wrong.fmt(f),
            Refusal::Process(fault) => fault.fmt(f),
            Refusal::Other(error) => error.fmt(f),
        }
    }
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Wrong::Name => f.write_str("no commit hash"),
            Wrong::Superblock(reason) => f.write_str(reason),
            Wrong::OtherCommits => f.write_str("it is one between other commits"),
            Wrong::OtherParts => f.write_str("its superblock names other parts than the Target"),
            Wrong::PartMissing(number) => write!(f, "part {number} is missing"),
            Wrong::Length { file, signed, got } => write!(f, "{file} has {got} bytes, {signed} expected"),
            Wrong::Hash { file, signed, got } => write!(f, "{file} has sha256 {got}, {signed} expected"),
            Wrong::LargerThanStatistics => f.write_str("it is larger than its signed statistics say"),
            Wrong::UnpacksTo { claimed, most } => {
                write!(f, "it unpacks to {claimed} bytes, {most} are signed")
            }
            Wrong::Slow(file) => write!(f, "{file} came slower than {SLOWEST} bytes a second"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_delta_is_named_by_both_commits() {
        let from = format!("{}ff", "00".repeat(31));
        let to = "ff".repeat(32);
        let Ok(name) = folder(Step { from: &from, to: &to }) else { panic!("no name") };
        assert_eq!(name, format!("deltas/AA/{}P8-{}8", "A".repeat(39), "_".repeat(42)));
        assert!(folder(Step { from: "", to: &to }).is_err());
    }
}
