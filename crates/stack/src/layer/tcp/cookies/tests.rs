use crate::{
    Config, Error, Reply, SocketId,
    config::SynCookies,
    counters::DropReason,
    layer::fixture::{Host, OWN, PACKET, PEER, packet_frame, read_packet},
    request::{Request, SocketInfo},
    time::Duration,
};
use core::net::{Ipv4Addr, SocketAddr};
use narrows_wire::{
    checksum::Sum,
    ipv4::{Header, Protocol},
    tcp::{self, Flags},
    tcp_options::{Options, Timestamps},
};

const ACK: Flags = Flags::ACK;
const SYN: Flags = Flags::SYN;
const RST: Flags = Flags::RST;

fn with_cookies(syn_cookies: SynCookies) -> (Host, SocketId) {
    let mut host = Host::with(Config { syn_cookies, ..Config::default() }, [7; 16]).pinned();
    let Reply::Socket(listener) = host.request(Request::OpenTcp) else { panic!("no socket") };
    let local = SocketAddr::new(OWN.into(), 80);
    host.request(Request::Bind { socket: listener, local });
    host.request(Request::Listen { socket: listener, backlog: 1 });
    (host, listener)
}

/// A client at the peer's address.
#[derive(Clone)]
struct Client {
    source: Ipv4Addr,
    port: u16,
    options: Options,
}

fn client(options: Options) -> Client {
    Client { source: PEER, port: 5000, options }
}

fn modern() -> Options {
    Options {
        mss: Some(1400),
        window_scale: Some(3),
        sack_permitted: true,
        timestamps: Some(Timestamps { value: 100, echo: 0 }),
        ..Options::default()
    }
}

impl Client {
    fn segment(&self, flags: Flags, (sequence, ack): (u32, u32), text: &[u8]) -> Vec<u8> {
        let header = tcp::Header {
            source_port: self.port,
            destination_port: 80,
            sequence,
            acknowledgment: ack,
            flags,
            window: 1000,
            urgent: 0,
        };
        let mut bytes = [0; tcp::MAX_HEADER_LEN];
        let len = header.emit(&self.options, 0, &mut bytes);
        let total = (len + text.len()) as u16;
        let sum = Sum::pseudo_header(self.source, OWN, 6, total)
            .add(Sum::of(&bytes[..len]))
            .add(Sum::of(text));
        let field = tcp::CHECKSUM_OFFSET;
        bytes[field..field + 2].copy_from_slice(&sum.finish().to_be_bytes());
        let header = Header { protocol: Protocol::TCP, source: self.source, ..PACKET };
        packet_frame(&header, &[&bytes[..len], text].concat())
    }

    fn syn(&self) -> Vec<u8> {
        self.segment(SYN, (999, 0), b"")
    }

    /// What follows a SYN-ACK: it echoes its timestamp.
    fn answering(&self, syn_ack: &tcp::Header, options: &Options, text: &[u8]) -> Vec<u8> {
        let timestamps = self.options.timestamps.zip(options.timestamps);
        let timestamps = timestamps
            .map(|(mine, theirs)| Timestamps { value: mine.value + 1, echo: theirs.value });
        let with = Self { options: Options { timestamps, ..Options::default() }, ..self.clone() };
        with.segment(ACK, (1000, syn_ack.sequence.wrapping_add(1)), text)
    }
}

fn read(frame: &[u8]) -> (tcp::Header, Options) {
    let segment = tcp::Segment::parse(read_packet(frame).1.payload).expect("a segment");
    (segment.header, segment.options)
}

fn info(host: &mut Host, socket: SocketId) -> SocketInfo {
    match host.request(Request::Info { socket }) {
        Reply::Info(info) => *info,
        other => panic!("{other:?}"),
    }
}

fn accept(host: &mut Host, listener: SocketId) -> Option<SocketId> {
    let principal = crate::request::Principal::user(1);
    match host.shard.request(host.now, principal, Request::Accept { socket: listener }) {
        Ok(Reply::Accepted { socket, .. }) => Some(socket),
        Err(Error::WouldBlock) => None,
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_was_agreed_on_comes_back_with_the_cookie() {
    let plain = Options { mss: Some(1400), ..Options::default() };
    let without_stamps = Options { timestamps: None, ..modern() };
    let without_scale = Options { window_scale: None, ..modern() };
    for (options, scale, sack, stamps, payload) in [
        (modern(), 3, true, true, 1300 - 12),
        (without_scale, 0, true, true, 1300 - 12),
        (without_stamps, 0, false, false, 1300),
        (plain, 0, false, false, 1300),
        (Options::default(), 0, false, false, 536),
    ] {
        let (mut host, listener) = with_cookies(SynCookies::Always);
        let client = client(options);
        host.receive(&client.syn());
        let (syn_ack, offered) = read(&host.sent_one());
        assert_eq!(syn_ack.flags, SYN.with(ACK));
        assert_eq!(offered.sack_permitted, sack, "{options:?}");
        assert_eq!(host.shard.sockets(host.now).count(), 1, "nothing but the listener");
        host.pass(Duration::from_secs(30));
        assert!(host.sent().is_empty(), "nothing is sent again");
        host.receive(&client.answering(&syn_ack, &offered, b"hello"));
        let socket = accept(&mut host, listener).expect("a connection");
        let info = info(&mut host, socket);
        let tcp = info.tcp.expect("a connection");
        assert_eq!(
            (tcp.send_window_scale, tcp.sack, tcp.timestamps, tcp.send_mss),
            (scale, sack, stamps, payload),
            "{options:?}"
        );
        assert_eq!((info.receive_queue, tcp.send_window), (5, 1000 << scale));
        assert_eq!(tcp.receive_window_scale > 0, options.window_scale.is_some() && stamps);
        let counters = &host.shard.counters;
        assert_eq!((counters.tcp_syn_cookies_sent, counters.tcp_syn_cookies_answered), (1, 1));
    }
}

#[test]
fn an_answer_to_no_cookie_is_reset() {
    for (what, mode, changed, reason) in [
        ("no cookie was ever sent", SynCookies::WhenFull, 0, DropReason::TcpListenUnexpected),
        ("another number", SynCookies::Always, 1 << 30, DropReason::TcpBadCookie),
        ("of a slot to come", SynCookies::Always, 1 << 24, DropReason::TcpBadCookie),
    ] {
        let (mut host, listener) = with_cookies(mode);
        let client = client(Options::default());
        if mode == SynCookies::Always {
            host.receive(&client.syn());
        }
        let sequence = host.sent().first().map_or(7, |frame| read(frame).0.sequence);
        let answer = client.segment(ACK, (1000, sequence.wrapping_add(1 + changed)), b"");
        assert_eq!(host.refused(&answer), reason, "{what}");
        assert!(read(&host.sent_one()).0.flags.contains(RST), "{what}");
        assert_eq!(accept(&mut host, listener), None, "{what}");
    }
}

#[test]
fn a_cookie_goes_stale() {
    let (mut host, listener) = with_cookies(SynCookies::Always);
    let client = client(modern());
    host.receive(&client.syn());
    let (syn_ack, options) = read(&host.sent_one());
    host.pass(Duration::from_secs(121));
    assert_eq!(
        host.refused(&client.answering(&syn_ack, &options, b"")),
        DropReason::TcpListenUnexpected
    );
    assert_eq!(accept(&mut host, listener), None);
}

#[test]
fn without_cookies_a_full_listener_drops() {
    let (mut host, _) = with_cookies(SynCookies::Never);
    for port in 1..3 {
        host.receive(&Client { port, ..client(modern()) }.syn());
        assert!(!host.sent().is_empty());
    }
    assert_eq!(host.refused(&client(modern()).syn()), DropReason::SynQueueFull);
    assert!(host.sent().is_empty());
}

#[test]
fn a_full_accept_queue_drops_answers_and_keeps_nothing() {
    let (mut host, listener) = with_cookies(SynCookies::Always);
    let mut clients = (0..3).map(|number| Client { port: 5000 + number, ..client(modern()) });
    let mut answer = |host: &mut Host| {
        let client = clients.next().expect("three");
        host.receive(&client.syn());
        let (syn_ack, options) = read(&host.sent_one());
        client.answering(&syn_ack, &options, b"")
    };
    let answers = [answer(&mut host), answer(&mut host), answer(&mut host)];
    host.receive(&answers[0]);
    host.receive(&answers[1]);
    assert_eq!(host.refused(&answers[2]), DropReason::AcceptQueueFull);
    accept(&mut host, listener).expect("one");
    host.receive(&answers[2]);
    accept(&mut host, listener).expect("two");
    accept(&mut host, listener).expect("three");
}
