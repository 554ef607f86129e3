use super::*;
use crate::{
    config::{Config, SynCookies},
    counters::DropReason,
    event::Notice,
    layer::{
        attacks::segment_with,
        fixture::{Host, OWN, read_packet},
    },
    request::{Principal, Reply, Request},
};
use core::net::SocketAddr;
use narrows_wire::tcp;

const SYN: u8 = 0x02;
const ACK: u8 = 0x10;

const ALICE: u32 = 7;
const BOB: u32 = 8;

fn ask(host: &mut Host, user: u32, request: Request) -> Reply {
    host.shard.request(host.now, Principal::user(user), request).expect("granted")
}

fn listen(host: &mut Host, user: u32, backlog: u32) -> SocketId {
    let Reply::Socket(socket) = ask(host, user, Request::OpenTcp) else { panic!("no socket") };
    let local = SocketAddr::new(OWN.into(), 80);
    ask(host, user, Request::Bind { socket, local });
    ask(host, user, Request::Listen { socket, backlog });
    socket
}

/// The acknowledgment number of the only frame sent.
fn acknowledged(host: &mut Host) -> (u32, u32) {
    let frame = host.sent_one();
    let packet = read_packet(&frame).1;
    let segment = tcp::Segment::parse(packet.payload).expect("a segment");
    (segment.header.sequence, segment.header.acknowledgment)
}

/// A peer's connection to the listener of `user`, from a port.
struct Talk {
    port: u16,
    /// What the peer sends next, and expects.
    next: u32,
    ours: u32,
    socket: SocketId,
}

impl Talk {
    fn new(host: &mut Host, user: u32, listener: SocketId, port: u16) -> Self {
        host.receive(&segment_with(port, SYN, (1000, 0), b""));
        let ours = acknowledged(host).0.wrapping_add(1);
        host.receive(&segment_with(port, ACK, (1001, ours), b""));
        let accepted = ask(host, user, Request::Accept { socket: listener });
        let Reply::Accepted { socket, .. } = accepted else { panic!("{accepted:?}") };
        Self { port, next: 1001, ours, socket }
    }

    /// `len` bytes that begin `ahead` of what is expected.
    fn send(&mut self, host: &mut Host, ahead: u32, len: usize) {
        let at = self.next.wrapping_add(ahead);
        host.receive(&segment_with(self.port, ACK, (at, self.ours), &vec![7; len]));
        if ahead == 0 {
            self.next = self.next.wrapping_add(len as u32);
        }
        let _acknowledgments = host.sent();
    }

    /// The program reads what there is.
    fn read(&self, host: &mut Host) -> usize {
        let take = |bytes: &[std::io::IoSlice<'_>; 2]| bytes[0].len() + bytes[1].len();
        host.shard.receive_with(host.now, self.socket, usize::MAX, take).unwrap_or(0)
    }
}

#[test]
fn what_each_user_holds_is_what_his_sockets_have_in_buffers() {
    let mut host = Host::with_peer();
    let listener = listen(&mut host, ALICE, 8);
    let mut small = Talk::new(&mut host, ALICE, listener, 5000);
    let mut large = Talk::new(&mut host, ALICE, listener, 5001);
    assert!(host.shard.holdings().is_empty(), "nothing was said yet");
    small.send(&mut host, 0, 100);
    (0..20).for_each(|_| large.send(&mut host, 0, 1000));
    let holding = host.shard.holdings()[&ALICE];
    assert_eq!(holding.bytes, host.shard.buffered_bytes());
    assert_eq!(holding.largest, Some((large.socket, 32_768)));
    assert_eq!((small.read(&mut host), large.read(&mut host)), (100, 20_000));
    assert!(host.shard.holdings().is_empty());
}

#[test]
fn a_squeezed_user_gets_no_more_room_and_others_do() {
    let mut host = Host::with_peer();
    let listener = listen(&mut host, ALICE, 8);
    let mut talk = Talk::new(&mut host, ALICE, listener, 5000);
    // A program that reads has its window grow.
    for _ in 0..100 {
        (0..10).for_each(|_| talk.send(&mut host, 0, 1400));
        talk.read(&mut host);
    }
    let fill = |host: &mut Host, talk: &mut Talk| {
        let mut taken = 0;
        for _ in 0..200 {
            host.receive(&segment_with(talk.port, ACK, (talk.next, talk.ours), &[7; 1400]));
            let Some(frame) = host.sent().pop() else { continue };
            let packet = read_packet(&frame).1;
            let header = tcp::Segment::parse(packet.payload).expect("a segment").header;
            taken += header.acknowledgment.wrapping_sub(talk.next);
            talk.next = header.acknowledgment;
        }
        taken as usize
    };
    host.shard.squeeze(host.now, BOB, true);
    let free = fill(&mut host, &mut talk);
    talk.read(&mut host);
    host.shard.squeeze(host.now, ALICE, true);
    let squeezed = fill(&mut host, &mut talk);
    assert!(squeezed <= SQUEEZED + 1400 && squeezed < free, "{squeezed} and {free}");
    assert!(host.shard.holdings()[&ALICE].bytes <= 2 * (SQUEEZED + 1));
    talk.read(&mut host);
    host.shard.squeeze(host.now, ALICE, false);
    let again = fill(&mut host, &mut talk);
    assert!(again > 3 * SQUEEZED, "{again}");
}

#[test]
fn what_is_pruned_comes_again() {
    let mut host = Host::with_peer();
    let listener = listen(&mut host, ALICE, 8);
    let mut talk = Talk::new(&mut host, ALICE, listener, 5000);
    talk.send(&mut host, 5000, 1000);
    assert!(host.shard.holdings()[&ALICE].bytes > 0);
    host.shard.prune(BOB);
    assert!(host.shard.holdings()[&ALICE].bytes > 0, "another user's");
    host.shard.prune(ALICE);
    assert_eq!((host.shard.holdings().len(), host.shard.buffered_bytes()), (0, 0));
    // The peer sends all of it, as one that heard of no loss would.
    (0..6).for_each(|_| talk.send(&mut host, 0, 1000));
    assert_eq!(talk.read(&mut host), 6000);
}

#[test]
fn a_user_has_so_many_half_open_connections_and_no_more() {
    let mut host = Host::with_peer();
    host.shard.set_config(Config { syn_cookies: SynCookies::Never, ..Config::default() });
    listen(&mut host, ALICE, 64);
    host.shard.limit_half_open(ALICE, Some(2));
    host.shard.limit_half_open(BOB, Some(0));
    for port in [5000, 5001] {
        host.receive(&segment_with(port, SYN, (1000, 0), b""));
        host.sent_one();
    }
    for port in [5002, 5003] {
        let refused = host.refused(&segment_with(port, SYN, (1000, 0), b""));
        assert_eq!(refused, DropReason::SynShareFull);
    }
    let told = Notice::HalfOpenShareFull { user: ALICE };
    assert_eq!((host.shard.poll_notice(), host.shard.poll_notice()), (Some(told), None));
    // Cookies take no room.
    host.shard.set_config(Config::default());
    host.receive(&segment_with(5002, SYN, (1000, 0), b""));
    host.sent_one();
    assert_eq!(host.shard.remnants.half_open.len(), 2);
    // A reset makes some.
    host.receive(&segment_with(5000, 0x04, (1001, 0), b""));
    host.receive(&segment_with(5003, SYN, (1000, 0), b""));
    host.sent_one();
    assert_eq!(host.shard.remnants.half_open.len(), 2);
}
