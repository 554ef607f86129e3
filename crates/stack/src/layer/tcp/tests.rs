//! How long the segments of an open connection are, while what its path takes changes.

use crate::{
    SocketId,
    layer::{
        attacks::{segment, send_mss, sending, too_big},
        fixture::{ETH, Host, read_packet},
    },
    request::{LinkChange, Request, SocketOption},
    table::path_mtu::LIFETIME,
    time::Duration,
};
use narrows_wire::tcp;

const ACK: u8 = 0x10;

/// A connection on a path of 1500 bytes that has nothing in flight.
struct Talk {
    host: Host,
    socket: SocketId,
    /// Of the peer, who acknowledges what it has seen of us.
    seen: u32,
}

impl Talk {
    fn new() -> Self {
        let (host, socket, frames) = sending();
        let mut talk = Self { host, socket, seen: 0 };
        talk.read(&frames);
        talk.drain();
        talk
    }

    /// The longest packet among frames that the peer gets.
    fn read(&mut self, frames: &[Vec<u8>]) -> usize {
        let mut longest = 0;
        for frame in frames {
            let (_, packet) = read_packet(frame);
            let segment = tcp::Segment::parse(packet.payload).expect("a segment");
            self.seen = segment.header.sequence.wrapping_add(segment.payload.len() as u32);
            longest = longest.max(frame.len() - 14);
        }
        longest
    }

    /// The peer acknowledges what it saw, until there is no more; → the longest packet of it.
    fn drain(&mut self) -> usize {
        let mut longest = 0;
        loop {
            self.host.receive(&segment(ACK, 1001, self.seen));
            let frames = self.host.sent();
            if frames.is_empty() {
                return longest;
            }
            longest = longest.max(self.read(&frames));
        }
    }

    fn write(&mut self, len: usize) {
        let fill = |room: &mut [std::io::IoSliceMut<'_>; 2]| room[0].len().min(len);
        self.host.shard.send_with(self.host.now, self.socket, len, fill).expect("there is room");
    }

    /// The longest packet of 20,000 bytes.
    fn transfer(&mut self) -> usize {
        self.write(20_000);
        let frames = self.host.sent();
        self.read(&frames).max(self.drain())
    }

    fn set_mtu(&mut self, mtu: u16) {
        self.host.request(Request::SetLink { interface: ETH, change: LinkChange::Mtu(mtu) });
    }
}

#[test]
fn segments_follow_the_mtu_of_the_interface() {
    let mut talk = Talk::new();
    // The peer takes no more than 1460.
    for (mtu, longest) in
        [(1500, 1500), (1400, 1400), (576, 576), (100, 100), (1480, 1480), (9000, 1500)]
    {
        talk.set_mtu(mtu);
        assert_eq!(talk.transfer(), longest, "{mtu}");
        assert_eq!(usize::from(send_mss(&mut talk.host, talk.socket)), longest - 40, "{mtu}");
    }
}

#[test]
fn what_is_sent_again_fits_the_new_mtu() {
    let mut talk = Talk::new();
    talk.write(3000);
    assert!(talk.host.sent().iter().any(|frame| frame.len() == 1514));
    talk.set_mtu(800);
    talk.host.pass(Duration::from_secs(5));
    let again = talk.host.sent();
    assert!(!again.is_empty() && again.iter().all(|frame| frame.len() <= 814), "{again:?}");
    talk.read(&again);
    assert_eq!(talk.drain(), 800, "and so does the rest of it");
}

#[test]
fn segments_grow_again_when_what_a_router_said_is_over() {
    let mut talk = Talk::new();
    talk.write(3000);
    let lost = talk.host.sent();
    talk.host.receive(&too_big(600, &lost[0], 0));
    let again = talk.host.sent();
    assert_eq!(talk.read(&again), 600);
    talk.drain();
    talk.host.pass(LIFETIME - Duration::from_secs(1));
    assert_eq!(talk.transfer(), 600, "for ten minutes");
    talk.host.pass(Duration::from_secs(2));
    assert_eq!(talk.transfer(), 1500, "and then a longer one is tried");
}

#[test]
fn a_program_s_limit_outlives_the_path() {
    let mut talk = Talk::new();
    let option = SocketOption::MaxSegment(1000);
    talk.host.request(Request::SetOption { socket: talk.socket, option });
    for (mtu, longest) in [(1500, 1040), (576, 576), (1500, 1040)] {
        talk.set_mtu(mtu);
        assert_eq!(talk.transfer(), longest, "{mtu}");
    }
}
