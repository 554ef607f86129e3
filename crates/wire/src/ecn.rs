//! Explicit congestion notification: the two bits of the IP header (RFC 3168 §5), and the TCP option that
//! tells how many octets came with each of their values (RFC 9768 §3.2.3).

/// The low two bits of the service field.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Hash)]
pub enum Codepoint {
    /// The sender knows nothing of marks.
    #[default]
    NotEct,
    Ect1,
    Ect0,
    /// Congestion was met.
    Ce,
}

impl Codepoint {
    pub const fn of(tos: u8) -> Self {
        match tos & 3 {
            0 => Self::NotEct,
            1 => Self::Ect1,
            2 => Self::Ect0,
            _ => Self::Ce,
        }
    }

    /// As the header has it.
    pub const fn bits(self) -> u8 {
        match self {
            Self::NotEct => 0,
            Self::Ect1 => 1,
            Self::Ect0 => 2,
            Self::Ce => 3,
        }
    }
}

/// Octets of the option's kind and length, and of each of its counters.
const BASE: usize = 2;
const FIELD: usize = 3;

/// The low 24 bits of counters of octets, as far as the option has them: as small as on the wire, since each
/// segment's options have a place for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Counters {
    /// Of ECT(1), CE and ECT(0).
    fields: [[u8; FIELD]; 3],
    /// A bit for each of them.
    present: u8,
}

impl Counters {
    const ECT1: u8 = 1;
    const CE: u8 = 2;
    const ECT0: u8 = 4;

    pub fn new(ect1: Option<u32>, ce: Option<u32>, ect0: Option<u32>) -> Self {
        let counters = [ect1, ce, ect0];
        let low = |counter: Option<u32>| {
            let [_, a, b, c] = counter.unwrap_or(0).to_be_bytes();
            [a, b, c]
        };
        let bit = |counter: Option<u32>, bit: u8| if counter.is_some() { bit } else { 0 };
        let present = bit(ect1, Self::ECT1) | bit(ce, Self::CE) | bit(ect0, Self::ECT0);
        Self { fields: counters.map(low), present }
    }

    /// `ect1_first`: the kind says in which order the counters stand. `None` if the length is none that the
    /// RFC has.
    pub fn parse(data: &[u8], ect1_first: bool) -> Option<Self> {
        let (fields, excess) = data.as_chunks::<FIELD>();
        if !excess.is_empty() || fields.len() > 3 {
            return None;
        }
        let field = |at: usize| fields.get(at).copied().map(value);
        let (ect1, ect0) = if ect1_first { (0, 2) } else { (2, 0) };
        Some(Self::new(field(ect1), field(1), field(ect0)))
    }

    pub fn ect1(&self) -> Option<u32> {
        let [field, ..] = self.fields;
        self.has(Self::ECT1).then(|| value(field))
    }

    pub fn ce(&self) -> Option<u32> {
        let [_, field, _] = self.fields;
        self.has(Self::CE).then(|| value(field))
    }

    pub fn ect0(&self) -> Option<u32> {
        let [.., field] = self.fields;
        self.has(Self::ECT0).then(|| value(field))
    }

    pub fn is_empty(&self) -> bool {
        self.present == 0
    }

    fn has(&self, counter: u8) -> bool {
        self.present & counter != 0
    }

    /// The counters that are sent, that of ECT(1) first: as many as stand before the first that is missing.
    pub(crate) fn fields(&self) -> impl Iterator<Item = [u8; FIELD]> {
        let counters = self.fields.into_iter().zip([Self::ECT1, Self::CE, Self::ECT0]);
        counters.map_while(|(field, counter)| self.has(counter).then_some(field))
    }

    /// The first `count` counters.
    pub(crate) fn limited(&self, count: usize) -> Self {
        let [ect1, ce, ect0] = [self.ect1(), self.ce(), self.ect0()];
        Self::new(ect1.filter(|_| count > 0), ce.filter(|_| count > 1), ect0.filter(|_| count > 2))
    }

    /// Octets of the option, without padding.
    pub(crate) fn len(&self) -> usize {
        BASE + FIELD * self.fields().count()
    }

    /// Octets that it adds to a header in which `spare` octets of padding stand behind it, at most two: these
    /// it takes, if then it ends on a word.
    pub(crate) fn padded_len(&self, spare: usize) -> usize {
        let len = self.len();
        if len % 4 <= spare { len - len % 4 } else { len.next_multiple_of(4) }
    }
}

fn value([a, b, c]: [u8; FIELD]) -> u32 {
    u32::from_be_bytes([0, a, b, c])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codepoints_are_two_bits() {
        for bits in 0..=3 {
            assert_eq!(Codepoint::of(bits | 0xfc).bits(), bits);
        }
        assert_eq!((Codepoint::of(1), Codepoint::of(2)), (Codepoint::Ect1, Codepoint::Ect0));
    }

    #[test]
    fn counters_stand_in_either_order() {
        let data = [0, 0, 1, 0, 0, 2, 0xff, 0, 3];
        let (first, last) = (Some(1), Some(0xff_0003));
        for (len, ect1_first, ect1, ce, ect0) in [
            (9, true, first, Some(2), last),
            (9, false, last, Some(2), first),
            (6, true, first, Some(2), None),
            (6, false, None, Some(2), first),
            (3, false, None, None, first),
            (0, true, None, None, None),
        ] {
            let expected = Some(Counters::new(ect1, ce, ect0));
            assert_eq!(Counters::parse(&data[..len], ect1_first), expected, "{len} {ect1_first}");
        }
        for bad in [&data[..1], &data[..8], &[0; 12]] {
            assert_eq!(Counters::parse(bad, true), None, "{bad:?}");
        }
    }

    #[test]
    fn padding_of_another_option_is_used_where_that_helps() {
        let all = Counters::new(Some(1), Some(0), Some(1));
        for (count, spare, expected) in [
            (3, 0, 12),
            (3, 2, 12),
            (2, 0, 8),
            (1, 0, 8),
            (1, 1, 4),
            (1, 2, 4),
            (0, 0, 4),
            (0, 1, 4),
            (0, 2, 0),
        ] {
            assert_eq!(all.limited(count).padded_len(spare), expected, "{count} {spare}");
        }
    }
}
