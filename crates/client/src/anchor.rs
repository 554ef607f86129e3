//! What an anchor tells without asking the daemon: connections accepted, whether a connection
//! stands, whether it has hung up.

use narrows_ipc::AcceptRecord;
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
    net::{
        RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendFlags, recv,
        recvmsg, sockopt,
    },
};
use std::{
    io::IoSliceMut,
    mem::MaybeUninit,
    os::fd::{BorrowedFd, OwnedFd},
    time::Duration,
};

/// What a listener's anchor gave.
#[derive(Debug)]
pub enum Accepted {
    Connection {
        anchor: OwnedFd,
        record: AcceptRecord,
    },
    /// No more will come: the listener was shut down, or the daemon has gone.
    End,
}

/// Marks an anchor as a listener's, for whoever has a copy of the descriptor. The mark is the
/// kernel's flag for broadcasts, which means nothing on a Unix socket.
pub(crate) fn mark_listening(anchor: BorrowedFd<'_>) -> Result<(), Errno> {
    sockopt::set_socket_broadcast(anchor, true)
}

/// Whether [`accept`] may be called: on any other anchor it would take the data of a connection.
pub fn is_listening(anchor: BorrowedFd<'_>) -> bool {
    sockopt::socket_broadcast(anchor).unwrap_or(false)
}

/// Takes the next connection from a listener's `anchor`; waits for it if the descriptor blocks.
/// `flags` may be `CMSG_CLOEXEC` and `DONTWAIT`.
///
/// Errors are those of accept(2): `AGAIN`, `INTR`, and `MFILE` while no descriptor is free, in
/// which case the connection waits on.
pub fn accept(anchor: BorrowedFd<'_>, flags: RecvFlags) -> Result<Accepted, Errno> {
    // The kernel throws away a descriptor for which there is no number, so there must be one.
    drop(rustix::io::fcntl_dupfd_cloexec(anchor, 0)?);
    let mut bytes = [0; AcceptRecord::LEN];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let received = recvmsg(anchor, &mut [IoSliceMut::new(&mut bytes)], &mut control, flags)?;
    let connection = control.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut arrived) => arrived.next(),
        _ => None,
    });
    match connection {
        Some(connection) if received.bytes == AcceptRecord::LEN => {
            note_taken(anchor);
            let record = AcceptRecord::decode(&bytes).map_err(|_| Errno::PROTO)?;
            Ok(Accepted::Connection { anchor: connection, record })
        }
        _ if received.bytes == 0 => Ok(Accepted::End),
        // Another thread took the number after all; the daemon resets the lost connection.
        None if received.flags.contains(ReturnFlags::CTRUNC) => Err(Errno::MFILE),
        _ => Err(Errno::PROTO),
    }
}

/// Tells the daemon that a connection was taken: should the listener be closed now, it is not one of
/// those to be reset. There is room for more notes than there are records on their way.
fn note_taken(listener: BorrowedFd<'_>) {
    // If the daemon is gone, nobody needs to know.
    let _ = rustix::net::send(listener, &[0], SendFlags::DONTWAIT | SendFlags::NOSIGNAL);
}

/// How a connection attempt stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attempt {
    Connected,
    /// The daemon knows why.
    Failed,
    Pending,
}

/// Waits until a connection attempt has ended, for `timeout` if one is given. `INTR` when a
/// signal came.
pub fn wait_connected(anchor: BorrowedFd<'_>, timeout: Option<Duration>) -> Result<Attempt, Errno> {
    // A timeout too long for the kernel's clock is none.
    let timeout = timeout.and_then(|timeout| Timespec::try_from(timeout).ok());
    let happened = poll_for(anchor, PollFlags::OUT, timeout.as_ref())?;
    Ok(if happened.intersects(PollFlags::ERR | PollFlags::HUP) {
        // With data there, it stood, and has ended since.
        let peek = RecvFlags::PEEK | RecvFlags::DONTWAIT;
        match recv(anchor, &mut [0_u8], peek) {
            Ok((1.., _)) => Attempt::Connected,
            _ => Attempt::Failed,
        }
    } else if happened.contains(PollFlags::OUT) {
        Attempt::Connected
    } else {
        Attempt::Pending
    })
}

/// Whether nothing can go either way any more. After that, an end of the stream may stand for an
/// error, which the daemon knows; before that, it is what it seems: the peer has sent all.
pub fn has_hung_up(anchor: BorrowedFd<'_>) -> bool {
    poll_for(anchor, PollFlags::empty(), Some(&Timespec::default()))
        .is_ok_and(|happened| happened.intersects(PollFlags::ERR | PollFlags::HUP))
}

fn poll_for(
    anchor: BorrowedFd<'_>,
    flags: PollFlags,
    timeout: Option<&Timespec>,
) -> Result<PollFlags, Errno> {
    let mut polled = [PollFd::from_borrowed_fd(anchor, flags)];
    poll(&mut polled, timeout)?;
    let [polled] = polled;
    Ok(polled.revents())
}
