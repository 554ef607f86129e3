//! A device and the engine's interface that it carries frames for.

use crate::token;
use anyhow::Context;
use mio::{Interest, Registry, unix::SourceFd};
use narrows_device::{Device, DeviceSpec, Guard, Wanted, link};
use narrows_stack::{Instant, InterfaceId, Shard, Sink, table::route::HostModel};
use narrows_wire::{
    address::{MacAddr, Prefix},
    offload::TxOffload,
};
use std::{
    io,
    net::{IpAddr, Ipv4Addr},
    os::fd::{AsFd, AsRawFd},
};

/// Frames received in one turn from one device: one batch of system calls.
const RECEIVE_BATCH: usize = 32;

/// Batches taken from a device in one turn, before programs get theirs.
const TURN_BATCHES: usize = 4;

pub(crate) struct Attachment {
    pub spec: DeviceSpec,
    pub device: Device,
    pub interface: InterfaceId,
    /// Names it for events; never given twice.
    pub serial: usize,
    /// Keeps the kernel's stack off our addresses; a TAP has no such stack.
    guard: Option<Guard>,
    /// The addresses that device and guard know, and the engine's revision when that was looked at.
    told: Option<Wanted>,
    revision: Option<u32>,
    /// Frames may be waiting.
    readable: bool,
    /// Does the kernel tell us when the device becomes writable? Only while frames wait for it:
    /// otherwise each frame that left would wake us.
    watches_writable: bool,
    /// The interface's queue is full, which its descriptor does not tell.
    retry_at: Option<Instant>,
    /// The last call failed: said once, until one succeeds.
    failing: bool,
}

impl Attachment {
    pub(crate) fn new(
        registry: &Registry,
        serial: usize,
        spec: DeviceSpec,
        device: Device,
        interface: InterfaceId,
    ) -> io::Result<Self> {
        let raw = device.descriptor().as_raw_fd();
        registry.register(&mut SourceFd(&raw), token::device(serial), Interest::READABLE)?;
        Ok(Self {
            spec,
            device,
            interface,
            serial,
            guard: None,
            told: None,
            revision: None,
            readable: true,
            watches_writable: false,
            retry_at: None,
            failing: false,
        })
    }

    /// Tells the device what to receive for its interface and those that stand upon it, and keeps the
    /// kernel off their addresses and no others, if that has changed since it was last done.
    pub(crate) fn renew(&mut self, shard: &Shard) -> anyhow::Result<()> {
        if self.revision.replace(shard.interfaces_revision()) == Some(shard.interfaces_revision()) {
            return Ok(());
        }
        let wanted = wanted(shard, self.interface)?;
        if self.told.as_ref() == Some(&wanted) {
            return Ok(());
        }
        self.device.want(&wanted).context("telling the device what to receive")?;
        let addresses_changed = self.told.as_ref().is_none_or(|told| {
            (&told.addresses, &told.forwards_but) != (&wanted.addresses, &wanted.forwards_but)
        });
        if let DeviceSpec::Packet(name) = &self.spec
            && addresses_changed
        {
            // The new one is there before the old one goes.
            let addresses = wanted.addresses.as_deref().unwrap_or_default();
            self.guard = Some(match &wanted.forwards_but {
                Some(kernels) => Guard::of_router(name, addresses, kernels)?,
                None => Guard::new(name, addresses)?,
            });
        }
        self.told = Some(wanted);
        Ok(())
    }

    /// The device is about to be closed.
    pub(crate) fn forget(&mut self, registry: &Registry) {
        let raw = self.device.descriptor().as_raw_fd();
        if let Err(error) = registry.deregister(&mut SourceFd(&raw)) {
            tracing::warn!(device = self.device.name(), %error, "can't let go of the device");
        }
    }

    /// Did the last calls succeed? A device fails while the kernel's interface is down.
    pub(crate) fn is_up(&self) -> bool {
        !self.failing
    }

    /// The descriptor became readable, or writable.
    pub(crate) fn note(&mut self) {
        self.readable = true;
    }

    /// Hands waiting frames to the engine until none waits, or it was many; true: more may be
    /// waiting.
    ///
    /// Until none waits: what arrives while one batch is looked at goes to programs in one piece
    /// with it, which wakes them once.
    ///
    /// What only passes through goes to its device, one of `others`, from where it is.
    pub(crate) fn receive(
        &mut self,
        shard: &mut Shard,
        now: Instant,
        others: &mut Others<'_>,
    ) -> bool {
        if !self.readable {
            return false;
        }
        let interface = self.interface;
        for _ in 0..TURN_BATCHES {
            let mut pass = |to, offload: TxOffload, headers: &[u8], payload: &[u8]| {
                others.send(to, offload, headers, payload)
            };
            let result = self.device.receive(RECEIVE_BATCH, |frame, offload| {
                shard.receive_in_burst(now, interface, frame, offload, &mut pass);
            });
            shard.end_burst(now, pass);
            let received = result.as_ref().copied().unwrap_or_default();
            self.readable = received.more;
            self.report(result.map(drop), "receive");
            // After a lone frame nothing is on its way; after several more may be already.
            if received.frames < 2 {
                break;
            }
        }
        self.readable
    }

    /// Gives the device what the engine has to send; true: the engine has more, and the device
    /// room for it.
    pub(crate) fn transmit(&mut self, shard: &mut Shard, now: Instant) -> bool {
        let mut sink = DeviceSink(&mut self.device);
        let more = shard.poll_transmit(now, self.interface, &mut sink);
        let result = self.device.flush();
        self.report(result, "send");
        self.retry_at = self.device.retry_after().map(|delay| now + delay);
        more && self.device.has_room()
    }

    /// When to transmit again if the descriptor says nothing.
    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        self.retry_at
    }

    /// Asks for word of writability while frames wait for it, and only then.
    pub(crate) fn watch(&mut self, registry: &Registry) -> io::Result<()> {
        let wanted = !self.device.has_room() && self.device.retry_after().is_none();
        if wanted == self.watches_writable {
            return Ok(());
        }
        let interest =
            if wanted { Interest::READABLE | Interest::WRITABLE } else { Interest::READABLE };
        let raw = self.device.descriptor().as_fd().as_raw_fd();
        registry.reregister(&mut SourceFd(&raw), token::device(self.serial), interest)?;
        self.watches_writable = wanted;
        Ok(())
    }

    fn report(&mut self, result: io::Result<()>, what: &str) {
        match result {
            Ok(()) => self.failing = false,
            Err(error) if !self.failing => {
                tracing::warn!(device = self.device.name(), %error, "can't {what}");
                self.failing = true;
            }
            Err(_) => {}
        }
    }
}

/// The kernel's own addresses: what is for them is not ours to forward.
fn kernels_addresses(ours: &[Ipv4Addr]) -> anyhow::Result<Vec<Ipv4Addr>> {
    let links = link::list().context("can't list the kernel's interfaces")?;
    let addresses = links.iter().flat_map(|link| &link.addresses);
    let kernels = addresses.map(|(address, _)| *address);
    Ok(kernels.filter(|address| !ours.contains(address)).collect())
}

/// What a device is to receive for its interface and those that stand upon it.
fn wanted(shard: &Shard, device: InterfaceId) -> anyhow::Result<Wanted> {
    let links = shard.links();
    let above = links.at_and_above(device);
    let stations = || above.iter().filter_map(|id| shard.interface(*id));
    let v4 = |prefix: &Prefix| match prefix.address() {
        IpAddr::V4(address) => Some(address),
        IpAddr::V6(_) => None,
    };
    // A weak host takes what is for any of its addresses wherever it comes in.
    let weak = stations().any(|station| station.settings.routing.host_model == HostModel::Weak);
    let addresses: Vec<Ipv4Addr> = shard
        .interfaces()
        .filter(|(id, _)| *id != InterfaceId::LOOPBACK && (weak || above.contains(id)))
        .flat_map(|(_, station)| &station.addresses)
        .filter_map(v4)
        .collect();
    let mut macs: Vec<_> = stations().map(|station| station.settings.mac).collect();
    macs.sort_unstable();
    macs.dedup();
    let mut groups: Vec<_> = above
        .iter()
        .flat_map(|id| shard.groups(*id))
        .map(|(group, ..)| MacAddr::of_group(group))
        .chain(stations().flat_map(|station| station.multicast.iter().copied()))
        .collect();
    groups.sort_unstable();
    groups.dedup();
    // Of a tag in a tag the device sees the outer one.
    let direct =
        above.iter().filter(|id| **id == device || links.members(**id).any(|m| m == device));
    let tags = direct.filter_map(|id| links.get(*id)).flat_map(|link| link.vlans.keys());
    let everything = above.iter().filter_map(|id| links.get(*id));
    let forwards = stations().any(|station| station.settings.routing.forward);
    let forwards_but = match forwards {
        true => Some(kernels_addresses(&addresses)?),
        false => None,
    };
    // A router's packet socket sees what the router does: not what is for the kernel's own addresses,
    // which would be forwarded.
    let watched = !forwards && above.iter().any(|id| shard.is_watched(*id));
    Ok(Wanted {
        addresses: Some(addresses),
        forwards_but,
        vlans: tags.map(|tag| tag.id).collect(),
        stations: macs,
        groups,
        everything: watched
            || everything.into_iter().any(|link| link.promiscuous || link.bridge().is_some()),
    })
}

/// The attachments but for one.
pub(crate) struct Others<'a> {
    before: &'a mut [Attachment],
    behind: &'a mut [Attachment],
}

impl<'a> Others<'a> {
    /// One of them, and the others.
    pub(crate) fn than(
        attachments: &'a mut [Attachment],
        index: usize,
    ) -> Option<(&'a mut Attachment, Self)> {
        let (before, rest) = attachments.split_at_mut_checked(index)?;
        let (one, behind) = rest.split_first_mut()?;
        Some((one, Self { before, behind }))
    }

    /// False: the interface's device has no room, or is not one of these.
    fn send(
        &mut self,
        interface: InterfaceId,
        offload: TxOffload,
        headers: &[u8],
        payload: &[u8],
    ) -> bool {
        let mut all = self.before.iter_mut().chain(self.behind.iter_mut());
        let attachment = all.find(|attachment| attachment.interface == interface);
        let Some(attachment) = attachment.filter(|found| found.device.has_room()) else {
            return false;
        };
        attachment.device.send(offload, headers, [payload, &[]]);
        true
    }
}

struct DeviceSink<'a>(&'a mut Device);

impl Sink for DeviceSink<'_> {
    fn has_room(&self) -> bool {
        self.0.has_room()
    }

    fn send(&mut self, offload: TxOffload, header: &[u8], payload: [&[u8]; 2]) {
        self.0.send(offload, header, payload);
    }
}
