//! Routes between the operator's words and the engine's.

use crate::{
    change::{interface_named, prefix},
    control::{PAGE, interface_name},
    options,
    worker::Worker,
};
use narrows_ipc::{
    Error, Reply, codec,
    route::{
        HopRow, RouteAnswer, RouteKind as Kind, RouteMatch, RoutePlacement, RouteQuestion,
        RouteRow, RouteScope, protocol, table,
    },
};
use narrows_stack::{
    InterfaceId,
    request::{Principal, Request},
    table::{
        interface::Interface,
        route::{
            Facts, NextHop, Placement, Query, Route, RouteFilter, RouteKind, RouteProtocol, Scope,
            TableId,
        },
    },
};
use narrows_wire::{address::Prefix, ipv4::Protocol};
use std::net::{IpAddr, Ipv4Addr};

pub(crate) fn add(
    worker: &Worker,
    route: &RouteRow,
    placement: RoutePlacement,
) -> Result<Request, Error> {
    let hops = route.hops.iter().map(|hop| next_hop(worker, TableId(route.table), hop));
    let facts = Facts {
        kind: kind(route.kind)?,
        protocol: RouteProtocol(route.protocol),
        scope: scope(route.scope),
        metric: route.metric,
        source: route.source.map(v4).transpose()?,
        hops: hops.collect::<Result<_, _>>()?,
    };
    let to = prefix(route.to.0, route.to.1)?;
    let placement = match placement {
        RoutePlacement::Add => Placement::Alone,
        RoutePlacement::Replace => Placement::Replace,
        RoutePlacement::Change => Placement::Change,
        RoutePlacement::Append => Placement::Append,
        RoutePlacement::Prepend => Placement::Prepend,
    };
    Ok(Request::AddRoute { route: Route { to, table: TableId(route.table), facts }, placement })
}

pub(crate) fn remove(worker: &Worker, route: &RouteMatch) -> Result<Request, Error> {
    let hop = |(interface, via): &(Option<String>, Option<IpAddr>)| {
        let interface = interface.as_deref().map(|name| interface_named(worker, name));
        Ok::<_, Error>((interface.transpose()?, via.map(v4).transpose()?))
    };
    let to = prefix(route.to.0, route.to.1)?;
    Ok(Request::RemoveRoute {
        filter: RouteFilter {
            kind: route.kind.map(kind).transpose()?,
            protocol: route.protocol.map(RouteProtocol),
            scope: route.scope.map(scope),
            metric: route.metric,
            source: route.source.map(v4).transpose()?,
            hops: route.hops.iter().map(hop).collect::<Result<_, _>>()?,
            ..RouteFilter::to(to, TableId(route.table))
        },
    })
}

/// One page: as many rows as fit into a reply. This host's own addresses come first: table 0, which
/// has no routes.
pub(crate) fn report(worker: &Worker, only: Option<u32>, after: (u32, u64)) -> Reply {
    let (mut rows, mut next, mut left) = (Vec::new(), after, PAGE);
    let mut room_for = |row: &RouteRow| {
        let rest = left.checked_sub(codec::encoded_len(row));
        left = rest.unwrap_or(0);
        rest.is_some()
    };
    if after.0 == 0 && only.is_none_or(|only| only == table::LOCAL) {
        let own = worker.shard.interfaces().flat_map(|(_, interface)| own(interface));
        for (number, row) in (1..).zip(own).skip(place(after.1)) {
            if !room_for(&row) {
                return Reply::Routes { rows, next: Some(next) };
            }
            next = (0, number);
            rows.push(row);
        }
    }
    let start = match after.0 {
        0 => (TableId(only.unwrap_or(1)), 0),
        table => (TableId(table), place(after.1)),
    };
    let mut routes = worker.shard.routes_from(start).peekable();
    while let Some((at, route)) = routes.next() {
        if only.is_some_and(|only| at.0.0 > only) {
            break;
        }
        // Routes of one prefix have one place, and stay together.
        let mut together = vec![row(worker, &route)];
        while let Some((_, route)) = routes.next_if(|(other, _)| *other == at) {
            together.push(row(worker, &route));
        }
        if !together.iter().all(&mut room_for) {
            return Reply::Routes { rows, next: Some(next) };
        }
        next = (at.0.0, at.1 as u64);
        rows.append(&mut together);
    }
    Reply::Routes { rows, next: None }
}

fn place(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

/// Where a packet would go.
pub(crate) fn answer(worker: &Worker, question: &RouteQuestion) -> Result<RouteAnswer, Error> {
    let named = |name: &Option<String>| {
        name.as_deref().map(|name| interface_named(worker, name)).transpose()
    };
    let destination = v4(question.destination.ok_or(Error::InvalidArgument)?)?;
    let (protocol, source_port, destination_port) = question.transport;
    let query = Query {
        source: question.source.map(v4).transpose()?,
        input: named(&question.input)?,
        output: named(&question.output)?,
        mark: question.mark,
        principal: Principal { uid: question.user, ..Principal::HOST },
        transport: (Protocol(protocol), source_port, destination_port),
        ..Query::to(destination)
    };
    let found = worker.shard.route(&query).map_err(options::error)?;
    Ok(RouteAnswer {
        kind: match (found.table, found.broadcast) {
            (_, true) => Kind::Broadcast,
            (TableId::LOCAL, false) => Kind::Local,
            _ => Kind::Unicast,
        },
        interface: interface_name(worker, found.interface),
        via: found.via.map(IpAddr::V4),
        source: found.source.map(IpAddr::V4),
        table: found.table.0,
        mtu: found.mtu,
    })
}

fn row(worker: &Worker, route: &Route) -> RouteRow {
    let Facts { kind, protocol, scope, metric, source, hops } = &route.facts;
    let hop = |hop: &NextHop| HopRow {
        interface: Some(interface_name(worker, hop.interface)),
        via: hop.via.map(IpAddr::V4),
        weight: hop.weight,
        on_link: hop.on_link,
        dead: hop.via.is_some_and(|via| !worker.shard.gateway_is_alive(hop.interface, via)),
    };
    RouteRow {
        to: (route.to.address(), route.to.length()),
        table: route.table.0,
        kind: match kind {
            RouteKind::Unicast => Kind::Unicast,
            RouteKind::Local => Kind::Local,
            RouteKind::Blackhole => Kind::Blackhole,
            RouteKind::Unreachable => Kind::Unreachable,
            RouteKind::Prohibit => Kind::Prohibit,
            RouteKind::Throw => Kind::Throw,
        },
        protocol: protocol.0,
        scope: scope_row(*scope),
        metric: *metric,
        source: source.map(IpAddr::V4),
        hops: hops.iter().map(hop).collect(),
    }
}

pub(crate) fn scope_row(scope: Scope) -> RouteScope {
    match scope {
        Scope::Global => RouteScope::Global,
        Scope::Link => RouteScope::Link,
        Scope::Host => RouteScope::Host,
    }
}

/// What the local table has of an interface's addresses.
fn own(interface: &Interface) -> Vec<RouteRow> {
    let name = &interface.settings.name;
    let row = |kind, to, scope, source| RouteRow {
        to,
        table: table::LOCAL,
        kind,
        protocol: protocol::KERNEL,
        scope,
        metric: 0,
        source: Some(source),
        hops: vec![HopRow {
            interface: Some(name.clone()),
            via: None,
            weight: 1,
            on_link: false,
            dead: false,
        }],
    };
    let of = |prefix: &Prefix| {
        let (address, network) = (prefix.address(), prefix.network());
        let subnet = (network.address(), network.length());
        let loopback = address.is_loopback();
        let rows = [
            loopback.then(|| row(Kind::Local, subnet, RouteScope::Host, address)),
            Some(row(Kind::Local, (address, 32), RouteScope::Host, address)),
            prefix
                .broadcast()
                .map(|all| row(Kind::Broadcast, (all, 32), RouteScope::Link, address)),
        ];
        rows.into_iter().flatten()
    };
    interface.addresses.iter().flat_map(of).collect()
}

/// A next hop that names no interface is on the one that reaches its gateway.
fn next_hop(worker: &Worker, table: TableId, hop: &HopRow) -> Result<NextHop, Error> {
    let via = hop.via.map(v4).transpose()?;
    let interface = match (&hop.interface, via) {
        (Some(name), _) => interface_named(worker, name)?,
        (None, Some(via)) => {
            worker.shard.interface_towards(table, via).ok_or(Error::GatewayNotOnLink)?
        }
        (None, None) => return Err(Error::BadNextHop),
    };
    if interface == InterfaceId::LOOPBACK {
        return Err(Error::NoSuchDevice);
    }
    Ok(NextHop { interface, via, weight: hop.weight, on_link: hop.on_link })
}

fn kind(kind: Kind) -> Result<RouteKind, Error> {
    Ok(match kind {
        Kind::Unicast => RouteKind::Unicast,
        Kind::Local => RouteKind::Local,
        Kind::Blackhole => RouteKind::Blackhole,
        Kind::Unreachable => RouteKind::Unreachable,
        Kind::Prohibit => RouteKind::Prohibit,
        Kind::Throw => RouteKind::Throw,
        // An address implies it.
        Kind::Broadcast => return Err(Error::InvalidArgument),
    })
}

fn scope(scope: RouteScope) -> Scope {
    match scope {
        RouteScope::Global => Scope::Global,
        RouteScope::Link => Scope::Link,
        RouteScope::Host => Scope::Host,
    }
}

fn v4(address: IpAddr) -> Result<Ipv4Addr, Error> {
    match address {
        IpAddr::V4(address) => Ok(address),
        IpAddr::V6(_) => Err(Error::FamilyNotSupported),
    }
}
