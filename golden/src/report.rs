//! What a verification found: for programs through serde, for people through `Display`.

use serde::Serialize;
use std::fmt;

/// The outcome of holding a bundle against a golden file.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// The golden file.
    pub golden: String,
    /// Where its numbers come from, if it says so.
    pub source: Option<String>,
    /// The model, according to the bundle.
    pub model: String,
    /// The GPU it ran on.
    pub adapter: String,
    /// Smallest cosine that passes.
    pub min_cosine: f64,
    /// Largest absolute difference that passes; `None` when it is not checked.
    pub max_abs: Option<f64>,
    /// Whether the largest logit must be the expected one.
    pub check_argmax: bool,
    /// Every checked position, in the file's order.
    pub positions: Vec<PositionReport>,
    /// Smallest cosine found.
    pub worst_cosine: f64,
    /// Largest absolute difference found.
    pub worst_max_abs: f64,
    /// Positions whose largest logit is the expected one.
    pub argmax_agreements: usize,
    /// Positions that fail a check.
    pub failures: usize,
    /// The verdict: at least one position was checked, and none failed.
    pub passed: bool,
}

/// One checked position.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PositionReport {
    /// The position in the sequence.
    pub position: usize,
    /// Cosine between the rows of logits; not a number when a logit is not.
    pub cosine: f64,
    /// Largest absolute difference of a logit; not a number when a logit is not.
    pub max_abs: f64,
    /// Token with the largest logit, `None` when a logit is not a number.
    pub argmax: Option<usize>,
    /// Token with the largest expected logit.
    pub expected_argmax: Option<usize>,
    /// Whether they agree; the expected row may have several largest logits.
    pub argmax_agrees: bool,
    /// Whether every check holds.
    pub passed: bool,
}

impl Report {
    /// Puts positions together. NaN is the worst value of all.
    pub(crate) fn finish(mut self) -> Self {
        let worst = |values: &mut dyn Iterator<Item = f64>, worse: fn(f64, f64) -> bool| {
            values.fold(f64::NEG_INFINITY, |worst, value| {
                let first = worst == f64::NEG_INFINITY;
                if !worst.is_nan() && (first || value.is_nan() || worse(value, worst)) {
                    value
                } else {
                    worst
                }
            })
        };
        self.worst_cosine = worst(&mut self.positions.iter().map(|p| p.cosine), |a, b| a < b);
        self.worst_max_abs = worst(&mut self.positions.iter().map(|p| p.max_abs), |a, b| a > b);
        self.argmax_agreements = self.positions.iter().filter(|p| p.argmax_agrees).count();
        self.failures = self.positions.iter().filter(|p| !p.passed).count();
        self.passed = !self.positions.is_empty() && self.failures == 0;
        self
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} on {}, against {}", self.model, self.adapter, self.golden)?;
        if let Some(source) = &self.source {
            writeln!(f, "expected numbers: {source}")?;
        }
        writeln!(f, "\nposition      cosine   max abs   argmax")?;
        for position in &self.positions {
            let token = |index: Option<usize>| index.map_or("-".to_owned(), |index| index.to_string());
            let argmax = if position.argmax_agrees {
                token(position.argmax)
            } else {
                format!("{} (expected {})", token(position.argmax), token(position.expected_argmax))
            };
            let mark = if position.passed { "" } else { "   FAIL" };
            let (at, cosine, max_abs) = (position.position, position.cosine, position.max_abs);
            writeln!(f, "{at:>8}  {cosine:>10.7}  {max_abs:>8.1e}   {argmax}{mark}")?;
        }
        let count = self.positions.len();
        let limit = self.max_abs.map_or("no limit".to_owned(), |limit| format!("limit {limit:e}"));
        writeln!(f, "\nworst cosine   {:.7} (limit {})", self.worst_cosine, self.min_cosine)?;
        writeln!(f, "worst max abs  {:.2e} ({limit})", self.worst_max_abs)?;
        let checked = if self.check_argmax { "" } else { " (not checked)" };
        writeln!(f, "argmax agrees  {} of {count}{checked}", self.argmax_agreements)?;
        if self.passed {
            write!(f, "verdict        PASS: {count} positions")
        } else {
            write!(f, "verdict        FAIL: {} of {count} positions", self.failures)
        }
    }
}
