//! One TCP connection (RFC 9293). Knows no interface and no table: segments, the program's calls
//! and the time come in; segments, readiness and the next deadline come out.

//!
//! | module | what is there |
//! |---|---|
//! | `connection` | the state, how it begins, what can be asked of it |
//! | `phase` | the states of RFC 9293 and every transition |
//! | `input` | segments: §3.10.7, one helper for each step |
//! | `output` | what leaves next |
//! | `timeout`, `timers` | what time does |
//! | `program`, `readiness` | the program's calls, and what it is told |
//! | `send`, `receive` | the two sequence spaces, their bytes and windows |
//! | `assembler`, `delayed_ack` | the receiving side's detail |
//! | `scoreboard`, `recovery`, `rtt` | the sending side's |
//! | `congestion`, `delivery_rate`, `pacing` | how much may be in flight, and how fast it leaves |
//! | `options` | what the SYNs agreed on |
//! | `listen`, `time_wait` | SYN-RECEIVED and TIME-WAIT, small types of their own |

mod assembler;
pub mod congestion;
pub mod connection;
mod delayed_ack;
mod delivery_rate;
pub mod ecn;
mod input;
pub mod listen;
mod options;
mod output;
mod pacing;
mod phase;
mod program;
mod readiness;
mod receive;
mod recovery;
mod rtt;
mod scoreboard;
mod send;
mod send_tuning;
mod seq;
pub mod time_wait;
mod timeout;
mod timers;

#[cfg(test)]
mod tests;

pub use connection::{Connection, Info, State};

use crate::time::Duration;
use congestion::Algorithm;
use ecn::EcnMode;
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
    /// What SYNs offer (RFC 7323, RFC 2018).
    pub timestamps: bool,
    pub window_scaling: bool,
    pub sack: bool,
    pub ecn: EcnMode,
    /// Believe resets anywhere in the window, as RFC 793 did: anybody can then end connections.
    pub reset_in_window: bool,
    /// Let a SYN in the window reset the connection, as RFC 793 did: anybody can then end
    /// connections.
    pub reset_on_syn: bool,
    /// A listener takes no SYN that carries a FIN, as Linux: nobody sends such but scanners.
    pub refuse_syn_fin: bool,
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
            timestamps: true,
            window_scaling: true,
            sack: true,
            ecn: EcnMode::Passive,
            reset_in_window: false,
            reset_on_syn: false,
            refuse_syn_fin: true,
            linger: None,
            send_limit: 4 << 20,
            send_tuned: true,
            receive_limit: 4 << 20,
        }
    }
}
