//! Zones changed at run time: the configuration with one change, checked by what checks the file.
//!
//! What was made so is marked, and stays when the file is read again; what was taken out and is still in
//! the file comes back then.

use super::{
    Admitted, Allow, AllowTable, Checker, Configuration, LONGEST_PREFIX, PUBLIC, WhoTable,
    ZoneConfig, ZoneTable, text_of,
};
use crate::config::account::Named;
use narrows_device::link::Link;
use narrows_ipc::zone::{AdmittedRow, CrossingRow, ZoneCommand};
use narrows_stack::table::zone::MAX_CROSSINGS;
use narrows_wire::address::{MacAddr, Prefix};
use std::{net::IpAddr, path::Path};
use toml::Spanned;

/// Of no line of any file.
fn said<T>(word: T) -> Spanned<T> {
    Spanned::new(0..0, word)
}

impl Configuration {
    /// The same with one change of its zones, on a machine whose kernel has `links`; an error says what
    /// is wrong with that.
    pub(crate) fn with(&self, command: &ZoneCommand, links: &[Link]) -> Result<Self, String> {
        let checker = Checker { file: Path::new(""), text: "", links: Some(links) };
        let mut new = self.clone();
        match command {
            ZoneCommand::Add { name, private, cut_through } => {
                new.add_zone(&checker, name, *private, *cut_through)?;
            }
            ZoneCommand::Remove { name } => new.remove_zone(name)?,
            // Whether there is such an interface is for the engine to say.
            ZoneCommand::Move { zone, .. } if zone == PUBLIC => {}
            ZoneCommand::Move { zone, .. } => {
                if new.zone_called(zone)?.private {
                    return Err(format!("\"{zone}\" is a private zone, without devices"));
                }
            }
            ZoneCommand::SetCutThrough { zone, cut_through } => {
                new.zone_called(zone)?.cut_through = *cut_through;
            }
            ZoneCommand::Admit { zone, who, length } => new.admit(&checker, zone, who, *length)?,
            ZoneCommand::Expel { zone, who } => new.expel(zone, who)?,
            ZoneCommand::Allow { from, crossing } => {
                let allow = new.crossing(&checker, from, crossing)?;
                if new.allows.len() >= MAX_CROSSINGS {
                    return Err(format!("more than {MAX_CROSSINGS} of these"));
                }
                if new.allows.iter().any(|held| held.crossing == allow.crossing) {
                    return Err("that is allowed already".into());
                }
                new.allows.push(Allow { added: true, ..allow });
            }
            ZoneCommand::Forbid { from, crossing } => {
                let allow = new.crossing(&checker, from, crossing)?;
                let same = |held: &Allow| held.crossing == allow.crossing;
                let at = new.allows.iter().position(same);
                new.allows
                    .remove(at.ok_or("no rule says that: `narrows zone` shows those that do")?);
            }
        }
        Ok(new)
    }

    fn zone_called(&mut self, name: &str) -> Result<&mut ZoneConfig, String> {
        if name == PUBLIC {
            return Err("\"public\" is always there and admits all".into());
        }
        let found = self.zones.iter_mut().find(|zone| zone.name == name);
        found
            .ok_or_else(|| format!("no zone \"{name}\": `narrows zone` shows those that there are"))
    }

    fn add_zone(
        &mut self,
        checker: &Checker<'_>,
        name: &str,
        private: bool,
        cut_through: bool,
    ) -> Result<(), String> {
        let table = said(ZoneTable {
            name: said(name.to_owned()),
            link: private.then(|| said("private".into())),
            members: None,
            admit: None,
            cut_through: Some(cut_through),
        });
        let zone = checker.zone(self, &table).map_err(|error| error.message)?;
        self.zones.push(ZoneConfig { added: true, ..zone });
        Ok(())
    }

    fn remove_zone(&mut self, name: &str) -> Result<(), String> {
        let ZoneConfig { id, private, .. } = *self.zone_called(name)?;
        self.zones.retain(|zone| zone.id != id);
        self.allows.retain(|allow| allow.crossing.from != id && allow.crossing.to != id);
        self.interfaces.retain(|interface| !private || interface.name != name);
        Ok(())
    }

    fn admit(
        &mut self,
        checker: &Checker<'_>,
        name: &str,
        row: &AdmittedRow,
        length: Option<u8>,
    ) -> Result<(), String> {
        let private = self.zone_called(name)?.private;
        let entry = said(table_of(row));
        let admitted = match private {
            true => self.new_member(checker, name, &entry, length),
            false if length.is_some() => {
                Err("a prefix length is for members of a private zone".into())
            }
            false => {
                let no_member = checker.no_member(&entry);
                let who = no_member.and_then(|member| Ok((checker.somebody(&entry)?, member)));
                let (who, member) = who.map_err(|error| error.message)?;
                Ok(Admitted { who, member, added: true })
            }
        }?;
        let zone = self.zone_called(name)?;
        if zone.admitted.iter().any(|held| held.who == admitted.who) {
            return Err("who that is, is admitted already: take that out first".into());
        }
        zone.admitted.push(admitted);
        Ok(())
    }

    /// A member of a private zone, and its address on the zone's interface: in the network of the
    /// members that there are.
    fn new_member(
        &mut self,
        checker: &Checker<'_>,
        zone: &str,
        entry: &Spanned<WhoTable>,
        length: Option<u8>,
    ) -> Result<Admitted, String> {
        let parsed = checker.somebody(entry).and_then(|who| Ok((who, checker.member(entry)?)));
        let (who, member) = parsed.map_err(|error| error.message)?;
        let at = self.interfaces.iter().position(|interface| interface.name == zone);
        let at = at.ok_or_else(|| format!("zone \"{zone}\" has no interface"))?;
        let interface = self.interfaces.remove(at);
        let held = interface.addresses.first().copied();
        let length = match (held, length) {
            (Some(held), Some(length)) if held.length() != length => {
                return Err(format!("the members' network is {}", text_of(held.network())));
            }
            (Some(held), _) if !held.contains(IpAddr::V4(member.address)) => {
                let network = text_of(held.network());
                return Err(format!("the members' network is {network}: write an address there"));
            }
            (Some(held), _) => held.length(),
            (None, length) => length.unwrap_or(LONGEST_PREFIX),
        };
        let text = said(format!("{}/{length}", member.address));
        let address = checker.own_address(&self.interfaces, &interface, &text);
        self.interfaces.insert(at, interface);
        let address: Prefix = address.map_err(|error| error.message)?;
        if let Some(interface) = self.interfaces.get_mut(at) {
            interface.addresses.push(address);
        }
        Ok(Admitted { who, member: Some(member), added: true })
    }

    fn expel(&mut self, name: &str, row: &AdmittedRow) -> Result<(), String> {
        let zone = self.zone_called(name)?;
        let fits = |held: &Admitted| {
            let AdmittedRow { user, group, executable, cgroup, address, mac } = row;
            let same = |wanted: &Option<u32>, held| wanted.is_none() || *wanted == held;
            let alike =
                |wanted: &Option<String>, held: &Option<String>| wanted.is_none() || wanted == held;
            same(user, held.who.user)
                && same(group, held.who.group)
                && alike(executable, &held.who.executable)
                && alike(cgroup, &held.who.cgroup)
                && address.is_none_or(|at| held.member.is_some_and(|member| member.address == at))
                && mac.is_none_or(|mac| held.member.is_some_and(|held| held.mac == MacAddr(mac)))
        };
        if *row == AdmittedRow::default() {
            return Err("who is it? write user, group, executable, cgroup or at".into());
        }
        let at = zone.admitted.iter().position(fits);
        let at = at.ok_or_else(|| format!("nobody like that is in zone \"{name}\""))?;
        let gone = zone.admitted.remove(at).member.map(|member| IpAddr::V4(member.address));
        let interface = self.interfaces.iter_mut().find(|interface| interface.name == name);
        if let (Some(interface), Some(gone)) = (interface, gone) {
            interface.addresses.retain(|prefix| prefix.address() != gone);
        }
        Ok(())
    }

    fn crossing(
        &self,
        checker: &Checker<'_>,
        from: &str,
        row: &CrossingRow,
    ) -> Result<Allow, String> {
        let protocol = row.protocol.map(|number| match number {
            1 => "icmp".to_owned(),
            6 => "tcp".to_owned(),
            17 => "udp".to_owned(),
            other => other.to_string(),
        });
        let table = said(AllowTable {
            from: said(from.to_owned()),
            to: said(row.to.clone()),
            protocol: protocol.map(said),
            ports: row.ports.map(|(low, high)| said(format!("{low}-{high}"))),
            source: row.source.clone().map(said),
            destination: row.destination.clone().map(said),
        });
        checker.allow(self, &table).map_err(|error| error.message)
    }

    /// Takes over what was made at run time, as far as this one has place for it; an error says what is
    /// in its way. The zones that both have, have the same numbers.
    pub(crate) fn keep_added_zones_of(&mut self, earlier: &Self) -> Result<(), String> {
        for held in &earlier.zones {
            let known = self.zones.iter().any(|zone| zone.name == held.name);
            let interface = |all: &Self| {
                all.interfaces.iter().find(|interface| interface.name == held.name).cloned()
            };
            if !known && held.added {
                if interface(self).is_some() {
                    return Err(format!(
                        "zone \"{0}\", made at run time, has the name of an interface: `narrows zone \
                         del {0}` first",
                        held.name
                    ));
                }
                self.zones.push(ZoneConfig { admitted: Vec::new(), ..held.clone() });
                let private = interface(earlier).filter(|_| held.private);
                self.interfaces.extend(private.map(|mut interface| {
                    interface.addresses.clear();
                    interface
                }));
            }
            let Some(zone) = self.zones.iter_mut().find(|zone| zone.name == held.name) else {
                continue;
            };
            for admitted in held.admitted.iter().filter(|admitted| admitted.added) {
                if zone.private != held.private
                    || zone.admitted.iter().any(|other| other.who == admitted.who)
                {
                    continue;
                }
                zone.admitted.push(admitted.clone());
                let address = admitted.member.map(|member| IpAddr::V4(member.address));
                let is_his = |prefix: &&Prefix| Some(prefix.address()) == address;
                let before = earlier.interfaces.iter().flat_map(|held| &held.addresses);
                let Some(prefix) = before.copied().find(|prefix| is_his(&prefix)) else { continue };
                if self.interfaces.iter().flat_map(|held| &held.addresses).any(|own| is_his(&own)) {
                    return Err(format!(
                        "{} is that of a member of \"{}\", admitted at run time: take it out first",
                        prefix.address(),
                        held.name
                    ));
                }
                let mut interfaces = self.interfaces.iter_mut();
                if let Some(interface) = interfaces.find(|interface| interface.name == held.name) {
                    interface.addresses.push(prefix);
                }
            }
        }
        let there = |id| id == Default::default() || self.zones.iter().any(|zone| zone.id == id);
        let kept = earlier.allows.iter().filter(|allow| allow.added);
        let kept = kept.filter(|allow| there(allow.crossing.from) && there(allow.crossing.to));
        let kept =
            kept.filter(|allow| self.allows.iter().all(|other| other.crossing != allow.crossing));
        let kept: Vec<_> = kept.cloned().collect();
        self.allows.extend(kept);
        Ok(())
    }
}

fn table_of(row: &AdmittedRow) -> WhoTable {
    let AdmittedRow { user, group, executable, cgroup, address, mac } = row;
    WhoTable {
        user: user.map(|user| said(Named::Number(user))),
        group: group.map(|group| said(Named::Number(group))),
        executable: executable.clone().map(said),
        cgroup: cgroup.clone().map(said),
        address: address.map(|address| said(address.to_string())),
        mac: mac.map(|mac| said(MacAddr(mac).to_string())),
    }
}

#[cfg(test)]
mod tests;
