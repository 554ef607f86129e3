use super::*;

#[test]
fn long_expressions_jump_far() {
    let ports: Vec<_> = (1..150).map(|port| format!("tcp port {port}")).collect();
    assert!(compile(&ports.join(" or ")).unwrap().len() > 1000);
    Filter::new(&ports.join(" or ")).unwrap();
    let ports: Vec<_> = (1..2000).map(|port| format!("tcp port {port}")).collect();
    assert!(compile(&ports.join(" or ")).is_err());
}

#[test]
fn mistakes_name_the_word() {
    for (text, near) in [
        ("host", "end"),
        ("host example.com", "example.com"),
        ("port 70000", "70000"),
        ("net 10.0.0.1/8", "10.0.0.1/8"),
        ("net 10.0.0.0/33", "10.0.0.0/33"),
        ("tcp port 80 udp", "udp"),
        ("(tcp", "end"),
        ("tcp)", ")"),
        ("and tcp", "and"),
        ("arp port 5", "5"),
        ("icmp[icmptype]", "end"),
        ("ip[0:3] = 1", "3"),
        ("ip[0] / 0 = 1", "="),
        ("dns[0] = 1", "dns"),
        ("vlan 5000", "5000"),
        ("less x", "x"),
        ("ip broadcast", "broadcast"),
        ("ether", "end"),
        ("", ""),
    ] {
        match Filter::new(text) {
            Ok(_) => assert!(text.is_empty(), "{text}"),
            Err(error) => assert_eq!(error.near, near, "{text}: {error}"),
        }
    }
}

#[test]
fn no_expression_is_too_deep_to_be_refused() {
    for part in ["(", "not ", "ip[", "vlan and ", "1+(", "tcp or "] {
        let text = part.repeat(1500);
        // Whatever it is, it ends.
        let _ = Filter::new(&format!("{text} tcp"));
    }
}

/// Whatever compiles is a program that the checker lets through, and that ends on any frame.
fn compiles_to_what_ends(text: &str, frames: &[Vec<u8>]) -> bool {
    match Filter::new(text) {
        Ok(filter) => {
            for frame in frames {
                filter.takes(frame);
            }
            true
        }
        Err(error) => {
            assert!(!error.to_string().is_empty(), "{text}");
            false
        }
    }
}

fn frames(random: &mut narrows_stack::random::Random) -> Vec<Vec<u8>> {
    let kinds = [&[8, 0, 0x45][..], &[8, 6, 0], &[0x81, 0, 0, 7, 8, 0, 0x4f], &[]];
    kinds
        .iter()
        .map(|kind| {
            let rest = (0..random.below(80)).map(|_| random.next_u32() as u8);
            [1_u8; 12].into_iter().chain(kind.iter().copied()).chain(rest).collect()
        })
        .collect()
}

#[test]
fn the_corpus_compiles_and_its_words_in_any_order_end() {
    let mut random = narrows_stack::random::Random::new([4; 16]);
    let lines = include_str!("corpus.txt").lines().filter(|line| !line.starts_with('#'));
    let lines: Vec<&str> = lines.collect();
    let mut words: Vec<&str> = lines.iter().flat_map(|line| line.split(' ')).collect();
    words.extend(["(", ")", "[", "]", ":", "!", "&&", "||", "-", "0x", "999999999999", "\u{e9}"]);
    let frames = frames(&mut random);
    for line in &lines {
        let (line, right) = line.strip_prefix("! ").map_or((*line, true), |line| (line, false));
        assert_eq!(compiles_to_what_ends(line, &frames), right, "{line}");
        for length in 0..line.len() {
            compiles_to_what_ends(&line[..length], &frames);
        }
    }
    let mut compiled = 0;
    for _ in 0..20_000 {
        let count = 1 + random.below(7);
        let pick = |_| words[random.below(words.len() as u32) as usize];
        let text: Vec<&str> = (0..count).map(pick).collect();
        compiled += usize::from(compiles_to_what_ends(&text.join(" "), &frames));
    }
    assert!(compiled > 100, "{compiled}");
}
