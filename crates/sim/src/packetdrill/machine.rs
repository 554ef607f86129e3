//! The stack under test: one shard with one interface, its clock, and what it sent.

use super::{
    Fault,
    settings::{Segmentation, Settings},
};
use crate::{app::PRINCIPAL, trace::Trace};
use core::net::Ipv4Addr;
use narrows_stack::{
    Error, Instant, InterfaceId, Reply, Request, Shard, Sink, SocketId,
    request::{LinkChange, SocketInfo},
    table::{
        interface::InterfaceSettings,
        route::{Placement, Route},
    },
};
use narrows_wire::{
    address::{MacAddr, Prefix},
    ethernet::{self, EtherType},
    offload::{Capabilities, RxChecksum, RxOffload, TxOffload},
};
use std::{collections::VecDeque, path::Path};

/// Time zero of scripts: long after the stack's start, so that nothing is taken for the first ever.
pub(super) const START: Instant = Instant::from_millis(1_000_000);

pub(super) const LOCAL: Ipv4Addr = Ipv4Addr::new(192, 168, 0, 1);
pub(super) const REMOTE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const GATEWAY: Ipv4Addr = Ipv4Addr::new(192, 168, 0, 2);
const LOCAL_MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);
const GATEWAY_MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 2]);

pub(super) struct Machine {
    pub shard: Shard,
    pub now: Instant,
    interface: InterfaceId,
    /// The device takes no frames.
    stalled: bool,
    sent: VecDeque<Sent>,
    woken: Vec<SocketId>,
    trace: Option<Trace>,
}

/// An IPv4 packet that left the stack; its transport checksum may be left to the device.
#[derive(Clone, Debug)]
pub(super) struct Sent {
    pub at: Instant,
    pub bytes: Vec<u8>,
}

impl Machine {
    pub(super) fn new(
        settings: &Settings,
        mtu: u16,
        capture: Option<&Path>,
    ) -> Result<Self, Fault> {
        let wrong = |error: Error| Fault::syntax(0, format!("the stack can't be set up: {error}"));
        let mut shard = Shard::new(settings.config.clone(), [7; 16]);
        let tx_segmentation = (settings.segmentation == Segmentation::Device).then_some(65_535);
        let capabilities = Capabilities { tx_checksum: true, tx_segmentation, tx_datagrams: false };
        let (mtu, stalled) = (settings.mtu.unwrap_or(mtu), settings.stalled);
        let settings = InterfaceSettings {
            name: "tun0".into(),
            mac: LOCAL_MAC,
            mtu,
            capabilities,
            routing: Default::default(),
        };
        let mut request = |request| shard.request(START, PRINCIPAL, request).map_err(wrong);
        let Reply::Interface(interface) = request(Request::AddInterface { settings })? else {
            return Err(wrong(Error::InvalidState));
        };
        let prefix = |address: Ipv4Addr, length| {
            Prefix::new(address.into(), length).ok_or(wrong(Error::InvalidArgument))
        };
        request(Request::AddAddress { interface, prefix: prefix(LOCAL, 16)? })?;
        let (mac, address) = (GATEWAY_MAC, GATEWAY.into());
        request(Request::PinNeighbor { interface, address, mac })?;
        let to = prefix(Ipv4Addr::UNSPECIFIED, 0)?;
        let route = Route::unicast(to, interface, Some(GATEWAY));
        request(Request::AddRoute { route, placement: Placement::Alone })?;
        let trace = capture.map(Trace::create).transpose().map_err(unwritable)?;
        let (sent, woken) = (VecDeque::new(), Vec::new());
        Ok(Self { shard, now: START, interface, stalled, sent, woken, trace })
    }

    /// What the network around the stack has become.
    pub(super) fn surround(&mut self, mtu: Option<u16>, stalled: bool) -> Result<(), Fault> {
        self.stalled = stalled;
        let Some(mtu) = mtu else { return Ok(()) };
        let change = LinkChange::Mtu(mtu);
        let set = self.request(Request::SetLink { interface: self.interface, change });
        set.map(drop).map_err(|error| Fault::syntax(0, format!("MTU {mtu}: {error}")))
    }

    pub(super) fn request(&mut self, request: Request) -> Result<Reply, Error> {
        self.shard.request(self.now, PRINCIPAL, request)
    }

    pub(super) fn info(&mut self, socket: SocketId) -> Result<SocketInfo, Error> {
        match self.request(Request::Info { socket })? {
            Reply::Info(info) => Ok(*info),
            _ => Err(Error::InvalidState),
        }
    }

    /// One IPv4 packet from the network. With a `segment_size`: several segments in one.
    pub(super) fn receive(
        &mut self,
        packet: &[u8],
        segment_size: Option<u16>,
    ) -> Result<(), Fault> {
        let link = ethernet::Header {
            destination: LOCAL_MAC,
            source: GATEWAY_MAC,
            ether_type: EtherType::IPV4,
        };
        let mut header = [0; ethernet::HEADER_LEN];
        link.emit(&mut header);
        let frame = [&header, packet].concat();
        self.record(&frame)?;
        let offload = RxOffload { checksum: RxChecksum::Verified, segment_size };
        self.shard.receive(self.now, self.interface, &frame, offload);
        self.settle()
    }

    /// Lets the stack say and send all that it has to at this moment.
    pub(super) fn settle(&mut self) -> Result<(), Fault> {
        loop {
            while let Some(event) = self.shard.poll_event() {
                self.woken.push(event.socket);
            }
            let mut wire = Wire { frames: Vec::new(), stalled: self.stalled };
            let more = self.shard.loop_back(self.now)
                | self.shard.poll_transmit(self.now, self.interface, &mut wire);
            // What waits for the device waits until something else happens.
            let more = more && !self.stalled;
            let quiet = wire.frames.is_empty() && !more;
            for frame in wire.frames {
                self.record(&frame)?;
                let bytes = frame.get(ethernet::HEADER_LEN..).unwrap_or_default().to_vec();
                self.sent.push_back(Sent { at: self.now, bytes });
            }
            if quiet {
                return Ok(());
            }
        }
    }

    /// Time passes until the next timer of the stack, at most until `limit`; false: that is reached.
    pub(super) fn step(&mut self, limit: Instant) -> Result<bool, Fault> {
        let due = self.shard.next_timeout().filter(|due| *due <= limit);
        self.now = self.now.max(due.unwrap_or(limit));
        if due.is_some() {
            self.shard.handle_timeout(self.now);
            self.settle()?;
        }
        Ok(due.is_some())
    }

    /// What sockets start with (Linux: tcp_notsent_lowat).
    pub(super) fn unsent_low(&self) -> u32 {
        self.shard.config().tcp.unsent_low
    }

    /// Whose sockets became something since the last call.
    pub(super) fn take_woken(&mut self) -> Vec<SocketId> {
        core::mem::take(&mut self.woken)
    }

    pub(super) fn take_sent(&mut self) -> Option<Sent> {
        self.sent.pop_front()
    }

    /// A packet that was taken too early.
    pub(super) fn put_back(&mut self, sent: Sent) {
        self.sent.push_front(sent);
    }

    fn record(&mut self, frame: &[u8]) -> Result<(), Fault> {
        match &mut self.trace {
            Some(trace) => trace.record(self.now, frame).map_err(unwritable),
            None => Ok(()),
        }
    }
}

fn unwritable(error: std::io::Error) -> Fault {
    Fault::syntax(0, format!("the capture can't be written: {error}"))
}

struct Wire {
    frames: Vec<Vec<u8>>,
    stalled: bool,
}

impl Sink for Wire {
    fn has_room(&self) -> bool {
        !self.stalled
    }

    fn send(&mut self, _offload: TxOffload, header: &[u8], payload: [&[u8]; 2]) {
        self.frames.push([header, payload[0], payload[1]].concat());
    }
}
