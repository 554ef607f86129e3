//! A wire in user space between two namespaces: a TAP interface in each, and between them the
//! simulation's [`Link`], in real time. What it does to a frame depends on the seed and on how many
//! came before, as in virtual time.
//!
//! The interfaces have no offloads: each read is a frame as it would be on the wire, so that a
//! loss is that of one packet.

use anyhow::{Context, Result};
use narrows_sim::{LinkSettings, link::Link};
use narrows_stack::{random::Random, time::Instant};
use narrows_sys::tun;
use narrows_testbed::Namespace;
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::{Errno, read, write},
    process::nice,
};
use std::{
    os::fd::OwnedFd,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant as Clock},
};

pub const SEED: u64 = 7;

/// The header that leads frames of a TAP; all zeros: nothing is asked for.
const VIRTIO_HEADER: usize = 10;
/// Frames read from one end before the other gets its turn.
const BATCH: usize = 64;
/// Of nice(2): before all others.
const FIRST: i32 = -20;
/// How long the wire sleeps at most, so that it sees its end.
const NAP: Duration = Duration::from_millis(20);

/// Ends on drop, and its interfaces with it.
pub struct Wire {
    ended: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<()>>>,
}

impl Wire {
    /// Makes an interface of this name in each namespace; they are down. Frames from `ends[0]` fare as
    /// `settings[0]` says.
    pub fn new(
        ends: [&Namespace; 2],
        name: &'static str,
        settings: [LinkSettings; 2],
    ) -> Result<Self> {
        let mut taps = Vec::new();
        for namespace in ends {
            let tap =
                namespace.run(|| tun::open_node().and_then(|node| tun::make_tap(node, name)))?;
            taps.push(tap.with_context(|| format!("making the TAP interface {name}"))?);
        }
        let [there, back] = settings;
        let links = [Link::new(there, random(1)), Link::new(back, random(2))];
        let ended = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&ended);
        let thread = thread::Builder::new()
            .name("wire".into())
            .spawn(move || carry(&taps, links, &seen))
            .context("starting the wire's thread")?;
        Ok(Self { ended, thread: Some(thread) })
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        if let Some(Ok(Err(error))) = self.thread.take().map(JoinHandle::join) {
            eprintln!("the wire broke: {error:#}");
        }
    }
}

fn random(way: u8) -> Random {
    let mut seed = [way; 16];
    seed[..8].copy_from_slice(&SEED.to_be_bytes());
    Random::new(seed)
}

fn carry(taps: &[OwnedFd], mut links: [Link; 2], ended: &AtomicBool) -> Result<()> {
    // A wire does not wait for a processor. Refused to who is not root: then it may, at times.
    let _refused = nice(FIRST);
    let began = Clock::now();
    let now = || Instant::from_nanos(u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX));
    let mut buffer = vec![0; 1 << 16];
    while !ended.load(Ordering::Relaxed) {
        let mut busy = false;
        for (tap, link) in taps.iter().zip(&mut links) {
            for _ in 0..BATCH {
                match read(tap, &mut buffer) {
                    Ok(len) => link.pass(now(), buffer.get(VIRTIO_HEADER..len).unwrap_or(&[])),
                    // An interface that is down gives EIO.
                    Err(Errno::AGAIN | Errno::IO) => break,
                    Err(error) => return Err(error).context("reading a frame"),
                }
                busy = true;
            }
        }
        for (tap, link) in taps.iter().rev().zip(&mut links) {
            while let Some(frame) = link.receive(now()) {
                let bytes = [&[0; VIRTIO_HEADER], &frame.bytes[..]].concat();
                match write(tap, &bytes) {
                    Ok(_) | Err(Errno::AGAIN | Errno::NOBUFS | Errno::IO) => {}
                    Err(error) => return Err(error).context("writing a frame"),
                }
            }
        }
        if busy {
            continue;
        }
        let next = links.iter().filter_map(Link::next_arrival).min();
        let wait = next.map_or(NAP, |next| next.since(now()).min(NAP));
        let mut descriptors: Vec<_> =
            taps.iter().map(|tap| PollFd::new(tap, PollFlags::IN)).collect();
        match poll(&mut descriptors, Some(&Timespec::try_from(wait)?)) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error).context("waiting for frames"),
        }
    }
    Ok(())
}
