use crate::config::Configuration;
use narrows_stack::config::ConntrackConfig;
use std::{path::Path, time::Duration};

fn parse(table: &str) -> Result<ConntrackConfig, String> {
    let text = format!(
        "[[interface]]\nname = \"lan\"\ndevice = \"tap:t0\"\naddress = [\"10.0.0.2/24\"]\n{table}"
    );
    let parsed = Configuration::parse(Path::new("n.toml"), &text, &[]);
    parsed.map(|configuration| configuration.conntrack).map_err(|error| error.to_string())
}

#[test]
fn what_is_not_said_is_as_usual() {
    assert_eq!(parse(""), Ok(ConntrackConfig::default()));
    assert_eq!(parse("[conntrack]\n"), Ok(ConntrackConfig::default()));
}

#[test]
fn limits_and_times_are_read() {
    let said = parse(
        "[conntrack]\nenabled = true\nmax = 5000\nmax_per_source = 7\n\
         [conntrack.timeouts]\ntcp_established = 60\nudp = 5\ntcp_max_retrans = 9\n",
    )
    .expect("right");
    let usual = ConntrackConfig::default();
    assert_eq!((said.always, said.flows, said.flows_per_source), (true, 5000, 7));
    assert_eq!(said.timeouts.tcp_established, Duration::from_secs(60));
    assert_eq!(said.timeouts.udp, Duration::from_secs(5));
    assert_eq!(said.timeouts.tcp_retransmitting, Duration::from_secs(9));
    assert_eq!(said.timeouts.icmp, usual.timeouts.icmp);
}

#[test]
fn a_small_table_is_one_sources_at_most() {
    let said = parse("[conntrack]\nmax = 3\n").expect("right");
    assert_eq!((said.flows, said.flows_per_source), (3, 3));
}

#[test]
fn mistakes_are_refused_with_their_line() {
    for (table, words) in [
        ("[conntrack]\nmax = 99999999\n", "n.toml:6: max = 99999999: at most 16777216"),
        ("[conntrack]\nmax_per_source = 16777217\n", "n.toml:6: max_per_source = 16777217"),
        ("[conntrack]\nmax = 0\n", "n.toml:6"),
        ("[conntrack]\nmax = -1\n", "n.toml:6"),
        ("[conntrack]\nenabled = \"yes\"\n", "n.toml:6"),
        ("[conntrack]\nlimit = 5\n", "unknown field `limit`"),
        ("[conntrack.timeouts]\ntcp = 5\n", "unknown field `tcp`"),
        ("[conntrack.timeouts]\nudp = 5000000000\n", "n.toml:6"),
    ] {
        let error = parse(table).expect_err(table);
        assert!(error.contains(words), "{table}: {error}");
    }
}
