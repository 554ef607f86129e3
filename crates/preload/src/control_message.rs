//! Control messages of datagrams: `struct cmsghdr` and what follows it (cmsg(3)).

use crate::{packet::option, sockaddr};
use libc::{c_int, cmsghdr, in_addr, in_pktinfo, sock_extended_err};
use narrows_client::{
    QueuedError,
    ipc::{
        datagram::{Attached, Header},
        packet,
    },
};
use narrows_wire::ipv4::{self, RawOption};
use rustix::io::Errno;
use std::{
    mem::offset_of,
    net::{IpAddr, Ipv4Addr},
};

/// `sizeof(struct cmsghdr)`: length, level, type.
const HEADER: usize = size_of::<cmsghdr>();
/// From linux/if_packet.h.
const SOL_PACKET: c_int = 263;
const PACKET_AUXDATA: c_int = 8;
/// Messages begin at multiples of this.
const ALIGN: usize = size_of::<usize>();

/// Control messages on their way to a program: those for which there is room, and whether there
/// was room for all.
#[derive(Debug, Default)]
pub struct Messages {
    bytes: Vec<u8>,
}

impl Messages {
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    fn push(&mut self, level: c_int, kind: c_int, data: &[u8]) {
        self.bytes.resize(self.bytes.len().next_multiple_of(ALIGN), 0);
        self.bytes.extend((HEADER + data.len()).to_ne_bytes());
        self.bytes.extend(level.to_ne_bytes());
        self.bytes.extend(kind.to_ne_bytes());
        self.bytes.extend(data);
    }

    fn push_number(&mut self, level: c_int, kind: c_int, number: c_int) {
        self.push(level, kind, &number.to_ne_bytes());
    }

    /// When something came, in nanoseconds since 1970, if that was asked for.
    fn push_time(&mut self, attached: Attached, time: u64) {
        let seconds = (time / 1_000_000_000) as libc::time_t;
        let nanos = (time % 1_000_000_000) as libc::c_long;
        if attached.contains(Attached::TIMESTAMP_NS) {
            let time = [seconds.to_ne_bytes(), nanos.to_ne_bytes()].concat();
            self.push(libc::SOL_SOCKET, libc::SCM_TIMESTAMPNS, &time);
        } else if attached.contains(Attached::TIMESTAMP) {
            let time = [seconds.to_ne_bytes(), (nanos / 1000).to_ne_bytes()].concat();
            self.push(libc::SOL_SOCKET, libc::SCM_TIMESTAMP, &time);
        }
    }

    /// What a program asked to be told with a frame.
    pub fn of_frame(header: &packet::Header, auxiliary: &[u8], tapped: Option<&[u8]>) -> Self {
        let mut messages = Self::default();
        messages.push_time(header.attached, header.seen);
        if header.attached.contains(Attached::AUXILIARY) {
            messages.push(SOL_PACKET, PACKET_AUXDATA, auxiliary);
        }
        if let Some(tapped) = tapped {
            messages.push(option::SOL_NARROWS, option::TAP, tapped);
        }
        messages
    }

    /// What a program asked to be told with a datagram, in Linux's order.
    pub fn of_datagram(header: &Header) -> Self {
        let mut messages = Self::default();
        let has = |field| header.attached.contains(field);
        messages.push_time(header.attached, header.received);
        if header.segment_size > 0 && has(Attached::SEGMENT_SIZE) {
            messages.push_number(libc::SOL_UDP, libc::UDP_GRO, header.segment_size.into());
        }
        if has(Attached::PACKET_INFO) {
            messages.push(libc::IPPROTO_IP, libc::IP_PKTINFO, &packet_info(header));
        }
        if has(Attached::TTL) {
            messages.push_number(libc::IPPROTO_IP, libc::IP_TTL, header.ttl.into());
        }
        if has(Attached::TOS) {
            messages.push(libc::IPPROTO_IP, libc::IP_TOS, &[header.tos]);
        }
        let options = header.options.as_bytes();
        if has(Attached::OPTIONS) && !options.is_empty() {
            messages.push(libc::IPPROTO_IP, libc::IP_RECVOPTS, options);
        }
        if has(Attached::RETURN_OPTIONS) && !options.is_empty() {
            messages.push(libc::IPPROTO_IP, libc::IP_RETOPTS, &returned(options));
        }
        messages
    }

    /// An entry of the error queue, in Linux's order.
    pub fn of_error(queued: &QueuedError) -> Self {
        let (origin, kind, code, offender) = match queued.icmp {
            Some((kind, code, from)) => (libc::SO_EE_ORIGIN_ICMP, kind, code, Some(from)),
            None => (libc::SO_EE_ORIGIN_LOCAL, 0, 0, None),
        };
        let mut data = [0; size_of::<sock_extended_err>() + sockaddr::LEN];
        let mut put = |at: usize, bytes: &[u8]| {
            if let Some(field) = data.get_mut(at..at + bytes.len()) {
                field.copy_from_slice(bytes);
            }
        };
        put(offset_of!(sock_extended_err, ee_errno), &queued.error.errno().to_ne_bytes());
        put(offset_of!(sock_extended_err, ee_origin), &[origin]);
        put(offset_of!(sock_extended_err, ee_type), &[kind]);
        put(offset_of!(sock_extended_err, ee_code), &[code]);
        put(offset_of!(sock_extended_err, ee_info), &queued.mtu.to_ne_bytes());
        if let Some(offender) = offender {
            put(size_of::<sock_extended_err>(), &sockaddr::encode((offender, 0).into()));
        }
        let mut messages = Self::default();
        if let Some(ttl) = queued.ttl {
            messages.push_number(libc::IPPROTO_IP, libc::IP_TTL, ttl.into());
        }
        if let Some(tos) = queued.tos {
            messages.push(libc::IPPROTO_IP, libc::IP_TOS, &[tos]);
        }
        messages.push(libc::IPPROTO_IP, libc::IP_RECVERR, &data);
        messages
    }
}

/// Of the options of a packet those that an answer carries.
fn returned(options: &[u8]) -> Vec<u8> {
    let mut returned = ipv4::selected(options, RawOption::is_recorded);
    returned.resize(returned.len().next_multiple_of(4), 0);
    returned
}

fn packet_info(header: &Header) -> [u8; size_of::<in_pktinfo>()] {
    let own = match header.own {
        Some(IpAddr::V4(own)) => own,
        _ => Ipv4Addr::UNSPECIFIED,
    };
    let mut data = [0; size_of::<in_pktinfo>()];
    data[..4].copy_from_slice(&header.interface.to_ne_bytes());
    let at = offset_of!(in_pktinfo, ipi_spec_dst);
    data[at..at + size_of::<in_addr>()].copy_from_slice(&own.octets());
    let at = offset_of!(in_pktinfo, ipi_addr);
    data[at..at + size_of::<in_addr>()].copy_from_slice(&own.octets());
    data
}

/// Notes in `header` what the control messages of a datagram to send say.
pub fn read(mut control: &[u8], header: &mut Header) -> Result<(), Errno> {
    while control.len() >= HEADER {
        let (length, rest) = control.split_first_chunk().ok_or(Errno::INVAL)?;
        let (level, rest) = rest.split_first_chunk().ok_or(Errno::INVAL)?;
        let (kind, rest) = rest.split_first_chunk().ok_or(Errno::INVAL)?;
        let length = usize::from_ne_bytes(*length);
        let data_len = length.checked_sub(HEADER).ok_or(Errno::INVAL)?;
        let data = rest.get(..data_len).ok_or(Errno::INVAL)?;
        note(c_int::from_ne_bytes(*level), c_int::from_ne_bytes(*kind), data, header)?;
        control = control.get(length.next_multiple_of(ALIGN)..).unwrap_or_default();
    }
    Ok(())
}

fn note(level: c_int, kind: c_int, data: &[u8], header: &mut Header) -> Result<(), Errno> {
    let number = || data.first_chunk().map(|bytes| c_int::from_ne_bytes(*bytes));
    match (level, kind) {
        (libc::IPPROTO_IP, libc::IP_PKTINFO) => {
            let data: &[u8; size_of::<in_pktinfo>()] = data.first_chunk().ok_or(Errno::INVAL)?;
            let [i0, i1, i2, i3, a, b, c, d, ..] = *data;
            header.interface = u32::from_ne_bytes([i0, i1, i2, i3]);
            let own = Ipv4Addr::from([a, b, c, d]);
            header.own = (!own.is_unspecified()).then_some(IpAddr::V4(own));
            header.attached |= Attached::PACKET_INFO;
        }
        (libc::IPPROTO_IP, libc::IP_TTL) => {
            let ttl = number().and_then(|ttl| u8::try_from(ttl).ok()).filter(|ttl| *ttl > 0);
            header.ttl = ttl.ok_or(Errno::INVAL)?;
            header.attached |= Attached::TTL;
        }
        (libc::IPPROTO_IP, libc::IP_TOS) => {
            let byte = data.first().filter(|_| data.len() == 1).map(|byte| c_int::from(*byte));
            let tos = number().or(byte).and_then(|tos| u8::try_from(tos).ok());
            header.tos = tos.ok_or(Errno::INVAL)?;
            header.attached |= Attached::TOS;
        }
        (libc::SOL_UDP, libc::UDP_SEGMENT) => {
            let size = data.first_chunk().ok_or(Errno::INVAL)?;
            header.segment_size = u16::from_ne_bytes(*size);
            header.attached |= Attached::SEGMENT_SIZE;
        }
        // Linux leaves alone what is for other families.
        (libc::SOL_SOCKET, libc::SCM_RIGHTS | libc::SCM_CREDENTIALS) => {}
        (libc::SOL_SOCKET | libc::IPPROTO_IP | libc::SOL_UDP, _) => return Err(Errno::INVAL),
        _ => {}
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn full() -> Header {
        Header {
            attached: Attached::all(),
            ttl: 63,
            tos: 0xb8,
            segment_size: 1400,
            interface: 2,
            own: Some("10.77.0.2".parse().unwrap()),
            received: 1_700_000_000_123_456_789,
            ..Header::default()
        }
    }

    #[test]
    fn what_was_received_can_be_sent_back() {
        let wanted = Attached::PACKET_INFO | Attached::TTL | Attached::TOS;
        let messages = Messages::of_datagram(&Header { attached: wanted, ..full() });
        let mut header = Header::default();
        read(messages.bytes(), &mut header).unwrap();
        let expected = Header { attached: wanted, segment_size: 0, received: 0, ..full() };
        assert_eq!(header, expected);
    }

    #[test]
    fn only_what_was_asked_for_is_told() {
        assert!(
            Messages::of_datagram(&Header { attached: Attached::empty(), ..full() })
                .bytes()
                .is_empty()
        );
        let ttl = Messages::of_datagram(&Header { attached: Attached::TTL, ..full() });
        let expected = [
            &20_usize.to_ne_bytes()[..],
            &0_i32.to_ne_bytes(),
            &2_i32.to_ne_bytes(),
            &[63, 0, 0, 0],
        ];
        assert_eq!(ttl.bytes(), expected.concat());
    }

    #[test]
    fn control_messages_that_lie_are_refused() {
        let message = |length: usize, level: c_int, kind: c_int, data: &[u8]| {
            let header = [&length.to_ne_bytes()[..], &level.to_ne_bytes(), &kind.to_ne_bytes()];
            [&header.concat()[..], data].concat()
        };
        for bytes in [
            message(0, 0, libc::IP_TTL, &[1, 0, 0, 0]),
            message(15, 0, libc::IP_TTL, &[1, 0, 0, 0]),
            message(21, 0, libc::IP_TTL, &[1, 0, 0, 0]),
            message(usize::MAX, 0, libc::IP_TTL, &[1, 0, 0, 0]),
            message(20, 0, libc::IP_TTL, &[0, 0, 0, 0]),
            message(20, 0, libc::IP_TTL, &[0, 1, 0, 0]),
            message(18, 0, libc::IP_TTL, &[1, 0]),
            message(20, 0, libc::IP_PKTINFO, &[1, 0, 0, 0]),
            message(20, 0, 99, &[1, 0, 0, 0]),
        ] {
            assert_eq!(read(&bytes, &mut Header::default()), Err(Errno::INVAL), "{bytes:?}");
        }
        let mut header = Header::default();
        read(&message(17, 0, libc::IP_TOS, &[4]), &mut header).unwrap();
        assert_eq!((header.tos, header.attached), (4, Attached::TOS));
    }

    #[test]
    fn errors_are_laid_out_as_the_kernel_does() {
        let queued = QueuedError {
            error: narrows_client::ipc::Error::ConnectionRefused,
            icmp: Some((3, 3, "10.9.0.1".parse().unwrap())),
            ttl: Some(63),
            tos: None,
            destination: "10.9.0.1:9".parse().unwrap(),
            interface: 2,
            mtu: 0,
            payload: Vec::new(),
        };
        let expected = [
            &20_usize.to_ne_bytes()[..],
            &0_i32.to_ne_bytes(),
            &2_i32.to_ne_bytes(),
            b"\x3f\x00\x00\x00\x00\x00\x00\x00",
            &48_usize.to_ne_bytes(),
            &0_i32.to_ne_bytes(),
            &11_i32.to_ne_bytes(),
            // As a Linux kernel gave it to a program.
            b"o\x00\x00\x00\x02\x03\x03\x00\x00\x00\x00\x00\x00\x00\x00\x00",
            b"\x02\x00\x00\x00\n\t\x00\x01\x00\x00\x00\x00\x00\x00\x00\x00",
        ];
        assert_eq!(Messages::of_error(&queued).bytes(), expected.concat());
    }
}
