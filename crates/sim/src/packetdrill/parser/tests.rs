use super::*;
use crate::packetdrill::script::{
    Body, Call, Expected, Expression, IpInfo, Packet, TcpOption, TcpOptions, TcpPacket, flag,
};

fn events(text: &str) -> Vec<Event> {
    parse(text, &[]).unwrap().events
}

fn fault(text: &str) -> String {
    parse(text, &[]).unwrap_err().to_string()
}

#[test]
fn times() {
    let ms = Duration::from_millis;
    let (relative, absolute) = (|at| Moment::Relative(ms(at)), |at| Moment::Absolute(ms(at)));
    for (text, start, end) in [
        ("0 close(3) = 0", Start::At(absolute(0)), None),
        ("+.1 close(3) = 0", Start::At(relative(100)), None),
        ("1.5 close(3) = 0", Start::At(absolute(1500)), None),
        ("* > . 1:1(0) ack 1", Start::Any, None),
        ("+.004~+.008 > . 1:1(0)", Start::Between(relative(4), relative(8)), None),
        ("+.004~.008 > . 1:1(0)", Start::Between(relative(4), relative(8)), None),
        ("1~2 > . 1:1(0)", Start::Between(absolute(1000), absolute(2000)), None),
        ("+.1...0.200 close(3) = 0", Start::At(relative(100)), Some(relative(200))),
        ("`true`", Start::At(relative(0)), None),
    ] {
        assert_eq!(events(text)[0].when, When { start, end }, "{text}");
    }
}

#[test]
fn segments() {
    let text =
        "+0 > [ect0] SEWA. 0:10(10) ack 1 win 7 urg 2 <mss 1460,TS val 1 ecr 2,sack 1:2 3:4>";
    let options = vec![
        TcpOption::MaximumSegment(1460),
        TcpOption::Timestamps { value: 1, echo: 2 },
        TcpOption::Sack(vec![(1, 2), (3, 4)]),
    ];
    let packet = Packet {
        ip: IpInfo { ecn: Some(2), ..IpInfo::default() },
        body: Body::Tcp(TcpPacket {
            flags: flag::SYN | flag::ECE | flag::CWR | flag::AE | flag::ACK,
            sequence: 0,
            payload: 10,
            acknowledgment: Some(1),
            window: Some(7),
            urgent: Some(2),
            options: TcpOptions::These(options),
        }),
    };
    assert_eq!(events(text)[0].action, Action::Outbound(packet));
}

#[test]
fn calls() {
    let text = "+0 poll([{fd=4, events=POLLIN|POLLOUT}], -1, 0x10) = -1 EAGAIN (try (again))";
    let record = Expression::Record(vec![
        Expression::Field("fd".into(), Box::new(Expression::Number(4))),
        Expression::Field(
            "events".into(),
            Box::new(Expression::Or(vec![
                Expression::Word("POLLIN".into()),
                Expression::Word("POLLOUT".into()),
            ])),
        ),
    ]);
    let call = Call {
        name: "poll".into(),
        arguments: vec![
            Expression::List(vec![record]),
            Expression::Number(-1),
            Expression::Number(16),
        ],
        result: Expected::Errno("EAGAIN".into()),
    };
    assert_eq!(events(text)[0].action, Action::Call(call));
}

#[test]
fn options_and_code_between_events() {
    let script = parse("--mtu=1280\n+0 %{ assert 1 }%\n`true`", &[]).unwrap();
    assert_eq!((script.options[0].name.as_str(), script.events.len()), ("mtu", 2));
}

#[test]
fn what_is_not_understood_is_told_with_line_and_token() {
    for (text, expected) in [
        ("\n+x close(3) = 0", "line 2: \"x\" where a time in seconds is expected"),
        ("+0 close(3)", "line 1: the end of the script where \"=\" is expected"),
        ("+0 > S 0:5(4)", "line 1: 0:5 is not 4 octets long"),
        (
            "+0 > X 0:0(0)",
            "line 1: \"X\" where flags (F S R P . U E W A, or - for none) is expected",
        ),
        ("+0 > S 0:0(0) win 99999", "line 1: \"99999\" where a window of 16 bits is expected"),
        (
            "+0 > S 0:0(0) <foo>",
            "line 1: \"foo\" where a TCP option (mss, nop, eol, wscale, sackOK, TS, sack, ECN, FO, FOEXP) \
             is expected",
        ),
        ("+0...1 > S 0:0(0)", "line 1: only a call has a time \"a...b\""),
        ("+0 < icmp foo", "line 1: \"foo\" where unreachable or time_exceeded is expected"),
    ] {
        assert_eq!(fault(text), expected, "{text}");
    }
}
