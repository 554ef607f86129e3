//! Captured frames, as the tools of this field have them.
//!
//! | module | what is there |
//! |---|---|
//! | [`filter`] | pcap-filter(7)'s expressions, compiled to classic BPF |
//! | [`file`] | pcap and pcapng, read and written |
//! | [`line`] | one line a packet, as tcpdump(1) prints it |
//!
//! Nothing here opens anything: files are whatever can be read or written.

#![forbid(unsafe_code)]

pub mod file;
pub mod filter;
pub mod line;
