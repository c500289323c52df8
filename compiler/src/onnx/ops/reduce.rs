//! Reductions, running sums and softmax.

use qwenc_ir::dim::product;
use qwenc_ir::op::ReduceKind;
use qwenc_ir::{Dim, Op};

use super::call::{Call, axis, sorted_axes};
use super::one;
use super::registry::{OpEntry, standard};
use crate::onnx::known::{Elem, Known};
use crate::onnx::values::{Builder, Result, V, fault};

pub(super) const OPS: &[OpEntry] = &[
    standard("ArgMax", arg),
    standard("ArgMin", arg),
    standard("CumSum", cumsum),
    standard("LogSoftmax", softmax),
    standard("ReduceL1", reduce),
    standard("ReduceL2", reduce),
    standard("ReduceLogSum", reduce),
    standard("ReduceLogSumExp", reduce),
    standard("ReduceMax", reduce),
    standard("ReduceMean", reduce),
    standard("ReduceMin", reduce),
    standard("ReduceProd", reduce),
    standard("ReduceSum", reduce),
    standard("ReduceSumSquare", reduce),
    standard("Softmax", softmax),
];

fn reduce(b: &mut Builder, call: &Call<'_>) -> Result<Vec<Option<V>>> {
    let kind = match call.node.op_type() {
        "ReduceL1" => ReduceKind::L1,
        "ReduceL2" => ReduceKind::L2,
        "ReduceLogSum" => ReduceKind::LogSum,
        "ReduceLogSumExp" => ReduceKind::LogSumExp,
        "ReduceMax" => ReduceKind::Max,
        "ReduceMean" => ReduceKind::Mean,
        "ReduceMin" => ReduceKind::Min,
        "ReduceProd" => ReduceKind::Prod,
        "ReduceSum" => ReduceKind::Sum,
        _ => ReduceKind::SumSquare,
    };
    let x = call.input(0)?;
    let keep_dims = call.flag("keepdims", true)?;
    // ReduceSum takes axes as an operand since opset 13, the others since 18.
    let as_operand = call.opset >= 18 || kind == ReduceKind::Sum;
    let listed =
        if as_operand { call.optional_constants(b, 1)? } else { call.ints("axes")?.map(<[i64]>::to_vec) };
    let keep_when_empty = as_operand && call.flag("noop_with_empty_axes", false)?;
    let axes = match listed.filter(|axes| !axes.is_empty()) {
        Some(axes) => sorted_axes(&axes, b.rank(x))?,
        None if keep_when_empty => Vec::new(),
        None => (0..b.rank(x)).collect(),
    };
    let pointwise = matches!(
        kind,
        ReduceKind::Sum | ReduceKind::Mean | ReduceKind::Max | ReduceKind::Min | ReduceKind::Prod
    );
    if axes.is_empty() && pointwise {
        return one(x);
    }
    let reduced = |at: usize, dim: &Dim| match (axes.contains(&at), keep_dims) {
        (false, _) => Some(dim.clone()),
        (true, true) => Some(Dim::constant(1)),
        (true, false) => None,
    };
    let shape: Vec<Dim> = b.shape(x).iter().enumerate().filter_map(|(at, dim)| reduced(at, dim)).collect();
    if let Some(known) = known_reduction(b, x, kind, &axes, shape) {
        return one(b.known_value(b.dtype(x), known)?);
    }
    one(b.apply(Op::Reduce { kind, axes, keep_dims }, &[x])?)
}

/// Reductions of shape arithmetic: of one value everywhere, or of a whole integer vector.
fn known_reduction(b: &Builder, x: V, kind: ReduceKind, axes: &[usize], shape: Vec<Dim>) -> Option<Known> {
    let known = b.known(x)?;
    let integer = b.dtype(x).is_int();
    if let Some(item) = known.uniform() {
        let count = product(&axes.iter().map(|at| b.shape(x)[*at].clone()).collect::<Vec<_>>());
        let positive = b.bounds.below(&Dim::constant(0), &count);
        let item = match (kind, item.dim()?) {
            (ReduceKind::Sum, dim) if integer => dim.clone() * count,
            (ReduceKind::SumSquare, dim) if integer => dim.clone() * dim.clone() * count,
            (ReduceKind::Max | ReduceKind::Min | ReduceKind::Mean, dim) if positive => dim.clone(),
            _ => return None,
        };
        return (!item.is_poison()).then_some(Known::Splat { shape, item: Elem::Int(item) });
    }
    let whole = axes.len() == b.rank(x);
    let dims = known.dims().filter(|dims| whole && integer && !dims.is_empty())?;
    let total = match kind {
        ReduceKind::Sum => dims.iter().fold(Dim::constant(0), |sum, dim| sum + dim.clone()),
        ReduceKind::Prod => product(&dims),
        ReduceKind::Max => dims.iter().skip(1).fold(dims[0].clone(), |best, dim| b.bounds.max(&best, dim)),
        ReduceKind::Min => dims.iter().skip(1).fold(dims[0].clone(), |best, dim| b.bounds.min(&best, dim)),
        _ => return None,
    };
    (!total.is_poison()).then_some(Known::Splat { shape, item: Elem::Int(total) })
}

fn arg(b: &mut Builder, call: &Call<'_>) -> Result<Vec<Option<V>>> {
    let x = call.input(0)?;
    let op = Op::ArgReduce {
        min: call.node.op_type() == "ArgMin",
        axis: call.axis(0, b.rank(x))?,
        keep_dims: call.flag("keepdims", true)?,
        last: call.flag("select_last_index", false)?,
    };
    one(b.apply(op, &[x])?)
}

fn cumsum(b: &mut Builder, call: &Call<'_>) -> Result<Vec<Option<V>>> {
    let x = call.input(0)?;
    let Some(value) = call.one_dim(b, 1)?.as_const() else {
        fault!("the axis must be constant");
    };
    let at = axis(value, b.rank(x))?;
    let (exclusive, reverse) = (call.flag("exclusive", false)?, call.flag("reverse", false)?);
    // Counting a mask of ones: the positions of tokens.
    let step = b.known(x).and_then(|known| known.uniform()?.constant());
    let others = b.shape(x).iter().enumerate().all(|(other, dim)| other == at || dim.is(1));
    if let Some(step) = step.filter(|_| others && !reverse && b.dtype(x).bits() >= 32) {
        let start = Dim::constant(if exclusive { 0 } else { step });
        let ramp = Known::Ramp { shape: b.shape(x).to_vec(), start, step };
        return one(b.known_value(b.dtype(x), ramp)?);
    }
    one(b.apply(Op::CumSum { axis: at, exclusive, reverse }, &[x])?)
}

fn softmax(b: &mut Builder, call: &Call<'_>) -> Result<Vec<Option<V>>> {
    let x = call.input(0)?;
    let op = Op::Softmax { axis: call.axis(-1, b.rank(x))?, log: call.node.op_type() == "LogSoftmax" };
    one(b.apply(op, &[x])?)
}
