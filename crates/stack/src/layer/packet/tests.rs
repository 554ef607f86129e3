use super::*;
use crate::{
    bpf,
    counters::DropReason,
    layer::fixture::*,
    request::{
        Error, FanoutRequest, FrameAddress, NewLink, PacketOption, Principal, Reply, Request,
        SocketOption,
    },
    table::{
        claim::{Match, Rank},
        fanout::FanoutMode,
        packet_socket::EVERY_PROTOCOL,
        watch::Watch,
        zone::ZoneId,
    },
};
use narrows_wire::{
    checksum::Sum,
    vlan::{Tag, VlanId},
};

fn open(host: &mut Host, cooked: bool, protocol: u16) -> SocketId {
    match host.request(Request::OpenPacket { cooked, protocol }) {
        Reply::Socket(socket) => socket,
        other => panic!("{other:?}"),
    }
}

fn everything(host: &mut Host) -> SocketId {
    open(host, false, EVERY_PROTOCOL)
}

fn heard(host: &mut Host, socket: SocketId) -> Vec<FrameCopy> {
    std::iter::from_fn(|| host.shard.receive_frame(socket).ok()).collect()
}

fn set(host: &mut Host, socket: SocketId, option: PacketOption) {
    host.request(Request::SetPacket { socket, option });
}

#[test]
fn a_frame_and_its_answer_are_shown_and_acted_on_all_the_same() {
    let mut host = Host::with_peer();
    let socket = everything(&mut host);
    let request = ping(&PACKET);
    host.receive(&request);
    let reply = host.sent_one();
    let copies = heard(&mut host, socket);
    let told: Vec<_> =
        copies.iter().map(|copy| (copy.kind, copy.interface, &*copy.bytes)).collect();
    let expected = [(PacketType::Host, ETH, &*request), (PacketType::Outgoing, ETH, &*reply)];
    assert_eq!(told, expected);
    assert_eq!((copies[0].source, copies[0].protocol, copies[0].network), (PEER_MAC, 0x0800, 14));
    assert_eq!(host.drops(), []);
}

#[test]
fn frames_for_others_are_shown_too_and_said_to_be() {
    for (to, kind) in [
        (MacAddr([2, 9, 9, 9, 9, 9]), PacketType::OtherHost),
        (MacAddr::BROADCAST, PacketType::Broadcast),
        (MacAddr([1, 0, 0x5e, 1, 2, 3]), PacketType::Multicast),
    ] {
        let mut host = Host::with_peer();
        let socket = everything(&mut host);
        let mut frame = ping(&PACKET);
        frame[..6].copy_from_slice(&to.0);
        host.receive(&frame);
        assert_eq!(heard(&mut host, socket)[0].kind, kind, "{to:?}");
    }
}

#[test]
fn the_tag_is_beside_the_bytes_and_each_interface_shows_the_frame() {
    let mut host = Host::with_peer();
    let tag = Tag { protocol: TagProtocol::Dot1q, id: VlanId::new(7).expect("one") };
    let vlan = match host
        .request(Request::AddLink { name: "v".into(), link: NewLink::Vlan { lower: ETH, tag } })
    {
        Reply::Interface(vlan) => vlan,
        other => panic!("{other:?}"),
    };
    let socket = everything(&mut host);
    let plain = ping(&PACKET);
    host.receive(&[&plain[..12], &tag.emit(), &plain[12..]].concat());
    let told: Vec<_> = heard(&mut host, socket)
        .into_iter()
        .map(|copy| (copy.interface, copy.vlan, copy.bytes.into_vec()))
        .collect();
    assert_eq!(told, [(ETH, Some((0x8100, 7)), plain.clone()), (vlan, None, plain)]);
}

#[test]
fn a_filter_says_what_is_taken_and_how_much() {
    let mut host = Host::with_peer();
    let (raw, cooked) = (everything(&mut host), open(&mut host, true, EVERY_PROTOCOL));
    let i = |code, jump_true, jump_false, operand| bpf::Instruction {
        code,
        jump_true,
        jump_false,
        operand,
    };
    // The protocol is ICMP, where the network header begins; and of that 30 bytes.
    let icmp = [i(0x30, 0, 0, 0xfff0_0009), i(0x15, 0, 1, 1), i(0x06, 0, 0, 30), i(0x06, 0, 0, 0)];
    for socket in [raw, cooked] {
        set(&mut host, socket, PacketOption::Filter(Some(icmp.to_vec())));
    }
    let frame = ping(&PACKET);
    host.receive(&frame);
    host.receive(&arp_frame(&narrows_wire::arp::Packet {
        operation: narrows_wire::arp::Operation::Request,
        sender_mac: PEER_MAC,
        sender_ip: PEER,
        target_mac: MacAddr::ZERO,
        target_ip: OWN,
    }));
    for (socket, from) in [(raw, 0), (cooked, 14)] {
        let copies = heard(&mut host, socket);
        assert_eq!(copies.len(), 2, "the ping and its answer");
        assert_eq!(*copies[0].bytes, frame[from..from + 30]);
        assert_eq!(copies[0].length as usize, frame.len() - from);
    }
    let endless = PacketOption::Filter(Some(vec![i(0x05, 0, 0, 9)]));
    let request = Request::SetPacket { socket: raw, option: endless };
    let now = host.now;
    assert!(host.shard.request(now, Default::default(), request).is_err());
}

#[test]
fn a_slow_reader_loses_its_own_copies_and_delays_nobody() {
    let mut host = Host::with_peer();
    let (slow, quick) = (everything(&mut host), everything(&mut host));
    let frame = ping(&PACKET);
    let mut seen = 0;
    for _ in 0..5000 {
        host.receive(&frame);
        host.sent();
        seen += heard(&mut host, quick).len();
    }
    assert!(seen >= 5000, "{seen}");
    let waiting = heard(&mut host, slow).len();
    assert!(waiting < 2000, "{waiting}");
    let statistics = host.request(Request::PacketStatistics { socket: slow });
    let (frames, lost) = (seen as u32, (seen - waiting) as u32);
    assert_eq!(statistics, Reply::PacketStatistics { frames, lost });
    assert_eq!(host.dropped(DropReason::ReceiveQueueFull), 0);
}

#[test]
fn a_group_shares_and_a_flow_stays_with_one() {
    let mut host = Host::with_peer();
    let members = [everything(&mut host), everything(&mut host)];
    for socket in members {
        set(&mut host, socket, PacketOption::IgnoreOutgoing(true));
        let request =
            FanoutRequest { group: 7, mode: FanoutMode::Hash, rollover: false, unused: false };
        set(&mut host, socket, PacketOption::Fanout(request));
    }
    for _ in 0..8 {
        host.receive(&ping(&PACKET));
    }
    let mut counts = members.map(|socket| heard(&mut host, socket).len());
    counts.sort_unstable();
    // What goes out is shared by the flow's hash as well, but the members do not want it.
    assert_eq!(counts, [0, 8]);
    for socket in members {
        host.request(Request::Close { socket });
    }
    assert!(!host.shard.packets.is_watching());
}

#[test]
fn an_unfinished_checksum_is_finished_in_the_copy() {
    let mut host = Host::with_peer();
    let socket = everything(&mut host);
    let mut datagram = vec![0; 8 + 5];
    datagram[..6].copy_from_slice(&[0, 7, 0, 9, 0, 13]);
    datagram[8..].copy_from_slice(b"hello");
    let header = ipv4::Header { protocol: Protocol::UDP, ..PACKET };
    let sum = Sum::pseudo_header(header.source, header.destination, 17, 13);
    datagram[6..8].copy_from_slice(&sum.fold().to_be_bytes());
    let mut bytes = [0; ipv4::HEADER_LEN];
    header.emit(datagram.len(), &mut bytes).expect("short enough");
    let frame = [&ping(&PACKET)[..14], &bytes, &datagram].concat();
    let offload = RxOffload { checksum: RxChecksum::Partial, segment_size: None };
    let now = host.now;
    host.shard.receive(now, ETH, &frame, offload);
    let copy = heard(&mut host, socket).remove(0);
    let covered = sum.add(Sum::of(&copy.bytes[34..]));
    assert_eq!(covered.finish(), 0, "{:02x?}", copy.bytes);
    assert!(copy.verified);
}

#[test]
fn what_a_program_sends_is_shown_to_others_and_leaves() {
    let mut host = Host::with_peer();
    let (sender, other) = (everything(&mut host), everything(&mut host));
    let frame = ping(&PACKET);
    let now = host.now;
    let to = FrameAddress { interface: Some(ETH), ..FrameAddress::default() };
    host.shard.send_frame(now, sender, &to, &frame).expect("sent");
    assert_eq!(host.sent_one(), frame);
    assert_eq!(heard(&mut host, sender), []);
    assert_eq!(heard(&mut host, other).len(), 1);
    let nowhere = FrameAddress::default();
    for (to, bytes, error) in [
        (&nowhere, &frame[..], Error::NoSuchInterface),
        (&to, &frame[..13], Error::InvalidArgument),
        (&to, &[0; 1519], Error::MessageTooLong),
    ] {
        assert_eq!(host.shard.send_frame(now, sender, to, bytes), Err(error));
    }
    let cooked = open(&mut host, true, 0x88b5);
    let to = FrameAddress { destination: Some(PEER_MAC), ..to };
    host.shard.send_frame(now, cooked, &to, b"what").expect("sent");
    let sent = host.sent_one();
    assert_eq!((&sent[..6], &sent[12..]), (&PEER_MAC.0[..], &b"\x88\xb5what"[..]));
}

/// A principal is admitted to `public` alone, unless somebody says so.
#[test]
fn a_zone_is_not_seen_from_outside_nor_sent_into() {
    let mut host = Host::with_peer();
    let zone = ZoneId::new(1).expect("one of them");
    host.request(Request::SetZone { interface: ETH, zone });
    let socket = everything(&mut host);
    host.receive(&ping(&PACKET));
    host.sent();
    assert_eq!(heard(&mut host, socket), []);
    let now = host.now;
    let bind = Request::BindPacket { socket, interface: Some(ETH), protocol: 0 };
    assert_eq!(host.shard.request(now, Principal::user(1), bind), Err(Error::NoSuchInterface));
    let to = FrameAddress { interface: Some(ETH), ..FrameAddress::default() };
    let sent = host.shard.send_frame(now, socket, &to, &ping(&PACKET));
    assert_eq!((sent, host.sent()), (Err(Error::NoSuchInterface), vec![]));
}

fn claim(host: &mut Host, socket: SocketId, protocol: u8) -> Result<Reply, Error> {
    let wish = Match { interface: Some(ETH), protocol: Some(protocol), ..Match::default() };
    let option = PacketOption::Claim(Some((wish, Rank::Common)));
    host.shard.request(host.now, Principal::user(1), Request::SetPacket { socket, option })
}

#[test]
fn claimed_frames_are_the_holders_alone() {
    let mut host = Host::with_peer();
    let [holder, observer, trusted] = [(); 3].map(|()| everything(&mut host));
    set(&mut host, trusted, PacketOption::SeesClaimed(true));
    claim(&mut host, holder, 1).expect("free");
    assert_eq!(claim(&mut host, observer, 1), Err(Error::InUse));
    let wish = Match { protocol: Some(1), ..Match::default() };
    assert_eq!(host.shard.claim_in_the_way(observer, &wish, Rank::Common), Some(holder));
    host.receive(&ping(&PACKET));
    let told = [holder, observer, trusted].map(|socket| heard(&mut host, socket).len());
    assert_eq!((told, host.sent().len()), ([1, 0, 1], 0), "the stack doesn't answer");
    assert_eq!(host.drops(), [], "nothing is lost");
    // What is not claimed goes on, and so does everything once the claim is over.
    let datagram = packet_frame(&PACKET, &udp(&PACKET, 1, 2, b"to nobody"));
    host.receive(&datagram);
    assert_eq!(host.sent().len(), 1);
    host.request(Request::Close { socket: holder });
    heard(&mut host, observer);
    host.receive(&ping(&PACKET));
    assert_eq!((host.sent().len(), heard(&mut host, observer).len()), (1, 2), "and the answer");
}

#[test]
fn a_slow_holder_loses_what_it_claimed() {
    let mut host = Host::with_peer();
    let holder = everything(&mut host);
    let option = SocketOption::ReceiveBuffer(2048);
    host.request(Request::SetOption { socket: holder, option });
    claim(&mut host, holder, 1).expect("free");
    for _ in 0..100 {
        host.receive(&ping(&PACKET));
    }
    let Reply::PacketStatistics { frames, lost } =
        host.request(Request::PacketStatistics { socket: holder })
    else {
        panic!("no statistics")
    };
    assert_eq!((frames, lost as usize), (100, 100 - heard(&mut host, holder).len()));
    assert!(lost > 0 && host.sent().is_empty());
}

#[test]
fn a_tap_hears_of_frames_at_its_stages_alone() {
    let at = |stage, kind| (stage, kind, None);
    for (stages, expected) in [
        (Stages::FILTER, vec![at(Stages::FILTER, PacketType::Host)]),
        (Stages::REASSEMBLED, vec![at(Stages::REASSEMBLED, PacketType::Host)]),
        (Stages::TRANSMIT, vec![at(Stages::TRANSMIT, PacketType::Outgoing)]),
        (Stages::DROP, vec![]),
        (
            Stages::FILTER | Stages::TRANSMIT,
            vec![at(Stages::FILTER, PacketType::Host), at(Stages::TRANSMIT, PacketType::Outgoing)],
        ),
    ] {
        let mut host = Host::with_peer();
        let socket = open(&mut host, false, 0x0800);
        set(&mut host, socket, PacketOption::Tap(stages));
        host.receive(&ping(&PACKET));
        host.sent_one();
        let told = |copy: FrameCopy| (copy.stage, copy.kind, copy.reason);
        let heard: Vec<_> = heard(&mut host, socket).into_iter().map(told).collect();
        assert_eq!(heard, expected, "{stages:?}");
    }
    let mut host = Host::with_peer();
    let socket = everything(&mut host);
    set(&mut host, socket, PacketOption::Tap(Stages::DROP));
    let nowhere = packet_frame(&PACKET, &udp(&PACKET, 7, 9, b"x"));
    host.receive(&nowhere);
    let copies = heard(&mut host, socket);
    let [copy] = &copies[..] else { panic!("{copies:?}") };
    assert_eq!((copy.stage, copy.reason), (Stages::DROP, Some(DropReason::UdpNoSocket)));
    assert_eq!(*copy.bytes, nowhere);
    // As it was, it hears of what passes the interface; and nobody watches stages any more.
    set(&mut host, socket, PacketOption::Tap(Stages::empty()));
    assert!(host.shard.watchers.is_none());
    host.sent();
    host.receive(&ping(&PACKET));
    assert_eq!(heard(&mut host, socket).len(), 2, "and the answer");
}

#[test]
fn a_tap_neither_shares_nor_claims_nor_hears_what_is_claimed_or_of_other_zones() {
    let mut host = Host::with_peer();
    let refused = |host: &mut Host, socket, option| {
        let request = Request::SetPacket { socket, option };
        host.shard.request(host.now, Principal::user(1), request) == Err(Error::InvalidArgument)
    };
    let [tap, holder] = [(); 2].map(|()| everything(&mut host));
    assert!(refused(&mut host, tap, PacketOption::Tap(Stages::RECEIVE)));
    set(&mut host, tap, PacketOption::Tap(Stages::all() - Stages::RECEIVE));
    assert_eq!(claim(&mut host, tap, 1), Err(Error::InvalidArgument));
    let group = FanoutRequest { group: 1, mode: FanoutMode::Hash, rollover: false, unused: false };
    assert!(refused(&mut host, tap, PacketOption::Fanout(group)));
    claim(&mut host, holder, 1).expect("free");
    assert!(refused(&mut host, holder, PacketOption::Tap(Stages::DROP)));
    host.receive(&ping(&PACKET));
    assert_eq!((heard(&mut host, tap).len(), heard(&mut host, holder).len()), (0, 1));
    let zone = ZoneId::new(1).expect("one of them");
    host.request(Request::Close { socket: holder });
    host.request(Request::SetZone { interface: ETH, zone });
    host.receive(&ping(&PACKET));
    host.sent();
    assert_eq!(heard(&mut host, tap), []);
    host.request(Request::Close { socket: tap });
    assert!(host.shard.watchers.is_none());
}

#[test]
fn a_claim_of_the_first_rank_goes_before_another() {
    let mut host = Host::with_peer();
    let [common, first] = [(); 2].map(|()| everything(&mut host));
    claim(&mut host, common, 1).expect("free");
    let wish = Match { interface: Some(ETH), ..Match::default() };
    set(&mut host, first, PacketOption::Claim(Some((wish, Rank::First))));
    host.receive(&ping(&PACKET));
    assert_eq!([common, first].map(|socket| heard(&mut host, socket).len()), [0, 1]);
    host.request(Request::Close { socket: first });
    host.receive(&ping(&PACKET));
    assert_eq!((heard(&mut host, common).len(), host.sent().len()), (1, 0));
}

#[test]
fn who_watches_is_shown_what_is_claimed_only_if_he_may_be() {
    for sees_claimed in [false, true] {
        let mut host = Host::with_peer();
        let holder = everything(&mut host);
        claim(&mut host, holder, 1).expect("free");
        let watch = Watch {
            interface: None,
            filter: None,
            stages: Stages::RECEIVE,
            journeys: true,
            sees_claimed,
            snap: 100,
        };
        host.shard.watch(Principal::user(1), watch).expect("room");
        host.receive(&ping(&PACKET));
        let told = std::iter::from_fn(|| host.shard.poll_record()).count();
        assert_eq!(told, if sees_claimed { 2 } else { 0 });
    }
}

/// How a program asks for frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Observe,
    /// One of a group.
    Share(u16),
    /// What is of this protocol.
    Claim(u8),
    Trusted,
    /// Behind the filter.
    Tap,
}

#[test]
fn who_gets_what_is_as_the_model_says_in_every_mixture() {
    const MODES: [Mode; 7] = [
        Mode::Observe,
        Mode::Share(1),
        Mode::Share(2),
        Mode::Claim(1),
        Mode::Claim(17),
        Mode::Trusted,
        Mode::Tap,
    ];
    let mut random = crate::random::Random::new([3; 16]);
    for (count, rounds) in [(2, 60), (3, 100), (10, 100)] {
        for _ in 0..rounds {
            let modes: Vec<Mode> =
                (0..count).map(|_| MODES[random.next_u32() as usize % MODES.len()]).collect();
            check_against_model(&modes, &mut random);
        }
    }
}

fn check_against_model(modes: &[Mode], random: &mut crate::random::Random) {
    let mut host = Host::with_peer();
    let mut claims: Vec<(u8, usize)> = Vec::new();
    let sockets: Vec<SocketId> = modes.iter().map(|_| everything(&mut host)).collect();
    for (at, (mode, socket)) in modes.iter().zip(&sockets).enumerate() {
        match *mode {
            Mode::Observe => {}
            Mode::Trusted => set(&mut host, *socket, PacketOption::SeesClaimed(true)),
            Mode::Tap => set(&mut host, *socket, PacketOption::Tap(Stages::FILTER)),
            Mode::Share(group) => {
                let (mode, rollover, unused) = (FanoutMode::Hash, false, false);
                let request = FanoutRequest { group, mode, rollover, unused };
                set(&mut host, *socket, PacketOption::Fanout(request));
            }
            Mode::Claim(protocol) => {
                let free = claims.iter().all(|(held, _)| *held != protocol);
                let taken = claim(&mut host, *socket, protocol);
                assert_eq!(taken.is_ok(), free, "{modes:?}");
                if free {
                    claims.push((protocol, at));
                }
            }
        }
    }
    for _ in 0..6 {
        let port = random.next_u32() as u16 | 1;
        let (protocol, frame) = match random.next_u32() % 2 {
            0 => (1, ping(&PACKET)),
            _ => (17, packet_frame(&PACKET, &udp(&PACKET, port, 9, b"x"))),
        };
        host.receive(&frame);
        let answers = host.sent().len();
        let got: Vec<usize> = sockets
            .iter()
            .map(|socket| {
                let copies = heard(&mut host, *socket);
                copies.iter().filter(|copy| copy.kind == PacketType::Host).count()
            })
            .collect();
        let holder = claims.iter().find(|(held, _)| *held == protocol).map(|(_, at)| *at);
        assert_eq!(answers, usize::from(holder.is_none()), "{modes:?}");
        for (at, (mode, got)) in modes.iter().zip(&got).enumerate() {
            let alone = match (mode, holder) {
                (Mode::Share(_), None) => continue,
                (_, None) => 1,
                (mode, Some(holder)) => usize::from(holder == at || *mode == Mode::Trusted),
            };
            assert_eq!(*got, alone, "{at} of {modes:?}");
        }
        for group in [1, 2] {
            let members = modes.iter().zip(&got).filter(|(mode, _)| **mode == Mode::Share(group));
            let (members, total) = members.fold((0, 0), |(n, sum), (_, got)| (n + 1, sum + got));
            let expected = usize::from(members > 0 && holder.is_none());
            assert_eq!(total, expected, "one of group {group} of {modes:?}");
        }
    }
}
