//! Options of packets that programs send and receive (ip(7): IP_OPTIONS, IP_RECVOPTS, IP_RETOPTS).

use super::{Mark, Refusal, check, record, time_of_day};
use crate::{
    Instant, Shard,
    layer::Arrival,
    request::{Error, Reply, SocketId},
};
use core::net::Ipv4Addr;
use narrows_wire::ipv4::{HEADER_LEN, MAX_HEADER_LEN};

/// From now on they go with each packet of a UDP, ping or raw socket. Source routes, which Linux takes,
/// are refused: routers drop such packets (RFC 7126 §4.3), and so do we.
pub(crate) fn set(shard: &mut Shard, id: SocketId, options: &[u8]) -> Result<Reply, Error> {
    let socket = shard.sockets.get_mut(id).ok_or(Error::NoSuchSocket)?;
    let datagram = socket.datagram().ok_or(Error::InvalidState)?;
    if options.len() > MAX_HEADER_LEN - HEADER_LEN {
        return Err(Error::InvalidArgument);
    }
    match check(options) {
        Err(Refusal::SourceRoute) => Err(Error::NotSupported),
        Err(Refusal::Malformed { .. }) => Err(Error::InvalidArgument),
        Ok(()) => {
            datagram.options = options.into();
            Ok(Reply::Done)
        }
    }
}

/// Bytes of a packet's header with them.
pub(crate) fn header_len(options: &[u8]) -> usize {
    HEADER_LEN + options.len().next_multiple_of(4)
}

/// Those of a socket's next packet: a recorded route begins where the packet does (RFC 791 §3.1).
pub(crate) fn begun(shard: &Shard, now: Instant, options: &[u8], source: Ipv4Addr) -> Vec<u8> {
    let mut options = options.to_vec();
    if !options.is_empty() {
        let mark = Mark { address: source, time: time_of_day(shard, now) };
        record(&mut options, mark, |address| address == source);
    }
    options
}

/// Those of a packet that arrived, as its receiver is told them: with the receiver's own mark, as on Linux.
pub(crate) fn arrived(shard: &Shard, now: Instant, arrival: &Arrival<'_>) -> Box<[u8]> {
    if arrival.options().is_empty() {
        return Box::default();
    }
    begun(shard, now, arrival.options(), arrival.header.destination).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Request,
        layer::fixture::*,
        request::{Envelope, Principal, SocketOption},
        table::ip_settings::PathMtuDiscovery,
    };
    use core::net::SocketAddr;
    use narrows_wire::{
        ethernet::EtherType,
        icmpv4,
        ipv4::{Header, Packet, Protocol},
    };

    const RECORD_ROUTE: [u8; 16] = [1, 7, 15, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

    /// One of each kind, and something it can send.
    fn sockets(host: &mut Host) -> [(SocketId, Vec<u8>); 3] {
        let raw = Request::OpenRaw { protocol: Protocol::ICMP, interfaces: None };
        let echo = icmp(&icmpv4::Header::EchoRequest { identifier: 0, sequence: 1 }, &[]);
        [Request::OpenUdp, Request::OpenPing, raw].map(|open| match host.request(open) {
            Reply::Socket(socket) => (socket, echo.clone()),
            other => panic!("{other:?}"),
        })
    }

    fn set(host: &mut Host, socket: SocketId, options: &[u8]) -> Result<Reply, Error> {
        let request = Request::SetIpOptions { socket, options: options.to_vec() };
        host.shard.request(host.now, Principal::user(1), request)
    }

    #[test]
    fn options_go_with_each_packet_and_a_route_begins_here() {
        let mut host = Host::with_peer();
        for (socket, bytes) in sockets(&mut host) {
            assert_eq!(set(&mut host, socket, &RECORD_ROUTE), Ok(Reply::Done));
            assert_eq!(host.shard.ip_options(socket), Some(&RECORD_ROUTE[..]));
            let to = SocketAddr::new(PEER.into(), 9);
            host.shard.send_to(host.now, socket, Some(to), &bytes).expect("sent");
            let sent = host.sent_one();
            let begun = [&[1, 7, 15, 8][..], &OWN.octets(), &[0; 8]].concat();
            assert_eq!(read_packet(&sent).1.options, begun);
            for (bytes, error) in [
                (&[7, 1][..], Error::InvalidArgument),
                (&[0; 41], Error::InvalidArgument),
                (&[131, 3, 4], Error::NotSupported),
            ] {
                assert_eq!(set(&mut host, socket, bytes), Err(error));
            }
            assert_eq!(set(&mut host, socket, &[]), Ok(Reply::Done));
            host.shard.send_to(host.now, socket, Some(to), &bytes).expect("sent");
            assert!(read_packet(&host.sent_one()).1.options.is_empty());
        }
    }

    #[test]
    fn options_leave_less_room_for_the_rest() {
        let mut host = Host::with_peer();
        for (socket, bytes) in sockets(&mut host) {
            let option = SocketOption::PathMtu(PathMtuDiscovery::Do);
            host.request(Request::SetOption { socket, option });
            set(&mut host, socket, &RECORD_ROUTE).expect("set");
            let remote = Some(SocketAddr::new(PEER.into(), 9));
            let envelope = Envelope { remote, ..Envelope::default() };
            let request = Request::Reach { socket, envelope, len: bytes.len() };
            let Reply::Reachable { longest } = host.request(request) else { panic!("no answer") };
            let whole = |len| [&bytes[..], &vec![0; len - bytes.len()]].concat();
            let mut send = |len| host.shard.send_to(host.now, socket, remote, &whole(len));
            assert_eq!(send(longest + 1), Err(Error::MessageTooLong));
            assert_eq!(send(longest), Ok(()));
            let sent = host.sent_one();
            assert_eq!(read_packet(&sent).1.header_bytes.len(), 36);
            assert_eq!(sent.len(), 14 + 1500);
        }
    }

    #[test]
    fn a_receiver_is_told_the_options_with_its_own_mark() {
        let mut host = Host::with_peer();
        let socket = host.socket(Request::OpenUdp, (OWN, 53));
        let open = Request::OpenRaw { protocol: Protocol::UDP, interfaces: None };
        let Reply::Socket(raw) = host.request(open) else { panic!("no socket") };
        let header = Header { protocol: Protocol::UDP, ..PACKET };
        let data = udp(&header, 9, 53, b"question");
        let begun = [&[1, 7, 15, 8][..], &PEER.octets(), &[0; 8]].concat();
        let with_options = header.with_options(&begun, data.len()).expect("a header");
        host.receive(&frame(OWN_MAC, EtherType::IPV4, &[with_options, data].concat()));
        let marked = [&[1, 7, 15, 12][..], &PEER.octets(), &OWN.octets(), &[0; 4]].concat();
        for socket in [socket, raw] {
            let datagram = host.shard.receive_datagram(socket).expect("a datagram");
            assert_eq!(&*datagram.options, marked);
            if socket == raw {
                let packet = Packet::parse(&datagram.payload).expect("a header that adds up");
                assert_eq!(packet.options, marked);
            }
        }
    }
}
