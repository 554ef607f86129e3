//! Watching packets pass.

use crate::{error::Error, stack::Stack};
use narrows_ipc::{
    Reply, Request, TransportError,
    see::{Told, WatchOptions},
};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
    net::{RecvFlags, recv},
};
use std::{os::fd::OwnedFd, time::Duration};

impl Stack {
    /// Begins to watch. `NotPermitted`: policy does not let the caller observe there; `NoBufferSpace`: as
    /// many watch as can.
    pub fn watch(&self, options: WatchOptions) -> Result<Watch, Error> {
        let request = Request::Watch(Box::new(options));
        match self.with(|session| session.exchange(&request, None))? {
            (Reply::Done, Some(records)) => {
                Ok(Watch { records, buffer: vec![0; Told::MAX_LEN].into() })
            }
            _ => Err(Error::UnexpectedAnswer),
        }
    }
}

/// Packets as they pass. Who reads too slowly is told how much he lost.
#[derive(Debug)]
pub struct Watch {
    records: OwnedFd,
    buffer: Box<[u8]>,
}

impl Watch {
    /// The next record; `None`: none came in that time, or a signal did.
    pub fn next(&mut self, patience: Duration) -> Result<Option<Told>, Error> {
        let mut events = [PollFd::new(&self.records, PollFlags::IN)];
        let timeout = Timespec {
            tv_sec: patience.as_secs().try_into().unwrap_or(i64::MAX),
            tv_nsec: patience.subsec_nanos().into(),
        };
        match poll(&mut events, Some(&timeout)) {
            Ok(0) | Err(Errno::INTR) => return Ok(None),
            Ok(_) => {}
            Err(errno) => return Err(Error::SessionEnded(TransportError::from(errno))),
        }
        match recv(&self.records, &mut self.buffer[..], RecvFlags::DONTWAIT) {
            Ok((0, _)) => Err(Error::SessionEnded(TransportError::Closed)),
            Ok((count, _)) => {
                let bytes = self.buffer.get(..count).unwrap_or_default();
                Told::decode(bytes)
                    .map(Some)
                    .map_err(|error| Error::SessionEnded(TransportError::from(error)))
            }
            Err(Errno::AGAIN | Errno::INTR) => Ok(None),
            Err(errno) => Err(Error::SessionEnded(TransportError::from(errno))),
        }
    }
}
