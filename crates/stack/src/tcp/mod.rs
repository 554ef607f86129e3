//! One TCP connection (RFC 9293). Knows no interface and no table: segments, the program's calls
//! and the time come in; segments, readiness and the next deadline come out.

pub mod congestion;
pub mod connection;
pub mod listen;
pub mod time_wait;

pub use connection::{Connection, Info, State};

use crate::time::Duration;
use congestion::Algorithm;

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
    /// `Some(0)`: close sends RST.
    pub linger: Option<Duration>,
    /// Bytes that may wait to be sent or acknowledged.
    pub send_limit: usize,
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
            linger: None,
            send_limit: 4 << 20,
            receive_limit: 4 << 20,
        }
    }
}
