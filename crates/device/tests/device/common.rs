//! A host of few words on a device, with a kernel at the other end.

use anyhow::{Context, Result, bail, ensure};
use narrows_device::{Device, DeviceSpec, TapDevice, link};
use narrows_testbed::{Namespace, Network};
use narrows_wire::{
    address::MacAddr,
    arp,
    checksum::Sum,
    ethernet::{self, EtherType},
    ipv4,
    offload::{PartialChecksum, RxOffload, Segmentation, TxOffload},
    tcp::{self, Flags},
    tcp_options::Options,
};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::{
    fs::File,
    net::Ipv4Addr,
    time::{Duration, Instant},
};

pub const PATIENCE: Duration = Duration::from_secs(5);

/// All headers of a TCP segment without options.
pub const HEADERS: usize = ethernet::HEADER_LEN + ipv4::HEADER_LEN + tcp::HEADER_LEN;

/// A device, an address there, and the kernel that it talks to.
pub struct Station {
    pub device: Device,
    pub address: Ipv4Addr,
    pub kernel_mac: MacAddr,
    pub kernel_address: Ipv4Addr,
}

/// A TCP segment as it came.
#[derive(Debug)]
pub struct Segment {
    pub header: tcp::Header,
    pub payload: Vec<u8>,
    pub offload: RxOffload,
}

impl Station {
    /// On Narrows' end of the network's wire.
    pub fn on_wire(network: &Network) -> Result<Self> {
        let device = open(&network.narrows, &format!("packet:{}", Network::NARROWS_INTERFACE))?;
        let end = network.kernel.run(|| link::find(Network::KERNEL_INTERFACE))??;
        Ok(Self {
            device,
            address: Network::NARROWS_ADDRESS,
            kernel_mac: end.and_then(|link| link.mac).context("the kernel's end")?,
            kernel_address: Network::KERNEL_ADDRESS,
        })
    }

    /// On a TAP interface in the namespace, whose kernel gets an address there.
    pub fn on_tap(namespace: &Namespace) -> Result<Self> {
        const KERNEL_ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 111, 0, 1);
        namespace.run(|| {
            let device = TapDevice::open("narrows0")?;
            link::add_address(device.index(), KERNEL_ADDRESS, 24)?;
            // A second time is no mistake.
            link::add_address(device.index(), KERNEL_ADDRESS, 24)?;
            let link = link::find("narrows0")?.context("no interface")?;
            ensure!(link.addresses == [(KERNEL_ADDRESS, 24)] && link.up);
            let kernel_mac = link.mac.context("no MAC address")?;
            ensure!(device.mac().is_unicast() && device.mac() != kernel_mac);
            let address = Ipv4Addr::new(10, 111, 0, 2);
            let device = Device::Tap(device);
            Ok(Self { device, address, kernel_mac, kernel_address: KERNEL_ADDRESS })
        })?
    }

    /// Sends a TCP segment to the kernel, its checksum left to the device; cut into segments of
    /// `segment_size` if that is given.
    pub fn send_tcp(
        &mut self,
        header: tcp::Header,
        payload: [&[u8]; 2],
        segment_size: Option<u16>,
    ) -> Result<()> {
        let payload_len = payload[0].len() + payload[1].len();
        let tcp_len = (tcp::HEADER_LEN + payload_len) as u16;
        let (source, destination) = (self.address, self.kernel_address);
        let partial =
            Sum::pseudo_header(source, destination, ipv4::Protocol::TCP.0, tcp_len).fold();
        let mut transport = [0; tcp::MAX_HEADER_LEN];
        let length = header.emit(&Options::default(), partial, &mut transport);
        let offload = TxOffload {
            checksum: Some(PartialChecksum {
                start: (ethernet::HEADER_LEN + ipv4::HEADER_LEN) as u16,
                offset: tcp::CHECKSUM_OFFSET as u16,
            }),
            segmentation: segment_size.map(|segment_size| Segmentation {
                kind: Default::default(),
                segment_size,
                header_len: HEADERS as u16,
            }),
        };
        let mut headers = self.headers(tcp_len.into())?;
        headers.extend(&transport[..length]);
        ensure!(self.device.has_room());
        self.device.send(offload, &headers, payload);
        Ok(self.device.flush()?)
    }

    /// Ethernet and IPv4 headers for TCP to the kernel.
    pub fn headers(&self, ip_payload_len: usize) -> Result<Vec<u8>> {
        let mut ethernet = [0; ethernet::HEADER_LEN];
        ethernet::Header {
            destination: self.kernel_mac,
            source: self.device.mac(),
            ether_type: EtherType::IPV4,
        }
        .emit(&mut ethernet);
        let mut ip = [0; ipv4::HEADER_LEN];
        ipv4::Header {
            tos: 0,
            identification: 1,
            dont_fragment: true,
            more_fragments: false,
            fragment_offset: 0,
            ttl: 64,
            protocol: ipv4::Protocol::TCP,
            source: self.address,
            destination: self.kernel_address,
        }
        .emit(ip_payload_len, &mut ip)
        .context("too long")?;
        Ok([&ethernet[..], &ip].concat())
    }

    /// The next TCP segment from the kernel to this station. Answers ARP meanwhile.
    pub fn next_tcp(&mut self) -> Result<Segment> {
        let (mac, address) = (self.device.mac(), self.address);
        let deadline = Instant::now() + PATIENCE;
        loop {
            let mut found = None;
            let mut questions = Vec::new();
            let mut segments = 0;
            self.device.receive(1, |frame, offload| match ethernet::Header::parse(frame) {
                Ok((header, body)) if header.ether_type == EtherType::ARP => {
                    questions.extend(arp::Packet::parse(body).ok());
                }
                Ok((header, body)) if header.destination == mac => {
                    let segment = parse_tcp(address, body, offload);
                    segments += usize::from(segment.is_some());
                    found = segment;
                }
                _ => {}
            })?;
            for question in questions {
                self.answer_arp(&question)?;
            }
            if let Some(segment) = found {
                return Ok(segment);
            }
            if !wait_readable(&self.device, deadline)? {
                bail!("the kernel sent no segment");
            }
        }
    }

    fn answer_arp(&mut self, question: &arp::Packet) -> Result<()> {
        if question.target_ip != self.address || question.operation != arp::Operation::Request {
            return Ok(());
        }
        let mut frame = [0; ethernet::HEADER_LEN + arp::LEN];
        let (head, body) = frame.split_first_chunk_mut().context("no room")?;
        ethernet::Header {
            destination: question.sender_mac,
            source: self.device.mac(),
            ether_type: EtherType::ARP,
        }
        .emit(head);
        arp::Packet {
            operation: arp::Operation::Reply,
            sender_mac: self.device.mac(),
            sender_ip: self.address,
            target_mac: question.sender_mac,
            target_ip: question.sender_ip,
        }
        .emit(body.try_into()?);
        self.device.send(TxOffload::default(), &frame, [&[], &[]]);
        Ok(self.device.flush()?)
    }
}

/// May this process have TAP interfaces? Ordinary users may not everywhere.
pub fn tap_is_permitted() -> bool {
    File::options().read(true).write(true).open("/dev/net/tun").is_ok()
}

pub fn open(namespace: &Namespace, spec: &str) -> Result<Device> {
    namespace.run(|| Device::open(&DeviceSpec::parse(spec)?).map_err(anyhow::Error::from))?
}

/// Waits until frames are there; `false` if none come in time.
pub fn wait_readable(device: &Device, deadline: Instant) -> Result<bool> {
    let left = deadline.saturating_duration_since(Instant::now());
    let descriptor = device.descriptor();
    let mut descriptors = [PollFd::new(&descriptor, PollFlags::IN)];
    Ok(poll(&mut descriptors, Some(&Timespec::try_from(left)?))? > 0)
}

fn parse_tcp(address: Ipv4Addr, body: &[u8], offload: RxOffload) -> Option<Segment> {
    let packet = ipv4::Packet::parse(body).ok()?;
    if packet.header.destination != address || packet.header.protocol != ipv4::Protocol::TCP {
        return None;
    }
    let segment = tcp::Segment::parse(packet.payload).ok()?;
    Some(Segment { header: segment.header, payload: segment.payload.to_vec(), offload })
}

/// A segment's header, from port 4000.
pub fn tcp_header(port: u16, flags: Flags, sequence: u32, acknowledgment: u32) -> tcp::Header {
    tcp::Header {
        source_port: 4000,
        destination_port: port,
        sequence,
        acknowledgment,
        flags,
        window: u16::MAX,
        urgent: 0,
    }
}
