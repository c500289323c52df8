//! The same elements under another shape or order.

use qwenc_ir::dim::product;
use qwenc_ir::{DType, Dim};

use super::call::{Call, axis, sorted_axes};
use super::one;
use super::registry::{OpEntry, standard};
use crate::onnx::known::{Elem, Known};
use crate::onnx::values::{Builder, Fault, Result, V, fault, show};

pub(super) const OPS: &[OpEntry] = &[
    standard("DepthToSpace", depth_to_space),
    standard("Dropout", dropout),
    standard("Flatten", flatten),
    standard("Identity", identity),
    standard("Reshape", reshape),
    standard("SpaceToDepth", space_to_depth),
    standard("Squeeze", squeeze),
    standard("Transpose", transpose),
    standard("Unsqueeze", unsqueeze),
];

fn identity(_: &mut Builder, call: &Call<'_>) -> Result<Vec<Option<V>>> {
    one(call.input(0)?)
}

/// In inference nothing is dropped.
fn dropout(b: &mut Builder, call: &Call<'_>) -> Result<Vec<Option<V>>> {
    call.ignore(&["seed"]);
    call.ignore_input(1);
    if let Some(training) = call.optional(2)
        && b.known(training).and_then(|known| known.uniform()?.constant()) != Some(0)
    {
        fault!("training mode is not supported; export the model for inference");
    }
    let x = call.input(0)?;
    // The mask: everything is kept.
    let kept = Known::Splat { shape: b.shape(x).to_vec(), item: Elem::int(1) };
    Ok(vec![Some(x), Some(b.known_value(DType::Bool, kept)?)])
}

fn reshape(b: &mut Builder, call: &Call<'_>) -> Result<Vec<Option<V>>> {
    let x = call.input(0)?;
    let wanted = call.dims(b, 1)?;
    let shape = resolve_shape(b, b.shape(x), &wanted, call.flag("allowzero", false)?)?;
    one(b.reshape(x, &shape)?)
}

/// Fills in what 0 (the same size) and -1 (what is left) stand for.
fn resolve_shape(b: &Builder, from: &[Dim], wanted: &[Dim], allow_zero: bool) -> Result<Vec<Dim>> {
    let mut shape = Vec::with_capacity(wanted.len());
    let mut rest = None;
    for (index, dim) in wanted.iter().enumerate() {
        if dim.is(-1) {
            if rest.replace(index).is_some() {
                fault!("the shape {} has two -1", show(wanted));
            }
            shape.push(Dim::constant(1));
        } else if dim.is(0) && !allow_zero {
            match from.get(index) {
                Some(size) => shape.push(size.clone()),
                None => fault!(
                    "the shape {} copies dimension {index}, which {} has not",
                    show(wanted),
                    show(from)
                ),
            }
        } else if b.bounds.negative(dim) {
            fault!("the shape {} has a negative size", show(wanted));
        } else {
            shape.push(dim.clone());
        }
    }
    if let Some(rest) = rest {
        shape[rest] = Dim::constant(1);
        shape[rest] = quotient(from, &shape).ok_or_else(|| {
            Fault::new(format!(
                "{} elements do not provably divide by {}; fix the sizes in it (`--dim NAME=N`)",
                product(from),
                product(&shape)
            ))
        })?;
    }
    Ok(shape)
}

/// The product of some sizes divided by that of others, when it is provably whole.
fn quotient(dividend: &[Dim], divisor: &[Dim]) -> Option<Dim> {
    let mut left = dividend.to_vec();
    let mut right = Vec::new();
    for dim in divisor {
        match left.iter().position(|have| have == dim) {
            Some(at) if !dim.is(0) => {
                left.remove(at);
            }
            _ => right.push(dim.clone()),
        }
    }
    let (left, right) = (product(&left), product(&right));
    if right.is(1) {
        return Some(left);
    }
    match (left.as_const(), right.as_const()) {
        (Some(a), Some(b)) => (b != 0 && a % b == 0).then(|| Dim::constant(a / b)),
        _ => left.exact_div(&right),
    }
}

fn flatten(b: &mut Builder, call: &Call<'_>) -> Result<Vec<Option<V>>> {
    let x = call.input(0)?;
    let rank = b.rank(x);
    // Unlike elsewhere, the axis may be one past the last.
    let at = match call.int("axis", 1)? {
        value if usize::try_from(value) == Ok(rank) => rank,
        value => axis(value, rank)?,
    };
    let (outer, inner) = b.shape(x).split_at(at);
    let shape = [product(outer), product(inner)];
    one(b.reshape(x, &shape)?)
}

fn squeeze(b: &mut Builder, call: &Call<'_>) -> Result<Vec<Option<V>>> {
    let x = call.input(0)?;
    let axes = match call.optional_constants(b, 1)? {
        Some(axes) => sorted_axes(&axes, b.rank(x))?,
        None => (0..b.rank(x)).filter(|at| b.shape(x)[*at].is(1)).collect(),
    };
    if let Some(at) = axes.iter().find(|at| !b.shape(x)[**at].is(1)) {
        fault!("axis {at} of {} is not of size 1", b.ty(x));
    }
    let kept = b.shape(x).iter().enumerate().filter(|(at, _)| !axes.contains(at));
    let shape: Vec<Dim> = kept.map(|(_, dim)| dim.clone()).collect();
    one(b.reshape(x, &shape)?)
}

fn unsqueeze(b: &mut Builder, call: &Call<'_>) -> Result<Vec<Option<V>>> {
    let x = call.input(0)?;
    let Some(axes) = call.optional_constants(b, 1)? else {
        fault!("operand 1, the axes, is missing");
    };
    if axes.len() > qwenc_ir::infer::MAX_RANK {
        fault!("{} axes are more than {} dimensions allow", axes.len(), qwenc_ir::infer::MAX_RANK);
    }
    let axes = sorted_axes(&axes, b.rank(x) + axes.len())?;
    let mut shape = b.shape(x).to_vec();
    for at in axes {
        shape.insert(at, Dim::constant(1));
    }
    one(b.reshape(x, &shape)?)
}

fn transpose(b: &mut Builder, call: &Call<'_>) -> Result<Vec<Option<V>>> {
    let x = call.input(0)?;
    let rank = b.rank(x);
    let perm = match call.ints("perm")? {
        Some(perm) => perm.iter().map(|value| axis(*value, rank)).collect::<Result<Vec<_>>>()?,
        None => (0..rank).rev().collect(),
    };
    one(b.transpose(x, &perm)?)
}

/// Sizes of an image tensor and the block that moves between depth and space.
fn blocks(b: &Builder, call: &Call<'_>, x: V) -> Result<([Dim; 4], Dim)> {
    let Ok(shape) = <[Dim; 4]>::try_from(b.shape(x).to_vec()) else {
        fault!("{} is no image tensor of rank 4", b.ty(x));
    };
    let Ok(block) = i64::try_from(call.count("blocksize")?) else {
        fault!("attribute `blocksize` is out of range");
    };
    Ok((shape, Dim::constant(block)))
}

fn whole(dim: &Dim, divisor: &Dim) -> Result<Dim> {
    let Some(quotient) = quotient(std::slice::from_ref(dim), std::slice::from_ref(divisor)) else {
        fault!("size {dim} is no multiple of {divisor}");
    };
    Ok(quotient)
}

fn depth_to_space(b: &mut Builder, call: &Call<'_>) -> Result<Vec<Option<V>>> {
    let x = call.input(0)?;
    let ([n, c, h, w], block) = blocks(b, call, x)?;
    let depth = whole(&c, &(block.clone() * block.clone()))?;
    let (split, perm) = match call.text("mode", "DCR")? {
        "DCR" => ([&n, &block, &block, &depth, &h, &w], [0, 3, 4, 1, 5, 2]),
        "CRD" => ([&n, &depth, &block, &block, &h, &w], [0, 1, 4, 2, 5, 3]),
        other => fault!("mode `{other}` is neither DCR nor CRD"),
    };
    let split: Vec<Dim> = split.into_iter().cloned().collect();
    let v = b.reshape(x, &split)?;
    let v = b.transpose(v, &perm)?;
    one(b.reshape(v, &[n, depth, h * block.clone(), w * block])?)
}

fn space_to_depth(b: &mut Builder, call: &Call<'_>) -> Result<Vec<Option<V>>> {
    let x = call.input(0)?;
    let ([n, c, h, w], block) = blocks(b, call, x)?;
    let (rows, columns) = (whole(&h, &block)?, whole(&w, &block)?);
    let split = [n.clone(), c.clone(), rows.clone(), block.clone(), columns.clone(), block.clone()];
    let perm = match call.text("mode", "DCR")? {
        "DCR" => [0, 3, 5, 1, 2, 4],
        "CRD" => [0, 1, 3, 5, 2, 4],
        other => fault!("mode `{other}` is neither DCR nor CRD"),
    };
    let v = b.reshape(x, &split)?;
    let v = b.transpose(v, &perm)?;
    one(b.reshape(v, &[n, c * block.clone() * block, rows, columns])?)
}
