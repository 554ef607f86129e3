//! What a program wants to hear of octets that it sends: that they left (SO_TIMESTAMPING's TX_SCHED
//! and TX_SOFTWARE, which are one moment here), that the peer has them (TX_ACK), that nobody needs the
//! program's copy any more (MSG_ZEROCOPY). A mark stands at the last octet of one call, as on Linux.

use super::{connection::Connection, seq::Seq};
use crate::time::Instant;
use std::collections::VecDeque;

/// Calls that are watched at a time, and notices that wait for the program: as much as Linux lets the
/// error queue of a socket with the usual buffers hold. Beyond it nothing is watched.
const LIMIT: usize = 512;

bitflags::bitflags! {
    /// What to say of a call.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Watch: u8 {
        const SCHEDULED = 1;
        const SENT = 2;
        const ACKNOWLEDGED = 4;
        /// The octets were copied, and now nothing of them is left.
        const RELEASED = 8;
    }
}

/// One of [`Watch`]'s has come true of the call that was named `tag`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Notice {
    pub what: Watch,
    pub tag: u32,
    pub at: Instant,
}

#[derive(Debug)]
struct Mark {
    /// After the call's last octet.
    end: Seq,
    tag: u32,
    watch: Watch,
}

#[derive(Debug, Default)]
pub(super) struct Notices {
    marks: VecDeque<Mark>,
    ready: VecDeque<Notice>,
}

impl Notices {
    /// What `done` says has happened to all up to `end`.
    fn happened(&mut self, now: Instant, end: Seq, done: Watch) {
        for mark in &mut self.marks {
            if mark.end.after(end) {
                break;
            }
            for what in mark.watch.intersection(done).iter() {
                mark.watch.remove(what);
                self.ready.push_back(Notice { what, tag: mark.tag, at: now });
            }
        }
        while self.marks.front().is_some_and(|mark| mark.watch.is_empty()) {
            self.marks.pop_front();
        }
        while self.ready.len() > LIMIT {
            self.ready.pop_front();
        }
    }
}

impl Connection {
    /// What became of all that was queued so far is told, with `tag`. What has left already is told
    /// at once.
    pub fn watch(&mut self, now: Instant, tag: u32, watch: Watch) {
        let end = self.snd.end();
        let notices = self.notices.get_or_insert_default();
        if notices.marks.len() < LIMIT {
            notices.marks.push_back(Mark { end, tag, watch });
        }
        self.tell_departure(now);
        self.tell_arrival(now);
    }

    pub(super) fn tell_departure(&mut self, now: Instant) {
        if let Some(notices) = &mut self.notices {
            notices.happened(now, self.snd.nxt, Watch::SCHEDULED | Watch::SENT);
        }
    }

    pub(super) fn tell_arrival(&mut self, now: Instant) {
        if let Some(notices) = &mut self.notices {
            notices.happened(now, self.snd.una, Watch::ACKNOWLEDGED | Watch::RELEASED);
        }
    }

    pub fn take_notice(&mut self) -> Option<Notice> {
        self.notices.as_mut()?.ready.pop_front()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_says_each_thing_once_and_in_order() {
        let at = Instant::from_millis;
        let mut notices = Notices::default();
        let watch = Watch::SENT | Watch::ACKNOWLEDGED;
        for (tag, end) in [(0, Seq(10)), (1, Seq(20))] {
            notices.marks.push_back(Mark { end, tag, watch });
        }
        notices.happened(at(1), Seq(9), Watch::SENT);
        assert!(notices.ready.is_empty());
        notices.happened(at(2), Seq(20), Watch::SENT);
        notices.happened(at(3), Seq(20), Watch::SENT);
        notices.happened(at(4), Seq(15), Watch::ACKNOWLEDGED);
        let notice = |what, tag, millis| Notice { what, tag, at: at(millis) };
        let expected = [
            notice(Watch::SENT, 0, 2),
            notice(Watch::SENT, 1, 2),
            notice(Watch::ACKNOWLEDGED, 0, 4),
        ];
        assert_eq!(notices.ready, expected);
        assert_eq!(notices.marks.len(), 1);
    }
}
