//! Operators that move elements without changing them.

use super::eval::{Args, OpError, Result};
use super::generate::known;
use super::host::Data;
use super::index::{self, Lanes};
use crate::dim::Dim;
use crate::dtype::Scalar;

pub(super) fn gather(axis: usize, args: Args<'_>) -> Result<Data> {
    let (data, indices) = (args.need(0)?, args.ints(1)?);
    let size = data.shape()[axis];
    let entries = indices.iter().map(|index| entry(*index, size)).collect::<Result<Vec<_>>>()?;
    Ok(take(data.data(), data.shape(), axis, &entries))
}

/// The entry that an index means; negative ones count from the end.
fn entry(index: i64, size: usize) -> Result<usize> {
    let from_start = match i64::try_from(size) {
        Ok(size) if index < 0 => index.checked_add(size),
        _ => Some(index),
    };
    from_start
        .and_then(|index| usize::try_from(index).ok())
        .filter(|index| *index < size)
        .ok_or(OpError::OutOfRange { index, size })
}

/// Joins the slices at `entries` along `axis`.
fn take(data: &Data, shape: &[usize], axis: usize, entries: &[usize]) -> Data {
    let lanes = Lanes::new(shape, axis);
    let mut positions = Vec::with_capacity(lanes.outer * entries.len() * lanes.inner);
    for outer in 0..lanes.outer {
        for at in entries {
            positions.extend((0..lanes.inner).map(|inner| lanes.position(outer, *at, inner)));
        }
    }
    data.pick(&positions)
}

pub(super) fn slice(axis: usize, start: &Dim, len: &Dim, step: i64, args: Args<'_>) -> Result<Data> {
    let x = args.need(0)?;
    let size = x.shape()[axis];
    let (start, len) = (known(start)?, known(len)?);
    // Inside: infer has checked the first and the last entry, and so the product below is in range too.
    let entries = (0..len)
        .map(|i| {
            let index = start + i * step;
            usize::try_from(index).map_err(|_| OpError::OutOfRange { index, size })
        })
        .collect::<Result<Vec<_>>>()?;
    Ok(take(x.data(), x.shape(), axis, &entries))
}

pub(super) fn transpose(perm: &[usize], args: Args<'_>, out: &[usize]) -> Result<Data> {
    let x = args.need(0)?;
    let strides = index::strides(x.shape());
    let permuted: Vec<usize> = perm.iter().map(|axis| strides[*axis]).collect();
    Ok(x.data().pick(&index::strided(out, &permuted, 0)))
}

pub(super) fn expand(args: Args<'_>, out: &[usize]) -> Result<Data> {
    let x = args.need(0)?;
    Ok(x.data().pick(&index::broadcast(x.shape(), out)))
}

pub(super) fn concat(axis: usize, args: Args<'_>, out: &[usize]) -> Result<Data> {
    let strides = index::strides(out);
    let mut joined = Data::filled(args.need(0)?.dtype(), Scalar::Int(0), out.iter().product());
    let mut at = 0;
    for slot in 0..args.0.len() {
        let part = args.need(slot)?;
        let width = part.shape()[axis];
        joined.place(&index::strided(part.shape(), &strides, at * strides[axis]), part.data());
        at += width;
    }
    Ok(joined)
}

pub(super) fn pad(before: &[Dim], value: Scalar, args: Args<'_>, out: &[usize]) -> Result<Data> {
    let x = args.need(0)?;
    let strides = index::strides(out);
    let mut offset = 0;
    for (amount, stride) in before.iter().zip(&strides) {
        offset += amount.as_usize().ok_or(OpError::Dim(crate::dim::EvalError::Overflow))? * stride;
    }
    let mut padded = Data::filled(x.dtype(), value, out.iter().product());
    padded.place(&index::strided(x.shape(), &strides, offset), x.data());
    Ok(padded)
}
