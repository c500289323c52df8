//! Pooling over windows, one axis after the other.

use qwenc_ir::{BinaryOp, DType, Dim, Expr, Scalar, UnaryOp};

use super::call::Call;
use super::elementwise::combine;
use super::one;
use super::registry::{OpEntry, standard};
use super::spatial::{AxisWindows, padded, tap, windows};
use crate::onnx::known::{Elem, Known};
use crate::onnx::values::{Builder, Result, V, fault};

pub(super) const OPS: &[OpEntry] = &[
    standard("AveragePool", average_pool),
    standard("LRN", local_response_norm),
    standard("LpPool", lp_pool),
    standard("MaxPool", max_pool),
];

fn of(b: &Builder, call: &Call<'_>, x: V) -> Result<Vec<AxisWindows>> {
    let Some(kernel) = call.ints("kernel_shape")? else {
        fault!("attribute `kernel_shape` is missing");
    };
    windows(b, call, x, kernel)
}

/// Combines the elements of every window of a padded tensor.
fn pool(b: &mut Builder, x: V, windows: &[AxisWindows], op: BinaryOp) -> Result<V> {
    let mut v = x;
    for (at, axis) in windows.iter().enumerate() {
        let whole = v;
        v = tap(b, whole, at, axis, 0)?;
        for index in 1..axis.width {
            let next = tap(b, whole, at, axis, index)?;
            v = combine(b, op, v, next)?;
        }
    }
    Ok(v)
}

fn max_pool(b: &mut Builder, call: &Call<'_>) -> Result<Vec<Option<V>>> {
    // Concerns the second output, the places of the largest elements, which is not supported.
    call.ignore(&["storage_order"]);
    let x = call.input(0)?;
    let windows = of(b, call, x)?;
    let least = match b.dtype(x) {
        DType::I8 => Scalar::Int(-128),
        DType::U8 => Scalar::Int(0),
        dtype if dtype.is_float() => Scalar::F32(f32::NEG_INFINITY),
        _ => fault!("pooling of {} is not supported", b.ty(x)),
    };
    let x = padded(b, x, &windows, least)?;
    one(pool(b, x, &windows, BinaryOp::Max)?)
}

fn average_pool(b: &mut Builder, call: &Call<'_>) -> Result<Vec<Option<V>>> {
    let x = call.input(0)?;
    let windows = of(b, call, x)?;
    let count_padding = call.flag("count_include_pad", false)?;
    let zeros = Scalar::F32(0.0);
    let filled = padded(b, x, &windows, zeros)?;
    let sum = pool(b, filled, &windows, BinaryOp::Add)?;
    let mut counted = vec![Dim::constant(1); 2];
    let mut own = windows.clone();
    for (axis, size) in own.iter_mut().zip(&b.shape(x)[2..]) {
        let mut size = size.clone();
        if count_padding {
            size = size + axis.before.clone() + axis.after.clone();
            (axis.before, axis.after) = (Dim::constant(0), Dim::constant(0));
        }
        counted.push(size);
    }
    let full = |axis: &AxisWindows| axis.before.is(0) && axis.after.is(0) && axis.beyond.is(0);
    if own.iter().all(full) {
        let elements: i64 = own.iter().map(|axis| axis.width).product();
        let count = Expr::f32(Scalar::Int(elements).as_f32());
        return one(b.pointwise(&Expr::Arg(0).binary(BinaryOp::Div, count), &[sum])?);
    }
    // How many elements of a window count: the same sum over ones.
    let ones = b.known_value(b.dtype(x), Known::Splat { shape: counted, item: Elem::int(1) })?;
    let ones = padded(b, ones, &own, zeros)?;
    let count = pool(b, ones, &own, BinaryOp::Add)?;
    one(combine(b, BinaryOp::Div, sum, count)?)
}

/// `(sum |x|^p)^(1/p)`.
fn lp_pool(b: &mut Builder, call: &Call<'_>) -> Result<Vec<Option<V>>> {
    let x = call.input(0)?;
    let windows = of(b, call, x)?;
    let power = call.count("p").unwrap_or(2);
    let power = Scalar::Int(i64::try_from(power).unwrap_or(2)).as_f32();
    let raised = Expr::Arg(0).unary(UnaryOp::Abs).binary(BinaryOp::Pow, Expr::f32(power));
    let raised = b.pointwise(&raised, &[x])?;
    let filled = padded(b, raised, &windows, Scalar::F32(0.0))?;
    let sum = pool(b, filled, &windows, BinaryOp::Add)?;
    one(b.pointwise(&Expr::Arg(0).binary(BinaryOp::Pow, Expr::f32(1.0 / power)), &[sum])?)
}

/// `x / (bias + alpha/size * sum of squares over neighbouring channels)^beta`.
fn local_response_norm(b: &mut Builder, call: &Call<'_>) -> Result<Vec<Option<V>>> {
    let (alpha, beta) = (call.float("alpha", 1e-4)?, call.float("beta", 0.75)?);
    let bias = call.float("bias", 1.0)?;
    let x = call.input(0)?;
    let size = call.count("size")?;
    let (Some(channels), Ok(width)) = (b.shape(x).get(1).cloned(), i64::try_from(size)) else {
        fault!("{} has no channels", b.ty(x));
    };
    if width > 256 {
        fault!("attribute `size` = {width} is not supported, at most 256");
    }
    // Channels as the only spatial axis.
    let shape = b.shape(x).to_vec();
    let rest = qwenc_ir::dim::product(&shape[2..]);
    let square = combine(b, BinaryOp::Mul, x, x)?;
    let rows = b.reshape(square, &[shape[0].clone(), Dim::constant(1), channels.clone(), rest])?;
    let whole = Dim::constant(0);
    let across = AxisWindows {
        width,
        stride: 1,
        dilation: 1,
        before: Dim::constant((width - 1) / 2),
        after: Dim::constant(width / 2),
        beyond: whole.clone(),
        count: channels,
    };
    let along = AxisWindows {
        width: 1,
        before: whole.clone(),
        after: whole,
        count: b.shape(rows)[3].clone(),
        ..across.clone()
    };
    let windows = [across, along];
    let filled = padded(b, rows, &windows, Scalar::F32(0.0))?;
    let sum = pool(b, filled, &windows, BinaryOp::Add)?;
    let sum = b.reshape(sum, &shape)?;
    let scaled = Expr::Arg(1).binary(BinaryOp::Mul, Expr::f32(alpha / Scalar::Int(width).as_f32()));
    let base = scaled.binary(BinaryOp::Add, Expr::f32(bias)).binary(BinaryOp::Pow, Expr::f32(beta));
    one(b.pointwise(&Expr::Arg(0).binary(BinaryOp::Div, base), &[x, sum])?)
}
