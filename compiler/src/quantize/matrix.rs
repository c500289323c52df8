//! Quantizing a whole matrix, rows in parallel.

use bytes::Bytes;
use qwenc_ir::{DType, Tensor};

use super::round::{self, CodeRange, Fit, Method};
use crate::blank::{self, StandIns};
use crate::matrix::Matrix;

/// Weights that share a scale.
pub(super) const BLOCK: usize = 32;

/// Codes and scales of a matrix.
pub(super) struct Quantized {
    /// Unsigned codes `[N, K]`.
    pub(super) codes: Tensor,
    /// `[N, ceil(K / 32)]`, f16, or f32 where f16 would lose too much.
    pub(super) scales: Tensor,
    /// The code of zero.
    pub(super) zero: i64,
}

/// Sums over a matrix, from which relative errors follow.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Sums {
    /// Of squared weights.
    pub(super) squares: f64,
    /// Of squared errors.
    pub(super) errors: f64,
    /// Of squared errors by [`Method::MaxAbs`].
    pub(super) plain: f64,
    /// Of squared errors if scales were stored in f32.
    exact: f64,
    /// The largest error.
    pub(super) largest: f64,
}

impl Sums {
    fn add(&mut self, other: &Self) {
        self.squares += other.squares;
        self.errors += other.errors;
        self.plain += other.plain;
        self.exact += other.exact;
        self.largest = self.largest.max(other.largest);
    }
}

/// What f16 rounding of scales may add to the squared error before scales are kept in f32: tiny weights, whose scales are
/// among the subnormal numbers.
const F16_TOLERANCE: f64 = 1.05;

fn f16(value: f32) -> f32 {
    half::f16::from_f32(value).to_f32()
}

const fn f32(value: f32) -> f32 {
    value
}

/// Quantizes a matrix of floats to `bits` (4 or 8), row by row in blocks of [`BLOCK`]. `None` for a matrix that is too large
/// for the address space, or that has a weight that is no number.
pub(super) fn quantize(matrix: &Matrix, bits: usize) -> Option<(Quantized, Sums)> {
    let range = if bits == 4 { round::Q4 } else { round::Q8 };
    let (codes, scales, sums) = rows_in_parallel(matrix, bits, range, f16)?;
    if sums.errors <= sums.exact * F16_TOLERANCE {
        return Some((assemble(matrix, bits, codes, DType::F16, &scales)?, sums));
    }
    let (codes, scales, sums) = rows_in_parallel(matrix, bits, range, f32)?;
    Some((assemble(matrix, bits, codes, DType::F32, &scales)?, sums))
}

/// What [`quantize`] gives without looking at the weights: tensors of the same types and sizes, with scales in f16.
pub(super) fn planned(matrix: &Matrix, bits: usize, kind: StandIns) -> Option<Quantized> {
    let (n, k) = matrix.extent();
    let blocks = k.div_ceil(BLOCK);
    let code_type = if bits == 4 { DType::U4 } else { DType::U8 };
    let bytes = |dtype: DType, columns: usize| dtype.bytes_for(n.checked_mul(columns)?);
    let codes = blank::codes(bytes(code_type, k)?, kind).ok()?;
    let scales = blank::weight(DType::F16, bytes(DType::F16, blocks)?, kind).ok()?;
    Some(Quantized {
        codes: Tensor::new(code_type, vec![n, k], codes).ok()?,
        scales: Tensor::new(DType::F16, vec![n, blocks], scales).ok()?,
        zero: 1 << (bits - 1),
    })
}

fn assemble(
    matrix: &Matrix,
    bits: usize,
    codes: Vec<u8>,
    scale_type: DType,
    scales: &[f32],
) -> Option<Quantized> {
    let (n, k) = matrix.extent();
    let code_type = if bits == 4 { DType::U4 } else { DType::U8 };
    let bytes: Vec<u8> = match scale_type {
        DType::F16 => scales.iter().flat_map(|scale| half::f16::from_f32(*scale).to_le_bytes()).collect(),
        _ => scales.iter().flat_map(|scale| scale.to_le_bytes()).collect(),
    };
    Some(Quantized {
        codes: Tensor::new(code_type, vec![n, k], Bytes::from(codes)).ok()?,
        scales: Tensor::new(scale_type, vec![n, k.div_ceil(BLOCK)], Bytes::from(bytes)).ok()?,
        zero: 1 << (bits - 1),
    })
}

type Rows = (Vec<u8>, Vec<f32>, Sums);
/// The same of a part of the rows, with sums row by row.
type SomeRows = (Vec<u8>, Vec<f32>, Vec<Sums>);

/// Codes as they are packed over all rows, scales, and sums. The result does not depend on the number of threads.
fn rows_in_parallel(matrix: &Matrix, bits: usize, range: CodeRange, stored: fn(f32) -> f32) -> Option<Rows> {
    let (n, k) = matrix.extent();
    n.checked_mul(k)?;
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    // Parts begin on whole bytes: an even number of rows does whatever K is.
    let part = n.div_ceil(threads).max(1).next_multiple_of(8);
    let starts: Vec<usize> = (0..n).step_by(part).collect();
    let parts: Vec<Option<SomeRows>> = std::thread::scope(|scope| {
        let workers: Vec<_> = starts
            .iter()
            .map(|start| {
                scope.spawn(move || some_rows(matrix, *start..n.min(start + part), bits, range, stored))
            })
            .collect();
        workers.into_iter().map(|worker| worker.join().ok().flatten()).collect()
    });
    let (mut codes, mut scales, mut sums) = (Vec::new(), Vec::new(), Sums::default());
    for part in parts {
        let (more_codes, more_scales, rows) = part?;
        codes.extend(more_codes);
        scales.extend(more_scales);
        // Row by row, so that rounding does not depend on how rows were divided.
        rows.iter().for_each(|row| sums.add(row));
    }
    Some((codes, scales, sums))
}

fn some_rows(
    matrix: &Matrix,
    rows: std::ops::Range<usize>,
    bits: usize,
    range: CodeRange,
    stored: fn(f32) -> f32,
) -> Option<SomeRows> {
    let k = matrix.extent().1;
    let (mut codes, mut scales, mut sums) = (Vec::new(), Vec::new(), Vec::new());
    let mut weights = vec![0.0f32; k];
    let mut nibble: Option<u8> = None;
    for row in rows {
        for (column, weight) in weights.iter_mut().enumerate() {
            *weight = matrix.value(row, column);
        }
        if weights.iter().any(|weight| !weight.is_finite()) {
            return None;
        }
        let mut of_row = Sums::default();
        for block in weights.chunks(BLOCK) {
            let fit = round::fit(block, None, range, Method::LeastSquares, stored);
            of_row.add(&measure(block, fit, range, stored));
            scales.push(fit.scale);
            for weight in block {
                let code = unsigned(round::code(*weight, fit.scale, range), bits);
                match (bits, nibble.take()) {
                    (4, None) => nibble = Some(code),
                    (4, Some(low)) => codes.push(low | code << 4),
                    _ => codes.push(code),
                }
            }
        }
        sums.push(of_row);
    }
    codes.extend(nibble);
    Some((codes, scales, sums))
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "codes are small whole numbers")]
fn unsigned(code: f32, bits: usize) -> u8 {
    (code + if bits == 4 { 8.0 } else { 128.0 }) as u8
}

fn measure(block: &[f32], fit: Fit, range: CodeRange, stored: fn(f32) -> f32) -> Sums {
    let largest = block
        .iter()
        .map(|weight| f64::from((weight - fit.scale * round::code(*weight, fit.scale, range)).abs()));
    Sums {
        squares: block.iter().map(|weight| f64::from(*weight) * f64::from(*weight)).sum(),
        errors: fit.error,
        plain: round::fit(block, None, range, Method::MaxAbs, stored).error,
        exact: round::fit(block, None, range, Method::LeastSquares, f32).error,
        largest: largest.fold(0.0, f64::max),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use qwenc_ir::op::WeightLayout;

    fn matrix(n: usize, k: usize, scale: f32) -> Matrix {
        let values: Vec<f32> =
            (0..n * k).map(|at| ((at * 7919 + 13) % 1009) as f32 / 1009.0 * scale - scale / 2.0).collect();
        Matrix::floats(Tensor::from_f32(vec![n, k], &values).unwrap(), WeightLayout::NK)
    }

    fn read_back(quantized: &Quantized, row: usize, column: usize) -> f32 {
        let (k, blocks) = (quantized.codes.shape()[1], quantized.scales.shape()[1]);
        let code = quantized.codes.i64_at(row * k + column) - quantized.zero;
        code as f32 * quantized.scales.f32_at(row * blocks + column / BLOCK)
    }

    #[test]
    fn the_error_that_is_reported_is_the_error_that_is_made() {
        // Odd sizes: a last block of 5, and rows that end within a byte.
        for bits in [4, 8] {
            let matrix = matrix(9, 69, 0.3);
            let (quantized, sums) = quantize(&matrix, bits).unwrap();
            let (mut errors, mut largest) = (0.0f64, 0.0f64);
            for row in 0..9 {
                for column in 0..69 {
                    let error = f64::from(matrix.value(row, column) - read_back(&quantized, row, column));
                    errors += error * error;
                    largest = largest.max(error.abs());
                }
            }
            assert!((errors / sums.errors - 1.0).abs() < 1e-3, "{errors} {sums:?}");
            assert!((largest / sums.largest - 1.0).abs() < 1e-3);
            assert!(
                sums.errors < sums.plain && sums.errors < sums.squares / if bits == 4 { 100.0 } else { 1e4 }
            );
            assert_eq!(quantized.scales.dtype(), DType::F16);
        }
    }

    #[test]
    fn scales_of_tiny_weights_stay_wide() {
        let (quantized, sums) = quantize(&matrix(8, 64, 1e-6), 4).unwrap();
        assert_eq!(quantized.scales.dtype(), DType::F32);
        assert!(sums.errors < sums.squares / 100.0);
    }

    #[test]
    fn what_is_no_number_is_refused() {
        let values = [1.0, f32::NAN, 0.0, 2.0];
        let tensor = Tensor::from_f32(vec![2, 2], &values).unwrap();
        assert!(quantize(&Matrix::floats(tensor, WeightLayout::NK), 8).is_none());
    }
}
