//! A row of times of the same thing, and what is said of it.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// What a measurement counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// Tokens in a second: more is better.
    TokensPerSecond,
    /// Milliseconds: less is better.
    Milliseconds,
}

impl fmt::Display for Unit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TokensPerSecond => "tok/s",
            Self::Milliseconds => "ms",
        })
    }
}

/// Several runs of the same thing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Measurement {
    /// What was measured, such as `decode at 512`.
    pub name: String,
    /// What the numbers count.
    pub unit: Unit,
    /// The value in the middle of the sorted runs; of an even number the lower of the two.
    pub median: f64,
    /// The smallest value.
    pub low: f64,
    /// The largest value.
    pub high: f64,
    /// The number of runs.
    pub runs: usize,
}

impl Measurement {
    /// Of times, in milliseconds.
    #[must_use]
    pub fn milliseconds(name: impl Into<String>, times: &[Duration]) -> Self {
        Self::of(name.into(), Unit::Milliseconds, times.iter().map(|time| time.as_secs_f64() * 1e3).collect())
    }

    /// Of the times that `tokens` tokens took each time, as a rate.
    #[must_use]
    pub fn rate(name: impl Into<String>, tokens: u32, times: &[Duration]) -> Self {
        let rate = |time: &Duration| f64::from(tokens) / time.as_secs_f64().max(1e-9);
        Self::of(name.into(), Unit::TokensPerSecond, times.iter().map(rate).collect())
    }

    fn of(name: String, unit: Unit, mut values: Vec<f64>) -> Self {
        values.sort_by(f64::total_cmp);
        let at = |index: usize| values.get(index).copied().unwrap_or(f64::NAN);
        let last = values.len().saturating_sub(1);
        Self { name, unit, median: at(last / 2), low: at(0), high: at(last), runs: values.len() }
    }

    /// How many times as fast as `other`, which measured the same.
    #[must_use]
    pub fn faster_than(&self, other: &Self) -> f64 {
        match self.unit {
            Unit::TokensPerSecond => self.median / other.median,
            Unit::Milliseconds => other.median / self.median,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_a_run_and_faster_is_more_tokens_or_less_time() {
        let times = [30, 10, 20, 40].map(Duration::from_millis);
        let rate = Measurement::rate("decode", 2, &times);
        assert_eq!((rate.low, rate.median, rate.high, rate.runs), (50.0, 2.0 / 0.03, 200.0, 4));
        let time = Measurement::milliseconds("load", &times);
        assert_eq!((time.low, time.median, time.high), (10.0, 20.0, 40.0));
        let slower = Measurement::milliseconds("load", &[Duration::from_millis(40)]);
        assert_eq!(time.faster_than(&slower), 2.0);
        let slower = Measurement::rate("decode", 2, &[Duration::from_millis(60)]);
        assert_eq!(rate.faster_than(&slower), 2.0);
    }
}
