//! How many tokens are decoded before the first of them is looked at.
//!
//! Bringing tokens back takes time that does not depend on how many they are: some milliseconds in one browser, a tick of
//! 100 ms in another. More tokens at a time share it. But text then comes in spurts, an abort comes later, and what was
//! decoded past the end is for nothing. So the number doubles while nobody can see the spurts, and on while that makes a token
//! markedly cheaper.

/// What a doubling must save of a token's time to be worth it.
const WORTH: f64 = 0.07;
/// Seconds of a batch up to which text comes as smoothly as a screen shows it.
const SMOOTH: f64 = 0.016;
/// Seconds of a token from which on two at a time are not even tried: whoever waits for an abort waits for a batch.
const SLOW: f64 = 0.3;

#[derive(Clone, Debug)]
pub(super) struct Pace {
    count: usize,
    most: usize,
    /// Seconds of a token at the count before.
    before: Option<f64>,
    /// The first batch also waits for the prompt.
    started: bool,
    settled: bool,
}

impl Pace {
    /// From `least` to `most` tokens at a time; 0 counts as 1.
    pub(super) fn new(least: usize, most: usize) -> Self {
        let count = least.max(1);
        let most = most.max(count);
        Self { count, most, before: None, started: false, settled: count == most }
    }

    /// Tokens of the next batch.
    pub(super) fn count(&self) -> usize {
        self.count
    }

    /// A batch of `count` tokens took so long.
    pub(super) fn took(&mut self, count: usize, seconds: f64) {
        let first = !std::mem::replace(&mut self.started, true);
        if first || self.settled || count != self.count {
            return;
        }
        #[expect(clippy::cast_precision_loss, reason = "a batch is small")]
        let each = seconds / count as f64;
        let is_worth = self.before.is_none_or(|before| each <= before * (1.0 - WORTH));
        if !is_worth && seconds > SMOOTH {
            self.count = (self.count / 2).max(1);
            self.settled = true;
        } else if count * 2 > self.most || each > SLOW {
            self.settled = true;
        } else {
            self.before = Some(each);
            self.count *= 2;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The number that a device with this latency and time of a token ends up with.
    fn settles_at(latency: f64, token: f64, most: usize) -> usize {
        let mut pace = Pace::new(0, most);
        pace.took(1, 5.0);
        assert_eq!(pace.count(), 1, "the first batch says nothing");
        for _ in 0..20 {
            let count = pace.count();
            pace.took(count, latency + token * count as f64);
        }
        pace.count()
    }

    #[test]
    fn latency_is_shared_by_as_many_tokens_as_it_is_worth() {
        assert_eq!(settles_at(0.1, 0.005, 16), 16, "a tick of 100 ms");
        assert_eq!(settles_at(0.003, 0.001, 16), 16);
        assert_eq!(settles_at(0.0005, 0.02, 16), 1, "latency is nothing beside a token");
        assert_eq!(settles_at(0.0001, 0.001, 16), 8, "nobody sees so short a spurt");
        assert_eq!(settles_at(0.0, 0.005, 16), 2, "but one of four tokens");
        assert_eq!(settles_at(0.0, 1.0, 16), 1, "a slow device");
        assert_eq!(settles_at(0.1, 0.005, 4), 4);
        assert_eq!(settles_at(0.0, 0.0, 16), 16);
    }

    #[test]
    fn bounds_hold() {
        assert_eq!(settles_at(1.0, 1.0, 0), 1);
        let mut pace = Pace::new(4, 4);
        pace.took(4, 1.0);
        pace.took(4, 1.0);
        assert_eq!(pace.count(), 4);
    }
}
