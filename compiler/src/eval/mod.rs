//! Accuracy of a bundle on cases with known answers: reading cases, counting, and comparing two runs.
//!
//! `docs/eval.md` has the format of the files and says how answers are counted. Running the cases is the command line's,
//! `cli/eval.rs`: it needs a device.

mod cases;
mod predictions;
mod score;

pub use cases::{Case, CaseError, Task, read_tasks};
pub use predictions::{Change, Comparison, Prediction, PredictionError, compare, read_predictions};
pub use score::{Count, Floor, Scores, family};

/// Whether an answer counts: exactly the expected text, but for white space around it, and ended by the model itself.
pub fn is_right(expected: &str, got: &str, ended: bool) -> bool {
    ended && expected.trim() == got.trim()
}

#[cfg(test)]
mod tests {
    use super::is_right;

    #[test]
    fn exact_match_but_for_white_space_around() {
        assert!(is_right("3", " 3\n", true) && is_right(" a b ", "a b", true));
        assert!(
            !is_right("a b", "a  b", true) && !is_right("Red", "red", true) && !is_right("3", "33", true)
        );
        assert!(!is_right("3", "3", false), "cut off, it might have gone on");
    }
}
