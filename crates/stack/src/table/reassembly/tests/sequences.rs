//! Every sequence of fragments of a small datagram, compared with a model that knows only bytes.

use super::*;

/// The datagram has at most so many units of eight bytes.
const UNITS: usize = 3;

/// A piece of it, in units; `value` fills its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Piece {
    start: usize,
    len: usize,
    last: bool,
    value: u8,
}

/// Every piece that can be a fragment, with one of two contents.
fn pieces() -> Vec<Piece> {
    let mut pieces = Vec::new();
    for start in 0..UNITS {
        for len in 1..=UNITS - start {
            for (last, value) in [(false, 0), (false, 1), (true, 0), (true, 1)] {
                if start > 0 || !last {
                    pieces.push(Piece { start, len, last, value });
                }
            }
        }
    }
    pieces
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Outcome {
    Held,
    Whole(Vec<u8>),
    Condemned,
}

/// RFC 791's rule, RFC 5722's for overlaps, and duplicates: no index, no order.
#[derive(Default)]
struct Model {
    held: Vec<Piece>,
    condemned: bool,
}

impl Model {
    fn insert(&mut self, new: Piece) -> Outcome {
        if self.condemned {
            return Outcome::Condemned;
        }
        if self.held.contains(&new) {
            return Outcome::Held;
        }
        let overlap = |a: &Piece, b: &Piece| {
            (a.start..a.start + a.len).any(|unit| (b.start..b.start + b.len).contains(&unit))
        };
        // What is last has nothing behind it.
        let behind = |a: &Piece, b: &Piece| a.last && b.start + b.len > a.start + a.len;
        let ends = |a: &Piece, b: &Piece| a.last && b.last;
        let fits = self.held.iter().all(|old| {
            !overlap(old, &new) && !behind(old, &new) && !behind(&new, old) && !ends(old, &new)
        });
        if !fits {
            self.held.clear();
            self.condemned = true;
            return Outcome::Condemned;
        }
        self.held.push(new);
        self.whole().map_or(Outcome::Held, |bytes| {
            self.held.clear();
            Outcome::Whole(bytes)
        })
    }

    fn whole(&self) -> Option<Vec<u8>> {
        let last = self.held.iter().find(|piece| piece.last)?;
        let units = 0..last.start + last.len;
        let filled = units.map(|unit| {
            let covers = |piece: &&Piece| (piece.start..piece.start + piece.len).contains(&unit);
            self.held.iter().find(covers).map(|piece| [piece.value; 8])
        });
        Some(filled.collect::<Option<Vec<_>>>()?.concat())
    }
}

fn outcome(insertion: Insertion) -> Outcome {
    match insertion.verdict {
        Ok(None) => Outcome::Held,
        Ok(Some(whole)) => Outcome::Whole(whole.payload),
        Err(DropReason::FragmentOverlap) => Outcome::Condemned,
        Err(reason) => panic!("{reason:?}"),
    }
}

fn check(sequence: &[Piece]) {
    let mut table = ReassemblyTable::default();
    let mut model = Model::default();
    for piece in sequence {
        let payload = [piece.value; 8 * UNITS];
        let fragment = Fragment {
            offset: piece.start as u16 * 8,
            more: !piece.last,
            payload: &payload[..piece.len * 8],
            ..FRAGMENT
        };
        let came = outcome(insert(&mut table, fragment));
        assert_eq!(came, model.insert(*piece), "{piece:?} of {sequence:?}");
    }
}

#[test]
fn every_sequence_of_four_fragments() {
    let pieces = pieces();
    for first in &pieces {
        for second in &pieces {
            for third in &pieces {
                for fourth in &pieces {
                    check(&[*first, *second, *third, *fourth]);
                }
            }
        }
    }
}

/// What makes a whole, in every order and with one of its pieces twice.
#[test]
fn every_order_of_a_datagram_with_a_duplicate() {
    let part = |start, last| Piece { start, len: 1, last, value: start as u8 };
    let parts = [part(0, false), part(1, false), part(2, true)];
    let mut wholes = 0;
    for index in 0..4_usize.pow(4) {
        let picks = [index / 64, index / 16 % 4, index / 4 % 4, index % 4];
        let sequence: Vec<Piece> =
            picks.iter().filter_map(|pick| parts.get(*pick)).copied().collect();
        check(&sequence);
        wholes += usize::from(parts.iter().all(|part| sequence.contains(part)));
    }
    assert!(wholes > 30, "{wholes}");
}
