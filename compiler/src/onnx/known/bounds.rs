//! What is provable about the sign and the order of dimensions.

use std::cmp::Ordering;

use qwenc_ir::{Dim, Ranges};

/// Largest size that a symbol without a stated range can take.
const MAX_SIZE: i64 = (1 << 31) - 1;

/// Ranges of symbols; those that are not listed are sizes from 0.
#[derive(Clone, Debug, Default)]
pub(in crate::onnx) struct Bounds {
    stated: Ranges,
}

impl Bounds {
    pub(in crate::onnx) fn new(stated: Ranges) -> Self {
        Self { stated }
    }

    fn range(&self, dim: &Dim) -> Option<(i64, i64)> {
        if let Some(value) = dim.as_const() {
            return Some((value, value));
        }
        let mut symbols = std::collections::BTreeSet::new();
        dim.collect_symbols(&mut symbols);
        let ranges: Ranges = symbols
            .into_iter()
            .map(|name| {
                let range = self.stated.get(&name).copied().unwrap_or((0, MAX_SIZE));
                (name, range)
            })
            .collect();
        dim.range(&ranges).ok()
    }

    /// True when `dim` is provably at least 0.
    pub(in crate::onnx) fn non_negative(&self, dim: &Dim) -> bool {
        self.range(dim).is_some_and(|(low, _)| low >= 0)
    }

    /// True when `dim` is provably below 0.
    pub(in crate::onnx) fn negative(&self, dim: &Dim) -> bool {
        self.range(dim).is_some_and(|(_, high)| high < 0)
    }

    /// True when `a <= b` is provable.
    pub(in crate::onnx) fn at_most(&self, a: &Dim, b: &Dim) -> bool {
        self.non_negative(&(b.clone() - a.clone()))
    }

    /// True when `a < b` is provable.
    pub(in crate::onnx) fn below(&self, a: &Dim, b: &Dim) -> bool {
        self.negative(&(a.clone() - b.clone()))
    }

    /// The order of two dims, when provable.
    pub(in crate::onnx) fn order(&self, a: &Dim, b: &Dim) -> Option<Ordering> {
        if a.is_poison() || b.is_poison() {
            return None;
        }
        match (a == b, self.below(a, b), self.below(b, a)) {
            (true, _, _) => Some(Ordering::Equal),
            (_, true, _) => Some(Ordering::Less),
            (_, _, true) => Some(Ordering::Greater),
            _ => None,
        }
    }

    /// The smaller of two.
    pub(in crate::onnx) fn min(&self, a: &Dim, b: &Dim) -> Dim {
        if self.at_most(a, b) {
            a.clone()
        } else if self.at_most(b, a) {
            b.clone()
        } else {
            a.min_with(b)
        }
    }

    /// The larger of two.
    pub(in crate::onnx) fn max(&self, a: &Dim, b: &Dim) -> Dim {
        if self.at_most(a, b) {
            b.clone()
        } else if self.at_most(b, a) {
            a.clone()
        } else {
            a.max_with(b)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stated_ranges_decide() {
        let bounds = Bounds::new(Ranges::from([("tokens".to_owned(), (1, 512))]));
        let (tokens, past) = (Dim::sym("tokens"), Dim::sym("past"));
        assert!(bounds.non_negative(&(tokens.clone() - Dim::constant(1))));
        assert!(!bounds.non_negative(&(past.clone() - Dim::constant(1))));
        let total = past.clone() + tokens.clone();
        assert_eq!(bounds.order(&past, &total), Some(Ordering::Less));
        assert_eq!(bounds.min(&total, &past), past);
        assert_eq!(bounds.order(&past, &tokens), None);
        assert_eq!(bounds.max(&Dim::constant(1), &tokens), tokens);
    }
}
