//! Values of a loop's body as sums of products.
//!
//! `expand(value, index)` writes the element of a value at an index as a sum of monomials. A monomial is a number, reads
//! of the state, factors that do not depend on the state, and the indices that are summed over. An index has one entry
//! for every axis: a variable, or nothing for an axis of size 1. So `matmul(k as row, S)`, `sum(S * k as column)` and
//! every other spelling of the same contraction are the same monomial.
//!
//! Only what is linear in the state can be written so; everything else is an error that says which operator it is.

use std::collections::BTreeSet;

use qwenc_ir::op::ReduceKind;
use qwenc_ir::{BinaryOp, DType, Dim, Expr, Graph, Op, Scalar, UnaryOp, ValueId};

use crate::onnx::values::{Result, fault};

/// Most monomials of one value, and most factors of one monomial: the rule has three and about eight.
const MAX_MONOMIALS: usize = 32;
const MAX_FACTORS: usize = 32;
/// Most operators looked at for one body. Shared values are looked at once for every use.
const MAX_STEPS: usize = 1 << 14;
/// Most operators on one path.
const MAX_DEPTH: usize = 128;
/// Largest pointwise expression of one factor.
const MAX_EXPR: usize = 64;

/// The index along one axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Index {
    /// The axis has size 1.
    Unit,
    /// A variable.
    Var(u32),
}

/// An element of a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Read {
    pub(super) value: ValueId,
    pub(super) index: Vec<Index>,
}

/// A factor that does not depend on the state: a pointwise expression over elements.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Factor {
    pub(super) expr: Expr,
    pub(super) reads: Vec<Read>,
}

impl Factor {
    /// The variables that it depends on.
    pub(super) fn vars(&self) -> BTreeSet<u32> {
        let indices = self.reads.iter().flat_map(|read| &read.index);
        indices.filter_map(|index| if let Index::Var(var) = index { Some(*var) } else { None }).collect()
    }

    /// The factor with one variable replaced by another.
    pub(super) fn renamed(&self, from: u32, to: u32) -> Self {
        let mut new = self.clone();
        for index in new.reads.iter_mut().flat_map(|read| &mut read.index) {
            if *index == Index::Var(from) {
                *index = Index::Var(to);
            }
        }
        new
    }
}

/// A product.
#[derive(Clone, Debug)]
pub(super) struct Monomial {
    pub(super) number: f32,
    pub(super) factors: Vec<Factor>,
    /// Reads of the state, or of what stands for it.
    pub(super) states: Vec<Read>,
    /// Variables that are summed over.
    pub(super) sums: Vec<u32>,
}

/// Writes values of one body as sums of products.
pub(super) struct Algebra<'a> {
    graph: &'a Graph,
    /// Values that stand for themselves although they depend on the state.
    stops: Vec<ValueId>,
    dependent: BTreeSet<ValueId>,
    next: u32,
    steps: usize,
}

impl<'a> Algebra<'a> {
    /// `stops` are read as such: the state, and what is already understood.
    pub(super) fn new(graph: &'a Graph, state: ValueId, stops: &[ValueId]) -> Result<Self> {
        let Ok(order) = graph.topo_order() else { fault!("the body has a cycle") };
        let mut dependent = BTreeSet::from([state]);
        for node in order {
            if graph.node_inputs(node).iter().flatten().any(|input| dependent.contains(input)) {
                dependent.extend(graph.node_outputs(node));
            }
        }
        Ok(Self { graph, stops: stops.to_vec(), dependent, next: 0, steps: 0 })
    }

    /// A fresh index for every axis of a value.
    pub(super) fn indices(&mut self, value: ValueId) -> Vec<Index> {
        let shape = self.graph.value(value).ty.shape.clone();
        shape.iter().map(|dim| self.fresh(dim)).collect()
    }

    fn fresh(&mut self, dim: &Dim) -> Index {
        if dim.is(1) {
            return Index::Unit;
        }
        self.next += 1;
        Index::Var(self.next)
    }

    fn shape(&self, value: ValueId) -> &'a [Dim] {
        &self.graph.value(value).ty.shape
    }

    fn step(&mut self, depth: usize) -> Result<()> {
        self.steps += 1;
        if self.steps > MAX_STEPS || depth > MAX_DEPTH {
            fault!("the body is too large to compare with the rule");
        }
        Ok(())
    }

    /// The element of `value` at `index` as a sum.
    pub(super) fn expand(&mut self, value: ValueId, index: &[Index]) -> Result<Vec<Monomial>> {
        self.expand_at(value, index, 0)
    }

    fn expand_at(&mut self, value: ValueId, index: &[Index], depth: usize) -> Result<Vec<Monomial>> {
        self.step(depth)?;
        if self.stops.contains(&value) {
            let read = Read { value, index: index.to_vec() };
            return Ok(vec![Monomial { number: 1.0, factors: vec![], states: vec![read], sums: vec![] }]);
        }
        if !self.dependent.contains(&value) {
            return Ok(vec![self.independent(value, index, depth)?]);
        }
        let Some((node, op)) = self.graph.producer_op(value) else {
            fault!("the state is read where it is not expected");
        };
        let inputs = self.graph.node_inputs(node);
        let input = |slot: usize| match inputs.get(slot).copied().flatten() {
            Some(input) => Ok(input),
            None => Err(crate::onnx::values::Fault::new("an operand of the body is missing")),
        };
        match op {
            Op::Elementwise(expr) => {
                let reads: Vec<(ValueId, Vec<Index>)> = inputs
                    .iter()
                    .flatten()
                    .map(|input| (*input, broadcast_index(self.shape(*input), index)))
                    .collect();
                self.pointwise(expr, &reads, depth + 1)
            }
            Op::Reduce { kind: ReduceKind::Sum, axes, keep_dims } => {
                let x = input(0)?;
                let mut inner = Vec::new();
                let mut sums = Vec::new();
                let mut rest = index.iter();
                for (axis, dim) in self.shape(x).iter().enumerate() {
                    if axes.contains(&axis) {
                        if *keep_dims {
                            rest.next();
                        }
                        let fresh = self.fresh(dim);
                        sums.extend(if let Index::Var(var) = fresh { Some(var) } else { None });
                        inner.push(fresh);
                    } else {
                        inner.push(rest.next().copied().unwrap_or(Index::Unit));
                    }
                }
                let mut terms = self.expand_at(x, &inner, depth + 1)?;
                terms.iter_mut().for_each(|term| term.sums.extend(&sums));
                Ok(terms)
            }
            Op::MatMul { transpose_a, transpose_b } => {
                let (a, b) = (input(0)?, input(1)?);
                let [batch @ .., row, column] = index else { fault!("a matrix product has no rows") };
                let Some(depth_dim) = self.shape(a).iter().rev().nth(usize::from(*transpose_a)).cloned()
                else {
                    fault!("a matrix product has no rows");
                };
                let middle = self.fresh(&depth_dim);
                let side = |swap: bool, first: Index, second: Index| {
                    let pair = if swap { [second, first] } else { [first, second] };
                    batch.iter().copied().chain(pair).collect::<Vec<_>>()
                };
                let left = broadcast_index(self.shape(a), &side(*transpose_a, *row, middle));
                let right = broadcast_index(self.shape(b), &side(*transpose_b, middle, *column));
                let left = self.expand_at(a, &left, depth + 1)?;
                let right = self.expand_at(b, &right, depth + 1)?;
                let mut terms = multiply(&left, &right)?;
                if let Index::Var(var) = middle {
                    terms.iter_mut().for_each(|term| term.sums.push(var));
                }
                Ok(terms)
            }
            _ => match self.through_view(op, input(0)?, index) {
                Some((base, index)) => self.expand_at(base, &index, depth + 1),
                None => fault!("the state goes through the operator `{}`", op.name()),
            },
        }
    }

    /// A pointwise expression over elements of which some depend on the state.
    fn pointwise(
        &mut self,
        expr: &Expr,
        reads: &[(ValueId, Vec<Index>)],
        depth: usize,
    ) -> Result<Vec<Monomial>> {
        self.step(depth)?;
        let depends = |at: usize| reads.get(at).is_some_and(|(value, _)| self.dependent.contains(value));
        if !mentions(expr, &depends) {
            let mut factor = Factor { expr: Expr::Arg(0), reads: vec![] };
            factor.expr = self.inline(expr, reads, &mut factor.reads, depth)?;
            return Ok(vec![split(&factor)]);
        }
        match expr {
            Expr::Arg(at) => match reads.get(*at) {
                Some((value, index)) => self.expand_at(*value, &index.clone(), depth + 1),
                None => fault!("an operand of the body is missing"),
            },
            Expr::Unary(UnaryOp::Neg, a) => Ok(negated(self.pointwise(a, reads, depth + 1)?)),
            // A state that is narrower than f32 is widened and narrowed around the update; the rule computes in f32.
            Expr::Cast(DType::F32 | DType::F16 | DType::Bf16, a) => self.pointwise(a, reads, depth + 1),
            Expr::Binary(op @ (BinaryOp::Add | BinaryOp::Sub), a, b) => {
                let mut terms = self.pointwise(a, reads, depth + 1)?;
                let right = self.pointwise(b, reads, depth + 1)?;
                terms.extend(if *op == BinaryOp::Sub { negated(right) } else { right });
                if terms.len() > MAX_MONOMIALS {
                    fault!("the body is too large to compare with the rule");
                }
                Ok(terms)
            }
            Expr::Binary(BinaryOp::Mul, a, b) => {
                let (left, right) =
                    (self.pointwise(a, reads, depth + 1)?, self.pointwise(b, reads, depth + 1)?);
                multiply(&left, &right)
            }
            Expr::Binary(BinaryOp::Div, a, b) if !mentions(b, &depends) => {
                let inverse = b.as_ref().clone().unary(UnaryOp::Recip);
                let (left, right) =
                    (self.pointwise(a, reads, depth + 1)?, self.pointwise(&inverse, reads, depth + 1)?);
                multiply(&left, &right)
            }
            _ => fault!("the state goes through a pointwise function that is no sum and no product"),
        }
    }

    /// A value that does not depend on the state.
    fn independent(&mut self, value: ValueId, index: &[Index], depth: usize) -> Result<Monomial> {
        let mut reads = Vec::new();
        let expr = self.scalar(value, index, &mut reads, depth)?;
        Ok(split(&Factor { expr, reads }))
    }

    /// An expression for one element: pointwise operators are inlined, views followed, everything else is read.
    fn scalar(
        &mut self,
        value: ValueId,
        index: &[Index],
        reads: &mut Vec<Read>,
        depth: usize,
    ) -> Result<Expr> {
        self.step(depth)?;
        if let Some((node, op)) = self.graph.producer_op(value) {
            let inputs = self.graph.node_inputs(node);
            if let Op::Elementwise(expr) = op {
                let inner: Vec<(ValueId, Vec<Index>)> = inputs
                    .iter()
                    .flatten()
                    .map(|input| (*input, broadcast_index(self.shape(*input), index)))
                    .collect();
                return self.inline(expr, &inner, reads, depth + 1);
            }
            if let Some((base, inner)) =
                inputs.first().copied().flatten().and_then(|x| self.through_view(op, x, index))
            {
                return self.scalar(base, &inner, reads, depth + 1);
            }
        }
        let read = Read { value, index: index.to_vec() };
        let at = reads.iter().position(|have| *have == read).unwrap_or_else(|| {
            reads.push(read);
            reads.len() - 1
        });
        Ok(Expr::Arg(at))
    }

    fn inline(
        &mut self,
        expr: &Expr,
        inner: &[(ValueId, Vec<Index>)],
        reads: &mut Vec<Read>,
        depth: usize,
    ) -> Result<Expr> {
        let mut arguments = Vec::with_capacity(inner.len());
        for (value, index) in inner {
            arguments.push(self.scalar(*value, index, reads, depth + 1)?);
        }
        let expr = expr.map_args(&mut |at| arguments.get(at).cloned().unwrap_or(Expr::Arg(at)));
        if expr.size() > MAX_EXPR {
            fault!("a factor of the body is too large to compare with the rule");
        }
        Ok(expr)
    }

    /// The value behind a view, and where in it an element lies.
    fn through_view(&self, op: &Op, x: ValueId, index: &[Index]) -> Option<(ValueId, Vec<Index>)> {
        let from = self.shape(x);
        match op {
            Op::Expand { .. } => Some((x, broadcast_index(from, index))),
            Op::Transpose { perm } => {
                let mut inner = vec![Index::Unit; from.len()];
                for (axis, entry) in perm.iter().zip(index) {
                    *inner.get_mut(*axis)? = *entry;
                }
                Some((x, inner))
            }
            Op::Reshape { shape: to } => {
                // Axes of size 1 come and go; the others keep their order.
                let kept = |shape: &[Dim]| shape.iter().filter(|dim| !dim.is(1)).cloned().collect::<Vec<_>>();
                if kept(from) != kept(to) {
                    return None;
                }
                let mut rest = to.iter().zip(index).filter(|(dim, _)| !dim.is(1)).map(|(_, entry)| *entry);
                let entry = |dim: &Dim| if dim.is(1) { Some(Index::Unit) } else { rest.next() };
                Some((x, from.iter().map(entry).collect::<Option<_>>()?))
            }
            _ => None,
        }
    }
}

/// Where an operand of shape `shape` is read, when it broadcasts to a result that is read at `index`.
fn broadcast_index(shape: &[Dim], index: &[Index]) -> Vec<Index> {
    let skipped = index.len().saturating_sub(shape.len());
    let own = index.iter().skip(skipped);
    shape.iter().zip(own).map(|(dim, entry)| if dim.is(1) { Index::Unit } else { *entry }).collect()
}

/// True when an argument for which `test` holds occurs in the expression.
fn mentions(expr: &Expr, test: &dyn Fn(usize) -> bool) -> bool {
    match expr {
        Expr::Arg(at) => test(*at),
        _ => expr.children().into_iter().any(|child| mentions(child, test)),
    }
}

fn negated(mut terms: Vec<Monomial>) -> Vec<Monomial> {
    terms.iter_mut().for_each(|term| term.number = -term.number);
    terms
}

fn multiply(left: &[Monomial], right: &[Monomial]) -> Result<Vec<Monomial>> {
    if left.len().saturating_mul(right.len()) > MAX_MONOMIALS {
        fault!("the body is too large to compare with the rule");
    }
    let mut terms = Vec::new();
    for a in left {
        for b in right {
            let mut term = a.clone();
            term.number *= b.number;
            term.factors.extend(b.factors.iter().cloned());
            term.states.extend(b.states.iter().cloned());
            term.sums.extend(&b.sums);
            if term.factors.len() > MAX_FACTORS {
                fault!("the body is too large to compare with the rule");
            }
            terms.push(term);
        }
    }
    Ok(terms)
}

/// The factors of a product as factors of their own.
fn split(factor: &Factor) -> Monomial {
    let mut out = Monomial { number: 1.0, factors: vec![], states: vec![], sums: vec![] };
    split_into(&factor.expr, &factor.reads, &mut out);
    out
}

fn split_into(expr: &Expr, reads: &[Read], out: &mut Monomial) {
    match expr {
        Expr::Const(Scalar::F32(value)) => out.number *= value,
        Expr::Unary(UnaryOp::Neg, a) => {
            out.number = -out.number;
            split_into(a, reads, out);
        }
        Expr::Binary(BinaryOp::Mul, a, b) => {
            split_into(a, reads, out);
            split_into(b, reads, out);
        }
        Expr::Binary(BinaryOp::Div, a, b) => {
            split_into(a, reads, out);
            split_into(&b.as_ref().clone().unary(UnaryOp::Recip), reads, out);
        }
        Expr::Unary(UnaryOp::Recip, a) => match &**a {
            Expr::Const(Scalar::F32(value)) if *value != 0.0 => out.number /= value,
            _ => out.factors.push(compacted(expr, reads)),
        },
        other => out.factors.push(compacted(other, reads)),
    }
}

/// The factor with its own reads only, in the order in which the expression mentions them.
fn compacted(expr: &Expr, reads: &[Read]) -> Factor {
    let mut own: Vec<Read> = Vec::new();
    let expr = expr.map_args(&mut |at| {
        let Some(read) = reads.get(at) else { return Expr::Arg(at) };
        let position = own.iter().position(|have| have == read).unwrap_or_else(|| {
            own.push(read.clone());
            own.len() - 1
        });
        Expr::Arg(position)
    });
    Factor { expr, reads: own }
}
