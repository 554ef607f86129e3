//! Reports of what interfaces are and stand upon.

use super::interface_name;
use crate::{anchor::datagram::interface_number, worker::Worker, zones};
use narrows_ipc::link::{
    ArpState, BondRow, FdbRow, LacpRow, LinkKind, LinkState, MemberRow, PortRow, RoutingState,
    Traffic,
};
use narrows_stack::{
    InterfaceId,
    table::{
        bond::{Bond, BondMode, Member},
        bridge::Bridge,
        link::{Link, LinkKind as Kind, Traffic as Counted},
    },
};

/// Where the interface's frames come from, in a word.
pub(super) fn describe(worker: &Worker, id: InterfaceId) -> String {
    match kind(worker, id) {
        LinkKind::Loopback => "loopback".into(),
        LinkKind::Device(spec) => spec,
        LinkKind::Vlan { lower, id, .. } => format!("vlan:{lower}.{id}"),
        LinkKind::Bond => "bond".into(),
        LinkKind::Bridge => "bridge".into(),
        LinkKind::Private => "private".into(),
    }
}

fn kind(worker: &Worker, id: InterfaceId) -> LinkKind {
    let attachment = worker.attachments.iter().find(|attachment| attachment.interface == id);
    match worker.shard.links().get(id).map(|link| &link.kind) {
        Some(Kind::Vlan { lower, tag }) => LinkKind::Vlan {
            lower: interface_name(worker, *lower),
            protocol: tag.protocol.name().into(),
            id: tag.id.get(),
        },
        Some(Kind::Bond(_)) => LinkKind::Bond,
        Some(Kind::Bridge(_)) => LinkKind::Bridge,
        Some(Kind::Private) => LinkKind::Private,
        Some(Kind::Device) | None => attachment
            .map_or(LinkKind::Loopback, |attachment| LinkKind::Device(attachment.spec.to_string())),
    }
}

pub(super) fn state(worker: &Worker, id: InterfaceId) -> LinkState {
    let links = worker.shard.links();
    let link = links.get(id);
    LinkState {
        kind: kind(worker, id),
        master: link.and_then(|link| link.master).map(|master| interface_name(worker, master)),
        up: link.is_some_and(|link| link.up),
        running: links.is_running(id),
        promiscuous: link.is_some_and(|link| link.promiscuous),
        group: link.map_or(0, |link| link.group),
        queue: u32::try_from(worker.shard.config().limits.egress_queue).unwrap_or(u32::MAX),
        zone: zones::name_of(worker, id),
        routing: routing(worker, id),
        arp: arp(worker, id),
        traffic: link.map(|link| traffic(link.traffic)).unwrap_or_default(),
    }
}

fn traffic(counted: Counted) -> Traffic {
    Traffic {
        rx_bytes: counted.rx_bytes,
        rx_packets: counted.rx_packets,
        rx_dropped: counted.rx_dropped,
        rx_multicast: counted.rx_multicast,
        tx_bytes: counted.tx_bytes,
        tx_packets: counted.tx_packets,
        tx_dropped: counted.tx_dropped,
    }
}

fn routing(worker: &Worker, id: InterfaceId) -> RoutingState {
    let station = worker.shard.interface(id);
    let held = station.map(|station| station.settings.routing).unwrap_or_default();
    RoutingState {
        forward: held.forward,
        host_model: held.host_model.name().into(),
        reverse_path: held.reverse_path.name().into(),
        redirects: held.redirects,
    }
}

fn arp(worker: &Worker, id: InterfaceId) -> ArpState {
    let held = worker.shard.interface(id).map(|station| station.arp).unwrap_or_default();
    ArpState {
        ignore: held.arp_ignore.number(),
        announce: held.arp_announce.number(),
        filter: held.arp_filter,
        accept: held.arp_accept,
        proxy: held.proxy_arp,
        conflict_detection: held.conflict_detection.name().into(),
    }
}

pub(super) fn bonds(worker: &Worker) -> impl Iterator<Item = BondRow> {
    let links = worker.shard.links().iter();
    links.filter_map(|(id, link)| Some(bond_row(worker, id, link.bond()?)))
}

fn bond_row(worker: &Worker, id: InterfaceId, bond: &Bond) -> BondRow {
    let name = |id: InterfaceId| interface_name(worker, id);
    let settings = &bond.settings;
    let monitor = settings.monitor.as_ref();
    BondRow {
        name: name(id),
        mode: settings.mode.name().into(),
        hash_policy: settings.hash.name().into(),
        lacp_fast: settings.lacp_fast,
        primary: settings.primary.map(name),
        active: bond.active().filter(|_| settings.mode == BondMode::ActiveBackup).map(name),
        arp_interval: monitor.map(|monitor| monitor.interval),
        arp_targets: monitor.map(|monitor| monitor.targets.clone()).unwrap_or_default(),
        min_links: settings.min_links,
        up_delay: settings.up_delay,
        down_delay: settings.down_delay,
        members: bond.report().iter().map(|member| member_row(worker, bond, member)).collect(),
    }
}

fn member_row(worker: &Worker, bond: &Bond, member: &Member) -> MemberRow {
    let station = worker.shard.interface(member.interface);
    let (actor, partner) = (member.lacp.actor(), member.lacp.partner());
    let lacp = LacpRow {
        actor_port: actor.port,
        actor_state: actor.state.0,
        partner_system: partner.system.0,
        partner_key: partner.key,
        partner_port: partner.port,
        partner_state: partner.state.0,
    };
    MemberRow {
        name: interface_name(worker, member.interface),
        mac: station.map_or([0; 6], |station| station.settings.mac.0),
        running: member.running,
        usable: bond.is_usable(member.interface),
        failures: member.failures,
        lacp: (bond.settings.mode == BondMode::Lacp).then_some(lacp),
    }
}

/// Of all bridges: their number, what they are, and their state.
fn bridges(worker: &Worker) -> impl Iterator<Item = (InterfaceId, &Bridge)> {
    let links = worker.shard.links().iter();
    links.filter_map(|(id, link): (_, &Link)| Some((id, link.bridge()?)))
}

pub(super) fn ports(worker: &Worker) -> impl Iterator<Item = PortRow> {
    let row = |id: InterfaceId, bridge: &Bridge, port: InterfaceId| {
        let station = worker.shard.interface(port);
        let links = worker.shard.links();
        PortRow {
            id: interface_number(port),
            name: interface_name(worker, port),
            bridge: interface_name(worker, id),
            mtu: station.map_or(0, |station| station.settings.mtu),
            up: links.get(port).is_some_and(|link| link.up),
            running: links.is_running(port),
            closed: bridge.is_closed(port),
            bound: bridge.binding(port).map(|bound| bound.iter().map(|mac| mac.0).collect()),
        }
    };
    bridges(worker)
        .flat_map(move |(id, bridge)| bridge.ports().map(move |port| row(id, bridge, port)))
}

/// The stations that bridges know.
pub(super) fn stations(worker: &Worker) -> impl Iterator<Item = FdbRow> {
    let now = worker.clock.now();
    bridges(worker).flat_map(move |(id, bridge)| {
        bridge.entries().map(move |entry| FdbRow {
            mac: entry.mac.0,
            port: interface_name(worker, entry.port),
            bridge: interface_name(worker, id),
            age: entry.seen.map(|seen| now.since(seen)),
        })
    })
}
