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
