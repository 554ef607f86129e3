//! DHCP as a client sees it (RFC 2131, options of RFC 2132): what it asks, and what servers answer.

use crate::{Error, address::MacAddr};
use core::net::Ipv4Addr;
use zerocopy::{
    FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned,
    network_endian::{U16, U32},
};

pub const CLIENT_PORT: u16 = 68;
pub const SERVER_PORT: u16 = 67;

/// The shortest message that relays of BOOTP pass on (RFC 1542 §2.1).
pub const REQUEST_LEN: usize = 300;

const MAGIC: u32 = 0x6382_5363;
const ETHERNET: u8 = 1;
/// RFC 2131 §4.1: the client has no address that an answer could be sent to.
const BROADCAST: u16 = 0x8000;

mod option {
    pub const SUBNET_MASK: u8 = 1;
    pub const ROUTER: u8 = 3;
    pub const NAME_SERVER: u8 = 6;
    pub const REQUESTED_ADDRESS: u8 = 50;
    pub const LEASE_TIME: u8 = 51;
    pub const OVERLOAD: u8 = 52;
    pub const MESSAGE_TYPE: u8 = 53;
    pub const SERVER_ID: u8 = 54;
    pub const PARAMETERS: u8 = 55;
    pub const RENEWAL_TIME: u8 = 58;
    pub const REBINDING_TIME: u8 = 59;
    pub const CLIENT_ID: u8 = 61;
    pub const PAD: u8 = 0;
    pub const END: u8 = 255;
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct Layout {
    operation: u8,
    hardware_type: u8,
    hardware_len: u8,
    hops: u8,
    transaction: U32,
    seconds: U16,
    flags: U16,
    client: [u8; 4],
    yours: [u8; 4],
    next_server: [u8; 4],
    relay: [u8; 4],
    hardware: [u8; 16],
    server_name: [u8; 64],
    file: [u8; 128],
    magic: U32,
}

/// What a client says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestKind {
    Discover = 1,
    Request = 3,
    Decline = 4,
    Release = 7,
}

/// A message to servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    pub kind: RequestKind,
    pub transaction: u32,
    /// Since the client began to ask.
    pub seconds: u16,
    /// The address that it has and can be reached at; else unspecified.
    pub client: Ipv4Addr,
    pub mac: MacAddr,
    /// The address that it would have.
    pub requested: Option<Ipv4Addr>,
    /// The server it means.
    pub server: Option<Ipv4Addr>,
}

impl Request {
    pub fn emit(&self, out: &mut [u8; REQUEST_LEN]) {
        let [a, b, c, d, e, f] = self.mac.0;
        let reachable = !self.client.is_unspecified();
        let fixed = Layout {
            operation: 1,
            hardware_type: ETHERNET,
            hardware_len: 6,
            hops: 0,
            transaction: self.transaction.into(),
            seconds: self.seconds.into(),
            flags: if reachable { 0 } else { BROADCAST }.into(),
            client: self.client.octets(),
            yours: [0; 4],
            next_server: [0; 4],
            relay: [0; 4],
            hardware: [a, b, c, d, e, f, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
            server_name: [0; 64],
            file: [0; 128],
            magic: MAGIC.into(),
        };
        let identity = [option::CLIENT_ID, 7, ETHERNET, a, b, c, d, e, f];
        let kind = [option::MESSAGE_TYPE, 1, self.kind as u8];
        let address = |code, address: Option<Ipv4Addr>| {
            let octets = address.map(|address| address.octets());
            octets.into_iter().flat_map(move |[a, b, c, d]| [code, 4, a, b, c, d])
        };
        let wanted = [
            option::PARAMETERS,
            6,
            option::SUBNET_MASK,
            option::ROUTER,
            option::NAME_SERVER,
            option::LEASE_TIME,
            option::RENEWAL_TIME,
            option::REBINDING_TIME,
        ];
        let options = kind
            .into_iter()
            .chain(identity)
            .chain(address(option::REQUESTED_ADDRESS, self.requested))
            .chain(address(option::SERVER_ID, self.server))
            .chain(wanted)
            .chain([option::END]);
        out.fill(0);
        let whole = fixed.as_bytes().iter().copied().chain(options);
        out.iter_mut().zip(whole).for_each(|(place, byte)| *place = byte);
    }
}

/// Name servers that are kept of those named: as many as resolv.conf(5) takes (MAXNS).
pub const NAME_SERVERS: usize = 3;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplyKind {
    Offer,
    Ack,
    Nak,
}

/// A server's answer, as far as it concerns addresses. Times in seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reply {
    pub kind: ReplyKind,
    pub transaction: u32,
    pub mac: MacAddr,
    /// The address that is offered or leased.
    pub yours: Ipv4Addr,
    pub server: Option<Ipv4Addr>,
    /// Of the subnet; a mask with holes is none.
    pub prefix_length: Option<u8>,
    pub router: Option<Ipv4Addr>,
    /// The first ones, without gaps.
    pub name_servers: [Option<Ipv4Addr>; NAME_SERVERS],
    pub lease: Option<u32>,
    pub renewal: Option<u32>,
    pub rebinding: Option<u32>,
}

impl Reply {
    /// Refuses what is no answer to a client over Ethernet, and options that end past the message.
    pub fn parse(bytes: &[u8]) -> Result<Self, Error> {
        let (layout, options) = Layout::ref_from_prefix(bytes).map_err(|_| Error::Truncated)?;
        let header = (layout.operation, layout.hardware_type, layout.hardware_len);
        if header != (2, ETHERNET, 6) || layout.magic.get() != MAGIC {
            return Err(Error::Malformed);
        }
        let [a, b, c, d, e, f, ..] = layout.hardware;
        let mut found = Options::default();
        found.read(options)?;
        // RFC 2132 §9.3: options may go on where names are otherwise.
        let overload = found.overload;
        if overload & 1 != 0 {
            found.read(&layout.file)?;
        }
        if overload & 2 != 0 {
            found.read(&layout.server_name)?;
        }
        Ok(Self {
            kind: found.kind.ok_or(Error::Malformed)?,
            transaction: layout.transaction.get(),
            mac: MacAddr([a, b, c, d, e, f]),
            yours: layout.yours.into(),
            server: found.server,
            prefix_length: found.prefix_length,
            router: found.router,
            name_servers: found.name_servers,
            lease: found.lease,
            renewal: found.renewal,
            rebinding: found.rebinding,
        })
    }
}

#[derive(Default)]
struct Options {
    kind: Option<ReplyKind>,
    overload: u8,
    server: Option<Ipv4Addr>,
    prefix_length: Option<u8>,
    router: Option<Ipv4Addr>,
    name_servers: [Option<Ipv4Addr>; NAME_SERVERS],
    lease: Option<u32>,
    renewal: Option<u32>,
    rebinding: Option<u32>,
}

impl Options {
    fn read(&mut self, bytes: &[u8]) -> Result<(), Error> {
        let mut rest = bytes;
        while let Some((&code, after)) = rest.split_first() {
            rest = match code {
                option::PAD => after,
                option::END => return Ok(()),
                code => {
                    let (&len, after) = after.split_first().ok_or(Error::Truncated)?;
                    let (data, after) =
                        after.split_at_checked(len.into()).ok_or(Error::Truncated)?;
                    self.note(code, data)?;
                    after
                }
            };
        }
        Ok(())
    }

    /// Options nobody asked for are skipped; of those known here the length has to be right.
    fn note(&mut self, code: u8, data: &[u8]) -> Result<(), Error> {
        let word = || data.first_chunk::<4>().copied().ok_or(Error::Malformed);
        let seconds = || word().map(|bytes| Some(u32::from_be_bytes(bytes)));
        let address = || word().map(|bytes| Some(Ipv4Addr::from(bytes)));
        match code {
            option::MESSAGE_TYPE => {
                self.kind = match data {
                    [2] => Some(ReplyKind::Offer),
                    [5] => Some(ReplyKind::Ack),
                    [6] => Some(ReplyKind::Nak),
                    _ => return Err(Error::Malformed),
                }
            }
            option::OVERLOAD => self.overload = *data.first().ok_or(Error::Malformed)?,
            option::SUBNET_MASK => {
                let mask = u32::from_be_bytes(word()?);
                let length = mask.leading_ones();
                let whole = mask.count_ones() == length;
                self.prefix_length = u8::try_from(length).ok().filter(|_| whole);
            }
            option::ROUTER => self.router = address()?,
            option::NAME_SERVER => {
                address()?;
                let (whole, _) = data.as_chunks::<4>();
                let named = whole.iter().map(|octets| Some(Ipv4Addr::from(*octets)));
                self.name_servers.iter_mut().zip(named).for_each(|(place, named)| *place = named);
            }
            option::SERVER_ID => self.server = address()?,
            option::LEASE_TIME => self.lease = seconds()?,
            option::RENEWAL_TIME => self.renewal = seconds()?,
            option::REBINDING_TIME => self.rebinding = seconds()?,
            _ => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 9]);

    /// What an answer has before its options, the magic number included.
    const FIXED_LEN: usize = size_of::<Layout>();

    /// An answer with these options.
    fn answer(options: &[u8]) -> Vec<u8> {
        let request = Request {
            kind: RequestKind::Discover,
            transaction: 0x1234_5678,
            seconds: 3,
            client: Ipv4Addr::UNSPECIFIED,
            mac: MAC,
            requested: None,
            server: None,
        };
        let mut bytes = [0; REQUEST_LEN];
        request.emit(&mut bytes);
        bytes[0] = 2;
        bytes[16..20].copy_from_slice(&[10, 0, 0, 50]);
        [&bytes[..FIXED_LEN], options].concat()
    }

    #[test]
    fn a_request_has_what_servers_look_for() {
        let request = Request {
            kind: RequestKind::Request,
            transaction: 7,
            seconds: 1,
            client: Ipv4Addr::UNSPECIFIED,
            mac: MAC,
            requested: Some([10, 0, 0, 50].into()),
            server: Some([10, 0, 0, 1].into()),
        };
        let mut bytes = [0; REQUEST_LEN];
        request.emit(&mut bytes);
        assert_eq!(bytes[..8], [1, 1, 6, 0, 0, 0, 0, 7]);
        assert_eq!(bytes[10..12], [0x80, 0], "the answer has to be broadcast");
        assert_eq!(bytes[28..34], MAC.0);
        let options = [
            &[53, 1, 3, 61, 7, 1, 2, 0, 0, 0, 0, 9, 50, 4, 10, 0, 0, 50, 54, 4, 10, 0, 0, 1][..],
            &[55, 6, 1, 3, 6, 51, 58, 59, 255, 0],
        ]
        .concat();
        assert_eq!(bytes[FIXED_LEN..FIXED_LEN + options.len()], options);
        Request { client: [10, 0, 0, 50].into(), ..request }.emit(&mut bytes);
        assert_eq!(bytes[10..16], [0, 0, 10, 0, 0, 50], "it can be reached there");
    }

    #[test]
    fn an_answer_is_read() {
        let options = [
            &[53, 1, 5, 0, 0, 54, 4, 10, 0, 0, 1, 1, 4, 255, 255, 254, 0][..],
            &[3, 8, 10, 0, 0, 1, 10, 0, 0, 2, 51, 4, 0, 0, 14, 16, 58, 4, 0, 0, 7, 8],
            &[59, 4, 0, 0, 12, 78, 119, 3, 1, 2, 3, 6, 9, 10, 0, 0, 3, 10, 0, 0, 4, 1, 255, 1, 2],
        ]
        .concat();
        let expected = Reply {
            kind: ReplyKind::Ack,
            transaction: 0x1234_5678,
            mac: MAC,
            yours: [10, 0, 0, 50].into(),
            server: Some([10, 0, 0, 1].into()),
            prefix_length: Some(23),
            router: Some([10, 0, 0, 1].into()),
            name_servers: [Some([10, 0, 0, 3].into()), Some([10, 0, 0, 4].into()), None],
            lease: Some(3600),
            renewal: Some(1800),
            rebinding: Some(3150),
        };
        assert_eq!(Reply::parse(&answer(&options)), Ok(expected));
    }

    #[test]
    fn options_may_go_on_in_the_names() {
        let mut bytes = answer(&[52, 1, 3, 53, 1, 2, 255]);
        bytes[108..115].copy_from_slice(&[51, 4, 0, 0, 0, 60, 255]);
        bytes[44..51].copy_from_slice(&[54, 4, 10, 0, 0, 1, 255]);
        let reply = Reply::parse(&bytes).unwrap();
        assert_eq!((reply.lease, reply.server), (Some(60), Some([10, 0, 0, 1].into())));
        // Not unless that is said.
        bytes[242] = 0;
        let reply = Reply::parse(&bytes).unwrap();
        assert_eq!((reply.lease, reply.server), (None, None));
    }

    #[test]
    fn what_is_no_answer() {
        for (options, error) in [
            (&[][..], Error::Malformed),
            (&[255, 53, 1, 2], Error::Malformed),
            (&[53, 1, 1, 255], Error::Malformed),
            (&[53, 0, 255], Error::Malformed),
            (&[53, 1, 2, 6, 3, 10, 0, 0, 255], Error::Malformed),
            (&[53, 1, 2, 51, 3, 0, 0, 9], Error::Malformed),
            (&[53, 1, 2, 51, 4, 0, 0], Error::Truncated),
            (&[53, 1, 2, 51], Error::Truncated),
        ] {
            assert_eq!(Reply::parse(&answer(options)), Err(error), "{options:?}");
        }
        let good = answer(&[53, 1, 2, 255]);
        for len in 0..FIXED_LEN {
            assert_eq!(Reply::parse(&good[..len]), Err(Error::Truncated), "{len}");
        }
        for (at, value) in [(0, 1), (1, 6), (2, 16), (236, 0)] {
            let mut bytes = good.clone();
            bytes[at] = value;
            assert_eq!(Reply::parse(&bytes), Err(Error::Malformed), "{at}");
        }
        let holes = answer(&[53, 1, 2, 1, 4, 255, 0, 255, 0, 255]);
        assert_eq!(Reply::parse(&holes).unwrap().prefix_length, None);
    }
}
