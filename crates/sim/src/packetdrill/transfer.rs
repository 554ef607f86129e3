//! Calls that move bytes: read(), write() and all their sisters.

use super::{
    Fault,
    calls::{Arguments, Outcome, Program, SERVER_PORT, would_block},
    control,
    flow::Flow,
    machine::{Machine, REMOTE},
    message::Transfer,
};
use core::net::{IpAddr, SocketAddr};
use narrows_stack::{
    Error, SocketId,
    request::{Patience, SendFlags},
    tcp::State,
};
use std::io::IoSliceMut;

const RECEIVE_FLAGS: [&str; 6] =
    ["MSG_PEEK", "MSG_DONTWAIT", "MSG_NOSIGNAL", "MSG_TRUNC", "MSG_ERRQUEUE", "MSG_WAITALL"];
const SEND_FLAGS: [&str; 6] =
    ["MSG_DONTWAIT", "MSG_NOSIGNAL", "MSG_MORE", "MSG_FASTOPEN", "MSG_EOR", "MSG_ZEROCOPY"];

impl Program {
    pub(super) fn receive(
        &mut self,
        machine: &mut Machine,
        arguments: &Arguments,
    ) -> Result<Outcome, Fault> {
        let transfer = Transfer::parse(arguments)?;
        let descriptor = self.descriptor(arguments, |it| it.clone())?;
        let socket = descriptor.socket;
        if let Some(flag) = transfer.other_than(&RECEIVE_FLAGS) {
            return Err(arguments.unsupported(flag));
        }
        if transfer.has("MSG_ERRQUEUE") {
            return control::error_queue(self, machine, arguments, &transfer);
        }
        if transfer.fault {
            return Ok(Outcome::Failed("EFAULT"));
        }
        // SO_RCVLOWAT: who can wait does so for that much.
        let patient = descriptor.blocking && !transfer.has("MSG_DONTWAIT");
        let info = self.info(machine, arguments)?;
        let low = if transfer.has("MSG_WAITALL") { usize::MAX } else { descriptor.low };
        let low = low.min(transfer.length());
        if low == 0 && info.state != State::Listen && info.remote.is_some() {
            return Ok(Outcome::Returned(0));
        }
        if patient
            && !descriptor.deaf
            && info.state == State::Established
            && info.receive_queue < low
        {
            return Ok(Outcome::Blocked);
        }
        let peek = transfer.has("MSG_PEEK");
        let mut offered = 0;
        let result = machine.shard.receive_with(machine.now, socket, transfer.length(), |parts| {
            offered = parts.iter().map(|part| part.len()).sum();
            if peek { 0 } else { offered }
        });
        let outcome = match result {
            Ok(_) => Outcome::Returned(offered as i64),
            Err(Error::WouldBlock) if descriptor.deaf => Outcome::Returned(0),
            Err(Error::WouldBlock) => would_block(patient),
            // An error is told once; after it comes the end.
            Err(Error::NotConnected) => Outcome::Failed("ENOTCONN"),
            Err(_) => match self.take_error(machine, socket) {
                Some(error) => Outcome::Failed(error),
                None => Outcome::Returned(0),
            },
        };
        if matches!(outcome, Outcome::Returned(_)) && arguments.call.name == "recvmsg" {
            control::received(&descriptor, machine, arguments, &transfer)?;
        }
        Ok(outcome)
    }

    pub(super) fn send(
        &mut self,
        machine: &mut Machine,
        arguments: &Arguments,
    ) -> Result<Outcome, Fault> {
        let transfer = Transfer::parse(arguments)?;
        let socket = self.socket_of(arguments)?;
        if let Some(flag) = transfer.other_than(&SEND_FLAGS) {
            return Err(arguments.unsupported(flag));
        }
        if transfer.fault {
            return Ok(Outcome::Failed("EFAULT"));
        }
        let length = transfer.length();
        let blocking =
            self.descriptor(arguments, |it| it.blocking)? && !transfer.has("MSG_DONTWAIT");
        let deferred = machine.shard.is_deferred(socket);
        let begins = self.descriptor(arguments, |it| it.written)? == 0
            && (deferred || transfer.has("MSG_FASTOPEN"))
            && !self.descriptor(arguments, |it| it.opening)?;
        if begins {
            let begun = self.open_fast(machine, arguments, length, blocking)?;
            match begun {
                Ok(0) if !blocking && self.is_opening(machine, socket) => {
                    return Ok(Outcome::Failed("EINPROGRESS"));
                }
                Ok(count) if !blocking => {
                    return Ok(Outcome::Returned(count as i64));
                }
                Ok(count) => self.descriptor(arguments, |it| {
                    (it.written, it.opening) = (count, true);
                })?,
                Err(Error::NotSupported) => return Ok(Outcome::Failed("EOPNOTSUPP")),
                Err(error) => return Ok(Outcome::Failed(super::calls::errno(error))),
            }
        }
        if self.is_opening(machine, socket) {
            return Ok(would_block(blocking));
        }
        let outcome = self.fill(machine, arguments, &transfer, blocking)?;
        if outcome != Outcome::Blocked {
            self.descriptor(arguments, |it| (it.written, it.opening) = (0, false))?;
        }
        Ok(outcome)
    }

    /// Our SYN is out and nothing came back: no more can be written.
    fn is_opening(&mut self, machine: &mut Machine, socket: SocketId) -> bool {
        let state = machine.info(socket).map(|info| info.state);
        state == Ok(State::SynSent) && !machine.shard.is_deferred(socket)
    }

    /// A SYN with text leaves, if it may have any.
    fn open_fast(
        &mut self,
        machine: &mut Machine,
        arguments: &Arguments,
        length: usize,
        blocking: bool,
    ) -> Result<Result<usize, Error>, Fault> {
        let socket = self.socket_of(arguments)?;
        let remote = SocketAddr::new(IpAddr::V4(REMOTE), SERVER_PORT);
        let fresh = self.info(machine, arguments)?.remote.is_none();
        let now = machine.now;
        let patience = if blocking { Patience::Waits } else { Patience::Returns };
        let result = machine.shard.connect_with(now, socket, remote, (length, patience), fill_all);
        if result.is_ok() && fresh {
            self.descriptor(arguments, |it| it.connecting = true)?;
            let local_port = self.info(machine, arguments)?.local.port();
            self.follow(Flow::connecting(local_port, SERVER_PORT), Some(socket));
        }
        machine.settle()?;
        Ok(result)
    }

    /// Writes as much as there is room for.
    fn fill(
        &mut self,
        machine: &mut Machine,
        arguments: &Arguments,
        transfer: &Transfer<'_>,
        blocking: bool,
    ) -> Result<Outcome, Fault> {
        let socket = self.socket_of(arguments)?;
        let length = transfer.length();
        let mut flags = SendFlags::empty();
        flags.set(SendFlags::MORE, transfer.has("MSG_MORE"));
        flags.set(SendFlags::END_OF_RECORD, transfer.has("MSG_EOR"));
        let mut written = self.descriptor(arguments, |it| it.written)?;
        let outcome = loop {
            if written == length {
                break Outcome::Returned(length as i64);
            }
            let left = length - written;
            let result = machine.shard.send_flagged(machine.now, socket, left, flags, fill_all);
            match result {
                Ok(0) if blocking => break Outcome::Blocked,
                Ok(0) if written > 0 => break Outcome::Returned(written as i64),
                Ok(0) => break Outcome::Failed("EAGAIN"),
                Ok(count) => written += count,
                Err(Error::BrokenPipe | Error::NotConnected) => break Outcome::Failed("EPIPE"),
                Err(_) => {
                    break Outcome::Failed(self.take_error(machine, socket).unwrap_or("EPIPE"));
                }
            }
        };
        if outcome == Outcome::Blocked {
            self.descriptor(arguments, |it| it.written = written)?;
        }
        Ok(outcome)
    }
}

/// Scripts send zeros, which is what buffers begin with or what was in them.
fn fill_all(parts: &mut [IoSliceMut<'_>; 2]) -> usize {
    parts.iter().map(|part| part.len()).sum()
}
