//! `narrows ss`: the sockets of every program, in the columns of ss(8).

use crate::{
    arguments::Ss,
    report::{self, Align},
};
use anyhow::{Context, Result, ensure};
use filter::Filter;
use narrows_client::{Error, Stack, ipc};
use narrows_ipc::message::{Owner, SocketRow, TcpInfo, TcpState};
use serde_json::{Value, json};
use std::{
    io::{self, Write},
    path::Path,
    time::Duration,
};

mod filter;
mod inspectors;

pub fn execute(options: &Ss, stack: &Stack, out: &mut dyn Write) -> Result<()> {
    if options.inspectors {
        return inspectors::execute(options, stack, out);
    }
    let filter = Filter::parse(&options.filter)?;
    let mut rows = stack.sockets()?;
    rows.retain(|row| is_kind_asked_for(options, row) && is_asked_for(options, row.state));
    rows.retain(|row| filter.names(row));
    if options.kill {
        ensure!(
            !filter.is_empty(),
            "--kill ends what a filter names: write for instance dport = :80"
        );
        kill(stack, &mut rows)?;
    }
    if options.json {
        report::write_json(out, &rows.iter().map(to_json).collect())?;
    } else {
        write_sockets(out, options, &rows)?;
    }
    Ok(())
}

/// Ends the TCP connections among `rows`, and leaves those in it that were ended.
fn kill(stack: &Stack, rows: &mut Vec<SocketRow>) -> Result<()> {
    let mut failure = None;
    rows.retain(|row| {
        let Some(remote) = row.remote.filter(|_| row.protocol == "tcp") else { return false };
        match stack.kill(row.local, remote) {
            Ok(()) => true,
            // It went with its other end, or by itself.
            Err(Error::Refused(ipc::Error::NoSuchEntry)) => false,
            Err(error) => {
                failure.get_or_insert((row.local, remote, error));
                false
            }
        }
    });
    match failure {
        None => Ok(()),
        Some((local, remote, error)) => {
            Err(error).with_context(|| format!("{local} to {remote} is not ended"))
        }
    }
}

/// Of all kinds, unless some are named; a ping socket is of none of those.
fn is_kind_asked_for(options: &Ss, row: &SocketRow) -> bool {
    let named = options.tcp || options.udp || options.raw || options.packet;
    match (row.protocol.as_str(), named) {
        (_, false) => true,
        ("tcp", true) => options.tcp,
        ("udp", true) => options.udp,
        ("raw", true) => options.raw,
        ("p_raw", true) => options.packet,
        _ => false,
    }
}

/// ss(8) shows connections; with `-l` listeners instead, with `-a` everything.
fn is_asked_for(options: &Ss, state: TcpState) -> bool {
    let listens = matches!(state, TcpState::Listen | TcpState::Closed);
    let passes_by = matches!(state, TcpState::TimeWait | TcpState::SynReceived);
    options.all || if options.listening { listens } else { !listens && !passes_by }
}

/// `*` is any port.
fn endpoint(address: std::net::SocketAddr) -> String {
    match address.port() {
        0 if address.is_ipv6() => format!("[{}]:*", address.ip()),
        0 => format!("{}:*", address.ip()),
        _ => address.to_string(),
    }
}

fn peer(row: &SocketRow) -> String {
    match (row.remote, row.local.is_ipv6()) {
        (Some(remote), _) => endpoint(remote),
        (None, false) => "0.0.0.0:*".to_owned(),
        (None, true) => "[::]:*".to_owned(),
    }
}

fn program(owner: &Owner) -> &str {
    let name = Path::new(&owner.executable).file_name().and_then(|name| name.to_str());
    name.unwrap_or(&owner.executable)
}

/// The last column.
fn remarks(options: &Ss, row: &SocketRow) -> String {
    let processes = if options.processes { processes(row) } else { String::new() };
    let cut_through = if row.cut_through { "cut-through" } else { "" };
    let lost = if row.lost > 0 { format!("lost:{}", row.lost) } else { String::new() };
    let all = [processes.as_str(), cut_through, &lost];
    let said: Vec<_> = all.into_iter().filter(|word| !word.is_empty()).collect();
    said.join(" ")
}

/// Who has the socket, and who is at the other end if that is a program here.
fn processes(row: &SocketRow) -> String {
    let both = [("users", &row.owner), ("peer", &row.peer)];
    let words = both.iter().filter_map(|(who, owner)| Some((who, owner.as_ref()?)));
    let words: Vec<_> = words.map(|(who, owner)| format!("{who}:({})", process(owner))).collect();
    words.join(" ")
}

fn process(owner: &Owner) -> String {
    let ended = if owner.ended { ",ended" } else { "" };
    format!("(\"{}\",pid={}{ended})", program(owner), owner.pid)
}

pub fn write_sockets(out: &mut dyn Write, options: &Ss, rows: &[SocketRow]) -> io::Result<()> {
    let header = [
        "Netid",
        "State",
        "Recv-Q",
        "Send-Q",
        "Local Address:Port",
        "Peer Address:Port",
        "Process",
    ];
    let cells = |row: &SocketRow| {
        [
            row.protocol.clone(),
            row.state.name().to_owned(),
            row.receive_queue.to_string(),
            row.send_queue.to_string(),
            endpoint(row.local),
            peer(row),
            remarks(options, row),
        ]
    };
    let mut table: Vec<[String; 7]> = Vec::with_capacity(rows.len() + 1);
    if !options.no_header {
        table.push(header.map(str::to_owned));
    }
    table.extend(rows.iter().map(cells));

    let mut text = Vec::new();
    // As in ss(8), one kind of socket asked for needs no column that names it.
    if options.tcp != options.udp {
        let narrow: Vec<[String; 6]> = table.into_iter().map(|[_, rest @ ..]| rest).collect();
        use Align::{Left, Right};
        report::write_table(&mut text, [Left, Right, Right, Right, Left, Left], &narrow)?;
    } else {
        use Align::{Left, Right};
        report::write_table(&mut text, [Left, Left, Right, Right, Right, Left, Left], &table)?;
    }
    let header_lines = usize::from(!options.no_header);
    for (number, line) in text.split_inclusive(|byte| *byte == b'\n').enumerate() {
        out.write_all(line)?;
        let row = number.checked_sub(header_lines).and_then(|index| rows.get(index));
        if let (true, Some(info)) = (options.info, row.and_then(|row| row.tcp.as_deref())) {
            writeln!(out, "\t {}", details(info))?;
        }
    }
    Ok(())
}

fn milliseconds(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e6).round() / 1e3
}

/// The line `ss -i` adds, with the words it uses.
fn details(info: &TcpInfo) -> String {
    let mut words: Vec<String> = Vec::new();
    words.extend(info.timestamps.then(|| "ts".to_owned()));
    words.extend(info.sack.then(|| "sack".to_owned()));
    words.extend(info.ecn.then(|| "ecn".to_owned()));
    words.extend(info.accurate_ecn.then(|| "accecn".to_owned()));
    words.push(info.congestion.clone());
    words.push(format!("wscale:{},{}", info.send_window_scale, info.receive_window_scale));
    words.push(format!("rto:{}", milliseconds(info.retransmission_timeout)));
    words.extend((info.backoff > 0).then(|| format!("backoff:{}", info.backoff)));
    words.push(format!(
        "rtt:{}/{}",
        milliseconds(info.smoothed_rtt),
        milliseconds(info.rtt_variance)
    ));
    words.extend(
        (!info.acknowledgment_timeout.is_zero())
            .then(|| format!("ato:{}", milliseconds(info.acknowledgment_timeout))),
    );
    words.push(format!("mss:{}", info.send_mss));
    words.push(format!("pmtu:{}", info.path_mtu));
    words.push(format!("rcvmss:{}", info.peer_segment));
    words.push(format!("advmss:{}", info.receive_mss));
    // In segments, as ss(8) counts it.
    words.push(format!("cwnd:{}", info.congestion_window / u32::from(info.send_mss.max(1))));
    let segments = |bytes: u32| u64::from(bytes.div_ceil(u32::from(info.send_mss.max(1))));
    let threshold = info.slow_start_threshold;
    let is_set = threshold < u32::MAX / 2;
    words.extend(
        is_set.then(|| format!("ssthresh:{}", threshold / u32::from(info.send_mss.max(1)))),
    );
    for (name, value) in [
        ("bytes_sent", info.bytes_sent),
        ("bytes_retrans", info.bytes_retransmitted),
        ("bytes_acked", info.bytes_acknowledged),
        ("bytes_received", info.bytes_received),
        ("segs_out", info.segments_sent),
        ("segs_in", info.segments_received),
        ("data_segs_out", info.text_segments_sent),
        ("data_segs_in", info.text_segments_received),
        ("delivered", info.delivered.into()),
        ("delivered_ce", info.delivered_marked.into()),
        ("retrans", info.retransmissions),
        ("unacked", segments(info.bytes_outstanding)),
        ("sacked", segments(info.bytes_sacked)),
        ("lost", segments(info.bytes_lost)),
        ("dsack_dups", info.duplicates_reported.into()),
        ("reord_seen", info.reorderings.into()),
        ("rcv_ooopack", info.out_of_order.into()),
        ("rcv_ssthresh", info.receive_limit.into()),
        ("notsent", info.bytes_unsent.into()),
        ("rcv_wnd", info.receive_window.into()),
        ("snd_wnd", info.send_window.into()),
    ] {
        words.extend((value > 0).then(|| format!("{name}:{value}")));
    }
    for (name, rate) in [("pacing_rate", info.pacing_rate), ("delivery_rate", info.delivery_rate)] {
        words.extend(rate.map(|bytes| format!("{name} {}bps", bytes.saturating_mul(8))));
    }
    words.extend(info.delivery_rate_app_limited.then(|| "app_limited".to_owned()));
    for (name, time) in [
        ("busy", info.busy),
        ("rwnd_limited", info.window_limited),
        ("sndbuf_limited", info.buffer_limited),
    ] {
        words.extend((!time.is_zero()).then(|| format!("{name}:{}ms", time.as_millis())));
    }
    words.push(format!("minrtt:{}", milliseconds(info.min_rtt)));
    words.join(" ")
}

fn to_json(row: &SocketRow) -> Value {
    let mut json = json!({
        "netid": row.protocol,
        "state": row.state.name(),
        "recv-q": row.receive_queue,
        "send-q": row.send_queue,
        "lost": row.lost,
        "local": { "address": row.local.ip(), "port": row.local.port() },
    });
    if let Some(remote) = row.remote {
        json["peer"] = json!({ "address": remote.ip(), "port": remote.port() });
    }
    for (who, owner) in [("process", &row.owner), ("peer-process", &row.peer)] {
        let Some(owner) = owner else { continue };
        json[who] = json!({
            "name": program(owner),
            "executable": owner.executable,
            "pid": owner.pid,
            "uid": owner.uid,
            "gid": owner.gid,
            "cgroup": owner.cgroup,
            "ended": owner.ended,
        });
    }
    if row.cut_through {
        json["cut-through"] = json!(true);
    }
    if let Some(info) = &row.tcp {
        json["tcp"] = json!(info);
    }
    json
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(state: TcpState, local: &str, remote: Option<&str>) -> SocketRow {
        SocketRow {
            id: 1,
            protocol: "tcp".into(),
            local: local.parse().unwrap(),
            remote: remote.map(|text| text.parse().unwrap()),
            state,
            receive_queue: 0,
            send_queue: 0,
            lost: 0,
            owner: None,
            cut_through: false,
            peer: None,
            tcp: None,
        }
    }

    fn rows() -> Vec<SocketRow> {
        let owner = Owner {
            pid: 71,
            uid: 33,
            gid: 33,
            executable: "/usr/sbin/nginx".into(),
            cgroup: "/system.slice/nginx.service".into(),
            ended: false,
        };
        let mut listener = row(TcpState::Listen, "0.0.0.0:80", None);
        listener.send_queue = 511;
        listener.owner = Some(owner.clone());
        let mut connection = row(TcpState::Established, "10.0.0.2:80", Some("10.0.0.1:40000"));
        connection.receive_queue = 65_536;
        connection.owner = Some(Owner { ended: true, ..owner });
        connection.tcp = Some(Box::new(TcpInfo {
            congestion: "cubic".into(),
            congestion_window: 14_480,
            slow_start_threshold: u32::MAX,
            send_mss: 1448,
            receive_mss: 1448,
            send_window_scale: 7,
            receive_window_scale: 9,
            timestamps: true,
            sack: true,
            smoothed_rtt: Duration::from_micros(61),
            rtt_variance: Duration::from_micros(20),
            min_rtt: Duration::from_micros(44),
            retransmission_timeout: Duration::from_millis(200),
            bytes_sent: 5000,
            text_segments_sent: 4,
            busy: Duration::from_millis(3),
            path_mtu: 1500,
            peer_segment: 536,
            ..TcpInfo::default()
        }));
        vec![listener, connection]
    }

    fn print(options: &Ss) -> String {
        let mut out = Vec::new();
        write_sockets(&mut out, options, &rows()).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn columns_of_ss() {
        assert_eq!(
            print(&Ss::default()),
            "\
Netid State  Recv-Q Send-Q Local Address:Port Peer Address:Port Process
tcp   LISTEN      0    511         0.0.0.0:80 0.0.0.0:*
tcp   ESTAB   65536      0        10.0.0.2:80 10.0.0.1:40000
"
        );
    }

    #[test]
    fn one_family_without_header_with_processes_and_details() {
        let options =
            Ss { tcp: true, processes: true, info: true, no_header: true, ..Ss::default() };
        assert_eq!(
            print(&options),
            "\
LISTEN     0 511  0.0.0.0:80 0.0.0.0:*      users:((\"nginx\",pid=71))
ESTAB  65536   0 10.0.0.2:80 10.0.0.1:40000 users:((\"nginx\",pid=71,ended))
\t ts sack cubic wscale:7,9 rto:200 rtt:0.061/0.02 mss:1448 pmtu:1500 rcvmss:536 \
advmss:1448 cwnd:10 \
bytes_sent:5000 data_segs_out:4 busy:3ms minrtt:0.044
"
        );
    }

    #[test]
    fn which_states_are_shown() {
        use TcpState::*;
        let all = [
            Established,
            SynSent,
            SynReceived,
            FinWait1,
            FinWait2,
            TimeWait,
            Closed,
            CloseWait,
            LastAck,
            Listen,
            Closing,
        ];
        let shown = |options: Ss| -> Vec<TcpState> {
            all.into_iter().filter(|state| is_asked_for(&options, *state)).collect()
        };
        assert_eq!(
            shown(Ss::default()),
            [Established, SynSent, FinWait1, FinWait2, CloseWait, LastAck, Closing]
        );
        assert_eq!(shown(Ss { listening: true, ..Ss::default() }), [Closed, Listen]);
        assert_eq!(shown(Ss { all: true, ..Ss::default() }), all);
    }

    #[test]
    fn which_kinds_are_shown() {
        let of_kind = |kind: &str| SocketRow {
            protocol: kind.into(),
            ..row(TcpState::Closed, "0.0.0.0:53", None)
        };
        let shown = |options: Ss| -> Vec<&str> {
            let kinds = ["tcp", "udp", "icmp"].into_iter();
            kinds.filter(|kind| is_kind_asked_for(&options, &of_kind(kind))).collect()
        };
        assert_eq!(shown(Ss::default()), ["tcp", "udp", "icmp"]);
        assert_eq!(shown(Ss { udp: true, ..Ss::default() }), ["udp"]);
        assert_eq!(shown(Ss { tcp: true, udp: true, ..Ss::default() }), ["tcp", "udp"]);
    }

    #[test]
    fn both_ends_of_a_local_connection_are_named() {
        let mut row = rows().remove(1);
        let peer =
            Owner { pid: 90, executable: "/usr/bin/curl".into(), ..row.owner.clone().unwrap() };
        row.peer = Some(Owner { ended: false, ..peer });
        assert_eq!(processes(&row), "users:((\"nginx\",pid=71,ended)) peer:((\"curl\",pid=90))");
        assert_eq!(to_json(&row)["peer-process"]["pid"], 90);
        assert_eq!(remarks(&Ss::default(), &row), "");
        row.cut_through = true;
        assert_eq!(remarks(&Ss::default(), &row), "cut-through");
        assert_eq!(to_json(&row)["cut-through"], true);
    }

    #[test]
    fn ports_not_chosen_are_stars() {
        for (text, expected) in
            [("0.0.0.0:0", "0.0.0.0:*"), ("10.0.0.2:80", "10.0.0.2:80"), ("[::]:0", "[::]:*")]
        {
            assert_eq!(endpoint(text.parse().unwrap()), expected);
        }
    }

    #[test]
    fn json_says_who() {
        let rows = rows();
        let json = to_json(&rows[1]);
        assert_eq!(json["process"]["name"], "nginx");
        assert_eq!(json["peer"]["port"], 40_000);
        assert_eq!(json["recv-q"], 65_536);
        assert_eq!(json["tcp"]["congestion"], "cubic");
        assert_eq!(to_json(&rows[0]).get("peer"), None);
    }
}
