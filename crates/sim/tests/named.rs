//! What can happen to a connection, a scenario each.

use narrows_sim::{
    Connection, LinkSettings, Scenario,
    app::{self, Action},
    link::Offload,
    scenario::{Ends, Incident, Report},
};
use narrows_stack::{Error, counters::DropReason, request::SocketOption, time::Duration};

const MS: Duration = Duration::from_millis(1);

/// A path of 20 ms each way.
fn path() -> LinkSettings {
    LinkSettings { delay: 20 * MS, ..LinkSettings::default() }
}

fn retransmissions(report: &Report) -> u64 {
    report.counters.iter().map(|counters| counters.tcp_retransmissions).sum()
}

fn dropped(report: &Report, reason: DropReason) -> u64 {
    report.counters.iter().map(|counters| counters.dropped(reason)).sum()
}

#[test]
fn a_faultless_path_needs_no_retransmission() {
    for offload in [Offload::None, Offload::Cut, Offload::Whole] {
        let report = Scenario::new("faultless", 1)
            .link(LinkSettings { offload, ..path() })
            .connection(Connection::new(app::upload(3_000_000)))
            .connection(Connection::new(app::download(3_000_000)))
            .run();
        assert_eq!(retransmissions(&report), 0, "{offload:?}");
        let drops: Vec<_> = report.counters.iter().flat_map(|c| c.drops()).collect();
        assert_eq!(drops, [], "{offload:?}");
    }
}

#[test]
fn ten_percent_loss() {
    let report = Scenario::new("loss", 2)
        .link(LinkSettings { loss: 1000, ..path() })
        .connection(Connection::new(app::upload(500_000)))
        .connection(Connection::new(app::download(500_000)))
        .run();
    assert!(retransmissions(&report) > 20);
}

#[test]
fn reordering_loses_nothing() {
    let report = Scenario::new("reordering", 3)
        .link(LinkSettings { reorder: 1000, reorder_by: 5 * MS, ..path() })
        .connection(Connection::new(app::upload(2_000_000)))
        .run();
    assert_eq!(dropped(&report, DropReason::TcpOutOfOrderLimit), 0);
}

#[test]
fn duplicates_are_recognised() {
    Scenario::new("duplicates", 4)
        .link(LinkSettings { duplicate: 5000, ..path() })
        .connection(Connection::new(app::echo(500_000)))
        .run();
}

#[test]
fn corruption_is_found_by_checksums() {
    let report = Scenario::new("corruption", 5)
        .link(LinkSettings { corrupt: 500, ..path() })
        .connection(Connection::new(app::exchange(400_000, 400_000)))
        .run();
    assert!(dropped(&report, DropReason::TcpChecksum) > 5);
}

#[test]
fn a_reader_that_pauses_closes_the_window_and_opens_it() {
    let scripts = app::slow_reader(600_000, 60_000, 2000 * MS);
    Scenario::new("zero-window", 6)
        .config(|config| config.tcp.receive_limit = 50_000)
        .connection(Connection::new(scripts))
        .run();
}

#[test]
fn a_lost_window_update_is_asked_for() {
    // The server reads everything at once after 5 s; the update that says so is lost.
    let server = vec![Action::Pause(5000 * MS), Action::ReceiveToEnd, Action::Close];
    let silence = |at, silent| (at * MS, Incident::Silent { host: 1, silent });
    let mut scenario = Scenario::new("lost-window-update", 7)
        .config(|config| config.tcp.receive_limit = 50_000)
        .connection(Connection::new((app::upload(300_000).0, server)));
    scenario.incidents = vec![silence(4900, true), silence(5300, false)];
    scenario.run();
}

#[test]
fn a_peer_that_vanishes_times_out() {
    // ARP goes on: it is the other program's machine that hangs.
    let mut connection = Connection::new(app::upload(50_000_000));
    connection.ends = Ends::Fails(Error::TimedOut);
    connection.options = vec![SocketOption::KeepAlive(true)];
    let lose = vec![(1000, u64::MAX / 2)];
    let mut scenario =
        Scenario::new("vanished", 8).link(LinkSettings { lose, ..path() }).connection(connection);
    // The server waits for more: two hours until it asks, and then some.
    scenario.deadline = Duration::from_secs(9000);
    scenario.run();
}

#[test]
fn a_machine_that_vanishes_is_unreachable_in_the_end() {
    let mut connection = Connection::new(app::upload(50_000_000));
    connection.ends = Ends::Fails(Error::HostUnreachable);
    connection.options =
        vec![SocketOption::KeepAlive(true), SocketOption::KeepAliveIdle(Duration::from_secs(60))];
    let mut scenario = Scenario::new("switched-off", 23).link(path()).connection(connection);
    scenario.incidents =
        [0, 1].map(|host| (500 * MS, Incident::Silent { host, silent: true })).to_vec();
    // A connection that stood gets its fifteen tries, though ARP knows better.
    let report = scenario.run();
    assert!(report.programs_done > Duration::from_secs(500), "{:?}", report.programs_done);
}

#[test]
fn a_user_timeout_is_shorter() {
    let mut connection = Connection::new(app::upload(50_000_000));
    connection.ends = Ends::Fails(Error::TimedOut);
    connection.options = vec![
        SocketOption::UserTimeout(Some(Duration::from_secs(5))),
        SocketOption::KeepAlive(true),
        SocketOption::KeepAliveIdle(Duration::from_secs(4)),
        SocketOption::KeepAliveInterval(Duration::from_secs(2)),
    ];
    let mut scenario = Scenario::new("user-timeout", 9).link(path()).connection(connection);
    scenario.incidents = vec![(500 * MS, Incident::Silent { host: 1, silent: true })];
    let report = scenario.run();
    assert!(report.programs_done < Duration::from_secs(20), "{:?}", report.programs_done);
}

#[test]
fn nobody_answers_a_handshake() {
    let mut connection = Connection::new(app::upload(1));
    connection.ends = Ends::Fails(Error::TimedOut);
    let mut scenario = Scenario::new("silence", 10).connection(connection);
    // ARP is answered, and nothing after that.
    scenario.hosts[1].1.lose = vec![(0, 1000)];
    scenario.run();
}

#[test]
fn a_host_that_is_not_there() {
    let mut connection = Connection::new(app::upload(1));
    connection.ends = Ends::Fails(Error::HostUnreachable);
    let mut scenario = Scenario::new("nobody", 11).connection(connection);
    scenario.incidents = vec![(Duration::ZERO, Incident::Silent { host: 1, silent: true })];
    let report = scenario.run();
    assert!(report.programs_done < Duration::from_secs(60), "{:?}", report.programs_done);
}

#[test]
fn both_directions_at_once() {
    let report = Scenario::new("exchange", 12)
        .link(LinkSettings { rate: Some(50_000_000), ..path() })
        .connection(Connection::new(app::exchange(3_000_000, 2_000_000)))
        .run();
    // 3 MB at 50 Mbit/s take half a second.
    assert!(report.programs_done < Duration::from_secs(2), "{:?}", report.programs_done);
}

#[test]
fn simultaneous_close() {
    // Both get their last byte at the same moment, and close: the FINs cross.
    let script = vec![
        Action::Exchange { send: 1000, receive: 1000 },
        Action::Pause(500 * MS),
        Action::Close,
    ];
    let report = Scenario::new("simultaneous-close", 13)
        .link(path())
        .connection(Connection::new((script.clone(), script)))
        .run();
    assert_eq!(report.counters.iter().map(|c| c.tcp_resets_sent).sum::<u64>(), 0);
}

#[test]
fn handshake_segments_are_lost() {
    // The client's SYN; the server's SYN-ACK; the client's ACK.
    for (name, client, server) in [
        ("syn", vec![(0, 1)], vec![]),
        ("syn-ack", vec![], vec![(0, 1)]),
        ("ack", vec![(1, 1)], vec![]),
    ] {
        let mut scenario =
            Scenario::new(name, 14).link(path()).connection(Connection::new(app::echo(1000)));
        scenario.hosts[0].1.lose = client;
        scenario.hosts[1].1.lose = server;
        let report = scenario.run();
        assert!(report.programs_done < Duration::from_secs(4), "{name}: {report:?}");
    }
}

#[test]
fn a_tiny_mtu() {
    Scenario::new("tiny-mtu", 15)
        .link(LinkSettings { mtu: 576, loss: 100, ..path() })
        .connection(Connection::new(app::exchange(100_000, 100_000)))
        .run();
}

#[test]
fn hosts_that_disagree_about_the_mtu() {
    let mut scenario = Scenario::new("mixed-mtu", 16)
        .connection(Connection::new(app::upload(500_000)))
        .connection(Connection::new(app::download(500_000)));
    scenario.hosts[0].1.mtu = 9000;
    scenario.run();
}

#[test]
fn half_closed_for_long() {
    let script =
        vec![Action::ReceiveToEnd, Action::Pause(Duration::from_secs(300)), Action::Send(5)];
    Scenario::new("half-closed", 17)
        .link(path())
        .connection(Connection::new((app::upload(10_000).0, script)))
        .run();
}

#[test]
fn a_reset_is_no_end() {
    let mut connection = Connection::new(app::abort_after(200_000));
    connection.ends = Ends::Broken;
    let report = Scenario::new("reset", 18).link(path()).connection(connection).run();
    assert_eq!(report.counters[0].tcp_resets_sent, 1);
}

#[test]
fn a_reset_ends_what_nobody_holds_any_more() {
    let mut connection = Connection::new(app::abandon(2_000_000));
    connection.ends = Ends::Broken;
    let report = Scenario::new("abandoned", 26).link(path()).connection(connection).run();
    assert!(report.ended < Duration::from_secs(2), "{:?}", report.ended);
}

#[test]
fn data_that_nobody_reads_is_reset() {
    // The server closes with bytes unread.
    let server = vec![Action::Receive(10), Action::Pause(1000 * MS), Action::Close];
    let client = vec![Action::Send(10_000), Action::ReceiveToEnd];
    let mut connection = Connection::new((client, server));
    connection.ends = Ends::Fails(Error::ConnectionReset);
    Scenario::new("unread", 19).link(path()).connection(connection).run();
}

#[test]
fn small_writes_are_gathered() {
    let mut connection = Connection::new(app::upload(20_000));
    connection.calls.send = 10;
    let report = Scenario::new("small-writes", 20).link(path()).connection(connection).run();
    let segments = report.counters[0].tcp_segments_sent;
    assert!(segments < 100, "{segments} segments");
}

#[test]
fn a_thousand_connections_at_once() {
    let mut scenario = Scenario::new("thousand", 21).link(path());
    for number in 0..1000 {
        let mut connection = Connection::new(app::requests(3, 200, 3000));
        connection.at = number * MS / 10;
        scenario = scenario.connection(connection);
    }
    scenario.run();
}

#[test]
fn connections_to_itself() {
    let mut scenario = Scenario::new("loopback", 22);
    for scripts in [app::upload(1_000_000), app::echo(300_000), app::exchange(400_000, 100_000)] {
        let connection = Connection { server: 0, ..Connection::new(scripts) };
        scenario = scenario.connection(connection);
    }
    scenario.run();
}

#[test]
fn sequence_numbers_wrap() {
    // Initial sequence numbers follow a clock of 4 µs (RFC 6528): that tells when to start.
    let mut scenario = Scenario::new("wrap", 24)
        .link(LinkSettings { loss: 200, reorder: 200, reorder_by: 5 * MS, ..path() })
        .connection(Connection::new(app::exchange(400_000, 400_000)));
    let first = scenario.run().client_iss[0];
    let ticks = first.wrapping_neg().wrapping_sub(200_000);
    scenario.start += Duration::from_micros(4) * ticks;
    let report = scenario.run();
    assert!(report.client_iss[0].wrapping_add(400_000) < 400_000, "{report:?}");
}

#[test]
fn a_peer_that_never_closes_is_not_waited_for() {
    // The client is gone for good; its connection lasts for the 60 s of an orphan in FIN-WAIT-2.
    let client = vec![Action::Send(1000), Action::Close];
    let server = vec![Action::ReceiveToEnd, Action::Pause(Duration::from_secs(100)), Action::Close];
    let report = Scenario::new("fin-wait-2", 25)
        .link(path())
        .connection(Connection::new((client, server)))
        .run();
    assert_eq!(report.counters[0].dropped(DropReason::TcpNoSocket), 1);
}
