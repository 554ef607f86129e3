//! What is told of a TCP connection.

use serde::{Deserialize, Serialize};
use std::time::Duration;

/// `struct tcp_info`'s contents, and what ss(8) prints of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TcpInfo {
    pub state: TcpState,
    pub congestion: String,
    pub congestion_window: u32,
    /// The maximum of the type: it was never set.
    pub slow_start_threshold: u32,
    /// Bytes a second, of connections that are paced; and that the path delivers, where that is
    /// measured.
    pub pacing_rate: Option<u64>,
    pub max_pacing_rate: u64,
    pub delivery_rate: Option<u64>,
    pub delivery_rate_app_limited: bool,
    pub send_window: u32,
    pub receive_window: u32,
    pub send_mss: u16,
    pub receive_mss: u16,
    /// The largest payload that the peer has sent.
    pub peer_segment: u32,
    pub path_mtu: u16,
    pub send_window_scale: u8,
    pub receive_window_scale: u8,
    pub timestamps: bool,
    pub sack: bool,
    pub ecn: bool,
    /// Each mark is told (RFC 9768).
    pub accurate_ecn: bool,
    pub smoothed_rtt: Duration,
    pub rtt_variance: Duration,
    pub min_rtt: Duration,
    pub retransmission_timeout: Duration,
    pub acknowledgment_timeout: Duration,
    pub bytes_in_flight: u32,
    pub bytes_sent: u64,
    pub bytes_acknowledged: u64,
    pub bytes_received: u64,
    pub bytes_retransmitted: u64,
    pub segments_sent: u64,
    pub segments_received: u64,
    pub text_segments_sent: u64,
    pub text_segments_received: u64,
    /// How long something was to be sent; and how long of that the peer's window, or the send buffer, kept
    /// more from leaving.
    pub busy: Duration,
    pub window_limited: Duration,
    pub buffer_limited: Duration,
    pub reordering: u32,
    pub reorderings: u32,
    pub duplicates_reported: u32,
    pub out_of_order: u32,
    pub delivered_marked: u32,
    pub timeouts: u16,
    pub timeout_recoveries: u16,
    pub timeout_time: Duration,
    pub receive_limit: u32,
    pub probes: u8,
    pub retransmissions: u64,
    pub backoff: u8,
    pub repair: Repair,
    pub bytes_outstanding: u32,
    pub bytes_sacked: u32,
    pub bytes_lost: u32,
    pub bytes_in_repair: u32,
    pub bytes_unsent: u32,
    pub since_sent: Duration,
    pub since_received: Duration,
    pub since_acknowledged: Duration,
    /// The text of a SYN was taken (RFC 7413).
    pub syn_text: bool,
    /// Why not, numbered as Linux's `tcp_fastopen_client_fail`.
    pub fast_open_failure: u8,
    /// Segments that the peer is known to have.
    pub delivered: u32,
}

/// Numbered as Linux's `tcp_ca_state`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Repair {
    #[default]
    Open = 0,
    Disorder = 1,
    Recovery = 3,
    Timeout = 4,
}

/// Numbered as in Linux's `tcp_states.h`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum TcpState {
    Established = 1,
    SynSent,
    SynReceived,
    FinWait1,
    FinWait2,
    TimeWait,
    #[default]
    Closed,
    CloseWait,
    LastAck,
    Listen,
    Closing,
}

impl TcpState {
    /// As ss(8) has it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Established => "ESTAB",
            Self::SynSent => "SYN-SENT",
            Self::SynReceived => "SYN-RECV",
            Self::FinWait1 => "FIN-WAIT-1",
            Self::FinWait2 => "FIN-WAIT-2",
            Self::TimeWait => "TIME-WAIT",
            Self::Closed => "UNCONN",
            Self::CloseWait => "CLOSE-WAIT",
            Self::LastAck => "LAST-ACK",
            Self::Listen => "LISTEN",
            Self::Closing => "CLOSING",
        }
    }
}
