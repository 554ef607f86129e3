//! Somebody who sees every segment that leaves a host, and knows what RFC 9293 lets it say: bytes
//! that are the stream's at their place, inside the window that the peer gave, in segments the peer
//! takes; acknowledgments of what was sent, that never go back, nor does the edge of the window.

use crate::{
    invariant::{Broken, holds},
    pattern::Pattern,
};
use core::net::SocketAddr;
use narrows_wire::{
    ethernet::{self, EtherType},
    ipv4::{self, Protocol},
    offload::TxOffload,
    tcp::Segment,
};
use std::{collections::BTreeMap, io::IoSlice};

/// One direction of a connection.
type Way = (SocketAddr, SocketAddr);

/// What a peer that names no maximum segment size takes (RFC 9293 §3.7.1).
const DEFAULT_MSS: u16 = 536;

/// What one end has said.
#[derive(Clone, Copy, Debug)]
struct Said {
    iss: u32,
    /// After the last octet sent, counted from `iss`.
    sent: u32,
    /// Of the other end's octets: acknowledged, and the edge of the window.
    acknowledged: Option<u32>,
    edge: u32,
    mss: u16,
    scale: Option<u8>,
    stamped: bool,
    stamp: u32,
    /// An old SYN, or a forged one, got an answer: what belongs to which can't be told apart.
    unclear: bool,
}

#[derive(Debug, Default)]
pub struct Observer {
    streams: BTreeMap<Way, Pattern>,
    said: BTreeMap<Way, Said>,
}

impl Observer {
    /// What `from` sends to `to` is this stream.
    pub fn expect(&mut self, from: SocketAddr, to: SocketAddr, pattern: Pattern) {
        self.streams.insert((from, to), pattern);
    }

    /// The first sequence number of what `from` sends to `to`.
    pub fn initial_sequence(&self, from: SocketAddr, to: SocketAddr) -> Option<u32> {
        self.said.get(&(from, to)).map(|said| said.iss)
    }

    /// A frame left a host, its offload requests not yet done.
    pub fn sent(&mut self, frame: &[u8], offload: TxOffload) -> Result<(), Broken> {
        let Ok((link, packet)) = ethernet::Header::parse(frame) else { return Ok(()) };
        if link.ether_type != EtherType::IPV4 {
            return Ok(());
        }
        let Ok(packet) = ipv4::Packet::parse(packet) else { return Ok(()) };
        if packet.header.protocol != Protocol::TCP || packet.header.is_fragment() {
            return Ok(());
        }
        let Ok(segment) = Segment::parse(packet.payload) else { return Ok(()) };
        let from = SocketAddr::new(packet.header.source.into(), segment.header.source_port);
        let to = SocketAddr::new(packet.header.destination.into(), segment.header.destination_port);
        let one = offload.segmentation.map(|segmentation| usize::from(segmentation.segment_size));
        let one = one.unwrap_or(segment.payload.len());
        self.segment((from, to), &segment, one).map_err(|Broken(why)| {
            let flags = segment.header.flags;
            Broken(format!("{from} to {to}, {flags:?}, {} bytes: {why}", segment.payload.len()))
        })
    }

    /// `one`: payload of one segment on the wire.
    fn segment(&mut self, way: Way, segment: &Segment<'_>, one: usize) -> Result<(), Broken> {
        let flags = segment.header.flags;
        if flags.rst() {
            holds!(segment.payload.is_empty(), "a reset with payload");
            return Ok(());
        }
        let back = (way.1, way.0);
        if flags.syn() {
            holds!(segment.payload.is_empty(), "a SYN with payload");
            return self.synchronize(way, back, segment);
        }
        holds!(flags.ack(), "no ACK");
        let (Some(mine), Some(theirs)) = (self.said.get(&way), self.said.get(&back)) else {
            return Err(Broken("before the handshake".to_owned()));
        };
        if mine.unclear || theirs.unclear {
            return Ok(());
        }
        let (mine, theirs) = (*mine, *theirs);
        let start = segment.header.sequence.wrapping_sub(mine.iss);
        let end = start + segment.payload.len() as u32 + u32::from(flags.fin());
        let options = segment.options.emitted_len();
        holds!(one + options <= theirs.mss.into(), "{one} + {options} bytes, MSS {}", theirs.mss);
        if end > mine.sent {
            let edge = theirs.edge;
            holds!(end <= edge, "up to {end}, and the window ends at {edge}");
        }
        // The SYN is octet 0; a probe may repeat it.
        if let (Some(pattern), Some(position)) = (self.streams.get(&way), start.checked_sub(1)) {
            let payload = [IoSlice::new(segment.payload)];
            let checked = pattern.check(position.into(), &payload);
            checked.map_err(|at| Broken(format!("octet {at} is not the stream's")))?;
        }
        let mine = acknowledge(mine, &theirs, segment)?;
        self.said.insert(way, Said { sent: mine.sent.max(end), ..mine });
        Ok(())
    }

    /// A SYN, or a SYN-ACK.
    fn synchronize(&mut self, way: Way, back: Way, segment: &Segment<'_>) -> Result<(), Broken> {
        let (header, options) = (&segment.header, &segment.options);
        let answer = header.flags.ack();
        let before = self.said.get(&way);
        if before.is_some_and(|said| said.iss == header.sequence) {
            return Ok(());
        }
        let mut unclear = false;
        if answer {
            unclear = before.is_some();
            let asked = self.said.get_mut(&back);
            match asked.filter(|said| said.iss.wrapping_add(1) == header.acknowledgment) {
                Some(said) => {
                    let stamped = options.timestamps.is_some();
                    holds!(said.stamped || !stamped, "timestamps that were not offered");
                    said.unclear |= unclear;
                }
                // To somebody else's SYN.
                None => {
                    self.said.entry(way).and_modify(|said| said.unclear = true);
                    return Ok(());
                }
            }
        } else {
            self.said.remove(&back);
        }
        let said = Said {
            iss: header.sequence,
            sent: 1,
            acknowledged: answer.then_some(1),
            edge: 1 + u32::from(header.window),
            mss: options.mss.unwrap_or(DEFAULT_MSS),
            scale: options.window_scale,
            stamped: options.timestamps.is_some(),
            stamp: options.timestamps.map_or(0, |stamps| stamps.value),
            unclear,
        };
        self.said.insert(way, said);
        Ok(())
    }
}

/// What the segment's acknowledgment, window and timestamp add to what was said.
fn acknowledge(mine: Said, theirs: &Said, segment: &Segment<'_>) -> Result<Said, Broken> {
    let header = &segment.header;
    let acknowledged = header.acknowledgment.wrapping_sub(theirs.iss);
    let before = mine.acknowledged.unwrap_or(0);
    holds!(acknowledged >= before, "acknowledges {acknowledged} after {before}");
    holds!(acknowledged <= theirs.sent, "acknowledges {acknowledged} of {}", theirs.sent);
    let scale = if theirs.scale.is_some() { mine.scale.unwrap_or(0) } else { 0 };
    let edge = acknowledged.saturating_add(u32::from(header.window) << scale);
    let rounding = (1 << scale) - 1;
    holds!(edge + rounding >= mine.edge, "the window's edge goes from {} to {edge}", mine.edge);
    let both = mine.stamped && theirs.stamped;
    let stamp = segment.options.timestamps.map(|stamps| stamps.value);
    holds!(stamp.is_some() == both, "timestamps on one segment, and none on another");
    let stamp = stamp.unwrap_or(0);
    holds!(stamp.wrapping_sub(mine.stamp) < 1 << 31, "timestamp {stamp} after {}", mine.stamp);
    Ok(Said { acknowledged: Some(acknowledged), edge: mine.edge.max(edge), stamp, ..mine })
}

#[cfg(test)]
mod tests {
    use super::*;
    use narrows_wire::{
        tcp::{Flags, Header},
        tcp_options::Options,
    };

    const CLIENT: u16 = 40_000;
    const SERVER: u16 = 80;

    fn address(port: u16) -> SocketAddr {
        SocketAddr::from(([10, 0, 0, 1], port))
    }

    /// A segment's fields, relative to nothing: the client's ISS is 100, the server's 500.
    struct Spoken {
        from: u16,
        flags: Flags,
        sequence: u32,
        acknowledgment: u32,
        window: u16,
        payload: Vec<u8>,
    }

    fn say(observer: &mut Observer, spoken: &Spoken) -> Result<(), Broken> {
        let to = if spoken.from == CLIENT { SERVER } else { CLIENT };
        let header = Header {
            source_port: spoken.from,
            destination_port: to,
            sequence: spoken.sequence,
            acknowledgment: spoken.acknowledgment,
            flags: spoken.flags,
            window: spoken.window,
            urgent: 0,
        };
        let mss = spoken.flags.syn().then_some(1000);
        let options = Options { mss, ..Options::default() };
        let segment = Segment { header, options, payload: &spoken.payload };
        let way = (address(spoken.from), address(to));
        observer.segment(way, &segment, spoken.payload.len())
    }

    fn bytes(position: u64, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        Pattern::new(1).fill(position, &mut bytes);
        bytes
    }

    /// After the handshake, and 600 bytes of the client's that were acknowledged.
    fn connection() -> Observer {
        let mut observer = Observer::default();
        observer.expect(address(CLIENT), address(SERVER), Pattern::new(1));
        let none = Vec::new;
        let synack = Flags::SYN.with(Flags::ACK);
        let spoken = [
            (CLIENT, Flags::SYN, 100, 0, 2000, none()),
            (SERVER, synack, 500, 101, 2000, none()),
            (CLIENT, Flags::ACK, 101, 501, 2000, bytes(0, 600)),
            (SERVER, Flags::ACK, 501, 701, 1400, none()),
        ];
        for (from, flags, sequence, acknowledgment, window, payload) in spoken {
            let spoken = Spoken { from, flags, sequence, acknowledgment, window, payload };
            say(&mut observer, &spoken).unwrap();
        }
        observer
    }

    #[test]
    fn what_may_be_said_and_what_not() {
        let none = Vec::new;
        let ack = Flags::ACK;
        let cases = [
            ("the next bytes", CLIENT, ack, 701, 501, 2000, bytes(600, 1000), true),
            ("old bytes again", CLIENT, ack, 301, 501, 2000, bytes(200, 500), true),
            ("other bytes", CLIENT, ack, 701, 501, 2000, bytes(601, 100), false),
            ("a segment over the MSS", CLIENT, ack, 701, 501, 2000, bytes(600, 1001), false),
            ("up to the window's edge", CLIENT, ack, 1401, 501, 2000, bytes(1300, 700), true),
            ("past the window's edge", CLIENT, ack, 1401, 501, 2000, bytes(1300, 701), false),
            ("an acknowledgment again", SERVER, ack, 501, 701, 1400, none(), true),
            ("of less than before", SERVER, ack, 501, 700, 1500, none(), false),
            ("of what was never sent", SERVER, ack, 501, 702, 1400, none(), false),
            ("a wider window", SERVER, ack, 501, 701, 9000, none(), true),
            ("a narrower one", SERVER, ack, 501, 701, 1399, none(), false),
            ("a segment without ACK", SERVER, Flags::PSH, 501, 0, 1400, none(), false),
            ("a reset from anywhere", SERVER, Flags::RST, 9, 9, 0, none(), true),
            ("a reset with payload", SERVER, Flags::RST, 501, 0, 0, bytes(0, 1), false),
            ("a probe", CLIENT, ack, 700, 501, 2000, none(), true),
        ];
        for (name, from, flags, sequence, acknowledgment, window, payload, right) in cases {
            let spoken = Spoken { from, flags, sequence, acknowledgment, window, payload };
            let said = say(&mut connection(), &spoken);
            assert_eq!(said.is_ok(), right, "{name}: {said:?}");
        }
    }

    #[test]
    fn nothing_is_said_before_the_handshake() {
        let mut observer = Observer::default();
        let spoken = Spoken {
            from: CLIENT,
            flags: Flags::ACK,
            sequence: 101,
            acknowledgment: 501,
            window: 2000,
            payload: Vec::new(),
        };
        assert!(say(&mut observer, &spoken).is_err());
    }
}
