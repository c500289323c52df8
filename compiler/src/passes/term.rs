//! Pointwise computations seen as one expression, for matching.
//!
//! A pattern such as `x * sigmoid(x)` may be one node, or several, or partly shared with other users. A [`Term`] hides
//! that: it inlines all pointwise producers of a value into one tree, whose leaves are the values that something else
//! computes. Matching looks at terms only; what a match leaves unused is dead code.

use qwenc_ir::{BinaryOp, Expr, Graph, Op, Scalar, UnaryOp, ValueId};

/// Largest tree that is built. Shared subexpressions are repeated, so this bounds the work as well.
const MAX_NODES: usize = 96;
/// Most operators inlined on one path: enough for every pattern, too few to run down a residual stream.
const MAX_DEPTH: usize = 8;

/// A pointwise expression over leaves: `Arg(i)` stands for `leaves[i]`.
#[derive(Clone, Debug)]
pub(super) struct Term {
    /// The expression.
    pub(super) expr: Expr,
    /// The values that its arguments stand for, each once.
    pub(super) leaves: Vec<ValueId>,
}

impl Term {
    /// The term of a value. A value that no pointwise operator computes is its own leaf.
    pub(super) fn of(graph: &Graph, value: ValueId) -> Self {
        Self::build(graph, value, MAX_DEPTH, &[])
    }

    /// The term of a value with only so many operators inlined on any path.
    pub(super) fn shallow(graph: &Graph, value: ValueId, depth: usize) -> Self {
        Self::build(graph, value, depth, &[])
    }

    /// The term of a value in which `stop` is a leaf, whatever computes it.
    pub(super) fn until(graph: &Graph, value: ValueId, stop: ValueId) -> Self {
        Self::build(graph, value, MAX_DEPTH, &[stop])
    }

    fn build(graph: &Graph, value: ValueId, depth: usize, stop: &[ValueId]) -> Self {
        let mut builder = Builder { graph, stop, budget: MAX_NODES, leaves: Vec::new() };
        let expr = builder.inline(value, depth);
        Self { expr, leaves: builder.leaves }
    }

    /// The leaf that a part of the expression stands for.
    pub(super) fn leaf(&self, expr: &Expr) -> Option<ValueId> {
        match expr {
            Expr::Arg(at) => self.leaves.get(*at).copied(),
            _ => None,
        }
    }
}

struct Builder<'a> {
    graph: &'a Graph,
    stop: &'a [ValueId],
    budget: usize,
    leaves: Vec<ValueId>,
}

impl Builder<'_> {
    fn inline(&mut self, value: ValueId, depth: usize) -> Expr {
        if depth > 0
            && !self.stop.contains(&value)
            && let Some((node, Op::Elementwise(expr))) = self.graph.producer_op(value)
        {
            let inputs = self.graph.node_inputs(node);
            let size = expr.size();
            let complete = (0..expr.arity()).all(|at| inputs.get(at).is_some_and(Option::is_some));
            if size <= self.budget && complete {
                self.budget -= size;
                return expr.map_args(&mut |at| match inputs.get(at).copied().flatten() {
                    Some(input) => self.inline(input, depth - 1),
                    None => Expr::Arg(at),
                });
            }
        }
        let at = self.leaves.iter().position(|leaf| *leaf == value).unwrap_or_else(|| {
            self.leaves.push(value);
            self.leaves.len() - 1
        });
        Expr::Arg(at)
    }
}

/// A product with its factors flattened: all of `over` multiplied, divided by all of `under`.
#[derive(Debug, Default)]
pub(super) struct Product<'a> {
    /// Numerators.
    pub(super) over: Vec<&'a Expr>,
    /// Denominators.
    pub(super) under: Vec<&'a Expr>,
}

impl<'a> Product<'a> {
    /// The factors of an expression. What is no product is its own single factor.
    pub(super) fn of(expr: &'a Expr) -> Self {
        let mut product = Self::default();
        product.collect(expr, true);
        product
    }

    fn collect(&mut self, expr: &'a Expr, over: bool) {
        match expr {
            Expr::Binary(BinaryOp::Mul, a, b) => {
                self.collect(a, over);
                self.collect(b, over);
            }
            Expr::Binary(BinaryOp::Div, a, b) => {
                self.collect(a, over);
                self.collect(b, !over);
            }
            Expr::Unary(UnaryOp::Recip, a) => self.collect(a, !over),
            Expr::Const(Scalar::F32(1.0)) => {}
            other if over => self.over.push(other),
            other => self.under.push(other),
        }
    }
}

/// The value of a float constant.
pub(super) fn as_f32(expr: &Expr) -> Option<f32> {
    match expr {
        Expr::Const(Scalar::F32(value)) => Some(*value),
        _ => None,
    }
}

/// The operands of a commutative operator with the constant second: `x` and `c` of `x + c` or `c + x`.
pub(super) fn with_constant(expr: &Expr, op: BinaryOp) -> Option<(&Expr, f32)> {
    match expr {
        Expr::Binary(have, a, b) if *have == op => {
            as_f32(b).map(|c| (&**a, c)).or_else(|| as_f32(a).map(|c| (&**b, c)))
        }
        _ => None,
    }
}
