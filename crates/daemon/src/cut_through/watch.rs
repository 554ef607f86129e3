//! Learning what becomes of a socket pair whose ends are both in programs, without holding either open.
//!
//! An epoll set keeps a descriptor it was given for as long as *anybody* has the file open, and does
//! not hold the file open itself (epoll(7), questions 6). So both ends are put into a set of their own
//! before the daemon lets go of its copies. Of each the set then tells that its peer sends no more or
//! is gone; and kcmp(2) says which ends are still in it, so open somewhere, which no program can forge.
//! Bytes that pass between the programs wake nobody here.
//!
//! When both ends close before the daemon has looked, nothing is told: then it has to ask.

use narrows_sys::epoll_target;
use rustix::{
    event::{
        Timespec,
        epoll::{self, CreateFlags, EventData, EventFlags},
    },
    io::Errno,
};
use std::{
    io,
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd},
};

/// The two ends of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Client,
    Server,
}

impl Side {
    pub(crate) const BOTH: [Self; 2] = [Self::Client, Self::Server];

    pub(crate) fn other(self) -> Self {
        match self {
            Self::Client => Self::Server,
            Self::Server => Self::Client,
        }
    }

    fn of(data: u64) -> Self {
        if data == 0 { Self::Client } else { Self::Server }
    }
}

/// One thing for each side.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sides<T> {
    pub client: T,
    pub server: T,
}

impl<T> Sides<T> {
    pub(crate) fn get(&self, side: Side) -> &T {
        match side {
            Side::Client => &self.client,
            Side::Server => &self.server,
        }
    }

    pub(crate) fn get_mut(&mut self, side: Side) -> &mut T {
        match side {
            Side::Client => &mut self.client,
            Side::Server => &mut self.server,
        }
    }
}

/// What an end has seen of the other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Seen {
    /// Nothing more comes.
    pub ended: bool,
    /// It closed without having read everything.
    pub reset: bool,
}

#[derive(Debug)]
pub(crate) struct Watch {
    set: OwnedFd,
    /// Of the ends, when they were put in: what kcmp(2) knows them by.
    numbers: Sides<Option<RawFd>>,
}

impl Watch {
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self { set: epoll::create(CreateFlags::CLOEXEC)?, numbers: Sides::default() })
    }

    /// Takes an end in, which may be closed here afterwards, but not before the other one is in. Fails
    /// also where the kernel would not say later that the end is still there.
    pub(crate) fn add(&mut self, side: Side, end: &OwnedFd) -> io::Result<()> {
        let data = EventData::new_u64(u64::from(side == Side::Server));
        epoll::add(&self.set, end, data, EventFlags::RDHUP | EventFlags::ET)?;
        *self.numbers.get_mut(side) = Some(end.as_raw_fd());
        epoll_target::has(&self.set, end.as_raw_fd()).map(drop)
    }

    /// What is new since the last call.
    pub(crate) fn seen(&self) -> io::Result<Sides<Seen>> {
        let mut seen = Sides::<Seen>::default();
        let mut events = Vec::with_capacity(2);
        let now = Timespec::default();
        match epoll::wait(&self.set, rustix::buffer::spare_capacity(&mut events), Some(&now)) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
        for epoll::Event { flags, data } in events {
            let seen = seen.get_mut(Side::of(data.u64()));
            seen.ended |= flags.intersects(EventFlags::RDHUP | EventFlags::HUP);
            seen.reset |= flags.contains(EventFlags::ERR);
        }
        Ok(seen)
    }

    /// Which ends are open, in any process or on the way to one.
    pub(crate) fn open_ends(&self) -> io::Result<Sides<bool>> {
        let mut open = Sides::default();
        for side in Side::BOTH {
            let has = |number| epoll_target::has(&self.set, number);
            *open.get_mut(side) = self.numbers.get(side).map_or(Ok(false), has)?;
        }
        Ok(open)
    }
}

impl AsFd for Watch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.set.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::net::{
        AddressFamily, SendFlags, Shutdown, SocketFlags, SocketType, send, shutdown, socketpair,
    };

    fn pair() -> (Watch, OwnedFd, OwnedFd) {
        let mut watch = Watch::new().expect("epoll");
        let (unix, stream) = (AddressFamily::UNIX, SocketType::STREAM);
        let (client, server) =
            socketpair(unix, stream, SocketFlags::CLOEXEC, None).expect("a pair");
        // As when the daemon lets go of its copies.
        let ours = [&client, &server].map(|end| end.try_clone().expect("dup"));
        for (side, end) in Side::BOTH.into_iter().zip(&ours) {
            watch.add(side, end).expect("epoll_ctl");
        }
        (watch, client, server)
    }

    const ENDED: Seen = Seen { ended: true, reset: false };

    #[test]
    fn bytes_are_nobodys_business() {
        let (watch, client, _server) = pair();
        send(&client, b"x", SendFlags::empty()).expect("send");
        assert_eq!(watch.seen().expect("epoll"), Sides::default());
        assert_eq!(watch.open_ends().expect("kcmp"), Sides { client: true, server: true });
    }

    #[test]
    fn each_end_sees_the_other_finish_and_go() {
        let (watch, client, server) = pair();
        shutdown(&client, Shutdown::Write).expect("shutdown");
        let server_saw = Sides { server: ENDED, ..Sides::default() };
        assert_eq!(watch.seen().expect("epoll"), server_saw);
        assert_eq!(watch.seen().expect("epoll"), Sides::default(), "told once");
        drop(server);
        assert_eq!(watch.seen().expect("epoll"), Sides { client: ENDED, ..Sides::default() });
        assert_eq!(watch.open_ends().expect("kcmp"), Sides { client: true, server: false });
        drop(client);
        assert_eq!(watch.open_ends().expect("kcmp"), Sides::default());
    }

    #[test]
    fn who_closes_with_bytes_unread_resets() {
        let (watch, client, server) = pair();
        send(&client, b"x", SendFlags::empty()).expect("send");
        drop(server);
        let reset = Seen { ended: true, reset: true };
        assert_eq!(watch.seen().expect("epoll"), Sides { client: reset, ..Sides::default() });
    }
}
