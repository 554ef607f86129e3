//! What is particular to packet sockets.

use crate::common::{
    HEADERS, PATIENCE, Station, open, tap_is_permitted, tcp_header, wait_readable,
};
use anyhow::{Context, Result, ensure};
use narrows_device::{
    Device, Wanted,
    link::{self, Link},
};
use narrows_sys::tun;
use narrows_testbed::{Namespace, Network, as_root};
use narrows_wire::{
    address::MacAddr,
    checksum::Sum,
    ethernet::{self, EtherType},
    ipv4,
    offload::TxOffload,
    tcp::{self, Flags},
    vlan::VlanId,
};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::{net::Ipv4Addr, os::fd::OwnedFd, time::Instant};

/// An EtherType for experiments (IEEE 802), so that kernels leave the frames alone.
const EXPERIMENT: [u8; 2] = [0x88, 0xb5];

/// A broadcast frame, but for its payload.
fn head(device: &Device, ether_type: &[u8]) -> Vec<u8> {
    [&MacAddr::BROADCAST.0[..], &device.mac().0, ether_type].concat()
}

/// The payloads of the experimental frames that come, until there are `count`.
fn receive_experiments(device: &mut Device, count: usize) -> Result<Vec<Vec<u8>>> {
    let mut payloads = Vec::new();
    let deadline = Instant::now() + PATIENCE;
    while payloads.len() < count && wait_readable(device, deadline)? {
        device.receive(usize::MAX, |frame, _| {
            if frame.get(12..14) == Some(&EXPERIMENT) {
                payloads.push(frame[ethernet::HEADER_LEN..].to_vec());
            }
        })?;
    }
    Ok(payloads)
}

fn both_ends(network: &Network) -> Result<[Device; 2]> {
    Ok([open(&network.narrows, "packet:nw0")?, open(&network.kernel, "packet:peer0")?])
}

#[test]
fn frames_keep_their_order_whatever_their_size() -> Result<()> {
    as_root(|| {
        let network = Network::new()?;
        let [mut near, mut far] = both_ends(&network)?;
        let header = head(&near, &EXPERIMENT);
        let mtu = near.mtu() as usize;
        let sent: Vec<Vec<u8>> = (0..150_u8)
            .map(|number| {
                vec![number; if number % 7 == 3 { mtu } else { 50 + usize::from(number) }]
            })
            .collect();
        for payload in &sent {
            let (left, right) = payload.split_at(payload.len() / 3);
            near.send(TxOffload::default(), &header, [left, right]);
        }
        near.flush()?;
        ensure!(near.has_room() && near.retry_after().is_none());
        ensure!(receive_experiments(&mut far, sent.len())? == sent);
        Ok(())
    })
}

#[test]
fn large_frames_go_after_the_small_ones_before_them() -> Result<()> {
    as_root(|| {
        let network = Network::new()?;
        let mut station = Station::on_wire(&network)?;
        let mut far = open(&network.kernel, "packet:peer0")?;
        let small = head(&station.device, &EXPERIMENT);
        for number in 0..3 {
            station.device.send(TxOffload::default(), &small, [&[number; 100], &[]]);
            let header = tcp_header(9, Flags::PSH, u32::from(number), 0);
            station.send_tcp(header, [&[0; 30_000], &[0; 20_000]], Some(1000))?;
        }
        let mut lengths = Vec::new();
        let deadline = Instant::now() + PATIENCE;
        while lengths.len() < 6 && wait_readable(&far, deadline)? {
            far.receive(usize::MAX, |frame, offload| {
                // The kernel at the near end has its own to say meanwhile, about IPv6.
                let ether_type = &frame[12..14];
                if ether_type == EXPERIMENT || ether_type == EtherType::IPV4.0.to_be_bytes() {
                    lengths.push((frame.len(), offload.segment_size));
                }
            })?;
        }
        let pair = [(114, None), (HEADERS + 50_000, Some(1000))];
        ensure!(lengths == [pair, pair, pair].concat(), "{lengths:?}");
        Ok(())
    })
}

#[test]
fn neither_own_nor_tagged_frames_are_received() -> Result<()> {
    as_root(|| {
        let network = Network::new()?;
        let [mut near, mut far] = both_ends(&network)?;
        let tag = [&[0x81, 0x00, 0x00, 0x05], &EXPERIMENT[..]].concat();
        let (own, tagged) = (head(&near, &EXPERIMENT), head(&far, &tag));
        let plain = head(&far, &EXPERIMENT);
        near.send(TxOffload::default(), &own, [&[1; 50], &[]]);
        near.flush()?;
        far.send(TxOffload::default(), &tagged, [&[2; 50], &[]]);
        far.send(TxOffload::default(), &plain, [&[3; 50], &[]]);
        far.flush()?;
        ensure!(receive_experiments(&mut near, 1)? == [[3; 50]]);
        Ok(())
    })
}

#[test]
fn frames_of_wanted_vlans_are_received_with_their_tags() -> Result<()> {
    as_root(|| {
        let network = Network::new()?;
        let [mut near, mut far] = both_ends(&network)?;
        let plain = Wanted { addresses: Some(Vec::new()), ..Wanted::default() };
        let some = Wanted { vlans: VlanId::new(5).into_iter().collect(), ..plain.clone() };
        let all = Wanted { everything: true, ..plain.clone() };
        // 5; 6; a provider's 5; 5 with a priority; a priority alone, which the kernel takes off.
        let tags: [&[u8]; 6] = [
            &[],
            &[0x81, 0, 0, 5],
            &[0x81, 0, 0, 6],
            &[0x88, 0xa8, 0, 5, 0x81, 0, 0, 6],
            &[0x81, 0, 0xe0, 5],
            &[0x81, 0, 0xe0, 0],
        ];
        for (wanted, received) in [
            (plain.clone(), &[0, 5][..]),
            (some, &[0, 1, 3, 4, 5]),
            (all, &[0, 1, 2, 3, 4, 5]),
            (plain, &[0, 5]),
        ] {
            near.want(&wanted)?;
            let frames: Vec<_> = tags
                .iter()
                .zip(0..)
                .map(|(tag, number)| {
                    let mut frame = head(&far, &[tag, &EXPERIMENT[..]].concat());
                    frame.extend([number; 50]);
                    frame
                })
                .collect();
            for frame in &frames {
                far.send(TxOffload::default(), frame, [&[], &[]]);
            }
            far.flush()?;
            let mut came = Vec::new();
            let deadline = Instant::now() + PATIENCE;
            while came.len() < received.len() && wait_readable(&near, deadline)? {
                near.receive(usize::MAX, |frame, _| {
                    let number = frame.last().map(|number| usize::from(*number));
                    came.extend(number.filter(|at| {
                        frames.get(*at).is_some_and(|sent| {
                            let untagged = [&sent[..12], &sent[sent.len() - 52..]].concat();
                            let priority = *at == 5 && frame == untagged;
                            sent.as_slice() == frame || priority
                        })
                    }));
                })?;
            }
            ensure!(came == received, "{wanted:?}: {came:?}");
        }
        Ok(())
    })
}

#[test]
fn what_is_for_the_kernel_need_not_be_received() -> Result<()> {
    as_root(|| {
        let network = Network::new()?;
        let [mut near, mut far] = both_ends(&network)?;
        let ours = [Network::NARROWS_ADDRESS, Ipv4Addr::new(10, 77, 0, 9)];
        let kernels = Network::KERNEL_ADDRESS_AT_NARROWS;
        let (near_mac, group) = (near.mac(), MacAddr([1, 0, 0x5e, 0, 0, 1]));
        let cases = [
            (near_mac, EtherType::IPV4, ours[0], true),
            (near_mac, EtherType::IPV4, ours[1], true),
            (near_mac, EtherType::IPV4, kernels, false),
            (MacAddr::BROADCAST, EtherType::IPV4, kernels, true),
            (group, EtherType::IPV4, kernels, true),
            (near_mac, EtherType::ARP, kernels, true),
            (near_mac, EtherType(0x88b5), kernels, true),
        ];
        near.want(&Wanted { addresses: Some(ours.to_vec()), ..Wanted::default() })?;
        let mark = 0xa5;
        let mut expected = Vec::new();
        for (destination, ether_type, address, taken) in cases {
            // Not a packet that anyone would answer: IPv4 of version 10.
            let mut frame = [mark; 60];
            let (header, body) = frame.split_first_chunk_mut().context("no room")?;
            ethernet::Header { destination, source: far.mac(), ether_type }.emit(header);
            body[16..20].copy_from_slice(&address.octets());
            far.send(TxOffload::default(), &frame, [&[], &[]]);
            expected.extend(taken.then_some(frame));
        }
        far.flush()?;
        let mut received = Vec::new();
        let deadline = Instant::now() + PATIENCE;
        while received.len() < expected.len() && wait_readable(&near, deadline)? {
            near.receive(usize::MAX, |frame, _| {
                received.extend(<[u8; 60]>::try_from(frame).ok().filter(|frame| frame[59] == mark));
            })?;
        }
        ensure!(received == expected);
        Ok(())
    })
}

#[test]
fn what_overflows_is_counted() -> Result<()> {
    as_root(|| {
        let network = Network::new()?;
        let [mut near, mut far] = both_ends(&network)?;
        let header = head(&near, &EXPERIMENT);
        // More than any receive buffer takes: a frame costs its memory, not its length.
        let count = 100_000;
        for _ in 0..count {
            while !near.has_room() {
                near.flush()?;
            }
            near.send(TxOffload::default(), &header, [&[0; 50], &[]]);
        }
        near.flush()?;
        let mut received = 0;
        while far.receive(usize::MAX, |frame, _| {
            received += u64::from(frame.get(12..14) == Some(&EXPERIMENT));
        })? != Default::default()
        {}
        let lost = far.statistics().receive_overflow;
        ensure!(lost > 0 && far.statistics().receive_overflow == lost);
        ensure!(received > 0 && received < count, "received {received}, lost {lost}");
        Ok(())
    })
}

fn remove(name: &str) -> Result<()> {
    let index = link::find(name)?.context("no interface")?.index;
    tokio::runtime::Builder::new_current_thread().enable_io().build()?.block_on(async {
        let (connection, handle, _) = rtnetlink::new_connection()?;
        tokio::spawn(connection);
        Ok(handle.link().del(index).execute().await?)
    })
}

#[test]
fn an_interface_that_was_removed_is_an_error() -> Result<()> {
    as_root(|| {
        let network = Network::new()?;
        let [mut near, _far] = both_ends(&network)?;
        network.narrows.run(|| remove(Network::NARROWS_INTERFACE))??;
        let deadline = Instant::now() + PATIENCE;
        let error = loop {
            ensure!(wait_readable(&near, deadline)?, "no sign of the interface's end");
            if let Err(error) = near.receive(usize::MAX, |_, _| ()) {
                break error;
            }
        };
        ensure!(error.raw_os_error() == Some(rustix::io::Errno::NODEV.raw_os_error()), "{error}");
        let header = head(&near, &EXPERIMENT);
        near.send(TxOffload::default(), &header, [&[0; 50], &[]]);
        ensure!(near.flush().is_err() && near.flush().is_ok(), "it is told once");
        ensure!(near.statistics().send_refused == 1);
        Ok(())
    })
}

/// A TAP interface that takes no offloads, and its other end. `None` where TAP is not permitted.
fn plain_tap(namespace: &Namespace) -> Result<Option<(OwnedFd, Link)>> {
    if !tap_is_permitted() {
        return Ok(None);
    }
    namespace.run(|| {
        let tap = tun::make_tap(tun::open_node()?, "plain0")?;
        Ok(Some((tap, link::find("plain0")?.context("plain0")?)))
    })?
}

#[test]
fn an_interface_that_is_down_loses_frames_until_it_is_up() -> Result<()> {
    as_root(|| {
        let namespace = Namespace::new()?;
        let Some((_tap, link)) = plain_tap(&namespace)? else { return Ok(()) };
        let mut device = open(&namespace, "packet:plain0")?;
        let header = head(&device, &EXPERIMENT);
        for (up, refused) in [(false, 1), (true, 1)] {
            if up {
                namespace.run(|| link::set_up(link.index))??;
            }
            device.send(TxOffload::default(), &header, [&[0; 50], &[]]);
            device.flush()?;
            ensure!(device.statistics().send_refused == refused);
            device.receive(usize::MAX, |_, _| ())?;
        }
        Ok(())
    })
}

/// For a frame that asks for what the interface can't do the kernel does the work on the way, and
/// what comes out can be checked.
#[test]
fn where_the_interface_takes_no_offloads_the_kernel_does_the_work() -> Result<()> {
    as_root(|| {
        let namespace = Namespace::new()?;
        let Some((tap, link)) = plain_tap(&namespace)? else { return Ok(()) };
        namespace.run(|| link::set_up(link.index))??;
        let device = open(&namespace, "packet:plain0")?;
        let mut station = Station {
            device,
            address: Network::NARROWS_ADDRESS,
            kernel_mac: MacAddr([2, 0, 0, 0, 0, 1]),
            kernel_address: Network::KERNEL_ADDRESS,
        };
        let data: Vec<u8> = (0..50_000_u32).map(|index| ((index * 31) >> 3) as u8).collect();
        station.send_tcp(
            tcp_header(9, Flags::ACK, 7, 8),
            [&data[..123], &data[123..]],
            Some(1460),
        )?;
        let mut received: Vec<u8> = Vec::new();
        let deadline = Instant::now() + PATIENCE;
        while received.len() < data.len() {
            let left = deadline.saturating_duration_since(Instant::now());
            let mut descriptors = [PollFd::new(&tap, PollFlags::IN)];
            ensure!(poll(&mut descriptors, Some(&Timespec::try_from(left)?))? > 0, "timeout");
            let mut buffer = vec![0; 2000];
            let length = rustix::io::read(&tap, &mut buffer[..])?;
            let (vnet_header, frame) = buffer[..length].split_at(10);
            let Ok(packet) = ipv4::Packet::parse(&frame[ethernet::HEADER_LEN..]) else { continue };
            if packet.header.destination != station.kernel_address {
                continue;
            }
            ensure!(vnet_header.iter().all(|&byte| byte == 0), "offloads: {vnet_header:?}");
            let (source, destination) = (packet.header.source, packet.header.destination);
            let tcp_len = packet.payload.len() as u16;
            let pseudo = Sum::pseudo_header(source, destination, ipv4::Protocol::TCP.0, tcp_len);
            ensure!(pseudo.add(Sum::of(packet.payload)).finish() == 0, "checksum");
            let segment = tcp::Segment::parse(packet.payload)?;
            ensure!(segment.header.sequence as usize == 7 + received.len());
            ensure!(segment.payload.len() == 1460.min(data.len() - received.len()));
            received.extend(segment.payload);
        }
        ensure!(received == data);
        Ok(())
    })
}
