//! ICMP echo for the operator: each request has a ping socket of its own in the engine until it is
//! answered or its time is over.

use crate::{clock::Clock, options};
use mio::Token;
use narrows_ipc::{Answer, Error, Reply};
use narrows_stack::{
    Instant, Shard, SocketId,
    request::{Error as EngineError, Principal, Reply as EngineReply, Request, SocketOption},
};
use narrows_wire::icmpv4;
use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    time::Duration,
};

/// Echo requests under way at once.
const LIMIT: usize = 256;

/// The longest payload: what fits into an IPv4 packet behind its header and ICMP's.
const MAX_PAYLOAD: u16 = 65_535 - 20 - 8;

/// The longest wait for an answer.
const MAX_TIMEOUT: Duration = Duration::from_secs(60);

#[derive(Debug)]
struct Ping {
    session: Token,
    socket: SocketId,
    destination: Ipv4Addr,
    sent: Instant,
    deadline: Instant,
}

#[derive(Debug, Default)]
pub(crate) struct Pings {
    waiting: Vec<Ping>,
}

/// An answer for a session.
pub(crate) struct Answered {
    pub session: Token,
    pub answer: Answer,
}

/// What a program or the operator asks for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Echo {
    pub destination: Ipv4Addr,
    pub sequence: u16,
    pub payload_len: u16,
    pub timeout: Duration,
}

impl Pings {
    /// Sends the request; the answer follows.
    pub(crate) fn send(
        &mut self,
        shard: &mut Shard,
        clock: &Clock,
        session: Token,
        principal: Principal,
        echo: Echo,
    ) -> Result<(), Error> {
        if self.waiting.len() >= LIMIT {
            return Err(Error::NoBufferSpace);
        }
        if echo.payload_len > MAX_PAYLOAD {
            return Err(Error::MessageTooLong);
        }
        let now = clock.now();
        let opened = shard.request(now, principal, Request::OpenPing).map_err(options::error)?;
        let EngineReply::Socket(socket) = opened else { return Err(Error::NotSupported) };
        match transmit(shard, now, principal, socket, echo) {
            Ok(()) => {
                let deadline = now + echo.timeout.min(MAX_TIMEOUT);
                let destination = echo.destination;
                self.waiting.push(Ping { session, socket, destination, sent: now, deadline });
                Ok(())
            }
            Err(error) => {
                close(shard, now, socket);
                Err(options::error(error))
            }
        }
    }

    /// The engine says that `socket` became readable; `None` if it is none of these, or if what
    /// came is not the answer.
    pub(crate) fn receive(
        &mut self,
        shard: &mut Shard,
        clock: &Clock,
        socket: SocketId,
    ) -> Option<Answered> {
        let index = self.waiting.iter().position(|ping| ping.socket == socket)?;
        let ping = self.waiting.get(index)?;
        let now = clock.now();
        let answer = loop {
            match shard.receive_datagram(socket) {
                Ok(reply) if reply.from.ip() == IpAddr::V4(ping.destination) => {
                    let round_trip = now.since(ping.sent);
                    break Ok(Reply::Pong { round_trip, ttl: reply.ttl });
                }
                // An answer to something else.
                Ok(_) => {}
                Err(EngineError::WouldBlock) => return None,
                Err(error) => break Err(options::error(error)),
            }
        };
        let ping = self.waiting.swap_remove(index);
        close(shard, now, socket);
        Some(Answered { session: ping.session, answer })
    }

    /// One whose time is over.
    pub(crate) fn expire(&mut self, shard: &mut Shard, now: Instant) -> Option<Answered> {
        let index = self.waiting.iter().position(|ping| ping.deadline <= now)?;
        let ping = self.waiting.swap_remove(index);
        close(shard, now, ping.socket);
        Some(Answered { session: ping.session, answer: Err(Error::TimedOut) })
    }

    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        self.waiting.iter().map(|ping| ping.deadline).min()
    }

    /// The session ended.
    pub(crate) fn forget(&mut self, shard: &mut Shard, now: Instant, session: Token) {
        while let Some(index) = self.waiting.iter().position(|ping| ping.session == session) {
            let ping = self.waiting.swap_remove(index);
            close(shard, now, ping.socket);
        }
    }
}

fn transmit(
    shard: &mut Shard,
    now: Instant,
    principal: Principal,
    socket: SocketId,
    echo: Echo,
) -> Result<(), EngineError> {
    let any = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
    shard.request(now, principal, Request::Bind { socket, local: any })?;
    let option = SocketOption::ReceiveErrors(true);
    shard.request(now, principal, Request::SetOption { socket, option })?;
    let header = icmpv4::Header::EchoRequest { identifier: 0, sequence: echo.sequence };
    let payload = vec![0; echo.payload_len.into()];
    let mut message = [0; icmpv4::HEADER_LEN];
    header.emit(&payload, &mut message);
    let remote = SocketAddr::from((echo.destination, 0));
    shard.send_to(now, socket, Some(remote), &[&message[..], &payload].concat())
}

fn close(shard: &mut Shard, now: Instant, socket: SocketId) {
    if let Err(error) = shard.request(now, Principal::default(), Request::Close { socket }) {
        tracing::debug!(%error, "close a ping socket");
    }
}
