use super::*;

const MARK: Mark = Mark { address: Ipv4Addr::new(10, 0, 0, 2), time: 0x0102_0304 };

fn ours(address: Ipv4Addr) -> bool {
    address == MARK.address
}

#[test]
fn options_are_checked_whole() {
    let malformed = |pointer| Err(Refusal::Malformed { pointer });
    for (options, verdict) in [
        (&[][..], Ok(())),
        (&[1, 1, 1, 0], Ok(())),
        (&[148, 4, 0, 0], Ok(())),
        (&[0, 99, 99, 99], Ok(())),
        // Unknown ones pass.
        (&[30, 4, 1, 2], Ok(())),
        // Cut short, without length, of no length.
        (&[7, 7, 4, 0], malformed(20)),
        (&[1, 1, 1, 7], malformed(23)),
        (&[7, 0, 4, 0], malformed(20)),
        (&[7, 1, 4, 0], malformed(20)),
        // Record route: no pointer, one before the first, inside, past the end.
        (&[7, 2, 1, 1], malformed(21)),
        (&[7, 7, 3, 0, 0, 0, 0, 0], malformed(22)),
        (&[7, 7, 4, 0, 0, 0, 0, 0], Ok(())),
        (&[7, 7, 5, 0, 0, 0, 0, 0], malformed(22)),
        (&[7, 7, 8, 0, 0, 0, 0, 0], Ok(())),
        (&[7, 7, 255, 0, 0, 0, 0, 0], Ok(())),
        // Timestamp: no flags, unknown flags, pointer, overflow.
        (&[68, 3, 5, 0], malformed(21)),
        (&[68, 8, 5, 2, 0, 0, 0, 0], malformed(23)),
        (&[68, 8, 4, 0, 0, 0, 0, 0], malformed(22)),
        (&[68, 8, 5, 0, 0, 0, 0, 0], Ok(())),
        (&[68, 8, 5, 1, 0, 0, 0, 0], malformed(22)),
        (&[68, 8, 9, 0xe0, 0, 0, 0, 0], Ok(())),
        (&[68, 8, 9, 0xf0, 0, 0, 0, 0], malformed(23)),
        (&[68, 8, 9, 0xf3, 0, 0, 0, 0], Ok(())),
        // Twice, and behind another.
        (&[148, 4, 0, 0, 148, 4, 0, 0], malformed(24)),
        (&[148, 3, 0, 0], malformed(21)),
        (&[131, 3, 4, 0], Err(Refusal::SourceRoute)),
        (&[1, 137, 3, 4], Err(Refusal::SourceRoute)),
    ] {
        assert_eq!(check(options), verdict, "{options:?}");
    }
}

#[test]
fn what_is_recorded() {
    for (before, after) in [
        (&[7, 7, 4, 0, 0, 0, 0, 0][..], &[7, 7, 8, 10, 0, 0, 2, 0][..]),
        (&[7, 7, 8, 1, 1, 1, 1, 0], &[7, 7, 8, 1, 1, 1, 1, 0]),
        (&[68, 8, 5, 0, 0, 0, 0, 0], &[68, 8, 9, 0, 1, 2, 3, 4]),
        (&[68, 8, 9, 0x10, 9, 9, 9, 9], &[68, 8, 9, 0x20, 9, 9, 9, 9]),
        (&[68, 12, 5, 1, 0, 0, 0, 0, 0, 0, 0, 0], &[68, 12, 13, 1, 10, 0, 0, 2, 1, 2, 3, 4]),
        (&[68, 12, 5, 3, 10, 0, 0, 2, 0, 0, 0, 0], &[68, 12, 13, 3, 10, 0, 0, 2, 1, 2, 3, 4]),
        (&[68, 12, 5, 3, 10, 0, 0, 9, 0, 0, 0, 0], &[68, 12, 5, 3, 10, 0, 0, 9, 0, 0, 0, 0]),
        (&[148, 4, 0, 0], &[148, 4, 0, 0]),
    ] {
        let mut options = before.to_vec();
        assert_eq!(check(&options), Ok(()), "{before:?}");
        record(&mut options, MARK, ours);
        assert_eq!(options, after);
        assert_eq!(check(&options), Ok(()), "{after:?}");
    }
}

#[test]
fn what_goes_back_and_what_goes_on() {
    let route = [7, 7, 4, 0, 0, 0, 0];
    let alert = [148, 4, 0, 0];
    let options = [&route[..], &[1], &alert].concat();
    assert_eq!(echoed(&options), route);
    assert_eq!(copied(&options), alert);
}

/// Whatever the bytes: no panic, and what was found right stays right.
#[test]
fn any_bytes() {
    let mut random = crate::random::Random::new([5; 16]);
    let kinds = [0, 1, 7, 68, 131, 148, 30];
    for _ in 0..50_000 {
        let len = random.below(11) as usize * 4;
        let mut options: Vec<u8> = (0..len)
            .map(|_| match random.below(3) {
                0 => kinds[random.below(7) as usize],
                1 => random.below(16) as u8,
                _ => random.next_u32() as u8,
            })
            .collect();
        if check(&options).is_ok() {
            record(&mut options, MARK, ours);
            assert_eq!(options.len(), len);
            assert!(echoed(&options).len() <= len && copied(&options).len() <= len);
        }
    }
}
