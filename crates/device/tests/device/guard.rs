//! The guard, on an interface where the kernel has addresses too.

use crate::common::{PATIENCE, Station, open, wait_readable};
use anyhow::{Context, Result, ensure};
use narrows_device::Guard;
use narrows_testbed::{Network, Process, as_root, ping};
use narrows_wire::{ethernet::EtherType, tcp::Flags};
use std::{
    env,
    io::{BufRead, BufReader},
    net::{Ipv4Addr, TcpStream},
    process::Stdio,
    thread,
    time::{Duration, Instant},
};

/// The kernel's, at the guarded end.
const OURS: Ipv4Addr = Network::KERNEL_ADDRESS_AT_NARROWS;

fn network() -> Result<Network> {
    let network = Network::new()?;
    network.address_narrows_end()?;
    Ok(network)
}

fn guard(network: &Network, addresses: &[Ipv4Addr]) -> Result<Guard> {
    Ok(network.narrows.run(|| Guard::new(Network::NARROWS_INTERFACE, addresses))??)
}

/// Does the kernel answer there, be it with a reset?
fn answers(network: &Network, address: Ipv4Addr) -> Result<bool> {
    answers_within(network, address, PATIENCE)
}

/// Does it not? (It asks for the MAC address once a second, so it must have asked after a change.)
fn is_silent(network: &Network, address: Ipv4Addr) -> Result<bool> {
    Ok(!answers_within(network, address, Duration::from_millis(300))?)
}

fn answers_within(network: &Network, address: Ipv4Addr, limit: Duration) -> Result<bool> {
    let result = network.kernel.run(|| TcpStream::connect_timeout(&(address, 9).into(), limit))?;
    let error = result.expect_err("nothing listens there");
    Ok(error.kind() == std::io::ErrorKind::ConnectionRefused)
}

#[test]
fn the_kernel_is_silent_while_there_is_a_guard() -> Result<()> {
    as_root(|| {
        let network = network()?;
        ensure!(answers(&network, OURS)?);
        let guarded = guard(&network, &[Network::NARROWS_ADDRESS, OURS])?;
        ensure!(is_silent(&network, OURS)?);
        ensure!(ping(&network.kernel, OURS, 1).is_err());
        drop(guarded);
        ensure!(answers(&network, OURS)?);
        Ok(())
    })
}

#[test]
fn the_kernel_keeps_its_own_addresses() -> Result<()> {
    as_root(|| {
        let network = network()?;
        let _guard = guard(&network, &[Network::NARROWS_ADDRESS])?;
        let _second = guard(&network, &[Ipv4Addr::new(10, 77, 0, 9)])?;
        ensure!(answers(&network, OURS)?);
        ensure!(ping(&network.kernel, OURS, 1)?.len() == 1);
        ensure!(ping(&network.narrows, Network::KERNEL_ADDRESS, 1)?.len() == 1);
        Ok(())
    })
}

#[test]
fn packet_sockets_see_what_the_kernel_does_not() -> Result<()> {
    as_root(|| {
        let network = network()?;
        let _guard = guard(&network, &[OURS])?;
        // Its own neighbor table is empty, so the kernel at the other end asks first.
        let mut device = open(&network.narrows, "packet:nw0")?;
        thread::scope(|scope| {
            let connect = scope.spawn(|| is_silent(&network, OURS));
            let deadline = Instant::now() + PATIENCE;
            let mut asked = false;
            while !asked && wait_readable(&device, deadline)? {
                device.receive(usize::MAX, |frame, _| {
                    let arp = EtherType::ARP.0.to_be_bytes();
                    asked |= frame.get(12..14) == Some(&arp) && frame.ends_with(&OURS.octets());
                })?;
            }
            ensure!(asked, "no ARP request was seen");
            ensure!(connect.join().expect("thread")?, "the kernel answered");
            Ok(())
        })
    })
}

#[test]
fn no_reset_disturbs_our_connections() -> Result<()> {
    as_root(|| {
        let network = network()?;
        let _guard = guard(&network, &[OURS])?;
        let mut station = Station { address: OURS, ..Station::on_wire(&network)? };
        thread::scope(|scope| {
            let connect = scope.spawn(|| {
                network.kernel.run(|| TcpStream::connect_timeout(&(OURS, 9).into(), PATIENCE))
            });
            let syn = station.next_tcp()?.header;
            ensure!(syn.flags == Flags::SYN.with(Flags::ECE).with(Flags::CWR) || syn.flags.syn());
            let mut answer = crate::common::tcp_header(
                syn.source_port,
                Flags::SYN.with(Flags::ACK),
                1,
                syn.sequence.wrapping_add(1),
            );
            answer.source_port = 9;
            station.send_tcp(answer, [&[], &[]], None)?;
            ensure!(station.next_tcp()?.header.flags == Flags::ACK);
            let _stream = connect.join().expect("thread")??;
            Ok(())
        })
    })
}

/// Of the process that guards, which is this test's program once more.
const HELPER: &str = "NARROWS_TEST_GUARDS";

#[test]
fn the_guard_goes_with_its_process() -> Result<()> {
    if env::var_os(HELPER).is_some() {
        let _guard = Guard::new(Network::NARROWS_INTERFACE, &[OURS])?;
        println!("guarding");
        loop {
            thread::park();
        }
    }
    as_root(|| {
        let network = network()?;
        let mut helper = network.narrows.command(env::current_exe()?);
        helper.args(["guard::the_guard_goes_with_its_process", "--exact", "--nocapture"]);
        let mut helper = Process::spawn(helper.env(HELPER, "1").stdout(Stdio::piped()))?;
        let mut lines = BufReader::new(helper.stdout().context("stdout")?).lines();
        while !lines.next().context("the helper ended")??.ends_with("guarding") {}
        ensure!(is_silent(&network, OURS)?);
        helper.kill()?;
        ensure!(answers(&network, OURS)?);
        Ok(())
    })
}
