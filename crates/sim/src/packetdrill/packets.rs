//! Packets of the script as bytes, and bytes that the stack sent as the script would write them.

use super::{
    Fault,
    flow::Flow,
    machine::{LOCAL, REMOTE},
    script::{Body, IcmpPacket, IpInfo, Packet, TcpOption, TcpOptions, TcpPacket, flag},
    tcp_options,
};
use core::net::Ipv4Addr;
use narrows_wire::{
    checksum::Sum,
    ipv4::{self, Protocol},
};

const TCP_HEADER_LEN: usize = 20;
const UDP_HEADER_LEN: usize = 8;
const TTL: u8 = 255;
/// The window of a packet for which the script names none.
const WINDOW: u16 = u16::MAX;

/// A packet of the script, from the remote host, as bytes.
/// `cookie`: what the stack gives the remote host for fast open.
pub(super) fn inbound(packet: &Packet, flow: &Flow, cookie: &[u8]) -> Vec<u8> {
    match &packet.body {
        Body::Tcp(tcp) => {
            let bytes = tcp_bytes(tcp, flow, cookie);
            ip(&packet.ip, Protocol::TCP, REMOTE, LOCAL, &bytes)
        }
        Body::Udp { payload } => {
            let length = (UDP_HEADER_LEN + *payload as usize) as u16;
            let fields = [flow.remote_port, flow.local_port, length, 0];
            let mut bytes: Vec<u8> = fields.into_iter().flat_map(u16::to_be_bytes).collect();
            bytes.resize(usize::from(length), 0);
            ip(&packet.ip, Protocol::UDP, REMOTE, LOCAL, &bytes)
        }
        Body::Icmp(icmp) => {
            let bytes = icmp_bytes(icmp, flow);
            ip(&packet.ip, Protocol::ICMP, REMOTE, LOCAL, &bytes)
        }
    }
}

fn ip(info: &IpInfo, protocol: Protocol, source: Ipv4Addr, to: Ipv4Addr, bytes: &[u8]) -> Vec<u8> {
    let header = ipv4::Header {
        tos: info.tos.unwrap_or(0) | info.ecn.unwrap_or(0),
        identification: 0,
        dont_fragment: true,
        more_fragments: false,
        fragment_offset: 0,
        ttl: info.ttl.unwrap_or(TTL),
        protocol,
        source,
        destination: to,
    };
    let mut header_bytes = [0; ipv4::HEADER_LEN];
    // A script that asks for more than 64 KiB gets a packet that the stack refuses.
    let _ = header.emit(bytes.len(), &mut header_bytes);
    [&header_bytes, bytes].concat()
}

fn tcp_bytes(packet: &TcpPacket, flow: &Flow, cookie: &[u8]) -> Vec<u8> {
    let syn = packet.flags & flag::SYN != 0;
    let options = match &packet.options {
        TcpOptions::Any => Vec::new(),
        TcpOptions::These(options) => options.iter().map(|option| real(option, flow)).collect(),
    };
    let options = tcp_options::emit(&options, cookie);
    let words = ((TCP_HEADER_LEN + options.len()) / 4) as u16;
    let acknowledgment = packet.acknowledgment.map_or(0, |number| flow.local_to_real(number, syn));
    let mut bytes = Vec::new();
    bytes.extend(flow.remote_port.to_be_bytes());
    bytes.extend(flow.local_port.to_be_bytes());
    bytes.extend(flow.remote_to_real(packet.sequence, syn).to_be_bytes());
    bytes.extend(acknowledgment.to_be_bytes());
    bytes.extend((words << 12 | packet.flags).to_be_bytes());
    bytes.extend(packet.window.unwrap_or(WINDOW).to_be_bytes());
    bytes.extend([0, 0]);
    bytes.extend(packet.urgent.unwrap_or(0).to_be_bytes());
    bytes.extend(options);
    bytes.resize(bytes.len() + packet.payload as usize, 0);
    bytes
}

/// An option of the remote host, as the connection has its numbers.
fn real(option: &TcpOption, flow: &Flow) -> TcpOption {
    match option {
        TcpOption::Timestamps { value, echo } => {
            let echo = if *echo == 0 { 0 } else { flow.echo(*echo) };
            TcpOption::Timestamps { value: *value, echo }
        }
        TcpOption::Sack(blocks) => {
            let real = |number| flow.local_to_real(number, false);
            TcpOption::Sack(blocks.iter().map(|(l, r)| (real(*l), real(*r))).collect())
        }
        other => other.clone(),
    }
}

/// The error quotes what the stack sent: its IPv4 header and the first words of TCP's.
fn icmp_bytes(packet: &IcmpPacket, flow: &Flow) -> Vec<u8> {
    let (first, length) = packet.quoted;
    let mut tcp = Vec::new();
    tcp.extend(flow.local_port.to_be_bytes());
    tcp.extend(flow.remote_port.to_be_bytes());
    tcp.extend(flow.local_to_real(first, false).to_be_bytes());
    // The rest is not quoted, but its length stands in the IPv4 header.
    tcp.resize(TCP_HEADER_LEN + length as usize, 0);
    let mut quote = ip(&IpInfo::default(), Protocol::TCP, LOCAL, REMOTE, &tcp);
    quote.truncate(ipv4::HEADER_LEN + UDP_HEADER_LEN);
    let mut bytes = vec![packet.kind, packet.code, 0, 0, 0, 0];
    bytes.extend(packet.mtu.unwrap_or(0).to_be_bytes());
    bytes.extend(quote);
    let checksum = Sum::of(&bytes).finish();
    bytes[2..4].copy_from_slice(&checksum.to_be_bytes());
    bytes
}

/// A TCP segment that the stack sent, with real numbers and ports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Seen {
    pub tos: u8,
    pub ttl: u8,
    pub local_port: u16,
    pub remote_port: u16,
    pub packet: TcpPacket,
}

/// Reads an IPv4 packet of the stack.
pub(super) fn outbound(line: usize, bytes: &[u8]) -> Result<Seen, Fault> {
    let broken = |what: &str| Fault::mismatch(line, "a packet", format!("the stack sent {what}"));
    let packet = ipv4::Packet::parse(bytes).map_err(|error| broken(&format!("{error:?}")))?;
    if packet.header.protocol != Protocol::TCP {
        return Err(broken(&format!("protocol {}", packet.header.protocol.0)));
    }
    let segment = packet.payload;
    let word = |at: usize| {
        let bytes = segment.get(at..at + 2).and_then(|bytes| bytes.try_into().ok());
        bytes.map(u16::from_be_bytes).ok_or_else(|| broken("half a TCP header"))
    };
    let long = |at| Ok(u32::from(word(at)?) << 16 | u32::from(word(at + 2)?));
    let control = word(12)?;
    let header_len = usize::from(control >> 12) * 4;
    let option_bytes = segment.get(TCP_HEADER_LEN..header_len);
    let options = option_bytes.and_then(tcp_options::parse);
    let flags = control & 0x1ff;
    Ok(Seen {
        tos: packet.header.tos,
        ttl: packet.header.ttl,
        local_port: word(0)?,
        remote_port: word(2)?,
        packet: TcpPacket {
            flags,
            sequence: long(4)?,
            payload: (segment.len() - header_len) as u32,
            acknowledgment: (flags & flag::ACK != 0).then_some(long(8)?),
            window: Some(word(14)?),
            urgent: (flags & flag::URG != 0).then_some(word(18)?),
            options: TcpOptions::These(options.ok_or_else(|| broken("malformed options"))?),
        },
    })
}

/// The same segment as the script would write it.
pub(super) fn in_script_terms(seen: &TcpPacket, flow: &Flow) -> TcpPacket {
    let syn = seen.flags & flag::SYN != 0;
    let options = match &seen.options {
        TcpOptions::Any => TcpOptions::Any,
        TcpOptions::These(options) => {
            let script = |number| flow.remote_to_script(number, false);
            let one = |option: &TcpOption| match option {
                TcpOption::Sack(blocks) => {
                    TcpOption::Sack(blocks.iter().map(|(l, r)| (script(*l), script(*r))).collect())
                }
                other => other.clone(),
            };
            TcpOptions::These(options.iter().map(one).collect())
        }
    };
    TcpPacket {
        sequence: flow.local_to_script(seen.sequence, syn),
        acknowledgment: seen.acknowledgment.map(|number| flow.remote_to_script(number, syn)),
        options,
        ..seen.clone()
    }
}

/// A segment as scripts write them.
pub(super) fn show(packet: &TcpPacket) -> String {
    let names = [
        (flag::FIN, 'F'),
        (flag::SYN, 'S'),
        (flag::RST, 'R'),
        (flag::PSH, 'P'),
        (flag::URG, 'U'),
        (flag::ECE, 'E'),
        (flag::CWR, 'W'),
        (flag::AE, 'A'),
        (flag::ACK, '.'),
    ];
    let set = names.iter().filter(|(bit, _)| packet.flags & bit != 0);
    let mut text: String = set.map(|(_, letter)| letter).collect();
    if text.is_empty() {
        text.push('-');
    }
    let end = packet.sequence.wrapping_add(packet.payload);
    text += &format!(" {}:{end}({})", packet.sequence, packet.payload);
    if let Some(number) = packet.acknowledgment {
        text += &format!(" ack {number}");
    }
    if let Some(window) = packet.window {
        text += &format!(" win {window}");
    }
    if let Some(pointer) = packet.urgent {
        text += &format!(" urg {pointer}");
    }
    match &packet.options {
        TcpOptions::Any => text += " <...>",
        TcpOptions::These(options) if options.is_empty() => {}
        TcpOptions::These(options) => text += &format!(" <{}>", tcp_options::show(options)),
    }
    text
}
