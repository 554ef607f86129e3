//! TCP options: maximum segment size (RFC 9293 §3.7.1), window scale and timestamps (RFC 7323),
//! selective acknowledgment (RFC 2018).

use crate::Error;

pub const MAX_LEN: usize = 40;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Timestamps {
    pub value: u32,
    pub echo: u32,
}

/// Up to four blocks, each a left edge (first sequence number) and a right edge (the one after).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct SackBlocks {
    blocks: [(u32, u32); 4],
    len: u8,
}

impl SackBlocks {
    pub fn as_slice(&self) -> &[(u32, u32)] {
        self.blocks.get(..usize::from(self.len)).unwrap_or(&[])
    }

    /// Adds a block; a fifth is left out.
    pub fn push(&mut self, left: u32, right: u32) {
        if let Some(slot) = self.blocks.get_mut(usize::from(self.len)) {
            *slot = (left, right);
            self.len += 1;
        }
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Options {
    pub mss: Option<u16>,
    /// As on the wire; receivers clamp it to 14 (RFC 7323 §2.3).
    pub window_scale: Option<u8>,
    pub sack_permitted: bool,
    pub timestamps: Option<Timestamps>,
    pub sack: SackBlocks,
}

impl Options {
    /// Unknown options are skipped; a length of 0 or 1, or one past the end, is an error.
    pub fn parse(bytes: &[u8]) -> Result<Self, Error> {
        let _ = bytes;
        todo!()
    }

    /// Writes the options padded to a multiple of 4, in Linux's order, and returns their length.
    /// SACK blocks that do not fit in 40 bytes are left out.
    pub fn emit(&self, out: &mut [u8; MAX_LEN]) -> usize {
        let _ = out;
        todo!()
    }

    /// What `emit` would write, without writing it.
    pub fn emitted_len(&self) -> usize {
        todo!()
    }
}
