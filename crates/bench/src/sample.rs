//! Numbers measured, and what is said about them.

use serde::Serialize;

/// What a number counts, and which way is good.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Unit {
    #[serde(rename = "Gbit/s")]
    GigabitsPerSecond,
    #[serde(rename = "µs")]
    Microseconds,
    #[serde(rename = "1/s")]
    PerSecond,
}

impl Unit {
    pub fn symbol(self) -> &'static str {
        match self {
            Self::GigabitsPerSecond => "Gbit/s",
            Self::Microseconds => "µs",
            Self::PerSecond => "1/s",
        }
    }

    pub fn less_is_better(self) -> bool {
        self == Self::Microseconds
    }

    /// Enough digits to tell values apart, no more than were measured.
    pub fn format(self, value: f64) -> String {
        match value {
            value if value < 10.0 => format!("{value:.2}"),
            value if value < 100.0 => format!("{value:.1}"),
            value => format!("{value:.0}"),
        }
    }
}

/// One value a round.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(into = "Described")]
pub struct Samples(Vec<f64>);

/// Samples as the JSON shows them.
#[derive(Serialize)]
struct Described {
    median: f64,
    min: f64,
    max: f64,
    rounds: Vec<f64>,
}

impl From<Samples> for Described {
    fn from(samples: Samples) -> Self {
        let (min, max) = samples.spread();
        Self { median: samples.median(), min, max, rounds: samples.0 }
    }
}

impl Samples {
    pub fn push(&mut self, value: f64) {
        self.0.push(value);
    }

    /// The middle value, or the mean of the two in the middle; NaN without any.
    pub fn median(&self) -> f64 {
        let sorted = self.sorted();
        let middle = sorted.len() / 2;
        match (sorted.get(middle), middle.checked_sub(1).and_then(|before| sorted.get(before))) {
            (Some(high), Some(low)) if sorted.len().is_multiple_of(2) => low.midpoint(*high),
            (Some(value), _) => *value,
            (None, _) => f64::NAN,
        }
    }

    /// Smallest and largest; NaN without any.
    pub fn spread(&self) -> (f64, f64) {
        let sorted = self.sorted();
        let or_nan = |value: Option<&f64>| value.copied().unwrap_or(f64::NAN);
        (or_nan(sorted.first()), or_nan(sorted.last()))
    }

    fn sorted(&self) -> Vec<f64> {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        sorted
    }
}

impl FromIterator<f64> for Samples {
    fn from_iter<I: IntoIterator<Item = f64>>(values: I) -> Self {
        Self(values.into_iter().collect())
    }
}

/// One line of the result: the same work on both stacks.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    pub name: String,
    pub unit: Unit,
    pub narrows: Samples,
    pub kernel: Samples,
}

impl Row {
    pub fn new(name: impl Into<String>, unit: Unit) -> Self {
        Self { name: name.into(), unit, narrows: Samples::default(), kernel: Samples::default() }
    }

    /// Narrows' median over the kernel's.
    pub fn ratio(&self) -> f64 {
        self.narrows.median() / self.kernel.median()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_and_spreads() {
        for (values, median, spread) in [
            (&[3.0][..], 3.0, (3.0, 3.0)),
            (&[4.0, 1.0], 2.5, (1.0, 4.0)),
            (&[9.0, 1.0, 5.0], 5.0, (1.0, 9.0)),
            (&[4.0, 8.0, 1.0, 6.0], 5.0, (1.0, 8.0)),
        ] {
            let samples: Samples = values.iter().copied().collect();
            assert_eq!(samples.median(), median, "{values:?}");
            assert_eq!(samples.spread(), spread, "{values:?}");
        }
        assert!(Samples::default().median().is_nan());
    }

    #[test]
    fn ratios_compare_medians() {
        let mut row = Row::new("bulk", Unit::GigabitsPerSecond);
        row.narrows = [10.0, 20.0, 90.0].into_iter().collect();
        row.kernel = [40.0].into_iter().collect();
        assert_eq!(row.ratio(), 0.5);
    }

    #[test]
    fn digits() {
        for (value, text) in [(0.613, "0.61"), (23.61, "23.6"), (9200.4, "9200")] {
            assert_eq!(Unit::PerSecond.format(value), text);
        }
    }

    #[test]
    fn json_has_every_round() {
        let samples: Samples = [2.0, 1.0].into_iter().collect();
        let json = serde_json::to_value(samples).unwrap();
        let expected = serde_json::json!({
            "median": 1.5, "min": 1.0, "max": 2.0, "rounds": [2.0, 1.0]
        });
        assert_eq!(json, expected);
    }
}
