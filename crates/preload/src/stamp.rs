//! When a socket's last record came, for the ioctls SIOCGSTAMP and SIOCGSTAMPNS (socket(7)).
//!
//! A datagram's record says it only if the program asked for it beforehand. Then the answer is the present, as
//! Linux gives it to whoever asks first.
//!
//! Kept here by the socket's cookie, since each record says it. A socket whose place another one took since
//! then has none, and is told ENOENT, as one to which nothing has come.

use rustix::{
    io::Errno,
    time::{ClockId, clock_gettime},
};
use std::sync::atomic::{AtomicU64, Ordering};

const PLACES: usize = 256;

/// From asm-generic/sockios.h and linux/sockios.h: the old numbers, and those that say the length.
const STAMP: [u64; 2] = [0x8906, 0x8010_8906];
const STAMP_NS: [u64; 2] = [0x8907, 0x8010_8907];

/// Of a socket: its cookie, and nanoseconds since 1970.
struct Place {
    cookie: AtomicU64,
    time: AtomicU64,
}

static PLACE: [Place; PLACES] =
    [const { Place { cookie: AtomicU64::new(0), time: AtomicU64::new(0) } }; PLACES];

fn place(cookie: u64) -> &'static Place {
    &PLACE[cookie as usize % PLACES]
}

/// A record came. While the time changes the place is nobody's, so that no other's is read.
pub fn remember(cookie: u64, time: u64) {
    let place = place(cookie);
    place.cookie.store(0, Ordering::Release);
    place.time.store(time, Ordering::Release);
    place.cookie.store(cookie, Ordering::Release);
}

fn last(cookie: u64) -> Option<u64> {
    let place = place(cookie);
    let is_its = || place.cookie.load(Ordering::Acquire) == cookie;
    let time = is_its().then(|| place.time.load(Ordering::Acquire));
    time.filter(|_| is_its())
}

fn now() -> u64 {
    let now = clock_gettime(ClockId::Realtime);
    (now.tv_sec as u64).saturating_mul(1_000_000_000).saturating_add(now.tv_nsec as u64)
}

/// The answer to an `ioctl` as a `struct timeval` or `timespec`; `None`: it asks something else.
pub fn answer(cookie: u64, request: u64) -> Option<Result<[u8; 16], Errno>> {
    let fraction = match request {
        _ if STAMP.contains(&request) => 1_000,
        _ if STAMP_NS.contains(&request) => 1,
        _ => return None,
    };
    Some(last(cookie).ok_or(Errno::NOENT).map(|time| {
        let time = if time == 0 { now() } else { time };
        let (seconds, nanos) = (time / 1_000_000_000, time % 1_000_000_000);
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&seconds.to_ne_bytes());
        bytes[8..].copy_from_slice(&(nanos / fraction).to_ne_bytes());
        bytes
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_socket_is_told_of_its_own_last_record() {
        let number = |bytes: [u8; 16]| {
            let (seconds, rest) = bytes.split_at(8);
            [seconds, rest].map(|part| u64::from_ne_bytes(part.try_into().expect("eight")))
        };
        let (one, other) = (1001, 1001 + PLACES as u64);
        assert_eq!(answer(one, STAMP[0]), Some(Err(Errno::NOENT)));
        remember(one, 5_000_000_999);
        assert_eq!(answer(one, STAMP[0]).map(|answer| answer.map(number)), Some(Ok([5, 0])));
        for request in STAMP_NS {
            assert_eq!(answer(one, request).map(|answer| answer.map(number)), Some(Ok([5, 999])));
        }
        assert_eq!(answer(one, libc::FIONREAD), None);
        remember(other, 0);
        let present = answer(other, STAMP[0]).map(|answer| answer.map(number));
        assert!(
            present.is_some_and(|said| said.is_ok_and(|[seconds, _]| seconds > 1_700_000_000)),
            "{present:?}"
        );
        remember(other, 7_000_000_000);
        assert_eq!(answer(one, STAMP[1]), Some(Err(Errno::NOENT)));
        assert_eq!(answer(other, STAMP[1]).map(|answer| answer.map(number)), Some(Ok([7, 0])));
    }
}
