//! How often something may be done for somebody. Invariant: memory is fixed at the start, whoever
//! and however many ask.
//!
//! A [`Pace`] is a token bucket kept as one time: when the bucket would be full again. A
//! [`RateLimiter`] has a fixed array of them and picks one by a keyed hash of the destination, so
//! there is nothing to fill up or to evict. Two defences make it useless as a side channel (SAD
//! DNS, CVE-2020-25705): each answer costs a random amount, so that nobody can count on the exact
//! number that will come, and the key is drawn anew every [`REKEY`], so that nobody finds an
//! address that shares a bucket with a victim's before it stops doing so.

use crate::{
    random::{Key, Random},
    time::{Duration, Instant},
};
use core::net::IpAddr;

/// Tokens come back one per `interval`; at most `burst` of them wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    pub interval: Duration,
    pub burst: u32,
}

/// One token bucket: the time at which it would be full again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pace {
    full_at: Instant,
}

impl Pace {
    /// Takes a token at a price between one and `1 + noise` of them; `noise` is out of 2³².
    pub fn take(&mut self, now: Instant, rate: Rate, noise: u32) -> bool {
        let full_at = self.full_at.max(now);
        if full_at.since(now) + rate.interval > rate.interval.saturating_mul(rate.burst) {
            return false;
        }
        let interval = u64::try_from(rate.interval.as_nanos()).unwrap_or(u64::MAX);
        let extra = (u128::from(interval) * u128::from(noise)) >> 32;
        self.full_at =
            full_at + rate.interval + Duration::from_nanos(u64::try_from(extra).unwrap_or(0));
        true
    }
}

/// Buckets of a limiter, 8 bytes each: many more than hosts that one talks to at a time.
const BUCKETS: u32 = 4096;
/// How long a key is used: much shorter than it takes to find out which addresses share a bucket.
const REKEY: Duration = Duration::from_secs(60);

/// A limit per destination.
#[derive(Debug)]
pub struct RateLimiter {
    rate: Rate,
    key: Key,
    rekey_at: Instant,
    buckets: Box<[Pace]>,
}

impl RateLimiter {
    pub fn new(rate: Rate, random: &mut Random) -> Self {
        Self {
            rate,
            key: random.key(),
            rekey_at: Instant::ZERO + REKEY,
            buckets: vec![Pace::default(); BUCKETS as usize].into(),
        }
    }

    /// May something be sent to `destination` now? Counts it as sent if so.
    pub fn allow(&mut self, now: Instant, random: &mut Random, destination: IpAddr) -> bool {
        if now >= self.rekey_at {
            // The buckets stay as they are: a new key only deals them out anew, and gives nobody
            // a fresh burst.
            self.key = random.key();
            self.rekey_at = now + REKEY;
        }
        let noise = random.next_u32();
        let index = self.key.hash(&destination) % u64::from(BUCKETS);
        let bucket = usize::try_from(index).ok().and_then(|index| self.buckets.get_mut(index));
        bucket.is_some_and(|bucket| bucket.take(now, self.rate, noise))
    }
}

/// What ICMP sends, limited apart: pings must not use up the errors of a host, nor the reverse.
#[derive(Debug)]
pub struct IcmpLimits {
    pub errors: RateLimiter,
    pub echo_replies: RateLimiter,
}

/// Linux's icmp_ratelimit (one a second) and burst (6) suit errors that are alike; programs that
/// try several ports of a host at once want somewhat more.
const ERRORS: Rate = Rate { interval: Duration::from_millis(100), burst: 20 };
/// Enough for a flood ping that waits for its answers; a storm must not take all of a core.
const ECHO_REPLIES: Rate = Rate { interval: Duration::from_micros(20), burst: 5000 };

impl IcmpLimits {
    pub fn new(random: &mut Random) -> Self {
        Self {
            errors: RateLimiter::new(ERRORS, random),
            echo_replies: RateLimiter::new(ECHO_REPLIES, random),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: Rate = Rate { interval: Duration::from_millis(100), burst: 20 };

    fn host(number: u32) -> IpAddr {
        core::net::Ipv4Addr::from(0x0a00_0000 + number).into()
    }

    #[test]
    fn a_pace_gives_its_burst_and_then_its_rate() {
        let mut pace = Pace::default();
        let mut taken = |millis, noise| pace.take(Instant::from_millis(millis), RATE, noise);
        assert_eq!((0..100).filter(|_| taken(1000, 0)).count(), 20);
        assert!(!taken(1099, 0));
        assert!(taken(1100, 0) && !taken(1100, 0));
        assert_eq!((0..100).filter(|_| taken(60_000, 0)).count(), 20, "no more than a burst");
    }

    #[test]
    fn the_dearest_tokens_halve_the_burst() {
        let mut pace = Pace::default();
        let now = Instant::from_millis(5);
        assert_eq!((0..100).filter(|_| pace.take(now, RATE, u32::MAX)).count(), 10);
    }

    #[test]
    fn how_many_answers_come_is_not_the_same_twice() {
        let mut random = Random::new([7; 16]);
        let mut counts: Vec<usize> = (0..50)
            .map(|_| {
                let mut limiter = RateLimiter::new(RATE, &mut random);
                (0..100).filter(|_| limiter.allow(Instant::ZERO, &mut random, host(1))).count()
            })
            .collect();
        counts.sort_unstable();
        counts.dedup();
        assert!(counts.len() > 2, "{counts:?}");
        assert!(counts.iter().all(|count| (10..=20).contains(count)), "{counts:?}");
    }

    #[test]
    fn destinations_do_not_share_a_limit() {
        let mut random = Random::new([1; 16]);
        let mut limiter = RateLimiter::new(RATE, &mut random);
        while limiter.allow(Instant::ZERO, &mut random, host(1)) {}
        let others =
            (2..102).filter(|n| limiter.allow(Instant::ZERO, &mut random, host(*n))).count();
        assert!(others >= 98, "{others} of 100 others were answered");
    }

    #[test]
    fn a_flood_from_everywhere_is_limited_and_costs_no_memory() {
        let mut random = Random::new([2; 16]);
        let mut limiter = RateLimiter::new(RATE, &mut random);
        let sent =
            (0..1_000_000).filter(|n| limiter.allow(Instant::ZERO, &mut random, host(*n))).count();
        assert!(sent <= BUCKETS as usize * 20, "{sent}");
        assert_eq!(limiter.buckets.len(), BUCKETS as usize);
    }

    #[test]
    fn keys_change() {
        let mut random = Random::new([3; 16]);
        let mut limiter = RateLimiter::new(RATE, &mut random);
        let key = limiter.key.hash(&host(1));
        assert!(limiter.allow(Instant::ZERO + REKEY, &mut random, host(1)));
        assert_ne!(limiter.key.hash(&host(1)), key);
    }
}
