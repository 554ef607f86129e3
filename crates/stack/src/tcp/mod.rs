//! One TCP connection (RFC 9293). Knows no interface and no table: segments, the program's calls
//! and the time come in; segments, readiness and the next deadline come out.
//!
//! | module | what is there |
//! |---|---|
//! | `connection` | the state, how it begins, what can be asked of it |
//! | `info`, `chronograph` | what reports show |
//! | `phase` | the states of RFC 9293 and every transition |
//! | `input` | segments: §3.10.7, one helper for each step |
//! | `output` | what leaves next |
//! | `timeout`, `timers` | what time does |
//! | `program`, `readiness` | the program's calls, and what it is told |
//! | `send`, `receive` | the two sequence spaces, their bytes and windows |
//! | `assembler`, `delayed_ack` | the receiving side's detail |
//! | `scoreboard`, `recovery`, `rtt` | the sending side's |
//! | `frto` | whether a timeout was needless |
//! | `congestion`, `delivery_rate`, `pacing` | how much may be in flight, and how fast it leaves |
//! | `options` | what the SYNs agreed on |
//! | `ecn`, `accurate_ecn` | marks instead of losses: that there were some, and how many |
//! | `fast_open` | text in SYNs |
//! | `cookies` | handshakes of which nothing is kept |
//! | `records`, `notices` | where segments must end; what a program wants to hear of its octets |
//! | `mtu_probe` | how long segments may be where nobody says |
//! | `listen`, `time_wait` | SYN-RECEIVED and TIME-WAIT, small types of their own |

pub mod accurate_ecn;
mod assembler;
mod chronograph;
pub mod congestion;
pub mod connection;
pub mod cookies;
mod delayed_ack;
mod delivery_rate;
pub mod ecn;
pub mod fast_open;
mod frto;
pub mod info;
mod input;
pub mod listen;
pub mod mtu_probe;
pub mod notices;
mod options;
mod output;
mod pacing;
mod phase;
mod program;
mod readiness;
mod receive;
mod records;
mod recovery;
mod rtt;
mod scoreboard;
mod send;
mod send_tuning;
pub(crate) mod seq;
pub mod time_wait;
mod timeout;
mod timers;

#[cfg(test)]
mod tests;

pub use connection::{Connection, State};
pub use info::Info;

use crate::time::Duration;
use accurate_ecn::CountersSent;
use congestion::Algorithm;
use ecn::EcnMode;
use mtu_probe::MtuProbing;
pub use pacing::UNLIMITED;

/// What a program can set on a socket; connections inherit their listener's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    pub no_delay: bool,
    pub cork: bool,
    pub keep_alive: bool,
    pub keep_alive_idle: Duration,
    pub keep_alive_interval: Duration,
    pub keep_alive_count: u8,
    /// RFC 5482's USER TIMEOUT, local part.
    pub user_timeout: Option<Duration>,
    /// An upper bound on the segment size, as TCP_MAXSEG sets it.
    pub max_segment: Option<u16>,
    pub congestion: Algorithm,
    /// Octets a second that may leave at most ([`UNLIMITED`]: any), as SO_MAX_PACING_RATE sets it.
    pub max_pacing_rate: u64,
    /// Which connections search for the longest segments of their path by themselves (RFC 4821), and with how many
    /// octets of payload and options they begin.
    pub mtu_probing: MtuProbing,
    pub base_segment: u16,
    /// What SYNs offer (RFC 7323, RFC 2018).
    pub timestamps: bool,
    pub window_scaling: bool,
    pub sack: bool,
    pub ecn: EcnMode,
    /// When segments say how many octets came marked, where both ends can (RFC 9768).
    pub ecn_option: CountersSent,
    /// connect(2) waits for the first text if the SYN may carry it (TCP_FASTOPEN_CONNECT).
    pub fast_open_connect: bool,
    /// Text in SYNs needs no cookie (TCP_FASTOPEN_NO_COOKIE).
    pub fast_open_without_cookie: bool,
    /// Of a listener: how many early connections may wait for the end of their handshake
    /// (TCP_FASTOPEN); 0: none is made.
    pub fast_open_backlog: u32,
    /// Believe resets anywhere in the window, as RFC 793 did: anybody can then end connections.
    pub reset_in_window: bool,
    /// Let a SYN in the window reset the connection, as RFC 793 did: anybody can then end
    /// connections.
    pub reset_on_syn: bool,
    /// A listener takes no SYN that carries a FIN, as Linux: nobody sends such but scanners.
    pub refuse_syn_fin: bool,
    /// SYNs sent again before the connection is given up (TCP_SYNCNT).
    pub syn_retries: u8,
    /// How long a connection that nobody holds waits in FIN-WAIT-2 (TCP_LINGER2); zero: it is reset.
    pub fin_wait_2: Duration,
    /// Of a listener: a handshake is done when text comes, or after so many times a SYN-ACK would
    /// have been sent again (TCP_DEFER_ACCEPT).
    pub defer_accept: u8,
    /// A sender waits for room until it can send one part of so many of the window, so that there are
    /// always bursts in flight (Linux: tcp_tso_win_divisor).
    pub deferred_part: u32,
    /// The program may queue more while less than this was never sent (TCP_NOTSENT_LOWAT).
    pub unsent_low: u32,
    /// The window is never more (TCP_WINDOW_CLAMP).
    pub window_clamp: u32,
    /// `Some(0)`: close sends RST.
    pub linger: Option<Duration>,
    /// Bytes that may wait to be sent or acknowledged.
    pub send_limit: usize,
    /// Begin with less than `send_limit`, and allow more as the path proves to need it.
    pub send_tuned: bool,
    /// Bytes that may wait for the program: the receive window.
    pub receive_limit: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            no_delay: false,
            cork: false,
            keep_alive: false,
            keep_alive_idle: Duration::from_secs(7200),
            keep_alive_interval: Duration::from_secs(75),
            keep_alive_count: 9,
            user_timeout: None,
            max_segment: None,
            congestion: Algorithm::Cubic,
            max_pacing_rate: UNLIMITED,
            mtu_probing: MtuProbing::Never,
            base_segment: 1024,
            timestamps: true,
            window_scaling: true,
            sack: true,
            ecn: EcnMode::Passive,
            ecn_option: CountersSent::Always,
            fast_open_connect: false,
            fast_open_without_cookie: false,
            fast_open_backlog: 0,
            reset_in_window: false,
            reset_on_syn: false,
            refuse_syn_fin: true,
            syn_retries: 6,
            fin_wait_2: Duration::from_secs(60),
            defer_accept: 0,
            deferred_part: 4,
            unsent_low: u32::MAX,
            window_clamp: u32::MAX,
            linger: None,
            send_limit: 4 << 20,
            send_tuned: true,
            receive_limit: 4 << 20,
        }
    }
}
