//! What would have gone from zone to zone and was not let: by pair of zones, and in the log.

use crate::{config::Configuration, worker::Worker};
use narrows_stack::{Instant, Shard, counters::DropReason, table::zone::ZoneId};
use std::{collections::BTreeMap, time::Duration};

/// How often the log hears of it: whoever tries all day fills no disk.
const INTERVAL: Duration = Duration::from_secs(1);

/// From which zone to which.
type Pair = (ZoneId, ZoneId);

/// So much by now.
pub(super) fn by_pair(shard: &Shard) -> BTreeMap<Pair, u64> {
    let mut pairs = BTreeMap::new();
    for (reason, place, count) in shard.counters().drops_by_place() {
        if let (DropReason::OtherZone, Some(pair)) = (reason, place.crossing) {
            *pairs.entry(pair).or_default() += count;
        }
    }
    pairs
}

/// What the log has heard of.
#[derive(Debug, Default)]
pub(crate) struct Refusals {
    total: u64,
    said: BTreeMap<Pair, u64>,
    not_before: Option<Instant>,
}

impl Refusals {
    /// When there is something to say, if there is.
    pub(crate) fn next_line(&self, shard: &Shard) -> Option<Instant> {
        let news = shard.counters().dropped(DropReason::OtherZone) != self.total;
        self.not_before.filter(|_| news)
    }

    /// The lines that are due.
    fn lines(&mut self, shard: &Shard, zones: &Configuration, now: Instant) -> Vec<String> {
        let total = shard.counters().dropped(DropReason::OtherZone);
        if total == self.total || self.not_before.is_some_and(|at| now < at) {
            return Vec::new();
        }
        (self.total, self.not_before) = (total, Some(now + INTERVAL));
        let pairs = by_pair(shard);
        let news = pairs.iter().filter_map(|(pair, count)| {
            let new = count.saturating_sub(self.said.get(pair).copied().unwrap_or(0));
            let (from, to) = (zones.zone_name(pair.0), zones.zone_name(pair.1));
            (new > 0).then(|| format!("refused from zone {from} to {to}: {new}"))
        });
        let lines = news.collect();
        self.said = pairs;
        lines
    }
}

pub(crate) fn log(worker: &mut Worker, now: Instant) {
    let Worker { crossings, shard, source, .. } = worker;
    for line in crossings.lines(shard, &source.configuration, now) {
        tracing::warn!("{line}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use narrows_stack::{
        Config,
        request::{NewLink, Principal, Reply, Request},
        table::zone::{ZoneSet, ZoneSettings},
    };
    use narrows_wire::address::{MacAddr, Prefix};

    #[test]
    fn a_second_of_refusals_is_a_line_for_each_pair() {
        let (now, id) = (Instant::ZERO + INTERVAL, ZoneId::new(1).expect("a zone"));
        let mut shard = Shard::new(Config::default(), [7; 16]);
        let link = NewLink::Private { mac: MacAddr([2, 1, 0, 0, 0, 1]) };
        let add = Request::AddLink { name: "vault".into(), link };
        let Ok(Reply::Interface(interface)) = shard.request(now, Principal::HOST, add) else {
            panic!("no interface")
        };
        let prefix = Prefix::new([10, 99, 0, 2].into(), 24).expect("a prefix");
        let private = ZoneSet::only(id);
        for request in [
            Request::SetZone { interface, zone: id },
            Request::SetZones(ZoneSettings { private, crossings: Vec::new() }),
            Request::AddAddress { interface, prefix },
        ] {
            shard.request(now, Principal::HOST, request).expect("done");
        }
        let knock = |shard: &mut Shard, now| {
            let who = Principal::user(66);
            let Ok(Reply::Socket(socket)) = shard.request(now, who, Request::OpenTcp) else {
                panic!("no socket")
            };
            let remote = "10.99.0.2:80".parse().expect("an address");
            shard.request(now, who, Request::Connect { socket, remote }).expect_err("refused");
        };
        let (mut refusals, zones) = (Refusals::default(), Configuration::default());
        assert_eq!(refusals.lines(&shard, &zones, now), [""; 0]);
        knock(&mut shard, now);
        let line = |count| [format!("refused from zone public to public: {count}")];
        assert_eq!(refusals.lines(&shard, &zones, now), line(1));
        for _ in 0..1000 {
            knock(&mut shard, now);
            assert_eq!(refusals.lines(&shard, &zones, now), [""; 0]);
        }
        assert_eq!(refusals.next_line(&shard), Some(now + INTERVAL));
        assert_eq!(refusals.lines(&shard, &zones, now + INTERVAL), line(1000));
        assert_eq!(refusals.next_line(&shard), None);
        assert_eq!(by_pair(&shard)[&(ZoneId::PUBLIC, id)], 1001);
    }
}
