use super::*;

fn packet(time: u64, bytes: &[u8]) -> Packet {
    Packet { time, interface: 0, length: bytes.len() as u32, bytes: bytes.to_vec() }
}

fn read(bytes: &[u8]) -> Result<Vec<Packet>, Error> {
    let mut reader = Reader::new(bytes)?;
    let mut packets = Vec::new();
    while let Some(packet) = reader.next_packet()? {
        packets.push(packet);
    }
    Ok(packets)
}

fn pcap() -> (Vec<u8>, Vec<Packet>) {
    let packets = vec![packet(1_000_000_002_000, b"one"), packet(u64::from(u32::MAX), b"")];
    let mut bytes = Vec::new();
    let mut writer = Writer::new(&mut bytes).unwrap();
    packets.iter().for_each(|packet| writer.write(packet).unwrap());
    // To the microsecond.
    let cut = |packet: Packet| Packet { time: packet.time / 1000 * 1000, ..packet };
    (bytes, packets.into_iter().map(cut).collect())
}

fn pcapng() -> (Vec<u8>, Vec<Packet>) {
    let mut bytes = Vec::new();
    let mut writer = PcapngWriter::new(&mut bytes).unwrap();
    assert_eq!(writer.interface("lan").unwrap(), 0);
    assert_eq!(writer.interface("wan").unwrap(), 1);
    let packets = vec![
        packet(1_700_000_000_123_456_789, b"first"),
        Packet { interface: 1, length: 1500, ..packet(u64::MAX, b"the beginning") },
    ];
    let comments = ["stage drop".to_owned(), "reason martian".to_owned()];
    writer.write(&packets[0], Direction::Outgoing, &[], 0).unwrap();
    writer.write(&packets[1], Direction::Broadcast, &comments, 7).unwrap();
    (bytes, packets)
}

#[test]
fn what_is_written_is_read() {
    for (bytes, packets) in [pcap(), pcapng()] {
        assert_eq!(read(&bytes).unwrap(), packets);
    }
}

#[test]
fn interfaces_have_the_names_that_the_file_says() {
    let (bytes, _) = pcapng();
    let mut reader = Reader::new(&bytes[..]).unwrap();
    while reader.next_packet().unwrap().is_some() {}
    let names = [0, 1, 2].map(|interface| reader.interface_name(interface));
    assert_eq!(names, [Some("lan"), Some("wan"), None]);
}

#[test]
fn the_other_byte_order_is_read() {
    let (mut bytes, packets) = pcap();
    // Each field but the version is a word.
    let body = bytes.len() - 3 - 16 * 2 - 24;
    assert_eq!(body, 0);
    for at in [0, 8, 12, 16, 20, 24, 28, 32, 36, 43, 47, 51, 55] {
        bytes[at..at + 4].reverse();
    }
    assert_eq!(read(&bytes).unwrap(), packets);
}

#[test]
fn a_file_that_is_cut_off_or_changed_is_an_error_or_fewer_frames() {
    for (bytes, packets) in [pcap(), pcapng()] {
        for length in 0..bytes.len() {
            match read(&bytes[..length]) {
                Ok(some) => assert!(packets.starts_with(&some) && some.len() < packets.len()),
                Err(Error::UnknownFormat | Error::Broken { .. }) => {}
                Err(other) => panic!("{length}: {other}"),
            }
        }
        for at in 0..bytes.len() {
            for value in [0, 1, 0x7f, 0xff] {
                let mut changed = bytes.clone();
                changed[at] = value;
                // Whatever it is, it ends.
                let _ = read(&changed);
            }
        }
    }
}

#[test]
fn other_files_are_refused() {
    assert!(matches!(read(b"what is this?"), Err(Error::UnknownFormat)));
    let (mut bytes, _) = pcap();
    bytes[20] = 113;
    assert!(matches!(read(&bytes), Err(Error::NotEthernet(113))));
}

fn corpus() -> impl Iterator<Item = (&'static str, Vec<u8>)> {
    let lines = include_str!("corpus.txt").lines().filter(|line| !line.starts_with('#'));
    lines.filter_map(|line| line.split_once(": ")).map(|(name, hex)| {
        let digits: Vec<u8> =
            hex.chars().filter_map(|c| c.to_digit(16)).map(|digit| digit as u8).collect();
        (name, digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect())
    })
}

/// No length in a file has memory taken for it that the file does not have the bytes for.
fn read_within_bounds(name: &str, bytes: &[u8]) {
    let Ok(packets) = read(bytes) else { return };
    let kept: usize = packets.iter().map(|packet| packet.bytes.len()).sum();
    assert!(kept <= bytes.len(), "{name}");
}

#[test]
fn the_corpus_replays_cut_anywhere_and_with_any_bit_flipped() {
    let mut count = 0;
    for (name, mut bytes) in corpus() {
        count += 1;
        (0..=bytes.len()).for_each(|length| read_within_bounds(name, &bytes[..length]));
        for bit in 0..bytes.len() * 8 {
            bytes[bit / 8] ^= 1 << (bit % 8);
            read_within_bounds(name, &bytes);
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
    }
    assert!(count >= 15, "{count}");
}

#[test]
fn files_of_good_blocks_in_any_order_end() {
    let mut random = narrows_stack::random::Random::new([9; 16]);
    let (good, _) = pcapng();
    let mut blocks = Vec::new();
    let mut rest = &good[..];
    while let Some(length) = rest.get(4..8) {
        let length = u32::from_le_bytes(length.try_into().unwrap()) as usize;
        blocks.push(&rest[..length]);
        rest = &rest[length..];
    }
    for _ in 0..5_000 {
        let mut file = blocks[0].to_vec();
        for _ in 0..random.below(8) {
            file.extend(blocks[random.below(blocks.len() as u32) as usize]);
        }
        for _ in 0..random.below(4) {
            let at = random.below(file.len() as u32) as usize;
            file[at] = random.next_u32() as u8;
        }
        read_within_bounds("blocks", &file);
    }
}
