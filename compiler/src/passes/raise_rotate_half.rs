//! Raises rotate-half rope that is spelled out, in one of two ways:
//!
//! - `x * cos + concat(-x[R/2..R], x[..R/2]) * sin`, where `cos` and `sin` hold the angles of R/2 slots twice
//!   ([`super::trace`] proves that both halves are the same elements);
//! - `concat(a * cos - b * sin, a * sin + b * cos)` of the halves `a` and `b`, where `cos` and `sin` hold them once.
//!
//! `x` is a tensor of heads, [B,H,S,R] or [B,S,H,R], the batch may be missing; or the first R elements of wider heads, of
//! which the rest is joined on again behind the rotation (the first way). `cos` and `sin` broadcast over heads. Result: `Rope{Direct}` over the whole heads;
//! [`super::raise_rope`] then finds the tables.
//!
//! It does not fire when the two halves of an angle differ, when cos or sin broadcasts over anything but heads, or when
//! the halves are not those of one tensor.

use qwenc_ir::op::{RopeAttrs, RopeSource};
use qwenc_ir::{BinaryOp, Dim, Expr, Graph, NodeId, Op, UnaryOp, ValueId};

use super::manager::{Pass, PassError, Report};
use super::rewrite::{apply, first_output, present_inputs, replace_node, reshape_to, shape};
use super::term::Term;
use super::trace::origin;

/// See the module.
pub(super) const PASS: Pass =
    Pass { name: "raise_rotate_half", about: "rope from halves that are negated, swapped and joined", run };

/// Axes that heads and positions can be on.
const AXES: [usize; 2] = [1, 2];

fn run(graph: &mut Graph, report: &mut Report) -> Result<(), PassError> {
    for node in graph.topo_order()? {
        if !graph.contains_node(node) {
            continue;
        }
        let found = match graph.node(node).op {
            Op::Elementwise(_) => find(graph, node),
            Op::Concat { .. } => find_halves(graph, node),
            _ => None,
        };
        match found {
            None => {}
            Some(Err(reason)) => report.note(graph, node, reason),
            Some(Ok(found)) => {
                build(graph, node, &found)?;
                report.changed("rotate-half rope");
            }
        }
    }
    Ok(())
}

/// A part of a tensor's last axis.
#[derive(Clone, PartialEq, Eq)]
struct Part {
    root: ValueId,
    start: i64,
    len: i64,
}

struct Rotation {
    x: Part,
    cos: ValueId,
    sin: ValueId,
    /// Heads are axis 1, in front of positions.
    heads_first: bool,
    /// Angles hold every slot twice.
    doubled: bool,
}

/// The two factors of a product of leaves.
fn factors(term: &Term, expr: &Expr) -> Option<[ValueId; 2]> {
    match expr {
        Expr::Binary(BinaryOp::Mul, a, b) => Some([term.leaf(a)?, term.leaf(b)?]),
        _ => None,
    }
}

/// Halves that are rotated one by one and joined. `None` when it is something else.
fn find_halves(graph: &Graph, node: NodeId) -> Option<Result<Rotation, &'static str>> {
    let output = first_output(graph, node)?;
    let Op::Concat { axis } = graph.node(node).op else { return None };
    if axis + 1 != shape(graph, output).len() {
        return None;
    }
    let inputs = present_inputs(graph, node);
    let [first, second] = inputs.as_slice() else { return None };
    let (first, second) = (Term::shallow(graph, *first, 2), Term::shallow(graph, *second, 2));
    let (Expr::Binary(BinaryOp::Sub, plus, minus), Expr::Binary(BinaryOp::Add, left, right)) =
        (&first.expr, &second.expr)
    else {
        return None;
    };
    let (plus, minus) = (factors(&first, plus)?, factors(&first, minus)?);
    let products = [factors(&second, left)?, factors(&second, right)?];
    for [a, cos] in [plus, [plus[1], plus[0]]] {
        for [b, sin] in [minus, [minus[1], minus[0]]] {
            let product =
                |x: ValueId, y: ValueId| products.iter().any(|have| *have == [x, y] || *have == [y, x]);
            let Some(x) = adjacent(graph, a, b).filter(|_| product(a, sin) && product(b, cos)) else {
                continue;
            };
            return Some(checked(graph, output, x, [cos, sin], false));
        }
    }
    None
}

/// Two parts of one tensor, the second right behind the first and as wide.
fn adjacent(graph: &Graph, first: ValueId, second: ValueId) -> Option<Part> {
    let (first, second) = (part(graph, first)?, part(graph, second)?);
    let joined = first.root == second.root
        && first.len == second.len
        && first.start.checked_add(first.len) == Some(second.start);
    joined.then_some(Part { root: first.root, start: first.start, len: first.len.checked_mul(2)? })
}

/// `None` when nothing is rotated at all.
fn find(graph: &Graph, node: NodeId) -> Option<Result<Rotation, &'static str>> {
    let output = first_output(graph, node)?;
    let term = Term::shallow(graph, output, 2);
    let Expr::Binary(BinaryOp::Add, left, right) = &term.expr else { return None };
    let (left, right) = (factors(&term, left)?, factors(&term, right)?);
    for (straight, crossed) in [(left, right), (right, left)] {
        for (swapped, sin) in [(crossed[0], crossed[1]), (crossed[1], crossed[0])] {
            let Some(x) = rotated(graph, swapped) else { continue };
            let is_x = |value: ValueId| part(graph, value).as_ref() == Some(&x);
            let cos = match straight {
                [a, cos] if is_x(a) => cos,
                [cos, a] if is_x(a) => cos,
                _ => return Some(Err("the halves are not those of the tensor beside them")),
            };
            return Some(checked(graph, output, x, [cos, sin], true));
        }
    }
    None
}

/// The tensor whose halves are swapped, the second one negated.
fn rotated(graph: &Graph, value: ValueId) -> Option<Part> {
    let (node, Op::Concat { axis }) = graph.producer_op(value)? else { return None };
    if axis + 1 != shape(graph, value).len() {
        return None;
    }
    let inputs = present_inputs(graph, node);
    let [negated, first] = inputs.as_slice() else { return None };
    let (negation, Op::Elementwise(expr)) = graph.producer_op(*negated)? else { return None };
    if *expr != Expr::Arg(0).unary(UnaryOp::Neg) {
        return None;
    }
    adjacent(graph, *first, graph.node_input(negation, 0)?)
}

/// A value as a part of the last axis of what it is sliced from.
fn part(graph: &Graph, value: ValueId) -> Option<Part> {
    let sizes = shape(graph, value);
    let len = sizes.last()?.as_const()?;
    if let Some((slice, Op::Slice { axis, start, step: 1, .. })) = graph.producer_op(value)
        && axis + 1 == sizes.len()
    {
        return Some(Part { root: graph.node_input(slice, 0)?, start: start.as_const()?, len });
    }
    Some(Part { root: value, start: 0, len })
}

/// A shape of heads with its batch: 1 where there is none.
fn batched(sizes: &[Dim]) -> Vec<Dim> {
    let batch = (sizes.len() == 3).then(|| Dim::constant(1));
    batch.into_iter().chain(sizes.iter().cloned()).collect()
}

fn checked(
    graph: &Graph,
    output: ValueId,
    x: Part,
    [cos, sin]: [ValueId; 2],
    doubled: bool,
) -> Result<Rotation, &'static str> {
    let sizes = batched(shape(graph, output));
    let half = x.len / 2;
    let width = if doubled { x.len } else { half };
    if sizes.len() != 4 || sizes.last().and_then(Dim::as_const) != Some(x.len) {
        return Err("what is rotated is no tensor of heads");
    }
    let mut heads = None;
    for angles in [cos, sin] {
        let own = shape(graph, angles);
        let Some(last) = own.len().checked_sub(1) else { return Err("cos or sin is a scalar") };
        if own.get(last).and_then(Dim::as_const) != Some(width) {
            return Err("cos or sin does not have the width of what it rotates");
        }
        let unlike = |slot| origin(graph, angles, last, slot) != origin(graph, angles, last, slot + half);
        if doubled && (0..half).any(unlike) {
            return Err("the two halves of cos or sin are not provably the same");
        }
        // Padded with ones in front, cos and sin are of size 1 along heads and as long as x along positions.
        let size = |axis: usize| (axis + own.len()).checked_sub(4).and_then(|at| own.get(at));
        let over = AXES.into_iter().find(|axis| {
            let other = 3 - axis;
            size(*axis).is_none_or(|dim| dim.is(1)) && size(other) == sizes.get(other)
        });
        let batch = size(0).cloned().unwrap_or(Dim::constant(1));
        if sizes.first() != Some(&batch) {
            return Err("cos or sin broadcasts over the batch");
        }
        match (over, heads) {
            (Some(axis), None) => heads = Some(axis),
            (Some(axis), Some(have)) if axis == have => {}
            _ => return Err("cos or sin broadcasts over something else than heads"),
        }
    }
    Ok(Rotation { x, cos, sin, heads_first: heads == Some(1), doubled })
}

fn build(graph: &mut Graph, node: NodeId, found: &Rotation) -> Result<(), PassError> {
    let Some(output) = first_output(graph, node) else { return Ok(()) };
    let name = graph.node(node).name.clone();
    let half = Dim::constant(found.x.len / 2);
    // The rotated part alone, or the whole head when the rest is joined on behind.
    let (x, replaced) = match joined(graph, output, &found.x) {
        Some(whole) => (found.x.root, whole),
        None => {
            let len = Dim::constant(found.x.len);
            let axis = shape(graph, found.x.root).len().saturating_sub(1);
            let whole = found.x.start == 0 && shape(graph, found.x.root).get(axis) == Some(&len);
            let start = Dim::constant(found.x.start);
            let x = match whole {
                true => found.x.root,
                false => apply(graph, &name, Op::Slice { axis, start, len, step: 1 }, &[found.x.root])?,
            };
            (x, node)
        }
    };
    let swap = |graph: &mut Graph, value: ValueId| match found.heads_first {
        true => apply(graph, &name, Op::Transpose { perm: vec![0, 2, 1, 3] }, &[value]),
        false => Ok(value),
    };
    let with_batch = batched(shape(graph, x));
    let x = reshape_to(graph, x, &with_batch)?;
    let x = swap(graph, x)?;
    let rows: Vec<Dim> = shape(graph, x).iter().take(2).cloned().collect();
    let mut inputs = vec![x];
    for angles in [found.cos, found.sin] {
        let axis = shape(graph, angles).len().saturating_sub(1);
        let op = Op::Slice { axis, start: Dim::constant(0), len: half.clone(), step: 1 };
        let slots = if found.doubled { apply(graph, &name, op, &[angles])? } else { angles };
        let to: Vec<Dim> = rows.iter().cloned().chain([half.clone()]).collect();
        inputs.push(reshape_to(graph, slots, &to)?);
    }
    let rotary_dim = usize::try_from(found.x.len).unwrap_or(0);
    let rope = Op::Rope(RopeAttrs { rotary_dim, interleaved: false, source: RopeSource::Direct });
    let value = apply(graph, &name, rope, &inputs)?;
    let value = swap(graph, value)?;
    let Some(old) = first_output(graph, replaced) else { return Ok(()) };
    let to = shape(graph, old).to_vec();
    let value = reshape_to(graph, value, &to)?;
    replace_node(graph, replaced, &[value]);
    Ok(())
}

/// The concat that joins the rest of the heads behind the rotated part, when that is the only user.
fn joined(graph: &Graph, rotated: ValueId, x: &Part) -> Option<NodeId> {
    let consumers = graph.consumers(rotated);
    let [(node, 0)] = consumers.as_slice() else { return None };
    let Op::Concat { axis } = graph.node(*node).op else { return None };
    let inputs = present_inputs(graph, *node);
    let [_, rest] = inputs.as_slice() else { return None };
    let rest = part(graph, *rest)?;
    let width = shape(graph, x.root).last()?.as_const()?;
    let fits = !graph.is_output(rotated)
        && axis + 1 == shape(graph, rotated).len()
        && x.start == 0
        && rest == Part { root: x.root, start: x.len, len: width - x.len };
    fits.then_some(*node)
}
