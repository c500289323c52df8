//! Sampling on the CPU in f64, by the same rules and with the same random numbers as the kernels.

use super::{IN_PROMPT, SamplingParams};
use crate::order::sorted;

/// Logits from here on up and down do not differ.
const LARGEST: f32 = 1e38;

/// A token, and how clear the choice was.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Drawn {
    /// The token.
    pub token: u32,
    /// By how much its key was larger than the next one's: below some 1e-5, rounding may decide otherwise.
    pub margin: f64,
}

/// The logits after penalties; `None` for tokens that can never be chosen (NaN and minus infinity).
fn penalised(logits: &[f32], counts: &[u32], params: &SamplingParams) -> Vec<Option<f32>> {
    let inverse = params.repetition_penalty.recip();
    let one = |(at, logit): (usize, &f32)| {
        if logit.is_nan() || *logit <= -LARGEST {
            return None;
        }
        let mut score = logit.min(LARGEST);
        let count = counts.get(at).copied().unwrap_or(0);
        if count != 0 {
            score *= if score < 0.0 { params.repetition_penalty } else { inverse };
        }
        if count & !IN_PROMPT != 0 {
            score -= params.presence_penalty;
        }
        Some(score.clamp(-LARGEST, LARGEST))
    };
    logits.iter().enumerate().map(one).collect()
}

/// The probability of every token; all zero when none can be chosen. `counts` may be shorter than the logits.
#[must_use]
pub fn probabilities(logits: &[f32], counts: &[u32], params: &SamplingParams) -> Vec<f64> {
    let weights = weights(logits, counts, params);
    let sum: f64 = weights.iter().sum();
    weights.into_iter().map(|weight| if sum > 0.0 { weight / sum } else { 0.0 }).collect()
}

/// What probabilities are proportional to: 1 for the largest logit, 0 for what is filtered out.
fn weights(logits: &[f32], counts: &[u32], params: &SamplingParams) -> Vec<f64> {
    let scores = penalised(logits, counts, params);
    let Some(largest) = scores.iter().flatten().copied().reduce(f32::max) else {
        return vec![0.0; scores.len()];
    };
    if params.temperature == 0.0 {
        let best = scores.iter().position(|score| *score == Some(largest));
        return (0..scores.len()).map(|at| if Some(at) == best { 1.0 } else { 0.0 }).collect();
    }
    let weight = |score: f32| ((f64::from(score) - f64::from(largest)) / f64::from(params.temperature)).exp();
    let kept: Vec<f32> = scores.iter().flatten().copied().collect();
    let mut order = sorted(&kept, |a, b| a.total_cmp(b).is_gt());

    let mut floor = f32::NEG_INFINITY;
    let k = usize::try_from(params.top_k).unwrap_or(usize::MAX);
    if let Some(smallest) = k.checked_sub(1).and_then(|last| order.get(last)) {
        floor = *smallest;
    }
    order.retain(|score| *score >= floor);
    if params.top_p < 1.0 {
        let needed = f64::from(params.top_p) * order.iter().map(|score| weight(*score)).sum::<f64>();
        // Mass of the larger scores, and of these and the equal ones so far.
        let (mut above, mut with, mut last) = (0.0, 0.0, largest);
        for score in &order {
            if *score != last {
                (above, last) = (with, *score);
            }
            if *score != largest && above >= needed {
                break;
            }
            floor = *score;
            with += weight(*score);
        }
    }
    let keep = |score: f32| score >= floor && weight(score) >= f64::from(params.min_p);
    scores.into_iter().map(|score| score.filter(|score| keep(*score)).map_or(0.0, weight)).collect()
}

/// Draws a token; `None` when none can be chosen. The token is the one of the largest `ln(weight) - ln(exponential)`, with
/// one exponential variate a token: the Gumbel-max trick, which needs no running sums.
#[must_use]
pub fn draw(logits: &[f32], counts: &[u32], params: &SamplingParams, step: u32) -> Option<Drawn> {
    let mut best: Option<Drawn> = None;
    let mut key = f64::NEG_INFINITY;
    for (at, weight) in weights(logits, counts, params).into_iter().enumerate() {
        let token = u32::try_from(at).ok()?;
        if weight > 0.0 {
            let new = weight.ln() - exponential(params.seed, step, token).ln();
            if new > key {
                best = Some(Drawn { token, margin: new - key });
                key = new;
            } else if let Some(best) = &mut best {
                best.margin = best.margin.min(key - new);
            }
        }
    }
    best
}

/// The exponential variate of a token: `-ln(1 - u)`.
#[must_use]
pub fn exponential(seed: u64, step: u32, token: u32) -> f64 {
    -(-f64::from(uniform(random(seed, step, token)))).ln_1p()
}

/// A number in 0..1 of which small values keep their precision.
fn uniform(bits: u32) -> f32 {
    #[expect(clippy::cast_precision_loss, reason = "both have 24 bits")]
    if bits < 1 << 23 {
        (2 * bits + 1) as f32 * 2.0f32.powi(-33)
    } else {
        (2 * (bits >> 9) + 1) as f32 * 2.0f32.powi(-24)
    }
}

/// 32 random bits: the hash pcg4d (Jarzynski and Olano, "Hash Functions for GPU Rendering", 2020) of token, step and seed.
#[must_use]
pub fn random(seed: u64, step: u32, token: u32) -> u32 {
    let [a, b, c, d, e, f, g, h] = seed.to_le_bytes();
    let seed = [u32::from_le_bytes([a, b, c, d]), u32::from_le_bytes([e, f, g, h])];
    let step_of = |x: u32| x.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
    let [mut x, mut y, mut z, mut w] = [token, step, seed[0], seed[1]].map(step_of);
    let mut mix = |shift: u32| {
        x = x.wrapping_add(y.wrapping_mul(w));
        y = y.wrapping_add(z.wrapping_mul(x));
        z = z.wrapping_add(x.wrapping_mul(y));
        w = w.wrapping_add(y.wrapping_mul(z));
        if shift > 0 {
            (x, y, z, w) = (x ^ (x >> shift), y ^ (y >> shift), z ^ (z >> shift), w ^ (w >> shift));
        }
        x
    };
    mix(16);
    mix(0)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use super::*;

    const LOGITS: [f32; 6] = [1.0, 3.0, 3.0, -2.0, f32::NEG_INFINITY, f32::NAN];

    fn kept(params: SamplingParams) -> Vec<usize> {
        let all = probabilities(&LOGITS, &[], &params);
        assert!((all.iter().sum::<f64>() - 1.0).abs() < 1e-12);
        (0..all.len()).filter(|at| all[*at] > 0.0).collect()
    }

    #[test]
    fn every_filter_keeps_what_it_says() {
        let base = SamplingParams::default();
        assert_eq!(kept(base), [0, 1, 2, 3]);
        assert_eq!(kept(SamplingParams::greedy()), [1]);
        // The second largest is equal to the largest.
        assert_eq!(kept(SamplingParams { top_k: 1, ..base }), [1, 2]);
        assert_eq!(kept(SamplingParams { top_k: 3, ..base }), [0, 1, 2]);
        assert_eq!(kept(SamplingParams { top_k: 99, ..base }), [0, 1, 2, 3]);
        // e^-2 = 0.135 and e^-5 = 0.007 of 2.142: 0.934 together for the two largest.
        assert_eq!(kept(SamplingParams { top_p: 0.0, ..base }), [1, 2]);
        assert_eq!(kept(SamplingParams { top_p: 0.93, ..base }), [1, 2]);
        assert_eq!(kept(SamplingParams { top_p: 0.94, ..base }), [0, 1, 2]);
        // Of the three largest it is 0.937.
        assert_eq!(kept(SamplingParams { top_p: 0.935, top_k: 3, ..base }), [1, 2]);
        assert_eq!(kept(SamplingParams { min_p: 0.13, ..base }), [0, 1, 2]);
        assert_eq!(kept(SamplingParams { min_p: 0.14, ..base }), [1, 2]);
        assert_eq!(kept(SamplingParams { min_p: 0.14, temperature: 2.0, ..base }), [0, 1, 2]);
        assert_eq!(draw(&[f32::NAN, f32::NEG_INFINITY], &[], &base, 0), None);
        assert_eq!(draw(&[-5.0, f32::INFINITY], &[], &base, 0).unwrap().token, 1);
    }

    #[test]
    fn penalties_follow_the_counts() {
        let params =
            SamplingParams { repetition_penalty: 2.0, presence_penalty: 0.5, ..SamplingParams::default() };
        let counts = [0, 1, IN_PROMPT, IN_PROMPT | 2];
        let scores = penalised(&LOGITS, &counts, &params);
        assert_eq!(scores, [Some(1.0), Some(1.0), Some(1.5), Some(-4.5), None, None]);
    }

    #[test]
    fn variates_are_exponential_and_repeat() {
        assert_eq!(random(7, 3, 2), random(7, 3, 2));
        assert_ne!(random(7, 3, 2), random(7, 4, 2));
        assert_ne!(random(7, 3, 2), random(7 | 1 << 40, 3, 2));
        let draws: Vec<f64> = (0..40_000).map(|token| exponential(5, 1, token)).collect();
        let mean = draws.iter().sum::<f64>() / 4e4;
        let below = draws.iter().filter(|x| **x < 0.1).count();
        // Five standard deviations: 1 / 200, and 58.6 of 3806.5.
        assert!((mean - 1.0).abs() < 0.025, "{mean}");
        assert!((3514..4099).contains(&below), "{below}");
        assert!(uniform(0) > 0.0 && uniform(u32::MAX) < 1.0);
    }

    /// The draws of every processor follow its probabilities: chi-square, which good code exceeds once in a million.
    #[test]
    fn draws_follow_the_probabilities() {
        let logits: Vec<f32> = (0..37u16).map(|i| f32::from(i * 11 % 37) * -0.12).collect();
        let counts: Vec<u32> = (0..37).map(|i| if i % 3 == 0 { IN_PROMPT | 1 } else { 0 }).collect();
        let base = SamplingParams { seed: 12, ..SamplingParams::default() };
        for params in [
            base,
            SamplingParams { temperature: 0.5, ..base },
            SamplingParams { top_k: 12, ..base },
            SamplingParams { top_p: 0.8, ..base },
            SamplingParams { min_p: 0.1, ..base },
            SamplingParams { repetition_penalty: 1.5, ..base },
            SamplingParams { presence_penalty: 0.7, ..base },
        ] {
            let mut seen = [0u32; 37];
            for step in 0..20_000 {
                let token = draw(&logits, &counts, &params, step).unwrap().token;
                seen[usize::try_from(token).unwrap()] += 1;
            }
            let (mut sum, mut cells) = (0.0, 0);
            for (seen, p) in seen.iter().zip(probabilities(&logits, &counts, &params)) {
                if p == 0.0 {
                    assert_eq!(*seen, 0, "{params:?}");
                } else {
                    sum += (f64::from(*seen) - 2e4 * p).powi(2) / (2e4 * p);
                    cells += 1;
                }
            }
            // Wilson and Hilferty's approximation of the quantile.
            let spread = 2.0 / (9.0 * f64::from(cells - 1));
            let limit = f64::from(cells - 1) * (1.0 - spread + 4.753 * spread.sqrt()).powi(3);
            assert!(sum < limit, "{params:?}: {sum}, at most {limit}");
        }
    }
}
