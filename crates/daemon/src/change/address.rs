//! Addresses given and taken back at run time, with what ip-address(8) says of them.

use super::{interface_named, prefix};
use crate::{options, worker::Worker};
use narrows_ipc::{
    Error,
    change::{AddressDetails, SetMode},
    route::RouteScope,
};
use narrows_stack::{
    Instant,
    request::{Principal, Request},
    table::{address_facts::AddressFacts, route::Scope},
};
use std::{net::IpAddr, time::Duration};

/// The longest label, as the longest interface name (IFNAMSIZ less its NUL).
pub(crate) const MAX_LABEL: usize = 15;

/// An address, or another description of one that is there. One that can't be described as asked is
/// not added either.
pub(super) fn set(
    worker: &mut Worker,
    interface: &str,
    (address, length): (IpAddr, u8),
    details: &AddressDetails,
    mode: SetMode,
) -> Result<(), Error> {
    let id = interface_named(worker, interface)?;
    let own = prefix(address, length)?;
    let facts = facts(worker.clock.now(), details)?;
    let IpAddr::V4(address) = address else { return Err(Error::FamilyNotSupported) };
    let held = worker.shard.interface(id).is_some_and(|found| found.addresses.contains(&own))
        || worker.shard.unusable_addresses(id).any(|(prefix, _)| prefix == own);
    match mode {
        SetMode::Create if held => return Err(Error::AlreadyExists),
        SetMode::Change if !held => return Err(Error::NoSuchEntry),
        _ => {}
    }
    let now = worker.clock.now();
    let mut ask = |request| {
        let reply = worker.shard.request(now, Principal::default(), request);
        reply.map(drop).map_err(options::error)
    };
    if !held {
        ask(Request::AddAddress { interface: id, prefix: own })?;
    }
    if held || facts != AddressFacts::default() {
        let described = ask(Request::DescribeAddress { interface: id, address, facts });
        if described.is_err() && !held {
            ask(Request::RemoveAddress { interface: id, prefix: own })?;
        }
        described?;
    }
    Ok(())
}

/// For an address that is described now.
pub(crate) fn facts(now: Instant, details: &AddressDetails) -> Result<AddressFacts, Error> {
    let until = |seconds: u32| now + Duration::from_secs(seconds.into());
    let AddressDetails { label, scope, peer, valid, preferred } = details;
    let fits = |label: &String| (1..=MAX_LABEL).contains(&label.len());
    // As in the kernel: it does not go before it is no longer preferred, nor at once.
    let lasts = valid
        .is_none_or(|valid| valid > 0 && preferred.is_some_and(|preferred| preferred <= valid));
    if !label.as_ref().is_none_or(fits) || !lasts {
        return Err(Error::InvalidArgument);
    }
    Ok(AddressFacts {
        label: label.clone(),
        scope: scope.map(|scope| match scope {
            RouteScope::Global => Scope::Global,
            RouteScope::Link => Scope::Link,
            RouteScope::Host => Scope::Host,
        }),
        peer: peer.map(|(address, length)| prefix(address, length)).transpose()?,
        valid_until: valid.map(until),
        preferred_until: preferred.map(until),
    })
}
