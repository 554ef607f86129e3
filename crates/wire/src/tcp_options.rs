//! TCP options: maximum segment size (RFC 9293 §3.7.1), window scale and timestamps (RFC 7323),
//! selective acknowledgment (RFC 2018), fast open (RFC 7413), counters of marks (RFC 9768).

use crate::{
    Error,
    ecn::Counters,
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
    /// What came with which mark; sent with [`Options::fit_counters`].
    pub ecn: Option<Counters>,
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
    /// Counters of marks, that of ECT(0) or that of ECT(1) first.
    pub const ACCURATE_ECN_0: u8 = 172;
    pub const ACCURATE_ECN_1: u8 = 174;
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
            (kind::ACCURATE_ECN_0, _) => self.ecn = Counters::parse(data, false).or(self.ecn),
            (kind::ACCURATE_ECN_1, _) => self.ecn = Counters::parse(data, true).or(self.ecn),
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
        let mut writer = Writer { out, len: 0, padding: [kind::NO_OPERATION; 2] };
        if let Some(mss) = self.mss {
            let [high, low] = mss.to_be_bytes();
            writer.put([kind::MSS, 4, high, low]);
        }
        // The two bytes before the timestamps, which need 10, are padding or SACK-permitted.
        if let Some(Timestamps { value, echo }) = self.timestamps {
            let permitted = [kind::SACK_PERMITTED, 2];
            writer.put(if self.sack_permitted { permitted } else { [kind::NO_OPERATION; 2] });
            writer.put([kind::TIMESTAMPS, 10]);
            writer.put(value.to_be_bytes());
            writer.put(echo.to_be_bytes());
        }
        if let Some(counters) = &self.ecn {
            writer.put_counters(counters, self.spare());
        }
        if self.sack_permitted && self.timestamps.is_none() {
            let [first, second] = writer.take_padding();
            writer.put([first, second, kind::SACK_PERMITTED, 2]);
        }
        if let Some(shift) = self.window_scale {
            let [first, _] = writer.take_padding();
            writer.put([first, kind::WINDOW_SCALE, 3, shift]);
        }
        let blocks = self.sack_that_fits();
        if !blocks.is_empty() {
            let len = 2 + 8 * blocks.len() as u8;
            let [first, second] = writer.take_padding();
            writer.put([first, second, kind::SACK, len]);
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

    /// Adds as many of `counters` as there is room for beside what is there already, and no SACK block is left
    /// out for more than the first `needed` of them: two blocks stay. Nothing is added if these do not fit.
    /// (RFC 9768 §3.2.3.3; which blocks give way as Linux has it.)
    pub fn fit_counters(&mut self, counters: &Counters, needed: usize) {
        self.ecn = None;
        let mut sack = self.sack;
        loop {
            for count in (needed..=3).rev() {
                let some = Options { ecn: Some(counters.limited(count)), sack, ..*self };
                if some.whole_len() <= MAX_LEN {
                    *self = some;
                    return;
                }
            }
            if needed == 0 || sack.len <= 2 {
                return;
            }
            sack.len -= 1;
        }
    }

    /// What `emit` would write, without writing it.
    pub fn emitted_len(&self) -> usize {
        self.len_without_sack() + sack_len(self.sack_that_fits().len())
    }

    /// The same if there was room for all SACK blocks.
    fn whole_len(&self) -> usize {
        self.len_without_sack() + sack_len(self.sack.as_slice().len())
    }

    /// Octets of padding in the first option behind the counters of marks.
    fn spare(&self) -> usize {
        if self.sack_permitted && self.timestamps.is_none() {
            2
        } else if self.window_scale.is_some() {
            1
        } else if !self.sack.is_empty() {
            2
        } else {
            0
        }
    }

    fn len_without_sack(&self) -> usize {
        let present = |is: bool, len: usize| if is { len } else { 0 };
        present(self.mss.is_some(), 4)
            + present(self.timestamps.is_some(), 12)
            + self.ecn.map_or(0, |counters| counters.padded_len(self.spare()))
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

/// Of the SACK option with its padding.
const fn sack_len(blocks: usize) -> usize {
    if blocks == 0 { 0 } else { 4 + 8 * blocks }
}

/// Appends to the options' buffer; what does not fit is left out, which [`Options::emit`] rules out.
struct Writer<'a> {
    out: &'a mut [u8; MAX_LEN],
    len: usize,
    /// What the next option that needs padding has for it: the end of one before, perhaps.
    padding: [u8; 2],
}

impl Writer<'_> {
    fn take_padding(&mut self) -> [u8; 2] {
        core::mem::replace(&mut self.padding, [kind::NO_OPERATION; 2])
    }

    /// Its last octets stand where the next option has its padding, which is `spare` octets, or are padded.
    fn put_counters(&mut self, counters: &Counters, spare: usize) {
        let mut bytes = [kind::NO_OPERATION; 12];
        let len = counters.len();
        let fields = counters.fields().flatten();
        let octets = [kind::ACCURATE_ECN_1, len as u8].into_iter().chain(fields);
        bytes.iter_mut().zip(octets).for_each(|(place, octet)| *place = octet);
        let whole = counters.padded_len(spare);
        for word in bytes.as_chunks::<4>().0.iter().take(whole / 4) {
            self.put(*word);
        }
        let rest = bytes.get(whole..len).unwrap_or(&[]);
        self.padding.iter_mut().zip(rest).for_each(|(place, octet)| *place = *octet);
    }

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
            (
                "counters of marks, ECT(0)'s first",
                &[172, 8, 0, 0, 1, 0, 0, 2, 1],
                Ok(Options { ecn: Some(Counters::new(None, Some(2), Some(1))), ..options }),
            ),
            ("half a counter", &[174, 4, 0, 0], Ok(options)),
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

    fn counted() -> Counters {
        Counters::new(Some(1), Some(0), Some(0x01_0203))
    }

    #[test]
    fn counters_of_marks_are_written_whole_or_in_the_padding_of_others() {
        let counted = counted();
        let timestamps = Some(Timestamps { value: 7, echo: 8 });
        let mut sack = SackBlocks::default();
        (0..4).for_each(|n| sack.push(n, n + 1));
        let three = SackBlocks { len: 3, ..sack };
        let two = SackBlocks { len: 2, ..sack };
        let some = Options::default();
        for (name, options, needed, counters, blocks, len) in [
            ("alone", some, 0, Some(3), 0, 12),
            ("beside timestamps", Options { timestamps, ..some }, 0, Some(3), 0, 24),
            ("two blocks", Options { timestamps, sack: two, ..some }, 0, Some(2), 2, 40),
            (
                "three, nothing needed",
                Options { timestamps, sack: three, ..some },
                0,
                Some(0),
                3,
                40,
            ),
            ("three, one needed", Options { timestamps, sack: three, ..some }, 1, Some(2), 2, 40),
            ("three, all needed", Options { timestamps, sack: three, ..some }, 3, None, 3, 40),
            ("four, nothing needed", Options { sack, ..some }, 0, Some(1), 4, 40),
            ("four, two needed", Options { sack, ..some }, 2, Some(3), 3, 40),
        ] {
            let mut fitted = options;
            fitted.fit_counters(&counted, needed);
            assert_eq!(fitted.ecn, counters.map(|count| counted.limited(count)), "{name}");
            let mut out = [0; MAX_LEN];
            let written = fitted.emit(&mut out);
            assert_eq!((written, fitted.emitted_len()), (len, len), "{name}");
            let read = Options::parse(&out[..written]).unwrap();
            assert_eq!(read.sack.as_slice(), sack.as_slice().get(..blocks).unwrap(), "{name}");
            assert_eq!((read.ecn, read.timestamps), (fitted.ecn, fitted.timestamps), "{name}");
        }
    }

    /// Padding of what follows is used, as in Linux's SYN-ACKs.
    #[test]
    fn counters_of_marks_end_in_the_padding_behind_them() {
        let one = counted().limited(1);
        let options = Options { window_scale: Some(7), ecn: Some(one), ..Options::default() };
        let mut out = [0; MAX_LEN];
        let len = options.emit(&mut out);
        assert_eq!(out[..len], [174, 5, 0, 0, 1, 3, 3, 7]);
        let none = Some(Counters::default());
        let options = Options { sack_permitted: true, ecn: none, ..Options::default() };
        let len = options.emit(&mut out);
        assert_eq!(out[..len], [174, 2, 4, 2]);
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
