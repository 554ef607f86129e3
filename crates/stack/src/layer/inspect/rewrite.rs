//! What an inspector makes of a packet: checked, and its lengths and checksums made right.
//!
//! It has to be a packet of the same flow: addresses, protocol and ports (of ICMP, what pairs queries with answers)
//! are those that the packet had, so that nobody can forge where it is from, and what is known of its flow stays
//! true. Fragments can't be rewritten: nobody could say what the whole would be.

use super::{Course, Own, Parked};
use crate::{
    conntrack::Tuple,
    layer::{
        ipv4_options,
        transport::{checksum_offset, header_len},
    },
};
use narrows_wire::{
    checksum::Sum,
    ipv4::{Packet, Protocol},
    offload::{RxChecksum, RxOffload},
};

const TOTAL_LENGTH: core::ops::Range<usize> = 2..4;
const HEADER_CHECKSUM: core::ops::Range<usize> = 10..12;
const UDP_LENGTH: core::ops::Range<usize> = 4..6;
const ICMP_CHECKSUM: usize = 2;

/// `None`: that is no packet, or none of the same flow; `parked` is as it was.
pub(super) fn apply(parked: &mut Parked, bytes: &[u8]) -> Option<()> {
    let before = Packet::parse(&parked.bytes).ok()?;
    let mut bytes = bytes.to_vec();
    let total = u16::try_from(bytes.len()).ok()?;
    let header_len = usize::from(bytes.first()? & 0x0f) * 4;
    put(&mut bytes, TOTAL_LENGTH, total)?;
    put(&mut bytes, HEADER_CHECKSUM, 0)?;
    let sum = Sum::of(bytes.get(..header_len)?).finish();
    put(&mut bytes, HEADER_CHECKSUM, sum)?;
    let after = Packet::parse(&bytes).ok()?;
    let ends = |packet: &Packet<'_>| {
        let header = packet.header;
        (header.source, header.destination, header.protocol, Tuple::of(&header, packet.payload))
    };
    let fragment = before.header.is_fragment() || after.header.is_fragment();
    if fragment || ends(&before) != ends(&after) || ipv4_options::check(after.options).is_err() {
        return None;
    }
    let segment_size = segment_size(parked).filter(|size| is_longer(&after, *size));
    let pseudo = match (after.header.protocol, segment_size) {
        (Protocol::TCP | Protocol::UDP, _) => {
            let (source, destination) = (after.header.source, after.header.destination);
            let len = u16::try_from(after.payload.len()).ok()?;
            Some(Sum::pseudo_header(source, destination, after.header.protocol.0, len))
        }
        _ => None,
    };
    let protocol = after.header.protocol;
    sum_transport(bytes.get_mut(header_len..)?, protocol, pseudo, segment_size.is_some())?;
    if let Course::Own(own) = &mut parked.course {
        *own = Own { segment_size, ..*own };
    }
    let checksum = match segment_size {
        Some(_) => RxChecksum::Partial,
        None => RxChecksum::Verified,
    };
    parked.offload = RxOffload { checksum, segment_size };
    parked.bytes = bytes;
    Some(())
}

pub(super) fn segment_size(parked: &Parked) -> Option<u16> {
    match parked.course {
        Course::Own(own) => own.segment_size,
        _ => parked.offload.segment_size,
    }
}

/// Is it still several segments?
fn is_longer(packet: &Packet<'_>, segment_size: u16) -> bool {
    let header = header_len(packet.header.protocol, packet.payload);
    header.is_some_and(|header| packet.payload.len() - header > usize::from(segment_size))
}

/// `partial`: whoever cuts it completes the sum.
fn sum_transport(
    transport: &mut [u8],
    protocol: Protocol,
    pseudo: Option<Sum>,
    partial: bool,
) -> Option<()> {
    let field = match protocol {
        Protocol::ICMP => ICMP_CHECKSUM,
        _ => match checksum_offset(protocol) {
            Some(field) => field,
            None => return Some(()),
        },
    };
    if protocol != Protocol::ICMP {
        header_len(protocol, transport)?;
    }
    if protocol == Protocol::UDP {
        let len = u16::try_from(transport.len()).ok()?;
        put(transport, UDP_LENGTH, len)?;
    }
    put(transport, field..field + 2, 0)?;
    let pseudo = pseudo.unwrap_or_default();
    let sum = match partial {
        true => pseudo.fold(),
        false => pseudo.add(Sum::of(transport)).finish(),
    };
    // RFC 768: zero says that there is no sum.
    let sum = if protocol == Protocol::UDP && sum == 0 { u16::MAX } else { sum };
    put(transport, field..field + 2, sum)
}

fn put(bytes: &mut [u8], at: core::ops::Range<usize>, value: u16) -> Option<()> {
    bytes.get_mut(at)?.copy_from_slice(&value.to_be_bytes());
    Some(())
}
