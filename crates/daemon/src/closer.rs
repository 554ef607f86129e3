//! Closes descriptors that programs sent and that aren't ours, on a thread of its own.
//!
//! close(2) of somebody else's descriptor may take as long as somebody likes: a lingering socket,
//! a file on a file system that its sender serves. The event loop must not wait for that.

use crate::sandbox::Sandbox;
use anyhow::{Context, Result};
use std::{
    os::fd::{IntoRawFd, OwnedFd},
    sync::mpsc::{SyncSender, TrySendError, sync_channel},
};

/// Descriptors that may wait to be closed.
const QUEUE: usize = 1024;

#[derive(Debug)]
pub(crate) struct Closer {
    queue: SyncSender<OwnedFd>,
}

impl Closer {
    /// Starts the thread, in the sandbox if there is one; it ends with the value.
    pub(crate) fn start(sandbox: Option<Sandbox>) -> Result<Self> {
        let (queue, waiting) = sync_channel::<OwnedFd>(QUEUE);
        let (report, confined) = sync_channel(1);
        let work = move || {
            let entered = sandbox.map_or(Ok(()), |sandbox| sandbox.enter().map(drop));
            let may_work = entered.is_ok();
            // Whoever started us waits for it.
            let _ = report.send(entered);
            if may_work {
                waiting.into_iter().for_each(drop);
            }
        };
        std::thread::Builder::new().name("narrows-closer".into()).spawn(work)?;
        confined.recv().context("the thread that closes descriptors has ended")??;
        Ok(Self { queue })
    }

    /// Has `descriptor` closed, some time. When the thread is stuck and the queue full, it stays
    /// open: a descriptor lost hurts less than a daemon that stands still.
    pub(crate) fn close(&self, descriptor: OwnedFd) {
        match self.queue.try_send(descriptor) {
            Ok(()) => {}
            Err(TrySendError::Full(descriptor) | TrySendError::Disconnected(descriptor)) => {
                tracing::warn!("a foreign descriptor is left open: closing the ones before hangs");
                let _ = descriptor.into_raw_fd();
            }
        }
    }
}
