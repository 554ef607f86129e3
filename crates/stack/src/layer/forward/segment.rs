//! A large packet to those it stands for, as a device with segmentation offload would cut it.

use narrows_wire::{
    checksum::Sum,
    ipv4::{Header, Protocol},
    tcp, udp,
};

/// Where TCP has its sequence number, and the byte with its flags.
const SEQUENCE: core::ops::Range<usize> = 4..8;
const DATA_OFFSET: usize = 12;
const FLAGS: usize = 13;
/// The last segment alone has these; the first alone that.
const FIN_AND_PSH: u8 = 0x09;
const CWR: u8 = 0x80;
/// Where UDP has its length.
const UDP_LENGTH: core::ops::Range<usize> = 4..6;

/// The length of the transport header that each piece gets.
pub(super) fn header_len(header: &Header, payload: &[u8]) -> Option<usize> {
    let len = match header.protocol {
        Protocol::TCP => usize::from(payload.get(DATA_OFFSET)? >> 4) * 4,
        Protocol::UDP => udp::HEADER_LEN,
        _ => return None,
    };
    (len >= udp::HEADER_LEN && len <= payload.len()).then_some(len)
}

/// The packets of `size` bytes of payload each, the last but less, with whole checksums. `header_bytes`
/// is the header of each, but for length, identification and checksum. `None` of what is neither TCP nor
/// UDP, or a fragment.
pub(super) fn cut(
    header: &Header,
    header_bytes: &[u8],
    payload: &[u8],
    size: u16,
) -> Option<Vec<Vec<u8>>> {
    if header.is_fragment() || size == 0 {
        return None;
    }
    let (transport, data) = payload.split_at_checked(header_len(header, payload)?)?;
    let options = header_bytes.get(narrows_wire::ipv4::HEADER_LEN..)?;
    let ttl = *header_bytes.get(TTL)?;
    let last = data.len().checked_sub(1)? / usize::from(size);
    let piece = |(index, data): (usize, &[u8])| {
        let step = u16::try_from(index).ok()?;
        let identification = header.identification.wrapping_add(step);
        let header = Header { ttl, identification, ..*header };
        let mut transport = transport.to_vec();
        match header.protocol {
            Protocol::TCP => tcp_header(&mut transport, index * usize::from(size), index == last)?,
            _ => udp_header(&mut transport, data.len())?,
        }
        checksum(&header, &mut transport, data)?;
        let bytes = header.with_options(options, transport.len() + data.len())?;
        Some([&bytes, &transport, data].concat())
    };
    data.chunks(usize::from(size)).enumerate().map(piece).collect()
}

/// Where IPv4 has its time to live.
const TTL: usize = 8;

fn tcp_header(transport: &mut [u8], offset: usize, last: bool) -> Option<()> {
    let field = transport.get_mut(SEQUENCE)?.first_chunk_mut::<4>()?;
    let sequence = u32::from_be_bytes(*field).wrapping_add(u32::try_from(offset).ok()?);
    *field = sequence.to_be_bytes();
    let flags = transport.get_mut(FLAGS)?;
    if !last {
        *flags &= !FIN_AND_PSH;
    }
    if offset > 0 {
        *flags &= !CWR;
    }
    Some(())
}

fn udp_header(transport: &mut [u8], data_len: usize) -> Option<()> {
    let len = u16::try_from(udp::HEADER_LEN + data_len).ok()?;
    transport.get_mut(UDP_LENGTH)?.copy_from_slice(&len.to_be_bytes());
    Some(())
}

fn checksum(header: &Header, transport: &mut [u8], data: &[u8]) -> Option<()> {
    let offset = match header.protocol {
        Protocol::TCP => tcp::CHECKSUM_OFFSET,
        _ => udp::CHECKSUM_OFFSET,
    };
    let len = u16::try_from(transport.len() + data.len()).ok()?;
    transport.get_mut(offset..offset + 2)?.fill(0);
    let pseudo = Sum::pseudo_header(header.source, header.destination, header.protocol.0, len);
    let sum = pseudo.add(Sum::of(transport)).add(Sum::of(data)).finish();
    // RFC 768: zero says that UDP has none.
    let sum = if sum == 0 && header.protocol == Protocol::UDP { u16::MAX } else { sum };
    transport.get_mut(offset..offset + 2)?.copy_from_slice(&sum.to_be_bytes());
    Some(())
}
