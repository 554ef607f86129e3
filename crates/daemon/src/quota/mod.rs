//! What each user may take of the daemon, and what he has taken: his bill.
//!
//! A bill is a user's, whatever number of processes, sessions and sockets he has. Sessions and sockets
//! are on the bill of whose session opened or made them, accepted connections on the listener's.
//!
//! | limit | who is past it |
//! |---|---|
//! | `sockets` | gets ENOBUFS from socket(2); what others send him waits in the accept queues of his listeners |
//! | `sessions` | gets no session: ENETDOWN |
//! | `connections_per_second` | gets EAGAIN from connect(2) |
//! | `backlog` | has the shorter queue, as with Linux's somaxconn |
//! | `half_open` | others' SYNs to his listeners get cookies, or are dropped (`syn-share-full`) |
//! | `buffer_bytes` | has buffers that grow no more, and gets ENOBUFS from socket(2): see [`memory`] |
//! | `frames_per_second` | waits: what he writes next stays in his sockets until the second is over |
//!
//! A group's quota is each member's, not one for all of them.
//!
//! A user who has his [share](share) of the daemon's descriptors is refused as one past `sockets` or `sessions`, and
//! his session is ended if he goes on sending descriptors that nobody asked for.
//!
//! How work is shared out between users is [`fair`]'s.

pub(crate) mod fair;
pub(crate) mod memory;
mod share;

use crate::config::{QuotaConfig, Quotas};
use narrows_ipc::{Error, message::BillRow};
use narrows_stack::Instant;
use std::{collections::HashMap, time::Duration};

/// Users with a bill of their own; those who come later share the first bill. A user namespace can
/// give one user as many numbers as that.
const MOST_BILLS: usize = 1 << 16;

/// Of a user's descriptors that wait to be closed, so many are logged.
const WORTH_A_WORD: u64 = 1024;

/// Names a bill.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct BillId(usize);

#[derive(Clone, Debug, Default)]
struct Bill {
    user: u32,
    /// Those of the session that was opened last.
    groups: Vec<u32>,
    quota: QuotaConfig,
    sessions: u64,
    sockets: u64,
    /// Descriptors that came from him and are not closed yet.
    waiting: u64,
    requests: u64,
    /// Acts beyond the quota.
    refused: u64,
    bytes_to_programs: u64,
    bytes_from_programs: u64,
    /// Of the event loop, spent on sessions and anchors.
    time: Duration,
    connections: Second,
    frames: Second,
    /// His buffers grow no more.
    squeezed: bool,
}

/// What the engine knows of a user.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Usage {
    /// Bytes that wait in his sockets.
    pub queued: u64,
    /// Bytes of buffers and queues.
    pub memory: u64,
    /// Packets that were for his sockets, or from them.
    pub drops: u64,
}

/// What happened within one second: twice the rate may pass around its end.
#[derive(Clone, Copy, Debug, Default)]
struct Second {
    since: Option<Instant>,
    count: u64,
}

impl Second {
    /// One more; false: that is more than `most`.
    fn note(&mut self, now: Instant, most: u64) -> bool {
        if self.since.is_none_or(|since| now >= since + Duration::from_secs(1)) {
            *self = Self { since: Some(now), count: 0 };
        }
        let fits = self.count < most;
        self.count += u64::from(fits);
        fits
    }

    /// How many of `most` are left. What was more than that in a second is taken off the next.
    fn left(&mut self, now: Instant, most: u64) -> u64 {
        if self.since.is_none_or(|since| now >= since + Duration::from_secs(1)) {
            *self = Self { since: Some(now), count: self.count.saturating_sub(most) };
        }
        most.saturating_sub(self.count)
    }
}

/// All bills. Invariant: `by_user` has the place of each user's.
#[derive(Debug, Default)]
pub(crate) struct Bills {
    bills: Vec<Bill>,
    by_user: HashMap<u32, BillId>,
    quotas: Quotas,
    descriptors: share::Descriptors,
}

/// What was refused.
#[derive(Clone, Copy, Debug)]
enum Beyond {
    Sockets,
    Sessions,
    Connections,
    Descriptors,
    Frames,
    Memory,
}

impl Bills {
    /// The quotas hold for all that is asked from now on; what is there stays.
    pub(crate) fn set_quotas(&mut self, quotas: Quotas) {
        for bill in &mut self.bills {
            bill.quota = quotas.of(bill.user, &bill.groups);
        }
        self.quotas = quotas;
    }

    /// How many descriptors the daemon may open.
    pub(crate) fn set_descriptors(&mut self, limit: u64) {
        self.descriptors.limit = limit;
    }

    /// The bill of a user, who opens a session; an error when he has too many.
    pub(crate) fn open_session(&mut self, user: u32, groups: Vec<u32>) -> Result<BillId, Error> {
        let id = self.of(user);
        let Some(bill) = self.bills.get_mut(id.0) else { return Ok(id) };
        if bill.user == user && bill.groups != groups {
            bill.quota = self.quotas.of(user, &groups);
            bill.groups = groups;
        }
        if bill.sessions >= bill.quota.sessions {
            return Err(bill.refuse(Beyond::Sessions, Error::NetworkDown));
        }
        if !self.descriptors.allows(bill.descriptors()) {
            return Err(bill.refuse(Beyond::Descriptors, Error::NetworkDown));
        }
        bill.sessions += 1;
        self.descriptors.took(share::SESSION);
        Ok(id)
    }

    pub(crate) fn close_session(&mut self, id: BillId) {
        if let Some(bill) = self.bills.get_mut(id.0) {
            bill.sessions = bill.sessions.saturating_sub(1);
            self.descriptors.gave(share::SESSION);
        }
    }

    /// Another descriptor that came from him waits to be closed.
    pub(crate) fn descriptor_waits(&mut self, id: BillId) {
        let Some(bill) = self.bills.get_mut(id.0) else { return };
        bill.waiting += 1;
        self.descriptors.took(1);
        let Bill { user, waiting, .. } = *bill;
        if waiting >= WORTH_A_WORD && waiting.is_power_of_two() {
            tracing::warn!(user, waiting, "descriptors that he sent take long to be closed");
        }
    }

    pub(crate) fn descriptors_closed(&mut self, id: BillId, count: u64) {
        if let Some(bill) = self.bills.get_mut(id.0) {
            bill.waiting = bill.waiting.saturating_sub(count);
            self.descriptors.gave(count);
        }
    }

    /// How many of his wait to be closed.
    pub(crate) fn waiting(&self, id: BillId) -> u64 {
        self.bills.get(id.0).map_or(0, |bill| bill.waiting)
    }

    /// Has he no more than his share of the daemon's descriptors?
    pub(crate) fn is_within_share(&self, id: BillId) -> bool {
        let bill = self.bills.get(id.0);
        bill.is_none_or(|bill| self.descriptors.allows(bill.descriptors()))
    }

    /// May there be another socket on this bill?
    pub(crate) fn allow_socket(&mut self, id: BillId) -> Result<(), Error> {
        match self.bills.get_mut(id.0) {
            Some(bill) if bill.sockets >= bill.quota.sockets => {
                Err(bill.refuse(Beyond::Sockets, Error::NoBufferSpace))
            }
            Some(bill) if !self.descriptors.allows(bill.descriptors()) => {
                Err(bill.refuse(Beyond::Descriptors, Error::NoBufferSpace))
            }
            Some(bill) if bill.squeezed => Err(bill.refuse(Beyond::Memory, Error::NoBufferSpace)),
            _ => Ok(()),
        }
    }

    /// Could there be another socket on this bill? Nothing is counted.
    pub(crate) fn has_room(&self, id: BillId) -> bool {
        self.bills.get(id.0).is_none_or(|bill| {
            bill.sockets < bill.quota.sockets && self.descriptors.allows(bill.descriptors())
        })
    }

    /// May another connection be begun now?
    pub(crate) fn allow_connection(&mut self, id: BillId, now: Instant) -> Result<(), Error> {
        let Some(bill) = self.bills.get_mut(id.0) else { return Ok(()) };
        if bill.connections.note(now, bill.quota.connections_per_second) {
            return Ok(());
        }
        Err(bill.refuse(Beyond::Connections, Error::WouldBlock))
    }

    /// How many may wait for one listener, of `asked`.
    pub(crate) fn backlog(&self, id: BillId, asked: u32) -> u32 {
        let most = self.bills.get(id.0).map_or(u64::MAX, |bill| bill.quota.backlog);
        asked.min(u32::try_from(most).unwrap_or(u32::MAX))
    }

    /// How many frames sockets of datagrams and frames on this bill may send now.
    pub(crate) fn frames_left(&mut self, id: BillId, now: Instant) -> u64 {
        let Some(bill) = self.bills.get_mut(id.0) else { return u64::MAX };
        bill.frames.left(now, bill.quota.frames_per_second)
    }

    /// So many were sent.
    pub(crate) fn note_frames(&mut self, id: BillId, count: u64) {
        if let Some(bill) = self.bills.get_mut(id.0) {
            bill.frames.count = bill.frames.count.saturating_add(count);
        }
    }

    /// A socket has to wait with its frames; until when.
    pub(crate) fn hold_frames(&mut self, id: BillId, now: Instant) -> Instant {
        let Some(bill) = self.bills.get_mut(id.0) else { return now };
        bill.refuse(Beyond::Frames, Error::WouldBlock);
        bill.frames.since.unwrap_or(now) + Duration::from_secs(1)
    }

    /// How many connections the listeners of each user may have half open.
    pub(crate) fn half_open(&self) -> impl Iterator<Item = (u32, u64)> {
        self.bills.iter().map(|bill| (bill.user, bill.quota.half_open))
    }

    pub(crate) fn half_open_of(&self, id: BillId) -> Option<(u32, u64)> {
        self.bills.get(id.0).map(|bill| (bill.user, bill.quota.half_open))
    }

    pub(crate) fn socket_made(&mut self, id: BillId) {
        if let Some(bill) = self.bills.get_mut(id.0) {
            bill.sockets += 1;
            self.descriptors.took(1);
        }
    }

    pub(crate) fn socket_gone(&mut self, id: BillId) {
        if let Some(bill) = self.bills.get_mut(id.0) {
            bill.sockets = bill.sockets.saturating_sub(1);
            self.descriptors.gave(1);
        }
    }

    pub(crate) fn note_requests(&mut self, id: BillId, count: u64, time: Duration) {
        if let Some(bill) = self.bills.get_mut(id.0) {
            bill.requests += count;
            bill.time += time;
        }
    }

    pub(crate) fn note_bytes(&mut self, id: BillId, to: u64, from: u64, time: Duration) {
        if let Some(bill) = self.bills.get_mut(id.0) {
            bill.bytes_to_programs += to;
            bill.bytes_from_programs += from;
            bill.time += time;
        }
    }

    /// By user.
    pub(crate) fn rows(&self, usage: impl Fn(u32) -> Usage) -> Vec<BillRow> {
        let mut rows: Vec<_> = self.bills.iter().map(|bill| bill.row(usage(bill.user))).collect();
        rows.sort_by_key(|row| row.user);
        rows
    }

    fn of(&mut self, user: u32) -> BillId {
        if let Some(id) = self.by_user.get(&user) {
            return *id;
        }
        if self.bills.len() >= MOST_BILLS {
            return BillId::default();
        }
        let id = BillId(self.bills.len());
        self.bills.push(Bill { user, quota: self.quotas.of(user, &[]), ..Bill::default() });
        self.by_user.insert(user, id);
        id
    }
}

impl Bill {
    /// Of the daemon's, what is his.
    fn descriptors(&self) -> u64 {
        self.sockets + share::SESSION * self.sessions + self.waiting
    }

    /// Counts it. Logged are the first, the second, the fourth and so on, so that nobody fills a disk.
    fn refuse(&mut self, what: Beyond, error: Error) -> Error {
        self.refused += 1;
        if self.refused.is_power_of_two() {
            let held = self.descriptors();
            let Self { user, refused, quota, .. } = self;
            match what {
                Beyond::Sockets => {
                    tracing::warn!(user, refused, "no more than {} sockets", quota.sockets)
                }
                Beyond::Sessions => {
                    tracing::warn!(user, refused, "no more than {} sessions", quota.sessions)
                }
                Beyond::Descriptors => {
                    tracing::warn!(user, refused, held, "no more descriptors than his share")
                }
                Beyond::Frames => tracing::warn!(
                    user,
                    refused,
                    "no more than {} frames in a second",
                    quota.frames_per_second
                ),
                Beyond::Memory => {
                    tracing::warn!(user, refused, "no more sockets while his buffers are too large")
                }
                Beyond::Connections => tracing::warn!(
                    user,
                    refused,
                    "no more than {} connections in a second",
                    quota.connections_per_second
                ),
            }
        }
        error
    }

    fn row(&self, Usage { queued, memory, drops }: Usage) -> BillRow {
        BillRow {
            user: self.user,
            sessions: self.sessions,
            sockets: self.sockets,
            requests: self.requests,
            refused: self.refused,
            bytes_to_programs: self.bytes_to_programs,
            bytes_from_programs: self.bytes_from_programs,
            queued,
            memory,
            drops,
            time: self.time,
        }
    }
}

#[cfg(test)]
mod tests;
