//! What each user's sockets hold of the engine's memory, and how it is got back from one of them.
//!
//! Who has to give is the caller's to say. What there is to do about him, from the mildest: his buffers
//! grow no more ([`Shard::squeeze`]), what peers have to send again anyway is forgotten
//! ([`Shard::prune`]), his largest socket ends (a request like any other).

use super::Shard;
use crate::{
    Instant, layer,
    request::SocketId,
    table::socket::{Socket, SocketBody},
    tcp::Settings,
};
use std::{collections::BTreeMap, sync::Arc};

/// What a squeezed socket may hold each way: what an unscaled window can say, with which every
/// connection begins, and one datagram as long as can be.
const SQUEEZED: usize = 65_535;

/// What the sockets of one user hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Holding {
    /// In buffers and queues.
    pub bytes: usize,
    /// The connection that has most of it, and how much.
    pub largest: Option<(SocketId, usize)>,
}

impl Shard {
    /// What each user's sockets hold. Looks at every socket.
    pub fn holdings(&self) -> BTreeMap<u32, Holding> {
        let mut holdings = BTreeMap::<u32, Holding>::new();
        for (id, socket) in self.sockets.iter() {
            let bytes = memory(socket);
            if bytes == 0 {
                continue;
            }
            let holding = holdings.entry(socket.principal.uid).or_default();
            holding.bytes += bytes;
            let connection = matches!(socket.body, SocketBody::Connection(_));
            if connection && holding.largest.is_none_or(|(_, most)| bytes > most) {
                holding.largest = Some((id, bytes));
            }
        }
        for inspector in self.inspectors() {
            holdings.entry(inspector.principal.uid).or_default().bytes += inspector.waiting.1;
        }
        holdings
    }

    /// The buffers of all that the user has now grow no more, or again as his programs want. Windows
    /// that peers were promised stay, but what comes past the limit is left for them to send again.
    pub fn squeeze(&mut self, now: Instant, user: u32, on: bool) {
        let mut squeezed = Squeezed::default();
        for id in self.sockets_of(user) {
            let Some(socket) = self.sockets.get_mut(id) else { continue };
            let settings = match on {
                true => squeezed.of(&socket.settings),
                false => Arc::clone(&socket.settings),
            };
            match &mut socket.body {
                SocketBody::Connection(connection) => {
                    connection.set(now, &settings);
                    layer::tcp::settle(self, now, id);
                }
                SocketBody::Datagram(datagram) => datagram.queue.set_limit(queue_limit(&settings)),
                SocketBody::Packet(packet) => packet.queue.set_limit(queue_limit(&settings)),
                SocketBody::Closed | SocketBody::Listener(_) => {}
            }
        }
    }

    /// Forgets what the user's connections hold out of order: their peers send it again.
    pub fn prune(&mut self, user: u32) {
        for id in self.sockets_of(user) {
            if let Some(connection) = self.sockets.connection(id) {
                connection.prune(&mut self.buffers);
            }
        }
    }

    /// How many connections the listeners of a user may have half open; `None`: as many as everybody's.
    pub fn limit_half_open(&mut self, user: u32, limit: Option<usize>) {
        self.remnants.half_open_shares.limit(user, limit);
    }

    fn sockets_of(&self, user: u32) -> Vec<SocketId> {
        let of = |(_, socket): &(SocketId, &Socket)| socket.principal.uid == user;
        self.sockets.iter().filter(of).map(|(id, _)| id).collect()
    }
}

fn memory(socket: &Socket) -> usize {
    match &socket.body {
        SocketBody::Connection(connection) => connection.memory(),
        SocketBody::Datagram(datagram) => datagram.queue.bytes(),
        SocketBody::Packet(packet) => packet.queue.bytes(),
        SocketBody::Closed | SocketBody::Listener(_) => 0,
    }
}

/// As memory is counted, which is twice what programs are told.
fn queue_limit(settings: &Settings) -> usize {
    settings.receive_limit.saturating_mul(2)
}

/// Settings with less in them, shared as those that they are made from.
#[derive(Default)]
struct Squeezed(Vec<(Arc<Settings>, Arc<Settings>)>);

impl Squeezed {
    fn of(&mut self, settings: &Arc<Settings>) -> Arc<Settings> {
        // Sockets that share settings were mostly made one after the other.
        if let Some((of, squeezed)) = self.0.last()
            && Arc::ptr_eq(of, settings)
        {
            return Arc::clone(squeezed);
        }
        let squeezed = Arc::new(Settings {
            send_limit: settings.send_limit.min(SQUEEZED),
            receive_limit: settings.receive_limit.min(SQUEEZED),
            ..Settings::clone(settings)
        });
        self.0 = vec![(Arc::clone(settings), Arc::clone(&squeezed))];
        squeezed
    }
}

#[cfg(test)]
mod tests;
