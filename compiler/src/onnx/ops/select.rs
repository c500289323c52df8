//! Choosing between values, by a condition or by position.

use qwenc_ir::{BinaryOp, DType, Dim, Expr, Op, Scalar};

use super::call::{Call, axis, element_type};
use super::elementwise::combine;
use super::one;
use super::registry::{OpEntry, standard};
use crate::onnx::known::{Elem, Known};
use crate::onnx::values::{Builder, Result, V, fault};

pub(super) const OPS: &[OpEntry] = &[
    standard("Clip", clip),
    standard("EyeLike", eye_like),
    standard("Hardmax", hardmax),
    standard("OneHot", one_hot),
    standard("Trilu", trilu),
    standard("Where", where_),
];

fn where_(b: &mut Builder, call: &Call<'_>) -> Result<Vec<Option<V>>> {
    let expr = Expr::Arg(0).select(Expr::Arg(1), Expr::Arg(2));
    one(b.pointwise(&expr, &[call.input(0)?, call.input(1)?, call.input(2)?])?)
}

fn clip(b: &mut Builder, call: &Call<'_>) -> Result<Vec<Option<V>>> {
    let mut x = call.input(0)?;
    for (index, op) in [(1, BinaryOp::Max), (2, BinaryOp::Min)] {
        let Some(limit) = call.optional(index) else {
            continue;
        };
        if b.rank(limit) != 0 && b.shape(limit).iter().any(|dim| !dim.is(1)) {
            fault!("limit {} is no scalar", b.ty(limit));
        }
        let limit = b.reshape(limit, &[])?;
        x = combine(b, op, x, limit)?;
    }
    one(x)
}

/// Keeps a triangle: compares column and row numbers.
fn trilu(b: &mut Builder, call: &Call<'_>) -> Result<Vec<Option<V>>> {
    let x = call.input(0)?;
    let upper = call.flag("upper", true)?;
    let diagonal = match call.optional(1) {
        Some(_) => call.one_dim(b, 1)?,
        None => Dim::constant(0),
    };
    let [.., rows, columns] = b.shape(x) else {
        fault!("{} is no matrix", b.ty(x));
    };
    let (rows, columns) = (rows.clone(), columns.clone());
    let ramp = |shape: Vec<Dim>, start: Dim| Known::Ramp { shape, start, step: 1 };
    let column = b.known_value(DType::I64, ramp(vec![columns], Dim::constant(0)))?;
    let row = b.known_value(DType::I64, ramp(vec![rows, Dim::constant(1)], diagonal))?;
    let keep = if upper { BinaryOp::Ge } else { BinaryOp::Le };
    let zero = Expr::Const(match b.dtype(x) {
        DType::Bool => Scalar::Bool(false),
        dtype if dtype.is_float() => Scalar::F32(0.0),
        _ => Scalar::Int(0),
    });
    let expr = Expr::Arg(1).binary(keep, Expr::Arg(2)).select(Expr::Arg(0), zero);
    one(b.pointwise(&expr, &[x, column, row])?)
}

/// `0, 1, ...` along one axis of a tensor of `rank`, from `start`.
fn counting(b: &mut Builder, start: Dim, len: Dim, at: usize, rank: usize) -> Result<V> {
    let mut shape = vec![Dim::constant(1); rank];
    shape[at] = len;
    b.known_value(DType::I64, Known::Ramp { shape, start, step: 1 })
}

fn eye_like(b: &mut Builder, call: &Call<'_>) -> Result<Vec<Option<V>>> {
    let x = call.input(0)?;
    let dtype = call.optional_int("dtype")?.map(element_type).transpose()?.unwrap_or(b.dtype(x));
    let [rows, columns] = b.shape(x) else {
        fault!("{} is no matrix", b.ty(x));
    };
    let (rows, columns) = (rows.clone(), columns.clone());
    let row = counting(b, Dim::constant(call.int("k", 0)?), rows, 0, 2)?;
    let column = counting(b, Dim::constant(0), columns, 1, 2)?;
    let on_diagonal = combine(b, BinaryOp::Eq, row, column)?;
    one(b.cast(on_diagonal, dtype)?)
}

/// Compares indices, which may count from the end, with positions along a new axis.
fn one_hot(b: &mut Builder, call: &Call<'_>) -> Result<Vec<Option<V>>> {
    let indices = call.input(0)?;
    let indices = b.cast(indices, DType::I64)?;
    let rank = b.rank(indices) + 1;
    let at = axis(call.int("axis", -1)?, rank)?;
    // Exporters write the depth as a float at times.
    let depth = b.known(call.input(1)?).and_then(Known::uniform).and_then(Elem::whole);
    let Some(depth) = depth else {
        fault!("operand 1 (`depth`) must be one number that follows from the shapes of the inputs");
    };
    let values = call.input(2)?;
    if b.shape(values) != [Dim::constant(2)] {
        fault!("the values {} must be two", b.ty(values));
    }
    let mut shape = b.shape(indices).to_vec();
    shape.insert(at, Dim::constant(1));
    let indices = b.reshape(indices, &shape)?;
    let zero = Dim::constant(0);
    let positions = counting(b, zero.clone(), depth.clone(), at, rank)?;
    let from_end = counting(b, zero.clone() - depth.clone(), depth, at, rank)?;
    let mut ends = Vec::new();
    for position in [zero, Dim::constant(1)] {
        let value = b.slice(values, 0, &position, &Dim::constant(1), 1)?;
        ends.push(b.reshape(value, &[])?);
    }
    let hit = |arg: usize| Expr::Arg(0).binary(BinaryOp::Eq, Expr::Arg(arg));
    let expr = hit(1).binary(BinaryOp::Or, hit(2)).select(Expr::Arg(4), Expr::Arg(3));
    one(b.pointwise(&expr, &[indices, positions, from_end, ends[0], ends[1]])?)
}

/// 1 at the first of the largest elements along an axis, 0 elsewhere.
fn hardmax(b: &mut Builder, call: &Call<'_>) -> Result<Vec<Option<V>>> {
    let x = call.input(0)?;
    let rank = b.rank(x);
    let at = call.axis(-1, rank)?;
    let largest = b.apply(Op::ArgReduce { min: false, axis: at, keep_dims: true, last: false }, &[x])?;
    let size = b.shape(x)[at].clone();
    let positions = counting(b, Dim::constant(0), size, at, rank)?;
    let hit = combine(b, BinaryOp::Eq, largest, positions)?;
    let hit = b.cast(hit, b.dtype(x))?;
    let shape = b.shape(x).to_vec();
    one(b.expand(hit, &shape)?)
}
