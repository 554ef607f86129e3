//! The fast-open option of TCP (RFC 7413 §4.1.1): a cookie, or the wish for one.
//!
//! It has a kind of its own, and a form from before that was assigned: kind 254 with a magic number
//! (RFC 6994), which some peers still speak.

/// The least and the most octets that a cookie has (RFC 7413 §4.1.1).
pub const MIN_COOKIE: usize = 4;
pub const MAX_COOKIE: usize = 16;

/// What tells fast open from other experiments.
pub const MAGIC: [u8; 2] = [0xf9, 0x89];

/// As many octets as a peer chose, none or 4 to 16.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Cookie {
    bytes: [u8; MAX_COOKIE],
    len: u8,
}

impl Cookie {
    /// `None`: no cookie is that long (or that short, or of an odd length).
    pub fn new(octets: &[u8]) -> Option<Self> {
        if !octets.is_empty() && (octets.len() < MIN_COOKIE || !octets.len().is_multiple_of(2)) {
            return None;
        }
        let mut bytes = [0; MAX_COOKIE];
        bytes.get_mut(..octets.len())?.copy_from_slice(octets);
        Some(Self { bytes, len: octets.len() as u8 })
    }

    pub fn as_slice(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.len)).unwrap_or(&[])
    }

    /// Then it asks for one.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct FastOpen {
    pub cookie: Cookie,
    /// In the form from before the kind was assigned.
    pub experimental: bool,
}

impl FastOpen {
    /// Octets in a header, padded to whole words.
    pub fn emitted_len(&self) -> usize {
        let head = if self.experimental { 4 } else { 2 };
        (head + self.cookie.as_slice().len()).next_multiple_of(4)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cookies_have_the_lengths_that_the_rfc_allows() {
        for (len, allowed) in [
            (0, true),
            (1, false),
            (2, false),
            (4, true),
            (5, false),
            (8, true),
            (16, true),
            (17, false),
            (18, false),
        ] {
            let octets: Vec<u8> = (1..=len).collect();
            let cookie = Cookie::new(&octets);
            assert_eq!(cookie.is_some(), allowed, "{len}");
            assert!(cookie.is_none_or(|cookie| cookie.as_slice() == octets));
        }
    }
}
