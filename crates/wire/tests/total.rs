//! Any bytes give a value or an error: random ones, real frames with damage, and a corpus of inputs
//! that broke other parsers.

use narrows_wire::{
    arp, ethernet, icmpv4, ipv4,
    offload::{RxOffload, VNET_HEADER_LEN},
    tcp::Segment,
    tcp_options::Options,
    udp,
};
use proptest::{collection::vec, prelude::*};

/// Runs every parser over `bytes`, and over what each finds inside.
fn parse_all(bytes: &[u8]) {
    if let Ok((_, payload)) = ethernet::Header::parse(bytes) {
        parse_packet(payload);
    }
    parse_packet(bytes);
    if let Some(header) = bytes.first_chunk::<VNET_HEADER_LEN>() {
        let _ = RxOffload::from_vnet(header);
    }
}

fn parse_packet(bytes: &[u8]) {
    let _ = arp::Packet::parse(bytes);
    if let Ok(packet) = ipv4::Packet::parse(bytes) {
        assert!(packet.header_bytes.len() + packet.payload.len() <= bytes.len());
        parse_options(packet.options);
        parse_transport(packet.payload);
    }
    parse_options(bytes);
    parse_transport(bytes);
}

fn parse_options(bytes: &[u8]) {
    // Each option takes two bytes at least, so that the loop ends; nothing follows an error.
    let options: Vec<_> = ipv4::options(bytes).collect();
    assert!(options.len() <= bytes.len());
    assert!(options.iter().rev().skip(1).all(Result::is_ok));
}

fn parse_transport(bytes: &[u8]) {
    let _ = icmpv4::Header::parse(bytes);
    let _ = udp::Header::parse(bytes);
    if let Ok(segment) = Segment::parse(bytes) {
        assert!(segment.payload.len() + 20 <= bytes.len());
    }
    let _ = Options::parse(bytes);
}

/// `name: hex bytes`, a line each.
fn corpus() -> impl Iterator<Item = (&'static str, Vec<u8>)> {
    let lines = include_str!("corpus.txt").lines().filter(|line| !line.starts_with('#'));
    lines.filter_map(|line| line.split_once(':')).map(|(name, hex)| {
        let digits: Vec<u8> =
            hex.chars().filter_map(|c| c.to_digit(16)).map(|digit| digit as u8).collect();
        (name, digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect())
    })
}

#[test]
fn corpus_replays() {
    let mut inputs = 0;
    for (_, bytes) in corpus() {
        parse_all(&bytes);
        inputs += 1;
    }
    assert!(inputs >= 20);
}

#[test]
fn corpus_replays_cut_anywhere() {
    for (_, bytes) in corpus() {
        (0..bytes.len()).for_each(|len| parse_all(&bytes[..len]));
    }
}

#[test]
fn corpus_replays_with_any_bit_flipped() {
    for (_, mut bytes) in corpus() {
        for bit in 0..bytes.len() * 8 {
            bytes[bit / 8] ^= 1 << (bit % 8);
            parse_all(&bytes);
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
    }
}

#[test]
fn whole_frames_of_the_corpus_are_accepted() {
    for (name, bytes) in corpus().filter(|(name, _)| name.starts_with("frame ")) {
        let (header, payload) = ethernet::Header::parse(&bytes).unwrap();
        if header.ether_type == ethernet::EtherType::ARP {
            arp::Packet::parse(payload).unwrap();
            continue;
        }
        let packet = ipv4::Packet::parse(payload).unwrap_or_else(|error| panic!("{name}: {error}"));
        match packet.header.protocol {
            ipv4::Protocol::TCP => drop(Segment::parse(packet.payload).unwrap()),
            ipv4::Protocol::UDP => drop(udp::Header::parse(packet.payload).unwrap()),
            _ => drop(icmpv4::Header::parse(packet.payload).unwrap()),
        }
    }
}

proptest! {
    #[test]
    fn random_bytes_never_panic(bytes in vec(any::<u8>(), 0..200)) {
        parse_all(&bytes);
    }

    /// Random options, with small numbers where lengths stand.
    #[test]
    fn random_options_never_panic(bytes in vec(0u8..12, 0..60)) {
        parse_options(&bytes);
        parse_transport(&bytes);
    }

    /// A right header of the greatest length in front of anything.
    #[test]
    fn random_tcp_options_never_panic(mut bytes in vec(any::<u8>(), 60..80), words in 5u8..16) {
        bytes[12] = words << 4;
        if let Ok(segment) = Segment::parse(&bytes) {
            assert_eq!(segment.payload.len() + usize::from(words) * 4, bytes.len());
        }
    }
}
