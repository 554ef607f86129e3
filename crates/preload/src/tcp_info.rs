//! `struct tcp_info` of linux/tcp.h, field by field. Zero, as there is no such thing here: `tcpi_fackets` and
//! `tcpi_last_ack_sent` (on Linux, too), `tcpi_rehash` (IPv6's), `tcpi_rcv_rtt` and `tcpi_rcv_space` (windows
//! grow by what the program reads, see the engine's `receive`).

use narrows_client::TcpInfo;
use std::{mem::offset_of, time::Duration};

/// The whole structure as the libc crate knows it; programs that know less of it get that much.
pub const LEN: usize = size_of::<libc::tcp_info>();

const OPTION_TIMESTAMPS: u8 = 1;
const OPTION_SACK: u8 = 2;
const OPTION_ECN: u8 = 8;
const OPTION_WINDOW_SCALE: u8 = 4;
const OPTION_SYN_DATA: u8 = 32;

/// What Linux says for a slow-start threshold that was never set.
const NO_THRESHOLD: u32 = 0x7fff_ffff;

/// The structure's bytes. Linux counts windows in segments of `tcpi_snd_mss`.
pub fn encode(info: &TcpInfo) -> [u8; LEN] {
    let mss = u32::from(info.send_mss.max(1));
    let scaled = info.send_window_scale != 0 || info.receive_window_scale != 0;
    let mut options = 0;
    for (has, bit) in [
        (info.timestamps, OPTION_TIMESTAMPS),
        (info.sack, OPTION_SACK),
        (info.ecn, OPTION_ECN),
        (scaled, OPTION_WINDOW_SCALE),
        (info.syn_text, OPTION_SYN_DATA),
    ] {
        options |= if has { bit } else { 0 };
    }
    let threshold = match info.slow_start_threshold {
        u32::MAX => NO_THRESHOLD,
        bytes => bytes / mss,
    };
    // Two fields of four bits; Linux fills them from the low end on little-endian machines.
    let (low, high) = if cfg!(target_endian = "little") {
        (info.send_window_scale, info.receive_window_scale)
    } else {
        (info.receive_window_scale, info.send_window_scale)
    };

    let mut structure = [0; LEN];
    macro_rules! put {
        ($field:ident, $value:expr) => {
            let offset = offset_of!(libc::tcp_info, $field);
            put(&mut structure, offset, $value.to_ne_bytes());
        };
    }
    put!(tcpi_state, info.state as u8);
    put!(tcpi_retransmits, info.backoff);
    put!(tcpi_probes, info.probes);
    put!(tcpi_backoff, info.backoff);
    put!(tcpi_options, options);
    put!(tcpi_snd_rcv_wscale, low & 0xf | high << 4);
    if let Some(flags) = structure.get_mut(offset_of!(libc::tcp_info, tcpi_snd_rcv_wscale) + 1) {
        *flags = u8::from(info.delivery_rate_app_limited) | (info.fast_open_failure & 3) << 1;
    }
    put!(tcpi_ato, microseconds(info.acknowledgment_timeout));
    put!(tcpi_rto, microseconds(info.retransmission_timeout));
    put!(tcpi_snd_mss, mss);
    put!(tcpi_rcv_mss, info.peer_segment);
    put!(tcpi_pmtu, u32::from(info.path_mtu));
    put!(tcpi_rcv_ssthresh, info.receive_limit);
    put!(tcpi_reordering, info.reordering);
    put!(tcpi_reord_seen, info.reorderings);
    put!(tcpi_data_segs_out, saturated(info.text_segments_sent));
    put!(tcpi_data_segs_in, saturated(info.text_segments_received));
    put!(tcpi_busy_time, long_microseconds(info.busy));
    put!(tcpi_rwnd_limited, long_microseconds(info.window_limited));
    put!(tcpi_sndbuf_limited, long_microseconds(info.buffer_limited));
    put!(tcpi_delivered_ce, info.delivered_marked);
    put!(tcpi_dsack_dups, info.duplicates_reported);
    put!(tcpi_rcv_ooopack, info.out_of_order);
    put!(tcpi_total_rto, info.timeouts);
    put!(tcpi_total_rto_recoveries, info.timeout_recoveries);
    put!(tcpi_total_rto_time, milliseconds(info.timeout_time));
    put!(tcpi_ca_state, info.repair as u8);
    put!(tcpi_unacked, info.bytes_outstanding.div_ceil(mss));
    put!(tcpi_sacked, info.bytes_sacked.div_ceil(mss));
    put!(tcpi_lost, info.bytes_lost.div_ceil(mss));
    put!(tcpi_retrans, info.bytes_in_repair.div_ceil(mss));
    put!(tcpi_last_data_sent, milliseconds(info.since_sent));
    put!(tcpi_last_data_recv, milliseconds(info.since_received));
    put!(tcpi_last_ack_recv, milliseconds(info.since_acknowledged));
    put!(tcpi_notsent_bytes, info.bytes_unsent);
    put!(tcpi_rtt, microseconds(info.smoothed_rtt));
    put!(tcpi_rttvar, microseconds(info.rtt_variance));
    put!(tcpi_snd_ssthresh, threshold);
    put!(tcpi_snd_cwnd, info.congestion_window / mss);
    put!(tcpi_advmss, u32::from(info.receive_mss));
    put!(tcpi_total_retrans, saturated(info.retransmissions));
    // Linux says the maximum where nothing is paced.
    put!(tcpi_pacing_rate, info.pacing_rate.unwrap_or(u64::MAX));
    put!(tcpi_max_pacing_rate, info.max_pacing_rate);
    put!(tcpi_delivery_rate, info.delivery_rate.unwrap_or(0));
    put!(tcpi_bytes_acked, info.bytes_acknowledged);
    put!(tcpi_bytes_received, info.bytes_received);
    put!(tcpi_segs_out, saturated(info.segments_sent));
    put!(tcpi_segs_in, saturated(info.segments_received));
    put!(tcpi_min_rtt, microseconds(info.min_rtt));
    put!(tcpi_bytes_sent, info.bytes_sent);
    put!(tcpi_bytes_retrans, info.bytes_retransmitted);
    put!(tcpi_snd_wnd, info.send_window);
    put!(tcpi_rcv_wnd, info.receive_window);
    put!(tcpi_delivered, info.delivered);
    structure
}

fn put<const N: usize>(structure: &mut [u8; LEN], offset: usize, bytes: [u8; N]) {
    if let Some(field) = structure.get_mut(offset..).and_then(|rest| rest.first_chunk_mut()) {
        *field = bytes;
    }
}

fn microseconds(time: Duration) -> u32 {
    u32::try_from(time.as_micros()).unwrap_or(u32::MAX)
}

fn long_microseconds(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

fn milliseconds(time: Duration) -> u32 {
    u32::try_from(time.as_millis()).unwrap_or(u32::MAX)
}

fn saturated(count: u64) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use narrows_client::TcpState;

    #[test]
    fn fields_are_where_the_c_library_has_them() {
        let info = TcpInfo {
            state: TcpState::CloseWait,
            congestion_window: 10 * 1448,
            slow_start_threshold: u32::MAX,
            send_mss: 1448,
            receive_mss: 1460,
            peer_segment: 1448,
            delivery_rate_app_limited: true,
            fast_open_failure: 2,
            busy: Duration::from_millis(7),
            probes: 2,
            timeouts: 4,
            send_window_scale: 7,
            receive_window_scale: 9,
            timestamps: true,
            sack: true,
            smoothed_rtt: Duration::from_micros(250),
            rtt_variance: Duration::from_micros(75),
            retransmission_timeout: Duration::from_millis(204),
            bytes_outstanding: 1449,
            bytes_sent: 1 << 40,
            send_window: 65_536,
            retransmissions: 3,
            backoff: 1,
            ..TcpInfo::default()
        };
        let bytes = encode(&info);
        // SAFETY: the structure is plain numbers, and as long.
        let parsed: libc::tcp_info =
            unsafe { std::mem::transmute::<[u8; LEN], libc::tcp_info>(bytes) };
        assert_eq!(parsed.tcpi_state, 8);
        assert_eq!(parsed.tcpi_backoff, 1);
        assert_eq!(parsed.tcpi_options, 7);
        assert_eq!(parsed.tcpi_rto, 204_000);
        assert_eq!(parsed.tcpi_snd_mss, 1448);
        assert_eq!(parsed.tcpi_unacked, 2);
        assert_eq!(parsed.tcpi_rtt, 250);
        assert_eq!(parsed.tcpi_rttvar, 75);
        assert_eq!(parsed.tcpi_snd_ssthresh, NO_THRESHOLD);
        assert_eq!(parsed.tcpi_snd_cwnd, 10);
        assert_eq!(parsed.tcpi_advmss, 1460);
        assert_eq!(parsed.tcpi_total_retrans, 3);
        assert_eq!(parsed.tcpi_bytes_sent, 1 << 40);
        assert_eq!(parsed.tcpi_snd_wnd, 65_536);
        assert_eq!(parsed.tcpi_rcv_mss, 1448);
        assert_eq!(bytes[7], 1 | 2 << 1, "two bit fields");
        assert_eq!(parsed.tcpi_busy_time, 7000);
        assert_eq!((parsed.tcpi_probes, parsed.tcpi_total_rto), (2, 4));
    }
}
