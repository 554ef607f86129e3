//! TCP options as bytes, in the order and with the padding that a script gives them: more exact
//! than the engine needs to be.

use super::script::{Cookie, TcpOption};
use narrows_wire::{fast_open::MAGIC, tcp_options::kind};
use std::fmt::Write;

/// The options' bytes, padded to whole words. `valid` is the cookie that the stack would give.
pub(super) fn emit(options: &[TcpOption], valid: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for option in options {
        put(&mut bytes, option, valid);
    }
    bytes.resize(bytes.len().next_multiple_of(4), kind::END);
    bytes
}

fn put(bytes: &mut Vec<u8>, option: &TcpOption, valid: &[u8]) {
    let (kind, data) = match option {
        TcpOption::EndOfList => return bytes.push(kind::END),
        TcpOption::NoOperation => return bytes.push(kind::NO_OPERATION),
        TcpOption::MaximumSegment(size) => (kind::MSS, size.to_be_bytes().to_vec()),
        TcpOption::WindowScale(shift) => (kind::WINDOW_SCALE, vec![*shift]),
        TcpOption::SackPermitted => (kind::SACK_PERMITTED, Vec::new()),
        TcpOption::Timestamps { value, echo } => {
            (kind::TIMESTAMPS, [value.to_be_bytes(), echo.to_be_bytes()].concat())
        }
        TcpOption::Sack(blocks) => {
            let edges = blocks.iter().flat_map(|(left, right)| [*left, *right]);
            (kind::SACK, edges.flat_map(u32::to_be_bytes).collect())
        }
        TcpOption::Counters { ect1_first, fields } => {
            let kind = if *ect1_first { kind::ACCURATE_ECN_1 } else { kind::ACCURATE_ECN_0 };
            let fields = fields.iter().flat_map(|field| {
                let [_, a, b, c] = field.to_be_bytes();
                [a, b, c]
            });
            (kind, fields.collect())
        }
        TcpOption::FastOpen { cookie, experimental } => {
            let cookie = match cookie {
                Cookie::Bytes(cookie) => cookie.as_slice(),
                Cookie::Valid => valid,
            };
            match experimental {
                true => (kind::EXPERIMENT, [&MAGIC, cookie].concat()),
                false => (kind::FAST_OPEN, cookie.to_vec()),
            }
        }
    };
    bytes.extend([kind, data.len() as u8 + 2]);
    bytes.extend(data);
}

/// The options in `bytes`, in order; `None` if they are malformed or unknown.
pub(super) fn parse(mut bytes: &[u8]) -> Option<Vec<TcpOption>> {
    let mut options = Vec::new();
    while let Some((&kind, rest)) = bytes.split_first() {
        if kind == kind::END || kind == kind::NO_OPERATION {
            let padding = kind == kind::END;
            options.push(if padding { TcpOption::EndOfList } else { TcpOption::NoOperation });
            bytes = rest;
            continue;
        }
        let (&length, rest) = rest.split_first()?;
        let (data, rest) = rest.split_at_checked(usize::from(length).checked_sub(2)?)?;
        options.push(one(kind, data)?);
        bytes = rest;
    }
    Some(options)
}

fn one(kind: u8, data: &[u8]) -> Option<TcpOption> {
    let word = |at: usize| {
        let bytes = data.get(at..at + 4)?;
        Some(u32::from_be_bytes(bytes.try_into().ok()?))
    };
    Some(match (kind, data) {
        (kind::MSS, &[high, low]) => TcpOption::MaximumSegment(u16::from_be_bytes([high, low])),
        (kind::WINDOW_SCALE, &[shift]) => TcpOption::WindowScale(shift),
        (kind::SACK_PERMITTED, []) => TcpOption::SackPermitted,
        (kind::TIMESTAMPS, _) if data.len() == 8 => {
            TcpOption::Timestamps { value: word(0)?, echo: word(4)? }
        }
        (kind::SACK, _) if data.len().is_multiple_of(8) => {
            let block = |index| Some((word(8 * index)?, word(8 * index + 4)?));
            TcpOption::Sack((0..data.len() / 8).map(block).collect::<Option<_>>()?)
        }
        (kind::ACCURATE_ECN_0 | kind::ACCURATE_ECN_1, _) => {
            let (fields, excess) = data.as_chunks::<3>();
            let fields = fields.iter().map(|&[a, b, c]| u32::from_be_bytes([0, a, b, c])).collect();
            let ect1_first = kind == kind::ACCURATE_ECN_1;
            excess.is_empty().then_some(TcpOption::Counters { ect1_first, fields })?
        }
        (kind::FAST_OPEN, cookie) => {
            TcpOption::FastOpen { cookie: Cookie::Bytes(cookie.into()), experimental: false }
        }
        (kind::EXPERIMENT, _) => TcpOption::FastOpen {
            cookie: Cookie::Bytes(data.strip_prefix(&MAGIC)?.into()),
            experimental: true,
        },
        _ => return None,
    })
}

/// What scripts call the counters of marks, in the order of the option's kind.
pub(super) fn counter_names(ect1_first: bool) -> [&'static str; 3] {
    if ect1_first { ["e1b", "ceb", "e0b"] } else { ["e0b", "ceb", "e1b"] }
}

/// As a script writes them.
pub(super) fn show(options: &[TcpOption]) -> String {
    let mut text = String::new();
    for option in options {
        if !text.is_empty() {
            text.push(',');
        }
        let _ = match option {
            TcpOption::EndOfList => write!(text, "eol"),
            TcpOption::NoOperation => write!(text, "nop"),
            TcpOption::MaximumSegment(size) => write!(text, "mss {size}"),
            TcpOption::WindowScale(shift) => write!(text, "wscale {shift}"),
            TcpOption::SackPermitted => write!(text, "sackOK"),
            TcpOption::Timestamps { value, echo } => write!(text, "TS val {value} ecr {echo}"),
            TcpOption::Sack(blocks) => {
                text.push_str("sack");
                blocks.iter().try_for_each(|(left, right)| write!(text, " {left}:{right}"))
            }
            TcpOption::Counters { ect1_first, fields } => {
                text.push_str("ECN");
                let names = counter_names(*ect1_first);
                names
                    .iter()
                    .zip(fields)
                    .try_for_each(|(name, field)| write!(text, " {name} {field}"))
            }
            TcpOption::FastOpen { cookie, experimental } => {
                text.push_str(if *experimental { "FOEXP" } else { "FO" });
                match cookie {
                    Cookie::Valid => write!(text, " TFO_COOKIE"),
                    Cookie::Bytes(bytes) if bytes.is_empty() => Ok(()),
                    Cookie::Bytes(bytes) => {
                        text.push(' ');
                        bytes.iter().try_for_each(|byte| write!(text, "{byte:02x}"))
                    }
                }
            }
        };
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_and_options_are_the_same_thing() {
        let options = vec![
            TcpOption::MaximumSegment(1460),
            TcpOption::NoOperation,
            TcpOption::WindowScale(8),
            TcpOption::SackPermitted,
            TcpOption::NoOperation,
            TcpOption::NoOperation,
            TcpOption::Timestamps { value: 100, echo: 0x0102_0304 },
            TcpOption::FastOpen { cookie: Cookie::Bytes(vec![0xab, 0xcd]), experimental: false },
            TcpOption::FastOpen { cookie: Cookie::Bytes(vec![]), experimental: true },
            TcpOption::EndOfList,
            TcpOption::EndOfList,
        ];
        let bytes = emit(&options, &[]);
        assert_eq!(bytes.len() % 4, 0);
        assert_eq!(bytes[..8], [2, 4, 5, 180, 1, 3, 3, 8]);
        let parsed = parse(&bytes).unwrap();
        assert_eq!(parsed[..options.len()], options);
        assert!(parsed[options.len()..].iter().all(|option| *option == TcpOption::EndOfList));
        assert_eq!(
            show(&options),
            "mss 1460,nop,wscale 8,sackOK,nop,nop,TS val 100 ecr 16909060,FO abcd,FOEXP,eol,eol"
        );
        let sack = [TcpOption::Sack(vec![(1, 2), (3, 4)])];
        assert_eq!(parse(&emit(&sack, &[])).unwrap()[0], sack[0]);
        assert_eq!(show(&sack), "sack 1:2 3:4");
    }

    #[test]
    fn malformed_options_are_none() {
        for bytes in [&[2][..], &[2, 1], &[2, 0], &[2, 4, 1], &[77, 2], &[8, 3, 0]] {
            assert_eq!(parse(bytes), None, "{bytes:?}");
        }
    }
}
