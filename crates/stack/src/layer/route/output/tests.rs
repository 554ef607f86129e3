use super::*;
use crate::{
    layer::fixture::{ETH, Host, PEER, prefix, read_arp},
    request::{Reply, Request, SocketId, SocketOption},
    table::route::{Action, Placement, Route, Rule, Selector, TableId},
};
use core::net::SocketAddr;

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
