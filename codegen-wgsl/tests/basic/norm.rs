//! Norms of rows in any layout.

use qwenc_codegen_wgsl::norm::{NormKind, NormParams, kernel};
use qwenc_codegen_wgsl::{Elem, View};
use qwenc_ir::{Activation, Dim, Op, Real};

use crate::device::{Random, sym};
use crate::{CLOSE, EXACT, Symbol, dims, floats, gapped, hold, hold_to, view};

const EPS: f32 = 1e-5;

fn check(what: &str, symbols: &[Symbol], kind: NormKind, input: &View, gate: Option<&View>, output: &View) {
    let mut random = Random::new(5);
    let width = input.shape.last().unwrap().clone();
    let weight = view(10, Elem::F32, std::slice::from_ref(&width));
    let bias = view(11, Elem::F32, std::slice::from_ref(&width));
    let activation = gate.map(|_| Activation::Silu);
    let (op, inputs): (Op, Vec<&View>) = match kind {
        NormKind::Rms => {
            let op = Op::RmsNorm { eps: Real(EPS), gate: activation };
            (op, [input, &weight].into_iter().chain(gate).collect())
        }
        NormKind::L2 => (Op::L2Norm { eps: Real(EPS) }, vec![input]),
        NormKind::Layer => (Op::LayerNorm { eps: Real(EPS) }, vec![input, &weight, &bias]),
    };
    let operands: Vec<_> =
        inputs.into_iter().map(|view| (view.clone(), floats(symbols, view, &mut random, 2.0))).collect();
    let params = NormParams {
        kind,
        eps: EPS,
        input: input.clone(),
        weight: (kind != NormKind::L2).then_some(weight),
        bias: (kind == NormKind::Layer).then_some(bias),
        gate: gate.cloned().zip(activation),
        output: output.clone(),
    };
    hold(what, symbols, &op, &operands, output, CLOSE, |symbols| kernel(symbols, &params));
}

#[test]
fn rows_of_every_width() {
    let symbols = [("tokens", 300, 19)];
    for width in [1, 3, 16, 37, 128, 257, 1024, 2501] {
        for kind in [NormKind::Rms, NormKind::L2, NormKind::Layer] {
            let shape = [sym("tokens"), Dim::constant(width)];
            let input = gapped(0, Elem::F32, &shape, 3, 2);
            let output = gapped(1, Elem::F32, &shape, 1, 4);
            check(&format!("{kind:?} {width}"), &symbols, kind, &input, None, &output);
        }
    }
}

#[test]
fn heads_cut_out_of_a_projection() {
    let symbols = [("past", 9, 3), ("tokens", 300, 23)];
    let shape = [Dim::constant(1), sym("tokens"), Dim::constant(5), Dim::constant(48)];
    let mut input = view(0, Elem::F32, &shape);
    input.strides =
        [sym("tokens") * Dim::constant(700), Dim::constant(700), Dim::constant(50), Dim::constant(1)]
            .to_vec();
    input.offset = Dim::constant(13) + sym("past");
    let mut gate = input.clone();
    gate.buffer = qwenc_codegen_wgsl::BufferKey(2);
    let output = view(1, Elem::F32, &shape);
    check("gated heads", &symbols, NormKind::Rms, &input, Some(&gate), &output);
    check("heads", &symbols, NormKind::L2, &input, None, &output);
}

#[test]
fn in_place_and_transposed() {
    let symbols = [("tokens", 300, 70)];
    let stored = view(0, Elem::F32, &[Dim::constant(90), sym("tokens")]);
    let input = stored.select_axes(&[1, 0]);
    check("in place", &symbols, NormKind::Layer, &input, None, &input);
}

#[test]
fn more_rows_than_one_dimension_of_workgroups() {
    let shape = dims(&[66_000 * 8 + 3, 4]);
    check("many rows", &[], NormKind::Rms, &view(0, Elem::F32, &shape), None, &view(1, Elem::F32, &shape));
}

#[test]
fn a_zero_vector_stays_zero() {
    let input = view(0, Elem::F32, &dims(&[3, 10]));
    let output = view(1, Elem::F32, &dims(&[3, 10]));
    let zeros = qwenc_ir::interp::HostTensor::f32([3, 10], vec![0.0; 30]).unwrap();
    let params = NormParams {
        kind: NormKind::L2,
        eps: 0.0,
        input: input.clone(),
        weight: None,
        bias: None,
        gate: None,
        output: output.clone(),
    };
    hold_to("zeros", &[], &[(input, zeros.clone())], &output, &zeros, EXACT, |s| kernel(s, &params));
}
