//! What programs send and receive whole: datagrams, packets, frames.

use super::Shard;
use crate::{
    counters::Place,
    layer,
    request::{Envelope, Error, FrameAddress, RawState, SocketId, SocketKind},
    table::{
        datagram::Datagram, interface::InterfaceId, packet_socket::FrameCopy, socket::SocketBody,
    },
    time::Instant,
};
use core::net::SocketAddr;

impl Shard {
    /// Sends one datagram to `remote` or to the connected peer; a pending error is told first. On a
    /// ping socket: an echo request, whole, of which identifier and checksum are filled in.
    pub fn send_to(
        &mut self,
        now: Instant,
        id: SocketId,
        remote: Option<SocketAddr>,
        payload: &[u8],
    ) -> Result<(), Error> {
        let socket = self.sockets.get_mut(id).ok_or(Error::NoSuchSocket)?;
        if let Some(error) = socket.error.take() {
            return Err(error);
        }
        self.send_datagram(now, id, &Envelope { remote, ..Envelope::default() }, payload)
    }

    /// As [`Shard::send_to`], with all that can be said about one datagram, and whatever error is
    /// pending.
    pub fn send_datagram(
        &mut self,
        now: Instant,
        id: SocketId,
        envelope: &Envelope,
        payload: &[u8],
    ) -> Result<(), Error> {
        self.begin(now, Place::default());
        self.attribute(id);
        match self.sockets.get(id).ok_or(Error::NoSuchSocket)?.kind() {
            SocketKind::Udp => layer::udp::output(self, now, id, envelope, payload),
            SocketKind::Ping => layer::icmpv4::send_echo(self, now, id, envelope, payload),
            SocketKind::Raw => layer::raw::output(self, now, id, envelope, payload),
            SocketKind::Tcp | SocketKind::Packet => Err(Error::InvalidState),
        }
    }

    /// By which interface a raw socket's packet would leave; an error where it would not.
    pub fn raw_course(&mut self, id: SocketId, envelope: &Envelope) -> Result<InterfaceId, Error> {
        layer::raw::course(self, id, envelope)
    }

    /// What a raw socket is.
    pub fn raw_state(&self, id: SocketId) -> Option<RawState> {
        let raw = self.sockets.get(id)?.raw()?;
        Some(RawState {
            protocol: raw.protocol,
            header_included: raw.header_included,
            icmp_filter: raw.icmp_filter,
        })
    }

    /// The IPv4 options that a UDP, ping or raw socket sends.
    pub fn ip_options(&self, id: SocketId) -> Option<&[u8]> {
        match &self.sockets.get(id)?.body {
            SocketBody::Datagram(datagram) => Some(&datagram.options),
            _ => None,
        }
    }

    /// Sends one frame by a packet socket. [`Error::NoSuchInterface`]: neither `to` nor the socket says
    /// where, [`Error::MessageTooLong`]: longer than the interface takes.
    pub fn send_frame(
        &mut self,
        now: Instant,
        id: SocketId,
        to: &FrameAddress,
        bytes: &[u8],
    ) -> Result<(), Error> {
        self.begin(now, Place::default());
        self.attribute(id);
        layer::packet::send(self, id, to, bytes)
    }

    /// The oldest copy of a frame that waits in a packet socket.
    pub fn receive_frame(&mut self, id: SocketId) -> Result<FrameCopy, Error> {
        let socket = self.sockets.get_mut(id).ok_or(Error::NoSuchSocket)?;
        match &mut socket.body {
            SocketBody::Packet(packet) => packet.queue.pop().ok_or(Error::WouldBlock),
            _ => Err(Error::InvalidState),
        }
    }

    /// How many frames wait at the interface that a UDP socket sent by last: whoever has more to
    /// send does well to let them go first.
    pub fn backlog(&self, id: SocketId) -> usize {
        match self.sockets.get(id).map(|socket| &socket.body) {
            Some(SocketBody::Datagram(datagram)) => {
                datagram.last_interface.map_or(0, |interface| self.egress.frames(interface))
            }
            _ => 0,
        }
    }

    /// The oldest waiting datagram: copies as much as `buffer` takes, and says how long it was and
    /// who sent it.
    pub fn receive_from(
        &mut self,
        id: SocketId,
        buffer: &mut [u8],
    ) -> Result<(usize, SocketAddr), Error> {
        let datagram = self.receive_datagram(id)?;
        let copied = datagram.payload.len().min(buffer.len());
        buffer[..copied].copy_from_slice(&datagram.payload[..copied]);
        Ok((datagram.payload.len(), datagram.from))
    }

    /// The oldest waiting datagram, whole; with those behind it that make one with it, if the socket
    /// is set to [`SocketOption::Coalesce`](crate::request::SocketOption::Coalesce).
    pub fn receive_datagram(&mut self, id: SocketId) -> Result<Datagram, Error> {
        let socket = self.sockets.get_mut(id).ok_or(Error::NoSuchSocket)?;
        if let Some(error) = socket.error.take() {
            return Err(error);
        }
        let datagram = socket.datagram().ok_or(Error::InvalidState)?;
        let next = match datagram.coalesce {
            true => datagram.queue.pop_coalesced(),
            false => datagram.queue.pop(),
        };
        next.ok_or(Error::WouldBlock)
    }
}
