//! Who is admitted to which zones: the configuration's word about a principal, as a number that the
//! engine knows.
//!
//! Principals that the configuration could tell apart have numbers of their own, so that a change of
//! the configuration reaches the sockets of each, also those whose sessions are over. Who is admitted
//! nowhere in particular has none.

use crate::{
    config::{Configuration, PUBLIC, ZoneConfig},
    control::interface_name,
    principal::Principal,
    worker::Worker,
};
use narrows_ipc::zone::{AdmittedRow, CrossingRow, ZoneRow};
use narrows_policy::{Subject, Who};
use narrows_stack::{
    Shard,
    request::{Principal as EnginePrincipal, Request},
    table::zone::{Admission, AdmissionId, ZoneId, ZoneSet},
};
use std::{
    collections::{BTreeSet, HashMap},
    net::IpAddr,
    rc::Rc,
};

mod refusals;

pub(crate) use refusals::{Refusals, log as log_refusals};

/// Numbers kept before those that nobody has any more are given back: more than there are users on
/// most machines.
const KEPT: usize = 1024;

/// What the configuration can ask of a principal.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Identity {
    uid: u32,
    gid: u32,
    groups: Vec<u32>,
    executable: Option<String>,
    cgroup: Option<String>,
    /// The one zone that it wants to be in.
    only: Option<String>,
}

impl Identity {
    fn of(principal: &Principal) -> Self {
        Self {
            uid: principal.uid,
            gid: principal.gid,
            groups: principal.groups.clone(),
            executable: principal.executable().map(str::to_owned),
            cgroup: principal.cgroup().map(str::to_owned),
            only: principal.zone.get().cloned(),
        }
    }

    fn subject(&self) -> Subject<'_> {
        Subject {
            user: self.uid,
            group: self.gid,
            groups: &self.groups,
            executable: self.executable.as_deref(),
            cgroup: self.cgroup.as_deref(),
        }
    }

    /// What the configuration admits it to.
    fn admission(&self, zones: &[ZoneConfig]) -> Admission {
        let wants = |name: &str| self.only.as_deref().is_none_or(|only| only == name);
        let mut admission = Admission::default();
        if !wants(PUBLIC) {
            admission.zones = ZoneSet::NONE;
        }
        for zone in zones.iter().filter(|zone| wants(&zone.name)) {
            let subject = self.subject();
            let fits = |who: &Who| who.fits(&subject, &zone.name);
            let fitting = zone.admitted.iter().filter(|admitted| fits(&admitted.who));
            // Of a private zone one is one member: the first that fits.
            for admitted in fitting.take(if zone.private { 1 } else { usize::MAX }) {
                admission.zones = admission.zones.with(ZoneSet::only(zone.id));
                admission.members.extend(admitted.member.map(|member| member.address));
            }
        }
        admission
    }
}

/// The numbers given to those who are admitted somewhere.
#[derive(Debug, Default)]
pub(crate) struct Admissions {
    ids: HashMap<Identity, AdmissionId>,
    last: u32,
}

impl Admissions {
    /// The number of an identity, of which the engine knows from now on what it is admitted to.
    fn of(
        &mut self,
        identity: Identity,
        zones: &[ZoneConfig],
        ask: &mut impl FnMut(Request),
    ) -> AdmissionId {
        let admission = identity.admission(zones);
        match self.ids.get(&identity) {
            Some(id) => *id,
            None if admission == Admission::default() => AdmissionId::NOBODY,
            None => {
                self.last += 1;
                let id = AdmissionId(self.last);
                ask(Request::Admit { id, admission: Some(admission) });
                self.ids.insert(identity, id);
                id
            }
        }
    }

    /// Tells the engine anew what everybody is admitted to.
    fn renew(&mut self, zones: &[ZoneConfig], ask: &mut impl FnMut(Request)) {
        for (identity, id) in &self.ids {
            let admission = Some(identity.admission(zones));
            ask(Request::Admit { id: *id, admission });
        }
    }

    /// Gives back the numbers that nobody has.
    fn sweep(&mut self, held: &BTreeSet<AdmissionId>, ask: &mut impl FnMut(Request)) {
        self.ids.retain(|_, id| {
            let keep = held.contains(id);
            if !keep {
                ask(Request::Admit { id: *id, admission: None });
            }
            keep
        });
    }
}

/// A session opened: what its program is admitted to.
pub(crate) fn admit(worker: &mut Worker, principal: &Principal) {
    let zones = &worker.source.configuration.zones;
    if zones.is_empty() {
        return;
    }
    let now = worker.clock.now();
    let shard = &mut worker.shard;
    if worker.admissions.ids.len() >= KEPT {
        let mut held = shard.admissions();
        held.extend(worker.sessions.principals().map(|principal| principal.admission.get()));
        worker.admissions.sweep(&held, &mut asker(shard, now));
    }
    let identity = Identity::of(principal);
    let id = worker.admissions.of(identity, zones, &mut asker(shard, now));
    principal.admission.set(id);
}

/// A session wants to be in one zone alone; an error says why it can't.
pub(crate) fn enter(
    worker: &mut Worker,
    principal: &Principal,
    name: String,
) -> Result<(), String> {
    let zones = &worker.source.configuration.zones;
    if let Some(held) = principal.zone.get() {
        return match *held == name {
            true => Ok(()),
            false => Err(format!("this session is in zone \"{held}\" already")),
        };
    }
    let zone = zones.iter().find(|zone| zone.name == name);
    let subject = principal.subject();
    match zone {
        None if name != PUBLIC => return Err(format!("no zone \"{name}\"")),
        Some(zone) if !zone.admitted.iter().any(|held| held.who.fits(&subject, &name)) => {
            return Err(format!(
                "user {} is not admitted to zone \"{name}\", nor what it runs",
                principal.uid
            ));
        }
        _ => {}
    }
    // Nobody has set it since it was looked at.
    let _ = principal.zone.set(name);
    admit(worker, principal);
    Ok(())
}

/// Those who have numbers are admitted to what a configuration says.
pub(crate) fn renew(worker: &mut Worker, configuration: &Configuration) {
    let now = worker.clock.now();
    worker.admissions.renew(&configuration.zones, &mut asker(&mut worker.shard, now));
}

/// The configuration changed: everybody is admitted to what it says now, and loses the sockets that it
/// doesn't allow for.
pub(crate) fn readmit(worker: &mut Worker) {
    let now = worker.clock.now();
    let zones = &worker.source.configuration.zones;
    worker.admissions.renew(zones, &mut asker(&mut worker.shard, now));
    let principals: Vec<Rc<Principal>> = worker.sessions.principals().cloned().collect();
    for principal in principals {
        admit(worker, &principal);
    }
}

fn asker(shard: &mut Shard, now: narrows_stack::Instant) -> impl FnMut(Request) {
    move |request| {
        if let Err(error) = shard.request(now, EnginePrincipal::HOST, request) {
            tracing::error!(%error, "who is admitted to zones");
        }
    }
}

/// All zones, `public` first.
pub(crate) fn report(worker: &Worker) -> impl Iterator<Item = ZoneRow> {
    let zones = &worker.source.configuration.zones;
    let public = row(worker, ZoneId::PUBLIC, PUBLIC, None);
    let others = zones.iter().map(|zone| row(worker, zone.id, &zone.name, Some(zone)));
    std::iter::once(public).chain(others)
}

fn row(worker: &Worker, id: ZoneId, name: &str, zone: Option<&ZoneConfig>) -> ZoneRow {
    let configuration = &worker.source.configuration;
    let interfaces = worker.shard.interfaces().filter(|(_, interface)| interface.zone == id);
    let admitted = zone.into_iter().flat_map(|zone| &zone.admitted).map(|admitted| {
        let Who { user, group, executable, cgroup, zone: _ } = admitted.who.clone();
        let address = admitted.member.map(|member| member.address);
        let mac = admitted.member.map(|member| member.mac.0);
        AdmittedRow { user, group, executable, cgroup, address, mac }
    });
    let crossings = configuration.allows.iter().map(|allow| allow.crossing);
    let crossings = crossings.filter(|allow| allow.from == id);
    let network = |prefix: narrows_wire::address::Prefix| crate::config::text_of(prefix);
    ZoneRow {
        name: name.to_owned(),
        private: zone.is_some_and(|zone| zone.private),
        cut_through: zone.is_none_or(|zone| zone.cut_through),
        interfaces: interfaces.map(|(id, _)| interface_name(worker, id)).collect(),
        admitted: admitted.collect(),
        refused: refused(worker, id),
        crossings: crossings
            .map(|allow| CrossingRow {
                to: configuration.zone_name(allow.to).to_owned(),
                protocol: allow.protocol.map(|protocol| protocol.0),
                ports: allow.ports,
                source: allow.source.map(network),
                destination: allow.destination.map(network),
            })
            .collect(),
    }
}

/// What was not let go from a zone to others.
fn refused(worker: &Worker, from: ZoneId) -> Vec<(String, u64)> {
    let configuration = &worker.source.configuration;
    let all = refusals::by_pair(&worker.shard).into_iter();
    all.filter(|((zone, _), _)| *zone == from)
        .map(|((_, to), count)| (configuration.zone_name(to).to_owned(), count))
        .collect()
}

/// The name of the zone that an address is in.
pub(crate) fn name_at(worker: &Worker, address: IpAddr) -> String {
    let mut interfaces = worker.shard.interfaces();
    let owner = interfaces
        .find(|(_, interface)| interface.addresses.iter().any(|own| own.address() == address));
    let zone = owner.map_or(ZoneId::PUBLIC, |(_, interface)| interface.zone);
    worker.source.configuration.zone_name(zone).to_owned()
}

/// The zone of an interface, unless that is `public`.
pub(crate) fn name_of(worker: &Worker, interface: narrows_stack::InterfaceId) -> Option<String> {
    let zone = worker.shard.interface(interface)?.zone;
    let configuration = &worker.source.configuration;
    (zone != ZoneId::PUBLIC).then(|| configuration.zone_name(zone).to_owned())
}

#[cfg(test)]
mod tests;
