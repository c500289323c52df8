//! Attention masks that say what causal attention means anyway.
//!
//! A mask whose condition compares positions, `key <= query + past` in any spelling, is dropped, and the attention is
//! causal. The mask is boolean, or chooses between 0 and a number that no score comes up against. Positions are ranges
//! along the last axis (keys) and the one before (queries), with numbers added.
//!
//! It does not fire for any other condition: a window, a prefix, or padding besides.

use qwenc_ir::op::attention;
use qwenc_ir::{BinaryOp, Dim, Expr, Graph, NodeId, Op, Scalar, UnaryOp, ValueId};

use super::manager::{Pass, PassError, Report};
use super::raise_attention::{MASKED, lengths};
use super::rewrite::{shape, strip_reshapes};
use super::term::{Term, with_constant};

/// See the module.
pub(super) const PASS: Pass =
    Pass { name: "raise_causal", about: "masks that compare positions make attention causal", run };

/// Most reshapes between comparing positions and using the result.
const MAX_VIEWS: usize = 4;

fn run(graph: &mut Graph, report: &mut Report) -> Result<(), PassError> {
    for node in graph.topo_order()? {
        if !matches!(graph.node(node).op, Op::Attention(_)) {
            continue;
        }
        let Some(mask) = graph.node_input(node, attention::MASK) else { continue };
        match is_causal(graph, node, mask) {
            Err(reason) => report.note(graph, node, reason),
            Ok(()) => {
                graph.set_input(node, attention::MASK, None);
                if let Op::Attention(attrs) = &mut graph.node_mut(node).op {
                    attrs.causal = true;
                }
                report.changed("causal mask");
            }
        }
    }
    Ok(())
}

fn is_causal(graph: &Graph, node: NodeId, mask: ValueId) -> Result<(), &'static str> {
    let Some((queries, past, keys)) = lengths(graph, node) else { return Err("attention has no lengths") };
    let comparison = Comparison { queries, past, keys };
    match comparison.visible(graph, mask, MAX_VIEWS) {
        Some(true) => Ok(()),
        Some(false) => Err("the mask hides what causal attention sees"),
        None => Err("the mask is no comparison of positions"),
    }
}

struct Comparison {
    queries: Dim,
    past: Dim,
    keys: Dim,
}

/// A position: its own number along an axis, with something added.
#[derive(Clone)]
enum Side {
    Key(Dim),
    Query(Dim),
}

impl Comparison {
    /// Whether a mask is exactly the causal one; `None` when it says something else.
    fn visible(&self, graph: &Graph, mask: ValueId, views: usize) -> Option<bool> {
        let term = Term::of(graph, mask);
        match &term.expr {
            // The comparison may have been made under another shape.
            Expr::Arg(0) => {
                let base = self.base(graph, mask)?;
                if base == mask {
                    return None;
                }
                self.visible(graph, base, views.checked_sub(1)?)
            }
            Expr::Select(condition, a, b) => match (&**a, &**b) {
                (Expr::Const(Scalar::F32(0.0)), Expr::Const(Scalar::F32(low))) if *low <= MASKED => {
                    self.holds(graph, &term, condition, false, views)
                }
                (Expr::Const(Scalar::F32(low)), Expr::Const(Scalar::F32(0.0))) if *low <= MASKED => {
                    self.holds(graph, &term, condition, true, views)
                }
                (Expr::Const(Scalar::Bool(true)), Expr::Const(Scalar::Bool(false))) => {
                    self.holds(graph, &term, condition, false, views)
                }
                _ => None,
            },
            condition => self.holds(graph, &term, condition, false, views),
        }
    }

    /// A value behind reshapes that keep queries and keys as the last two axes.
    fn base(&self, graph: &Graph, value: ValueId) -> Option<ValueId> {
        let keeps = |value: ValueId| {
            let sizes = shape(graph, value);
            let (front, matrix) = sizes.split_at_checked(sizes.len().checked_sub(2)?)?;
            (front.iter().all(|dim| dim.is(1)) && matrix == [self.queries.clone(), self.keys.clone()])
                .then_some(())
        };
        let base = strip_reshapes(graph, value);
        keeps(value)?;
        keeps(base)?;
        Some(base)
    }

    /// Whether a condition holds exactly where causal attention sees.
    fn holds(
        &self,
        graph: &Graph,
        term: &Term,
        condition: &Expr,
        negated: bool,
        views: usize,
    ) -> Option<bool> {
        match condition {
            Expr::Unary(UnaryOp::Not, inner) => self.holds(graph, term, inner, !negated, views),
            Expr::Arg(_) if !negated => {
                let leaf = term.leaf(condition)?;
                let base = self.base(graph, leaf)?;
                if base == leaf {
                    return None;
                }
                self.visible(graph, base, views.checked_sub(1)?)
            }
            Expr::Binary(op, a, b) => {
                let (left, right) = (self.side(graph, term, a)?, self.side(graph, term, b)?);
                let op = if negated { opposite(*op)? } else { *op };
                // As `key + a <= query + b`, of which `b - a` must be the past.
                let (key, query, op) = match (left, right) {
                    (Side::Key(key), Side::Query(query)) => (key, query, op),
                    (Side::Query(query), Side::Key(key)) => (key, query, mirrored(op)?),
                    _ => return None,
                };
                let slack = match op {
                    BinaryOp::Le => query - key,
                    BinaryOp::Lt => query - key - Dim::constant(1),
                    _ => return None,
                };
                Some(slack == self.past)
            }
            _ => None,
        }
    }

    fn side(&self, graph: &Graph, term: &Term, expr: &Expr) -> Option<Side> {
        match expr {
            Expr::Cast(_, inner) => self.side(graph, term, inner),
            Expr::Arg(_) => self.range(graph, term.leaf(expr)?),
            Expr::Binary(op @ (BinaryOp::Add | BinaryOp::Sub), a, b) => {
                let sign = Dim::constant(if *op == BinaryOp::Sub { -1 } else { 1 });
                match (self.number(graph, term, a), self.number(graph, term, b)) {
                    (None, Some(number)) => Some(self.side(graph, term, a)?.plus(number * sign)),
                    (Some(number), None) if *op == BinaryOp::Add => {
                        Some(self.side(graph, term, b)?.plus(number))
                    }
                    _ => None,
                }
            }
            other => {
                let (inner, number) = with_constant(other, BinaryOp::Add)?;
                #[expect(clippy::cast_possible_truncation, reason = "checked to be whole")]
                let whole = (number.fract() == 0.0 && number.abs() < 1e6).then_some(number as i64)?;
                Some(self.side(graph, term, inner)?.plus(Dim::constant(whole)))
            }
        }
    }

    /// A number that is the same everywhere.
    fn number(&self, graph: &Graph, term: &Term, expr: &Expr) -> Option<Dim> {
        if let Expr::Const(Scalar::Int(value)) = expr {
            return Some(Dim::constant(*value));
        }
        let base = strip_reshapes(graph, term.leaf(expr)?);
        match graph.producer_op(base)? {
            (_, Op::Dims { values }) => match values.as_slice() {
                [value] => Some(value.clone()),
                _ => None,
            },
            _ => None,
        }
    }

    /// A range along the axis of keys or of queries.
    fn range(&self, graph: &Graph, leaf: ValueId) -> Option<Side> {
        let (_, Op::Range { start, step: 1, len }) = graph.producer_op(strip_reshapes(graph, leaf))? else {
            return None;
        };
        let sizes = shape(graph, leaf);
        let last = sizes.last()?;
        let front = sizes.split_last().map(|(_, front)| front).unwrap_or_default();
        let ones = |dims: &[Dim]| dims.iter().all(|dim| dim.is(1));
        if *last == *len && ones(front) && *len == self.keys {
            return Some(Side::Key(start.clone()));
        }
        let (row, rest) = front.split_last()?;
        (last.is(1) && ones(rest) && row == len && *len == self.queries).then(|| Side::Query(start.clone()))
    }
}

impl Side {
    fn plus(self, number: Dim) -> Side {
        match self {
            Side::Key(have) => Side::Key(have + number),
            Side::Query(have) => Side::Query(have + number),
        }
    }
}

/// The comparison that holds exactly where `op` does not.
fn opposite(op: BinaryOp) -> Option<BinaryOp> {
    Some(match op {
        BinaryOp::Le => BinaryOp::Gt,
        BinaryOp::Lt => BinaryOp::Ge,
        BinaryOp::Ge => BinaryOp::Lt,
        BinaryOp::Gt => BinaryOp::Le,
        _ => return None,
    })
}

/// The comparison with its operands swapped.
fn mirrored(op: BinaryOp) -> Option<BinaryOp> {
    Some(match op {
        BinaryOp::Le => BinaryOp::Ge,
        BinaryOp::Lt => BinaryOp::Gt,
        BinaryOp::Ge => BinaryOp::Le,
        BinaryOp::Gt => BinaryOp::Lt,
        _ => return None,
    })
}
