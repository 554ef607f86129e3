//! What a datagram socket was told about the datagrams it sent, for the program that asks
//! (IP_RECVERR). Invariant: no more entries than the limit; what comes past it is forgotten, as its
//! sender may be anybody who can guess a flow.

use crate::{
    request::Error,
    table::{interface::InterfaceId, ip_settings::IpSettings},
};
use core::net::{IpAddr, SocketAddr};
use std::collections::VecDeque;

/// One error: Linux's `sock_extended_err`, and the datagram it is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueuedError {
    pub error: Error,
    pub origin: Origin,
    /// Whom the datagram was for; port 0 where that isn't known.
    pub destination: SocketAddr,
    /// Of errors about the datagram's size: the size that the path takes, in bytes of IP.
    pub mtu: u32,
    /// The datagram's payload, as far as the error quoted it.
    pub payload: Box<[u8]>,
}

/// Who found the error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// This host.
    Local,
    /// A router or the destination, by an ICMP message.
    Icmp(IcmpOrigin),
}

/// An ICMP message, and the packet that brought it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IcmpOrigin {
    pub kind: u8,
    pub code: u8,
    pub from: IpAddr,
    pub interface: InterfaceId,
    pub ttl: u8,
    pub tos: u8,
}

impl IcmpOrigin {
    /// What this host tells its own programs.
    pub fn own(kind: u8, code: u8, from: IpAddr, interface: InterfaceId) -> Self {
        // RFC 1812 §4.3.2.5: with the precedence of internetwork control.
        const INTERNETWORK_CONTROL: u8 = 0xc0;
        let (ttl, tos) = (IpSettings::DEFAULT_TTL, INTERNETWORK_CONTROL);
        Self { kind, code, from, interface, ttl, tos }
    }
}

#[derive(Debug, Default)]
pub struct ErrorQueue {
    errors: VecDeque<QueuedError>,
}

impl ErrorQueue {
    pub fn push(&mut self, error: QueuedError, limit: usize) {
        if self.errors.len() < limit {
            self.errors.push_back(error);
        }
    }

    pub fn pop(&mut self) -> Option<QueuedError> {
        self.errors.pop_front()
    }

    /// The error of the oldest entry.
    pub fn next(&self) -> Option<Error> {
        self.errors.front().map(|queued| queued.error)
    }

    pub fn clear(&mut self) {
        self.errors.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(port: u16) -> QueuedError {
        QueuedError {
            error: Error::ConnectionRefused,
            origin: Origin::Local,
            destination: SocketAddr::from(([10, 0, 0, 1], port)),
            mtu: 0,
            payload: Box::new([]),
        }
    }

    #[test]
    fn the_oldest_errors_stay_in_order_and_the_limit_holds() {
        let mut queue = ErrorQueue::default();
        for port in 1..=5 {
            queue.push(error(port), 3);
        }
        assert_eq!(queue.next(), Some(Error::ConnectionRefused));
        for port in 1..=3 {
            assert_eq!(queue.pop(), Some(error(port)));
        }
        assert_eq!((queue.pop(), queue.next()), (None, None));
    }
}
