//! The thread that leads a pull.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::thread::{self, Scope};
use std::time::Duration;

use super::alone::Alone;
use super::delta::{self, Missing, Taken};
use super::fetcher::{self, Body, Fetched};
use super::jobs::{Job, Jobs};
use super::queue::Queue;
use super::shared::{Event, Parts, Shared, Spent, limit_of, remove_parts};
use super::transaction::{Transaction, recover};
use super::writer::{explain, put_metadata};
use super::{LARGE_AT_ONCE, Progress, PullOptions, PullReport, QUEUED, writer};
use crate::payload::ostree::ahead::require_boot;
use crate::payload::ostree::error::OstreeError;
use crate::payload::ostree::loose;
use crate::payload::ostree::object::{ObjectId, ObjectKind};
use crate::payload::ostree::parse::{self, ObjectSize};
use crate::payload::ostree::plan::{Walk, figures, missing, read_commit, total};
use crate::payload::ostree::source::ObjectSource;
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
    match pull_once(sysroot, source, commit, options, progress) {
        // What the repository holds is no help where /boot is too small, and would be fetched again at the next try.
        Err(error) if error.is_full(&sysroot.repo_path()?) && sysroot.make_room(id)? => {
            pull_once(sysroot, source, commit, options, progress)
        }
        done => done,
    }
}

fn pull_once(
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
    let space = Space::new(&repo, &repo_path, options.reserved_percent)?;
    let alone = Alone { source, options, space: &space, repo_path: &repo_path };
    let begun = sysroot.is_partial(commit)?;
    if space.require(1).is_err() {
        // What can be fetched again goes before anything is written.
        remove_parts(&repo_path);
    }
    recover(&repo, &repo_path)?;
    delta::clean(&repo_path);
    restore(sysroot, &repo, &alone)?;
    if sysroot.repo_has(commit)? && Walk::default().visit(&repo_path, vec![id])?.is_empty() {
        remove_parts(&repo_path);
        sysroot.keep(commit)?;
        return Ok(PullReport::default());
    }
    let mut start = Start::new(sysroot, &alone, id, begun)?;
    sysroot.mark_partial(commit, true)?;
    let taken = if options.deltas {
        let place = delta::Place { sysroot, repo_path: &repo_path, source, space: &space, options };
        place.take_delta(commit, start.sizes())?
    } else {
        Taken::default()
    };
    if taken.bytes > 0 {
        start = Start::new(sysroot, &alone, id, true)?;
    }
    if loose::is_there(&repo_path, id) {
        sysroot.keep(commit)?;
    }
    let report = start.run(&alone, progress)?;
    sysroot.mark_partial(commit, false)?;
    Ok(PullReport { delta_bytes: taken.bytes, delta_trouble: taken.trouble, ..report })
}

/// What a power cut took of the running system's metadata, and of other deployments', comes from the server if it has it:
/// libostree reads these commits whenever it writes deployments.
fn restore(sysroot: &Sysroot, repo: &::ostree::Repo, alone: &Alone<'_>) -> Result<(), OstreeError> {
    // What came names more that may be lost too.
    const MOST_ROUNDS: usize = 64;
    for _ in 0..MOST_ROUNDS {
        let lost = sysroot.mend_deployed()?;
        let transaction = Transaction::begin(repo)?;
        let mut came = 0;
        for id in lost {
            let put = |bytes| {
                let value = parse::metadata_of(id, bytes);
                put_metadata(repo, id, &value, |e| explain(alone.space, id, e))
            };
            match alone.fetch(id).and_then(put) {
                Ok(()) => came += 1,
                Err(OstreeError::Stopped) => return Err(OstreeError::Stopped),
                Err(error) => log::warn!("{error}; it is of a deployment, whose commit stays incomplete"),
            }
        }
        transaction.commit()?;
        if came == 0 {
            break;
        }
    }
    Ok(())
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
    /// `begun`: an earlier pull began with this commit, so that parts may belong to it.
    fn new(sysroot: &Sysroot, alone: &Alone<'_>, id: ObjectId, begun: bool) -> Result<Start, OstreeError> {
        let Alone { space, options, repo_path, .. } = *alone;
        let present = read_commit(repo_path, id)?;
        let fetched = if present.is_none() { Some(alone.fetch(id)?) } else { None };
        let parsed = parse::commit(id, present.as_deref().or(fetched.as_deref()).unwrap_or_default())?;
        if !begun {
            sysroot.require_mergeable(alone, parsed.root[0])?;
        }
        let mut parts = Parts::find(repo_path);
        let new = fetched.as_ref().map_or(0, |bytes| bytes.len() as u64);
        let mut progress = Progress { bytes_done: new, ..Progress::default() };
        progress.objects_total = u64::from(new > 0);
        let mut known = None;
        match parsed.sizes {
            Some(listed) => {
                // The deployment has each folder anew, some more than once; its files are links.
                let folders = listed.iter().filter(|o| o.id.kind == ObjectKind::DirTree).count() as u64;
                let missing = missing(repo_path, listed);
                let by_id: HashMap<_, _> = missing.iter().map(|o| (o.id, o)).collect();
                parts.keep_only(|id| by_id.get(id).map(|o| limit_of(options.limits.of(id), Some(o))));
                let sizes = figures(&missing, space, options)?;
                let on_disk = parts.bytes_of(missing.iter().map(|o| o.id));
                space.require(sizes.needed.saturating_sub(on_disk))?;
                space.require_files(sizes.objects.saturating_add(folders))?;
                require_boot(sysroot, alone, parsed.root[0], &by_id)?;
                progress.objects_total += sizes.objects;
                progress.bytes_total = Some(sizes.download.saturating_add(new));
                known = Some(missing.into_iter().map(|o| (o.id, o)).collect());
            }
            None => {
                parts.keep_only(|id| begun.then(|| options.limits.of(id)));
                space.require(1)?;
                space.require_files(1)?;
                require_boot(sysroot, alone, parsed.root[0], &HashMap::new())?;
            }
        }
        Ok(Start { id, commit: fetched, root: parsed.root, missing: known, progress, parts })
    }

    /// Bytes of the missing objects, if the commit has sizes.
    fn sizes(&self) -> Option<Missing> {
        let missing = self.missing.as_ref()?;
        let archived = total(missing.values().map(|object| object.archived));
        Some(Missing { archived, unpacked: total(missing.values().map(|object| object.unpacked)) })
    }

    fn run(self, alone: &Alone<'_>, tell: &mut dyn FnMut(Progress)) -> Result<PullReport, OstreeError> {
        let Alone { source, options, space, repo_path } = *alone;
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
            heavy: Mutex::new(()),
            stop: AtomicBool::new(false),
        };
        let mut leader = Leader {
            shared: &shared,
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
            let job = Job::new(id, None);
            // The queue is empty and open, so this neither waits nor fails.
            let _ = self.shared.fetched.push(Fetched { job, body: Body::Memory(bytes) });
        }
        self.want(root.to_vec())
    }

    fn want(&mut self, ids: Vec<ObjectId>) -> Result<(), OstreeError> {
        let wanted = self.walk.visit(self.shared.repo_path, ids)?;
        self.outstanding += wanted.len() as u64;
        self.discovered += wanted.len() as u64;
        self.progress.objects_total = self.progress.objects_total.max(self.discovered);
        let size = |id: &ObjectId| self.shared.sizes.get(id).map(|size| size.archived);
        self.shared.jobs.push(wanted.into_iter().map(|id| Job::new(id, size(&id))));
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
            delta_trouble: None,
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
