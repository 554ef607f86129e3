//! What rules may ask about a packet. Every answer is a number; `None` where the packet has no such
//! field, and then no comparison is true, not even "other than".

use crate::{
    conntrack::{Connection, Direction, flow::Count},
    request::Principal,
    table::interface::InterfaceId,
};
use core::net::Ipv4Addr;
use narrows_wire::{ethernet, ipv4, rewrite::End};

/// The most bytes of an interface's name, as Linux has it, less the end.
pub const NAME_LEN: usize = 16;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Field {
    /// `meta iif`, `oif`: an interface's number.
    InputInterface,
    OutputInterface,
    /// `iifname`, `oifname`: see [`name`].
    InputName,
    OutputName,
    /// `meta iifgroup`, `oifgroup`.
    InputGroup,
    OutputGroup,
    /// `meta length`: bytes of the packet, without its link header.
    Length,
    /// `meta protocol`: the Ethernet type of what the frame carries.
    Protocol,
    /// `meta nfproto`.
    Family,
    /// `meta l4proto`.
    Transport,
    Mark,
    /// `meta iifzone`, `oifzone`: [`name`] of its zone's.
    InputZone,
    OutputZone,
    /// `meta skuid`, `skgid`: who owns the socket that sends it, or to whose connection it comes.
    SocketUser,
    SocketGroup,
    EtherSource,
    EtherDestination,
    EtherType,
    VlanId,
    VlanPriority,
    ArpOperation,
    ArpSenderMac,
    ArpSenderIp,
    ArpTargetMac,
    ArpTargetIp,
    IpSource,
    IpDestination,
    IpProtocol,
    IpDscp,
    IpEcn,
    IpTtl,
    IpLength,
    IpIdentification,
    /// Flags and offset, as they are in the header.
    IpFragment,
    IpHeaderLength,
    IcmpType,
    IcmpCode,
    IcmpIdentifier,
    IcmpSequence,
    TcpSourcePort,
    TcpDestinationPort,
    TcpSequence,
    TcpAcknowledgment,
    TcpFlags,
    TcpWindow,
    UdpSourcePort,
    UdpDestinationPort,
    UdpLength,
    /// `th sport`, `th dport`: of every protocol.
    SourcePort,
    DestinationPort,
    Ct(CtField),
}

/// `ct`: what is known of the packet's flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CtField {
    /// One bit of [`crate::conntrack::flow::state`].
    State,
    /// Bits of [`crate::conntrack::Status`].
    Status,
    Direction,
    Mark,
    Protocol,
    Family,
    Address(Direction, End),
    Port(Direction, End),
    /// Of one direction, or of both.
    Packets(Option<Direction>),
    Bytes(Option<Direction>),
}

impl CtField {
    fn bits(self) -> u32 {
        match self {
            Self::State | Self::Status | Self::Mark | Self::Address(..) => 32,
            Self::Direction | Self::Protocol | Self::Family => 8,
            Self::Port(..) => 16,
            Self::Packets(_) | Self::Bytes(_) => 64,
        }
    }
}

impl Field {
    /// How many bits its values have.
    pub fn bits(self) -> u32 {
        match self {
            Self::InputName | Self::OutputName | Self::InputZone | Self::OutputZone => 128,
            Self::EtherSource
            | Self::EtherDestination
            | Self::ArpSenderMac
            | Self::ArpTargetMac => 48,
            Self::InputInterface
            | Self::OutputInterface
            | Self::InputGroup
            | Self::OutputGroup
            | Self::Length
            | Self::Mark
            | Self::SocketUser
            | Self::SocketGroup
            | Self::ArpSenderIp
            | Self::ArpTargetIp
            | Self::IpSource
            | Self::IpDestination
            | Self::TcpSequence
            | Self::TcpAcknowledgment => 32,
            Self::Family
            | Self::Transport
            | Self::IpProtocol
            | Self::IpTtl
            | Self::IcmpType
            | Self::IcmpCode
            | Self::TcpFlags => 8,
            Self::Ct(field) => field.bits(),
            Self::VlanId => 12,
            Self::IpDscp => 6,
            Self::IpHeaderLength => 4,
            Self::VlanPriority => 3,
            Self::IpEcn => 2,
            _ => 16,
        }
    }

    /// Is it in the packet itself, where no rule changes it?
    pub(super) fn is_fixed(self) -> bool {
        !matches!(
            self,
            Self::Mark
                | Self::InputName
                | Self::OutputName
                | Self::InputGroup
                | Self::OutputGroup
                | Self::InputZone
                | Self::OutputZone
                | Self::Ct(CtField::Mark)
        )
    }
}

/// What is known of a packet at a hook.
#[derive(Clone, Copy, Debug, Default)]
pub struct View<'a> {
    pub input: Option<InterfaceId>,
    pub output: Option<InterfaceId>,
    pub mark: u32,
    pub owner: Option<Principal>,
    pub link: Option<ethernet::Header>,
    pub vlan: Option<u16>,
    /// Of its VLAN tag.
    pub priority: Option<u8>,
    pub arp: Option<&'a [u8]>,
    pub ip: Option<Ip<'a>>,
    /// Its flow, where it is known.
    pub connection: Option<&'a Connection>,
    /// Of the flow; rules may change it.
    pub connection_mark: u32,
    /// A rule says that it is not to be tracked.
    pub untrack: bool,
}

/// An IPv4 packet.
#[derive(Clone, Copy, Debug)]
pub struct Ip<'a> {
    pub header: ipv4::Header,
    pub header_len: usize,
    /// Bytes of what it carries, of which at least the transport header is in `payload`.
    pub payload_len: usize,
    pub payload: &'a [u8],
}

impl<'a> Ip<'a> {
    pub fn of(packet: &ipv4::Packet<'a>) -> Self {
        Self {
            header: packet.header,
            header_len: packet.header_bytes.len(),
            payload_len: packet.payload.len(),
            payload: packet.payload,
        }
    }

    /// A header of the transport; later fragments have none.
    fn transport(&self, protocol: u8) -> Option<&'a [u8]> {
        let has = self.header.protocol.0 == protocol && self.header.fragment_offset == 0;
        has.then_some(self.payload)
    }
}

const ICMP: u8 = ipv4::Protocol::ICMP.0;
const TCP: u8 = ipv4::Protocol::TCP.0;
const UDP: u8 = ipv4::Protocol::UDP.0;
/// NFPROTO_IPV4, NFPROTO_ARP.
const FAMILY_IPV4: u128 = 2;
const FAMILY_ARP: u128 = 3;

impl View<'_> {
    /// Bytes of the packet, without its link header.
    pub(crate) fn len(&self) -> usize {
        self.field(Field::Length).map_or(0, |length| length as usize)
    }

    /// Source and destination port.
    pub(crate) fn ports(&self) -> Option<(u16, u16)> {
        let port = |field| self.field(field).and_then(|port| u16::try_from(port).ok());
        let has = |ip: &Ip<'_>| matches!(ip.header.protocol.0, TCP | UDP);
        self.ip.filter(has)?;
        Some((port(Field::SourcePort)?, port(Field::DestinationPort)?))
    }

    /// The value of a field that is in the packet.
    pub(super) fn field(&self, field: Field) -> Option<u128> {
        Some(match field {
            Field::InputInterface => number(self.input?),
            Field::OutputInterface => number(self.output?),
            Field::Mark => self.mark.into(),
            Field::SocketUser => self.owner?.uid.into(),
            Field::SocketGroup => self.owner?.gid.into(),
            Field::Length => match (&self.ip, self.arp) {
                (Some(ip), _) => (ip.header_len + ip.payload_len) as u128,
                (None, Some(arp)) => arp.len() as u128,
                (None, None) => return None,
            },
            Field::Protocol if self.arp.is_some() => 0x0806,
            Field::Protocol if self.ip.is_some() => 0x0800,
            Field::Protocol => self.link?.ether_type.0.into(),
            Field::Family if self.arp.is_some() => FAMILY_ARP,
            Field::Family => self.ip.map(|_| FAMILY_IPV4)?,
            Field::EtherSource => big_endian(&self.link?.source.0),
            Field::EtherDestination => big_endian(&self.link?.destination.0),
            Field::EtherType => self.link?.ether_type.0.into(),
            Field::VlanId => self.vlan?.into(),
            Field::VlanPriority => self.priority?.into(),
            Field::ArpOperation => bytes(self.arp?, 6, 2)?,
            Field::ArpSenderMac => bytes(self.arp?, 8, 6)?,
            Field::ArpSenderIp => bytes(self.arp?, 14, 4)?,
            Field::ArpTargetMac => bytes(self.arp?, 18, 6)?,
            Field::ArpTargetIp => bytes(self.arp?, 24, 4)?,
            Field::Ct(field) => return self.connection_field(field),
            _ => return self.ip.as_ref().and_then(|ip| ip_field(ip, field)),
        })
    }

    fn connection_field(&self, field: CtField) -> Option<u128> {
        let connection = self.connection?;
        if field == CtField::State {
            return Some(connection.state.into());
        }
        let facts = connection.flow.as_ref()?;
        let tuple = |direction: Direction| &facts.tuples[direction as usize];
        let sum = |of: Option<Direction>, count: fn(&Count) -> u64| match of {
            Some(direction) => count(&facts.counts[direction as usize]).into(),
            None => facts.counts.iter().map(|one| u128::from(count(one))).sum(),
        };
        Some(match field {
            CtField::State => connection.state.into(),
            CtField::Status => facts.status.bits().into(),
            CtField::Direction => facts.direction as u128,
            CtField::Mark => self.connection_mark.into(),
            CtField::Protocol => tuple(Direction::Original).protocol.0.into(),
            CtField::Family => FAMILY_IPV4,
            CtField::Address(direction, End::Source) => address(tuple(direction).source),
            CtField::Address(direction, End::Destination) => address(tuple(direction).destination),
            CtField::Port(direction, End::Source) => tuple(direction).source_port.into(),
            CtField::Port(direction, End::Destination) => tuple(direction).destination_port.into(),
            CtField::Packets(of) => sum(of, |count| count.packets),
            CtField::Bytes(of) => sum(of, |count| count.bytes),
        })
    }
}

fn ip_field(ip: &Ip<'_>, field: Field) -> Option<u128> {
    let header = &ip.header;
    let flags = u16::from(header.dont_fragment) << 14 | u16::from(header.more_fragments) << 13;
    Some(match field {
        Field::IpSource => address(header.source),
        Field::IpDestination => address(header.destination),
        Field::IpProtocol | Field::Transport => header.protocol.0.into(),
        Field::IpDscp => (header.tos >> 2).into(),
        Field::IpEcn => (header.tos & 3).into(),
        Field::IpTtl => header.ttl.into(),
        Field::IpLength => (ip.header_len + ip.payload_len) as u128,
        Field::IpIdentification => header.identification.into(),
        Field::IpFragment => (flags | header.fragment_offset >> 3).into(),
        Field::IpHeaderLength => (ip.header_len / 4) as u128,
        Field::IcmpType => bytes(ip.transport(ICMP)?, 0, 1)?,
        Field::IcmpCode => bytes(ip.transport(ICMP)?, 1, 1)?,
        Field::IcmpIdentifier => bytes(ip.transport(ICMP)?, 4, 2)?,
        Field::IcmpSequence => bytes(ip.transport(ICMP)?, 6, 2)?,
        Field::TcpSourcePort => bytes(ip.transport(TCP)?, 0, 2)?,
        Field::TcpDestinationPort => bytes(ip.transport(TCP)?, 2, 2)?,
        Field::TcpSequence => bytes(ip.transport(TCP)?, 4, 4)?,
        Field::TcpAcknowledgment => bytes(ip.transport(TCP)?, 8, 4)?,
        Field::TcpFlags => bytes(ip.transport(TCP)?, 13, 1)?,
        Field::TcpWindow => bytes(ip.transport(TCP)?, 14, 2)?,
        Field::UdpSourcePort => bytes(ip.transport(UDP)?, 0, 2)?,
        Field::UdpDestinationPort => bytes(ip.transport(UDP)?, 2, 2)?,
        Field::UdpLength => bytes(ip.transport(UDP)?, 4, 2)?,
        Field::SourcePort => bytes(ports(ip)?, 0, 2)?,
        Field::DestinationPort => bytes(ports(ip)?, 2, 2)?,
        _ => return None,
    })
}

/// What begins with two ports, if it is of a protocol that has them: as in nft, a rule that does not say so
/// itself reads the same bytes of others.
fn ports<'a>(ip: &Ip<'a>) -> Option<&'a [u8]> {
    ip.transport(ip.header.protocol.0)
}

fn number(interface: InterfaceId) -> u128 {
    u128::from(interface.0)
}

/// An address as rules compare it.
pub fn address(address: Ipv4Addr) -> u128 {
    address.to_bits().into()
}

/// A name as rules compare it: its bytes from the left, zeros after them, so that the names that begin
/// with the same letters are a range.
pub fn name(name: &str) -> Option<u128> {
    let mut padded = [0; NAME_LEN];
    padded.get_mut(..name.len())?.copy_from_slice(name.as_bytes());
    Some(u128::from_be_bytes(padded))
}

/// `len` bytes from `at` on, in network order.
fn bytes(all: &[u8], at: usize, len: usize) -> Option<u128> {
    all.get(at..at.checked_add(len)?).map(big_endian)
}

fn big_endian(bytes: &[u8]) -> u128 {
    bytes.iter().fold(0, |value, byte| value << 8 | u128::from(*byte))
}
