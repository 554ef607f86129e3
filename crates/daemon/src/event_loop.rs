//! The event loop: waits, notes what became ready, and gives the worker its turn.

use crate::{
    cut_through, inspecting,
    spin::{self, Spin},
    token::{self, Source},
    watching,
    worker::Worker,
};
use mio::{Events, Poll, event::Event};
use narrows_stack::Instant;
use std::{io, time::Duration};

/// Events taken from the kernel at once.
const EVENTS: usize = 1024;

/// How long the daemon has its processor while there is work, before it lets programs that wait for the
/// same one go first. It goes before them otherwise (`[daemon] nice`), and those that flood it would
/// have it keep others' programs from running.
const TURNS: Duration = Duration::from_millis(1);

/// Runs until a signal or a program asks the daemon to end.
pub(crate) fn run(worker: &mut Worker, poll: &mut Poll) -> io::Result<()> {
    let mut events = Events::with_capacity(EVENTS);
    let mut spin = Spin::default();
    let mut more = true;
    let mut running_since = worker.clock.now();
    while !worker.stopping {
        if more {
            if worker.clock.now().since(running_since) >= TURNS {
                rustix::thread::sched_yield();
                running_since = worker.clock.now();
            }
            wait(poll, &mut events, Some(Duration::ZERO))?;
        } else {
            idle(worker, poll, &mut events, &mut spin)?;
            running_since = worker.clock.now();
        }
        for event in &events {
            dispatch(worker, event);
        }
        more = worker.turn();
    }
    Ok(())
}

/// Every source of events.
pub(crate) fn dispatch(worker: &mut Worker, event: &Event) {
    match token::source(event.token()) {
        Source::Signal => worker.stopping = true,
        Source::Listener => worker.listener_ready(),
        Source::Links => worker.links_changed(),
        Source::Device(serial) => worker.device_ready(serial),
        Source::Session(token) => worker.queue_session(token),
        Source::Anchor(token) => worker.anchor_ready(token, event),
        Source::Cut(token) => cut_through::look(worker, token),
        Source::Watch(token) => watching::ready(worker, token, event),
        Source::Inspector(token) => inspecting::ready(worker, token, event),
    }
}

/// Waits for a device to be ready, or until something is due.
pub(crate) fn wait_for_devices(
    worker: &mut Worker,
    poll: &mut Poll,
    deadline: Instant,
) -> io::Result<()> {
    let mut events = Events::with_capacity(EVENTS);
    let until = worker.next_timeout().map_or(deadline, |at| at.min(deadline));
    wait(poll, &mut events, Some(until.since(worker.clock.now())))?;
    for event in &events {
        if let Source::Device(serial) = token::source(event.token()) {
            worker.device_ready(serial);
        }
    }
    Ok(())
}

/// Nothing is left to do: polls for a moment where that pays, then sleeps.
fn idle(
    worker: &mut Worker,
    poll: &mut Poll,
    events: &mut Events,
    spin: &mut Spin,
) -> io::Result<()> {
    let start = worker.clock.now();
    let deadline = worker.next_timeout();
    if spin.is_worthwhile() {
        let limit = deadline.map_or(start + spin::LIMIT, |at| at.min(start + spin::LIMIT));
        loop {
            wait(poll, events, Some(Duration::ZERO))?;
            let now = worker.clock.now();
            if !events.is_empty() || now >= limit {
                break;
            }
            rustix::thread::sched_yield();
        }
    }
    if events.is_empty() {
        worker.metrics.sleeps += 1;
        let now = worker.clock.now();
        wait(poll, events, deadline.map(|at| at.since(now)))?;
    }
    spin.waited(worker.clock.now().since(start));
    Ok(())
}

/// As poll(2); a signal's interruption is no event.
fn wait(poll: &mut Poll, events: &mut Events, timeout: Option<Duration>) -> io::Result<()> {
    match poll.poll(events, timeout) {
        Err(error) if error.kind() == io::ErrorKind::Interrupted => {
            events.clear();
            Ok(())
        }
        other => other,
    }
}
