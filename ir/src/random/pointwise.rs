//! Steps that compute: pointwise math, products, norms, reductions.

use super::{Builder, TABLE_ROWS};
use crate::dim::Dim;
use crate::dtype::{DType, Scalar};
use crate::expr::{BinaryOp, Expr, UnaryOp};
use crate::graph::{ValueId, ValueType};
use crate::op::{Activation, LinearAttrs, Op, Real, ReduceKind, WeightLayout};

/// The last dim, when it is a constant above zero.
fn width(ty: &ValueType) -> Option<usize> {
    ty.shape.last()?.as_usize().filter(|width| *width > 0)
}

impl Builder {
    /// One to three operands that broadcast, under an expression whose values stay moderate.
    pub(super) fn pointwise(&mut self) -> Option<ValueId> {
        let x = self.float_value(|_| true)?;
        let mut operands = vec![x];
        for _ in 0..self.rng.below(3) {
            let shape = self.ty(x).shape;
            let fits = |ty: &ValueType| crate::infer::broadcast([shape.as_slice(), &ty.shape]).is_ok();
            let other = match self.rng.below(4) {
                0 => self.constant(&[], 2.0)?,
                1 if width(&self.ty(x)).is_some() => self.constant(&[width(&self.ty(x))?], 1.0)?,
                _ => self.float_value(fits)?,
            };
            operands.push(other);
        }
        let expr = self.expression(operands.len());
        self.apply(Op::Elementwise(expr), &operands)
    }

    /// An expression that reads every one of `count` arguments.
    fn expression(&mut self, count: usize) -> Expr {
        let mut expr = self.unary_expression(Expr::Arg(0));
        for index in 1..count {
            let other = self.unary_expression(Expr::Arg(index));
            expr = match self.rng.below(6) {
                0 => expr.binary(BinaryOp::Add, other),
                1 => expr.binary(BinaryOp::Sub, other),
                2 => expr.binary(BinaryOp::Min, other),
                3 => expr.binary(BinaryOp::Max, other),
                // A product of a bounded factor, so that chains do not blow up.
                4 => expr.binary(BinaryOp::Mul, other.unary(UnaryOp::Tanh)),
                _ => expr
                    .binary(BinaryOp::Div, other.unary(UnaryOp::Exp).binary(BinaryOp::Add, Expr::f32(1.0))),
            };
        }
        expr
    }

    fn unary_expression(&mut self, x: Expr) -> Expr {
        let smooth = [
            UnaryOp::Sigmoid,
            UnaryOp::Silu,
            UnaryOp::Tanh,
            UnaryOp::Softplus,
            UnaryOp::Neg,
            UnaryOp::Abs,
            UnaryOp::Erf,
            UnaryOp::Sin,
            UnaryOp::Cos,
            UnaryOp::Atan,
        ];
        match self.rng.below(4) {
            0 => match self.rng.pick(&smooth) {
                Some(op) => x.unary(*op),
                None => x,
            },
            1 => {
                let factor = self.rng.float(-1.5, 1.5);
                Expr::f32(factor).binary(BinaryOp::Mul, x)
            }
            _ => x,
        }
    }

    pub(super) fn compare_and_select(&mut self) -> Option<ValueId> {
        let x = self.float_value(|_| true)?;
        let condition = Expr::Arg(0).binary(BinaryOp::Lt, Expr::f32(self.rng.float(-0.5, 0.5)));
        let mask = self.apply(Op::Elementwise(condition), &[x])?;
        let chosen = Expr::Arg(0).select(Expr::Arg(1), Expr::Arg(1).binary(BinaryOp::Mul, Expr::f32(0.1)));
        self.apply(Op::Elementwise(chosen), &[mask, x])
    }

    pub(super) fn round_trip_cast(&mut self) -> Option<ValueId> {
        let x = self.float_value(|_| true)?;
        let dtype = *self.rng.pick(&[DType::I64, DType::I32, DType::Bool, DType::F16, DType::Bf16])?;
        let whole = self.apply(Op::Elementwise(Expr::Arg(0).cast(dtype)), &[x])?;
        let back = Expr::Arg(0).cast(DType::F32).unary(UnaryOp::Tanh);
        self.apply(Op::Elementwise(back), &[whole])
    }

    pub(super) fn matmul(&mut self) -> Option<ValueId> {
        let x = self.float_value(|ty| ty.rank() >= 2 && width(ty).is_some())?;
        let (k, n) = (width(&self.ty(x))?, 2 + self.rng.below(7));
        let transpose_b = self.rng.one_in(3);
        let shape = if transpose_b { [n, k] } else { [k, n] };
        let dtype = *self.rng.pick(&[DType::F32, DType::F32, DType::F16, DType::Bf16])?;
        let weight = self.stored_constant(&shape, 0.5, dtype)?;
        self.apply(Op::MatMul { transpose_a: false, transpose_b }, &[x, weight])
    }

    /// The fused operator, in a random variety.
    pub(super) fn linear(&mut self) -> Option<ValueId> {
        let x = self.float_value(|ty| width(ty).is_some())?;
        let k = width(&self.ty(x))?;
        let glu = self.rng.one_in(3).then_some(Activation::Silu);
        let norm = self.rng.one_in(2).then_some(Real(1e-6));
        let count = if glu.is_some() { 2 } else { 1 + self.rng.below(3) };
        let equal = 2 + self.rng.below(5);
        let (mut weights, mut inputs) = (Vec::new(), vec![Some(x), None]);
        if norm.is_some() {
            inputs[1] = Some(self.constant(&[k], 1.0)?);
        }
        for index in 0..count {
            let n = if glu.is_some() { equal } else { equal + index };
            let layout = if self.rng.one_in(2) { WeightLayout::KN } else { WeightLayout::NK };
            let shape = if layout == WeightLayout::KN { [k, n] } else { [n, k] };
            inputs.push(Some(self.constant(&shape, 0.5)?));
            weights.push(layout);
        }
        let mut epilogue = None;
        if self.rng.one_in(2) {
            inputs.push(Some(self.constant(&[1], 1.0)?));
            epilogue = Some(Expr::Arg(0).unary(UnaryOp::Silu).binary(BinaryOp::Add, Expr::Arg(1)));
        }
        let attrs = LinearAttrs { weights, norm, glu, epilogue };
        self.node(Op::Linear(Box::new(attrs)), &inputs)?.first().copied()
    }

    pub(super) fn norm(&mut self) -> Option<ValueId> {
        let x = self.float_value(|ty| width(ty).is_some())?;
        let width = width(&self.ty(x))?;
        match self.rng.below(4) {
            0 => self.apply(Op::L2Norm { eps: Real(1e-3) }, &[x]),
            1 => {
                let (scale, bias) = (self.constant(&[width], 1.0)?, self.constant(&[width], 0.5)?);
                let scale = (!self.rng.one_in(3)).then_some(scale);
                self.node(Op::LayerNorm { eps: Real(1e-2) }, &[Some(x), scale, Some(bias)])?.first().copied()
            }
            kind => {
                let weight = self.constant(&[width], 1.0)?;
                let gate = (kind == 2).then_some(Activation::Silu);
                let inputs = if gate.is_some() { vec![x, weight, x] } else { vec![x, weight] };
                self.apply(Op::RmsNorm { eps: Real(1e-3), gate }, &inputs)
            }
        }
    }

    pub(super) fn softmax(&mut self) -> Option<ValueId> {
        let x = self.float_value(|ty| ty.rank() > 0)?;
        let axis = self.axis_of(&self.ty(x))?;
        let log = self.rng.one_in(4);
        self.apply(Op::Softmax { axis, log }, &[x])
    }

    pub(super) fn reduce(&mut self) -> Option<ValueId> {
        use ReduceKind::{L1, L2, LogSumExp, Max, Mean, Min, Sum, SumSquare};
        let x = self.float_value(|ty| ty.rank() > 0)?;
        let ty = self.ty(x);
        // An axis without elements has no largest one, and so no number to compare.
        let axes: Vec<usize> = (0..ty.rank())
            .filter(|axis| self.size(&ty.shape[*axis]) != Some(0) && self.rng.one_in(2))
            .collect();
        let (kind, keep_dims) =
            (*self.rng.pick(&[Mean, Mean, Max, Min, L1, L2, LogSumExp, Sum, SumSquare])?, self.rng.one_in(2));
        let reduced = self.apply(Op::Reduce { kind, axes, keep_dims }, &[x])?;
        self.apply(Op::Elementwise(Expr::Arg(0).unary(UnaryOp::Tanh)), &[reduced])
    }

    pub(super) fn cumsum(&mut self) -> Option<ValueId> {
        let x = self.float_value(|ty| ty.rank() > 0)?;
        let axis = self.axis_of(&self.ty(x))?;
        let (exclusive, reverse) = (self.rng.one_in(2), self.rng.one_in(2));
        self.apply(Op::CumSum { axis, exclusive, reverse }, &[x])
    }

    /// Rows of a table by the input ids, or by a position that was searched for.
    pub(super) fn embedding(&mut self) -> Option<ValueId> {
        let width = 2 + self.rng.below(6);
        let table = self.constant(&[TABLE_ROWS, width], 1.0)?;
        let ids = self.pool.iter().copied().find(|id| self.graph.value(*id).ty.dtype == DType::I64)?;
        self.apply(Op::Gather { axis: 0 }, &[table, ids])
    }

    /// A tensor without inputs, as floats.
    pub(super) fn generated(&mut self) -> Option<ValueId> {
        let tokens = Dim::sym("tokens");
        let op = match self.rng.below(3) {
            0 => Op::Range { start: Dim::sym("past"), step: 1, len: tokens },
            1 => Op::Dims { values: vec![tokens.clone(), tokens + Dim::sym("past"), Dim::constant(3)] },
            _ => {
                let value = Scalar::F32(self.rng.float(-1.0, 1.0));
                Op::Fill { dtype: DType::F32, value, shape: vec![tokens, Dim::constant(2)] }
            }
        };
        let floats = !matches!(op, Op::Fill { .. });
        let value = self.apply(op, &[])?;
        if !floats {
            return Some(value);
        }
        let scaled = Expr::Arg(0).cast(DType::F32).binary(BinaryOp::Mul, Expr::f32(0.125));
        self.apply(Op::Elementwise(scaled), &[value])
    }
}
