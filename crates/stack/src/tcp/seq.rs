//! Sequence numbers: arithmetic modulo 2³² (RFC 9293 §3.4).

use core::ops::{Add, AddAssign, Sub};

/// A sequence number. Two of them compare meaningfully while they are less than 2³¹ apart, which
/// the window rules guarantee for all that a connection compares.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Seq(pub u32);

impl Seq {
    pub const fn before(self, other: Self) -> bool {
        self.0 != other.0 && other.0.wrapping_sub(self.0) < 1 << 31
    }

    pub const fn after(self, other: Self) -> bool {
        other.before(self)
    }

    pub const fn at_or_before(self, other: Self) -> bool {
        !other.before(self)
    }

    pub const fn at_or_after(self, other: Self) -> bool {
        !self.before(other)
    }

    /// Octets from `earlier` to this; 0 if `earlier` is later.
    pub const fn since(self, earlier: Self) -> u32 {
        if earlier.before(self) { self.0.wrapping_sub(earlier.0) } else { 0 }
    }

    pub const fn min(self, other: Self) -> Self {
        if other.before(self) { other } else { self }
    }

    pub const fn max(self, other: Self) -> Self {
        if self.before(other) { other } else { self }
    }
}

impl Add<u32> for Seq {
    type Output = Self;
    fn add(self, octets: u32) -> Self {
        Self(self.0.wrapping_add(octets))
    }
}

impl AddAssign<u32> for Seq {
    fn add_assign(&mut self, octets: u32) {
        *self = *self + octets;
    }
}

impl Sub<u32> for Seq {
    type Output = Self;
    fn sub(self, octets: u32) -> Self {
        Self(self.0.wrapping_sub(octets))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_survives_the_wrap() {
        for (a, b, distance) in [
            (0, 1, 1),
            (u32::MAX, 0, 1),
            (u32::MAX - 9, 10, 20),
            (7, 7 + (1 << 31) - 1, (1 << 31) - 1),
        ] {
            let (a, b) = (Seq(a), Seq(b));
            assert!(a.before(b) && b.after(a) && !b.before(a) && !a.after(b));
            assert!(a.at_or_before(b) && b.at_or_after(a) && !b.at_or_before(a));
            assert_eq!((b.since(a), a.since(b)), (distance, 0));
            assert_eq!((a.min(b), a.max(b), b.min(a), b.max(a)), (a, b, a, b));
            assert_eq!((a + distance, b - distance), (b, a));
        }
    }

    #[test]
    fn a_number_is_neither_before_nor_after_itself() {
        let a = Seq(42);
        assert!(!a.before(a) && !a.after(a) && a.at_or_before(a) && a.at_or_after(a));
        assert_eq!(a.since(a), 0);
    }
}
