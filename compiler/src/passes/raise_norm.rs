//! Raises norms over the last axis that are spelled out.
//!
//! - `x * rsqrt(mean(x^2) + eps) * w` becomes RmsNorm, in any order of factors, with division or reciprocal instead of
//!   rsqrt, with or without the weight;
//! - `x / sqrt(sum(x^2) + eps)` becomes L2Norm, also with the sum or the root clamped from below instead of `+ eps`, or
//!   with the L2 norm reduced at once.
//!
//! Looked for from the end of the graph, so that a weight is taken along. The reduction must run over exactly the last
//! axis of the same `x`; the radicand must be that reduction plus at most one constant. A clamp is taken for `+ eps`
//! only where it cannot be told apart in f32 for anything but vectors of nearly zero length ([`MAX_CLAMP`]). A zero
//! vector without eps gives NaN when spelled out, and zero as an operator.

use qwenc_ir::op::ReduceKind;
use qwenc_ir::{BinaryOp, DType, Expr, Graph, NodeId, Op, Real, Tensor, UnaryOp, ValueId};

use super::manager::{Pass, PassError, Report};
use super::rewrite::{
    apply, elementwise, first_output, last_dim, replace_node, reshape_to, shape, strip_reshapes,
};
use super::term::{Product, Term, as_f32, with_constant};

/// Largest lower bound on a norm that is read as an epsilon.
const MAX_CLAMP: f32 = 1e-5;

/// See the module.
pub(super) const PASS: Pass = Pass { name: "raise_norm", about: "RmsNorm and L2Norm from their parts", run };

fn run(graph: &mut Graph, report: &mut Report) -> Result<(), PassError> {
    for node in graph.topo_order()?.into_iter().rev() {
        if !graph.contains_node(node) || elementwise(graph, node).is_none() {
            continue;
        }
        let Some(output) = first_output(graph, node) else { continue };
        for squares in reductions(graph, output) {
            match find(graph, output, &squares) {
                Ok(norm) => {
                    let value = build(graph, node, &norm)?;
                    replace_node(graph, node, &[value]);
                    report.changed(if norm.mean { "rms_norm" } else { "l2_norm" });
                    break;
                }
                Err(reason) => report.note(graph, node, reason),
            }
        }
    }
    Ok(())
}

/// A reduction of the squares of `x` over its last axis.
struct Squares {
    /// The reduced value as the pointwise part reads it.
    leaf: ValueId,
    x: ValueId,
    /// Mean instead of sum.
    mean: bool,
    /// The square root is taken already.
    rooted: bool,
}

/// A norm, ready to be built.
struct Norm {
    x: ValueId,
    eps: f32,
    mean: bool,
    /// Factor per element of the last axis.
    weight: Option<ValueId>,
    /// Factor on everything.
    scale: f32,
}

/// The reductions of squares that the pointwise part behind `output` reads.
fn reductions(graph: &Graph, output: ValueId) -> Vec<Squares> {
    Term::of(graph, output).leaves.into_iter().filter_map(|leaf| squares(graph, leaf)).collect()
}

fn squares(graph: &Graph, leaf: ValueId) -> Option<Squares> {
    let (node, op) = graph.producer_op(strip_reshapes(graph, leaf))?;
    let Op::Reduce { kind, axes, .. } = op else { return None };
    let input = graph.node_input(node, 0)?;
    let (x, mean, rooted) = match kind {
        ReduceKind::SumSquare => (input, false, false),
        ReduceKind::L2 => (input, false, true),
        ReduceKind::Sum => (squared(graph, input)?, false, false),
        ReduceKind::Mean => (squared(graph, input)?, true, false),
        _ => return None,
    };
    let rank = shape(graph, x).len();
    let mut reduced = shape(graph, x).to_vec();
    *reduced.last_mut()? = qwenc_ir::Dim::constant(1);
    let over_last = axes.as_slice() == [rank.checked_sub(1)?];
    (over_last && shape(graph, leaf) == reduced).then_some(Squares { leaf, x, mean, rooted })
}

/// `x` of `x * x` or `x ^ 2`.
fn squared(graph: &Graph, value: ValueId) -> Option<ValueId> {
    let base = strip_reshapes(graph, value);
    if base != value && last_dim(graph, base) == last_dim(graph, value) {
        // The square was taken under another shape: what is normalised is the tensor under this one.
        let x = squared(graph, base)?;
        let views = graph.consumers(strip_reshapes(graph, x)).into_iter().map(|(node, _)| node);
        let reshaped = views.filter(|node| matches!(graph.node(*node).op, Op::Reshape { .. }));
        return reshaped
            .filter_map(|node| first_output(graph, node))
            .find(|view| shape(graph, *view) == shape(graph, value));
    }
    let term = Term::shallow(graph, value, 1);
    let x = match &term.expr {
        Expr::Binary(BinaryOp::Mul, a, b) if a == b => a,
        Expr::Binary(BinaryOp::Pow, a, b) if as_f32(b) == Some(2.0) => a,
        _ => return None,
    };
    term.leaf(x)
}

fn find(graph: &Graph, output: ValueId, squares: &Squares) -> Result<Norm, String> {
    let term = Term::until(graph, output, squares.x);
    let product = Product::of(&term.expr);
    let mut norm = Norm { x: squares.x, eps: 0.0, mean: squares.mean, weight: None, scale: 1.0 };
    let (mut divided, mut has_x) = (false, false);
    for factor in &product.under {
        match (root(factor, squares.rooted), as_f32(factor)) {
            (Some((radicand, clamp)), _) if !divided => {
                read_radicand(&term, radicand, squares, clamp, &mut norm)?;
                divided = true;
            }
            (_, Some(value)) if value != 0.0 => norm.scale /= value,
            _ => return Err("divides by something else than the norm".into()),
        }
    }
    for factor in &product.over {
        match factor {
            Expr::Unary(UnaryOp::Rsqrt, radicand) if !divided && !squares.rooted => {
                read_radicand(&term, radicand, squares, None, &mut norm)?;
                divided = true;
            }
            _ if term.leaf(factor) == Some(squares.x) && !has_x => has_x = true,
            _ => match (as_f32(factor), term.leaf(factor)) {
                (Some(value), _) => norm.scale *= value,
                (None, Some(leaf)) if norm.weight.is_none() && is_weight(graph, leaf, squares.x) => {
                    norm.weight = Some(leaf);
                }
                _ => return Err("multiplies by something else than a weight of the last axis".into()),
            },
        }
    }
    if !divided || !has_x {
        return Err("squares are reduced, but their root does not divide the same tensor".into());
    }
    if graph.value(output).ty != graph.value(squares.x).ty {
        return Err("the result has another type than the normalised tensor".into());
    }
    if !norm.mean && (norm.weight.is_some() || norm.scale != 1.0) {
        // The inner node, without the factors, is a norm of its own.
        return Err("an L2 norm takes no factors".into());
    }
    if norm.mean && norm.weight.is_none() && weight_of_one(graph, &norm).is_none() {
        return Err("a norm without weight needs a last axis of constant size".into());
    }
    Ok(norm)
}

/// The radicand of a square root that divides, with a lower bound on the root.
fn root(expr: &Expr, rooted: bool) -> Option<(&Expr, Option<f32>)> {
    if let Some((inner, bound)) = with_constant(expr, BinaryOp::Max) {
        return root(inner, rooted)
            .filter(|(_, clamp)| clamp.is_none())
            .map(|(inner, _)| (inner, Some(bound)));
    }
    match expr {
        Expr::Unary(UnaryOp::Sqrt, inner) if !rooted => Some((inner, None)),
        other if rooted => Some((other, None)),
        _ => None,
    }
}

/// Reads `squares`, `squares + eps` or `max(squares, eps)`, with the sum of squares scaled to a mean or not.
fn read_radicand(
    term: &Term,
    radicand: &Expr,
    squares: &Squares,
    clamp: Option<f32>,
    norm: &mut Norm,
) -> Result<(), String> {
    let small = |bound: f32| (0.0..=MAX_CLAMP).contains(&bound);
    let (reduced, eps) =
        match (with_constant(radicand, BinaryOp::Add), with_constant(radicand, BinaryOp::Max)) {
            (Some((inner, eps)), _) => (inner, eps),
            (_, Some((inner, bound))) if small(bound) => (inner, bound),
            (_, Some(_)) => return Err("the squares are clamped too far from zero".into()),
            (None, None) => (radicand, 0.0),
        };
    if term.leaf(reduced) != Some(squares.leaf) {
        return Err("the radicand is not the reduced squares plus a constant".into());
    }
    norm.eps = match clamp {
        Some(bound) if small(bound) && eps == 0.0 => bound * bound,
        Some(_) => return Err("the norm is clamped too far from zero".into()),
        None => eps,
    };
    if norm.eps.is_finite() && norm.eps >= 0.0 { Ok(()) } else { Err("epsilon is negative".into()) }
}

/// True for a tensor `[C]` or `[1, .., C]` with C the last axis of `x`.
fn is_weight(graph: &Graph, value: ValueId, x: ValueId) -> bool {
    let shape = shape(graph, value);
    let Some((last, front)) = shape.split_last() else { return false };
    Some(last) == last_dim(graph, x)
        && !last.is(1)
        && front.iter().all(|dim| dim.is(1))
        && graph.value(value).ty.dtype == graph.value(x).ty.dtype
}

/// A weight that is the same for every element: the scale, or one.
fn weight_of_one(graph: &Graph, norm: &Norm) -> Option<Tensor> {
    let width = last_dim(graph, norm.x)?.as_usize().filter(|width| *width <= 1 << 20)?;
    (graph.value(norm.x).ty.dtype == DType::F32)
        .then(|| Tensor::from_f32(vec![width], &vec![norm.scale; width]).ok())
        .flatten()
}

fn build(graph: &mut Graph, node: NodeId, norm: &Norm) -> Result<ValueId, PassError> {
    let name = graph.node(node).name.clone();
    let eps = Real(norm.eps);
    if !norm.mean {
        return apply(graph, &name, Op::L2Norm { eps }, &[norm.x]);
    }
    let op = Op::RmsNorm { eps, gate: None };
    let Some(weight) = norm.weight else {
        let Some(ones) = weight_of_one(graph, norm) else { return Ok(norm.x) };
        let weight = graph.add_const(format!("{name}.weight"), ones);
        return apply(graph, &name, op, &[norm.x, weight]);
    };
    let width: Vec<_> = last_dim(graph, norm.x).cloned().into_iter().collect();
    let weight = reshape_to(graph, weight, &width)?;
    let value = apply(graph, &name, op, &[norm.x, weight])?;
    if norm.scale == 1.0 {
        return Ok(value);
    }
    let scaled = Expr::Arg(0).binary(BinaryOp::Mul, Expr::f32(norm.scale));
    apply(graph, &name, Op::Elementwise(scaled), &[value])
}
