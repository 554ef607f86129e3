//! Changes at run time: addresses, neighbors and interfaces. Each takes effect whole or not at all.

mod address;
mod link;
mod policy;
mod zone;

pub(crate) use address::{MAX_LABEL, facts};
pub(crate) use link::remove as remove_link;

use crate::{config::no_hosts, options, route, rule, worker::Worker};
use mio::Token;
use narrows_ipc::{
    Answer, Error, Reply,
    change::{Change, SetMode, SetState},
};
use narrows_stack::{
    InterfaceId,
    request::{Principal, Request},
    table::neighbor::{NeighborChange, NeighborMode, NeighborSetting},
};
use narrows_wire::address::{MacAddr, Prefix};
use std::net::IpAddr;

pub(crate) fn apply(worker: &mut Worker, token: Token, change: Change) -> Answer {
    let session = worker.sessions.get_mut(token).ok_or(Error::BadMessage)?;
    worker.authority.administer(&session.principal)?;
    let pid = session.principal.pid;
    if let Change::Link(command) = &change {
        if let Err(why) = link::apply(worker, command) {
            return Ok(Reply::Refused(format!("{why:#}")));
        }
        worker.interfaces_changed();
        tracing::info!(pid, %change, "changed");
        return Ok(Reply::Done);
    }
    if let Change::Zone(command) = &change {
        if let Err(why) = zone::apply(worker, command) {
            return Ok(Reply::Refused(format!("{why:#}")));
        }
        worker.interfaces_changed();
        tracing::info!(pid, %change, "changed");
        return Ok(Reply::Done);
    }
    if let Some(result) = policy::apply(&mut worker.authority.policy, &change) {
        result?;
        tracing::info!(pid, %change, "changed");
        return Ok(Reply::Done);
    }
    if let Change::SetAddress { interface, address, length, details, mode } = &change {
        if let Some(what) = no_hosts(prefix(*address, *length)?).filter(|_| interface != "lo") {
            return Ok(Reply::Refused(format!("{address} {what}")));
        }
        address::set(worker, interface, (*address, *length), details, *mode)?;
        worker.interfaces_changed();
        tracing::info!(pid, %change, "changed");
        return Ok(Reply::Done);
    }
    let request = request(worker, &change)?;
    let now = worker.clock.now();
    let result = worker.shard.request(now, Principal::default(), request);
    result.map_err(options::error)?;
    worker.interfaces_changed();
    tracing::info!(pid, %change, "changed");
    Ok(Reply::Done)
}

/// The change as the engine's words.
fn request(worker: &Worker, change: &Change) -> Result<Request, Error> {
    Ok(match change {
        Change::RemoveAddress { interface, address, length } => Request::RemoveAddress {
            interface: interface_named(worker, interface)?,
            prefix: prefix(*address, *length)?,
        },
        Change::AnnounceAddresses { interface } => {
            Request::AnnounceAddresses { interface: interface_named(worker, interface)? }
        }
        Change::SetNeighbor { interface, address, mac, state, mode } => Request::SetNeighbor {
            interface: interface_named(worker, interface)?,
            address: *address,
            change: NeighborChange {
                mac: MacAddr(*mac),
                setting: setting(*state),
                mode: match mode {
                    SetMode::Create => NeighborMode::Create,
                    SetMode::Change => NeighborMode::Change,
                    SetMode::Replace => NeighborMode::Replace,
                },
            },
        },
        Change::RemoveNeighbor { interface, address } => Request::RemoveNeighbor {
            interface: interface_named(worker, interface)?,
            address: *address,
        },
        Change::SetMulticast { interface, mac, joined } => Request::SetMulticast {
            interface: interface_named(worker, interface)?,
            mac: MacAddr(*mac),
            joined: *joined,
        },
        // Not one request of the engine.
        Change::Link(_)
        | Change::Zone(_)
        | Change::SetAddress { .. }
        | Change::AddPolicy { .. }
        | Change::RemovePolicy { .. }
        | Change::RemovePolicyById { .. } => return Err(Error::BadMessage),
        Change::AddRoute { route, placement } => route::add(worker, route, *placement)?,
        Change::RemoveRoute { route } => route::remove(worker, route)?,
        Change::AddRule { rule } => rule::add(worker, rule)?,
        Change::RemoveRule { rule } => rule::remove(worker, rule)?,
        Change::SetProxy { interface, address, proxied } => Request::SetProxied {
            interface: interface_named(worker, interface)?,
            address: *address,
            proxied: *proxied,
        },
    })
}

pub(crate) fn interface_named(worker: &Worker, name: &str) -> Result<InterfaceId, Error> {
    let mut interfaces = worker.shard.interfaces();
    let found = interfaces.find(|(_, interface)| interface.settings.name == name);
    found.map(|(id, _)| id).ok_or(Error::NoSuchDevice)
}

pub(crate) fn prefix(address: IpAddr, length: u8) -> Result<Prefix, Error> {
    Prefix::new(address, length).ok_or(Error::InvalidArgument)
}

fn setting(state: SetState) -> NeighborSetting {
    match state {
        SetState::Permanent => NeighborSetting::Permanent,
        SetState::NoArp => NeighborSetting::NoArp,
        SetState::Reachable => NeighborSetting::Reachable,
        SetState::Stale => NeighborSetting::Stale,
        SetState::Delay => NeighborSetting::Delay,
        SetState::Probe => NeighborSetting::Probe,
    }
}
