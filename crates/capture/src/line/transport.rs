//! TCP, UDP, ICMP and IGMP.

use super::{MAX_FLOWS, Printer};
use narrows_wire::{
    checksum::Sum,
    icmpv4::kind,
    ipv4::{self, Packet, Protocol},
    tcp::{self, Flags},
    tcp_options, udp,
};
use std::{fmt::Write, net::Ipv4Addr};

impl Printer {
    pub(super) fn tcp(&mut self, line: &mut String, packet: &Packet<'_>) {
        let ipv4::Header { source, destination, .. } = packet.header;
        let bytes = packet.payload;
        let Some(header) = bytes.first_chunk::<{ tcp::HEADER_LEN }>() else {
            let _ = write!(line, "{source} > {destination}: [|tcp]");
            return;
        };
        let [a, b, c, d, s0, s1, s2, s3, a0, a1, a2, a3, length, flags, w0, w1, c0, c1, u0, u1] =
            *header;
        let (from, to) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
        let _ = write!(line, "{source}.{from} > {destination}.{to}: ");
        let header_len = usize::from(length >> 4) * 4;
        let Some(payload_len) = bytes.len().checked_sub(header_len) else {
            let _ = write!(
                line,
                "tcp {} [bad hdr length {header_len} - too long, > {}]",
                0,
                bytes.len()
            );
            return;
        };
        if header_len < tcp::HEADER_LEN {
            let _ =
                write!(line, "tcp {payload_len} [bad hdr length {header_len} - too short, < 20]");
            return;
        }
        if self.options.quiet {
            let _ = write!(line, "tcp {payload_len}");
            return;
        }
        let flags = Flags(u16::from_be_bytes([length & 1, flags]));
        let _ = write!(line, "Flags [{}]", letters(flags));
        if self.options.verbose {
            let found = u16::from_be_bytes([c0, c1]);
            let _ = match right_sum(packet, tcp::CHECKSUM_OFFSET) {
                sum if sum == found => write!(line, ", cksum 0x{found:04x} (correct)"),
                sum => write!(line, ", cksum 0x{found:04x} (incorrect -> 0x{sum:04x})"),
            };
        }
        let sequence = u32::from_be_bytes([s0, s1, s2, s3]);
        let acknowledged = u32::from_be_bytes([a0, a1, a2, a3]);
        let (seq, ack) =
            self.relative((source, from, destination, to), flags, (sequence, acknowledged));
        let consumes = flags.syn() || flags.fin() || flags.rst();
        if payload_len > 0 {
            let _ = write!(line, ", seq {seq}:{}", seq.wrapping_add(payload_len as u32));
        } else if consumes {
            let _ = write!(line, ", seq {seq}");
        }
        if flags.ack() {
            let _ = write!(line, ", ack {ack}");
        }
        let _ = write!(line, ", win {}", u16::from_be_bytes([w0, w1]));
        if flags.contains(Flags::URG) {
            let _ = write!(line, ", urg {}", u16::from_be_bytes([u0, u1]));
        }
        let options = bytes.get(tcp::HEADER_LEN..header_len).unwrap_or_default();
        if !options.is_empty() {
            let _ = write!(
                line,
                ", options [{}]",
                options_of(options, |number| {
                    self.behind((source, from, destination, to), number)
                })
            );
        }
        let _ = write!(line, ", length {payload_len}");
    }

    /// Sequence and acknowledgment numbers as tcpdump counts them: from the connection's beginning, as far
    /// as it was seen.
    fn relative(
        &mut self,
        (source, from, destination, to): super::Flow,
        flags: Flags,
        (sequence, acknowledged): (u32, u32),
    ) -> (u32, u32) {
        if self.options.absolute {
            return (sequence, acknowledged);
        }
        if self.begins.len() >= MAX_FLOWS {
            self.begins.clear();
        }
        let flow = (source, from, destination, to);
        let back = (destination, to, source, from);
        let known = self.begins.contains_key(&flow) && self.begins.contains_key(&back);
        if flags.syn() || !known {
            self.begins.insert(flow, sequence);
            self.begins.insert(back, acknowledged.wrapping_sub(1));
            return (sequence, acknowledged);
        }
        let begin = |flow| self.begins.get(&flow).copied().unwrap_or(0);
        (sequence.wrapping_sub(begin(flow)), acknowledged.wrapping_sub(begin(back)))
    }

    /// A number of the other direction, as in a SACK block.
    fn behind(&self, (source, from, destination, to): super::Flow, number: u32) -> u32 {
        if self.options.absolute {
            return number;
        }
        let begin = self.begins.get(&(destination, to, source, from)).copied().unwrap_or(0);
        number.wrapping_sub(begin)
    }

    pub(super) fn udp(&self, line: &mut String, packet: &Packet<'_>) {
        let ipv4::Header { source, destination, .. } = packet.header;
        let Some([a, b, c, d, l0, l1, _, _]) = packet.payload.first_chunk::<{ udp::HEADER_LEN }>()
        else {
            let _ = write!(line, "{source} > {destination}: [|udp]");
            return;
        };
        let (from, to) = (u16::from_be_bytes([*a, *b]), u16::from_be_bytes([*c, *d]));
        let length = usize::from(u16::from_be_bytes([*l0, *l1])).saturating_sub(udp::HEADER_LEN);
        let _ = write!(line, "{source}.{from} > {destination}.{to}: ");
        let _ = write!(line, "UDP, length {length}");
    }

    pub(super) fn icmp(&self, line: &mut String, packet: &Packet<'_>) {
        let ipv4::Header { source, destination, .. } = packet.header;
        let _ = write!(line, "{source} > {destination}: ICMP ");
        let bytes = packet.payload;
        let Some([message, code, _, _, a, b, c, d]) = bytes.first_chunk::<8>().copied() else {
            line.push_str("[|icmp]");
            return;
        };
        let (first, second) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
        let quoted = quoted(bytes.get(8..).unwrap_or_default());
        let _ = match message {
            kind::ECHO_REQUEST => write!(line, "echo request, id {first}, seq {second}"),
            kind::ECHO_REPLY => write!(line, "echo reply, id {first}, seq {second}"),
            kind::DESTINATION_UNREACHABLE => {
                write!(line, "{}", unreachable(code, second, quoted))
            }
            kind::TIME_EXCEEDED => match code {
                0 => write!(line, "time exceeded in-transit"),
                1 => write!(line, "ip reassembly time exceeded"),
                code => write!(line, "time exceeded-#{code}"),
            },
            kind::REDIRECT => {
                let gateway = Ipv4Addr::new(a, b, c, d);
                let (to, _, _) = quoted.unwrap_or((Ipv4Addr::UNSPECIFIED, Protocol(0), None));
                let (word, what) = match code {
                    0 => ("redirect", "net"),
                    1 => ("redirect", "host"),
                    2 => ("redirect-tos", "net"),
                    _ => ("redirect-tos", "host"),
                };
                write!(line, "{word} {to} to {what} {gateway}")
            }
            kind::PARAMETER_PROBLEM => write!(line, "parameter problem - octet {a}"),
            kind::TIMESTAMP_REQUEST => {
                write!(line, "time stamp query id {first} seq {second}")
            }
            kind::TIMESTAMP_REPLY => {
                write!(line, "time stamp reply id {first} seq {second}")
            }
            other => write!(line, "type-#{other}"),
        };
        let _ = write!(line, ", length {}", bytes.len());
    }
}

/// What the checksum at `offset` in a packet's transport should be.
fn right_sum(packet: &Packet<'_>, offset: usize) -> u16 {
    let ipv4::Header { source, destination, protocol, .. } = packet.header;
    let mut bytes = packet.payload.to_vec();
    if let Some(field) = bytes.get_mut(offset..offset + 2) {
        field.fill(0);
    }
    let len = u16::try_from(bytes.len()).unwrap_or(u16::MAX);
    Sum::pseudo_header(source, destination, protocol.0, len).add(Sum::of(&bytes)).finish()
}

fn letters(flags: Flags) -> String {
    const LETTERS: [(Flags, char); 9] = [
        (Flags::FIN, 'F'),
        (Flags::SYN, 'S'),
        (Flags::RST, 'R'),
        (Flags::PSH, 'P'),
        (Flags::ACK, '.'),
        (Flags::URG, 'U'),
        (Flags::ECE, 'E'),
        (Flags::CWR, 'W'),
        (Flags::AE, 'e'),
    ];
    let set = LETTERS.iter().filter(|(flag, _)| flags.contains(*flag));
    let letters: String = set.map(|(_, letter)| letter).collect();
    if letters.is_empty() { "none".into() } else { letters }
}

fn options_of(mut bytes: &[u8], behind: impl Fn(u32) -> u32) -> String {
    use tcp_options::kind;
    let word = |bytes: &[u8]| bytes.first_chunk().copied().map_or(0, u32::from_be_bytes);
    let mut words = Vec::new();
    while let Some((&option, rest)) = bytes.split_first() {
        match option {
            kind::END => {
                words.push("eol".to_owned());
                break;
            }
            kind::NO_OPERATION => {
                words.push("nop".into());
                bytes = rest;
                continue;
            }
            _ => {}
        }
        let length = rest.first().copied().map_or(0, usize::from);
        let Some(body) = bytes.get(2..length) else {
            words.push("[bad opt]".into());
            break;
        };
        words.push(match (option, body) {
            (kind::MSS, [a, b]) => format!("mss {}", u16::from_be_bytes([*a, *b])),
            (kind::WINDOW_SCALE, [shift]) => format!("wscale {shift}"),
            (kind::SACK_PERMITTED, []) => "sackOK".into(),
            (kind::TIMESTAMPS, body) if body.len() == 8 => {
                let echo = body.get(4..).unwrap_or_default();
                format!("TS val {} ecr {}", word(body), word(echo))
            }
            (kind::SACK, body) if body.len() % 8 == 0 && !body.is_empty() => {
                let block = |block: &[u8]| {
                    let right = block.get(4..).unwrap_or_default();
                    format!("{{{}:{}}}", behind(word(block)), behind(word(right)))
                };
                let blocks: String = body.chunks(8).map(block).collect();
                format!("sack {} {blocks}", body.len() / 8)
            }
            (34, []) => "tfo  cookiereq".into(),
            (34, cookie) => {
                let digits: String = cookie.iter().map(|byte| format!("{byte:02x}")).collect();
                format!("tfo  cookie {digits}")
            }
            (option, body) => {
                let digits: String = body.iter().map(|byte| format!("{byte:02x}")).collect();
                format!("unknown-{option} 0x{digits}")
            }
        });
        bytes = bytes.get(length..).unwrap_or_default();
    }
    words.join(",")
}

/// Destination, protocol and destination port of the packet that an ICMP error quotes.
fn quoted(bytes: &[u8]) -> Option<(Ipv4Addr, Protocol, Option<u16>)> {
    let header = usize::from(bytes.first()? & 0xf) * 4;
    let protocol = Protocol(*bytes.get(ipv4::PROTOCOL_OFFSET)?);
    let to = bytes.get(16..)?.first_chunk::<4>().copied().map(Ipv4Addr::from)?;
    let port = bytes.get(header + 2..).and_then(|bytes| bytes.first_chunk());
    Some((to, protocol, port.map(|port| u16::from_be_bytes(*port))))
}

fn unreachable(code: u8, mtu: u16, quoted: Option<(Ipv4Addr, Protocol, Option<u16>)>) -> String {
    let Some((to, protocol, port)) = quoted else { return format!("unreachable-#{code}") };
    match (code, protocol, port) {
        (0, ..) => format!("net {to} unreachable"),
        (1, ..) => format!("host {to} unreachable"),
        (2, ..) => format!("{to} protocol {} unreachable", protocol.0),
        (3, Protocol::TCP, Some(port)) => format!("{to} tcp port {port} unreachable"),
        (3, Protocol::UDP, Some(port)) => format!("{to} udp port {port} unreachable"),
        (3, protocol, Some(port)) => {
            format!("{to} protocol {} port {port} unreachable", protocol.0)
        }
        (4, ..) if mtu > 0 => format!("{to} unreachable - need to frag (mtu {mtu})"),
        (4, ..) => format!("{to} unreachable - need to frag"),
        (5, ..) => format!("{to} unreachable - source route failed"),
        (6, ..) => format!("net {to} unreachable - unknown"),
        (7, ..) => format!("host {to} unreachable - unknown"),
        (9, ..) => format!("net {to} unreachable - admin prohibited"),
        (10, ..) => format!("host {to} unreachable - admin prohibited"),
        (13, ..) => format!("host {to} unreachable - admin prohibited filter"),
        (code, ..) => format!("unreachable-#{code}"),
    }
}

pub(super) fn igmp(line: &mut String, bytes: &[u8]) {
    let Some([kind, _, _, _, a, b, c, d]) = bytes.first_chunk::<8>().copied() else {
        line.push_str("[|igmp]");
        return;
    };
    let group = Ipv4Addr::new(a, b, c, d);
    let _ = match kind {
        0x11 if bytes.len() >= 12 && group.is_unspecified() => write!(line, "igmp query v3"),
        0x11 if bytes.len() >= 12 => write!(line, "igmp query v3 [gaddr {group}]"),
        0x11 if group.is_unspecified() => write!(line, "igmp query v2"),
        0x11 => write!(line, "igmp query v2 [gaddr {group}]"),
        0x12 => write!(line, "igmp v1 report {group}"),
        0x16 => write!(line, "igmp v2 report {group}"),
        0x17 => write!(line, "igmp leave {group}"),
        0x22 => write!(line, "igmp v3 report, {} group record(s)", u16::from_be_bytes([c, d])),
        other => write!(line, "igmp-{other}"),
    };
}
