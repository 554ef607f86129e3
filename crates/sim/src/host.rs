//! A shard, its device, and the programs on it.

use crate::{app::PRINCIPAL, invariant::Broken, link::Link, observer::Observer, trace::Trace};
use core::net::{IpAddr, Ipv4Addr, SocketAddr};
use narrows_stack::{
    Config, Error, Instant, InterfaceId, Reply, Request, Shard, Sink, SocketId,
    table::interface::InterfaceSettings,
};
use narrows_wire::{
    address::{MacAddr, Prefix},
    offload::TxOffload,
};
use std::collections::BTreeMap;

/// What a socket belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    Listener,
    /// An index of the world's programs.
    Program(usize),
}

pub struct Host {
    pub name: String,
    pub shard: Shard,
    pub interface: InterfaceId,
    pub address: Ipv4Addr,
    pub owners: BTreeMap<SocketId, Owner>,
    /// Something happened: it is the host's turn.
    pub dirty: bool,
}

impl Host {
    /// The host of number `index`, at 10.77.0.(index + 1), behind `link`.
    pub fn new(index: usize, config: Config, seed: u64, link: &Link) -> Result<Self, Error> {
        let mut key = [0; 16];
        key[..8].copy_from_slice(&seed.to_le_bytes());
        key[8..].copy_from_slice(&(index as u64).to_le_bytes());
        let mut shard = Shard::new(config, key);
        let number = index as u8 + 1;
        let settings = InterfaceSettings {
            name: "sim0".to_owned(),
            mac: MacAddr([2, 0, 0x0a, 0x4d, 0, number]),
            mtu: link.settings.mtu,
            capabilities: link.settings.offload.capabilities(),
            routing: Default::default(),
        };
        let now = Instant::ZERO;
        let reply = shard.request(now, PRINCIPAL, Request::AddInterface { settings })?;
        let Reply::Interface(interface) = reply else { return Err(Error::InvalidState) };
        let address = Ipv4Addr::new(10, 77, 0, number);
        let prefix = Prefix::new(address.into(), 24).ok_or(Error::InvalidArgument)?;
        shard.request(now, PRINCIPAL, Request::AddAddress { interface, prefix })?;
        let name = format!("host {index}");
        Ok(Self { name, shard, interface, address, owners: BTreeMap::new(), dirty: true })
    }

    pub fn request(&mut self, now: Instant, request: Request) -> Result<Reply, Error> {
        self.dirty = true;
        self.shard.request(now, PRINCIPAL, request)
    }

    /// A new TCP socket.
    pub fn open(&mut self, now: Instant, owner: Owner) -> Result<SocketId, Error> {
        match self.request(now, Request::OpenTcp)? {
            Reply::Socket(socket) => {
                self.owners.insert(socket, owner);
                Ok(socket)
            }
            _ => Err(Error::InvalidState),
        }
    }

    pub fn listen(&mut self, now: Instant, port: u16, backlog: u32) -> Result<SocketId, Error> {
        let socket = self.open(now, Owner::Listener)?;
        let local = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), port);
        self.request(now, Request::Bind { socket, local })?;
        self.request(now, Request::Listen { socket, backlog })?;
        Ok(socket)
    }

    /// The address that the engine chose for a socket.
    pub fn local(&mut self, now: Instant, socket: SocketId) -> Result<SocketAddr, Error> {
        match self.shard.request(now, PRINCIPAL, Request::Info { socket })? {
            Reply::Info(info) => Ok(info.local),
            _ => Err(Error::InvalidState),
        }
    }
}

/// The host's device: passes frames to the link, by the observer and the trace.
pub struct Device<'a> {
    pub now: Instant,
    pub link: &'a mut Link,
    pub observer: &'a mut Observer,
    pub trace: Option<&'a mut Trace>,
    /// Frames that the link took, this turn.
    pub sent: usize,
    pub broken: Option<Broken>,
}

impl Sink for Device<'_> {
    fn has_room(&self) -> bool {
        self.broken.is_none() && self.link.has_room(self.now)
    }

    fn send(&mut self, offload: TxOffload, header: &[u8], payload: [&[u8]; 2]) {
        let bytes = [header, payload[0], payload[1]].concat();
        self.sent += 1;
        if let Some(trace) = &mut self.trace
            && let Err(error) = trace.record(self.now, &bytes)
        {
            self.broken = Some(Broken(format!("trace: {error}")));
        }
        let observed = self.observer.sent(&bytes, offload);
        let carried = observed.and_then(|()| self.link.send(self.now, bytes, offload));
        if let Err(broken) = carried {
            self.broken = Some(broken);
        }
    }
}
