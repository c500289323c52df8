//! Choosing between values: Where, Clip, Trilu.

use qwenc_ir::{BinaryOp, DType, Dim, Expr, Scalar};

use super::call::Call;
use super::elementwise::combine;
use super::one;
use super::registry::{OpEntry, standard};
use crate::onnx::known::Known;
use crate::onnx::values::{Builder, Result, V, fault};

pub(super) const OPS: &[OpEntry] =
    &[standard("Clip", clip), standard("Trilu", trilu), standard("Where", where_)];

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
