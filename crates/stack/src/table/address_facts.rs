//! What the operator may say of an address beside its prefix, in the words of ip-address(8). Most
//! addresses have nothing of it.

use crate::{table::route::Scope, time::Instant};
use narrows_wire::address::Prefix;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AddressFacts {
    /// A name for programs that know no addresses beyond one of an interface.
    pub label: Option<String>,
    /// `None`: as the address says, [`Scope::Global`] for most.
    pub scope: Option<Scope>,
    /// The other end, where the address is a single host's and its subnet elsewhere.
    pub peer: Option<Prefix>,
    /// When the address goes; `None`: it stays.
    pub valid_until: Option<Instant>,
    /// From when on it is only kept for what uses it already. Linux shows that of an IPv4 address, and
    /// heeds it no more than this stack does.
    pub preferred_until: Option<Instant>,
}
