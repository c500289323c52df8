//! Comparing two rows of logits.

/// How a row differs from the expected one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Difference {
    /// Cosine of the angle between the rows; NaN when one has no direction.
    pub(crate) cosine: f64,
    /// Largest absolute difference of an element; NaN when an element is.
    pub(crate) max_abs: f64,
    /// Index of the largest element, `None` when some element is NaN.
    pub(crate) argmax: Option<usize>,
    /// Index of the largest expected element.
    pub(crate) expected_argmax: Option<usize>,
    /// Whether the element at `argmax` is also a largest one of the expected row.
    pub(crate) argmax_agrees: bool,
}

/// Compares rows of equal length, in double precision.
pub(crate) fn compare(found: &[f32], expected: &[f32]) -> Difference {
    let (mut dot, mut found_square, mut expected_square, mut max_abs) = (0.0_f64, 0.0_f64, 0.0_f64, 0.0_f64);
    for (a, b) in found.iter().zip(expected) {
        let (a, b) = (f64::from(*a), f64::from(*b));
        dot += a * b;
        found_square += a * a;
        expected_square += b * b;
        let difference = (a - b).abs();
        // `max` would drop a NaN.
        if difference > max_abs || difference.is_nan() {
            max_abs = difference;
        }
        if max_abs.is_nan() {
            break;
        }
    }
    let norm = found_square.sqrt() * expected_square.sqrt();
    let (cosine, max_abs) = if max_abs.is_nan() || found.len() != expected.len() {
        (f64::NAN, f64::NAN)
    } else {
        (dot / norm, max_abs)
    };
    let (argmax, expected_argmax) = (largest(found), largest(expected));
    let at = |index: Option<usize>| index.and_then(|index| expected.get(index));
    let argmax_agrees = argmax.is_some() && at(argmax) == at(expected_argmax);
    Difference { cosine, max_abs, argmax, expected_argmax, argmax_agrees }
}

/// The first index of the largest element; `None` for an empty row or one with NaN.
fn largest(row: &[f32]) -> Option<usize> {
    let mut best: Option<(usize, f32)> = None;
    for (index, value) in row.iter().enumerate() {
        if value.is_nan() {
            return None;
        }
        if best.is_none_or(|(_, largest)| *value > largest) {
            best = Some((index, *value));
        }
    }
    best.map(|(index, _)| index)
}

#[cfg(test)]
mod tests {
    use super::compare;

    #[test]
    fn equal_rows() {
        let row = [1.0, -2.0, 3.5];
        let difference = compare(&row, &row);
        assert!((difference.cosine - 1.0).abs() < 1e-12);
        assert_eq!((difference.max_abs, difference.argmax, difference.argmax_agrees), (0.0, Some(2), true));
    }

    #[test]
    fn different_rows() {
        let difference = compare(&[3.0, 0.0, 0.5], &[0.0, 3.0, 0.0]);
        assert_eq!((difference.max_abs, difference.cosine), (3.0, 0.0));
        assert_eq!((difference.argmax, difference.expected_argmax), (Some(0), Some(1)));
        assert!(!difference.argmax_agrees);
    }

    #[test]
    fn a_tie_in_the_expected_row_agrees_with_both() {
        assert!(compare(&[1.0, 2.0], &[2.0, 2.0]).argmax_agrees);
    }

    #[test]
    fn nan_anywhere_is_no_agreement() {
        for row in [[f32::NAN, 1.0], [1.0, f32::NAN]] {
            let difference = compare(&row, &[0.0, 1.0]);
            assert!(difference.cosine.is_nan() && difference.max_abs.is_nan());
            assert!(!difference.argmax_agrees);
        }
        assert!(compare(&[0.0, 0.0], &[1.0, 0.0]).cosine.is_nan(), "a row of zeros has no direction");
    }

    #[test]
    fn infinity_is_far_away() {
        assert_eq!(compare(&[f32::INFINITY, 1.0], &[0.0, 1.0]).max_abs, f64::INFINITY);
    }
}
