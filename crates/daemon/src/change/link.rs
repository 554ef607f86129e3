//! Interfaces made, set and removed at run time. Several settings are tried on a rehearsal of the
//! engine, in order, before the first takes effect; what was made for them is taken back when one is
//! refused.

use crate::{
    config::{BondConfig, InterfaceConfig, LinkConfig, LinkOptions},
    links::{self, Site},
    worker::Worker,
};
use anyhow::{Context, Result, bail};
use narrows_device::DeviceSpec;
use narrows_ipc::link::{LinkCommand, LinkKind, LinkSetting};
use narrows_stack::{
    InterfaceId, Shard,
    request::{LinkChange, LinkSettings, PortChange, Request},
    table::{
        arp_policy::{ArpAnnounce, ArpIgnore, ConflictDetection},
        autoconf::AddressSource,
        bond::{ArpMonitor, BondMode, BondSettings, HashPolicy, MAX_MEMBERS},
        bridge::BridgeSettings,
        interface::MIN_MTU,
        link::LinkKind as Kind,
        route::{HostModel, ReversePath},
    },
};
use narrows_wire::{
    address::MacAddr,
    vlan::{Tag, TagProtocol, VlanId},
};
use std::time::Duration;

/// The words of a refusal are for the operator.
pub(super) fn apply(worker: &mut Worker, command: &LinkCommand) -> Result<()> {
    match command {
        LinkCommand::Add { name, kind, settings } => add(worker, name, kind, settings),
        LinkCommand::Set { name, settings } => {
            let id = site(worker).named(name)?;
            set_all(worker, id, settings)
        }
        LinkCommand::Remove { name } => {
            let id = site(worker).named(name)?;
            remove(worker, id)
        }
        LinkCommand::Station { port, mac, known } => {
            let mac = MacAddr(*mac);
            let change = if *known { PortChange::Pin(mac) } else { PortChange::Forget(mac) };
            let id = site(worker).named(port)?;
            let what = if *known { "can't be behind" } else { "is not known behind" };
            set_port(&mut site(worker), id, change)
                .with_context(|| format!("{mac} {what} \"{port}\""))
        }
    }
}

fn site(worker: &mut Worker) -> Site<'_> {
    let now = worker.clock.now();
    Site { shard: &mut worker.shard, now, registry: &worker.registry }
}

fn add(worker: &mut Worker, name: &str, kind: &LinkKind, settings: &[LinkSetting]) -> Result<()> {
    if !crate::config::is_interface_name(name) {
        bail!("\"{name}\" is not an interface name");
    }
    if site(worker).named(name).is_ok() {
        bail!("there is an interface \"{name}\" already");
    }
    let link = link_config(kind)?;
    if let Some(device) = link.device()
        && let Some(held) = worker.attachments.iter().find(|held| held.spec.name() == device.name())
    {
        bail!("device {} is in use already: {}", device.name(), held.spec);
    }
    let config = InterfaceConfig::bare(name, link, LinkOptions::default());
    let device = links::open(&config, &worker.keeper)?;
    let serial = worker.next_serial();
    let (id, attachment) = site(worker).make(&config, device, serial)?;
    worker.attachments.extend(attachment);
    let result = set_all(worker, id, settings);
    if result.is_err()
        && let Err(error) = remove(worker, id)
    {
        tracing::warn!(interface = name, "what was begun stays: {error:#}");
    }
    worker.links_changed();
    result
}

/// Takes an interface out, with its device. As on Linux its VLANs go with it, it leaves the bond or bridge
/// that it is part of, and its own members and ports are let go. All of that, or nothing.
pub(crate) fn remove(worker: &mut Worker, id: InterfaceId) -> Result<()> {
    if id == InterfaceId::LOOPBACK {
        bail!("Operation not supported: the loopback is always there");
    }
    let doomed = with_vlans(&worker.shard, id);
    let requests = removal(&worker.shard, &doomed);
    let mut trial = worker.shard.rehearsal();
    let now = worker.clock.now();
    let mut rehearsal = Site { shard: &mut trial, now, registry: &worker.registry };
    requests.iter().try_for_each(|request| rehearsal.request(request.clone()).map(drop))?;
    for request in requests {
        site(worker).request(request)?;
    }
    for id in doomed {
        let place = worker.attachments.iter().position(|held| held.interface == id);
        if let Some(mut attachment) = place.map(|at| worker.attachments.remove(at)) {
            attachment.forget(&worker.registry);
        }
    }
    Ok(())
}

/// The interface behind the VLANs upon it, each behind those upon itself.
fn with_vlans(shard: &Shard, id: InterfaceId) -> Vec<InterfaceId> {
    let vlans = shard.links().get(id).into_iter().flat_map(|link| link.vlans.values());
    vlans.flat_map(|vlan| with_vlans(shard, *vlan)).chain([id]).collect()
}

/// What takes these interfaces out, in order.
fn removal(shard: &Shard, doomed: &[InterfaceId]) -> Vec<Request> {
    let links = shard.links();
    let mut requests = Vec::new();
    for id in doomed.iter().copied() {
        let master = links.get(id).and_then(|link| link.master);
        let tied = master.map(|_| id).into_iter().chain(links.members(id));
        requests.extend(tied.map(|member| Request::Release { member }));
        requests.push(Request::RemoveInterface { interface: id });
    }
    requests
}

fn link_config(kind: &LinkKind) -> Result<LinkConfig> {
    Ok(match kind {
        LinkKind::Device(spec) => LinkConfig::Device(DeviceSpec::parse(spec)?),
        LinkKind::Vlan { lower, protocol, id } => {
            let id = VlanId::new(*id)
                .with_context(|| format!("VLAN {id}: write 1 to {}", VlanId::MAX))?;
            let protocols = [TagProtocol::Dot1q, TagProtocol::Dot1ad];
            let named =
                protocols.into_iter().find(|known| known.name().eq_ignore_ascii_case(protocol));
            let protocol =
                named.with_context(|| format!("protocol {protocol}: write 802.1Q or 802.1ad"))?;
            LinkConfig::Vlan { lower: lower.clone(), tag: Tag { protocol, id } }
        }
        LinkKind::Bond => LinkConfig::Bond { members: Vec::new(), bond: BondConfig::default() },
        LinkKind::Bridge => {
            LinkConfig::Bridge { ports: Vec::new(), settings: BridgeSettings::default() }
        }
        LinkKind::Private => bail!("a private zone comes with its members: write [[zone]]"),
        LinkKind::Loopback => bail!("the loopback is always there"),
    })
}

/// All settings, or none.
fn set_all(worker: &mut Worker, id: InterfaceId, settings: &[LinkSetting]) -> Result<()> {
    if settings.len() > 1 {
        let mut trial = worker.shard.rehearsal();
        let now = worker.clock.now();
        let mut site = Site { shard: &mut trial, now, registry: &worker.registry };
        settings.iter().try_for_each(|setting| set(&mut site, id, setting))?;
    }
    for setting in settings {
        if let LinkSetting::Mtu(mtu) = setting {
            carry(worker, id, *mtu)?;
        }
    }
    let set = settings.iter().try_for_each(|setting| set(&mut site(worker), id, setting));
    match id {
        InterfaceId::LOOPBACK => set.context("the loopback stays as it is"),
        _ => set,
    }
}

/// The device below carries packets of that length, or the kernel is told to.
fn carry(worker: &Worker, id: InterfaceId, mtu: u16) -> Result<()> {
    if mtu < MIN_MTU {
        bail!("mtu {mtu}: write {MIN_MTU} to {}", u16::MAX);
    }
    match worker.attachments.iter().find(|held| held.interface == id) {
        Some(attachment) => links::carry(&attachment.spec, mtu),
        None => Ok(()),
    }
}

fn set(site: &mut Site<'_>, id: InterfaceId, setting: &LinkSetting) -> Result<()> {
    let change = match setting {
        LinkSetting::Up(up) => LinkChange::Up(*up),
        LinkSetting::Name(name) => return rename(site, id, name),
        LinkSetting::Mtu(mtu) => {
            let change = LinkChange::Mtu(*mtu);
            site.request(Request::SetLink { interface: id, change })
                .with_context(|| format!("mtu {mtu}: not with what is below and above"))?;
            return Ok(());
        }
        LinkSetting::Mac(mac) => LinkChange::Mac(MacAddr(*mac)),
        LinkSetting::Promiscuous(on) => LinkChange::Promiscuous(*on),
        LinkSetting::Group(group) => LinkChange::Group(*group),
        LinkSetting::Master(master) => return set_master(site, id, master.as_deref()),
        LinkSetting::Bind(bound) => {
            let bound = bound.as_ref().map(|list| list.iter().copied().map(MacAddr).collect());
            return set_port(site, id, PortChange::Bind(bound));
        }
        LinkSetting::Forward(_)
        | LinkSetting::HostModel(_)
        | LinkSetting::ReversePath(_)
        | LinkSetting::Redirects(_) => return set_routing(site, id, setting),
        LinkSetting::ArpIgnore(_)
        | LinkSetting::ArpAnnounce(_)
        | LinkSetting::ArpFilter(_)
        | LinkSetting::ArpAccept(_)
        | LinkSetting::ProxyArp(_)
        | LinkSetting::ConflictDetection(_) => return set_arp(site, id, setting),
        LinkSetting::AddressSource(name) => return set_source(site, id, name),
        other => return set_kind(site, id, other),
    };
    site.request(Request::SetLink { interface: id, change })?;
    Ok(())
}

fn rename(site: &mut Site<'_>, id: InterfaceId, name: &str) -> Result<()> {
    if !crate::config::is_interface_name(name) {
        bail!("\"{name}\" is not an interface name");
    }
    if site.named(name).is_ok_and(|other| other != id) {
        bail!("there is an interface \"{name}\" already");
    }
    site.request(Request::RenameInterface { interface: id, name: name.to_owned() })?;
    Ok(())
}

fn set_routing(site: &mut Site<'_>, id: InterfaceId, setting: &LinkSetting) -> Result<()> {
    let station = site.shard.interface(id).context("it is gone")?;
    let mut routing = station.settings.routing;
    match setting {
        LinkSetting::Forward(on) => routing.forward = *on,
        LinkSetting::Redirects(on) => routing.redirects = *on,
        LinkSetting::HostModel(model) => {
            let names = HostModel::ALL.map(HostModel::name).join(", ");
            routing.host_model = HostModel::parse(model)
                .with_context(|| format!("host_model {model}: write one of {names}"))?;
        }
        LinkSetting::ReversePath(check) => {
            let names = ReversePath::ALL.map(ReversePath::name).join(", ");
            routing.reverse_path = ReversePath::parse(check)
                .with_context(|| format!("reverse_path {check}: write one of {names}"))?;
        }
        _ => bail!("that is not about routing"),
    }
    site.request(Request::SetRouting { interface: id, routing })?;
    Ok(())
}

fn set_arp(site: &mut Site<'_>, id: InterfaceId, setting: &LinkSetting) -> Result<()> {
    let mut policy = site.shard.interface(id).context("it is gone")?.arp;
    match setting {
        LinkSetting::ArpIgnore(number) => {
            policy.arp_ignore = ArpIgnore::from_number(*number)
                .with_context(|| format!("arp_ignore {number}: write 0, 1, 2 or 8"))?;
        }
        LinkSetting::ArpAnnounce(number) => {
            policy.arp_announce = ArpAnnounce::from_number(*number)
                .with_context(|| format!("arp_announce {number}: write 0, 1 or 2"))?;
        }
        LinkSetting::ArpFilter(on) => policy.arp_filter = *on,
        LinkSetting::ArpAccept(on) => policy.arp_accept = *on,
        LinkSetting::ProxyArp(on) => policy.proxy_arp = *on,
        LinkSetting::ConflictDetection(name) => {
            let names = ConflictDetection::ALL.map(ConflictDetection::name).join(", ");
            policy.conflict_detection = ConflictDetection::parse(name)
                .with_context(|| format!("conflict_detection {name}: write one of {names}"))?;
        }
        _ => bail!("that is not about ARP"),
    }
    site.request(Request::SetArpPolicy { interface: id, policy })?;
    Ok(())
}

fn set_source(site: &mut Site<'_>, id: InterfaceId, name: &str) -> Result<()> {
    let names = AddressSource::ALL.map(AddressSource::name).join(", ");
    let source = AddressSource::parse(name)
        .with_context(|| format!("address_source {name}: write one of {names}"))?;
    site.request(Request::SetAddressSource { interface: id, source })?;
    Ok(())
}

fn set_master(site: &mut Site<'_>, id: InterfaceId, master: Option<&str>) -> Result<()> {
    let held = site.shard.links().get(id).and_then(|link| link.master);
    let wanted = master.map(|name| site.named(name)).transpose()?;
    if let (Some(name), Some(id)) = (master, wanted) {
        let link = site.shard.links().get(id);
        if !link.is_some_and(|link| link.bond().is_some() || link.bridge().is_some()) {
            bail!("\"{name}\" is neither a bond nor a bridge");
        }
    }
    if held == wanted {
        return Ok(());
    }
    if held.is_some() {
        site.request(Request::Release { member: id })?;
    }
    let Some(master) = wanted else { return Ok(()) };
    let addressed = site.shard.interface(id).is_some_and(|it| !it.addresses.is_empty());
    let result = if addressed {
        Err(anyhow::anyhow!("it has addresses: the master is to have them, so remove them first"))
    } else {
        site.request(Request::Enslave { member: id, master }).map(drop)
    };
    if let (Err(_), Some(held)) = (&result, held) {
        site.request(Request::Enslave { member: id, master: held })?;
    }
    result
}

fn set_port(site: &mut Site<'_>, port: InterfaceId, change: PortChange) -> Result<()> {
    let master = site.shard.links().get(port).and_then(|link| link.master);
    let bridge = master.context("it is no port of a bridge")?;
    let settings = LinkSettings::Port { port, change };
    site.request(Request::ConfigureLink { interface: bridge, settings })?;
    Ok(())
}

/// What only a bond or only a bridge has.
fn set_kind(site: &mut Site<'_>, id: InterfaceId, setting: &LinkSetting) -> Result<()> {
    let settings = match site.shard.links().get(id).map(|link| &link.kind) {
        Some(Kind::Bond(bond)) => {
            LinkSettings::Bond(bond_with(site, bond.settings.clone(), setting)?)
        }
        Some(Kind::Bridge(bridge)) => {
            LinkSettings::Bridge(bridge_with(bridge.settings(), setting)?)
        }
        _ => bail!("that is for bonds and bridges, which it is not"),
    };
    site.request(Request::ConfigureLink { interface: id, settings })?;
    Ok(())
}

fn bond_with(
    site: &Site<'_>,
    mut settings: BondSettings,
    setting: &LinkSetting,
) -> Result<BondSettings> {
    let none = ArpMonitor { interval: Duration::ZERO, targets: Vec::new() };
    match setting {
        LinkSetting::Mode(mode) => {
            let names = BondMode::ALL.map(BondMode::name).join(", ");
            settings.mode = BondMode::parse(mode)
                .with_context(|| format!("mode {mode}: write one of {names}"))?;
        }
        LinkSetting::HashPolicy(policy) => {
            let names = HashPolicy::ALL.map(HashPolicy::name).join(", ");
            settings.hash = HashPolicy::parse(policy)
                .with_context(|| format!("xmit_hash_policy {policy}: write one of {names}"))?;
        }
        LinkSetting::LacpFast(fast) => settings.lacp_fast = *fast,
        LinkSetting::Primary(None) => settings.primary = None,
        LinkSetting::Primary(Some(name)) => {
            let mut interfaces = site.shard.interfaces();
            let found = interfaces.find(|(_, station)| station.settings.name == *name);
            let (id, _) = found.with_context(|| format!("no interface \"{name}\""))?;
            settings.primary = Some(id);
        }
        LinkSetting::ArpInterval(Duration::ZERO) => settings.monitor = None,
        LinkSetting::ArpInterval(interval) => {
            settings.monitor.get_or_insert(none).interval = *interval;
        }
        LinkSetting::ArpTargets(targets) => {
            settings.monitor.get_or_insert(none).targets.clone_from(targets);
        }
        LinkSetting::MinLinks(least) if usize::from(*least) > MAX_MEMBERS => {
            bail!("min_links {least}: a bond has {MAX_MEMBERS} members at most");
        }
        LinkSetting::MinLinks(least) => settings.min_links = *least,
        LinkSetting::UpDelay(delay) => settings.up_delay = *delay,
        LinkSetting::DownDelay(delay) => settings.down_delay = *delay,
        _ => bail!("that is for bridges, and it is a bond"),
    }
    Ok(settings)
}

fn bridge_with(mut settings: BridgeSettings, setting: &LinkSetting) -> Result<BridgeSettings> {
    match setting {
        LinkSetting::Ageing(ageing) => settings.ageing = *ageing,
        LinkSetting::MaxAddresses(most) => {
            settings.max_addresses = usize::try_from(*most).unwrap_or(usize::MAX);
        }
        LinkSetting::FloodLimit(limit) => settings.flood_limit = *limit,
        _ => bail!("that is for bonds, and it is a bridge"),
    }
    Ok(settings)
}
