//! Each kind of device against the kernel's own TCP.

use crate::common::{PATIENCE, Station, tap_is_permitted, tcp_header};
use anyhow::{Context, Result, ensure};
use narrows_device::{Device, DeviceSpec};
use narrows_testbed::{Namespace, Network, as_root};
use narrows_wire::{
    offload::{RxChecksum, RxOffload},
    tcp::Flags,
};
use std::{io::Write, net::TcpStream};

const SEQUENCE: u32 = 0xffff_f000;
const CLOSED_PORT: u16 = 9;

/// Runs a test on every kind of device. The kernel of the namespace is the one at the other end.
fn on_every_device(test: impl Fn(&mut Station, &Namespace) -> Result<()>) -> Result<()> {
    let network = Network::new()?;
    test(&mut Station::on_wire(&network)?, &network.kernel).context("packet")?;
    if !tap_is_permitted() {
        // There is a plain error instead of a device.
        let spec = DeviceSpec::Tap("narrows0".into());
        let error = network.narrows.run(|| Device::open(&spec).err())?.context("opened")?;
        ensure!(error.to_string().contains("/dev/net/tun"), "{error}");
        return Ok(());
    }
    test(&mut Station::on_tap(&network.narrows)?, &network.narrows).context("tap")
}

#[test]
fn the_kernel_takes_a_checksum_that_the_device_completes() -> Result<()> {
    as_root(|| {
        on_every_device(|station, _| {
            station.send_tcp(tcp_header(CLOSED_PORT, Flags::SYN, SEQUENCE, 0), [&[], &[]], None)?;
            let answer = station.next_tcp()?;
            ensure!(answer.header.flags == Flags::RST.with(Flags::ACK), "{answer:?}");
            ensure!(answer.header.acknowledgment == SEQUENCE + 1, "{answer:?}");
            Ok(())
        })
    })
}

#[test]
fn the_kernel_takes_64_kib_as_one_segment() -> Result<()> {
    as_root(|| {
        on_every_device(|station, _| {
            // A segment for no connection is answered with a reset that acknowledges its length
            // (RFC 9293 §3.10.7.1), so that says how much the kernel took as one.
            let longest = station.device.capabilities().tx_segmentation.context("segmentation")?;
            ensure!(longest > 65_500);
            let longest = longest as usize - 40;
            for lengths in [[longest, 0], [0, longest], [1, longest - 1], [20_000, 30_000]] {
                let parts = lengths.map(|length| vec![0x5a; length]);
                let header = tcp_header(CLOSED_PORT, Flags::PSH, SEQUENCE, 0);
                station.send_tcp(header, [&parts[0], &parts[1]], Some(1460))?;
                let answer = station.next_tcp()?;
                let length = lengths[0] + lengths[1];
                let acknowledged = answer.header.acknowledgment.wrapping_sub(SEQUENCE);
                ensure!(acknowledged as usize == length, "{answer:?}");
            }
            Ok(())
        })
    })
}

#[test]
fn the_kernels_own_segments_arrive_large_and_whole() -> Result<()> {
    as_root(|| {
        on_every_device(|station, kernel| {
            let data: Vec<u8> = (0..100_000_u32).map(|index| ((index * 31) >> 3) as u8).collect();
            let address = (station.address, 4000);
            std::thread::scope(|scope| {
                let sender = scope.spawn(|| kernel.run(|| send_to(address, &data)));
                let received = accept_and_receive(station, data.len())?;
                ensure!(received == data);
                sender.join().expect("sender")??;
                Ok(())
            })
        })
    })
}

fn send_to(address: (std::net::Ipv4Addr, u16), data: &[u8]) -> Result<()> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_write_timeout(Some(PATIENCE))?;
    Ok(stream.write_all(data)?)
}

/// The least that is TCP's receiving side where nothing is lost.
fn accept_and_receive(station: &mut Station, length: usize) -> Result<Vec<u8>> {
    let syn = station.next_tcp()?;
    ensure!(syn.header.flags.syn(), "{syn:?}");
    let port = syn.header.source_port;
    let mut expected = syn.header.sequence.wrapping_add(1);
    let flags = Flags::SYN.with(Flags::ACK);
    station.send_tcp(tcp_header(port, flags, SEQUENCE, expected), [&[], &[]], None)?;
    let mut received = Vec::new();
    let mut largest = 0;
    while received.len() < length {
        let segment = station.next_tcp()?;
        ensure!(segment.offload.checksum == RxChecksum::Partial, "{:?}", segment.offload);
        if segment.payload.is_empty() || segment.header.sequence != expected {
            continue;
        }
        if segment.payload.len() > 1460 {
            let RxOffload { segment_size, .. } = segment.offload;
            ensure!(segment_size.is_some_and(|size| size <= 1460), "{segment_size:?}");
        }
        largest = largest.max(segment.payload.len());
        expected = expected.wrapping_add(segment.payload.len() as u32);
        received.extend(segment.payload);
        let header = tcp_header(port, Flags::ACK, SEQUENCE + 1, expected);
        station.send_tcp(header, [&[], &[]], None)?;
    }
    ensure!(largest > 1460, "no segment was larger than {largest}");
    Ok(received)
}
