//! Several datagrams in one call, and in one frame.

use super::*;

fn payloads(host: &mut Host) -> Vec<Vec<u8>> {
    let frames = host.sent();
    frames
        .iter()
        .map(|frame| Header::parse(read_packet(frame).1.payload).expect("UDP").1.to_vec())
        .collect()
}

#[test]
fn a_long_payload_is_cut_into_datagrams() {
    let mut host = Host::with_peer();
    let socket = host.socket(Request::OpenUdp, (ANY, 7));
    let data: Vec<u8> = (0..2500).map(|index| index as u8).collect();
    let envelope = Envelope { remote: Some(addr(PEER, 5000)), ..Envelope::default() };
    let pieces: Vec<Vec<u8>> = data.chunks(1000).map(<[u8]>::to_vec).collect();
    // By the socket's setting, and by what is said of one datagram.
    let once = Envelope { segment_size: Some(1000), ..envelope };
    host.shard.send_datagram(host.now, socket, &once, &data).expect("sent");
    assert_eq!(payloads(&mut host), pieces);
    host.request(Request::SetOption { socket, option: SocketOption::SegmentSize(1000) });
    host.shard.send_datagram(host.now, socket, &envelope, &data).expect("sent");
    assert_eq!(payloads(&mut host), pieces);
    let whole = Envelope { segment_size: Some(0), ..envelope };
    host.shard.send_datagram(host.now, socket, &whole, &data).expect("sent");
    assert_eq!(host.sent().len(), 2, "fragments");
}

#[test]
fn segments_are_neither_too_many_nor_too_long() {
    let mut host = Host::with_peer();
    let socket = host.socket(Request::OpenUdp, (ANY, 7));
    for (size, len, result) in [
        (1, 128, Ok(())),
        (1, 129, Err(Error::InvalidArgument)),
        (1472, 3000, Ok(())),
        (1473, 1474, Err(Error::MessageTooLong)),
        (1473, 1473, Ok(())),
        (1000, 65_508, Err(Error::MessageTooLong)),
    ] {
        let envelope = Envelope {
            remote: Some(addr(PEER, 5000)),
            segment_size: Some(size),
            ..Envelope::default()
        };
        let sent = host.shard.send_datagram(host.now, socket, &envelope, &vec![0; len]);
        assert_eq!(sent, result, "{len} by {size}");
        let reach = crate::layer::udp::reach(&mut host.shard, host.now, socket, &envelope, len);
        assert_eq!(reach.map(|longest| assert!(len <= longest)), result, "{len} by {size}");
    }
}

/// A device that cuts datagrams up gets them in one piece; so does the loopback, which takes a socket's
/// word for what it wants.
#[test]
fn a_device_that_cuts_gets_one_frame() {
    #[derive(Default)]
    struct Device(Vec<(TxOffload, Vec<u8>)>);
    impl crate::Sink for Device {
        fn has_room(&self) -> bool {
            true
        }
        fn send(&mut self, offload: TxOffload, header: &[u8], _: [&[u8]; 2]) {
            self.0.push((offload, header.to_vec()));
        }
    }
    let mut host = Host::with_peer();
    host.shard.interfaces.get_mut(ETH).expect("there").settings.capabilities =
        Capabilities { tx_checksum: true, tx_segmentation: Some(65_535), tx_datagrams: true };
    let socket = host.socket(Request::OpenUdp, (ANY, 7));
    let data: Vec<u8> = (0..2500).map(|index| index as u8).collect();
    let to = |address| Envelope {
        remote: Some(addr(address, 5000)),
        segment_size: Some(1000),
        ..Envelope::default()
    };
    host.shard.send_datagram(host.now, socket, &to(PEER), &data).expect("sent");
    let mut device = Device::default();
    assert!(!host.shard.poll_transmit(host.now, ETH, &mut device));
    let [(offload, frame)] = device.0.as_slice() else { panic!("{} frames", device.0.len()) };
    let segmentation = Segmentation { kind: SegmentKind::Udp, segment_size: 1000, header_len: 42 };
    let checksum = PartialChecksum { start: 34, offset: 6 };
    assert_eq!(*offload, TxOffload { checksum: Some(checksum), segmentation: Some(segmentation) });
    let (_, packet) = read_packet(frame);
    let (header, payload) = Header::parse(packet.payload).expect("UDP");
    let (source, destination) = (packet.header.source, packet.header.destination);
    let sum = Sum::pseudo_header(source, destination, 17, 2508).fold();
    assert_eq!((header.checksum, payload), (sum, &data[..]));
    for (coalesce, lens) in [(false, &[1000, 1000, 500][..]), (true, &[2500])] {
        let option = SocketOption::Coalesce(coalesce);
        let receiver = host.socket(Request::OpenUdp, (OWN, 5000));
        host.request(Request::SetOption { socket: receiver, option });
        host.shard.send_datagram(host.now, socket, &to(OWN), &data).expect("sent");
        assert!(!host.shard.loop_back(host.now));
        let taken: Vec<_> = core::iter::from_fn(|| host.shard.receive_datagram(receiver).ok())
            .map(|datagram| datagram.payload.len())
            .collect();
        assert_eq!(taken, lens);
        host.request(Request::Close { socket: receiver });
    }
}

#[test]
fn what_has_no_checksum_is_not_cut() {
    let mut host = Host::with_peer();
    let socket = host.socket(Request::OpenUdp, (ANY, 7));
    host.request(Request::SetOption { socket, option: SocketOption::NoChecksum(true) });
    for (len, result) in [(1000, Ok(())), (1001, Err(Error::InvalidArgument))] {
        let envelope = Envelope {
            remote: Some(addr(PEER, 5000)),
            segment_size: Some(1000),
            ..Envelope::default()
        };
        let sent = host.shard.send_datagram(host.now, socket, &envelope, &vec![0; len]);
        assert_eq!(sent, result, "{len}");
    }
}

/// Datagrams that came one by one are put together for who asked for that, while they wait.
#[test]
fn what_waits_is_put_together() {
    let mut host = Host::with_peer();
    let socket = host.socket(Request::OpenUdp, (ANY, 7));
    host.request(Request::SetOption { socket, option: SocketOption::Coalesce(true) });
    for piece in [&[1; 100][..], &[2; 100], &[3; 30], &[4; 100]] {
        host.receive(&to_port(7, piece));
    }
    let taken: Vec<_> = core::iter::from_fn(|| host.shard.receive_datagram(socket).ok())
        .map(|datagram| (datagram.payload.into_vec(), datagram.segment_size))
        .collect();
    let together = [&[1; 100][..], &[2; 100], &[3; 30]].concat();
    assert_eq!(taken, [(together, Some(100)), (vec![4; 100], None)]);
}

/// What a sender or a device put together is one datagram only for who asked for that.
#[test]
fn what_came_in_one_frame_is_taken_apart() {
    let data: Vec<u8> = (0..250).collect();
    let frame = to_port(7, &data);
    let offload = RxOffload { checksum: RxChecksum::Partial, segment_size: Some(100) };
    for coalesce in [false, true] {
        let mut host = Host::with_peer();
        let socket = host.socket(Request::OpenUdp, (ANY, 7));
        host.request(Request::SetOption { socket, option: SocketOption::Coalesce(coalesce) });
        host.shard.receive(host.now, ETH, &frame, offload);
        let taken: Vec<_> = core::iter::from_fn(|| host.shard.receive_datagram(socket).ok())
            .map(|datagram| (datagram.payload.into_vec(), datagram.segment_size))
            .collect();
        let expected = if coalesce {
            vec![(data.clone(), Some(100))]
        } else {
            data.chunks(100).map(|piece| (piece.to_vec(), None)).collect()
        };
        assert_eq!(taken, expected);
    }
}

/// Time to live, type of service and fragmentation are the socket's, or one datagram's own.
#[test]
fn programs_choose_how_datagrams_travel() {
    let mut host = Host::with_peer();
    let socket = host.socket(Request::OpenUdp, (ANY, 7));
    for option in [SocketOption::TimeToLive(3), SocketOption::TypeOfService(0xb8)] {
        host.request(Request::SetOption { socket, option });
    }
    let plain = Envelope { remote: Some(addr(PEER, 5000)), ..Envelope::default() };
    let special = Envelope { ttl: Some(9), tos: Some(0x10), ..plain };
    for (mode, envelope, ttl, tos, dont_fragment) in [
        (PathMtuDiscovery::Want, plain, 3, 0xb8, true),
        (PathMtuDiscovery::Want, special, 9, 0x10, true),
        (PathMtuDiscovery::Dont, plain, 3, 0xb8, false),
        (PathMtuDiscovery::Omit, plain, 3, 0xb8, false),
        (PathMtuDiscovery::Do, plain, 3, 0xb8, true),
    ] {
        host.request(Request::SetOption { socket, option: SocketOption::PathMtu(mode) });
        host.shard.send_datagram(host.now, socket, &envelope, b"x").expect("sent");
        let frame = host.sent_one();
        let header = read_packet(&frame).1.header;
        assert_eq!((header.ttl, header.tos, header.dont_fragment), (ttl, tos, dont_fragment));
    }
    let refused = Request::SetOption { socket, option: SocketOption::TimeToLive(0) };
    let refused = host.shard.request(host.now, Default::default(), refused);
    assert_eq!(refused, Err(Error::InvalidArgument));
}

#[test]
fn a_source_can_be_chosen_for_one_datagram() {
    let mut host = Host::with_peer();
    let prefix = prefix("10.0.0.3/24");
    host.request(Request::AddAddress { interface: ETH, prefix });
    let socket = host.socket(Request::OpenUdp, (ANY, 7));
    let third = Ipv4Addr::new(10, 0, 0, 3);
    let envelope = |source| Envelope {
        remote: Some(addr(PEER, 5000)),
        source: Some(source),
        ..Envelope::default()
    };
    host.shard.send_datagram(host.now, socket, &envelope(third.into()), b"x").expect("sent");
    assert_eq!(read_packet(&host.sent_one()).1.header.source, third);
    let foreign = envelope(PEER.into());
    let refused = host.shard.send_datagram(host.now, socket, &foreign, b"x");
    assert_eq!(refused, Err(Error::NetworkUnreachable));
}
