//! ARP and IPv4.

use super::Printer;
use narrows_wire::{
    Error,
    address::MacAddr,
    arp::{Operation, Packet as Arp},
    ipv4::{self, Packet, Protocol},
};
use std::fmt::Write;

impl Printer {
    pub(super) fn arp(&self, line: &mut String, bytes: &[u8], left: usize) {
        // With the link header before it, its type has been said.
        if !self.options.link {
            line.push_str("ARP, ");
        }
        let Ok(packet) = Arp::parse(bytes) else {
            let _ = write!(line, "[|arp], length {left}");
            return;
        };
        if self.options.verbose {
            line.push_str("Ethernet (len 6), IPv4 (len 4), ");
        }
        let Arp { operation, sender_mac, sender_ip, target_mac, target_ip } = packet;
        let _ = match operation {
            Operation::Request if target_mac == MacAddr::ZERO => {
                write!(line, "Request who-has {target_ip} tell {sender_ip}, length {left}")
            }
            Operation::Request => {
                write!(
                    line,
                    "Request who-has {target_ip} ({target_mac}) tell {sender_ip}, length {left}"
                )
            }
            Operation::Reply => {
                write!(line, "Reply {sender_ip} is-at {sender_mac}, length {left}")
            }
        };
    }

    pub(super) fn ipv4(&mut self, line: &mut String, bytes: &[u8], left: usize) {
        // With the link header before it, its type has been said.
        if !self.options.link {
            line.push_str("IP ");
        }
        let whole;
        let packet = match Packet::parse(bytes) {
            // The beginning of a longer one is all there is.
            Err(Error::Truncated) if bytes.len() < left => {
                whole = [bytes, &vec![0; left - bytes.len()]].concat();
                Packet::parse(&whole)
            }
            other => other,
        };
        let Ok(packet) = packet else {
            return line.push_str("[|ip]");
        };
        let ipv4::Header { source, destination, protocol, .. } = packet.header;
        if self.options.verbose {
            verbose(line, &packet);
        }
        let header = &packet.header;
        if header.fragment_offset > 0 {
            let _ = write!(line, "{source} > {destination}: ip-proto-{}", protocol.0);
            return;
        }
        match protocol {
            Protocol::TCP => self.tcp(line, &packet),
            Protocol::UDP => self.udp(line, &packet),
            Protocol::ICMP => self.icmp(line, &packet),
            Protocol::IGMP if self.options.quiet => {
                let _ = write!(line, "{source} > {destination}: igmp");
            }
            Protocol::IGMP => {
                let _ = write!(line, "{source} > {destination}: ");
                super::transport::igmp(line, packet.payload);
            }
            protocol => {
                let length = packet.payload.len();
                let _ = write!(line, "{source} > {destination}: {}", other(protocol, length));
            }
        }
    }
}

/// What `-v` adds.
fn verbose(line: &mut String, packet: &Packet<'_>) {
    let header = &packet.header;
    let flags = match (header.dont_fragment, header.more_fragments) {
        (true, true) => "+, DF",
        (true, false) => "DF",
        (false, true) => "+",
        (false, false) => "none",
    };
    let protocol = header.protocol;
    let congestion = match header.tos & 3 {
        0 => "",
        1 => ",ECT(1)",
        2 => ",ECT(0)",
        _ => ",CE",
    };
    let length = packet.header_bytes.len() + packet.payload.len();
    let _ = write!(
        line,
        "(tos 0x{:x}{congestion}, ttl {}, id {}, offset {}, flags [{flags}], proto {} ({}), length {length}",
        header.tos,
        header.ttl,
        header.identification,
        header.fragment_offset,
        name(protocol).to_uppercase(),
        protocol.0,
    );
    if !packet.options.is_empty() {
        let _ = write!(line, ", options ({})", options(packet.options));
    }
    line.push_str(")\n    ");
}

/// IPv4's options by name.
fn options(mut bytes: &[u8]) -> String {
    let mut names = Vec::new();
    while let Some((kind, rest)) = bytes.split_first() {
        let length = rest.first().copied().map_or(0, usize::from);
        let (name, length) = match kind {
            0 => ("EOL", 0),
            1 => ("NOP", 1),
            7 => ("RR", length),
            68 => ("TS", length),
            131 => ("LSRR", length),
            137 => ("SSRR", length),
            148 => ("RA", length),
            _ => ("unknown", length),
        };
        names.push(name);
        // The list ends here, or makes no sense from here on.
        bytes = match length {
            0 => break,
            length => bytes.get(length..).unwrap_or_default(),
        };
    }
    names.join(",")
}

fn name(protocol: Protocol) -> String {
    match protocol.0 {
        0 => "hopopt".into(),
        1 => "icmp".into(),
        2 => "igmp".into(),
        4 => "ipencap".into(),
        6 => "tcp".into(),
        17 => "udp".into(),
        41 => "ipv6".into(),
        47 => "gre".into(),
        50 => "esp".into(),
        51 => "ah".into(),
        89 => "ospf".into(),
        132 => "sctp".into(),
        number => format!("ip-proto-{number}"),
    }
}

fn other(protocol: Protocol, length: usize) -> String {
    format!(" {} {length}", name(protocol)).trim_start().to_owned()
}
