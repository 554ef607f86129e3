//! One line a packet, as tcpdump(1) prints it with `-n`: Ethernet, ARP, IPv4, TCP, UDP, ICMP and IGMP. What
//! those carry is not looked into, nor, with `-v`, the packet that an ICMP error quotes.

mod network;
mod transport;

use narrows_wire::{
    ethernet::{EtherType, HEADER_LEN, Header},
    vlan::{TAG_LEN, TagProtocol},
};
use std::{collections::HashMap, fmt::Write, net::Ipv4Addr};

/// What is printed of a packet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// `-e`: the link header.
    pub link: bool,
    /// `-v`: more of IP's header; twice is no more.
    pub verbose: bool,
    /// `-q`: less.
    pub quiet: bool,
    /// `-S`: sequence numbers as they are, not from the connection's beginning.
    pub absolute: bool,
    /// `-x`, `-X`, `-A`, twice with the link header.
    pub dump: Option<Dump>,
    /// Of `-xx`, `-XX`, `-AA`.
    pub dump_link: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dump {
    Hex,
    HexAscii,
    Ascii,
}

/// Flows whose beginnings are remembered; then all are forgotten.
const MAX_FLOWS: usize = 65_536;

/// One direction of a connection.
type Flow = (Ipv4Addr, u16, Ipv4Addr, u16);

/// Prints packets, and remembers where the sequence numbers of their connections began.
#[derive(Debug, Default)]
pub struct Printer {
    options: Options,
    begins: HashMap<Flow, u32>,
}

impl Printer {
    pub fn new(options: Options) -> Self {
        Self { options, begins: HashMap::new() }
    }

    /// A frame of which `length` bytes were on the wire, without the time: one line, with `-v` and the
    /// dumps more, none of them ended.
    pub fn describe(&mut self, frame: &[u8], length: usize) -> String {
        let mut line = String::new();
        let Ok((header, payload)) = Header::parse(frame) else {
            line.push_str("[|ether]");
            return line;
        };
        let (mut ether_type, mut payload, mut tags) = (header.ether_type, payload, String::new());
        let mut skipped = HEADER_LEN;
        while TagProtocol::of(ether_type).is_some()
            && let Some(([a, b, c, d], rest)) = payload.split_first_chunk::<TAG_LEN>()
        {
            let control = u16::from_be_bytes([*a, *b]);
            let inner = EtherType(u16::from_be_bytes([*c, *d]));
            let drop = if control & 0x1000 == 0 { "" } else { ", DEI" };
            let _ = write!(
                tags,
                "vlan {}, p {}{drop}, ethertype {}, ",
                control & 0xfff,
                control >> 13,
                name_with_number(inner)
            );
            (ether_type, payload) = (inner, rest);
            skipped += TAG_LEN;
        }
        if self.options.link {
            self.link(&mut line, &header, length, &tags);
        }
        let left = length.saturating_sub(skipped);
        match ether_type {
            EtherType::IPV4 => self.ipv4(&mut line, payload, left),
            EtherType::ARP => self.arp(&mut line, payload, left),
            EtherType::IPV6 => {
                let _ = write!(line, "IP6, length {left}");
            }
            other => {
                let _ = match self.options.link {
                    true => write!(line, "length {left}"),
                    false => write!(
                        line,
                        "{} > {}, ethertype {}, length {length}:",
                        header.source,
                        header.destination,
                        name_with_number(other)
                    ),
                };
            }
        }
        self.dump(&mut line, frame, skipped);
        line
    }

    fn link(&self, line: &mut String, header: &Header, length: usize, tags: &str) {
        let kind = header.ether_type;
        let kind = if self.options.quiet {
            name(kind)
        } else {
            format!("ethertype {}", name_with_number(kind))
        };
        let _ = write!(
            line,
            "{} > {}, {kind}, length {length}: {tags}",
            header.source, header.destination
        );
    }

    /// The bytes, as they were asked for.
    fn dump(&self, line: &mut String, frame: &[u8], link: usize) {
        let Some(dump) = self.options.dump else { return };
        let from = if self.options.dump_link { 0 } else { link };
        let bytes = frame.get(from..).unwrap_or_default();
        if dump == Dump::Ascii {
            line.push('\n');
            line.extend(bytes.iter().map(|byte| match byte {
                b'\n' | b'\r' | b'\t' => char::from(*byte),
                byte => printable(*byte),
            }));
            return;
        }
        for (at, row) in bytes.chunks(16).enumerate() {
            let _ = write!(line, "\n\t0x{:04x}:  ", at * 16);
            let pairs: Vec<String> = row
                .chunks(2)
                .map(|pair| pair.iter().map(|byte| format!("{byte:02x}")).collect())
                .collect();
            let pairs = pairs.join(" ");
            if dump == Dump::Hex {
                line.push_str(&pairs);
            } else {
                let text: String = row.iter().map(|byte| graphic(*byte)).collect();
                let _ = write!(line, "{pairs:<39}  {text}");
            }
        }
    }
}

fn printable(byte: u8) -> char {
    if byte == b' ' { ' ' } else { graphic(byte) }
}

fn graphic(byte: u8) -> char {
    if byte.is_ascii_graphic() { char::from(byte) } else { '.' }
}

fn name(ether_type: EtherType) -> String {
    match ether_type {
        EtherType::IPV4 => "IPv4".into(),
        EtherType::ARP => "ARP".into(),
        EtherType::IPV6 => "IPv6".into(),
        EtherType::VLAN => "802.1Q".into(),
        EtherType::SERVICE_VLAN => "802.1Q-QinQ".into(),
        EtherType::SLOW => "Slow Protocols".into(),
        _ => "Unknown".into(),
    }
}

fn name_with_number(ether_type: EtherType) -> String {
    format!("{} (0x{:04x})", name(ether_type), ether_type.0)
}
