//! The names that a script's code can use: `struct tcp_info`'s fields and Linux's constants.

use narrows_stack::{
    request::SocketInfo,
    tcp::{Info, State, accurate_ecn::Marks, ecn::Feedback, fast_open::Failure, info::Repair},
    time::Duration,
};

/// The value of `name` for the connection under test; `None`: nobody knows the name.
pub(super) fn value(name: &str, info: Option<&SocketInfo>) -> Option<i64> {
    constant(name).or_else(|| field(name, info?))
}

fn constant(name: &str) -> Option<i64> {
    let at = |names: &[&str]| names.iter().position(|known| *known == name);
    // Numbered from 1, and from 0 (Linux's tcp_states.h and tcp.h).
    let state = at(&[
        "TCP_ESTABLISHED",
        "TCP_SYN_SENT",
        "TCP_SYN_RECV",
        "TCP_FIN_WAIT1",
        "TCP_FIN_WAIT2",
        "TCP_TIME_WAIT",
        "TCP_CLOSE",
        "TCP_CLOSE_WAIT",
        "TCP_LAST_ACK",
        "TCP_LISTEN",
        "TCP_CLOSING",
    ])
    .map(|index| index + 1);
    let congestion =
        at(&["TCP_CA_Open", "TCP_CA_Disorder", "TCP_CA_CWR", "TCP_CA_Recovery", "TCP_CA_Loss"]);
    state.or(congestion).map(|number| number as i64).or(match name {
        "TCPI_OPT_TIMESTAMPS" => Some(1),
        "TCPI_OPT_SACK" => Some(2),
        "TCPI_OPT_WSCALE" => Some(4),
        "TCPI_OPT_ECN" => Some(8),
        "TCPI_OPT_ECN_SEEN" => Some(16),
        "TCPI_OPT_SYN_DATA" => Some(32),
        "True" => Some(1),
        "False" => Some(0),
        _ => None,
    })
}

/// A count where both ends count marks, else 0.
fn marks(tcp: &Info, count: impl Fn(&(Marks, Marks)) -> u32) -> i64 {
    tcp.marks.as_ref().map_or(0, |marks| count(marks).into())
}

fn field(name: &str, info: &SocketInfo) -> Option<i64> {
    if name == "tcpi_state" {
        return Some(state_number(info.state));
    }
    let tcp = info.tcp.as_ref()?;
    let mss = i64::from(tcp.send_mss).max(1);
    let segments = |octets: u32| i64::from(octets) / mss;
    let rounded_up = |octets: u32| (i64::from(octets) + mss - 1) / mss;
    let millis = |time: Duration| time.as_millis() as i64;
    let micros = |time: Duration| time.as_micros() as i64;
    Some(match name {
        "tcpi_snd_cwnd" => segments(tcp.congestion_window),
        "tcpi_snd_ssthresh" => tcp.slow_start_threshold.map_or(i64::from(i32::MAX), segments),
        "tcpi_snd_mss" => mss,
        "tcpi_advmss" => i64::from(tcp.receive_mss),
        "tcpi_rcv_mss" => i64::from(tcp.peer_segment),
        "tcpi_pmtu" => i64::from(tcp.path_mtu),
        "tcpi_ato" => micros(tcp.acknowledgment_timeout),
        "tcpi_probes" => i64::from(tcp.probes),
        "tcpi_reordering" => i64::from(tcp.reordering),
        "tcpi_reord_seen" => i64::from(tcp.reorderings),
        "tcpi_fackets" => 0,
        "tcpi_data_segs_in" => tcp.text_segments_received as i64,
        "tcpi_data_segs_out" => tcp.text_segments_sent as i64,
        "tcpi_busy_time" => micros(tcp.busy),
        "tcpi_rwnd_limited" => micros(tcp.window_limited),
        "tcpi_sndbuf_limited" => micros(tcp.buffer_limited),
        "tcpi_dsack_dups" => i64::from(tcp.history.duplicates_reported),
        "tcpi_rcv_ooopack" => i64::from(tcp.history.out_of_order),
        "tcpi_received_ce" => marks(tcp, |(received, _)| received.packets),
        "tcpi_received_e1_bytes" => marks(tcp, |(received, _)| received.ect1),
        "tcpi_received_e0_bytes" => marks(tcp, |(received, _)| received.ect0),
        "tcpi_received_ce_bytes" => marks(tcp, |(received, _)| received.ce),
        "tcpi_delivered_e1_bytes" => marks(tcp, |(_, delivered)| delivered.ect1),
        "tcpi_delivered_e0_bytes" => marks(tcp, |(_, delivered)| delivered.ect0),
        "tcpi_delivered_ce_bytes" => marks(tcp, |(_, delivered)| delivered.ce),
        "tcpi_delivered_ce" => i64::from(tcp.history.delivered_marked),
        "tcpi_total_rto" => i64::from(tcp.history.timeouts),
        "tcpi_total_rto_recoveries" => i64::from(tcp.history.timeout_recoveries),
        "tcpi_total_rto_time" => millis(tcp.history.timeout_time),
        "tcpi_rcv_ssthresh" => i64::from(tcp.receive_limit),
        "tcpi_pacing_rate" => tcp.pacing_rate.map_or(-1, |rate| rate as i64),
        "tcpi_max_pacing_rate" => tcp.max_pacing_rate as i64,
        "tcpi_delivery_rate" => tcp.delivery_rate.unwrap_or(0) as i64,
        "tcpi_delivery_rate_app_limited" => i64::from(tcp.delivery_rate_app_limited),
        "tcpi_fastopen_client_fail" => match tcp.fast_open_failure {
            Failure::None => 0,
            Failure::NoCookie => 1,
            Failure::TextNotTaken => 2,
            Failure::SynLost => 3,
        },
        "tcpi_snd_wscale" => i64::from(tcp.send_window_scale),
        "tcpi_rcv_wscale" => i64::from(tcp.receive_window_scale),
        "tcpi_rtt" => micros(tcp.smoothed_rtt),
        "tcpi_rttvar" => micros(tcp.rtt_variance),
        "tcpi_min_rtt" => micros(tcp.min_rtt),
        "tcpi_rto" => micros(tcp.retransmission_timeout),
        "tcpi_backoff" => i64::from(tcp.backoff),
        "tcpi_ca_state" => match tcp.repair {
            Repair::Open => 0,
            Repair::Disorder => 1,
            Repair::Recovery => 3,
            Repair::Timeout => 4,
        },
        "tcpi_unacked" => rounded_up(tcp.bytes_outstanding),
        "tcpi_sacked" => rounded_up(tcp.bytes_sacked),
        "tcpi_lost" => rounded_up(tcp.bytes_lost),
        "tcpi_retrans" => rounded_up(tcp.bytes_in_repair),
        "tcpi_notsent_bytes" => i64::from(tcp.bytes_unsent),
        "tcpi_last_data_sent" => millis(tcp.since_sent),
        "tcpi_last_data_recv" => millis(tcp.since_received),
        "tcpi_last_ack_recv" => millis(tcp.since_acknowledged),
        "tcpi_snd_wnd" => i64::from(tcp.send_window),
        "tcpi_rcv_wnd" => i64::from(tcp.receive_window),
        "tcpi_retransmits" => i64::from(tcp.backoff),
        "tcpi_bytes_acked" => tcp.bytes_acknowledged as i64,
        "tcpi_bytes_received" => tcp.bytes_received as i64,
        "tcpi_bytes_sent" => tcp.bytes_sent as i64,
        "tcpi_bytes_retrans" => tcp.bytes_retransmitted as i64,
        "tcpi_segs_out" => tcp.segments_sent as i64,
        "tcpi_segs_in" => tcp.segments_received as i64,
        "tcpi_total_retrans" => tcp.retransmissions as i64,
        "tcpi_delivered" => i64::from(tcp.delivered),
        "tcpi_options" => {
            i64::from(tcp.timestamps)
                | i64::from(tcp.sack) << 1
                | i64::from(tcp.send_window_scale > 0 || tcp.receive_window_scale > 0) << 2
                | i64::from(tcp.ecn != Feedback::None) << 3
                | i64::from(tcp.syn_text) << 5
        }
        _ => return None,
    })
}

fn state_number(state: State) -> i64 {
    match state {
        State::Established => 1,
        State::SynSent => 2,
        State::SynReceived => 3,
        State::FinWait1 => 4,
        State::FinWait2 => 5,
        State::TimeWait => 6,
        State::Closed => 7,
        State::CloseWait => 8,
        State::LastAck => 9,
        State::Listen => 10,
        State::Closing => 11,
    }
}
