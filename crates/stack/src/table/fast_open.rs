//! What servers taught about fast open (RFC 7413 §4.1.3): their cookies and segment sizes. A cookie is for
//! one address of ours, so both name it, as on Linux. Invariant: there are at most [`SERVERS`], and the
//! longest known goes for a new one.

use crate::{
    random::Key,
    tcp::fast_open::{Lesson, Prospect},
};
use core::net::IpAddr;
use narrows_wire::fast_open::FastOpen;
use std::collections::{HashMap, VecDeque};

/// Servers that are remembered: Linux keeps as many buckets. Under 100 bytes each.
const SERVERS: usize = 1024;

/// Which form of the option was refused before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Refused {
    #[default]
    None,
    /// The one of RFC 7413: the older one is tried.
    Standard,
    /// Both: the standard one is asked for again, in case it was a matter of time.
    Both,
}

#[derive(Clone, Copy, Debug, Default)]
struct Known {
    mss: u16,
    cookie: Option<FastOpen>,
    refused: Refused,
}

/// An address of ours, and the server's.
pub type Pair = (IpAddr, IpAddr);

#[derive(Debug)]
pub struct CookieCache {
    servers: HashMap<Pair, Known, Key>,
    /// In the order in which they became known.
    order: VecDeque<Pair>,
}

impl CookieCache {
    pub fn new(key: Key) -> Self {
        Self { servers: HashMap::with_hasher(key), order: VecDeque::new() }
    }

    /// What a SYN to a server may say and carry. `free`: text needs no cookie there.
    pub fn prospect(&self, server: Pair, free: bool) -> Prospect {
        let known = self.servers.get(&server).copied().unwrap_or_default();
        let mss = (known.mss > 0).then_some(known.mss);
        if free {
            return Prospect { option: None, mss, text: true };
        }
        let wish =
            FastOpen { experimental: known.refused == Refused::Standard, ..FastOpen::default() };
        let text = known.cookie.is_some();
        Prospect { option: Some(known.cookie.unwrap_or(wish)), mss, text }
    }

    pub fn learn(&mut self, server: Pair, lesson: &Lesson) {
        if !self.servers.contains_key(&server) {
            if self.order.len() >= SERVERS
                && let Some(oldest) = self.order.pop_front()
            {
                self.servers.remove(&oldest);
            }
            self.order.push_back(server);
        }
        let known = self.servers.entry(server).or_default();
        known.mss = lesson.mss;
        if lesson.cookie.is_some() {
            known.cookie = lesson.cookie;
        } else if known.cookie.is_none() {
            known.refused = match (lesson.refused, known.refused) {
                (Some(true), _) => Refused::Both,
                (Some(false), Refused::None) => Refused::Standard,
                (_, refused) => refused,
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;
    use core::net::Ipv4Addr;
    use narrows_wire::fast_open::Cookie;

    const OWN: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));
    const SERVER: Pair = (OWN, IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)));
    const REFUSED: Lesson =
        Lesson { mss: 1460, cookie: None, text_lost: false, refused: Some(false) };

    fn cache() -> CookieCache {
        CookieCache::new(Random::new([1; 16]).key())
    }

    fn granted(experimental: bool) -> Lesson {
        let cookie = Cookie::new(&[1, 2, 3, 4]).map(|cookie| FastOpen { cookie, experimental });
        Lesson { mss: 940, cookie, text_lost: false, refused: None }
    }

    #[test]
    fn a_cookie_is_asked_for_and_then_used() {
        let mut cache = cache();
        let wish = Some(FastOpen::default());
        assert_eq!(
            cache.prospect(SERVER, false),
            Prospect { option: wish, mss: None, text: false }
        );
        cache.learn(SERVER, &granted(false));
        let option = granted(false).cookie;
        assert_eq!(cache.prospect(SERVER, false), Prospect { option, mss: Some(940), text: true });
        cache.learn(SERVER, &REFUSED);
        assert_eq!(cache.prospect(SERVER, false).option, option, "a SYN-ACK without keeps it");
        let free = Prospect { option: None, mss: Some(1460), text: true };
        assert_eq!(cache.prospect(SERVER, true), free);
        let other = (IpAddr::V4(Ipv4Addr::new(10, 0, 0, 9)), SERVER.1);
        assert_eq!(cache.prospect(other, false).option, wish, "from another address of ours");
    }

    #[test]
    fn the_older_form_is_tried_once() {
        let mut cache = cache();
        let asks = |cache: &CookieCache| cache.prospect(SERVER, false).option.unwrap().experimental;
        cache.learn(SERVER, &REFUSED);
        assert!(asks(&cache));
        cache.learn(SERVER, &Lesson { refused: Some(true), ..REFUSED });
        assert!(!asks(&cache));
        cache.learn(SERVER, &REFUSED);
        assert!(!asks(&cache), "it was refused as well");
        cache.learn(SERVER, &granted(true));
        assert!(asks(&cache), "as the server speaks");
    }

    #[test]
    fn the_longest_known_goes_first() {
        let mut cache = cache();
        for last in 0..=SERVERS as u32 {
            cache.learn((OWN, Ipv4Addr::from(last).into()), &granted(false));
        }
        assert_eq!(cache.servers.len(), SERVERS);
        assert!(!cache.prospect((OWN, Ipv4Addr::from(0).into()), false).text);
        assert!(cache.prospect((OWN, Ipv4Addr::from(1).into()), false).text);
    }
}
