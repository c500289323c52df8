//! Codes to floats.

use super::eval::{Args, OpError, Result};
use super::host::Data;
use super::scalar::{int_to_float, round};

/// `(code - zero) * scale`, with one scale for `block` codes along `axis`.
pub(super) fn dequantize(axis: usize, block: usize, zero: i64, args: Args<'_>) -> Result<Data> {
    let (codes, scale) = (args.need(0)?, args.floats(1)?);
    let scale_shape = args.need(1)?.shape();
    let zeros = zero_points(args)?;
    let mut out = Vec::with_capacity(codes.data().len());
    for (position, code) in args.ints(0)?.iter().enumerate() {
        let at = block_of(position, codes.shape(), scale_shape, axis, block);
        let zero = zeros.as_ref().map_or(int_to_float(codes.dtype(), zero), |zeros| zeros[at]);
        let distance = f64::from(int_to_float(codes.dtype(), *code)) - f64::from(zero);
        out.push(round(distance * f64::from(scale[at])));
    }
    Ok(Data::F32(out))
}

/// The position of the scale that belongs to the code at `position`.
fn block_of(mut position: usize, codes: &[usize], scales: &[usize], axis: usize, block: usize) -> usize {
    let (mut at, mut stride) = (0, 1);
    for (own, (size, blocks)) in codes.iter().zip(scales).enumerate().rev() {
        let index = position % size;
        position /= size;
        let index = if own == axis { index / block } else { index };
        if *blocks > 1 {
            at += index * stride;
        }
        stride *= blocks;
    }
    at
}

fn zero_points(args: Args<'_>) -> Result<Option<Vec<f32>>> {
    let Some(points) = args.get(2) else { return Ok(None) };
    match points.data() {
        Data::F32(points) => Ok(Some(points.clone())),
        Data::Int(dtype, points) => Ok(Some(points.iter().map(|at| int_to_float(*dtype, *at)).collect())),
        Data::Bool(_) => Err(OpError::WrongType { slot: 2, wanted: "numbers", actual: points.dtype() }),
    }
}
