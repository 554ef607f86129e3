use super::*;
use crate::rig::Rig;
use anyhow::{Context, Result, ensure};
use narrows_device::{Device, DeviceSpec};
use narrows_stack::{
    InterfaceId,
    request::NewLink,
    table::{autoconf::AddressSource, bridge::BridgeSettings, interface::InterfaceSettings},
};
use narrows_testbed::{Namespace, as_root};
use std::{fs, net::UdpSocket};

/// A worker whose engine has something to do at a time that is in the future.
fn waiting() -> (Rig, Instant) {
    let mut rig = Rig::new();
    let worker = &mut rig.worker;
    let new =
        Request::AddLink { name: "br0".into(), link: NewLink::Bridge(BridgeSettings::default()) };
    let now = worker.clock.now();
    let reply = worker.shard.request(now, EnginePrincipal::default(), new);
    let Ok(Reply::Interface(interface)) = reply else { panic!("{reply:?}") };
    worker.request_quietly(Request::SetAddressSource { interface, source: AddressSource::Dhcp });
    let due = worker.shard.next_timeout().expect("a server is asked again");
    (rig, due)
}

#[test]
fn deadlines_wait_for_frames_but_not_for_ever() {
    let (mut rig, due) = waiting();
    for _ in 0..HELD_TURNS {
        rig.worker.expire(due, true);
        assert_eq!(rig.worker.shard.next_timeout(), Some(due));
    }
    rig.worker.expire(due, true);
    assert!(rig.worker.shard.next_timeout().is_some_and(|at| at > due));
}

#[test]
fn without_frames_what_is_due_is_done() {
    let (mut rig, due) = waiting();
    rig.worker.expire(due, true);
    rig.worker.expire(due, false);
    assert!(rig.worker.shard.next_timeout().is_some_and(|at| at > due));
}

/// A TAP of the kernel's in `namespace`, who knows our address on it, attached to the worker.
fn attach(rig: &mut Rig, namespace: &Namespace, number: u8) -> Result<InterfaceId> {
    let name = format!("tap{number}");
    let spec = DeviceSpec::Tap(name.clone());
    let device = namespace.run(|| Device::open(&spec))??;
    for words in [
        format!("address add 10.0.{number}.1/24 dev {name}"),
        format!("link set {name} up"),
        format!("neighbor replace 10.0.{number}.2 lladdr {} dev {name}", device.mac()),
    ] {
        let status = namespace.command("ip").args(words.split(' ')).status()?;
        ensure!(status.success(), "ip {words}");
    }
    let worker = &mut rig.worker;
    let settings = InterfaceSettings {
        name,
        mac: device.mac(),
        mtu: 1500,
        capabilities: device.capabilities(),
        routing: Default::default(),
    };
    let request = Request::AddInterface { settings };
    let reply = worker.shard.request(worker.clock.now(), EnginePrincipal::default(), request);
    let Ok(Reply::Interface(interface)) = reply else { anyhow::bail!("{reply:?}") };
    let serial = usize::from(number);
    worker.attachments.push(Attachment::new(&worker.registry, serial, spec, device, interface)?);
    Ok(interface)
}

#[test]
fn a_flooded_device_takes_nothing_from_the_turn_of_another() -> Result<()> {
    as_root(|| {
        let namespace = Namespace::new()?;
        // Else the kernel sends frames of its own. Where it has no IPv6 it has none to send.
        let _ = namespace.run(|| fs::write("/proc/sys/net/ipv6/conf/default/disable_ipv6", "1"))?;
        let mut rig = Rig::new();
        let (flooded, quiet) = (attach(&mut rig, &namespace, 1)?, attach(&mut rig, &namespace, 2)?);
        let received = |rig: &Rig, interface| -> Result<u64> {
            let link = rig.worker.shard.links().get(interface).context("no link")?;
            Ok(link.traffic.rx_packets)
        };
        namespace.run(|| -> Result<()> {
            let socket = UdpSocket::bind("0.0.0.0:0")?;
            for _ in 0..400 {
                socket.send_to(b"flood", "10.0.1.2:9")?;
            }
            socket.send_to(b"one", "10.0.2.2:9")?;
            Ok(())
        })??;
        rig.step();
        let got = (received(&rig, flooded)?, received(&rig, quiet)?);
        ensure!(got == (128, 1), "of 400 frames and 1: {got:?}");
        Ok(())
    })
}
