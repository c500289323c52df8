//! Matrix products, plain and fused.

use super::elementwise::elementwise;
use super::eval::{Args, OpError, Result};
use super::host::{Data, HostTensor};
use super::index;
use super::norm::rms_rows;
use super::scalar::{activate, round, widen, wrap};
use crate::op::{LinearAttrs, WeightLayout, linear as slot};

/// Sizes of `[m,k] @ [k,n]` and how the operands are stored.
#[derive(Clone, Copy, Debug)]
struct Product {
    m: usize,
    k: usize,
    n: usize,
    transpose_a: bool,
    transpose_b: bool,
}

impl Product {
    fn a(self, row: usize, k: usize) -> usize {
        if self.transpose_a { k * self.m + row } else { row * self.k + k }
    }

    fn b(self, k: usize, column: usize) -> usize {
        if self.transpose_b { column * self.k + k } else { k * self.n + column }
    }

    /// The product of floats, row by row, accumulated in f64.
    fn floats(self, a: &[f32], b: &[f32]) -> Vec<f32> {
        let mut result = Vec::with_capacity(self.m * self.n);
        for row in 0..self.m {
            let left: Vec<f64> = (0..self.k).map(|k| f64::from(a[self.a(row, k)])).collect();
            let mut sums = vec![0.0f64; self.n];
            if self.transpose_b {
                for (sum, right) in sums.iter_mut().zip(b.chunks(self.k.max(1))) {
                    *sum = left.iter().zip(right).map(|(a, b)| a * f64::from(*b)).sum();
                }
            } else {
                for (a, right) in left.iter().zip(b.chunks(self.n.max(1))) {
                    for (sum, b) in sums.iter_mut().zip(right) {
                        *sum += a * f64::from(*b);
                    }
                }
            }
            result.extend(sums.into_iter().map(round));
        }
        result
    }

    /// The product of integers modulo 2^128.
    fn ints(self, a: &[i128], b: &[i128]) -> Vec<i128> {
        let dot = |row, column| {
            (0..self.k)
                .fold(0i128, |sum, k| sum.wrapping_add(a[self.a(row, k)].wrapping_mul(b[self.b(k, column)])))
        };
        (0..self.m)
            .flat_map(|row| (0..self.n).map(move |column| (row, column)))
            .map(|(r, c)| dot(r, c))
            .collect()
    }
}

pub(super) fn matmul(args: Args<'_>, transpose_a: bool, transpose_b: bool, out: &[usize]) -> Result<Data> {
    let (a, b) = (args.need(0)?, args.need(1)?);
    // Infer has checked the ranks.
    let ([batch @ .., m, n], [a_batch @ .., a0, a1]) = (out, a.shape()) else {
        return Err(OpError::Missing(0));
    };
    let b_batch = b.shape().get(..b.shape().len().saturating_sub(2)).unwrap_or_default();
    let k = if transpose_a { *a0 } else { *a1 };
    let product = Product { m: *m, k, n: *n, transpose_a, transpose_b };
    let pairs = index::broadcast(a_batch, batch).into_iter().zip(index::broadcast(b_batch, batch));
    match (a.data(), b.data()) {
        (Data::F32(a), Data::F32(b)) => {
            let parts =
                pairs.map(|(i, j)| product.floats(&a[i * m * k..][..m * k], &b[j * k * n..][..k * n]));
            Ok(Data::F32(parts.collect::<Vec<_>>().concat()))
        }
        (Data::Int(dtype, a), Data::Int(_, b)) => {
            let wide = |values: &[i64]| values.iter().map(|v| widen(*dtype, *v)).collect::<Vec<_>>();
            let parts = pairs.flat_map(|(i, j)| {
                product.ints(&wide(&a[i * m * k..][..m * k]), &wide(&b[j * k * n..][..k * n]))
            });
            Ok(Data::Int(*dtype, parts.map(|value| wrap(*dtype, value)).collect()))
        }
        _ => Err(OpError::Undefined { what: "a matrix product".into(), dtype: a.dtype() }),
    }
}

/// `out` is the shape of the result; the products side by side have the same shape, unless they are a gated pair.
pub(super) fn linear(attrs: &LinearAttrs, args: Args<'_>, out: &[usize]) -> Result<Data> {
    let x = args.need(slot::X)?;
    let k = x.shape().last().copied().unwrap_or(1);
    let rows: usize = x.shape().iter().rev().skip(1).product();
    let normed;
    let left = match attrs.norm {
        Some(eps) => {
            normed = rms_rows(args.floats(slot::X)?, x.shape(), args.floats(slot::NORM)?, eps.0);
            normed.as_slice()
        }
        None => args.floats(slot::X)?,
    };
    let mut products = Vec::with_capacity(attrs.weights.len());
    for (index, layout) in attrs.weights.iter().enumerate() {
        let weight = args.need(slot::WEIGHTS + index)?;
        let transpose_b = *layout == WeightLayout::NK;
        let n = weight.shape().get(usize::from(!transpose_b)).copied().unwrap_or(0);
        let product = Product { m: rows, k, n, transpose_a: false, transpose_b };
        products.push((n, product.floats(left, args.floats(slot::WEIGHTS + index)?)));
    }
    let y = match (attrs.glu, products.as_slice()) {
        (Some(activation), [(_, gate), (_, up)]) => gate
            .iter()
            .zip(up)
            .map(|(gate, up)| round(activate(activation, f64::from(*gate)) * f64::from(*up)))
            .collect(),
        _ => side_by_side(rows, &products),
    };
    let Some(epilogue) = &attrs.epilogue else {
        return Ok(Data::F32(y));
    };
    let y = HostTensor::f32(out, y)?;
    let mut operands = vec![Some(&y)];
    operands.extend(args.0.iter().skip(slot::WEIGHTS + attrs.weights.len()));
    elementwise(epilogue, Args(&operands), out)
}

/// Joins matrices of `rows` rows, given with their widths, along the columns.
fn side_by_side(rows: usize, parts: &[(usize, Vec<f32>)]) -> Vec<f32> {
    (0..rows)
        .flat_map(|row| parts.iter().flat_map(move |(n, part)| &part[row * n..][..*n]))
        .copied()
        .collect()
}
