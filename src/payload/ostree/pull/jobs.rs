//! The objects that are still to be fetched, in the order in which they are best fetched.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex};

use super::LARGE;
use super::queue::{lock, wait};
use crate::payload::ostree::object::ObjectId;

/// One object to fetch.
#[derive(Debug)]
pub struct Job {
    pub id: ObjectId,
    /// Bytes to fetch, where the commit says so.
    pub size: Option<u64>,
    /// A part of it, from this pull or one before, did not lead to the right object: begin anew.
    pub afresh: bool,
    /// How often it came and was not what its hash says.
    pub wrong: u32,
}

impl Job {
    pub fn new(id: ObjectId, size: Option<u64>) -> Job {
        Job { id, size, afresh: false, wrong: 0 }
    }
}

/// Metadata goes first, since it names what else is to be fetched. Large objects lie on the disk twice for a
/// while, so only a few of them are under way at a time, and small ones are not kept waiting by them.
#[derive(Debug)]
pub struct Jobs {
    state: Mutex<State>,
    ready: Condvar,
    permit_free: Condvar,
}

#[derive(Debug, Default)]
struct State {
    metadata: VecDeque<Job>,
    large: VecDeque<Job>,
    small: VecDeque<Job>,
    permits: usize,
    closed: bool,
}

/// Leave to have one large object under way. Given back when dropped.
#[derive(Debug)]
pub struct Permit {
    jobs: Arc<Jobs>,
}

impl Jobs {
    pub fn new(large_at_once: usize) -> Jobs {
        Jobs {
            state: Mutex::new(State { permits: large_at_once, ..State::default() }),
            ready: Condvar::new(),
            permit_free: Condvar::new(),
        }
    }

    pub fn push(&self, jobs: impl IntoIterator<Item = Job>) {
        let mut state = lock(&self.state);
        let mut count = 0;
        for job in jobs {
            count += 1;
            if job.id.is_metadata() {
                state.metadata.push_back(job);
            } else if job.size.is_some_and(|size| size > LARGE) {
                state.large.push_back(job);
            } else {
                state.small.push_back(job);
            }
        }
        drop(state);
        match count {
            0 => {}
            1 => self.ready.notify_one(),
            _ => self.ready.notify_all(),
        }
    }

    /// Waits for a job. None when the pull is over, or stops.
    pub fn pop(self: &Arc<Self>) -> Option<(Job, Option<Permit>)> {
        let mut state = lock(&self.state);
        loop {
            if state.closed {
                return None;
            }
            if let Some(job) = state.metadata.pop_front() {
                return Some((job, None));
            }
            if state.permits > 0
                && let Some(job) = state.large.pop_front()
            {
                state.permits -= 1;
                return Some((job, Some(Permit { jobs: Arc::clone(self) })));
            }
            if let Some(job) = state.small.pop_front() {
                return Some((job, None));
            }
            state = wait(&self.ready, state);
        }
    }

    /// Waits for leave to fetch an object that turned out to be large. None when the pull stops.
    pub fn permit(self: &Arc<Self>) -> Option<Permit> {
        let mut state = lock(&self.state);
        while state.permits == 0 && !state.closed {
            state = wait(&self.permit_free, state);
        }
        if state.closed {
            return None;
        }
        state.permits -= 1;
        Some(Permit { jobs: Arc::clone(self) })
    }

    /// Jobs that nobody has taken yet and somebody could.
    pub fn waiting(&self) -> usize {
        let state = lock(&self.state);
        state.metadata.len() + state.small.len() + state.large.len().min(state.permits)
    }

    /// Hands out nothing more.
    pub fn close(&self) {
        lock(&self.state).closed = true;
        self.ready.notify_all();
        self.permit_free.notify_all();
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        lock(&self.jobs.state).permits += 1;
        self.jobs.ready.notify_one();
        self.jobs.permit_free.notify_one();
    }
}
