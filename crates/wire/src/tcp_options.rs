//! TCP options: maximum segment size (RFC 9293 §3.7.1), window scale and timestamps (RFC 7323),
//! selective acknowledgment (RFC 2018), fast open (RFC 7413).

use crate::{
    Error,
    fast_open::{Cookie, FastOpen, MAGIC},
};

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
    pub fast_open: Option<FastOpen>,
}

/// Option kinds, as IANA assigns them.
pub mod kind {
    pub const END: u8 = 0;
    pub const NO_OPERATION: u8 = 1;
    pub const MSS: u8 = 2;
    pub const WINDOW_SCALE: u8 = 3;
    pub const SACK_PERMITTED: u8 = 4;
    pub const SACK: u8 = 5;
    pub const TIMESTAMPS: u8 = 8;
    pub const FAST_OPEN: u8 = 34;
    /// RFC 6994: what it is stands in the two octets after the length.
    pub const EXPERIMENT: u8 = 254;
}

impl Options {
    /// Unknown options, and known ones of a wrong length, are skipped; a length of 0 or 1, or one
    /// past the end, is an error. Of an option that comes twice the last counts.
    pub fn parse(bytes: &[u8]) -> Result<Self, Error> {
        let mut options = Self::default();
        let mut rest = bytes;
        while let Some((&kind, after_kind)) = rest.split_first() {
            match kind {
                kind::END => break,
                kind::NO_OPERATION => rest = after_kind,
                _ => {
                    let (&len, after_len) = after_kind.split_first().ok_or(Error::Truncated)?;
                    let data_len = usize::from(len).checked_sub(2).ok_or(Error::Malformed)?;
                    let (data, after) =
                        after_len.split_at_checked(data_len).ok_or(Error::Truncated)?;
                    options.take(kind, data);
                    rest = after;
                }
            }
        }
        Ok(options)
    }

    /// Takes one option's value.
    fn take(&mut self, kind: u8, data: &[u8]) {
        match (kind, data) {
            (kind::MSS, &[high, low]) => self.mss = Some(u16::from_be_bytes([high, low])),
            (kind::WINDOW_SCALE, &[shift]) => self.window_scale = Some(shift),
            (kind::SACK_PERMITTED, []) => self.sack_permitted = true,
            (kind::TIMESTAMPS, &[a, b, c, d, e, f, g, h]) => {
                self.timestamps = Some(Timestamps {
                    value: u32::from_be_bytes([a, b, c, d]),
                    echo: u32::from_be_bytes([e, f, g, h]),
                });
            }
            (kind::SACK, _) => {
                let (blocks, excess) = data.as_chunks::<8>();
                if excess.is_empty() {
                    blocks.iter().for_each(|&[a, b, c, d, e, f, g, h]| {
                        self.sack.push(
                            u32::from_be_bytes([a, b, c, d]),
                            u32::from_be_bytes([e, f, g, h]),
                        );
                    });
                }
            }
            (kind::FAST_OPEN, cookie) => self.take_fast_open(cookie, false),
            (kind::EXPERIMENT, &[first, second, ref cookie @ ..]) if [first, second] == MAGIC => {
                self.take_fast_open(cookie, true);
            }
            _ => {}
        }
    }

    fn take_fast_open(&mut self, cookie: &[u8], experimental: bool) {
        if let Some(cookie) = Cookie::new(cookie) {
            self.fast_open = Some(FastOpen { cookie, experimental });
        }
    }

    /// Writes the options padded to a multiple of 4, in Linux's order, and returns their length.
    /// SACK blocks that do not fit in 40 bytes are left out.
    pub fn emit(&self, out: &mut [u8; MAX_LEN]) -> usize {
        let mut writer = Writer { out, len: 0 };
        if let Some(mss) = self.mss {
            let [high, low] = mss.to_be_bytes();
            writer.put([kind::MSS, 4, high, low]);
        }
        // The two bytes before the timestamps, which need 10, are padding or SACK-permitted.
        if self.sack_permitted {
            if self.timestamps.is_none() {
                writer.put([kind::NO_OPERATION; 2]);
            }
            writer.put([kind::SACK_PERMITTED, 2]);
        } else if self.timestamps.is_some() {
            writer.put([kind::NO_OPERATION; 2]);
        }
        if let Some(Timestamps { value, echo }) = self.timestamps {
            writer.put([kind::TIMESTAMPS, 10]);
            writer.put(value.to_be_bytes());
            writer.put(echo.to_be_bytes());
        }
        if let Some(shift) = self.window_scale {
            writer.put([kind::NO_OPERATION, kind::WINDOW_SCALE, 3, shift]);
        }
        let blocks = self.sack_that_fits();
        if !blocks.is_empty() {
            let len = 2 + 8 * blocks.len() as u8;
            writer.put([kind::NO_OPERATION, kind::NO_OPERATION, kind::SACK, len]);
            for (left, right) in blocks {
                writer.put(left.to_be_bytes());
                writer.put(right.to_be_bytes());
            }
        }
        if let Some(fast_open) = &self.fast_open {
            writer.put_fast_open(fast_open);
        }
        writer.len
    }

    /// What `emit` would write, without writing it.
    pub fn emitted_len(&self) -> usize {
        let sack = match self.sack_that_fits().len() {
            0 => 0,
            blocks => 4 + 8 * blocks,
        };
        self.len_without_sack() + sack
    }

    fn len_without_sack(&self) -> usize {
        let present = |is: bool, len: usize| if is { len } else { 0 };
        present(self.mss.is_some(), 4)
            + present(self.timestamps.is_some(), 12)
            + present(self.sack_permitted && self.timestamps.is_none(), 4)
            + present(self.window_scale.is_some(), 4)
            + self.fast_open.map_or(0, |fast_open| fast_open.emitted_len())
    }

    fn sack_that_fits(&self) -> &[(u32, u32)] {
        let room = (MAX_LEN - self.len_without_sack()).saturating_sub(4) / 8;
        let blocks = self.sack.as_slice();
        blocks.get(..room).unwrap_or(blocks)
    }
}

/// Appends to the options' buffer; what does not fit is left out, which [`Options::emit`] rules out.
struct Writer<'a> {
    out: &'a mut [u8; MAX_LEN],
    len: usize,
}

impl Writer<'_> {
    fn put<const N: usize>(&mut self, bytes: [u8; N]) {
        if let Some(place) = self.out.get_mut(self.len..).and_then(|rest| rest.first_chunk_mut()) {
            *place = bytes;
            self.len += N;
        }
    }

    /// All of it and what pads it, or nothing.
    fn put_fast_open(&mut self, option: &FastOpen) {
        let end = self.len + option.emitted_len();
        let Some(place) = self.out.get_mut(self.len..end) else { return };
        place.fill(kind::NO_OPERATION);
        let cookie = option.cookie.as_slice();
        let (kind, magic): (u8, &[u8]) = match option.experimental {
            true => (kind::EXPERIMENT, &MAGIC),
            false => (kind::FAST_OPEN, &[]),
        };
        let len = 2 + magic.len() + cookie.len();
        let octets = [kind, len as u8].into_iter().chain(magic.iter().copied());
        let octets = octets.chain(cookie.iter().copied());
        place.iter_mut().zip(octets).for_each(|(place, octet)| *place = octet);
        self.len = end;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fast_open(cookie: &[u8], experimental: bool) -> Option<FastOpen> {
        Cookie::new(cookie).map(|cookie| FastOpen { cookie, experimental })
    }

    #[test]
    fn fast_open_is_written_last_and_padded_behind() {
        for (option, expected) in [
            (fast_open(&[], false), &[3, 3, 7, 34, 2, 1, 1][..]),
            (fast_open(&[1, 2, 3, 4], false), &[3, 3, 7, 34, 6, 1, 2, 3, 4, 1, 1]),
            (fast_open(&[1, 2, 3, 4, 5, 6], false), &[3, 3, 7, 34, 8, 1, 2, 3, 4, 5, 6]),
            (fast_open(&[1, 2, 3, 4], true), &[3, 3, 7, 254, 8, 0xf9, 0x89, 1, 2, 3, 4]),
            (fast_open(&[], true), &[3, 3, 7, 254, 4, 0xf9, 0x89]),
        ] {
            let options =
                Options { window_scale: Some(7), fast_open: option, ..Options::default() };
            let mut out = [0; MAX_LEN];
            let len = options.emit(&mut out);
            assert_eq!(&out[1..len], expected);
            assert_eq!(len, options.emitted_len());
            assert_eq!(Options::parse(&out[..len]), Ok(options));
        }
    }

    #[test]
    fn options_are_read() {
        let options = Options::default();
        let mut one_block = SackBlocks::default();
        one_block.push(0x01020304, 0x05060708);
        let cases: &[(&str, &[u8], Result<Options, Error>)] = &[
            ("none", &[], Ok(options)),
            ("padding", &[1, 1, 0, 9], Ok(options)),
            ("mss", &[2, 4, 5, 0xb4], Ok(Options { mss: Some(1460), ..options })),
            ("mss twice", &[2, 4, 5, 0xb4, 2, 4, 2, 0], Ok(Options { mss: Some(512), ..options })),
            ("mss after the end", &[0, 2, 4, 5, 0xb4], Ok(options)),
            ("mss of another length", &[2, 3, 5, 1, 1], Ok(options)),
            ("scale", &[3, 3, 255], Ok(Options { window_scale: Some(255), ..options })),
            ("sack permitted", &[4, 2], Ok(Options { sack_permitted: true, ..options })),
            ("sack", &[5, 10, 1, 2, 3, 4, 5, 6, 7, 8], Ok(Options { sack: one_block, ..options })),
            ("half a block", &[5, 6, 1, 2, 3, 4], Ok(options)),
            (
                "unknown, then known",
                &[254, 4, 0, 0, 4, 2],
                Ok(Options { sack_permitted: true, ..options }),
            ),
            (
                "timestamps",
                &[1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2],
                Ok(Options { timestamps: Some(Timestamps { value: 1, echo: 2 }), ..options }),
            ),
            (
                "fast open",
                &[34, 6, 1, 2, 3, 4, 1, 1],
                Ok(Options { fast_open: fast_open(&[1, 2, 3, 4], false), ..options }),
            ),
            (
                "fast open as an experiment, a wish",
                &[254, 4, 0xf9, 0x89],
                Ok(Options { fast_open: fast_open(&[], true), ..options }),
            ),
            ("a cookie too short", &[34, 4, 1, 2], Ok(options)),
            ("length 0", &[254, 0, 1, 1], Err(Error::Malformed)),
            ("length 1", &[2, 1, 1, 1], Err(Error::Malformed)),
            ("past the end", &[8, 10, 0, 0], Err(Error::Truncated)),
            ("kind alone", &[1, 1, 1, 2], Err(Error::Truncated)),
        ];
        for (name, bytes, expected) in cases {
            assert_eq!(&Options::parse(bytes), expected, "{name}");
        }
    }

    #[test]
    fn a_fifth_block_is_left_out() {
        let mut bytes = vec![5, 42];
        bytes.extend((0..40).map(|n| n as u8));
        let sack = Options::parse(&bytes).unwrap().sack;
        assert_eq!(sack.as_slice().len(), 4);
        assert_eq!(sack.as_slice()[3], (0x18191a1b, 0x1c1d1e1f));
    }

    /// Linux's order: "mss 1460,sackOK,TS val 1 ecr 0,nop,wscale 7".
    #[test]
    fn a_syn_looks_like_linuxs() {
        let options = Options {
            mss: Some(1460),
            window_scale: Some(7),
            sack_permitted: true,
            timestamps: Some(Timestamps { value: 1, echo: 0 }),
            ..Options::default()
        };
        let mut out = [0; MAX_LEN];
        assert_eq!(options.emit(&mut out), 20);
        assert_eq!(out[..20], [2, 4, 5, 0xb4, 4, 2, 8, 10, 0, 0, 0, 1, 0, 0, 0, 0, 1, 3, 3, 7]);
    }

    #[test]
    fn as_many_blocks_as_fit() {
        let mut sack = SackBlocks::default();
        (0..5).for_each(|n| sack.push(n, n + 1));
        let timestamps = Some(Timestamps::default());
        let cases = [
            (Options { sack, ..Options::default() }, 36),
            (Options { sack, timestamps, ..Options::default() }, 40),
            (
                Options {
                    sack,
                    timestamps,
                    mss: Some(536),
                    window_scale: Some(1),
                    ..Options::default()
                },
                40,
            ),
            (Options { sack, timestamps, mss: Some(536), ..Options::default() }, 36),
        ];
        for (options, len) in cases {
            assert_eq!(options.emitted_len(), len);
            assert_eq!(options.emit(&mut [0; MAX_LEN]), len);
        }
    }
}
