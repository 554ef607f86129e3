//! Congestion control by name.

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Algorithm {
    /// NewReno (RFC 5681, RFC 6582).
    Reno,
    /// CUBIC (RFC 9438).
    Cubic,
}

impl Algorithm {
    /// As Linux names it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Reno => "reno",
            Self::Cubic => "cubic",
        }
    }

    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Reno, Self::Cubic].into_iter().find(|algorithm| algorithm.name() == name)
    }
}
