//! Computes what a body needs of its operands outside of the loop, for all positions at once.
//!
//! Everything here is `[positions, ...]`, or `[1, ...]` where it is the same for every position. Only operators that
//! treat every position alone are moved out: pointwise ones, reductions, norms, and views.

use std::collections::BTreeMap;

use qwenc_ir::{BinaryOp, Dim, Expr, Op, ValueId};

use super::algebra::{Factor, Index, Read};
use super::delta_rule::Role;
use super::{Body, Operand};
use crate::onnx::values::{Builder, Result, V, fault};

/// Computes values of one body outside of it.
pub(super) struct Hoist<'a> {
    b: &'a mut Builder,
    body: &'a Body,
    /// What has been computed already.
    done: BTreeMap<ValueId, V>,
}

impl<'a> Hoist<'a> {
    pub(super) fn new(b: &'a mut Builder, body: &'a Body) -> Self {
        Self { b, body, done: BTreeMap::new() }
    }

    /// The product of factors as `[positions, roles...]`, each axis of full size or 1; `None` without factors.
    pub(super) fn product(&mut self, factors: &[Factor], roles: &[Role]) -> Result<Option<V>> {
        self.combined(factors, roles, BinaryOp::Mul)
    }

    /// Likewise their sum.
    pub(super) fn sum(&mut self, summands: &[Factor], roles: &[Role]) -> Result<Option<V>> {
        self.combined(summands, roles, BinaryOp::Add)
    }

    fn combined(&mut self, factors: &[Factor], roles: &[Role], op: BinaryOp) -> Result<Option<V>> {
        let mut all: Option<V> = None;
        for factor in factors {
            let mut arguments = Vec::with_capacity(factor.reads.len());
            for read in &factor.reads {
                arguments.push(self.aligned(read, roles)?);
            }
            let v = match (&factor.expr, arguments.as_slice()) {
                (Expr::Arg(0), [only]) => *only,
                _ => self.b.pointwise(&factor.expr, &arguments)?,
            };
            all = Some(match all {
                None => v,
                Some(before) => self.b.pointwise(&Expr::Arg(0).binary(op, Expr::Arg(1)), &[before, v])?,
            });
        }
        Ok(all)
    }

    /// What a read gives, with its axes in the order of the roles.
    fn aligned(&mut self, read: &Read, roles: &[Role]) -> Result<V> {
        let v = self.value(read.value)?;
        let mut perm = vec![0];
        let mut shape = vec![self.b.shape(v)[0].clone()];
        for role in roles {
            let Role::Axis(var) = role else {
                shape.push(Dim::constant(1));
                continue;
            };
            let axes: Vec<usize> =
                (0..read.index.len()).filter(|at| read.index.get(*at) == Some(&Index::Var(*var))).collect();
            match axes.as_slice() {
                [] => shape.push(Dim::constant(1)),
                [axis] => {
                    perm.push(axis + 1);
                    shape.push(self.b.shape(v)[axis + 1].clone());
                }
                _ => fault!("a factor of the body is the diagonal of a tensor"),
            }
        }
        let used = perm.len() - 1;
        if used != read.index.iter().filter(|entry| **entry != Index::Unit).count() {
            fault!("a factor of the body depends on an axis that it should not");
        }
        // The axes that are left have size 1.
        perm.extend((1..=read.index.len()).filter(|axis| !perm.contains(axis)).collect::<Vec<_>>());
        let v = self.b.transpose(v, &perm)?;
        self.b.reshape(v, &shape)
    }

    /// A value of the body that does not depend on the state.
    fn value(&mut self, value: ValueId) -> Result<V> {
        if let Some(v) = self.done.get(&value) {
            return Ok(*v);
        }
        let v = self.compute(value)?;
        self.done.insert(value, v);
        Ok(v)
    }

    fn compute(&mut self, value: ValueId) -> Result<V> {
        let graph = &self.body.graph;
        match self.body.operands.get(&value) {
            Some(Operand::Element(v)) => return Ok(*v),
            Some(Operand::Same(v)) => return self.same(*v),
            None => {}
        }
        if let Some(tensor) = graph.constant(value) {
            let v = self.b.constant(&graph.value(value).name, tensor.clone())?;
            return self.same(v);
        }
        let Some((node, op)) = graph.producer_op(value) else {
            fault!("a value of the body comes from nowhere");
        };
        let (op, slots) = (op.clone(), graph.node_inputs(node));
        let mut inputs = Vec::new();
        for input in slots.iter().flatten() {
            inputs.push(self.value(*input)?);
        }
        let rank = graph.value(value).ty.rank();
        let positions = inputs.first().map(|v| self.b.shape(*v)[0].clone()).unwrap_or(Dim::constant(1));
        let behind = |shape: Vec<Dim>| [positions.clone()].into_iter().chain(shape).collect::<Vec<_>>();
        match (op, inputs.as_slice()) {
            (Op::Elementwise(expr), inputs) => {
                let mut aligned = Vec::with_capacity(inputs.len());
                for input in inputs {
                    // Behind the positions, axes line up from the right.
                    let shape = self.b.shape(*input).to_vec();
                    let missing = (rank + 1).saturating_sub(shape.len());
                    let mut padded = vec![shape[0].clone()];
                    padded.extend(vec![Dim::constant(1); missing]);
                    padded.extend(shape[1..].iter().cloned());
                    aligned.push(self.b.reshape(*input, &padded)?);
                }
                self.b.pointwise(&expr, &aligned)
            }
            (Op::Reduce { kind, axes, keep_dims }, [x]) => {
                let axes = axes.iter().map(|axis| axis + 1).collect();
                self.b.apply(Op::Reduce { kind, axes, keep_dims }, &[*x])
            }
            (op @ (Op::L2Norm { .. } | Op::RmsNorm { gate: None, .. }), [x, rest @ ..]) => {
                let mut operands = vec![*x];
                for weight in rest {
                    // A weight has no positions.
                    let shape = self.b.shape(*weight)[1..].to_vec();
                    operands.push(self.b.reshape(*weight, &shape)?);
                }
                self.b.apply(op, &operands)
            }
            (Op::Reshape { shape }, [x]) => self.b.reshape(*x, &behind(shape)),
            (Op::Expand { shape }, [x]) => {
                let shape = behind(shape);
                let missing = shape.len() - self.b.rank(*x);
                let own = self.b.shape(*x).to_vec();
                let mut padded = vec![own[0].clone()];
                padded.extend(vec![Dim::constant(1); missing]);
                padded.extend(own[1..].iter().cloned());
                let x = self.b.reshape(*x, &padded)?;
                self.b.expand(x, &shape)
            }
            (Op::Transpose { perm }, [x]) => {
                let perm: Vec<usize> = [0].into_iter().chain(perm.iter().map(|axis| axis + 1)).collect();
                self.b.transpose(*x, &perm)
            }
            (Op::Slice { axis, start, len, step }, [x]) => self.b.slice(*x, axis + 1, &start, &len, step),
            (op, _) => fault!("the operator `{}` cannot be moved out of the loop", op.name()),
        }
    }

    /// Something that is the same for every position.
    fn same(&mut self, v: V) -> Result<V> {
        let mut shape = vec![Dim::constant(1)];
        shape.extend(self.b.shape(v).iter().cloned());
        self.b.reshape(v, &shape)
    }
}
