//! A DHCP client (RFC 2131 §4.4): one interface's address and default route, leased from a server. It
//! knows neither interface nor table: messages and the time go in, [`Action`]s come out.
//!
//! ```text
//!   Selecting ──offer──▶ Requesting ──ack──▶ Bound ──T1──▶ Renewing ──T2──▶ Rebinding
//!       ▲                    │ nak, silence    ▲              │ ack            │ ack
//!       └────────────────────┘                 └──────────────┴────────────────┘
//!       ▲                                                     │ nak            │ nak, expired
//!       └─────────────────────────────────────────────────────┴────────────────┘
//! ```
//!
//! Who had a lease that may hold still asks for that one first (Rebooting, RFC 2131 §3.2), and looks for
//! another when a server says no, or none answers: an address is not used on the word of an earlier
//! run alone. One that is over is named in the search (RFC 2131 §4.4.1), which servers may heed.
//!
//! What a server says is believed if it names the transaction and the station it answers, and, once a
//! server was chosen, comes from that one. As on every client without an address, anybody on the link
//! may pose as a server: who can't have that, gives addresses in the configuration file.

use crate::{
    random::Random,
    time::{Duration, Instant},
};
use core::net::Ipv4Addr;
use narrows_wire::{
    address::{MacAddr, Prefix},
    dhcp::{NAME_SERVERS, Reply, ReplyKind, Request, RequestKind},
};

/// RFC 2131 §4.1: four seconds, doubled up to 64, each give or take one.
const FIRST_RETRY: Duration = Duration::from_secs(4);
const MAX_DOUBLINGS: u8 = 4;
const JITTER_MILLIS: u32 = 2_000;
/// Requests for an offer, before another server is looked for.
const REQUESTS: u8 = 4;
/// Requests for the lease of an earlier run, before servers are asked for any.
const REBOOT_REQUESTS: u8 = 2;
/// RFC 2131 §4.4.5: while renewing, at least so long between requests.
const RENEW_RETRY: Duration = Duration::from_secs(60);
/// RFC 2131 §3.1 5: after an address turned out to be another station's.
const DECLINE_WAIT: Duration = Duration::from_secs(10);
/// A shorter lease would only be asked for again and again; a server that means it well gives more.
const MIN_LEASE: Duration = Duration::from_secs(30);
/// A lease of 2³² - 1 seconds is for ever (RFC 2131 §3.3); timers end before.
const MAX_LEASE: Duration = Duration::from_secs(u32::MAX as u64);

/// What a server granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lease {
    pub prefix: Prefix,
    pub router: Option<Ipv4Addr>,
    /// The first ones that the server named, without gaps.
    pub name_servers: [Option<Ipv4Addr>; NAME_SERVERS],
    pub server: Ipv4Addr,
    pub expires: Instant,
}

/// What outlives a client of its lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Remembered {
    pub address: Ipv4Addr,
    /// The lease holds until then, if it was not given back before.
    pub until: Instant,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Times {
    renew: Instant,
    rebind: Instant,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Rebooting { held: Remembered, tries: u8, next: Instant },
    Selecting { tries: u8, next: Instant },
    Requesting { offered: Ipv4Addr, server: Ipv4Addr, tries: u8, next: Instant },
    Bound { lease: Lease, times: Times },
    Renewing { lease: Lease, times: Times, next: Instant },
    Rebinding { lease: Lease, next: Instant },
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// To every server on the link.
    Broadcast(Request),
    /// To one server, from the leased address.
    Unicast(Request, Ipv4Addr),
    /// The address and the default route are to be used; what was before, is not.
    Configure(Lease),
    /// The lease is over.
    Deconfigure,
}

#[derive(Clone, Debug)]
pub struct Client {
    mac: MacAddr,
    transaction: u32,
    /// When it began to look for a lease.
    since: Instant,
    /// The address it would have again.
    wish: Option<Ipv4Addr>,
    phase: Phase,
}

impl Client {
    /// Call `handle_timeout` at once.
    pub fn new(
        now: Instant,
        random: &mut Random,
        mac: MacAddr,
        remembered: Option<Remembered>,
    ) -> Self {
        let phase = match remembered {
            Some(held) if held.until > now => Phase::Rebooting { held, tries: 0, next: now },
            _ => Phase::Selecting { tries: 0, next: now },
        };
        let wish = remembered.map(|held| held.address);
        Self { mac, transaction: random.next_u32(), since: now, wish, phase }
    }

    pub fn mac(&self) -> MacAddr {
        self.mac
    }

    pub fn lease(&self) -> Option<&Lease> {
        match &self.phase {
            Phase::Bound { lease, .. }
            | Phase::Renewing { lease, .. }
            | Phase::Rebinding { lease, .. } => Some(lease),
            Phase::Rebooting { .. } | Phase::Selecting { .. } | Phase::Requesting { .. } => None,
        }
    }

    /// What a later client of this station may ask for.
    pub fn remembered(&self) -> Option<Remembered> {
        let lease = self.lease()?;
        Some(Remembered { address: v4(lease.prefix)?, until: lease.expires })
    }

    /// When `handle_timeout` next has something to do.
    pub fn next_timeout(&self) -> Instant {
        match &self.phase {
            Phase::Rebooting { next, .. }
            | Phase::Selecting { next, .. }
            | Phase::Requesting { next, .. } => *next,
            Phase::Bound { times, .. } => times.renew,
            Phase::Renewing { times, next, .. } => times.rebind.min(*next),
            Phase::Rebinding { lease, next } => lease.expires.min(*next),
        }
    }

    /// Does what is due; call until it gives nothing.
    pub fn handle_timeout(&mut self, now: Instant, random: &mut Random) -> Option<Action> {
        if now < self.next_timeout() {
            return None;
        }
        match self.phase {
            Phase::Rebooting { held, tries, .. } if tries < REBOOT_REQUESTS && now < held.until => {
                let next = now + retry(random, tries);
                self.phase = Phase::Rebooting { held, tries: tries + 1, next };
                // RFC 2131 §4.3.2: the address, and no server.
                Some(Action::Broadcast(Request {
                    requested: Some(held.address),
                    ..self.message(now, RequestKind::Request)
                }))
            }
            Phase::Rebooting { .. } => self.restart(now, random, now),
            Phase::Selecting { tries, .. } => {
                let next = now + retry(random, tries);
                self.phase = Phase::Selecting { tries: tries.saturating_add(1), next };
                Some(Action::Broadcast(Request {
                    requested: self.wish,
                    ..self.message(now, RequestKind::Discover)
                }))
            }
            Phase::Requesting { tries, .. } if tries >= REQUESTS => self.restart(now, random, now),
            Phase::Requesting { offered, server, tries, .. } => {
                let next = now + retry(random, tries);
                self.phase = Phase::Requesting { offered, server, tries: tries + 1, next };
                Some(Action::Broadcast(Request {
                    requested: Some(offered),
                    server: Some(server),
                    ..self.message(now, RequestKind::Request)
                }))
            }
            Phase::Bound { lease, times } | Phase::Renewing { lease, times, .. }
                if now < times.rebind =>
            {
                if matches!(self.phase, Phase::Bound { .. }) {
                    self.begin(now, random);
                }
                // RFC 2131 §4.4.5: half of what is left until T2.
                let next = now + (times.rebind.since(now) / 2).max(RENEW_RETRY);
                self.phase = Phase::Renewing { lease, times, next };
                Some(Action::Unicast(self.renewal(now, &lease), lease.server))
            }
            Phase::Bound { lease, .. }
            | Phase::Renewing { lease, .. }
            | Phase::Rebinding { lease, .. }
                if now < lease.expires =>
            {
                let next = now + (lease.expires.since(now) / 2).max(RENEW_RETRY);
                self.phase = Phase::Rebinding { lease, next };
                Some(Action::Broadcast(self.renewal(now, &lease)))
            }
            Phase::Bound { .. } | Phase::Renewing { .. } | Phase::Rebinding { .. } => {
                self.restart(now, random, now);
                Some(Action::Deconfigure)
            }
        }
    }

    /// A server's answer.
    pub fn receive(&mut self, now: Instant, random: &mut Random, reply: &Reply) -> Option<Action> {
        if reply.transaction != self.transaction || reply.mac != self.mac {
            return None;
        }
        match (self.phase, reply.kind) {
            (Phase::Rebooting { held, .. }, ReplyKind::Ack) if reply.yours == held.address => {
                self.bind(now, reply)
            }
            (Phase::Rebooting { .. }, ReplyKind::Nak) => {
                self.wish = None;
                self.restart(now, random, now)
            }
            (Phase::Selecting { .. }, ReplyKind::Offer) => {
                let server = reply.server?;
                prefix(reply)?;
                let offered = reply.yours;
                self.phase = Phase::Requesting { offered, server, tries: 0, next: now };
                self.handle_timeout(now, random)
            }
            (Phase::Requesting { server, offered, .. }, ReplyKind::Ack)
                if reply.server == Some(server) && reply.yours == offered =>
            {
                self.bind(now, reply)
            }
            (Phase::Requesting { server, .. }, ReplyKind::Nak) if reply.server == Some(server) => {
                self.wish = None;
                let next = now + retry(random, 0);
                self.restart(now, random, next)
            }
            (Phase::Renewing { lease, .. }, ReplyKind::Ack | ReplyKind::Nak)
                if reply.server != Some(lease.server) =>
            {
                None
            }
            (Phase::Renewing { .. } | Phase::Rebinding { .. }, ReplyKind::Ack) => {
                self.bind(now, reply)
            }
            (Phase::Renewing { .. } | Phase::Rebinding { .. }, ReplyKind::Nak) => {
                self.wish = None;
                self.restart(now, random, now);
                Some(Action::Deconfigure)
            }
            _ => None,
        }
    }

    /// The leased address turned out to be another station's (RFC 2131 §4.4.1).
    pub fn decline(&mut self, now: Instant, random: &mut Random) -> Option<Action> {
        let lease = *self.lease()?;
        let decline = Request {
            client: Ipv4Addr::UNSPECIFIED,
            requested: v4(lease.prefix),
            server: Some(lease.server),
            ..self.message(now, RequestKind::Decline)
        };
        self.wish = None;
        self.restart(now, random, now + DECLINE_WAIT);
        Some(Action::Broadcast(decline))
    }

    /// Gives the lease back, for another to have (RFC 2131 §4.4.6). The client is of no use then.
    pub fn release(&mut self, now: Instant, random: &mut Random) -> Option<Action> {
        let lease = *self.lease()?;
        self.begin(now, random);
        let release = Request {
            kind: RequestKind::Release,
            server: Some(lease.server),
            ..self.renewal(now, &lease)
        };
        self.phase = Phase::Selecting { tries: 0, next: now };
        Some(Action::Unicast(release, lease.server))
    }

    fn bind(&mut self, now: Instant, reply: &Reply) -> Option<Action> {
        let seconds = |seconds: u32| Duration::from_secs(seconds.into());
        let lasts = seconds(reply.lease?).clamp(MIN_LEASE, MAX_LEASE);
        // RFC 2131 §4.4.5: half, and seven eighths; what makes no sense beside the others is not used.
        let rebind = reply.rebinding.map(seconds).filter(|at| *at < lasts).unwrap_or(lasts / 8 * 7);
        let renew = reply.renewal.map(seconds).filter(|at| *at < rebind);
        let renew = renew.unwrap_or_else(|| (lasts / 2).min(rebind));
        let lease = Lease {
            prefix: prefix(reply)?,
            router: reply.router,
            name_servers: reply.name_servers,
            server: reply.server?,
            expires: now + lasts,
        };
        self.wish = v4(lease.prefix);
        self.phase =
            Phase::Bound { lease, times: Times { renew: now + renew, rebind: now + rebind } };
        Some(Action::Configure(lease))
    }

    /// A new exchange with servers.
    fn begin(&mut self, now: Instant, random: &mut Random) {
        self.transaction = random.next_u32();
        self.since = now;
    }

    fn restart(&mut self, now: Instant, random: &mut Random, next: Instant) -> Option<Action> {
        self.begin(now, random);
        self.phase = Phase::Selecting { tries: 0, next };
        self.handle_timeout(now, random)
    }

    fn message(&self, now: Instant, kind: RequestKind) -> Request {
        Request {
            kind,
            transaction: self.transaction,
            seconds: u16::try_from(now.since(self.since).as_secs()).unwrap_or(u16::MAX),
            client: Ipv4Addr::UNSPECIFIED,
            mac: self.mac,
            requested: None,
            server: None,
        }
    }

    /// RFC 2131 §4.3.2: neither a server nor an address is asked for, but the one it has.
    fn renewal(&self, now: Instant, lease: &Lease) -> Request {
        let client = v4(lease.prefix).unwrap_or(Ipv4Addr::UNSPECIFIED);
        Request { client, ..self.message(now, RequestKind::Request) }
    }
}

fn retry(random: &mut Random, tries: u8) -> Duration {
    let wait = FIRST_RETRY * (1 << tries.min(MAX_DOUBLINGS));
    let jitter = Duration::from_millis(random.below(JITTER_MILLIS).into());
    wait + jitter - Duration::from_millis(u64::from(JITTER_MILLIS) / 2)
}

/// The address with its subnet: without a mask, a host of its own.
fn prefix(reply: &Reply) -> Option<Prefix> {
    let length = reply.prefix_length.filter(|length| *length > 0).unwrap_or(32);
    let address = Some(reply.yours).filter(|yours| !yours.is_unspecified())?;
    Prefix::new(address.into(), length)
}

fn v4(prefix: Prefix) -> Option<Ipv4Addr> {
    match prefix.address() {
        core::net::IpAddr::V4(address) => Some(address),
        core::net::IpAddr::V6(_) => None,
    }
}

#[cfg(test)]
mod tests;
