//! Norms over the last axis.

use super::eval::{Args, Result};
use super::host::Data;
use super::scalar::{activate, round};
use crate::op::Activation;

/// The rows of a tensor's last axis. Rows of width 0 have no elements, and so there is none.
fn rows<'a>(values: &'a [f32], shape: &[usize]) -> impl Iterator<Item = &'a [f32]> {
    values.chunks(shape.last().copied().unwrap_or(1).max(1))
}

#[expect(clippy::cast_precision_loss, reason = "row widths are far below 2^53")]
fn mean(values: impl Iterator<Item = f64>, width: usize) -> f64 {
    values.sum::<f64>() / width as f64
}

fn sum_of_squares(row: &[f32]) -> f64 {
    row.iter().map(|x| f64::from(*x) * f64::from(*x)).sum()
}

/// One row over its root mean square, in f64 and without weight.
pub(super) fn rms_row(row: &[f32], eps: f32) -> impl Iterator<Item = f64> {
    let mean_square = mean(row.iter().map(|x| f64::from(*x) * f64::from(*x)), row.len());
    let root = (mean_square + f64::from(eps)).sqrt();
    row.iter().map(move |x| f64::from(*x) / root)
}

/// One row over its Euclidean length, in f64. A zero row stays zero.
pub(super) fn l2_row(row: &[f32], eps: f32) -> impl Iterator<Item = f64> {
    let root = (sum_of_squares(row) + f64::from(eps)).sqrt();
    row.iter().map(move |x| if root == 0.0 { 0.0 } else { f64::from(*x) / root })
}

/// Every row by [`rms_row`], times `weight`.
pub(super) fn rms_rows(x: &[f32], shape: &[usize], weight: &[f32], eps: f32) -> Vec<f32> {
    rows(x, shape)
        .flat_map(|row| rms_row(row, eps).zip(weight).map(|(x, weight)| round(x * f64::from(*weight))))
        .collect()
}

pub(super) fn rms_norm(eps: f32, gate: Option<Activation>, args: Args<'_>) -> Result<Data> {
    let mut normed = rms_rows(args.floats(0)?, args.need(0)?.shape(), args.floats(1)?, eps);
    if let Some(activation) = gate {
        for (x, gate) in normed.iter_mut().zip(args.floats(2)?) {
            *x = round(f64::from(*x) * activate(activation, f64::from(*gate)));
        }
    }
    Ok(Data::F32(normed))
}

pub(super) fn l2_norm(eps: f32, args: Args<'_>) -> Result<Data> {
    let (x, shape) = (args.floats(0)?, args.need(0)?.shape());
    Ok(Data::F32(rows(x, shape).flat_map(|row| l2_row(row, eps).map(round)).collect()))
}

pub(super) fn layer_norm(eps: f32, args: Args<'_>) -> Result<Data> {
    let (x, shape) = (args.floats(0)?, args.need(0)?.shape());
    let (scale, bias) = (args.optional_floats(1)?, args.optional_floats(2)?);
    let mut result = Vec::with_capacity(x.len());
    for row in rows(x, shape) {
        let average = mean(row.iter().map(|x| f64::from(*x)), row.len());
        let variance = mean(row.iter().map(|x| (f64::from(*x) - average).powi(2)), row.len());
        let root = (variance + f64::from(eps)).sqrt();
        for (column, x) in row.iter().enumerate() {
            let scale = scale.map_or(1.0, |scale| f64::from(scale[column]));
            let bias = bias.map_or(0.0, |bias| f64::from(bias[column]));
            result.push(round((f64::from(*x) - average) / root * scale + bias));
        }
    }
    Ok(Data::F32(result))
}
