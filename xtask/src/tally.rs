//! Adding up what `cargo test` says: one `test result:` line for each test binary.

use std::fmt;

/// Totals over all test binaries of a run.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    binaries: usize,
    passed: usize,
    failed: usize,
    ignored: usize,
}

impl Tally {
    /// Counts the line if it is libtest's summary of a binary.
    pub(crate) fn read(&mut self, line: &str) {
        let Some(summary) = line.strip_prefix("test result: ") else { return };
        self.binaries += 1;
        let (_, counts) = summary.split_once(". ").unwrap_or(("", summary));
        for count in counts.split("; ") {
            let mut words = count.split(' ');
            let (Some(Ok(number)), Some(kind)) = (words.next().map(str::parse::<usize>), words.next()) else {
                continue;
            };
            match kind {
                "passed" => self.passed += number,
                "failed" => self.failed += number,
                "ignored" => self.ignored += number,
                _ => {}
            }
        }
    }

    /// Whether no test passed: then the run proves nothing.
    pub(crate) fn is_empty(&self) -> bool {
        self.passed == 0
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { binaries, passed, failed, ignored } = self;
        write!(f, "{passed} passed, {failed} failed, {ignored} ignored (in {binaries} test binaries)")
    }
}

#[cfg(test)]
mod tests {
    use super::Tally;

    #[test]
    fn adds_up_binaries_and_skips_other_lines() {
        let mut tally = Tally::default();
        for line in [
            "running 3 tests",
            "test view::tests::strides ... ok",
            "test result: ok. 12 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.10s",
            "test result: FAILED. 3 passed; 2 failed; 0 ignored; 0 measured; 7 filtered out; finished in 0.00s",
        ] {
            tally.read(line);
        }
        assert_eq!(tally, Tally { binaries: 2, passed: 15, failed: 2, ignored: 1 });
        assert_eq!(tally.to_string(), "15 passed, 2 failed, 1 ignored (in 2 test binaries)");
        assert!(!tally.is_empty());
    }

    #[test]
    fn nothing_that_passed_is_empty() {
        let mut tally = Tally::default();
        assert!(tally.is_empty());
        tally.read(
            "test result: ok. 0 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s",
        );
        assert!(tally.is_empty());
    }
}
