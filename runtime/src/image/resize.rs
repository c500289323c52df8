//! Antialiased bicubic resizing of bytes, in fixed point.
//!
//! The arithmetic is that of PyTorch's resizing of byte images on CPUs (`upsample_bicubic2d_aa`, after Pillow): columns
//! first, then rows, each only when that side changes. A pass weighs the pixels under the filter, whose support grows
//! with the scale; weights are 16-bit integers with as many bits behind the point as the largest allows, and each pass
//! rounds to a byte.

use super::Rgb;

/// Keys' cubic with `a = -0.5` reaches this far, in source pixels at scale 1.
const SUPPORT: f64 = 2.0;
/// Most bits behind the point.
const MAX_PRECISION: u32 = 22;

/// The pixels under the filter for one place of the target.
struct Taps {
    start: usize,
    weights: Vec<i32>,
}

/// A pass along one side.
struct Pass {
    taps: Vec<Taps>,
    precision: u32,
}

/// The picture in another size; both sides at least 1.
pub(super) fn resize(source: &Rgb, width: u32, height: u32) -> Rgb {
    let size = |side: u32| usize::try_from(side).unwrap_or(0);
    let row = size(source.width()) * 3;
    let mut bytes = std::borrow::Cow::Borrowed(source.bytes());
    if width != source.width() {
        bytes = columns(&bytes, row, &Pass::new(source.width(), width)).into();
    }
    if height != source.height() {
        bytes = rows(&bytes, size(width) * 3, &Pass::new(source.height(), height)).into();
    }
    Rgb::from_parts(width, height, bytes.into_owned())
}

impl Pass {
    fn new(from: u32, to: u32) -> Self {
        let scale = f64::from(from) / f64::from(to);
        let stretch = scale.max(1.0);
        let support = SUPPORT * stretch;
        let mut largest = 0.0_f64;
        let real: Vec<(usize, Vec<f64>)> = (0..to)
            .map(|place| {
                let center = scale * (f64::from(place) + 0.5);
                let start = floor(center - support + 0.5);
                let end = floor(center + support + 0.5).min(from);
                let offset = |pixel: u32| (f64::from(pixel) - center + 0.5) * (1.0 / stretch);
                let mut weights: Vec<f64> = (start..end).map(|pixel| cubic(offset(pixel))).collect();
                let total: f64 = weights.iter().sum();
                if total != 0.0 {
                    weights.iter_mut().for_each(|weight| *weight /= total);
                }
                largest = weights.iter().copied().fold(largest, f64::max);
                (usize::try_from(start).unwrap_or(0), weights)
            })
            .collect();
        let bits = |precision: u32| f64::from(1_u32 << precision);
        let precision = (0..MAX_PRECISION)
            .find(|precision| 0.5 + largest * bits(precision + 1) >= 32_768.0)
            .unwrap_or(MAX_PRECISION);
        let fixed = |weight: f64| round_away(weight * bits(precision));
        let taps = real
            .into_iter()
            .map(|(start, weights)| Taps { start, weights: weights.into_iter().map(fixed).collect() })
            .collect();
        Self { taps, precision }
    }

    fn half(&self) -> i32 {
        (1 << self.precision) >> 1
    }

    fn byte(&self, sum: i32) -> u8 {
        to_byte(sum >> self.precision)
    }
}

/// Keys' cubic convolution kernel, `a = -0.5`.
fn cubic(x: f64) -> f64 {
    const A: f64 = -0.5;
    let x = x.abs();
    if x < 1.0 {
        ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0
    } else if x < 2.0 {
        ((A * x - 5.0 * A) * x + 8.0 * A) * x - 4.0 * A
    } else {
        0.0
    }
}

/// Resizes every row of `row` bytes to one pixel for each of the pass's places.
fn columns(source: &[u8], row: usize, pass: &Pass) -> Vec<u8> {
    let width = pass.taps.len() * 3;
    let count = source.len() / row.max(1);
    let mut out = vec![0; width * count];
    for (from, to) in source.chunks_exact(row.max(1)).zip(out.chunks_exact_mut(width.max(1))) {
        let (from, _) = from.as_chunks::<3>();
        let (to, _) = to.as_chunks_mut::<3>();
        for (pixel, taps) in to.iter_mut().zip(&pass.taps) {
            let [mut r, mut g, mut b] = [pass.half(); 3];
            let under = from.get(taps.start..).unwrap_or_default();
            for ([red, green, blue], weight) in under.iter().zip(&taps.weights) {
                r += i32::from(*red) * weight;
                g += i32::from(*green) * weight;
                b += i32::from(*blue) * weight;
            }
            *pixel = [pass.byte(r), pass.byte(g), pass.byte(b)];
        }
    }
    out
}

/// Resizes a column of rows of `row` bytes to one row for each of the pass's places.
fn rows(source: &[u8], row: usize, pass: &Pass) -> Vec<u8> {
    let mut out = vec![0; row * pass.taps.len()];
    let mut sums = vec![0_i32; row];
    for (to, taps) in out.chunks_exact_mut(row.max(1)).zip(&pass.taps) {
        sums.fill(pass.half());
        let under = source.chunks_exact(row.max(1)).skip(taps.start);
        for (from, weight) in under.zip(&taps.weights) {
            for (sum, byte) in sums.iter_mut().zip(from) {
                *sum += i32::from(*byte) * weight;
            }
        }
        for (byte, sum) in to.iter_mut().zip(&sums) {
            *byte = pass.byte(*sum);
        }
    }
    out
}

fn to_byte(value: i32) -> u8 {
    u8::try_from(value.clamp(0, 255)).unwrap_or(u8::MAX)
}

/// Toward zero; what is negative is 0.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a place on a side, from 0")]
fn floor(value: f64) -> u32 {
    value as u32
}

/// To the nearest; halves away from zero.
#[expect(clippy::cast_possible_truncation, reason = "a weight of 16 bits")]
fn round_away(value: f64) -> i32 {
    (if value < 0.0 { value - 0.5 } else { value + 0.5 }) as i32
}
