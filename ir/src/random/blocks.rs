//! Steps that are whole blocks of a model, with their states.

use super::Builder;
use crate::dim::Dim;
use crate::dtype::DType;
use crate::expr::{Expr, UnaryOp};
use crate::graph::{State, StateKind, ValueId, ValueType};
use crate::op::{
    Activation, AttentionAttrs, GatedDeltaAttrs, Op, Real, RopeAttrs, RopeSource, attention, gated_delta,
};

fn tokens() -> Dim {
    Dim::sym("tokens")
}

impl Builder {
    /// A value `[1,tokens,C]`, made from a weight-free pool value by a product.
    fn sequence(&mut self, channels: usize) -> Option<ValueId> {
        let is_sequence = |ty: &ValueType| {
            ty.rank() == 3 && ty.shape[0].is(1) && ty.shape[1] == tokens() && ty.shape[2].as_usize() > Some(0)
        };
        let x = self.float_value(is_sequence)?;
        let width = self.ty(x).shape[2].as_usize()?;
        let weight = self.constant(&[width, channels], 0.7)?;
        self.apply(Op::MatMul { transpose_a: false, transpose_b: false }, &[x, weight])
    }

    /// A value `[1,tokens,heads,width]`.
    fn heads(&mut self, heads: usize, width: usize) -> Option<ValueId> {
        let flat = self.sequence(heads * width)?;
        let shape = vec![Dim::constant(1), tokens(), heads.into(), width.into()];
        self.apply(Op::Reshape { shape }, &[flat])
    }

    fn flatten(&mut self, x: ValueId) -> Option<ValueId> {
        let ty = self.ty(x);
        let width = ty.shape.get(2)?.clone() * ty.shape.get(3)?.clone();
        self.apply(Op::Reshape { shape: vec![Dim::constant(1), tokens(), width] }, &[x])
    }

    fn past(&mut self, what: &str, shape: Vec<Dim>) -> Option<ValueId> {
        self.states += 1;
        let name = format!("past_{what}.{}", self.states);
        self.input(&name, ValueType { dtype: DType::F32, shape })
    }

    fn state(&mut self, kind: StateKind, past: ValueId, present: ValueId) {
        let name = self.graph.value(past).name.replace("past_", "");
        self.graph.add_state(State { name, kind, past, present });
    }

    fn tables(&mut self, half: usize) -> Option<[ValueId; 2]> {
        Some([self.constant(&[16, half], 1.0)?, self.constant(&[16, half], 1.0)?])
    }

    /// Positions of two axes, `[2,1,tokens]`.
    fn positions(&mut self) -> Option<ValueId> {
        let row = self.apply(Op::Range { start: Dim::sym("past"), step: 1, len: tokens() }, &[])?;
        let shape = vec![Dim::constant(2), Dim::constant(1), tokens()];
        self.apply(Op::Expand { shape }, &[row])
    }

    /// Segments `[tokens,2]`: position s sees the positions from s - 1 to s + 1, as far as there are any.
    fn segments(&mut self) -> Option<ValueId> {
        let mut columns = Vec::new();
        for start in [-1, 2] {
            let row = self.apply(Op::Range { start: Dim::constant(start), step: 1, len: tokens() }, &[])?;
            columns.push(self.apply(Op::Reshape { shape: vec![tokens(), Dim::constant(1)] }, &[row])?);
        }
        self.apply(Op::Concat { axis: 1 }, &columns)
    }

    pub(super) fn rope(&mut self) -> Option<ValueId> {
        let x = self.heads(2, 6)?;
        let interleaved = self.rng.one_in(2);
        if self.rng.one_in(2) {
            let angles = self.sequence(2)?;
            let cos = self.apply(Op::Elementwise(Expr::Arg(0).unary(UnaryOp::Cos)), &[angles])?;
            let sin = self.apply(Op::Elementwise(Expr::Arg(0).unary(UnaryOp::Sin)), &[angles])?;
            let attrs = RopeAttrs { rotary_dim: 4, interleaved, source: RopeSource::Direct };
            return self.apply(Op::Rope(attrs), &[x, cos, sin]);
        }
        let ([cos, sin], positions) = (self.tables(2)?, self.positions()?);
        let attrs = RopeAttrs { rotary_dim: 4, interleaved, source: RopeSource::Table { axes: vec![1, 0] } };
        self.apply(Op::Rope(attrs), &[x, positions, cos, sin])
    }

    pub(super) fn causal_conv(&mut self) -> Option<ValueId> {
        let (channels, taps) = (2 + self.rng.below(4), 1 + self.rng.below(4));
        let x = self.sequence(channels)?;
        let weight = self.constant(&[channels, taps], 1.0)?;
        let bias = if self.rng.one_in(2) { Some(self.constant(&[channels], 0.5)?) } else { None };
        let window = taps - 1 + self.rng.below(2);
        let past = match self.rng.one_in(3) {
            true => None,
            false => Some(self.past("conv", vec![Dim::constant(1), channels.into(), window.into()])?),
        };
        let activation = if self.rng.one_in(2) { Activation::Silu } else { Activation::Identity };
        let outputs = self.node(Op::CausalConv { activation }, &[Some(x), Some(weight), bias, past])?;
        let [y, present] = outputs.try_into().ok()?;
        if let Some(past) = past {
            self.state(StateKind::Window, past, present);
        }
        Some(y)
    }

    pub(super) fn attention(&mut self) -> Option<ValueId> {
        let (heads, kv_heads, width, v_width) = (4, 2, 6, 4);
        let mut inputs = vec![None; attention::COUNT];
        inputs[attention::Q] = Some(self.heads(heads, width)?);
        inputs[attention::K] = Some(self.heads(kv_heads, width)?);
        inputs[attention::V] = Some(self.heads(kv_heads, v_width)?);
        let with_state = !self.rng.one_in(4);
        if with_state {
            let shape =
                |width: usize| vec![Dim::constant(1), kv_heads.into(), Dim::sym("past"), width.into()];
            inputs[attention::PAST_K] = Some(self.past("key", shape(width))?);
            inputs[attention::PAST_V] = Some(self.past("value", shape(v_width))?);
        }
        let segmented = !with_state && self.rng.one_in(2);
        if segmented {
            inputs[attention::SEGMENTS] = Some(self.segments()?);
        }
        let qk_norm = self.rng.one_in(2).then_some(Real(1e-6));
        if qk_norm.is_some() {
            inputs[attention::Q_NORM] = Some(self.constant(&[width], 1.0)?);
            inputs[attention::K_NORM] = Some(self.constant(&[width], 1.0)?);
        }
        let source = RopeSource::Table { axes: vec![0, 1] };
        let rope = self.rng.one_in(2).then_some(RopeAttrs { rotary_dim: 4, interleaved: false, source });
        if rope.is_some() {
            inputs[attention::POSITIONS] = Some(self.positions()?);
            let [cos, sin] = self.tables(2)?;
            (inputs[attention::COS], inputs[attention::SIN]) = (Some(cos), Some(sin));
        }
        let gate = self.rng.one_in(2).then_some(Activation::Sigmoid);
        if gate.is_some() {
            inputs[attention::GATE] = Some(self.heads(heads, v_width)?);
        }
        let (scale, causal) = (Real(0.4), !segmented);
        let attrs = AttentionAttrs { scale, causal, present: with_state, qk_norm, rope, gate };
        let outputs = self.node(Op::Attention(Box::new(attrs)), &inputs)?;
        if let [_, keys, values] = outputs.as_slice() {
            self.state(StateKind::KvCache, inputs[attention::PAST_K]?, *keys);
            self.state(StateKind::KvCache, inputs[attention::PAST_V]?, *values);
        }
        self.flatten(*outputs.first()?)
    }

    pub(super) fn gated_delta(&mut self) -> Option<ValueId> {
        let (k_heads, v_heads, dk, dv) = (2, 4, 4, 3);
        let raw_gates = self.rng.one_in(2);
        let mut inputs = vec![None; gated_delta::COUNT];
        inputs[gated_delta::Q] = Some(self.heads(k_heads, dk)?);
        inputs[gated_delta::K] = Some(self.heads(k_heads, dk)?);
        inputs[gated_delta::V] = Some(self.heads(v_heads, dv)?);
        let with_state = !self.rng.one_in(4);
        if with_state {
            let shape = vec![Dim::constant(1), v_heads.into(), dk.into(), dv.into()];
            inputs[gated_delta::PAST] = Some(self.past("recurrent", shape)?);
        }
        let (mut decay, mut beta) = (self.sequence(v_heads)?, self.sequence(v_heads)?);
        if raw_gates {
            let neg_exp = Expr::Arg(0).unary(UnaryOp::Exp).unary(UnaryOp::Neg);
            let a_log = self.constant(&[v_heads], 1.0)?;
            inputs[gated_delta::NEG_EXP_A] = Some(self.apply(Op::Elementwise(neg_exp), &[a_log])?);
            inputs[gated_delta::DT_BIAS] = Some(self.constant(&[v_heads], 1.0)?);
        } else {
            let negative = Expr::Arg(0).unary(UnaryOp::Softplus).unary(UnaryOp::Neg);
            decay = self.apply(Op::Elementwise(negative), &[decay])?;
            beta = self.apply(Op::Elementwise(Expr::Arg(0).unary(UnaryOp::Sigmoid)), &[beta])?;
        }
        (inputs[gated_delta::DECAY], inputs[gated_delta::BETA]) = (Some(decay), Some(beta));
        // Keys of unit length keep the rule stable.
        let attrs = GatedDeltaAttrs { scale: Real(0.5), qk_norm: Some(Real(1e-6)), raw_gates };
        let outputs = self.node(Op::GatedDelta(attrs), &inputs)?;
        let [out, present] = <[ValueId; 2]>::try_from(outputs).ok()?;
        if with_state {
            self.state(StateKind::Matrix, inputs[gated_delta::PAST]?, present);
        }
        self.flatten(out)
    }
}
