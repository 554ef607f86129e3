//! The words of a report, in the version that the link's routers understand.

use crate::{
    Instant, InterfaceId, Shard,
    layer::link,
    table::{
        egress::Frame,
        group_reports::{Change, Due},
        membership::{Filter, FilterMode},
    },
};
use core::net::{IpAddr, Ipv4Addr};
use narrows_wire::{
    address::MacAddr,
    ethernet::{self, EtherType},
    igmp::{self, ALL_ROUTERS, ALL_SYSTEMS, ALL_V3_ROUTERS, RecordKind, Version},
    ipv4::{self, Protocol},
};

/// RFC 3376 §4: internetwork control.
const TOS: u8 = 0xc0;

/// A group record.
struct Record {
    kind: RecordKind,
    group: Ipv4Addr,
    sources: Vec<Ipv4Addr>,
}

pub(super) fn send(shard: &mut Shard, now: Instant, due: Due) {
    let interface = match &due {
        Due::General(interface) => *interface,
        Due::Response((interface, _), _) | Due::Change((interface, _), _) => *interface,
    };
    match shard.group_reports.version(now, interface) {
        Version::V3 => {
            let records = records(shard, due);
            send_records(shard, interface, records);
        }
        version => send_old(shard, interface, version, due),
    }
}

fn records(shard: &Shard, due: Due) -> Vec<Record> {
    match due {
        Due::General(interface) => {
            let groups = shard.memberships.of(interface);
            let wanted =
                groups.filter(|(group, _, filter)| *group != ALL_SYSTEMS && !filter.is_nobody());
            wanted.map(|(group, _, filter)| current(group, filter)).collect()
        }
        Due::Response((interface, group), asked) => {
            let filter = shard.memberships.filter((interface, group));
            if filter.is_nobody() {
                return Vec::new();
            }
            if asked.is_empty() {
                return vec![current(group, filter)];
            }
            // RFC 3376 §5.2: of the sources asked about, those that are wanted.
            let sources = asked.into_iter().filter(|source| filter.admits(*source)).collect();
            non_empty([Record { kind: RecordKind::IsInclude, group, sources }])
        }
        Due::Change((interface, group), change) => {
            let filter = shard.memberships.filter((interface, group));
            changed(group, filter, change)
        }
    }
}

/// A group as it is.
fn current(group: Ipv4Addr, filter: &Filter) -> Record {
    let kind = match filter.mode {
        FilterMode::Include => RecordKind::IsInclude,
        FilterMode::Exclude => RecordKind::IsExclude,
    };
    Record { kind, group, sources: filter.sources.iter().copied().collect() }
}

/// RFC 3376 §5.1.
fn changed(group: Ipv4Addr, filter: &Filter, change: Change) -> Vec<Record> {
    match change {
        Change::Mode => {
            let kind = match filter.mode {
                FilterMode::Include => RecordKind::ToInclude,
                FilterMode::Exclude => RecordKind::ToExclude,
            };
            vec![Record { kind, ..current(group, filter) }]
        }
        Change::Sources(sources) => {
            let (allowed, blocked) = sources.iter().partition(|source| filter.admits(**source));
            non_empty([
                Record { kind: RecordKind::Allow, group, sources: allowed },
                Record { kind: RecordKind::Block, group, sources: blocked },
            ])
        }
    }
}

fn non_empty(records: impl IntoIterator<Item = Record>) -> Vec<Record> {
    records.into_iter().filter(|record| !record.sources.is_empty()).collect()
}

/// As many reports as it takes. A list that is too long for one goes on in the next; one of sources
/// that are not wanted is cut off (RFC 3376 §4.2.16).
fn send_records(shard: &mut Shard, interface: InterfaceId, records: Vec<Record>) {
    let Some(station) = shard.interfaces.get(interface) else { return };
    let headers = ipv4::HEADER_LEN + ipv4::ROUTER_ALERT.len() + igmp::HEADER_LEN;
    let room = usize::from(station.settings.mtu).saturating_sub(headers);
    let longest = (room.saturating_sub(igmp::RECORD_LEN) / 4).max(1);
    let (mut body, mut count) = (Vec::new(), 0u16);
    for Record { kind, group, sources } in records {
        let lists: Vec<&[Ipv4Addr]> = match kind {
            RecordKind::IsExclude | RecordKind::ToExclude => {
                vec![sources.get(..longest).unwrap_or(&sources)]
            }
            _ if sources.is_empty() => vec![&[]],
            _ => sources.chunks(longest).collect(),
        };
        for list in lists {
            if body.len() + igmp::RECORD_LEN + list.len() * 4 > room {
                finish(shard, interface, &mut body, &mut count);
            }
            let number = u16::try_from(list.len()).unwrap_or(u16::MAX);
            body.extend_from_slice(&igmp::record(kind, group, number));
            body.extend(list.iter().flat_map(Ipv4Addr::octets));
            count += 1;
        }
    }
    finish(shard, interface, &mut body, &mut count);
}

fn finish(shard: &mut Shard, interface: InterfaceId, body: &mut Vec<u8>, count: &mut u16) {
    let (body, count) = (core::mem::take(body), core::mem::take(count));
    if count > 0 {
        let mut message = [&igmp::report_v3(count)[..], &body].concat();
        igmp::complete(&mut message);
        output(shard, interface, ALL_V3_ROUTERS, &message);
    }
}

/// Older routers know no sources: a group is joined or not.
fn send_old(shard: &mut Shard, interface: InterfaceId, version: Version, due: Due) {
    let groups: Vec<Ipv4Addr> = match due {
        Due::General(_) => shard.memberships.of(interface).map(|(group, ..)| group).collect(),
        Due::Response((_, group), _) | Due::Change((_, group), _) => vec![group],
    };
    for group in groups {
        let joined = !shard.memberships.filter((interface, group)).is_nobody();
        if joined {
            output(shard, interface, group, &igmp::report(version, group));
        } else if version == Version::V2 {
            output(shard, interface, ALL_ROUTERS, &igmp::leave(group));
        }
    }
}

fn output(shard: &mut Shard, interface: InterfaceId, destination: Ipv4Addr, message: &[u8]) {
    let Some(station) = shard.interfaces.get(interface) else { return };
    let source = match station.addresses.first().map(|own| own.address()) {
        Some(IpAddr::V4(source)) => source,
        // RFC 3376 §4.2.13: as long as there is none.
        _ => Ipv4Addr::UNSPECIFIED,
    };
    let mut link = [0; ethernet::HEADER_LEN];
    ethernet::Header {
        destination: MacAddr::of_group(destination),
        source: station.settings.mac,
        ether_type: EtherType::IPV4,
    }
    .emit(&mut link);
    let header = ipv4::Header {
        tos: TOS,
        identification: 0,
        dont_fragment: true,
        more_fragments: false,
        fragment_offset: 0,
        ttl: super::TTL,
        protocol: Protocol::IGMP,
        source,
        destination,
    };
    let Some(packet) = header.with_options(&ipv4::ROUTER_ALERT, message.len()) else { return };
    let frame = Frame::plain([&link[..], &packet, message].concat());
    if let Err(reason) = link::output(shard, interface, frame) {
        shard.drop(reason);
    }
}
