//! What a readiness event is about, in the number that the kernel carries for us.
//!
//! A token holds the kind of source, its index in the table of that kind, and a serial number: an
//! event that was on its way when its source was closed does not reach the next one in that place.

use mio::Token;

/// The sources of events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// A signal asks the daemon to end.
    Signal,
    /// A program wants to open a session.
    Listener,
    /// The kernel's interfaces have changed.
    Links,
    /// A device, by serial number.
    Device(usize),
    Session(Token),
    Anchor(Token),
    /// A connection that is cut through.
    Cut(Token),
    /// Somebody who watches packets.
    Watch(Token),
    /// Somebody who decides about packets.
    Inspector(Token),
}

const KIND_SHIFT: u32 = 61;
const SERIAL_SHIFT: u32 = 32;
const SERIAL_MASK: usize = (1 << (KIND_SHIFT - SERIAL_SHIFT)) - 1;
const INDEX_MASK: usize = (1 << SERIAL_SHIFT) - 1;

const SINGLE: usize = 0;
const DEVICE: usize = 1;
const SESSION: usize = 2;
const ANCHOR: usize = 3;
const CUT: usize = 4;
const WATCH: usize = 5;
const INSPECTOR: usize = 6;

const fn make(kind: usize, serial: usize, index: usize) -> Token {
    Token(kind << KIND_SHIFT | (serial & SERIAL_MASK) << SERIAL_SHIFT | (index & INDEX_MASK))
}

pub(crate) const SIGNAL: Token = make(SINGLE, 0, 0);
pub(crate) const LISTENER: Token = make(SINGLE, 0, 1);
pub(crate) const LINKS: Token = make(SINGLE, 0, 2);

pub(crate) fn device(serial: usize) -> Token {
    make(DEVICE, 0, serial)
}

pub(crate) fn session(serial: usize, index: usize) -> Token {
    make(SESSION, serial, index)
}

pub(crate) fn anchor(serial: usize, index: usize) -> Token {
    make(ANCHOR, serial, index)
}

pub(crate) fn cut(serial: usize, index: usize) -> Token {
    make(CUT, serial, index)
}

pub(crate) fn watch(serial: usize, index: usize) -> Token {
    make(WATCH, serial, index)
}

pub(crate) fn inspector(serial: usize, index: usize) -> Token {
    make(INSPECTOR, serial, index)
}

/// The place in the table of its kind.
pub(crate) fn index(token: Token) -> usize {
    token.0 & INDEX_MASK
}

pub(crate) fn source(token: Token) -> Source {
    match token.0 >> KIND_SHIFT {
        DEVICE => Source::Device(index(token)),
        SESSION => Source::Session(token),
        ANCHOR => Source::Anchor(token),
        CUT => Source::Cut(token),
        WATCH => Source::Watch(token),
        INSPECTOR => Source::Inspector(token),
        _ if token == LISTENER => Source::Listener,
        _ if token == LINKS => Source::Links,
        _ => Source::Signal,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_name_their_source_and_differ_by_serial() {
        assert_eq!(source(SIGNAL), Source::Signal);
        assert_eq!(source(LINKS), Source::Links);
        assert_eq!(source(LISTENER), Source::Listener);
        assert_eq!(source(device(3)), Source::Device(3));
        let (old, new) = (anchor(SERIAL_MASK, 0xffff_ffff), anchor(SERIAL_MASK + 1, 0xffff_ffff));
        assert_ne!(old, new);
        assert_eq!(source(old), Source::Anchor(old));
        assert_eq!(index(new), 0xffff_ffff);
        assert_eq!(source(session(9, 5)), Source::Session(session(9, 5)));
        assert_eq!(source(cut(9, 5)), Source::Cut(cut(9, 5)));
        assert_eq!(source(watch(9, 5)), Source::Watch(watch(9, 5)));
        assert_eq!(source(inspector(9, 5)), Source::Inspector(inspector(9, 5)));
    }
}
