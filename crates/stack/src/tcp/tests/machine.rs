//! Every state, and every segment in it: all sixty-four sets of flags; acknowledging nothing new,
//! everything, what was never sent, or what nobody remembers; in its place, old, overlapping what
//! is here, ahead, or beyond the window; with text and without. What each is called by the first row
//! that describes it, and the table says what comes of it: RFC 9293 §3.10.7 with RFC 5961.

use super::{fixture::*, pipe::OwnedSegment};
use crate::tcp::State::{self, *};
use narrows_wire::tcp::Flags;
use std::collections::BTreeMap;

const STATES: [State; 9] =
    [SynReceived, Established, FinWait1, FinWait2, CloseWait, Closing, LastAck, TimeWait, Closed];

/// What comes of a segment: `.` nothing; `A` an acknowledgment, `S` a SYN-ACK, `R` a reset is sent
/// at once; `t` the program gets text, `e` an error; `>` another state (`E`stablished, FIN-WAIT-`2`,
/// `C`LOSE-WAIT, `X` CLOSING, `T`IME-WAIT, CLOSE`D`). Of segments that acknowledge our FIN, in states
/// that wait for that, the second of two.
const TABLE: &str = "
                        SR      EST     FW1         FW2    CW    CLO    LA     TW    CLOSED
reset beyond            .       .       .           .      .     .      .      .     .
beyond                  A       A       A           A      A     A      A      A     R
reset                   e>D     e>D     e>D         e>D    e>D   e>D    e>D    >D    .
reset ahead             A       A       A           A      A     A      A      A     .
syn                     A       A       A           A      A     A      A      A     R
no acknowledgment       .       .       .           .      .     .      .      .     R
of nothing sent         R       A       A           A      A     A      A      A     R
forgotten               R       A       A           A      A     A      A      A     R
nothing                 R/>E    .       ./>2        .      .     ./>T   ./>D   .     R
text                    R/tA>E  tA      tA/tA>2     tA     A     A/A>T  A/>D   A     R
text ahead              R/A>E   A       A/A>2       A      A     A/A>T  A/>D   A     R
fin                     R/A>C   A>C     A>X/A>T     A>T    A     A/A>T  A/>D   A     R
fin ahead               R/A>E   A       A/A>2       A      A     A/A>T  A/>D   A     R
text and fin            R/tA>C  tA>C    tA>X/tA>T   tA>T   A     A/A>T  A/>D   A     R
text and fin ahead      R/A>E   A       A/A>2       A      A     A/A>T  A/>D   A     R
";

fn parse() -> BTreeMap<(String, usize), [String; 2]> {
    let mut cells = BTreeMap::new();
    for line in TABLE.lines().skip(2) {
        let (name, row) = line.split_at(24);
        for (column, cell) in row.split_whitespace().enumerate() {
            let (first, second) = cell.split_once('/').unwrap_or((cell, cell));
            cells.insert((name.trim().to_owned(), column), [first.to_owned(), second.to_owned()]);
        }
    }
    cells
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Exact,
    Old,
    Overlapping,
    Ahead,
    Beyond,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Acknowledged {
    NothingNew,
    All,
    NeverSent,
    Forgotten,
}

use Acknowledged::*;
use Place::*;

#[derive(Clone, Copy, Debug)]
struct Case {
    flags: Flags,
    acknowledged: Acknowledged,
    place: Place,
    text: usize,
}

fn cases() -> impl Iterator<Item = Case> {
    (0..64).flat_map(|flags| {
        [NothingNew, All, NeverSent, Forgotten].into_iter().flat_map(move |acknowledged| {
            [Exact, Old, Overlapping, Ahead, Beyond].into_iter().flat_map(move |place| {
                [0, 10].map(|text| Case { flags: Flags(flags), acknowledged, place, text })
            })
        })
    })
}

impl Case {
    fn segment(&self, fixture: &Fixture) -> OwnedSegment {
        let next = fixture.connection.rcv.nxt.0;
        let sequence = match self.place {
            Exact => next,
            // All of it is old, a FIN as well.
            Old => next.wrapping_sub(20),
            Overlapping => next.wrapping_sub(5),
            Ahead => next.wrapping_add(100),
            Beyond => next.wrapping_add(1_000_000),
        };
        let snd = &fixture.connection.snd;
        let ack = match self.acknowledged {
            NothingNew => snd.una.0,
            All => snd.nxt.0,
            NeverSent => snd.nxt.0.wrapping_add(1),
            Forgotten => snd.una.0.wrapping_sub(1_000_000),
        };
        let mut made = segment(0, 0, self.flags).text(self.text);
        (made.header.sequence, made.header.acknowledgment) = (sequence, ack);
        if !self.flags.ack() {
            made.header.acknowledgment = 0;
        }
        made
    }

    /// The row of the table.
    fn name(&self) -> String {
        let flags = self.flags;
        // Without text what begins before the next number ends before it; a FIN or SYN is one number.
        let outside = match self.place {
            Beyond | Old => true,
            Overlapping => self.text == 0,
            Exact | Ahead => false,
        };
        match () {
            () if outside && flags.rst() => "reset beyond",
            () if outside => "beyond",
            () if flags.rst() && self.place == Exact => "reset",
            () if flags.rst() => "reset ahead",
            () if flags.syn() => "syn",
            () if !flags.ack() => "no acknowledgment",
            () if self.acknowledged == NeverSent => "of nothing sent",
            () if self.acknowledged == Forgotten => "forgotten",
            () => {
                let what = match (self.text > 0, flags.fin()) {
                    (false, false) => "nothing",
                    (true, false) => "text",
                    (false, true) => "fin",
                    (true, true) => "text and fin",
                };
                let ahead = if self.place == Ahead && what != "nothing" { " ahead" } else { "" };
                return format!("{what}{ahead}");
            }
        }
        .to_owned()
    }
}

fn letter(state: State) -> char {
    match state {
        Established => 'E',
        FinWait2 => '2',
        CloseWait => 'C',
        Closing => 'X',
        TimeWait => 'T',
        Closed => 'D',
        other => panic!("{other:?}"),
    }
}

/// What comes of a segment in a state, as the table has it.
fn reaction(state: State, case: &Case) -> String {
    let mut fixture = Fixture::in_state(state);
    let before = fixture.state();
    let had_error = fixture.connection.error().is_some();
    let outcome = fixture.arrive(&case.segment(&fixture));
    let mut text = String::new();
    if fixture.connection.receive_queue() > 0 {
        text.push('t');
    }
    if fixture.connection.error().is_some() && !had_error {
        text.push('e');
    }
    let mut sent: Vec<Flags> = outcome.reply.iter().map(|reply| reply.flags).collect();
    sent.extend(fixture.sent().iter().map(|sent| sent.2));
    assert!(sent.len() <= 1, "{state:?} {case:?}: {sent:?}");
    text.extend(sent.iter().map(|flags| match flags {
        flags if flags.rst() => 'R',
        flags if flags.syn() => 'S',
        _ => 'A',
    }));
    if fixture.state() != before {
        text.push('>');
        text.push(letter(fixture.state()));
    }
    if text.is_empty() { ".".to_owned() } else { text }
}

#[test]
fn every_segment_in_every_state() {
    let table = parse();
    let mut wrong = BTreeMap::<_, usize>::new();
    let mut count = 0;
    for (column, state) in STATES.into_iter().enumerate() {
        for case in cases() {
            let name = case.name();
            let expected = table.get(&(name.clone(), column));
            let expected = expected.map(|both| both[usize::from(case.acknowledged == All)].clone());
            let got = reaction(state, &case);
            if expected.as_ref() != Some(&got) {
                *wrong.entry((name, format!("{state:?}"), expected, got)).or_default() += 1;
            }
            count += 1;
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert_eq!(count, 9 * 64 * 4 * 5 * 2);
}

/// §3.10.7.3, where nothing is known of the peer's numbers.
#[test]
fn every_segment_in_syn_sent() {
    for case in cases() {
        let flags = case.flags;
        let acceptable = case.acknowledged == All;
        let expected = match () {
            () if flags.ack() && !acceptable && flags.rst() => ".",
            () if flags.ack() && !acceptable => "R",
            () if flags.rst() && flags.ack() => "e>D",
            () if flags.rst() || !flags.syn() => ".",
            () if flags.ack() && flags.fin() => ">C",
            () if flags.ack() => ">E",
            () => "S>SYN-RECEIVED",
        };
        let mut fixture = Fixture::in_state(SynSent);
        let outcome = fixture.arrive(&case.segment(&fixture));
        let reset = outcome.reply.is_some_and(|reply| reply.flags.rst());
        let sent: Vec<Flags> = fixture.sent().iter().map(|sent| sent.2).collect();
        let got = match (fixture.state(), reset, sent.as_slice()) {
            (SynSent, true, []) => "R",
            (SynSent, false, []) => ".",
            (Closed, false, []) => "e>D",
            (SynReceived, false, [SYN_ACK]) => "S>SYN-RECEIVED",
            (Established, false, [ACK]) => ">E",
            (CloseWait, false, [ACK]) => ">C",
            other => panic!("{case:?}: {other:?}"),
        };
        assert_eq!(got, expected, "{case:?}");
    }
}
