//! Interfaces, from their configuration to the engine's and back: devices are opened first, so that
//! what can fail has failed before anything changes.

use crate::{
    attachment::Attachment,
    change::facts,
    config::{BondConfig, InterfaceConfig, LinkConfig},
    keeper::Keeper,
};
use anyhow::{Context, Result, bail};
use mio::Registry;
use narrows_device::{Device, DeviceSpec, TapDevice, link};
use narrows_ipc::change::AddressDetails;
use narrows_stack::{
    Instant, InterfaceId, Shard,
    request::{LinkChange, LinkSettings, NewLink, PortChange, Principal, Reply, Request},
    table::{autoconf::AddressSource, bond::BondSettings, interface::InterfaceSettings},
};
use narrows_wire::{
    address::{MacAddr, Prefix},
    offload::Capabilities,
};
use std::net::{IpAddr, Ipv4Addr};

/// The longest IPv4 packet.
const MAX_MTU: u16 = u16::MAX;

/// Opens the interface's device, if it has one of its own.
pub(crate) fn open(config: &InterfaceConfig, keeper: &Keeper) -> Result<Option<Device>> {
    let LinkConfig::Device(spec) = &config.link else { return Ok(None) };
    let device = match spec {
        DeviceSpec::Tap(name) => Device::Tap(TapDevice::open_on(keeper.tun(), name)?),
        DeviceSpec::Packet(_) => Device::open(spec)?,
    };
    if let DeviceSpec::Tap(name) = spec {
        let found = link::find(name).context("can't list the kernel's interfaces")?;
        let kernel = found.with_context(|| format!("{name} is gone"))?;
        if let Some(mtu) = config.options.mtu {
            carry(spec, mtu)?;
        }
        if let Some((address, length)) = config.kernel {
            address_kernel(&kernel, address, length)?;
        }
    }
    Ok(Some(device))
}

/// Makes sure that the kernel's interface takes packets of that length: a TAP's is ours to set.
pub(crate) fn carry(spec: &DeviceSpec, mtu: u16) -> Result<()> {
    let name = spec.name();
    let found = link::find(name).context("can't list the kernel's interfaces")?;
    let kernel = found.with_context(|| format!("{name} is gone"))?;
    match spec {
        DeviceSpec::Tap(_) => link::set_mtu(kernel.index, mtu.into())
            .with_context(|| format!("can't give {name} an MTU of {mtu}")),
        DeviceSpec::Packet(_) if u32::from(mtu) > kernel.mtu => bail!(
            "{name} has an MTU of {} in the kernel: set it first with `ip link set {name} mtu {mtu}`",
            kernel.mtu
        ),
        DeviceSpec::Packet(_) => Ok(()),
    }
}

/// The kernel's side of a TAP.
fn address_kernel(kernel: &link::Link, address: Ipv4Addr, length: u8) -> Result<()> {
    let name = &kernel.name;
    link::add_address(kernel.index, address, length)
        .with_context(|| format!("can't give the kernel {address}/{length} on {name}"))?;
    link::set_up(kernel.index).with_context(|| format!("can't set {name} up"))
}

/// What the engine is told of a device.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Hardware {
    mac: MacAddr,
    mtu: u16,
    capabilities: Capabilities,
}

impl Hardware {
    /// Of a device that nobody opens.
    pub(crate) fn assumed(mac: MacAddr, mtu: u16, capabilities: Capabilities) -> Self {
        Self { mac, mtu, capabilities }
    }

    pub(crate) fn of(device: &Device) -> Self {
        Self {
            mac: device.mac(),
            mtu: u16::try_from(device.mtu()).unwrap_or(MAX_MTU),
            capabilities: device.capabilities(),
        }
    }
}

/// Where new interfaces are made.
pub(crate) struct Site<'a> {
    pub shard: &'a mut Shard,
    pub now: Instant,
    pub registry: &'a Registry,
}

impl Site<'_> {
    /// Makes the interface and attaches its device. `serial` names the device for events.
    pub(crate) fn make(
        &mut self,
        config: &InterfaceConfig,
        device: Option<Device>,
        serial: usize,
    ) -> Result<(InterfaceId, Option<Attachment>)> {
        let id = self.establish(config, device.as_ref().map(Hardware::of))?;
        let attachment = match (&config.link, device) {
            (LinkConfig::Device(spec), Some(device)) => {
                let mut attachment =
                    Attachment::new(self.registry, serial, spec.clone(), device, id)?;
                attachment.renew(self.shard)?;
                Some(attachment)
            }
            _ => None,
        };
        Ok((id, attachment))
    }

    /// Makes the interface in the engine, with all its configuration says; what it stands upon is
    /// there already.
    pub(crate) fn establish(
        &mut self,
        config: &InterfaceConfig,
        hardware: Option<Hardware>,
    ) -> Result<InterfaceId> {
        let id = self.add(config, hardware)?;
        // A VLAN begins in that of its link.
        if self.shard.interface(id).is_some_and(|station| station.zone != config.zone) {
            self.request(Request::SetZone { interface: id, zone: config.zone })?;
        }
        for member in config.link.members() {
            let member = self.named(member)?;
            self.request(Request::Enslave { member, master: id })?;
        }
        self.configure(id, config)?;
        self.request(Request::SetArpPolicy { interface: id, policy: config.arp })?;
        self.request(Request::SetRouting { interface: id, routing: config.routing })?;
        for prefix in &config.addresses {
            self.request(Request::AddAddress { interface: id, prefix: *prefix })?;
        }
        for (prefix, details) in &config.described {
            self.request(described(id, *prefix, details, self.now)?)?;
        }
        if config.source != AddressSource::Static {
            self.request(Request::SetAddressSource { interface: id, source: config.source })?;
        }
        Ok(id)
    }

    fn add(&mut self, config: &InterfaceConfig, hardware: Option<Hardware>) -> Result<InterfaceId> {
        let name = config.name.clone();
        let new = match &config.link {
            LinkConfig::Device(spec) => {
                let hardware = hardware.with_context(|| format!("{spec} is not open"))?;
                let Hardware { mac, mtu, capabilities } = hardware;
                let routing = Default::default();
                let settings = InterfaceSettings { name, mac, mtu, capabilities, routing };
                return self.interface(Request::AddInterface { settings });
            }
            LinkConfig::Vlan { lower, tag } => {
                NewLink::Vlan { lower: self.named(lower)?, tag: *tag }
            }
            // Its members come in a moment, the preferred one among them.
            LinkConfig::Bond { bond, .. } => {
                NewLink::Bond(self.bond_settings(&BondConfig { primary: None, ..bond.clone() })?)
            }
            LinkConfig::Bridge { settings, .. } => NewLink::Bridge(*settings),
            LinkConfig::Private { mac } => NewLink::Private { mac: *mac },
        };
        self.interface(Request::AddLink { name, link: new })
    }

    /// Sets what the configuration says of an interface that is there with its members.
    fn configure(&mut self, id: InterfaceId, config: &InterfaceConfig) -> Result<()> {
        let options = &config.options;
        let mut changes =
            vec![LinkChange::Group(options.group), LinkChange::Promiscuous(options.promiscuous)];
        changes.extend(options.mac.map(LinkChange::Mac));
        changes.extend(options.mtu.map(LinkChange::Mtu));
        for change in changes {
            self.request(Request::SetLink { interface: id, change })?;
        }
        if let LinkConfig::Bond { bond, .. } = &config.link {
            let settings = LinkSettings::Bond(self.bond_settings(bond)?);
            self.request(Request::ConfigureLink { interface: id, settings })?;
        }
        Ok(())
    }

    /// What a bridge is told of its ports.
    pub(crate) fn configure_port(&mut self, config: &InterfaceConfig) -> Result<()> {
        let port = self.named(&config.name)?;
        let master = self.shard.links().get(port).and_then(|link| link.master);
        let Some(bridge) = master.filter(|id| self.is_bridge(*id)) else { return Ok(()) };
        let bind = PortChange::Bind(config.options.bound.clone());
        let pins = config.options.stations.iter().map(|mac| PortChange::Pin(*mac));
        for change in [bind].into_iter().chain(pins) {
            let settings = LinkSettings::Port { port, change };
            self.request(Request::ConfigureLink { interface: bridge, settings })?;
        }
        Ok(())
    }

    /// The request that changes something of a bridge's port.
    pub(crate) fn port_request(&self, name: &str, change: PortChange) -> Result<Vec<Request>> {
        let port = self.named(name)?;
        let master = self.shard.links().get(port).and_then(|link| link.master);
        let interface = master.with_context(|| format!("\"{name}\" is no port of a bridge"))?;
        let settings = LinkSettings::Port { port, change };
        Ok(vec![Request::ConfigureLink { interface, settings }])
    }

    pub(crate) fn bond_settings(&self, bond: &BondConfig) -> Result<BondSettings> {
        Ok(BondSettings {
            mode: bond.mode,
            hash: bond.hash,
            primary: bond.primary.as_deref().map(|name| self.named(name)).transpose()?,
            lacp_fast: bond.lacp_fast,
            monitor: bond.monitor.clone(),
            min_links: bond.min_links,
            up_delay: bond.up_delay,
            down_delay: bond.down_delay,
        })
    }

    fn is_bridge(&self, id: InterfaceId) -> bool {
        self.shard.links().get(id).is_some_and(|link| link.bridge().is_some())
    }

    pub(crate) fn named(&self, name: &str) -> Result<InterfaceId> {
        let mut interfaces = self.shard.interfaces();
        let found = interfaces.find(|(_, interface)| interface.settings.name == name);
        found.map(|(id, _)| id).with_context(|| format!("no interface \"{name}\""))
    }

    fn interface(&mut self, request: Request) -> Result<InterfaceId> {
        match self.request(request)? {
            Reply::Interface(interface) => Ok(interface),
            _ => bail!("the engine gave the interface no number"),
        }
    }

    pub(crate) fn request(&mut self, request: Request) -> Result<Reply> {
        Ok(self.shard.request(self.now, Principal::default(), request)?)
    }
}

/// What the file says of an address, which lasts from now on.
pub(crate) fn described(
    interface: InterfaceId,
    prefix: Prefix,
    details: &AddressDetails,
    now: Instant,
) -> Result<Request> {
    let IpAddr::V4(address) = prefix.address() else { bail!("{} is not IPv4", prefix.address()) };
    let facts = facts(now, details).map_err(|why| anyhow::anyhow!("{address}: {why}"))?;
    Ok(Request::DescribeAddress { interface, address, facts })
}
