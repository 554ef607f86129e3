//! What peers print, one line of JSON each.

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

/// A transfer of `http-client`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Fetch {
    pub bytes: u64,
    /// From the request's first byte to the reply's last.
    pub seconds: f64,
    /// In hexadecimal digits, if it was asked for.
    pub sha256: Option<String>,
}

/// A transfer of `bulk-send` or `bulk-receive`, all streams together.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Bulk {
    pub bytes: u64,
    /// Of a sender, until the receiver has closed every stream; of a receiver, from the first byte to
    /// the last end.
    pub seconds: f64,
}

/// A run of `pingpong`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RoundTrips {
    pub count: usize,
    /// Microseconds, as the next two.
    pub p50: f64,
    pub p99: f64,
    pub max: f64,
}

/// A run of `storm`, or of `hold`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Connections {
    pub connections: usize,
    pub seconds: f64,
}

/// Reads the last line of what a peer printed.
pub fn read<T: DeserializeOwned>(output: &str) -> Result<T> {
    let line = output.lines().next_back().context("the peer printed nothing")?;
    serde_json::from_str(line).with_context(|| format!("not the report expected: {line}"))
}

pub(super) fn print(report: &impl Serialize) -> Result<()> {
    super::print_line(&serde_json::to_string(report)?)
}
