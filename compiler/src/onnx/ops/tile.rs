//! Repeating and surrounding: Expand, Tile, Pad.

use qwenc_ir::{DType, Dim, Op, Scalar, infer};

use super::call::{Call, axis};
use super::one;
use super::registry::{OpEntry, standard};
use crate::onnx::known::Known;
use crate::onnx::values::{Builder, Result, V, fault};

pub(super) const OPS: &[OpEntry] = &[
    standard("CenterCropPad", center_crop_pad),
    standard("Expand", expand),
    standard("Pad", pad),
    standard("Tile", tile),
];

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
    let mode = call.text("mode", "constant")?;
    let amounts = call.dims(b, 1)?;
    let axes = match call.optional_constants(b, 3)? {
        Some(axes) => axes.iter().map(|value| axis(*value, rank)).collect::<Result<Vec<_>>>()?,
        None => (0..rank).collect(),
    };
    if amounts.len() != 2 * axes.len() {
        fault!("{} amounts for {} axes", amounts.len(), axes.len());
    }
    let value = match call.optional(2) {
        // It does not matter where nothing is filled in.
        Some(_) if mode != "constant" => Some(Scalar::Int(0)),
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
    if mode != "constant" {
        for at in 0..rank {
            x = repeated(b, x, at, mode, &before[at], &after[at])?;
        }
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

/// x with parts of itself in front and behind along an axis.
fn repeated(b: &mut Builder, x: V, at: usize, mode: &str, before: &Dim, after: &Dim) -> Result<V> {
    let (zero, one) = (Dim::constant(0), Dim::constant(1));
    let size = b.shape(x)[at].clone();
    if !b.bounds.below(&zero, &size) {
        fault!("mode `{mode}` cannot pad axis {at} of {}, which may be empty", b.ty(x));
    }
    // The farthest that a part may reach into x.
    let limit = match mode {
        "reflect" => size.clone() - one.clone(),
        "wrap" => size.clone(),
        "edge" => before.clone() + after.clone(),
        other => fault!("padding mode `{other}` is not known"),
    };
    for amount in [before, after] {
        if !b.bounds.at_most(amount, &limit) {
            fault!("mode `{mode}` cannot pad {} by {amount} along axis {at}", b.ty(x));
        }
    }
    let last = size.clone() - one.clone();
    let mut parts = Vec::new();
    if !before.is(0) {
        parts.push(match mode {
            "reflect" => b.slice(x, at, before, before, -1)?,
            "wrap" => b.slice(x, at, &(size.clone() - before.clone()), before, 1)?,
            _ => edge(b, x, at, &zero, before)?,
        });
    }
    parts.push(x);
    if !after.is(0) {
        parts.push(match mode {
            "reflect" => b.slice(x, at, &(last - one), after, -1)?,
            "wrap" => b.slice(x, at, &zero, after, 1)?,
            _ => edge(b, x, at, &last, after)?,
        });
    }
    b.concat(&parts, at)
}

/// One element along an axis, repeated.
fn edge(b: &mut Builder, x: V, at: usize, index: &Dim, count: &Dim) -> Result<V> {
    let element = b.slice(x, at, index, &Dim::constant(1), 1)?;
    let mut shape = b.shape(element).to_vec();
    shape[at] = count.clone();
    b.expand(element, &shape)
}

/// The middle of x, or x in the middle of zeros.
fn center_crop_pad(b: &mut Builder, call: &Call<'_>) -> Result<Vec<Option<V>>> {
    let mut x = call.input(0)?;
    let rank = b.rank(x);
    let axes = match call.ints("axes")? {
        Some(axes) => axes.iter().map(|value| axis(*value, rank)).collect::<Result<Vec<_>>>()?,
        None => (0..rank).collect(),
    };
    let wanted = call.dims(b, 1)?;
    if wanted.len() != axes.len() {
        fault!("{} sizes for {} axes", wanted.len(), axes.len());
    }
    let (mut before, mut after) = (vec![Dim::constant(0); rank], vec![Dim::constant(0); rank]);
    let half = |dim: &Dim| dim.floor_div(&Dim::constant(2));
    for (at, wanted) in axes.iter().zip(&wanted) {
        let size = b.shape(x)[*at].clone();
        if b.bounds.at_most(wanted, &size) {
            x = b.slice(x, *at, &half(&(size - wanted.clone())), wanted, 1)?;
        } else if b.bounds.at_most(&size, wanted) {
            let total = wanted.clone() - size;
            before[*at] = half(&total);
            after[*at] = total - before[*at].clone();
        } else {
            fault!("whether axis {at} of {} is longer than {wanted} is not known; bind its symbols", b.ty(x));
        }
    }
    if after.iter().all(|amount| amount.is(0)) {
        return one(x);
    }
    let value = if b.dtype(x).is_float() { Scalar::F32(0.0) } else { Scalar::Int(0) };
    one(b.apply(Op::Pad { before, after, value }, &[x])?)
}
