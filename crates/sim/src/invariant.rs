//! What must be true of every frame that a host sends, of a host at any time, and of a world at its
//! end. (That bytes are right and in order each program checks for itself: see [`app`](crate::app).)

use crate::{host::Host, link::LinkSettings};
use core::fmt;
use narrows_stack::{
    Instant,
    tcp::{congestion::Algorithm, ecn::Feedback, info::Repair},
};
use narrows_wire::{
    arp,
    checksum::Sum,
    ethernet::{self, EtherType},
    icmpv4,
    ipv4::{self, Protocol},
    offload::TxOffload,
    tcp::Segment,
    udp,
};

/// What was found to be false.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken(pub String);

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Fails with a message unless the condition holds.
macro_rules! holds {
    ($condition:expr, $($message:tt)+) => {
        if !$condition {
            return Err(Broken(format!($($message)+)));
        }
    };
}
pub(crate) use holds;

/// A frame as the host gave it to its device: whole, right, and no longer than the device takes.
pub fn check_frame(bytes: &[u8], offload: TxOffload, link: &LinkSettings) -> Result<(), Broken> {
    let parsed = ethernet::Header::parse(bytes);
    let (header, payload) = parsed.map_err(|error| Broken(format!("frame: {error}")))?;
    let able = link.offload.capabilities();
    holds!(able.tx_checksum || offload.checksum.is_none(), "asks for a checksum in vain");
    holds!(able.tx_segmentation.is_some() || offload.segmentation.is_none(), "asks to cut in vain");
    holds!(header.source.is_unicast(), "sent from {}", header.source);
    match (header.ether_type, offload.segmentation) {
        (EtherType::ARP, _) => {
            arp::Packet::parse(payload).map_err(|error| Broken(format!("ARP: {error}")))?;
            Ok(())
        }
        (EtherType::IPV4, None) => {
            let mtu = usize::from(link.mtu);
            holds!(payload.len() <= mtu, "a packet of {} bytes, MTU {mtu}", payload.len());
            check_packet(payload, offload)
        }
        (EtherType::IPV4, Some(segmentation)) => {
            let headers = usize::from(segmentation.header_len);
            let longest = headers + usize::from(segmentation.segment_size);
            let mtu = usize::from(link.mtu) + ethernet::HEADER_LEN;
            holds!(longest <= mtu, "segments make frames of {longest} bytes, MTU {mtu}");
            holds!(payload.len() <= 65_535, "a packet of {} bytes", payload.len());
            holds!(bytes.len() > longest, "nothing to cut: {} bytes", bytes.len());
            check_packet(payload, offload)
        }
        (other, _) => Err(Broken(format!("ether type {:#06x}", other.0))),
    }
}

fn check_packet(bytes: &[u8], offload: TxOffload) -> Result<(), Broken> {
    let packet = ipv4::Packet::parse(bytes).map_err(|error| Broken(format!("IPv4: {error}")))?;
    let len = packet.header_bytes.len() + packet.payload.len();
    holds!(len == bytes.len(), "IPv4: {} bytes follow the packet", bytes.len() - len);
    if packet.header.is_fragment() {
        return Ok(());
    }
    let payload = packet.payload;
    let (source, destination) = (packet.header.source, packet.header.destination);
    let protocol = packet.header.protocol;
    let pseudo = Sum::pseudo_header(source, destination, protocol.0, payload.len() as u16);
    match protocol {
        Protocol::TCP => {
            let segment = Segment::parse(payload);
            let segment = segment.map_err(|error| Broken(format!("TCP: {error}")))?;
            let headers = bytes.len() - segment.payload.len() + ethernet::HEADER_LEN;
            let cut_at = offload.segmentation.map(|segmentation| segmentation.header_len.into());
            holds!(cut_at.unwrap_or(headers) == headers, "headers end at {headers}: {cut_at:?}");
            let sum = match offload.checksum {
                Some(_) => {
                    payload.get(16..18).is_some_and(|sum| sum == pseudo.fold().to_be_bytes())
                }
                None => pseudo.add(Sum::of(payload)).finish() == 0,
            };
            holds!(sum, "TCP: bad checksum");
        }
        Protocol::UDP => {
            udp::Header::parse(payload).map_err(|error| Broken(format!("UDP: {error}")))?;
            holds!(pseudo.add(Sum::of(payload)).finish() == 0, "UDP: bad checksum");
        }
        Protocol::ICMP => {
            icmpv4::Header::parse(payload).map_err(|error| Broken(format!("ICMP: {error}")))?;
        }
        Protocol(other) => return Err(Broken(format!("protocol {other}"))),
    }
    Ok(())
}

/// Memory is bounded by the connections there are.
pub fn check_host(host: &Host, now: Instant) -> Result<(), Broken> {
    let mut most = 0;
    for info in host.shard.sockets(now).filter(|info| info.tcp.is_some()) {
        let limits =
            info.settings.map_or((0, 0), |settings| (settings.send_limit, settings.receive_limit));
        // A buffer is the next power of two, and at least a page.
        most += [limits.0, limits.1]
            .map(|limit| limit.max(4096).next_power_of_two())
            .iter()
            .sum::<usize>();
    }
    check_flights(host, now)?;
    let buffered = host.shard.buffered_bytes();
    holds!(buffered <= most, "{}: buffers of {buffered} bytes, limits give {most}", host.name);
    Ok(())
}

/// What congestion control may never do: stop a flow, or let it go.
fn check_flights(host: &Host, now: Instant) -> Result<(), Broken> {
    // One piece for the device, and a probe.
    const BURST: u32 = 65_536 + 9_000;
    for tcp in host.shard.sockets(now).filter_map(|info| info.tcp) {
        let (window, flight) = (tcp.congestion_window, tcp.bytes_in_flight);
        holds!(window > 0, "{}: a window of nothing", host.name);
        holds!(window <= 1 << 30, "{}: a window of {window}", host.name);
        // Of what was sent under a larger window some may be in flight still, but nothing is added:
        // once nothing is being repaired, the window is the limit.
        let quiet = tcp.repair == Repair::Open && tcp.ecn == Feedback::None;
        // BBR's falls to a quarter at once when it looks for the least round trip.
        let times = if tcp.algorithm == Algorithm::Bbr { 8 } else { 2 };
        let allowed = window.max(tcp.slow_start_threshold.unwrap_or(0)).saturating_mul(times);
        holds!(
            !quiet || flight <= allowed.saturating_add(BURST),
            "{}: {flight} bytes in flight, the window is {window}",
            host.name
        );
        holds!(tcp.pacing_rate != Some(0), "{}: paced to a stand", host.name);
    }
    Ok(())
}

/// A host that everybody has left: no socket, no memory, nothing to do.
pub fn check_left(host: &Host, now: Instant) -> Result<(), Broken> {
    if let Some(info) = host.shard.sockets(now).next() {
        let (local, remote, state) = (info.local, info.remote, info.state);
        return Err(Broken(format!("{}: {local} {remote:?} {state:?} is left", host.name)));
    }
    let buffered = host.shard.buffered_bytes();
    holds!(buffered == 0, "{}: buffers of {buffered} bytes are left", host.name);
    Ok(())
}
