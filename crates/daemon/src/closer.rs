//! Closes descriptors that programs sent and that aren't ours, on threads of their own.
//!
//! close(2) of somebody else's descriptor may take as long as somebody likes: a lingering socket,
//! a file on a file system that its sender serves. The event loop must not wait for that, and nor
//! must what others sent: what is on one bill is closed by one thread at a time, and until it is
//! closed it is on that bill. So who sends what can't be closed uses up his own share of the
//! descriptors, and one of the [`THREADS`].

use crate::{
    quota::{BillId, Bills},
    sandbox::Sandbox,
};
use anyhow::{Context, Result};
use std::{
    collections::{HashMap, VecDeque},
    os::fd::OwnedFd,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
        mpsc::{SyncSender, sync_channel},
    },
};

#[cfg(test)]
mod tests;

/// So many users must conspire for those of others to wait.
const THREADS: usize = 8;

#[derive(Debug)]
pub(crate) struct Closer {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    lanes: Mutex<Lanes>,
    /// There is a lane to work on, or it is over.
    work: Condvar,
    /// Something was closed.
    news: AtomicBool,
}

#[derive(Debug, Default)]
struct Lanes {
    lanes: HashMap<BillId, Lane>,
    /// Lanes that no thread works on, each once.
    ready: VecDeque<BillId>,
    /// What was closed, and is not told yet.
    closed: Vec<(BillId, usize)>,
    over: bool,
}

/// What waits on one bill.
#[derive(Debug, Default)]
struct Lane {
    waiting: Vec<OwnedFd>,
    /// It is among those that are ready, or a thread works on it.
    listed: bool,
}

impl Closer {
    /// Starts the threads, in the sandbox if there is one; they end with the value.
    pub(crate) fn start(sandbox: Option<Sandbox>) -> Result<Self> {
        let shared = Arc::<Shared>::default();
        let closer = Self { shared };
        let (report, confined) = sync_channel(THREADS);
        for _ in 0..THREADS {
            let (shared, sandbox, report) =
                (closer.shared.clone(), sandbox.clone(), report.clone());
            let work = move || work(&shared, sandbox, &report);
            std::thread::Builder::new().name("narrows-closer".into()).spawn(work)?;
        }
        for _ in 0..THREADS {
            confined.recv().context("a thread that closes descriptors has ended")??;
        }
        Ok(closer)
    }

    /// Has `descriptor` closed, some time. Until then it is on the bill of who sent it.
    pub(crate) fn close(&self, bills: &mut Bills, owner: BillId, descriptor: OwnedFd) {
        bills.descriptor_waits(owner);
        self.shared.lanes().add(owner, descriptor);
        self.shared.work.notify_one();
    }

    /// Takes what was closed off the bills; true: there was something.
    pub(crate) fn settle(&self, bills: &mut Bills) -> bool {
        if !self.shared.news.swap(false, Ordering::Relaxed) {
            return false;
        }
        let closed = std::mem::take(&mut self.shared.lanes().closed);
        closed.into_iter().for_each(|(owner, count)| bills.descriptors_closed(owner, count as u64));
        true
    }
}

impl Drop for Closer {
    /// A thread that hangs is not waited for.
    fn drop(&mut self) {
        self.shared.lanes().over = true;
        self.shared.work.notify_all();
    }
}

impl Shared {
    fn lanes(&self) -> MutexGuard<'_, Lanes> {
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for something to close; `None`: it is over.
    fn next(&self) -> Option<(BillId, Vec<OwnedFd>)> {
        let mut lanes = self.lanes();
        loop {
            if let Some(next) = lanes.take() {
                return Some(next);
            }
            if lanes.over {
                return None;
            }
            lanes = self.work.wait(lanes).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl Lanes {
    fn add(&mut self, owner: BillId, descriptor: OwnedFd) {
        let lane = self.lanes.entry(owner).or_default();
        lane.waiting.push(descriptor);
        if !std::mem::replace(&mut lane.listed, true) {
            self.ready.push_back(owner);
        }
    }

    fn take(&mut self) -> Option<(BillId, Vec<OwnedFd>)> {
        let owner = self.ready.pop_front()?;
        let lane = self.lanes.get_mut(&owner)?;
        Some((owner, std::mem::take(&mut lane.waiting)))
    }

    /// What was taken of a lane is closed.
    fn done(&mut self, owner: BillId, count: usize) {
        self.closed.push((owner, count));
        if self.lanes.get(&owner).is_some_and(|lane| !lane.waiting.is_empty()) {
            self.ready.push_back(owner);
        } else {
            self.lanes.remove(&owner);
        }
    }
}

fn work(shared: &Shared, sandbox: Option<Sandbox>, report: &SyncSender<Result<()>>) {
    let entered = sandbox.map_or(Ok(()), |sandbox| sandbox.enter().map(drop));
    let may_work = entered.is_ok();
    // Whoever started us waits for it.
    let _ = report.send(entered);
    if !may_work {
        return;
    }
    while let Some((owner, descriptors)) = shared.next() {
        let count = descriptors.len();
        drop(descriptors);
        shared.lanes().done(owner, count);
        shared.news.store(true, Ordering::Relaxed);
    }
}
