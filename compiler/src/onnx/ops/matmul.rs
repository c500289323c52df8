//! Matrix products.

use qwenc_ir::{BinaryOp, Dim, Expr, Op};

use super::call::Call;
use super::elementwise::combine;
use super::one;
use super::registry::{OpEntry, microsoft, standard};
use crate::onnx::values::{Builder, Result, V, fault};

pub(super) const OPS: &[OpEntry] =
    &[standard("Gemm", gemm), standard("MatMul", matmul), microsoft("FusedMatMul", fused_matmul)];

const PLAIN: Op = Op::MatMul { transpose_a: false, transpose_b: false };

/// A vector on the left is a row, one on the right a column, and the result loses that axis again.
fn matmul(b: &mut Builder, call: &Call<'_>) -> Result<Vec<Option<V>>> {
    let (mut left, mut right) = (call.input(0)?, call.input(1)?);
    let (row, column) = (b.rank(left) == 1, b.rank(right) == 1);
    if row {
        let shape = [Dim::constant(1), b.shape(left)[0].clone()];
        left = b.reshape(left, &shape)?;
    }
    if column {
        let shape = [b.shape(right)[0].clone(), Dim::constant(1)];
        right = b.reshape(right, &shape)?;
    }
    let out = b.apply(PLAIN, &[left, right])?;
    let mut shape = b.shape(out).to_vec();
    if column {
        shape.pop();
    }
    if row {
        shape.remove(shape.len() - if column { 1 } else { 2 });
    }
    one(b.reshape(out, &shape)?)
}

fn fused_matmul(b: &mut Builder, call: &Call<'_>) -> Result<Vec<Option<V>>> {
    call.only_int("transBatchA", 0)?;
    call.only_int("transBatchB", 0)?;
    let (transpose_a, transpose_b) = (call.flag("transA", false)?, call.flag("transB", false)?);
    let out = b.apply(Op::MatMul { transpose_a, transpose_b }, &[call.input(0)?, call.input(1)?])?;
    let alpha = call.float("alpha", 1.0)?;
    one(scaled(b, out, alpha)?)
}

fn scaled(b: &mut Builder, v: V, factor: f32) -> Result<V> {
    if factor.to_bits() == 1f32.to_bits() {
        return Ok(v);
    }
    b.pointwise(&Expr::Arg(0).binary(BinaryOp::Mul, Expr::f32(factor)), &[v])
}

fn gemm(b: &mut Builder, call: &Call<'_>) -> Result<Vec<Option<V>>> {
    let (transpose_a, transpose_b) = (call.flag("transA", false)?, call.flag("transB", false)?);
    let (alpha, beta) = (call.float("alpha", 1.0)?, call.float("beta", 1.0)?);
    let product = b.apply(Op::MatMul { transpose_a, transpose_b }, &[call.input(0)?, call.input(1)?])?;
    let mut out = scaled(b, product, alpha)?;
    if let Some(bias) = call.optional(2) {
        let bias = scaled(b, bias, beta)?;
        out = combine(b, BinaryOp::Add, out, bias)?;
        if b.shape(out) != b.shape(product) {
            fault!("{} does not broadcast to {}", b.ty(bias), b.ty(product));
        }
    }
    one(out)
}
