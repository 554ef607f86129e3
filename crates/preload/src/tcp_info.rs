//! `struct tcp_info` of linux/tcp.h. Fields that the engine has no number for stay zero.

use narrows_client::TcpInfo;
use std::time::Duration;

/// The whole structure as of Linux 6.7; programs that know less of it get that much.
pub const LEN: usize = 248;

const OPTION_TIMESTAMPS: u8 = 1;
const OPTION_SACK: u8 = 2;
const OPTION_WINDOW_SCALE: u8 = 4;

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
        (scaled, OPTION_WINDOW_SCALE),
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

    let mut structure = Structure([0; LEN]);
    structure.put(0, [info.state as u8]);
    structure.put(2, [info.backoff]); // tcpi_retransmits: timeouts in a row
    structure.put(4, [info.backoff]);
    structure.put(5, [options]);
    structure.put(6, [low & 0xf | high << 4]);
    structure.put_u32(8, microseconds(info.retransmission_timeout));
    structure.put_u32(16, mss);
    structure.put_u32(20, info.receive_mss.into());
    structure.put_u32(24, info.bytes_in_flight.div_ceil(mss)); // tcpi_unacked
    structure.put_u32(68, microseconds(info.smoothed_rtt));
    structure.put_u32(72, microseconds(info.rtt_variance));
    structure.put_u32(76, threshold);
    structure.put_u32(80, info.congestion_window / mss);
    structure.put_u32(84, info.receive_mss.into()); // tcpi_advmss
    structure.put_u32(100, saturated(info.retransmissions)); // tcpi_total_retrans
    structure.put_u64(120, info.bytes_acknowledged);
    structure.put_u64(128, info.bytes_received);
    structure.put_u32(136, saturated(info.segments_sent));
    structure.put_u32(140, saturated(info.segments_received));
    structure.put_u32(148, microseconds(info.min_rtt));
    structure.put_u64(200, info.bytes_sent);
    structure.put_u64(208, info.bytes_retransmitted);
    structure.put_u32(228, info.send_window);
    structure.put_u32(232, info.receive_window);
    structure.0
}

struct Structure([u8; LEN]);

impl Structure {
    fn put<const N: usize>(&mut self, offset: usize, bytes: [u8; N]) {
        if let Some(field) = self.0.get_mut(offset..).and_then(|rest| rest.first_chunk_mut()) {
            *field = bytes;
        }
    }

    fn put_u32(&mut self, offset: usize, value: u32) {
        self.put(offset, value.to_ne_bytes());
    }

    fn put_u64(&mut self, offset: usize, value: u64) {
        self.put(offset, value.to_ne_bytes());
    }
}

fn microseconds(time: Duration) -> u32 {
    u32::try_from(time.as_micros()).unwrap_or(u32::MAX)
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
            send_window_scale: 7,
            receive_window_scale: 9,
            timestamps: true,
            sack: true,
            smoothed_rtt: Duration::from_micros(250),
            rtt_variance: Duration::from_micros(75),
            retransmission_timeout: Duration::from_millis(204),
            bytes_in_flight: 1449,
            retransmissions: 3,
            backoff: 1,
            ..TcpInfo::default()
        };
        let bytes = encode(&info);
        assert!(size_of::<libc::tcp_info>() <= LEN);
        // SAFETY: the structure is plain numbers, and as long or shorter.
        let parsed: libc::tcp_info =
            unsafe { bytes.as_ptr().cast::<libc::tcp_info>().read_unaligned() };
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
    }
}
