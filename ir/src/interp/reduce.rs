//! Operators that combine elements along axes.

use super::eval::{Args, OpError, Result};
use super::host::Data;
use super::index::{self, Lanes};
use super::scalar::{round, widen, wrap};
use crate::dtype::DType;
use crate::op::ReduceKind;

pub(super) fn reduce(kind: ReduceKind, axes: &[usize], args: Args<'_>) -> Result<Data> {
    let x = args.need(0)?;
    let strides = index::strides(x.shape());
    let part = |reduced: bool| -> (Vec<usize>, Vec<usize>) {
        let axes = (0..x.shape().len()).filter(|axis| axes.contains(axis) == reduced);
        axes.map(|axis| (x.shape()[axis], strides[axis])).unzip()
    };
    let (kept_shape, kept_strides) = part(false);
    let (group_shape, group_strides) = part(true);
    let starts = index::strided(&kept_shape, &kept_strides, 0);
    let members = index::strided(&group_shape, &group_strides, 0);
    let undefined = || OpError::Undefined { what: format!("reduction {kind:?}"), dtype: x.dtype() };
    match x.data() {
        Data::F32(values) => {
            let result = |start: &usize| {
                let group: Vec<f64> = members.iter().map(|at| f64::from(values[start + at])).collect();
                round(reduce_floats(kind, &group))
            };
            Ok(Data::F32(starts.iter().map(result).collect()))
        }
        Data::Int(dtype, values) => {
            let result = |start: &usize| {
                let group: Vec<i128> = members.iter().map(|at| widen(*dtype, values[start + at])).collect();
                Ok(wrap(*dtype, reduce_ints(kind, *dtype, &group).ok_or_else(undefined)?))
            };
            Ok(Data::Int(*dtype, starts.iter().map(result).collect::<Result<_>>()?))
        }
        Data::Bool(values) => {
            let result = |start: &usize| {
                let mut group = members.iter().map(|at| values[start + at]);
                match kind {
                    ReduceKind::Max => Ok(group.any(|value| value)),
                    ReduceKind::Min => Ok(group.all(|value| value)),
                    _ => Err(undefined()),
                }
            };
            Ok(Data::Bool(starts.iter().map(result).collect::<Result<_>>()?))
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "element counts are far below 2^53")]
fn reduce_floats(kind: ReduceKind, values: &[f64]) -> f64 {
    let sum = values.iter().sum::<f64>();
    let sum_of_squares = values.iter().map(|v| v * v).sum::<f64>();
    let any_nan = values.iter().any(|v| v.is_nan());
    let largest = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let smallest = values.iter().copied().fold(f64::INFINITY, f64::min);
    match kind {
        ReduceKind::Sum => sum,
        ReduceKind::Mean => sum / values.len() as f64,
        ReduceKind::Max | ReduceKind::Min | ReduceKind::LogSumExp if any_nan => f64::NAN,
        ReduceKind::Max => largest,
        ReduceKind::Min => smallest,
        ReduceKind::Prod => values.iter().product(),
        ReduceKind::SumSquare => sum_of_squares,
        ReduceKind::L1 => values.iter().map(|v| v.abs()).sum(),
        ReduceKind::L2 => sum_of_squares.sqrt(),
        ReduceKind::LogSum => sum.ln(),
        ReduceKind::LogSumExp if largest.is_infinite() => largest,
        ReduceKind::LogSumExp => largest + values.iter().map(|v| (v - largest).exp()).sum::<f64>().ln(),
    }
}

/// `None` where integers have no result. A mean truncates toward zero; extremes of nothing are the type's limits.
fn reduce_ints(kind: ReduceKind, dtype: DType, values: &[i128]) -> Option<i128> {
    // Wrapping modulo 2^128 keeps the low bits right, which are those that remain.
    let sum = |terms: &mut dyn Iterator<Item = i128>| terms.fold(0, i128::wrapping_add);
    let mut terms = values.iter().copied();
    Some(match kind {
        ReduceKind::Sum => sum(&mut terms),
        ReduceKind::Mean => sum(&mut terms).checked_div(i128::try_from(values.len()).ok()?)?,
        ReduceKind::Max => terms.max().unwrap_or_else(|| limits(dtype).0),
        ReduceKind::Min => terms.min().unwrap_or_else(|| limits(dtype).1),
        ReduceKind::Prod => terms.fold(1, i128::wrapping_mul),
        ReduceKind::SumSquare => sum(&mut terms.map(|v| v.wrapping_mul(v))),
        ReduceKind::L1 => sum(&mut terms.map(i128::abs)),
        ReduceKind::L2 | ReduceKind::LogSum | ReduceKind::LogSumExp => return None,
    })
}

fn limits(dtype: DType) -> (i128, i128) {
    let least = widen(dtype, super::scalar::float_to_int(dtype, f32::NEG_INFINITY));
    let most = widen(dtype, super::scalar::float_to_int(dtype, f32::INFINITY));
    (least, most)
}

pub(super) fn arg_reduce(min: bool, axis: usize, last: bool, args: Args<'_>) -> Result<Data> {
    let x = args.need(0)?;
    let lanes = Lanes::new(x.shape(), axis);
    let best = match x.data() {
        Data::F32(values) => best_entries(lanes, values, min, last),
        Data::Int(dtype, values) => {
            let values: Vec<i128> = values.iter().map(|value| widen(*dtype, *value)).collect();
            best_entries(lanes, &values, min, last)
        }
        Data::Bool(values) => best_entries(lanes, values, min, last),
    };
    Ok(Data::Int(DType::I64, best.ok_or(OpError::EmptyAxis(axis))?))
}

fn best_entries<T: PartialOrd>(lanes: Lanes, values: &[T], min: bool, last: bool) -> Option<Vec<i64>> {
    let best_of = |(outer, inner)| {
        let value = |at| &values[lanes.position(outer, at, inner)];
        let better = |new: &T, old: &T| (if min { new < old } else { new > old }) || (last && new == old);
        let best =
            (0..lanes.size).reduce(|best, at| if better(value(at), value(best)) { at } else { best })?;
        i64::try_from(best).ok()
    };
    lanes.each().map(best_of).collect()
}

pub(super) fn cumsum(axis: usize, exclusive: bool, reverse: bool, args: Args<'_>) -> Result<Data> {
    let x = args.need(0)?;
    let lanes = Lanes::new(x.shape(), axis);
    let order: Vec<usize> = if reverse { (0..lanes.size).rev().collect() } else { (0..lanes.size).collect() };
    match x.data() {
        Data::F32(values) => {
            let mut sums = vec![0.0; values.len()];
            for (outer, inner) in lanes.each() {
                let mut sum = 0.0f64;
                for at in &order {
                    let position = lanes.position(outer, *at, inner);
                    let next = sum + f64::from(values[position]);
                    sums[position] = round(if exclusive { sum } else { next });
                    sum = next;
                }
            }
            Ok(Data::F32(sums))
        }
        Data::Int(dtype, values) => {
            let mut sums = vec![0; values.len()];
            for (outer, inner) in lanes.each() {
                let mut sum = 0i128;
                for at in &order {
                    let position = lanes.position(outer, *at, inner);
                    let next = sum + widen(*dtype, values[position]);
                    sums[position] = wrap(*dtype, if exclusive { sum } else { next });
                    sum = next;
                }
            }
            Ok(Data::Int(*dtype, sums))
        }
        Data::Bool(_) => Err(OpError::Undefined { what: "a running sum".into(), dtype: DType::Bool }),
    }
}

pub(super) fn softmax(axis: usize, log: bool, args: Args<'_>) -> Result<Data> {
    let values = args.floats(0)?;
    let lanes = Lanes::new(args.need(0)?.shape(), axis);
    let mut result = vec![0.0; values.len()];
    for (outer, inner) in lanes.each() {
        let lane: Vec<f64> =
            (0..lanes.size).map(|at| f64::from(values[lanes.position(outer, at, inner)])).collect();
        let largest = lane.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let sum: f64 = lane.iter().map(|value| (value - largest).exp()).sum();
        for (at, value) in lane.iter().enumerate() {
            let shifted = value - largest;
            result[lanes.position(outer, at, inner)] =
                round(if log { shifted - sum.ln() } else { shifted.exp() / sum });
        }
    }
    Ok(Data::F32(result))
}
