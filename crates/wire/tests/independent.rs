//! What we emit, read by a parser that others wrote, and by our own.

use etherparse::{
    ArpOperation, ArpPacketSlice, Ethernet2HeaderSlice, Icmpv4Slice, Icmpv4Type, Ipv4HeaderSlice,
    Ipv4Slice, TcpHeaderSlice, TcpOptionElement, TcpOptionElement as Element, UdpHeaderSlice,
    checksum::Sum16BitWords, icmpv4::DestUnreachableHeader,
};
use narrows_wire::{
    address::MacAddr,
    arp,
    checksum::Sum,
    ethernet::{self, EtherType},
    icmpv4::{self, Unreachable},
    ipv4::{self, Protocol},
    tcp::{self, Flags, Segment},
    tcp_options::{Options, SackBlocks, Timestamps},
    udp,
};
use proptest::{collection::vec, option, prelude::*};
use std::net::Ipv4Addr;

fn mac() -> impl Strategy<Value = MacAddr> {
    any::<[u8; 6]>().prop_map(MacAddr)
}

fn address() -> impl Strategy<Value = Ipv4Addr> {
    any::<[u8; 4]>().prop_map(Ipv4Addr::from)
}

fn ipv4_header() -> impl Strategy<Value = ipv4::Header> {
    (any::<(u8, u16, bool, bool, u16, u8, u8)>(), address(), address()).prop_map(
        |(
            (tos, identification, dont_fragment, more_fragments, offset, ttl, protocol),
            source,
            destination,
        )| {
            ipv4::Header {
                tos,
                identification,
                dont_fragment,
                more_fragments,
                fragment_offset: offset & !7,
                ttl,
                protocol: Protocol(protocol),
                source,
                destination,
            }
        },
    )
}

fn tcp_header() -> impl Strategy<Value = tcp::Header> {
    any::<(u16, u16, u32, u32, u16, u16, u16)>().prop_map(
        |(source_port, destination_port, sequence, acknowledgment, flags, window, urgent)| {
            tcp::Header {
                source_port,
                destination_port,
                sequence,
                acknowledgment,
                flags: Flags(flags & 0x1ff),
                window,
                urgent,
            }
        },
    )
}

fn tcp_options() -> impl Strategy<Value = Options> {
    let timestamps = any::<(u32, u32)>().prop_map(|(value, echo)| Timestamps { value, echo });
    let sack = vec(any::<(u32, u32)>(), 0..=4).prop_map(|blocks| {
        let mut sack = SackBlocks::default();
        blocks.into_iter().for_each(|(left, right)| sack.push(left, right));
        sack
    });
    let parts = (any::<(Option<u16>, Option<u8>, bool)>(), option::of(timestamps), sack);
    parts.prop_map(|((mss, window_scale, sack_permitted), timestamps, sack)| Options {
        mss,
        window_scale,
        sack_permitted,
        timestamps,
        sack,
        ..Options::default()
    })
}

fn icmp_header() -> impl Strategy<Value = icmpv4::Header> {
    use icmpv4::Header::*;
    let unreachable = |code, mtu| {
        let code = Unreachable(code);
        let mtu = if code == Unreachable::FRAGMENTATION_NEEDED { mtu } else { 0 };
        DestinationUnreachable { code, mtu }
    };
    prop_oneof![
        any::<(u16, u16)>().prop_map(|(identifier, sequence)| EchoRequest { identifier, sequence }),
        any::<(u16, u16)>().prop_map(|(identifier, sequence)| EchoReply { identifier, sequence }),
        (0u8..16, any::<u16>()).prop_map(move |(code, mtu)| unreachable(code, mtu)),
        (0u8..2).prop_map(|code| TimeExceeded { code }),
        any::<u8>().prop_map(|pointer| ParameterProblem { pointer }),
        (13u8.., any::<u8>()).prop_map(|(kind, code)| Other { kind, code }),
    ]
}

/// The blocks that there is room for beside the other options.
fn blocks_emitted(options: &Options) -> &[(u32, u32)] {
    let others = Options { sack: SackBlocks::default(), ..*options };
    let room = (40 - others.emitted_len()).saturating_sub(4) / 8;
    let blocks = options.sack.as_slice();
    &blocks[..blocks.len().min(room)]
}

fn expected_elements(options: &Options) -> Vec<TcpOptionElement> {
    let mut elements = Vec::new();
    elements.extend(options.mss.map(Element::MaximumSegmentSize));
    elements.extend(options.sack_permitted.then_some(Element::SelectiveAcknowledgementPermitted));
    elements.extend(options.timestamps.map(|t| Element::Timestamp(t.value, t.echo)));
    elements.extend(options.window_scale.map(Element::WindowScale));
    if let [first, rest @ ..] = blocks_emitted(options) {
        let mut others = [None; 3];
        others.iter_mut().zip(rest).for_each(|(to, from)| *to = Some(*from));
        elements.push(Element::SelectiveAcknowledgement(*first, others));
    }
    elements
}

proptest! {
    #[test]
    fn ethernet_is_read_as_written(destination in mac(), source in mac(), ether_type: u16) {
        let header = ethernet::Header { destination, source, ether_type: EtherType(ether_type) };
        let mut bytes = [0; ethernet::HEADER_LEN];
        header.emit(&mut bytes);

        let theirs = Ethernet2HeaderSlice::from_slice(&bytes).unwrap();
        prop_assert_eq!(theirs.destination(), destination.0);
        prop_assert_eq!(theirs.source(), source.0);
        prop_assert_eq!(theirs.ether_type().0, ether_type);
        prop_assert_eq!(ethernet::Header::parse(&bytes), Ok((header, &[][..])));
    }

    #[test]
    fn arp_is_read_as_written(
        request: bool, sender_mac in mac(), sender_ip in address(),
        target_mac in mac(), target_ip in address(),
    ) {
        let operation = if request { arp::Operation::Request } else { arp::Operation::Reply };
        let packet = arp::Packet { operation, sender_mac, sender_ip, target_mac, target_ip };
        let mut bytes = [0; arp::LEN];
        packet.emit(&mut bytes);

        let theirs = ArpPacketSlice::from_slice(&bytes).unwrap().to_packet().try_eth_ipv4().unwrap();
        let operation = if request { ArpOperation::REQUEST } else { ArpOperation::REPLY };
        prop_assert_eq!(theirs.operation, operation);
        prop_assert_eq!(theirs.sender_mac, sender_mac.0);
        prop_assert_eq!(theirs.sender_ipv4_addr(), sender_ip);
        prop_assert_eq!(theirs.target_mac, target_mac.0);
        prop_assert_eq!(theirs.target_ipv4_addr(), target_ip);
        prop_assert_eq!(arp::Packet::parse(&bytes), Ok(packet));
    }

    #[test]
    fn ipv4_is_read_as_written(header in ipv4_header(), payload in vec(any::<u8>(), 0..200)) {
        let mut bytes = [0; ipv4::HEADER_LEN];
        header.emit(payload.len(), &mut bytes).unwrap();

        let theirs = Ipv4HeaderSlice::from_slice(&bytes).unwrap();
        prop_assert_eq!(theirs.header_checksum(), theirs.to_header().calc_header_checksum());
        prop_assert_eq!(theirs.dcp().value() << 2 | theirs.ecn().value(), header.tos);
        prop_assert_eq!(usize::from(theirs.total_len()), bytes.len() + payload.len());
        prop_assert_eq!(theirs.identification(), header.identification);
        prop_assert_eq!(theirs.dont_fragment(), header.dont_fragment);
        prop_assert_eq!(theirs.more_fragments(), header.more_fragments);
        prop_assert_eq!(theirs.fragments_offset().byte_offset(), header.fragment_offset);
        prop_assert_eq!(theirs.ttl(), header.ttl);
        prop_assert_eq!(theirs.protocol().0, header.protocol.0);
        prop_assert_eq!(theirs.source_addr(), header.source);
        prop_assert_eq!(theirs.destination_addr(), header.destination);

        let padded = [&bytes[..], &payload[..], &[0; 6]].concat();
        let ours = ipv4::Packet::parse(&padded).unwrap();
        prop_assert_eq!(ours.header, header);
        prop_assert_eq!(ours.header_bytes, &bytes[..]);
        prop_assert_eq!(ours.options, &[]);
        prop_assert_eq!(ours.payload, &payload[..]);
    }

    #[test]
    fn icmp_is_read_as_written(header in icmp_header(), payload in vec(any::<u8>(), 0..200)) {
        let mut bytes = [0; icmpv4::HEADER_LEN];
        header.emit(&payload, &mut bytes);
        let message = [&bytes[..], &payload[..]].concat();

        let theirs = Icmpv4Slice::from_slice(&message).unwrap();
        prop_assert_eq!(theirs.icmp_type().calc_checksum(&payload), theirs.checksum());
        match (header, theirs.icmp_type()) {
            (icmpv4::Header::EchoRequest { identifier, sequence }, Icmpv4Type::EchoRequest(echo))
            | (icmpv4::Header::EchoReply { identifier, sequence }, Icmpv4Type::EchoReply(echo)) => {
                prop_assert_eq!((identifier, sequence), (echo.id, echo.seq));
            }
            (
                icmpv4::Header::DestinationUnreachable { code, mtu },
                Icmpv4Type::DestinationUnreachable(their_code),
            ) => {
                prop_assert_eq!(Some(their_code), DestUnreachableHeader::from_values(code.0, mtu));
            }
            (icmpv4::Header::TimeExceeded { code }, Icmpv4Type::TimeExceeded(theirs)) => {
                prop_assert_eq!(code, theirs.code_u8());
            }
            (icmpv4::Header::ParameterProblem { pointer }, Icmpv4Type::ParameterProblem(theirs)) => {
                prop_assert_eq!(
                    theirs,
                    etherparse::icmpv4::ParameterProblemHeader::PointerIndicatesError(pointer)
                );
            }
            (icmpv4::Header::Other { kind, code }, _) => {
                prop_assert_eq!((kind, code), (theirs.type_u8(), theirs.code_u8()));
            }
            (ours, theirs) => prop_assert!(false, "{:?} was read as {:?}", ours, theirs),
        }
        prop_assert_eq!(icmpv4::Header::parse(&message), Ok((header, &payload[..])));
    }

    #[test]
    fn udp_is_read_as_written(
        source_port: u16, destination_port: u16, checksum: u16, payload in vec(any::<u8>(), 0..200),
    ) {
        let header = udp::Header { source_port, destination_port, checksum };
        let mut bytes = [0; udp::HEADER_LEN];
        header.emit(payload.len() as u16, &mut bytes);

        let theirs = UdpHeaderSlice::from_slice(&bytes).unwrap();
        prop_assert_eq!(theirs.source_port(), source_port);
        prop_assert_eq!(theirs.destination_port(), destination_port);
        prop_assert_eq!(usize::from(theirs.length()), udp::HEADER_LEN + payload.len());
        prop_assert_eq!(theirs.checksum(), checksum);
        let datagram = [&bytes[..], &payload[..], &[0xaa; 3]].concat();
        prop_assert_eq!(udp::Header::parse(&datagram), Ok((header, &payload[..])));
    }

    #[test]
    fn tcp_is_read_as_written(
        header in tcp_header(), options in tcp_options(), payload in vec(any::<u8>(), 0..200),
    ) {
        let mut bytes = [0xaa; tcp::MAX_HEADER_LEN];
        let len = header.emit(&options, 0x1234, &mut bytes);
        prop_assert_eq!(len, tcp::HEADER_LEN + options.emitted_len());
        let segment = [&bytes[..len], &payload[..]].concat();

        let theirs = TcpHeaderSlice::from_slice(&segment).unwrap();
        prop_assert_eq!(theirs.source_port(), header.source_port);
        prop_assert_eq!(theirs.destination_port(), header.destination_port);
        prop_assert_eq!(theirs.sequence_number(), header.sequence);
        prop_assert_eq!(theirs.acknowledgment_number(), header.acknowledgment);
        prop_assert_eq!(usize::from(theirs.data_offset()) * 4, len);
        let flags = [
            (theirs.fin(), Flags::FIN), (theirs.syn(), Flags::SYN), (theirs.rst(), Flags::RST),
            (theirs.psh(), Flags::PSH), (theirs.ack(), Flags::ACK), (theirs.urg(), Flags::URG),
            (theirs.ece(), Flags::ECE), (theirs.cwr(), Flags::CWR),
            // RFC 9768 §2.2 uses the bit that was the nonce sum's.
            (theirs.ns(), Flags::AE),
        ];
        for (set, flag) in flags {
            prop_assert_eq!(set, header.flags.contains(flag));
        }
        prop_assert_eq!(theirs.window_size(), header.window);
        prop_assert_eq!(theirs.checksum(), 0x1234);
        prop_assert_eq!(theirs.urgent_pointer(), header.urgent);
        let elements: Vec<_> = theirs
            .options_iterator()
            .map(Result::unwrap)
            .filter(|element| *element != Element::Noop)
            .collect();
        prop_assert_eq!(elements, expected_elements(&options));

        let mut sack = SackBlocks::default();
        blocks_emitted(&options).iter().for_each(|(left, right)| sack.push(*left, *right));
        let ours = Segment::parse(&segment).unwrap();
        prop_assert_eq!(ours.header, header);
        prop_assert_eq!(ours.options, Options { sack, ..options });
        prop_assert_eq!(ours.payload, &payload[..]);
    }

    /// A whole frame, with the transport checksum over pseudo-header, header and payload.
    #[test]
    fn tcp_checksum_is_what_others_compute(
        source in address(), destination in address(),
        header in tcp_header(), options in tcp_options(), payload in vec(any::<u8>(), 0..200),
    ) {
        let mut bytes = [0; tcp::MAX_HEADER_LEN];
        let len = header.emit(&options, 0, &mut bytes);
        let total = (len + payload.len()) as u16;
        let checksum = Sum::pseudo_header(source, destination, Protocol::TCP.0, total)
            .add(Sum::of(&bytes[..len]))
            .add(Sum::of(&payload))
            .finish();

        let ip = etherparse::Ipv4Header::new(
            total, 64, etherparse::IpNumber::TCP, source.octets(), destination.octets(),
        ).unwrap();
        let theirs = TcpHeaderSlice::from_slice(&bytes[..len]).unwrap();
        let packet = [&ip.to_bytes()[..], &bytes[..len], &payload[..]].concat();
        let sliced = Ipv4Slice::from_slice(&packet).unwrap();
        prop_assert_eq!(theirs.calc_checksum_ipv4(&sliced.header(), &payload).unwrap(), checksum);
    }

    #[test]
    fn sum_is_what_others_compute(bytes in vec(any::<u8>(), 0..3000), cut in 0usize..3000) {
        let theirs = u16::from_be(Sum16BitWords::new().add_slice(&bytes).ones_complement());
        prop_assert_eq!(Sum::of(&bytes).finish(), theirs);

        // In parts of which the first is even, in either order.
        let (first, second) = bytes.split_at((cut & !1).min(bytes.len() & !1));
        prop_assert_eq!(Sum::of(first).add(Sum::of(second)).finish(), theirs);
        prop_assert_eq!(Sum::of(second).add(Sum::of(first)).finish(), theirs);
    }
}
