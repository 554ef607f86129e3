//! Who is at the other end, when that is a socket of this host too.

use super::Shard;
use crate::{
    request::{SocketId, SocketKind},
    table::{
        demux::{Flow, FlowOwner},
        interface::InterfaceId,
        socket::{Socket, SocketBody},
    },
    tcp::State,
};
use core::net::SocketAddr;

/// The other end of a socket's connection, on this host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LocalPeer {
    /// A socket that a program has.
    Socket(SocketId),
    /// A connection in the accept queue of a listener.
    Unaccepted { socket: SocketId, listener: SocketId },
    /// A handshake under way with a listener.
    HalfOpen { listener: SocketId },
}

impl Shard {
    /// The other end of a TCP connection or of a connected UDP socket; `None` when there is none, or
    /// when it is another host, nobody, or what is left of a connection whose program has let go.
    ///
    /// A UDP socket's peer is whoever gets what is sent to it at this moment.
    pub fn local_peer(&self, id: SocketId) -> Option<LocalPeer> {
        let socket = self.sockets.get(id)?;
        let Flow { local, remote } = socket.flow()?;
        self.interfaces.owner(remote.ip())?;
        let flow = Flow { local: remote, remote: local };
        match &socket.body {
            SocketBody::Connection(connection) if connection.state() != State::Closed => {
                self.local_tcp_peer(&flow)
            }
            SocketBody::Datagram(datagram) if datagram.kind == SocketKind::Udp => {
                let hears = |id| self.hears(id, remote.ip());
                let lo = InterfaceId::LOOPBACK;
                let peer = self.datagrams.one(SocketKind::Udp, &flow, lo, hears)?;
                Some(LocalPeer::Socket(peer))
            }
            _ => None,
        }
    }

    /// The socket that has the TCP connection between these addresses, as seen from its end.
    pub fn tcp_socket(&self, local: SocketAddr, remote: SocketAddr) -> Option<SocketId> {
        match self.demux.flow(&Flow { local, remote })? {
            FlowOwner::Connection(socket) => Some(socket),
            FlowOwner::HalfOpen(_) | FlowOwner::TimeWait(_) => None,
        }
    }

    /// Are packets between sockets of this host on their way? Then [`Shard::loop_back`] has more to do.
    pub fn loops_back(&self) -> bool {
        !self.egress.is_empty(InterfaceId::LOOPBACK)
    }

    fn local_tcp_peer(&self, flow: &Flow) -> Option<LocalPeer> {
        match self.demux.flow(flow)? {
            FlowOwner::Connection(peer) => {
                let socket = self.sockets.get(peer).filter(|socket| !socket.orphan)?;
                if !socket.unaccepted {
                    return Some(LocalPeer::Socket(peer));
                }
                // Since the handshake another listener may have come to share the port.
                let listener = self.demux.listener(flow, |id| self.hears(id, flow.local.ip()))?;
                let waits = |socket: &Socket| match &socket.body {
                    SocketBody::Listener(listener) => listener.accept_queue.contains(&peer),
                    _ => false,
                };
                let found = self.sockets.get(listener).is_some_and(waits);
                found.then_some(LocalPeer::Unaccepted { socket: peer, listener })
            }
            FlowOwner::HalfOpen(index) => {
                let entry = self.remnants.half_open.get(index as usize)?;
                Some(LocalPeer::HalfOpen { listener: entry.listener })
            }
            FlowOwner::TimeWait(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Reply, Request, layer::fixture::*};

    fn at(port: u16) -> SocketAddr {
        SocketAddr::new(OWN.into(), port)
    }

    #[test]
    fn a_connection_is_with_the_listener_then_with_the_queue_then_with_the_program() {
        let mut host = Host::with_peer();
        let listener = host.socket(Request::OpenTcp, (OWN, 80));
        host.request(Request::Listen { socket: listener, backlog: 1 });
        let client = host.socket(Request::OpenTcp, (OWN, 5000));
        host.request(Request::Connect { socket: client, remote: at(80) });
        assert_eq!(host.shard.local_peer(client), None, "the SYN is on its way");
        assert!(!host.shard.loop_back(host.now));
        let Some(LocalPeer::Unaccepted { socket: server, listener: held }) =
            host.shard.local_peer(client)
        else {
            panic!("{:?}", host.shard.local_peer(client))
        };
        assert_eq!(held, listener);
        assert_eq!(host.shard.local_peer(server), Some(LocalPeer::Socket(client)));
        assert_eq!(host.shard.tcp_socket(at(80), at(5000)), Some(server));
        assert_eq!(host.shard.tcp_socket(at(5000), at(80)), Some(client));
        assert_eq!(host.shard.tcp_socket(at(80), at(5001)), None);
        let accepted = host.request(Request::Accept { socket: listener });
        assert!(matches!(accepted, Reply::Accepted { socket, .. } if socket == server));
        assert_eq!(host.shard.local_peer(client), Some(LocalPeer::Socket(server)));
        host.request(Request::Close { socket: server });
        assert_eq!(host.shard.local_peer(client), None, "nobody has the other end");
    }

    #[test]
    fn a_full_queue_leaves_a_handshake_under_way() {
        let mut host = Host::with_peer();
        let listener = host.socket(Request::OpenTcp, (OWN, 80));
        host.request(Request::Listen { socket: listener, backlog: 1 });
        let connect = |host: &mut Host, port| {
            let client = host.socket(Request::OpenTcp, (OWN, port));
            host.request(Request::Connect { socket: client, remote: at(80) });
            client
        };
        connect(&mut host, 5000);
        let _ = host.shard.loop_back(host.now);
        // There is room for one more, and two begin.
        let clients = [5001, 5002].map(|port| connect(&mut host, port));
        let _ = host.shard.loop_back(host.now);
        assert_eq!(host.shard.local_peer(clients[1]), Some(LocalPeer::HalfOpen { listener }));
    }

    #[test]
    fn another_host_is_nobody_here() {
        let mut host = Host::with_peer();
        let client = host.socket(Request::OpenTcp, (OWN, 5000));
        let remote = SocketAddr::new(PEER.into(), 80);
        host.request(Request::Connect { socket: client, remote });
        assert_eq!(host.shard.local_peer(client), None);
        let unconnected = host.socket(Request::OpenUdp, (OWN, 53));
        assert_eq!(host.shard.local_peer(unconnected), None);
        host.request(Request::Connect { socket: unconnected, remote });
        assert_eq!(host.shard.local_peer(unconnected), None);
    }

    #[test]
    fn of_udp_it_is_who_would_get_the_next_datagram() {
        let mut host = Host::with_peer();
        let server = host.socket(Request::OpenUdp, (OWN, 53));
        let client = host.socket(Request::OpenUdp, (OWN, 5000));
        host.request(Request::Connect { socket: client, remote: at(53) });
        assert_eq!(host.shard.local_peer(client), Some(LocalPeer::Socket(server)));
        host.request(Request::Connect { socket: server, remote: at(5001) });
        assert_eq!(host.shard.local_peer(client), None, "it hears from somebody else alone");
        host.request(Request::Close { socket: server });
        assert_eq!(host.shard.local_peer(client), None);
    }
}
