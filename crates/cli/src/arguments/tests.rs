use super::*;
use clap::CommandFactory;

#[test]
fn grammar_is_consistent() {
    Arguments::command().debug_assert();
}

#[test]
fn words_after_the_program_are_the_programs() {
    for line in [
        &["narrows", "run", "--", "iperf3", "-c", "10.0.0.1", "--socket", "x"][..],
        &["narrows", "run", "iperf3", "-c", "10.0.0.1", "--socket", "x"],
    ] {
        let arguments = Arguments::try_parse_from(line).unwrap();
        let Command::Run(run) = arguments.command else { panic!("{line:?}") };
        assert_eq!(run.command, ["iperf3", "-c", "10.0.0.1", "--socket", "x"], "{line:?}");
        assert_eq!(arguments.socket, None, "{line:?}");
    }
}

#[test]
fn options_of_an_object_may_stand_before_it() {
    for (line, expected) in [
        ("narrows -j -s link show", "narrows link -j -s show"),
        ("narrows --socket -x -j addr", "narrows --socket -x addr -j"),
        ("narrows --socket=x -d link", "narrows --socket=x link -d"),
        ("narrows link -s", "narrows link -s"),
        ("narrows -4 route", "narrows route"),
        ("narrows -o addr", "narrows addr -o"),
        ("narrows -br -j addr show up", "narrows addr --brief -j show up"),
        ("narrows --version", "narrows --version"),
        ("narrows -x", "narrows -x"),
        ("narrows run ls -l", "narrows run ls -l"),
        ("narrows", "narrows"),
    ] {
        let words = line.split(' ').map(OsString::from).collect();
        let expected: Vec<_> = expected.split(' ').map(OsString::from).collect();
        assert_eq!(options_after_the_object(words), expected, "{line}");
    }
    let words = ["narrows", "-j", "-s", "link"].map(OsString::from).to_vec();
    let arguments = Arguments::parse_from(options_after_the_object(words));
    let Command::Link(query) = arguments.command else { panic!() };
    assert!(query.json && query.statistics && !query.details);
}

#[test]
fn short_options_combine_as_in_ss() {
    let arguments = Arguments::try_parse_from(["narrows", "ss", "-tanpiH"]).unwrap();
    let Command::Ss(ss) = arguments.command else { panic!() };
    assert!(ss.tcp && ss.all && ss.numeric && ss.processes && ss.info && ss.no_header);
    assert!(!ss.listening && !ss.json);
}

#[test]
fn seconds_may_have_a_fraction() {
    for (text, expected) in [
        ("0.2", Some(Duration::from_millis(200))),
        ("3", Some(Duration::from_secs(3))),
        ("-1", None),
        ("x", None),
    ] {
        let line = ["narrows", "ping", "10.0.0.1", &format!("--interval={text}")];
        let interval = match Arguments::try_parse_from(line).map(|a| a.command) {
            Ok(Command::Ping(ping)) => Some(ping.interval),
            _ => None,
        };
        assert_eq!(interval, expected, "{text}");
    }
}
