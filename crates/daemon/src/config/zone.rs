//! `[[zone]]` and `[[allow]]`: which interfaces belong together, who is admitted there, and what may go
//! from one zone to another.
//!
//! A private zone is an interface too, without a device, with its members' addresses. A bond or bridge is
//! in the zone of its members; it is enough that one of them says which. A VLAN is in that of its link,
//! unless it says another: then who has the link has nothing of the VLAN.

use super::{
    Checker, ConfigError, Configuration, InterfaceConfig, InterfaceTable, LinkOptions,
    account::{Named, WhoWords},
    is_interface_name, split_prefix, text_of,
};
use crate::config::LinkConfig;
use core::ops::Range;
use narrows_policy::Who;
use narrows_stack::table::zone::{
    Crossing, MAX_CROSSINGS, MAX_ZONES, ZoneId, ZoneSet, ZoneSettings,
};
use narrows_wire::{
    address::{MacAddr, Prefix},
    ipv4::Protocol,
};
use serde::Deserialize;
use std::net::{IpAddr, Ipv4Addr};
use toml::Spanned;

/// The zone that admits everybody.
pub(crate) const PUBLIC: &str = "public";

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ZoneConfig {
    pub id: ZoneId,
    pub name: String,
    /// Who is admitted; of a private zone, those who are its members.
    pub admitted: Vec<Admitted>,
    pub private: bool,
    /// May local connections run past the engine?
    pub cut_through: bool,
    /// Made at run time.
    pub added: bool,
}

/// Somebody who is admitted to a zone, and as which member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Admitted {
    pub who: Who,
    pub member: Option<Member>,
    /// Admitted at run time.
    pub added: bool,
}

/// What may go from zone to zone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Allow {
    pub crossing: Crossing,
    /// At run time.
    pub added: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Member {
    pub address: Ipv4Addr,
    pub mac: MacAddr,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ZoneTable {
    name: Spanned<String>,
    link: Option<Spanned<String>>,
    members: Option<Spanned<Vec<Spanned<WhoTable>>>>,
    admit: Option<Spanned<Vec<Spanned<WhoTable>>>>,
    cut_through: Option<bool>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WhoTable {
    user: Option<Spanned<Named>>,
    group: Option<Spanned<Named>>,
    executable: Option<Spanned<String>>,
    cgroup: Option<Spanned<String>>,
    address: Option<Spanned<String>>,
    mac: Option<Spanned<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AllowTable {
    from: Spanned<String>,
    to: Spanned<String>,
    protocol: Option<Spanned<String>>,
    ports: Option<Spanned<String>>,
    source: Option<Spanned<String>>,
    destination: Option<Spanned<String>>,
}

/// A subnet's prefix length if its members say nothing else: the longest up to this that has them all.
const LONGEST_PREFIX: u8 = 24;

impl Configuration {
    /// What the engine is told of zones.
    pub(crate) fn zone_settings(&self) -> ZoneSettings {
        let private = self.zones.iter().filter(|zone| zone.private);
        let private = private.fold(ZoneSet::NONE, |set, zone| set.with(ZoneSet::only(zone.id)));
        let crossings = self.allows.iter().map(|allow| allow.crossing).collect();
        ZoneSettings { private, crossings }
    }

    /// Zones that are in the earlier configuration too keep their numbers; others get numbers that
    /// nothing has. `None`: there are not enough.
    #[must_use]
    pub(crate) fn keep_zones_of(mut self, earlier: &Self) -> Option<Self> {
        let taken = earlier.zones.iter().map(|zone| zone.id);
        let taken = taken.fold(ZoneSet::PUBLIC, |set, id| set.with(ZoneSet::only(id)));
        let mut free = ZoneSet::ALL.without(taken).iter();
        let mut renamed = vec![(ZoneId::PUBLIC, ZoneId::PUBLIC)];
        for zone in &mut self.zones {
            let held = earlier.zones.iter().find(|held| held.name == zone.name);
            let id = held.map(|held| held.id).or_else(|| free.next())?;
            renamed.push((zone.id, id));
            zone.id = id;
        }
        let now = |id: ZoneId| renamed.iter().find(|(was, _)| *was == id).map(|(_, now)| *now);
        for interface in &mut self.interfaces {
            interface.zone = now(interface.zone)?;
        }
        for allow in &mut self.allows {
            let Crossing { from, to, .. } = &mut allow.crossing;
            (*from, *to) = (now(*from)?, now(*to)?);
        }
        Some(self)
    }

    /// A number that no zone has.
    fn free_zone(&self) -> Option<ZoneId> {
        let taken = self.zones.iter().map(|zone| zone.id);
        let taken = taken.fold(ZoneSet::PUBLIC, |set, id| set.with(ZoneSet::only(id)));
        ZoneSet::ALL.without(taken).iter().next()
    }

    pub(crate) fn zone_name(&self, id: ZoneId) -> &str {
        self.zones.iter().find(|zone| zone.id == id).map_or(PUBLIC, |zone| &zone.name)
    }
}

impl Checker<'_> {
    /// All zones; a private one brings an interface.
    pub(super) fn zones(
        &self,
        configuration: &mut Configuration,
        tables: &[Spanned<ZoneTable>],
    ) -> Result<(), ConfigError> {
        for table in tables {
            let zone = self.zone(configuration, table)?;
            if zone.private && zone.admitted.is_empty() {
                let message = format!(
                    "nobody in private zone \"{}\": write members = [{{ user = \"app\", address = \
                     \"10.99.0.2\" }}]",
                    zone.name
                );
                return Err(self.error(table.span(), message));
            }
            configuration.zones.push(zone);
        }
        Ok(())
    }

    fn zone(
        &self,
        configuration: &mut Configuration,
        table: &Spanned<ZoneTable>,
    ) -> Result<ZoneConfig, ConfigError> {
        let words = table.get_ref();
        let name = words.name.get_ref().clone();
        let refuse = |span, message: String| Err(self.error(span, message));
        if !is_interface_name(&name) || name == "lo" {
            return refuse(words.name.span(), format!("\"{name}\" is no name: write a word"));
        }
        if name == PUBLIC {
            let message = "\"public\" is always there and admits all: write another name";
            return refuse(words.name.span(), message.into());
        }
        if configuration.zones.iter().any(|zone| zone.name == name) {
            return refuse(words.name.span(), format!("a second zone \"{name}\": leave one out"));
        }
        let id = configuration.free_zone().ok_or_else(|| {
            let message = format!("more than {MAX_ZONES} zones: leave this one out");
            self.error(table.span(), message)
        })?;
        let private = match words.link.as_ref().map(|link| (link.get_ref().as_str(), link.span())) {
            None => false,
            Some(("private", _)) => true,
            Some((other, span)) => {
                let message =
                    format!("link = \"{other}\": write link = \"private\", or leave it out");
                return refuse(span, message);
            }
        };
        let (list, other) = match private {
            true => (&words.members, words.admit.as_ref().map(|_| "members, with their addresses")),
            false => (&words.admit, words.members.as_ref().map(|_| "admit")),
        };
        if let Some(right) = other {
            return refuse(table.span(), format!("who is in zone \"{name}\": write {right}"));
        }
        let list = list.as_ref().map(|list| list.get_ref().as_slice()).unwrap_or_default();
        let mut admitted = Vec::new();
        for entry in list {
            let who = self.somebody(entry)?;
            let member = match private {
                true => Some(self.member(entry)?),
                false => self.no_member(entry)?,
            };
            admitted.push(Admitted { who, member, added: false });
        }
        if private {
            self.private_link(configuration, id, words, list, &admitted)?;
        }
        let cut_through = words.cut_through.unwrap_or(true);
        Ok(ZoneConfig { id, name, admitted, private, cut_through, added: false })
    }

    pub(super) fn somebody(&self, table: &Spanned<WhoTable>) -> Result<Who, ConfigError> {
        let WhoTable { user, group, executable, cgroup, .. } = table.get_ref();
        let who = self.who_is(&WhoWords { user, group, executable, cgroup })?;
        if who == Who::default() {
            let message = "who is it? write user, group, executable or cgroup";
            return Err(self.error(table.span(), message));
        }
        Ok(who)
    }

    pub(super) fn no_member(
        &self,
        table: &Spanned<WhoTable>,
    ) -> Result<Option<Member>, ConfigError> {
        let words = table.get_ref();
        let strange = words.address.as_ref().or(words.mac.as_ref());
        strange.map_or(Ok(None), |key| {
            let message = "addresses are for members of a private zone: leave it out";
            Err(self.error(key.span(), message))
        })
    }

    fn member(&self, table: &Spanned<WhoTable>) -> Result<Member, ConfigError> {
        let words = table.get_ref();
        let Some(text) = &words.address else {
            let message = "no address: write address = \"10.99.0.2\"";
            return Err(self.error(table.span(), message));
        };
        let (address, _) = split_prefix(text.get_ref()).ok_or_else(|| self.not_an_address(text))?;
        let mac = match &words.mac {
            Some(mac) => self.station(mac)?,
            None => derived_mac(0, address),
        };
        Ok(Member { address, mac })
    }

    /// The interface of a private zone.
    fn private_link(
        &self,
        configuration: &mut Configuration,
        zone: ZoneId,
        words: &ZoneTable,
        list: &[Spanned<WhoTable>],
        admitted: &[Admitted],
    ) -> Result<(), ConfigError> {
        let name = self.name(&configuration.interfaces, &words.name)?;
        let members: Vec<Member> = admitted.iter().filter_map(|held| held.member).collect();
        let length = common_length(&members);
        let first = members.first().map(|first| first.address);
        let mac = derived_mac(1, first.unwrap_or(Ipv4Addr::from_bits(zone.number() as u32)));
        let link = LinkConfig::Private { mac };
        let mut interface = InterfaceConfig::bare(&name, link, LinkOptions::default());
        interface.zone = zone;
        let texts = list.iter().filter_map(|entry| entry.get_ref().address.as_ref());
        for text in texts {
            let (_, said) =
                split_prefix(text.get_ref()).ok_or_else(|| self.not_an_address(text))?;
            let whole = match said {
                Some(_) => text.get_ref().clone(),
                None => format!("{}/{length}", text.get_ref()),
            };
            let whole = Spanned::new(text.span(), whole);
            let prefix = self.own_address(&configuration.interfaces, &interface, &whole)?;
            interface.addresses.push(prefix);
        }
        configuration.interfaces.push(interface);
        Ok(())
    }

    /// Puts the interfaces of the file into their zones.
    pub(super) fn put_into_zones(
        &self,
        configuration: &mut Configuration,
        tables: &[Spanned<InterfaceTable>],
    ) -> Result<(), ConfigError> {
        let mut zones = Vec::new();
        for table in tables {
            let zone = table.get_ref().zone.as_ref();
            zones.push(zone.map(|zone| self.shared_zone(configuration, zone)).transpose()?);
        }
        let index = |name: &str| {
            configuration.interfaces.iter().position(|interface| interface.name == name)
        };
        // Said of one, it holds for all that are stacked with it, but not for a VLAN's link: as often as
        // there are levels.
        for _ in tables {
            for (upper, config) in configuration.interfaces.iter().enumerate().take(tables.len()) {
                if let LinkConfig::Vlan { lower, .. } = &config.link {
                    let said = zones.get(upper).copied().flatten();
                    let of_link = || zones.get(index(lower)?).copied().flatten();
                    let zone = said.or_else(of_link);
                    if let Some(place) = zones.get_mut(upper) {
                        *place = zone;
                    }
                }
                for lower in config.link.members().iter().filter_map(|name| index(name)) {
                    let both =
                        (zones.get(upper).copied().flatten(), zones.get(lower).copied().flatten());
                    let zone = match both {
                        (Some(one), Some(other)) if one != other => {
                            return Err(self.torn(configuration, tables, (upper, lower)));
                        }
                        (one, other) => one.or(other),
                    };
                    for at in [upper, lower] {
                        if let Some(place) = zones.get_mut(at) {
                            *place = zone;
                        }
                    }
                }
            }
        }
        for (interface, zone) in configuration.interfaces.iter_mut().zip(zones) {
            interface.zone = zone.unwrap_or(ZoneId::PUBLIC);
        }
        Ok(())
    }

    fn torn(
        &self,
        configuration: &Configuration,
        tables: &[Spanned<InterfaceTable>],
        (upper, lower): (usize, usize),
    ) -> ConfigError {
        let name = |at: usize| {
            configuration.interfaces.get(at).map_or("", |interface| interface.name.as_str())
        };
        let zone = |at: usize| tables.get(at).and_then(|table| table.get_ref().zone.as_ref());
        let span = zone(upper).or(zone(lower)).map_or(0..0, Spanned::span);
        let message = format!(
            "\"{}\" and \"{}\" are stacked, and nothing crosses zones: write one zone for both",
            name(upper),
            name(lower)
        );
        self.error(span, message)
    }

    fn shared_zone(
        &self,
        configuration: &Configuration,
        text: &Spanned<String>,
    ) -> Result<ZoneId, ConfigError> {
        let id = self.zone_named(configuration, text)?;
        if configuration.zones.iter().any(|zone| zone.id == id && zone.private) {
            let message = format!(
                "\"{}\" is a private zone, without devices: write another, or leave out its link",
                text.get_ref()
            );
            return Err(self.error(text.span(), message));
        }
        Ok(id)
    }

    fn zone_named(
        &self,
        configuration: &Configuration,
        text: &Spanned<String>,
    ) -> Result<ZoneId, ConfigError> {
        let name = text.get_ref();
        if name == PUBLIC {
            return Ok(ZoneId::PUBLIC);
        }
        let found = configuration.zones.iter().find(|zone| zone.name == *name);
        found.map(|zone| zone.id).ok_or_else(|| {
            let message = format!(
                "no zone \"{name}\": write [[zone]] with name = \"{name}\", or zone = \"public\""
            );
            self.error(text.span(), message)
        })
    }

    pub(super) fn allow(
        &self,
        configuration: &Configuration,
        table: &Spanned<AllowTable>,
    ) -> Result<Allow, ConfigError> {
        let words = table.get_ref();
        let from = self.zone_named(configuration, &words.from)?;
        let to = self.zone_named(configuration, &words.to)?;
        if from == to {
            let message = "what stays in a zone needs no rule: write another zone";
            return Err(self.error(words.to.span(), message));
        }
        for (id, text) in [(from, &words.from), (to, &words.to)] {
            if configuration.zones.iter().any(|zone| zone.id == id && zone.private) {
                let message = format!(
                    "nothing gets into or out of the private zone \"{}\": leave this out",
                    text.get_ref()
                );
                return Err(self.error(text.span(), message));
            }
        }
        if configuration.allows.len() >= MAX_CROSSINGS {
            let message = format!("more than {MAX_CROSSINGS} of these: leave this one out");
            return Err(self.error(table.span(), message));
        }
        let protocol = words.protocol.as_ref().map(|text| self.protocol(text)).transpose()?;
        let ports = words.ports.as_ref().map(|text| self.ports(text)).transpose()?;
        if ports.is_some() && !matches!(protocol, Some(Protocol::TCP | Protocol::UDP)) {
            let message = "ports are TCP's and UDP's: write protocol = \"tcp\" or \"udp\" too";
            return Err(self.error(span_of(words.ports.as_ref()), message));
        }
        let network = |text: &Spanned<String>| self.network(text);
        let source = words.source.as_ref().map(network).transpose()?;
        let destination = words.destination.as_ref().map(network).transpose()?;
        let crossing = Crossing { from, to, protocol, ports, source, destination };
        Ok(Allow { crossing, added: false })
    }

    fn protocol(&self, text: &Spanned<String>) -> Result<Protocol, ConfigError> {
        match text.get_ref().as_str() {
            "tcp" => Ok(Protocol::TCP),
            "udp" => Ok(Protocol::UDP),
            "icmp" => Ok(Protocol::ICMP),
            other => {
                let message = format!("protocol = \"{other}\": write \"tcp\", \"udp\" or \"icmp\"");
                Err(self.error(text.span(), message))
            }
        }
    }

    fn ports(&self, text: &Spanned<String>) -> Result<(u16, u16), ConfigError> {
        let words = text.get_ref();
        let (low, high) = words.split_once('-').unwrap_or((words, words));
        let both = low.trim().parse().ok().zip(high.trim().parse().ok());
        both.filter(|(low, high): &(u16, u16)| low <= high && *low > 0).ok_or_else(|| {
            let message = format!("ports = \"{words}\": write as \"80\" or \"8000-8100\"");
            self.error(text.span(), message)
        })
    }

    fn network(&self, text: &Spanned<String>) -> Result<Prefix, ConfigError> {
        let parsed = split_prefix(text.get_ref())
            .and_then(|(address, length)| Prefix::new(address.into(), length.unwrap_or(32)));
        let prefix = parsed.ok_or_else(|| self.not_an_address(text))?;
        if prefix.network() != prefix {
            let message = format!("\"{}\": write {}", text.get_ref(), text_of(prefix.network()));
            return Err(self.error(text.span(), message));
        }
        Ok(prefix)
    }
}

fn span_of(text: Option<&Spanned<String>>) -> Range<usize> {
    text.map_or(0..0, Spanned::span)
}

/// A station's address of our own making (its second bit says so), told from others by its IPv4
/// address.
fn derived_mac(kind: u8, address: Ipv4Addr) -> MacAddr {
    let [a, b, c, d] = address.octets();
    MacAddr([2, kind, a, b, c, d])
}

/// The length of the longest prefix up to [`LONGEST_PREFIX`] that has all members.
fn common_length(members: &[Member]) -> u8 {
    let contains = |length: &u8| {
        let prefix = members.first().and_then(|first| Prefix::new(first.address.into(), *length));
        prefix.is_some_and(|prefix| {
            members.iter().all(|member| prefix.contains(IpAddr::V4(member.address)))
        })
    };
    (1..=LONGEST_PREFIX).rev().find(contains).unwrap_or(1)
}

mod edit;

#[cfg(test)]
mod tests;
