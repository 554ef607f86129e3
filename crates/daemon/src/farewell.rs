//! The end of the daemon, in order: connections are reset, so that no peer waits for who is gone, and
//! leases given back.

use crate::{event_loop, worker::Worker};
use mio::Poll;
use narrows_stack::request::Request;
use std::{io, time::Duration};

/// How long servers may take to be found on the link.
const PATIENCE: Duration = Duration::from_millis(500);

pub(crate) fn say(worker: &mut Worker, poll: &mut Poll) -> io::Result<()> {
    let now = worker.clock.now();
    let sockets: Vec<_> = worker.shard.sockets(now).filter_map(|info| info.id).collect();
    for socket in sockets {
        worker.request_quietly(Request::Abort { socket });
    }
    if worker.source.configuration.dhcp.release {
        worker.shard.release_leases(now);
    }
    worker.serve_devices();
    let deadline = now + PATIENCE;
    while worker.shard.waits_for_neighbors() && worker.clock.now() < deadline {
        event_loop::wait_for_devices(worker, poll, deadline)?;
        worker.serve_devices();
    }
    Ok(())
}
