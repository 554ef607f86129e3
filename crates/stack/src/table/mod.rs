//! State with one invariant each. A table calls nobody; layers consult and change it.

pub mod address_facts;
pub mod arp_policy;
pub mod autoconf;
pub mod bond;
pub mod bridge;
pub mod conflict;
pub mod datagram;
pub mod datagram_demux;
pub mod demux;
pub mod egress;
pub mod error_queue;
pub(crate) mod group_reports;
pub mod identification;
pub mod interface;
pub mod ip_settings;
pub mod link;
pub mod membership;
pub mod neighbor;
pub mod path_mtu;
pub mod port;
pub mod rate_limit;
pub mod reassembly;
pub mod route;
pub mod socket;
pub mod timer;
pub mod zone;
