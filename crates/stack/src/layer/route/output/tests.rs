use super::*;
use crate::{
    layer::fixture::{ETH, Host, PEER, prefix, read_arp, read_packet},
    request::{Envelope, LinkChange, Principal, Reply, Request, SocketId, SocketOption},
    table::route::{Action, Placement, Route, Rule, Selector, TableId},
};
use core::net::{IpAddr, SocketAddr};
use narrows_wire::address::MacAddr;

const MARKED_GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 9);

/// What has the mark 7 goes another way than the rest.
fn host() -> Host {
    let mut host = Host::new();
    let route = Route::unicast(prefix("0.0.0.0/0"), ETH, Some(MARKED_GATEWAY));
    let route = Route { table: TableId(100), ..route };
    host.request(Request::AddRoute { route, placement: Placement::Alone });
    let selector = Selector { mark: Some((7, u32::MAX)), ..Selector::default() };
    let rule = Rule { preference: 100, selector, action: Action::Lookup(TableId(100)) };
    host.request(Request::AddRule { rule });
    host
}

/// Whom the host asks for, after a socket began to talk to somebody far away.
fn gateway(host: &mut Host, open: Request, mark: u32) -> Ipv4Addr {
    let is_stream = open == Request::OpenTcp;
    let Reply::Socket(socket) = host.request(open) else { panic!("no socket") };
    set_mark(host, socket, mark);
    let remote = SocketAddr::new(Ipv4Addr::new(192, 0, 2, 1).into(), 9);
    host.request(Request::Connect { socket, remote });
    if !is_stream {
        host.shard.send_to(host.now, socket, None, b"x").expect("sent");
    }
    let (_, request) = read_arp(&host.sent_one());
    request.target_ip
}

fn set_mark(host: &mut Host, socket: SocketId, mark: u32) {
    host.request(Request::SetOption { socket, option: SocketOption::Mark(mark) });
}

#[test]
fn sockets_with_a_mark_go_as_its_rule_says() {
    for open in [Request::OpenTcp, Request::OpenUdp] {
        assert_eq!(gateway(&mut host(), open.clone(), 0), PEER, "{open:?}");
        assert_eq!(gateway(&mut host(), open.clone(), 7), MARKED_GATEWAY, "{open:?}");
        assert_eq!(gateway(&mut host(), open.clone(), 8), PEER, "{open:?}");
    }
}

/// Where users 1000 to 1999 are sent, by its own interface with a shorter MTU.
const USERS_GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 9);
const FAR: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), 9);

fn host_with_users() -> Host {
    let mut host = Host::with_peer();
    let second = host.add_interface("eth1", MacAddr([2, 0, 0, 0, 1, 2]), "10.1.0.2/24");
    host.request(Request::SetLink { interface: second, change: LinkChange::Mtu(1000) });
    let route = Route::unicast(prefix("0.0.0.0/0"), second, Some(USERS_GATEWAY));
    let route = Route { table: TableId(100), ..route };
    host.request(Request::AddRoute { route, placement: Placement::Alone });
    let selector = Selector { users: Some(1000..=1999), ..Selector::default() };
    let rule = Rule { preference: 100, selector, action: Action::Lookup(TableId(100)) };
    host.request(Request::AddRule { rule });
    let mac = MacAddr([2, 0, 0, 0, 1, 9]);
    let address = USERS_GATEWAY.into();
    host.request(Request::PinNeighbor { interface: second, address, mac });
    host
}

/// What a user's socket does.
enum Step {
    Connect,
    SendTo,
    SendConnected,
    /// In fragments.
    SendLong,
    Reach,
    PathMtu,
}

/// Does a step of this user's datagram socket go by the second interface, from its address?
fn goes_second(user: u32, open: &Request, step: &Step) -> bool {
    let mut host = host_with_users();
    let who = Principal::user(user);
    let now = host.now;
    let ask = |host: &mut Host, request| host.shard.request(now, who, request).expect("granted");
    let Reply::Socket(socket) = ask(&mut host, open.clone()) else { panic!("no socket") };
    let ping = [8, 0, 0, 0, 0, 0, 0, 0];
    let connect = Request::Connect { socket, remote: FAR };
    match step {
        Step::Connect => {
            ask(&mut host, connect);
            let Reply::Info(info) = ask(&mut host, Request::Info { socket }) else { panic!() };
            return info.local.ip() == IpAddr::V4(Ipv4Addr::new(10, 1, 0, 2));
        }
        Step::PathMtu => {
            ask(&mut host, connect);
            return ask(&mut host, Request::PathMtu { socket }) == Reply::PathMtu(1000);
        }
        Step::Reach => {
            let envelope = Envelope { remote: Some(FAR), ..Envelope::default() };
            ask(&mut host, Request::Reach { socket, envelope, len: 8 });
            host.shard.send_to(now, socket, Some(FAR), &ping).expect("sent");
        }
        Step::SendTo => host.shard.send_to(now, socket, Some(FAR), &ping).expect("sent"),
        Step::SendConnected => {
            ask(&mut host, connect);
            host.shard.send_to(now, socket, None, &ping).expect("sent");
        }
        Step::SendLong => {
            let long = [&ping[..], &[0; 3000]].concat();
            host.shard.send_to(now, socket, Some(FAR), &long).expect("sent");
        }
    }
    let (first, second) = (host.sent(), host.sent_on(InterfaceId(ETH.0 + 1)));
    assert_ne!(first.is_empty(), second.is_empty(), "all by one interface");
    for frame in &second {
        assert_eq!(read_packet(frame).1.header.source, Ipv4Addr::new(10, 1, 0, 2));
    }
    !second.is_empty()
}

#[test]
fn every_way_of_a_datagram_asks_whose_it_is() {
    for (user, ruled) in [(0, false), (999, false), (1000, true), (1999, true), (2000, false)] {
        for open in [Request::OpenUdp, Request::OpenPing] {
            for (name, step) in [
                ("connect", Step::Connect),
                ("send to", Step::SendTo),
                ("send connected", Step::SendConnected),
                ("send in fragments", Step::SendLong),
                ("reach", Step::Reach),
                ("path MTU", Step::PathMtu),
            ] {
                assert_eq!(goes_second(user, &open, &step), ruled, "{user} {open:?} {name}");
            }
        }
    }
}
