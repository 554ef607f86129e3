use super::{
    ast::{Family, Ruleset},
    check,
    compile::{Names, compile},
    parser::List,
    print::{Live, print},
};
use narrows_stack::{Instant, InterfaceId, random::Random};

const EVERY_WORD: &str = include_str!("../../../cli/tests/end_to_end/filter/every_word.nft");
const OBJECTS: &str = include_str!("../../../cli/tests/end_to_end/filter/objects.nft");

fn printed(ruleset: &Ruleset) -> String {
    print(ruleset, &List::Ruleset(None), &Live::default(), false)
}

fn compiled(ruleset: &Ruleset) -> Result<bool, String> {
    let interface = |name: &str| (name != "none").then_some(InterfaceId(1));
    let names = Names { interface: &interface };
    compile(ruleset, &names, Instant::ZERO, &mut Random::new([1; 16])).map(|made| made.is_some())
}

#[test]
fn what_is_printed_reads_back_the_same() {
    for written in [EVERY_WORD, OBJECTS] {
        let ruleset = check(written).expect("sound");
        let text = printed(&ruleset);
        let again = check(&text).expect("what was printed");
        assert_eq!(printed(&again), text);
        assert_eq!(compiled(&again), Ok(true));
    }
}

#[test]
fn what_cannot_be_said_of_objects_and_logs_is_refused_by_line_and_word() {
    let cases = [
        ("counter a { packets x }", "line 3: \"x\" is not a number"),
        ("quota a { 5 }", "line 3: bytes, kbytes or mbytes is missing before \"}\""),
        ("limit a { 5/second }", "line 3: \"rate\" is missing before \"5/second\""),
        (
            "synproxy a { }",
            "line 3: \"synproxy\" is not supported in a table: chain, set, map, counter, quota and limit are",
        ),
        (
            "chain c { counter name ip saddr map @m; }",
            "line 3: \"saddr\" is not supported in a rule",
        ),
        (
            "chain c { log level loud; }",
            "line 3: \"loud\" is no level: emerg, alert, crit, err, warn, notice, info, debug are",
        ),
        ("chain c { log group 70000; }", "line 3: group 70000 is more than 65535"),
        ("chain c { log group 1 level debug; }", "line 3: what goes to a group has no level"),
        (
            "chain c { log snaplen 5; }",
            "line 3: \"log snaplen\" is not supported: prefix, level and group are",
        ),
    ];
    for (inside, wanted) in cases {
        let text = format!("table ip t {{\n\n{inside}\n}}\n");
        let error = check(&text).expect_err(inside).to_string();
        assert_eq!(error, wanted);
    }
    let unknown =
        "table ip t { chain c { type filter hook input priority 0; counter name x; }\n}\n";
    let error = compiled(&check(unknown).expect("read")).expect_err("no such counter");
    assert!(error.ends_with("there is no counter x in this table"), "{error}");
}

#[test]
fn words_may_be_written_in_more_than_one_way() {
    let rule = |text: &str| {
        let ruleset = check(&format!("add table t; add chain t c; add rule t c {text}"));
        let ruleset = ruleset.unwrap_or_else(|error| panic!("{text}: {error}"));
        let chain = &ruleset.tables[&(Family::Ip, "t".to_owned())].chains["c"];
        super::print::rule(&chain.rules[0])
    };
    let cases = [
        ("tcp dport ssh", "tcp dport 22"),
        ("tcp dport == 22", "tcp dport 22"),
        ("tcp dport {22,80-90}", "tcp dport { 22, 80-90 }"),
        ("ip saddr 10.1.2.3/8", "ip saddr 10.0.0.0/8"),
        ("ip saddr 10.0.0.0-10.0.0.255", "ip saddr 10.0.0.0/24"),
        ("ip saddr 0.0.0.0/0", "ip saddr *"),
        ("ip protocol 6", "ip protocol tcp"),
        ("tcp flags syn,ack", "tcp flags syn,ack"),
        ("tcp flags == syn", "tcp flags == syn"),
        ("tcp flags & (syn|ack) == 0x2", "tcp flags syn / syn,ack"),
        ("tcp flags syn / syn,ack", "tcp flags syn / syn,ack"),
        ("iif lo", "iif \"lo\""),
        ("meta iifname eth0", "iifname \"eth0\""),
        ("mark 5", "meta mark 0x00000005"),
        ("meta mark and 0xff == 0x10", "meta mark & 0x000000ff == 0x00000010"),
        ("mark set mark | 0x1", "meta mark set meta mark | 0x00000001"),
        // As nft takes bits apart: what is set besides is kept too.
        ("meta mark set mark & 0xf0 or 0x1", "meta mark set meta mark & 0x000000f1 | 0x00000001"),
        ("ct state { new, 5 }", "ct state { new, invalid | related }"),
        ("tcp flags { syn | ack, fin }", "tcp flags { syn | ack, fin }"),
        ("ct state related,established", "ct state established,related"),
        ("ct state & (new | related) != 0", "ct state related,new"),
        ("snat 10.0.0.1", "snat to 10.0.0.1"),
        ("queue", "queue to 0"),
        ("queue num 3", "queue to 3"),
        ("queue num 3-5 fanout,bypass", "queue flags bypass,fanout to 3-5"),
        ("queue flags bypass to 7", "queue flags bypass to 7"),
        ("udp dport 1 redirect to :7-9", "udp dport 1 redirect to :7-9"),
        ("limit rate 3/hour burst 9 packets", "limit rate 3/hour burst 9 packets"),
        ("limit rate 2 mbytes/second", "limit rate 2 mbytes/second"),
        ("quota until 2048 bytes", "quota 2 kbytes"),
        ("reject with icmpx type no-route", "reject with icmp net-unreachable"),
        ("ether saddr 02:00:00:AB:cd:01", "ether saddr 02:00:00:ab:cd:01"),
        ("icmp type 8", "icmp type echo-request"),
        ("ip dscp 46", "ip dscp ef"),
        ("accept comment \"why\"", "accept comment \"why\""),
    ];
    for (written, wanted) in cases {
        assert_eq!(rule(written), wanted, "{written}");
    }
}

#[test]
fn definitions_and_lines_that_go_on() {
    let text = "define ports = { 22, 80 }\ndefine host = 10.0.0.1\n\
                table ip t {\n chain c {\n ip saddr $host \\\n tcp dport $ports accept\n }\n}\n";
    let text = printed(&check(text).expect("sound"));
    assert!(text.contains("\t\tip saddr 10.0.0.1 tcp dport { 22, 80 } accept\n"), "{text}");
}

/// Any text is a ruleset or an error.
#[test]
fn no_text_is_too_strange() {
    let mut random = Random::new([3; 16]);
    let words: Vec<&str> = EVERY_WORD.split_whitespace().collect();
    let (mut taken, mut refused) = (0, 0);
    for _ in 0..4_000 {
        let mut text = EVERY_WORD.to_owned();
        for _ in 0..=random.below(3) {
            let mut at = random.below(text.len() as u32) as usize;
            while !text.is_char_boundary(at) {
                at -= 1;
            }
            match random.below(4) {
                0 => text.truncate(at),
                1 => text.insert(at, char::from(random.below(128) as u8)),
                2 => text.insert_str(at, words[random.below(words.len() as u32) as usize]),
                _ => drop(text.remove(at.min(text.len() - 1))),
            }
            if text.is_empty() {
                text.push(' ');
            }
        }
        match check(&text).map(|ruleset| (compiled(&ruleset), ruleset)) {
            Ok((Ok(_), ruleset)) => {
                taken += 1;
                let text = printed(&ruleset);
                let again = check(&text).unwrap_or_else(|error| panic!("{error}\n{text}"));
                assert_eq!(printed(&again), text);
            }
            Ok((Err(_), _)) | Err(_) => refused += 1,
        }
    }
    assert!(taken > 100 && refused > 1_000, "{taken} were taken, {refused} refused");
}
