//! Fragments of IPv4 datagrams until the last hole closes. Invariant: no two fragments of a
//! datagram overlap, and the bytes held never exceed the limits, per source and in all.

#[derive(Debug, Default)]
pub struct ReassemblyTable {}
