//! What a user reads when a device can't be opened.

use crate::common::tap_is_permitted;
use anyhow::{Context, Result, ensure};
use narrows_device::{Device, DeviceSpec, Guard};
use narrows_testbed::{Network, as_root};
use rustix::thread::{CapabilitySet, capabilities, set_capabilities};

fn message(spec: &str) -> Result<String> {
    let spec = DeviceSpec::parse(spec)?;
    Ok(Device::open(&spec).err().context("it opened")?.to_string())
}

#[test]
fn a_missing_interface_is_named_and_so_are_those_present() -> Result<()> {
    as_root(|| {
        let network = Network::new()?;
        let (packet, guard) = network.narrows.run(|| {
            (message("packet:eth9"), Guard::new("eth9", &[]).err().map(|error| error.to_string()))
        })?;
        let expected = "no interface eth9; there are: lo, nw0";
        ensure!(packet? == expected);
        ensure!(guard.as_deref() == Some(expected));
        Ok(())
    })
}

#[test]
fn an_interface_without_ethernet_is_refused() -> Result<()> {
    as_root(|| {
        let network = Network::new()?;
        let error = network.narrows.run(|| message("packet:lo"))??;
        ensure!(error == "interface lo is not Ethernet", "{error}");
        Ok(())
    })
}

#[test]
fn a_tap_of_another_kind_or_owner_is_refused() -> Result<()> {
    as_root(|| {
        let network = Network::new()?;
        network.narrows.run(|| {
            let tap = DeviceSpec::Tap("tap0".into());
            let Ok(_tap) = Device::open(&tap) else {
                // No permission; the other test reads that message.
                return Ok(());
            };
            for name in ["tap0", "nw0"] {
                let error = message(&format!("tap:{name}"))?;
                ensure!(error.contains(&format!("interface {name} is in use")), "{error}");
            }
            Ok(())
        })?
    })
}

#[test]
fn a_missing_permission_is_named() -> Result<()> {
    as_root(|| {
        let network = Network::new()?;
        network.narrows.run(|| {
            // Of this thread alone.
            let mut sets = capabilities(None)?;
            sets.effective = CapabilitySet::empty();
            set_capabilities(None, sets)?;
            let error = message("packet:nw0")?;
            ensure!(
                error.starts_with("opening a packet socket on nw0 needs CAP_NET_RAW"),
                "{error}"
            );
            let error = message("tap:tap0")?;
            let expected = if tap_is_permitted() {
                "opening the TAP interface tap0 needs CAP_NET_ADMIN"
            } else {
                "opening /dev/net/tun: Permission denied"
            };
            ensure!(error.starts_with(expected), "{error}");
            let guard = Guard::new("nw0", &[]).err().context("it guards")?.to_string();
            ensure!(guard.contains("needs CAP_NET_ADMIN"), "{guard}");
            Ok(())
        })?
    })
}
