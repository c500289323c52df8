//! Rounding a block of weights to codes and a scale.
//!
//! Codes are symmetric: a weight is `scale * q` with `q` a signed integer, -8 to 7 for 4 bits, -127 to 127 for 8. For 4 bits
//! the scale may be negative, so that the side with the larger weight has the larger code.

/// How a block's scale is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Method {
    /// The largest weight gets the largest code. The plain way, as a measure for the other.
    MaxAbs,
    /// Least squares: of several scales near the one by the largest weight, each refined to the best one for the codes that
    /// it gives, the one with the smallest sum of squared errors.
    LeastSquares,
}

/// Range of codes, and how far around the scale by the largest weight the search goes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct CodeRange {
    pub(super) low: f32,
    pub(super) high: f32,
    /// Scales that are tried: the largest weight at code `high + steps * step`, downwards.
    steps: &'static [f32],
}

/// 4 bits. Beyond the range the largest weight is clipped, which pays when it stands alone.
pub(super) const Q4: CodeRange = CodeRange {
    low: -8.0,
    high: 7.0,
    steps: &[-1.2, -0.9, -0.6, -0.3, 0.0, 0.3, 0.6, 0.9, 1.2, 1.6, 2.0, 2.5, 3.0],
};
/// 8 bits. Clipping never pays, finer fits a little.
pub(super) const Q8: CodeRange = CodeRange { low: -127.0, high: 127.0, steps: &[-0.6, -0.3, 0.0, 0.3] };

/// A block's scale and what it costs.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Fit {
    pub(super) scale: f32,
    /// Sum of squared errors, weighted by importance.
    pub(super) error: f64,
}

/// The code of a weight under a scale: the nearest, of two equally near ones the even one.
pub(super) fn code(weight: f32, scale: f32, range: CodeRange) -> f32 {
    /// 1.5 * 2^23. Adding it rounds a small number to a whole one, in one instruction everywhere.
    const WHOLE: f32 = 12_582_912.0;
    let inverse = 1.0 / scale;
    // A scale of zero stands for a block of zeros.
    if !inverse.is_finite() {
        return 0.0;
    }
    ((weight * inverse).clamp(range.low, range.high) + WHOLE) - WHOLE
}

/// The scale of a block, exact in the numbers that `stored` can hold. `importance` weighs the squared error of each
/// element: where calibration data says how large activations are, their mean squares go here.
pub(super) fn fit(
    block: &[f32],
    importance: Option<&[f32]>,
    range: CodeRange,
    method: Method,
    stored: fn(f32) -> f32,
) -> Fit {
    let peak = block
        .iter()
        .copied()
        .fold(0.0f32, |peak, weight| if weight.abs() > peak.abs() { weight } else { peak });
    if peak == 0.0 || !peak.is_finite() {
        return Fit::default();
    }
    // The end of the range that has the larger code takes the peak.
    let end = if range.low < -range.high { range.low } else { range.high };
    let try_scale = |scale: f32| {
        let scale = stored(scale);
        Fit { scale, error: error(block, importance, scale, range) }
    };
    let mut best = match method {
        Method::MaxAbs => return try_scale(peak.abs() / range.high),
        Method::LeastSquares => try_scale(peak / end),
    };
    for step in range.steps {
        let scale = peak / (end + step * end.signum());
        let Some(refined) = refine(block, importance, scale, range) else { continue };
        let found = try_scale(refined);
        if found.error < best.error {
            best = found;
        }
    }
    best
}

/// The scale with the least squared error for the codes that `scale` gives.
fn refine(block: &[f32], importance: Option<&[f32]>, scale: f32, range: CodeRange) -> Option<f32> {
    let (mut product, mut square) = (0.0f32, 0.0f32);
    for (at, weight) in block.iter().enumerate() {
        let code = code(*weight, scale, range);
        let worth = importance.and_then(|importance| importance.get(at)).copied().unwrap_or(1.0);
        product += worth * weight * code;
        square += worth * code * code;
    }
    let scale = product / square;
    scale.is_finite().then_some(scale)
}

fn error(block: &[f32], importance: Option<&[f32]>, scale: f32, range: CodeRange) -> f64 {
    let mut sum = 0.0f64;
    for (at, weight) in block.iter().enumerate() {
        let difference = weight - scale * code(*weight, scale, range);
        let worth = importance.and_then(|importance| importance.get(at)).copied().unwrap_or(1.0);
        sum += f64::from(worth * difference * difference);
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noise(seed: u64, count: usize) -> Vec<f32> {
        // Sums of uniform numbers: near enough to what trained weights look like.
        let mut state = seed;
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 40) as f32 / (1u64 << 24) as f32 - 0.5
        };
        (0..count).map(|_| (0..6).map(|_| next()).sum::<f32>() * 0.05).collect()
    }

    fn total(weights: &[f32], range: CodeRange, method: Method) -> f64 {
        let rounded = |scale: f32| half::f16::from_f32(scale).to_f32();
        weights.chunks(32).map(|block| fit(block, None, range, method, rounded).error).sum()
    }

    #[test]
    fn least_squares_beats_the_largest_weight() {
        let weights = noise(7, 32 * 500);
        let ratio =
            |range| total(&weights, range, Method::LeastSquares) / total(&weights, range, Method::MaxAbs);
        assert!(ratio(Q4) < 0.85, "{}", ratio(Q4));
        assert!(ratio(Q8) < 1.0, "{}", ratio(Q8));
    }

    #[test]
    fn a_grid_is_found_exactly() {
        let grid: Vec<f32> = (0..32).map(|at| ((at * 5) % 16 - 8) as f32 * 0.125).collect();
        let fit = fit(&grid, None, Q4, Method::LeastSquares, |scale| scale);
        assert_eq!(fit, Fit { scale: 0.125, error: 0.0 });
        // Mirrored, the scale turns negative: 8 is no code, but -8 is.
        let mirrored: Vec<f32> = grid.iter().map(|weight| -weight).collect();
        let fit = super::fit(&mirrored, None, Q4, Method::LeastSquares, |scale| scale);
        assert_eq!(fit, Fit { scale: -0.125, error: 0.0 });
    }

    #[test]
    fn zeros_and_outliers_are_no_trouble() {
        assert_eq!(fit(&[0.0; 5], None, Q4, Method::LeastSquares, |s| s), Fit::default());
        let mut block = [0.01f32; 32];
        block[3] = 9.0;
        let least = fit(&block, None, Q4, Method::LeastSquares, |s| s);
        let plain = fit(&block, None, Q4, Method::MaxAbs, |s| s);
        assert!(least.error <= plain.error && least.scale.is_finite());
    }

    #[test]
    fn importance_moves_the_error_to_where_it_matters_less() {
        let weights = noise(3, 32);
        let importance: Vec<f32> = (0..32).map(|at| if at < 4 { 1000.0 } else { 1.0 }).collect();
        let scale = fit(&weights, Some(&importance), Q4, Method::LeastSquares, |s| s).scale;
        let plain = fit(&weights, None, Q4, Method::LeastSquares, |s| s).scale;
        let front = |scale| error(&weights[..4], None, scale, Q4);
        assert!(front(scale) <= front(plain));
    }
}
