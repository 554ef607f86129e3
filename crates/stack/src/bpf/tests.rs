use super::*;
use crate::random::Random;

fn i(code: u16, jump_true: u8, jump_false: u8, operand: u32) -> Instruction {
    Instruction { code, jump_true, jump_false, operand }
}

fn ret(bytes: u32) -> Instruction {
    i(0x06, 0, 0, bytes)
}

fn result(instructions: &[Instruction], packet: &[u8], context: &Context) -> u32 {
    Program::new(instructions).expect("allowed").run([packet, &[]], context)
}

/// What tcpdump -d prints for `udp port 53` on Ethernet, IPv4's part.
fn dns() -> Vec<Instruction> {
    vec![
        i(0x28, 0, 0, 12),
        i(0x15, 0, 10, 0x0800),
        i(0x30, 0, 0, 23),
        i(0x15, 0, 8, 17),
        i(0x28, 0, 0, 20),
        i(0x45, 6, 0, 0x1fff),
        i(0xb1, 0, 0, 14),
        i(0x48, 0, 0, 14),
        i(0x15, 2, 0, 53),
        i(0x48, 0, 0, 16),
        i(0x15, 0, 1, 53),
        ret(262_144),
        ret(0),
    ]
}

fn datagram(destination_port: u16) -> Vec<u8> {
    let mut frame = vec![0; 14 + 24 + 8];
    frame[12..14].copy_from_slice(&[0x08, 0x00]);
    // A header of 24 bytes: with an option.
    frame[14] = 0x46;
    frame[23] = 17;
    frame[40..42].copy_from_slice(&destination_port.to_be_bytes());
    frame
}

#[test]
fn tcpdumps_programs_take_what_they_say() {
    let context = Context::default();
    assert_eq!(result(&dns(), &datagram(53), &context), 262_144);
    assert_eq!(result(&dns(), &datagram(54), &context), 0);
    assert_eq!(result(&dns(), &datagram(53)[..41], &context), 0);
    assert_eq!(result(&dns(), &[], &context), 0);
    // In two pieces, wherever they meet.
    let whole = datagram(53);
    let program = Program::new(&dns()).expect("allowed");
    for at in 0..=whole.len() {
        let (first, second) = whole.split_at(at);
        assert_eq!(program.run([first, second], &context), 262_144, "cut at {at}");
    }
}

#[test]
fn each_operation_does_what_bpf_says() {
    let x = |value| i(0x01, 0, 0, value);
    for (operation, a, value, expected) in [
        (code::ADD, u32::MAX, 2, Some(1)),
        (code::SUB, 1, 2, Some(u32::MAX)),
        (code::MUL, 1 << 31, 2, Some(0)),
        (code::DIV, 7, 2, Some(3)),
        (code::MOD, 7, 4, Some(3)),
        (code::DIV, 7, 0, None),
        (code::MOD, 7, 0, None),
        (code::OR, 5, 3, Some(7)),
        (code::AND, 5, 3, Some(1)),
        (code::XOR, 5, 3, Some(6)),
        (code::SHIFT_LEFT, 1, 33, Some(2)),
        (code::SHIFT_RIGHT, 4, 1, Some(2)),
        (code::NEGATE, 1, 0, Some(u32::MAX)),
    ] {
        let code = code::ALU | operation;
        let by_x = if operation == code::NEGATE { code } else { code | code::X };
        let program = [i(0, 0, 0, a), x(value), i(by_x, 0, 0, 0), i(0x16, 0, 0, 0)];
        assert_eq!(
            result(&program, &[], &Context::default()),
            expected.unwrap_or(0),
            "{operation:x}"
        );
    }
}

#[test]
fn what_is_not_in_the_packet_can_be_asked_for() {
    let context = Context {
        protocol: 0x0806,
        packet_type: 4,
        interface: 3,
        hardware: 772,
        vlan: Some((0x8100, 7)),
        network: 2,
        payload_offset: 42,
        random: 99,
    };
    let ask = |at, size: u16| {
        let load = code::LD | code::ABSOLUTE | size;
        result(&[i(load, 0, 0, at), i(0x16, 0, 0, 0)], &[1, 2, 3, 4, 5], &context)
    };
    for (offset, expected) in
        [(0, 0x0806), (4, 4), (8, 3), (20, 0), (28, 772), (36, 0), (44, 7), (48, 1), (52, 42)]
    {
        assert_eq!(ask(ancillary::BASE + offset, code::WORD), expected, "{offset}");
    }
    assert_eq!(ask(ancillary::BASE + 60, code::HALF), 0x8100);
    assert_eq!(ask(ancillary::NETWORK + 1, code::BYTE), 4);
    assert_eq!(ask(ancillary::LINK, code::HALF), 0x0102);
    assert_eq!(ask(ancillary::NETWORK - 1, code::BYTE), 0);
    assert_eq!(ask(u32::MAX, code::BYTE), 0);
}

#[test]
fn programs_that_might_not_end_or_make_no_sense_are_refused() {
    let refused = |program: &[Instruction], at| {
        assert_eq!(Program::new(program), Err(Refused { at }), "{program:?}");
    };
    refused(&[], 0);
    refused(&vec![ret(0); MAX_INSTRUCTIONS + 1], MAX_INSTRUCTIONS + 1);
    refused(&[i(0, 0, 0, 1)], 0);
    for bad in [
        i(0x05, 0, 0, 1), // jumps past the end
        i(0x05, 0, 0, u32::MAX),
        i(0x15, 1, 0, 0),
        i(0x15, 0, 255, 0),
        i(0x55, 0, 0, 0),  // no such condition
        i(0x60, 0, 0, 16), // no such cell
        i(0x02, 0, 0, 16),
        i(0x12, 0, 0, 0),
        i(0x34, 0, 0, 0), // divides by zero
        i(0x94, 0, 0, 0),
        i(0x64, 0, 0, 32), // shifts everything away
        i(0xb4, 0, 0, 0),  // no such operation
        i(0x38, 0, 0, 0),  // no such size
        i(0xa0, 0, 0, 0),  // no such mode
        i(0x0e, 0, 0, 0),
        i(0x8f, 0, 0, 0),
        i(0xff17, 0, 0, 0),
    ] {
        refused(&[bad, ret(0)], 0);
    }
    let longest = vec![ret(1); MAX_INSTRUCTIONS];
    assert!(Program::new(&longest).is_ok());
}

/// Whatever the checker lets through ends, and never panics.
#[test]
fn random_programs_run_to_an_end() {
    let mut random = Random::new([7; 16]);
    let mut allowed = 0;
    for _ in 0..20_000 {
        let len = 1 + random.next_u32() % 12;
        let mut program: Vec<_> = (0..len)
            .map(|_| {
                let (first, second) = (random.next_u32(), random.next_u32());
                let operand = if second & 1 == 0 { second >> 26 } else { second };
                i((first & 0xff) as u16, (first >> 8) as u8 & 7, (first >> 16) as u8 & 7, operand)
            })
            .collect();
        program.push(i(0x16, 0, 0, 0));
        if let Ok(program) = Program::new(&program) {
            allowed += 1;
            program.run([&[1; 20], &[2; 40]], &Context::default());
        }
    }
    assert!(allowed > 100, "{allowed}");
}

/// Programs that tcpdump makes, as `tcpdump -ddd` prints them; blank lines between.
fn corpus() -> Vec<Vec<Instruction>> {
    let text = include_str!("corpus.txt");
    let number = |word: Option<&str>| word.and_then(|word| word.parse().ok()).expect("a number");
    let instruction = |line: &str| {
        let mut words = line.split(' ');
        let mut next = || -> u32 { number(words.next()) };
        i(next() as u16, next() as u8, next() as u8, next())
    };
    let programs = text.split("\n\n").map(|program| {
        program.lines().filter(|line| !line.starts_with('#')).map(instruction).collect()
    });
    programs.collect()
}

#[test]
fn the_corpus_is_let_through_and_changed_programs_end() {
    let mut random = Random::new([8; 16]);
    let packets = [datagram(53), datagram(9)[..30].to_vec(), Vec::new()];
    let (mut programs, mut allowed) = (0, 0);
    for good in corpus() {
        programs += 1;
        Program::new(&good).expect("tcpdump's");
        for _ in 0..2_000 {
            let mut changed = good.clone();
            for _ in 0..=random.below(3) {
                let at = random.below(changed.len() as u32) as usize;
                let Some(instruction) = changed.get_mut(at) else { continue };
                match random.below(4) {
                    0 => instruction.code = random.next_u32() as u16 & 0xff,
                    1 => instruction.jump_true = random.next_u32() as u8,
                    2 => instruction.jump_false = random.next_u32() as u8,
                    _ => instruction.operand = random.next_u32() >> random.below(32),
                }
            }
            changed.truncate(1 + random.below(changed.len() as u32 * 2) as usize);
            let Ok(program) = Program::new(&changed) else { continue };
            allowed += 1;
            for packet in &packets {
                let (first, second) = packet.split_at(packet.len() / 3);
                program.run([first, second], &Context::default());
            }
        }
    }
    assert!(programs >= 4 && allowed > 1_000, "{programs} {allowed}");
}
