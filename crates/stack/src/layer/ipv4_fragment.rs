//! Fragmentation (RFC 791 §3.2): a datagram to the packets that fit a link.

use crate::layer::ipv4_options;
use narrows_wire::ipv4::{self, Header};

/// A packet: its header, and its part of the payload.
pub(crate) type Piece<'a> = (Vec<u8>, &'a [u8]);

/// The packets of a datagram with `options`: itself if it fits, else as many as it takes. It may be a
/// fragment already, which is cut further. `None`: it is too long for IPv4, or for the link and not to
/// be fragmented.
pub(crate) fn pieces<'a>(
    header: &Header,
    options: &[u8],
    payload: &'a [u8],
    mtu: u16,
) -> Option<Vec<Piece<'a>>> {
    let mut header_len = len_with(options);
    if header_len + payload.len() <= usize::from(mtu) {
        return Some(vec![(header.with_options(options, payload.len())?, payload)]);
    }
    if header.dont_fragment || header_len + payload.len() > usize::from(u16::MAX) {
        return None;
    }
    let copied = ipv4_options::copied(options);
    let (mut pieces, mut offset) = (Vec::new(), 0);
    while let Some(rest) = payload.get(offset..).filter(|rest| !rest.is_empty()) {
        let room = usize::from(mtu).checked_sub(header_len)? & !7;
        let piece = rest.get(..room).filter(|piece| !piece.is_empty());
        let piece = if rest.len() <= usize::from(mtu) - header_len { rest } else { piece? };
        let fragment = Header {
            more_fragments: header.more_fragments || offset + piece.len() < payload.len(),
            fragment_offset: header.fragment_offset.checked_add(u16::try_from(offset).ok()?)?,
            ..*header
        };
        let options = if offset == 0 { options } else { &copied };
        pieces.push((fragment.with_options(options, piece.len())?, piece));
        offset += piece.len();
        header_len = len_with(&copied);
    }
    Some(pieces)
}

fn len_with(options: &[u8]) -> usize {
    ipv4::HEADER_LEN + options.len().next_multiple_of(4)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layer::fixture::PACKET;
    use narrows_wire::ipv4::Packet;

    /// Router alert, which all fragments have, and a recorded route, which the first has.
    const OPTIONS: [u8; 11] = [148, 4, 0, 0, 7, 7, 4, 0, 0, 0, 0];

    fn joined(pieces: &[Piece<'_>], mtu: usize) -> Vec<u8> {
        let mut whole = Vec::new();
        for (index, (header, piece)) in pieces.iter().enumerate() {
            let bytes = [&header[..], piece].concat();
            let packet = Packet::parse(&bytes).expect("a packet");
            assert!(bytes.len() <= mtu);
            assert_eq!(usize::from(packet.header.fragment_offset), whole.len());
            assert_eq!(packet.header.more_fragments, index + 1 < pieces.len());
            let expected = if index == 0 { OPTIONS.len().next_multiple_of(4) } else { 4 };
            assert_eq!(packet.options.len(), expected, "fragment {index}");
            whole.extend_from_slice(packet.payload);
        }
        whole
    }

    #[test]
    fn pieces_make_the_whole() {
        let payload: Vec<u8> = (0..5000).map(|index| index as u8).collect();
        for (len, mtu) in
            [(1, 68), (36, 68), (37, 68), (5000, 68), (5000, 576), (1468, 1500), (1469, 1500)]
        {
            let cut = pieces(&PACKET, &OPTIONS, &payload[..len], mtu).expect("pieces");
            assert_eq!(joined(&cut, mtu.into()), payload[..len], "{len} {mtu}");
        }
    }

    #[test]
    fn a_fragment_is_cut_further() {
        let payload = [7; 1000];
        for more_fragments in [false, true] {
            let header = Header { fragment_offset: 1480, more_fragments, ..PACKET };
            let cut = pieces(&header, &[], &payload, 576).expect("pieces");
            let headers: Vec<_> = cut
                .iter()
                .map(|(header, piece)| {
                    let bytes = [&header[..], piece].concat();
                    let header = Packet::parse(&bytes).expect("a packet").header;
                    (header.fragment_offset, header.more_fragments)
                })
                .collect();
            assert_eq!(headers, [(1480, true), (1480 + 552, more_fragments)]);
        }
    }

    #[test]
    fn what_can_not_be_cut() {
        let whole = Header { dont_fragment: true, ..PACKET };
        assert_eq!(pieces(&whole, &[], &[0; 1481], 1500), None);
        assert_eq!(pieces(&PACKET, &[], &[0; 65_516], 1500), None);
        // No room for eight bytes behind the header.
        assert_eq!(pieces(&PACKET, &[1; 40], &[0; 100], 60), None);
        let last = Header { fragment_offset: 65_528, ..PACKET };
        assert_eq!(pieces(&last, &[], &[0; 2000], 576), None);
    }
}
