//! Matrix products in any layout, batched and broadcast.

use qwenc_codegen_wgsl::matmul::{MatMulParams, kernel};
use qwenc_codegen_wgsl::{Elem, View};
use qwenc_ir::interp::{Data, HostTensor};
use qwenc_ir::{DType, Dim, Op};

use crate::device::{Random, sym};
use crate::{EXACT, Symbol, Tolerance, dims, floats, gapped, hold, ints, view};

const TOLERANCE: Tolerance = Tolerance { absolute: 2e-5, relative: 1e-5 };

fn check(what: &str, symbols: &[Symbol], a: &View, b: &View, output: &View) {
    let mut random = Random::new(41);
    let operands = [a, b].map(|view| (view.clone(), floats(symbols, view, &mut random, 1.0)));
    let params = MatMulParams { a: a.clone(), b: b.clone(), output: output.clone() };
    let op = Op::MatMul { transpose_a: false, transpose_b: false };
    hold(what, symbols, &op, &operands, output, TOLERANCE, |symbols| kernel(symbols, &params));
}

/// The view with its last two axes swapped.
fn turned(view: View) -> View {
    let mut axes: Vec<usize> = (0..view.rank()).collect();
    let rank = axes.len();
    axes.swap(rank - 1, rank - 2);
    view.select_axes(&axes)
}

#[test]
fn matrices_of_every_size_and_layout() {
    for [m, k, n] in
        [[1, 1, 1], [5, 3, 7], [33, 16, 31], [32, 32, 32], [65, 130, 40], [1, 300, 70], [70, 301, 1]]
    {
        let (a_shape, b_shape) = (dims(&[m, k]), dims(&[k, n]));
        let a = gapped(0, Elem::F32, &a_shape, 1, 2);
        let a_turned = turned(gapped(0, Elem::F32, &dims(&[k, m]), 3, 1));
        let b = gapped(1, Elem::F32, &b_shape, 2, 5);
        let b_turned = turned(view(1, Elem::F32, &dims(&[n, k])));
        let output = gapped(2, Elem::F32, &dims(&[m, n]), 1, 1);
        let what = format!("{m}x{k}x{n}");
        check(&what, &[], &a, &b, &output);
        check(&what, &[], &a_turned, &b_turned, &output);
    }
}

#[test]
fn attention_shapes_with_symbols() {
    let symbols = [("past", 300, 45), ("tokens", 100, 37)];
    let total = sym("past") + sym("tokens");
    let heads = [Dim::constant(1), Dim::constant(3), sym("tokens"), Dim::constant(20)];
    // Heads stand behind positions in memory.
    let stored = view(0, Elem::F32, &[Dim::constant(1), sym("tokens"), Dim::constant(3), Dim::constant(20)]);
    let q = stored.select_axes(&[0, 2, 1, 3]);
    assert_eq!(q.shape, heads);
    let keys =
        turned(view(1, Elem::F32, &[Dim::constant(1), Dim::constant(3), total.clone(), Dim::constant(20)]));
    let scores = view(2, Elem::F32, &[Dim::constant(1), Dim::constant(3), sym("tokens"), total.clone()]);
    check("scores", &symbols, &q, &keys, &scores);
    let values = view(1, Elem::F32, &[Dim::constant(1), Dim::constant(3), total, Dim::constant(20)]);
    let mut scores = scores;
    scores.buffer = q.buffer;
    let mut output = q;
    output.buffer = keys_buffer();
    check("mixed", &symbols, &scores, &values, &output);
}

fn keys_buffer() -> qwenc_codegen_wgsl::BufferKey {
    qwenc_codegen_wgsl::BufferKey(5)
}

#[test]
fn batches_broadcast() {
    let symbols = [("tokens", 50, 11)];
    let a = view(0, Elem::F32, &[Dim::constant(3), Dim::constant(1), Dim::constant(9), sym("tokens")]);
    let b = view(1, Elem::F32, &[Dim::constant(4), sym("tokens"), Dim::constant(6)]);
    let output = view(2, Elem::F32, &dims(&[3, 4, 9, 6]));
    check("broadcast", &symbols, &a, &b, &output);
}

#[test]
fn integers() {
    let a = view(0, Elem::I32, &dims(&[7, 19]));
    let b = view(1, Elem::I32, &dims(&[19, 5]));
    let output = view(2, Elem::I32, &dims(&[7, 5]));
    let mut random = Random::new(42);
    let operands = [&a, &b].map(|view| {
        let values = ints(&[], view, &mut random, -90, 90);
        let data = Data::Int(DType::I32, values.as_int().unwrap().to_vec());
        (view.clone(), HostTensor::new(values.shape().to_vec(), data).unwrap())
    });
    let params = MatMulParams { a: a.clone(), b: b.clone(), output: output.clone() };
    let op = Op::MatMul { transpose_a: false, transpose_b: false };
    hold("integers", &[], &op, &operands, &output, EXACT, |symbols| kernel(symbols, &params));
    let wrong = MatMulParams { b: view(1, Elem::I32, &dims(&[18, 5])), ..params };
    assert!(kernel(&Default::default(), &wrong).is_err());
}
