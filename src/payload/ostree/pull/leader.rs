//! The thread that leads a pull.

use std::collections::HashMap;
use std::fs;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::thread::{self, Scope};
use std::time::Duration;

use super::delta;
use super::fetcher::{self, Body, Fetched};
use super::jobs::{Job, Jobs};
use super::queue::Queue;
use super::retry::Retry;
use super::shared::{Event, Parts, Shared, Spent};
use super::transaction::recover;
use super::{LARGE_AT_ONCE, Progress, PullOptions, PullReport, QUEUED, writer};
use crate::payload::ostree::error::OstreeError;
use crate::payload::ostree::object::ObjectId;
use crate::payload::ostree::parse::{self, ObjectSize};
use crate::payload::ostree::plan::{Walk, figures, has, missing, read_commit};
use crate::payload::ostree::source::{ObjectSource, SourceError};
use crate::payload::ostree::space::Space;
use crate::payload::ostree::sysroot::Sysroot;

/// Fetches what is missing of a commit. Returns only when all of it is on the disk, durably.
pub fn pull(
    sysroot: &Sysroot,
    source: &dyn ObjectSource,
    commit: &str,
    options: &PullOptions,
    progress: &mut dyn FnMut(Progress),
) -> Result<PullReport, OstreeError> {
    let id = ObjectId::commit(commit)?;
    sysroot.make_writable()?;
    let repo = sysroot.repo();
    let repo_path = sysroot.repo_path()?;
    recover(&repo, &repo_path)?;
    if sysroot.repo_has(commit)? && Walk::default().visit(&repo, vec![id])?.is_empty() {
        sysroot.keep(commit)?;
        return Ok(PullReport::default());
    }
    let space = Space::new(&repo, &repo_path, options.reserved_percent)?;
    let mut start = Start::new(&repo, source, id, &repo_path, &space, options)?;
    mark_partial(&repo, &repo_path, commit)?;
    let delta_bytes = if options.deltas {
        let objects = start.missing.as_ref().map(|m| m.values().map(|object| object.archived).sum());
        delta::take(sysroot, &repo_path, source, commit, objects, &space, options)?
    } else {
        0
    };
    if delta_bytes > 0 {
        start = Start::new(&repo, source, id, &repo_path, &space, options)?;
    }
    if has(&repo, id)? {
        sysroot.keep(commit)?;
    }
    let report = start.run(&repo, &repo_path, source, &space, options, progress)?;
    repo.mark_commit_partial(commit, false)
        .map_err(|e| OstreeError::repo(format!("marking {commit} as complete"), e))?;
    Ok(PullReport { delta_bytes, ..report })
}

/// Reads a commit object into memory and checks its hash.
pub fn fetch_commit(
    source: &dyn ObjectSource,
    id: ObjectId,
    options: &PullOptions,
) -> Result<Vec<u8>, OstreeError> {
    let mut retry = Retry::new(options.retries);
    loop {
        let failed = match read_whole(source, id, options.limits.commit)? {
            Ok(bytes) => {
                fetcher::verified_names(id, &bytes)?;
                return Ok(bytes);
            }
            Err(failed) => failed,
        };
        match retry.next(false) {
            _ if options.is_stopped() => return Err(OstreeError::Stopped),
            Some(pause) => thread::sleep(pause),
            None => return Err(failed),
        }
    }
}

/// The inner error may pass when it is tried again.
fn read_whole(
    source: &dyn ObjectSource,
    id: ObjectId,
    limit: u64,
) -> Result<Result<Vec<u8>, OstreeError>, OstreeError> {
    let path = id.path();
    let url = || source.name(&path);
    let opened = match source.open(&path, 0) {
        Ok(opened) => opened,
        Err(error @ SourceError::Transient { .. }) => return Ok(Err(error.into())),
        Err(error) => return Err(error.into()),
    };
    let mut bytes = Vec::new();
    if let Err(error) = opened.body.take(limit.saturating_add(1)).read_to_end(&mut bytes) {
        return Ok(Err(OstreeError::Fetch { url: url(), reason: error.to_string() }));
    }
    if bytes.len() as u64 > limit {
        return Err(OstreeError::TooLarge { url: url(), limit });
    }
    if opened.length.is_some_and(|length| length != bytes.len() as u64) {
        let reason = format!("it ended after {} bytes", bytes.len());
        return Ok(Err(OstreeError::Fetch { url: url(), reason }));
    }
    Ok(Ok(bytes))
}

/// The marker is on the disk before the commit object can be: a transaction syncs the whole volume first.
fn mark_partial(repo: &::ostree::Repo, repo_path: &Path, commit: &str) -> Result<(), OstreeError> {
    let doing = || format!("marking {commit} as incomplete");
    fs::create_dir_all(repo_path.join("state")).map_err(|e| OstreeError::repo(doing(), e))?;
    repo.mark_commit_partial(commit, true).map_err(|e| OstreeError::repo(doing(), e))
}

/// What is known before the first object.
struct Start {
    id: ObjectId,
    /// The commit object, where it is not in the repository yet.
    commit: Option<Vec<u8>>,
    root: [ObjectId; 2],
    /// The missing objects, where the commit has sizes.
    missing: Option<HashMap<ObjectId, ObjectSize>>,
    progress: Progress,
    parts: Parts,
}

impl Start {
    fn new(
        repo: &::ostree::Repo,
        source: &dyn ObjectSource,
        id: ObjectId,
        repo_path: &Path,
        space: &Space,
        options: &PullOptions,
    ) -> Result<Start, OstreeError> {
        let present = read_commit(repo, id)?;
        let fetched = if present.is_none() { Some(fetch_commit(source, id, options)?) } else { None };
        let parsed = parse::commit(id, present.as_deref().or(fetched.as_deref()).unwrap_or_default())?;
        let parts = Parts::find(repo_path);
        let new = fetched.as_ref().map_or(0, |bytes| bytes.len() as u64);
        let mut progress = Progress { bytes_done: new, ..Progress::default() };
        progress.objects_total = u64::from(new > 0);
        let mut known = None;
        match parsed.sizes {
            Some(listed) => {
                let missing = missing(repo, listed)?;
                let sizes = figures(&missing, space, options)?;
                let on_disk = parts.bytes_of(missing.iter().map(|o| o.id));
                space.require(sizes.needed.saturating_sub(on_disk))?;
                progress.objects_total += sizes.objects;
                progress.bytes_total = Some(sizes.download + new);
                known = Some(missing.into_iter().map(|o| (o.id, o)).collect());
            }
            None => space.require(1)?,
        }
        Ok(Start { id, commit: fetched, root: parsed.root, missing: known, progress, parts })
    }

    fn run(
        self,
        repo: &::ostree::Repo,
        repo_path: &Path,
        source: &dyn ObjectSource,
        space: &Space,
        options: &PullOptions,
        tell: &mut dyn FnMut(Progress),
    ) -> Result<PullReport, OstreeError> {
        let sizes = self.missing.unwrap_or_default();
        let (sender, events) = channel();
        let shared = Shared {
            source,
            options,
            repo_path,
            space,
            sizes: &sizes,
            parts: &self.parts,
            jobs: Arc::new(Jobs::new(LARGE_AT_ONCE)),
            fetched: Queue::new(QUEUED),
            events: sender,
            bytes: AtomicU64::new(self.progress.bytes_done),
            retries: AtomicU64::new(0),
            fetch_time: Spent::default(),
            write_time: Spent::default(),
            stop: AtomicBool::new(false),
        };
        let mut leader = Leader {
            shared: &shared,
            repo,
            walk: Walk::default(),
            outstanding: 0,
            progress: self.progress,
            discovered: 0,
            fetchers: 0,
            tell,
        };
        thread::scope(|scope| leader.lead(scope, self.id, self.commit, &self.root, &events))?;
        Ok(leader.report())
    }
}

struct Leader<'a, 'p> {
    shared: &'a Shared<'a>,
    repo: &'a ::ostree::Repo,
    walk: Walk,
    /// Objects that are wanted and not yet written.
    outstanding: u64,
    progress: Progress,
    discovered: u64,
    fetchers: usize,
    tell: &'p mut dyn FnMut(Progress),
}

impl<'a> Leader<'a, '_> {
    fn lead<'s>(
        &mut self,
        scope: &'s Scope<'s, 'a>,
        id: ObjectId,
        commit: Option<Vec<u8>>,
        root: &[ObjectId],
        events: &Receiver<Event>,
    ) -> Result<(), OstreeError> {
        let shared = self.shared;
        let mut writers = Vec::new();
        let mut result = Ok(());
        for _ in 0..writer_count() {
            match thread::Builder::new().spawn_scoped(scope, move || writer::run(shared)) {
                Ok(writer) => writers.push(writer),
                Err(_) if !writers.is_empty() => break,
                Err(error) => result = Err(OstreeError::repo("starting a thread to write", error)),
            }
        }
        result = result.and_then(|()| self.begin(id, commit, root));
        while result.is_ok() && self.outstanding > 0 {
            result = self
                .start_fetchers(scope)
                .and_then(|()| self.handle_all(events))
                .and_then(|()| self.check_stop());
            self.tell_progress();
        }
        shared.stop.store(result.is_err(), Ordering::Relaxed);
        shared.jobs.close();
        shared.fetched.close();
        for writer in writers {
            let ended =
                writer.join().unwrap_or_else(|_| Err(OstreeError::repo("writing objects", "a thread died")));
            result = result.and(ended);
        }
        result
    }

    fn begin(&mut self, id: ObjectId, commit: Option<Vec<u8>>, root: &[ObjectId]) -> Result<(), OstreeError> {
        if let Some(bytes) = commit {
            self.outstanding += 1;
            self.discovered += 1;
            let job = Job { id, size: None, afresh: false };
            // The queue is empty and open, so this neither waits nor fails.
            let _ = self.shared.fetched.push(Fetched { job, body: Body::Memory(bytes) });
        }
        self.want(root.to_vec())
    }

    fn want(&mut self, ids: Vec<ObjectId>) -> Result<(), OstreeError> {
        let wanted = self.walk.visit(self.repo, ids)?;
        self.outstanding += wanted.len() as u64;
        self.discovered += wanted.len() as u64;
        self.progress.objects_total = self.progress.objects_total.max(self.discovered);
        let size = |id: &ObjectId| self.shared.sizes.get(id).map(|size| size.archived);
        self.shared.jobs.push(wanted.into_iter().map(|id| Job { id, size: size(&id), afresh: false }));
        Ok(())
    }

    /// Waits for news and handles all that there is. While there are jobs enough, it is better to let news
    /// gather than to be woken for each.
    fn handle_all(&mut self, events: &Receiver<Event>) -> Result<(), OstreeError> {
        if self.shared.jobs.waiting() > self.fetchers {
            thread::sleep(Duration::from_millis(1));
        } else if let Ok(event) = events.recv_timeout(Duration::from_millis(100)) {
            self.handle(event)?;
        }
        events.try_iter().try_for_each(|event| self.handle(event))
    }

    fn handle(&mut self, event: Event) -> Result<(), OstreeError> {
        match event {
            Event::Named(ids) => self.want(ids)?,
            Event::Written => {
                self.outstanding -= 1;
                self.progress.objects_done += 1;
            }
            Event::Again(job) => self.shared.jobs.push([job]),
            Event::Failed(error) => return Err(error),
        }
        Ok(())
    }

    fn start_fetchers<'s>(&mut self, scope: &'s Scope<'s, 'a>) -> Result<(), OstreeError> {
        let shared = self.shared;
        let more = self.wanted_fetchers().saturating_sub(self.fetchers).min(shared.jobs.waiting());
        for _ in 0..more {
            match thread::Builder::new().spawn_scoped(scope, move || fetcher::run(shared)) {
                Ok(_) => self.fetchers += 1,
                // A limit of the service or the system: those that there are do the work.
                Err(_) if self.fetchers > 0 => break,
                Err(error) => return Err(OstreeError::repo("starting a thread to fetch", error)),
            }
        }
        Ok(())
    }

    /// As many as bring objects a little faster than the writers take them: few for a near server, all that are
    /// allowed for a far one.
    fn wanted_fetchers(&self) -> usize {
        const FIRST: usize = 4;
        let most = self.shared.options.jobs.max(1);
        let (fetched, fetching) = self.shared.fetch_time.get();
        let (written, writing) = self.shared.write_time.get();
        // The first object of each fetcher took a connection too, so at least a second one is awaited.
        if written == 0 || fetched < 2 * self.fetchers as u64 {
            return most.min(FIRST.max(self.fetchers));
        }
        let ratio =
            (fetching.as_secs_f64() / fetched as f64) / (writing.as_secs_f64() / written as f64).max(1e-6);
        most.min(FIRST.max((ratio * writer_count() as f64 * 1.5) as usize))
    }

    fn check_stop(&self) -> Result<(), OstreeError> {
        if self.shared.options.is_stopped() { Err(OstreeError::Stopped) } else { Ok(()) }
    }

    fn tell_progress(&mut self) {
        self.progress.bytes_done = self.shared.bytes.load(Ordering::Relaxed);
        if let Some(total) = self.progress.bytes_total.as_mut() {
            // A server may have packed an object anew, into more bytes than when the commit was made.
            *total = (*total).max(self.progress.bytes_done);
        }
        (self.tell)(self.progress);
    }

    fn report(&self) -> PullReport {
        PullReport {
            delta_bytes: 0,
            objects: self.progress.objects_done,
            bytes: self.shared.bytes.load(Ordering::Relaxed),
            retries: self.shared.retries.load(Ordering::Relaxed),
            fetchers: self.fetchers,
        }
    }
}

/// Unpacking and hashing keep one processor each busy; each writer costs a sync at the end.
fn writer_count() -> usize {
    thread::available_parallelism().map_or(1, |n| n.get()).clamp(1, 4)
}
