//! Where packets go, decided in one place from the tables alone.
//!
//! | file | what is there |
//! |---|---|
//! | `input` | [`decide`]: a packet that came in is for this host, for another, or for nobody |
//! | `output` | [`path_for`]: the way of a packet that this host sends |
//! | `zone` | which ways are left where there are zones |

mod input;
mod output;
mod zone;

pub(crate) use crate::table::route::Path;
pub use input::Cast;
pub(crate) use input::{Decision, Inbound, Refusal, Way, decide, may_be_source};
pub(crate) use output::{path_for, path_from, path_of};
pub(crate) use zone::{blame_zones, note_crossing};

use narrows_wire::ipv4::{Header, Protocol};

/// Protocol and ports, by which flows between the same hosts are told apart. A fragment must take
/// the way of the others of its datagram, which have no ports.
pub(crate) fn transport(header: &Header, payload: &[u8]) -> (Protocol, u16, u16) {
    match (header.protocol, payload) {
        (protocol @ (Protocol::TCP | Protocol::UDP), [a, b, c, d, ..]) if !header.is_fragment() => {
            (protocol, u16::from_be_bytes([*a, *b]), u16::from_be_bytes([*c, *d]))
        }
        (protocol, _) => (protocol, 0, 0),
    }
}
