//! Repeating and surrounding: Expand, Tile, Pad.

use qwenc_ir::{DType, Dim, Op, Scalar, infer};

use super::call::{Call, axis};
use super::one;
use super::registry::{OpEntry, standard};
use crate::onnx::known::Known;
use crate::onnx::values::{Builder, Result, V, fault};

pub(super) const OPS: &[OpEntry] =
    &[standard("Expand", expand), standard("Pad", pad), standard("Tile", tile)];

fn expand(b: &mut Builder, call: &Call<'_>) -> Result<Vec<Option<V>>> {
    let x = call.input(0)?;
    let wanted = call.dims(b, 1)?;
    // Broadcasting goes both ways: a size of 1 asks for nothing.
    let shape = infer::broadcast([b.shape(x), &wanted])?;
    one(b.expand(x, &shape)?)
}

/// Repeats as a broadcast along new axes in front of the repeated ones.
fn tile(b: &mut Builder, call: &Call<'_>) -> Result<Vec<Option<V>>> {
    let x = call.input(0)?;
    let repeats = call.dims(b, 1)?;
    if repeats.len() != b.rank(x) {
        fault!("{} repeats for {}", repeats.len(), b.ty(x));
    }
    let mut v = x;
    for (at, repeat) in repeats.iter().enumerate() {
        if repeat.is(1) {
            continue;
        }
        let mut shape = b.shape(v).to_vec();
        let size = shape[at].clone();
        shape.insert(at, Dim::constant(1));
        v = b.reshape(v, &shape)?;
        shape[at] = repeat.clone();
        v = b.expand(v, &shape)?;
        shape.remove(at);
        shape[at] = size * repeat.clone();
        v = b.reshape(v, &shape)?;
    }
    one(v)
}

fn pad(b: &mut Builder, call: &Call<'_>) -> Result<Vec<Option<V>>> {
    let mut x = call.input(0)?;
    let rank = b.rank(x);
    match call.text("mode", "constant")? {
        "constant" => {}
        other => fault!("padding mode `{other}` is not supported, only constant"),
    }
    let amounts = call.dims(b, 1)?;
    let axes = match call.optional_constants(b, 3)? {
        Some(axes) => axes.iter().map(|value| axis(*value, rank)).collect::<Result<Vec<_>>>()?,
        None => (0..rank).collect(),
    };
    if amounts.len() != 2 * axes.len() {
        fault!("{} amounts for {} axes", amounts.len(), axes.len());
    }
    let value = match call.optional(2) {
        Some(value) => b.known(value).and_then(|known| known.uniform()?.scalar(b.dtype(x))),
        None => Some(match b.dtype(x) {
            DType::Bool => Scalar::Bool(false),
            dtype if dtype.is_float() => Scalar::F32(0.0),
            _ => Scalar::Int(0),
        }),
    };
    let Some(value) = value else {
        fault!("the value to pad with must be constant");
    };
    let mut before = vec![Dim::constant(0); rank];
    let mut after = before.clone();
    for (position, at) in axes.iter().enumerate() {
        if axes[..position].contains(at) {
            fault!("axis {at} is padded twice");
        }
        before[*at] = amounts[position].clone();
        after[*at] = amounts[axes.len() + position].clone();
    }
    // Negative amounts cut away.
    for at in 0..rank {
        let size = b.shape(x)[at].clone();
        let mut cut = [Dim::constant(0), Dim::constant(0)];
        for (amount, cut) in [&mut before[at], &mut after[at]].into_iter().zip(&mut cut) {
            if b.bounds.negative(amount) {
                *cut = Dim::constant(0) - amount.clone();
                *amount = Dim::constant(0);
            } else if !b.bounds.non_negative(amount) {
                fault!("whether the amount {amount} is negative is not known; bind its symbols");
            }
        }
        let [front, back] = cut;
        let len = size - front.clone() - back;
        x = b.slice(x, at, &front, &len, 1)?;
    }
    if before.iter().chain(&after).all(|amount| amount.is(0)) {
        return one(x);
    }
    if let Some(known) = padded(b, x, &before, &after, value) {
        return one(b.known_value(b.dtype(x), known)?);
    }
    one(b.apply(Op::Pad { before, after, value }, &[x])?)
}

/// A known vector with constants around it, as shape computations pad them.
fn padded(b: &Builder, x: V, before: &[Dim], after: &[Dim], value: Scalar) -> Option<Known> {
    let ([before], [after], Scalar::Int(value)) = (before, after, value) else {
        return None;
    };
    let around = |amount: &Dim| Known::Splat {
        shape: vec![amount.clone()],
        item: crate::onnx::known::Elem::int(value),
    };
    Known::joined(&[around(before), b.known(x)?.clone(), around(after)], 0)
}
