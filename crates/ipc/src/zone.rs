//! Zones as reports have them.

use serde::{Deserialize, Serialize};
use std::net::Ipv4Addr;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ZoneRow {
    pub name: String,
    /// Its only interface is its members', and each has one address there.
    pub private: bool,
    /// May local connections run past the engine?
    pub cut_through: bool,
    pub interfaces: Vec<String>,
    /// Beside everybody in `public`.
    pub admitted: Vec<AdmittedRow>,
    /// What may begin here and go to another zone.
    pub crossings: Vec<CrossingRow>,
}

/// Whoever fits all that is said.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AdmittedRow {
    pub user: Option<u32>,
    pub group: Option<u32>,
    pub executable: Option<String>,
    pub cgroup: Option<String>,
    /// Of a member of a private zone.
    pub address: Option<Ipv4Addr>,
    pub mac: Option<[u8; 6]>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CrossingRow {
    pub to: String,
    /// IP's number; `None`: every one.
    pub protocol: Option<u8>,
    pub ports: Option<(u16, u16)>,
    /// As 10.0.0.0/8.
    pub source: Option<String>,
    pub destination: Option<String>,
}
