//! Wires that are cut, and joined again: the engine is told of each device's.

use crate::{attachment::Attachment, token};
use mio::{Interest, Registry, unix::SourceFd};
use narrows_device::{Monitor, link};
use narrows_stack::{
    Instant, Shard,
    request::{LinkChange, Principal, Request},
};
use std::{
    io,
    os::fd::{AsFd, AsRawFd},
};

pub(crate) struct Carriers {
    monitor: Monitor,
}

impl Carriers {
    /// The kernel tells of changes from now on.
    pub(crate) fn watch(registry: &Registry) -> io::Result<Self> {
        let monitor = Monitor::open()?;
        let raw = monitor.as_fd().as_raw_fd();
        registry.register(&mut SourceFd(&raw), token::LINKS, Interest::READABLE)?;
        Ok(Self { monitor })
    }

    /// Looks how the interfaces of the devices are, and tells the engine what is new.
    pub(crate) fn note(&mut self, shard: &mut Shard, attachments: &[Attachment], now: Instant) {
        // First, so that what happens while we look is told again.
        self.monitor.drain();
        let links = match link::list() {
            Ok(links) => links,
            Err(error) => return tracing::warn!(%error, "can't list the kernel's interfaces"),
        };
        for attachment in attachments {
            let name = attachment.device.name();
            let carrier = links.iter().any(|link| link.name == name && link.carrier);
            let interface = attachment.interface;
            let known = shard.links().get(interface).is_some_and(|link| link.carrier);
            if known == carrier {
                continue;
            }
            tracing::info!(
                device = name,
                "{}",
                if carrier { "link is up" } else { "link is down" }
            );
            let change = LinkChange::Carrier(carrier);
            let request = Request::SetLink { interface, change };
            if let Err(error) = shard.request(now, Principal::default(), request) {
                tracing::warn!(device = name, %error, "telling of the link");
            }
        }
    }
}
