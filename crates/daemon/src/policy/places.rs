//! In which zones an act would happen.
//!
//! An address of this host, or of a network that it is on, is in one zone, an interface too. The
//! wildcard, groups, and what lies behind gateways may be in any zone to which the subject is admitted, so
//! they count as in all of those: a grant has to hold, and a denial must not, in each.

use crate::config::{Configuration, PUBLIC, ZoneConfig};
use narrows_policy::{Act, Subject};
use narrows_stack::{Shard, table::zone::ZoneId};
use std::{collections::BTreeMap, net::IpAddr};

#[derive(Debug, Default)]
pub(super) struct Places {
    zones: Vec<ZoneConfig>,
    /// Interfaces, by name.
    interfaces: BTreeMap<String, ZoneId>,
}

impl Places {
    pub(super) fn of(configuration: &Configuration, shard: &Shard) -> Self {
        let interfaces = shard.interfaces();
        let named = interfaces.map(|(_, held)| (held.settings.name.clone(), held.zone));
        Self { zones: configuration.zones.clone(), interfaces: named.collect() }
    }

    /// The first zone, and the others.
    /// `only`: the one zone that the subject wants to be in.
    pub(super) fn of_act<'a>(
        &'a self,
        shard: Option<&Shard>,
        subject: &Subject<'_>,
        only: Option<&'a str>,
        act: &Act<'_>,
    ) -> (&'a str, Vec<&'a str>) {
        if self.zones.is_empty() {
            return (PUBLIC, Vec::new());
        }
        let at = |address: IpAddr| shard.and_then(|shard| zone_at(shard, address.to_canonical()));
        let zone = match act {
            Act::Bind { local: at_, .. } | Act::Listen { local: at_ } => at(at_.ip()),
            Act::Connect { remote, .. } => at(remote.ip()),
            Act::Raw { interface: Some(name), .. } | Act::Packet { interface: Some(name), .. } => {
                self.interfaces.get(*name).copied()
            }
            Act::Multicast { .. } | Act::Raw { .. } | Act::Packet { .. } => None,
            Act::Inspect | Act::Administer => Some(ZoneId::PUBLIC),
        };
        match zone {
            Some(id) => (self.name(id), Vec::new()),
            None => match only {
                Some(only) => (only, Vec::new()),
                None => (PUBLIC, self.admitting(subject).collect()),
            },
        }
    }

    fn name(&self, id: ZoneId) -> &str {
        self.zones.iter().find(|zone| zone.id == id).map_or(PUBLIC, |zone| &zone.name)
    }

    /// Zones to which the subject is admitted, beside `public`.
    fn admitting(&self, subject: &Subject<'_>) -> impl Iterator<Item = &str> {
        let admits = |zone: &&ZoneConfig| {
            zone.admitted.iter().any(|admitted| admitted.who.fits(subject, &zone.name))
        };
        self.zones.iter().filter(admits).map(|zone| zone.name.as_str())
    }
}

/// The zone of an address, if it is in one.
fn zone_at(shard: &Shard, address: IpAddr) -> Option<ZoneId> {
    let near = shard.interfaces().find(|(_, interface)| {
        interface.addresses.iter().any(|own| own.length() > 0 && own.contains(address))
    });
    near.map(|(_, interface)| interface.zone)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Admitted;
    use narrows_policy::{Access, Protocol, Who};

    #[test]
    fn what_may_be_anywhere_counts_as_everywhere_that_the_subject_is_admitted() {
        let zone = |number, name: &str, user| ZoneConfig {
            id: ZoneId::new(number).expect("a zone"),
            name: name.into(),
            admitted: vec![Admitted {
                who: Who { user: Some(user), ..Who::default() },
                member: None,
                added: false,
            }],
            private: false,
            cut_through: true,
            added: false,
        };
        let lab = ZoneId::new(1).expect("a zone");
        let places = Places {
            zones: vec![zone(1, "lab", 7), zone(2, "shop", 7), zone(3, "other", 8)],
            interfaces: BTreeMap::from([("lab0".to_owned(), lab)]),
        };
        let subject = Subject { user: 7, group: 7, groups: &[], executable: None, cgroup: None };
        let local = "0.0.0.0:80".parse().expect("an address");
        let access = Access::Observe;
        for (act, expected) in [
            (Act::Bind { protocol: Protocol::Tcp, local }, &["public", "lab", "shop"][..]),
            (Act::Packet { interface: Some("lab0"), access }, &["lab"]),
            (Act::Packet { interface: Some("made-later"), access }, &["public", "lab", "shop"]),
            (Act::Raw { interface: None, access }, &["public", "lab", "shop"]),
            (Act::Administer, &["public"]),
        ] {
            let (first, more) = places.of_act(None, &subject, None, &act);
            let found: Vec<_> = std::iter::once(first).chain(more).collect();
            assert_eq!(found, expected, "{act}");
            let anywhere = expected.len() > 1;
            let (first, more) = places.of_act(None, &subject, Some("shop"), &act);
            assert_eq!(first, if anywhere { "shop" } else { expected[0] }, "{act}");
            assert!(more.is_empty());
        }
    }
}
