use qwenc_ir::interp::HostTensor;
use qwenc_ir::op::{Activation, LinearAttrs, Real, WeightLayout};
use qwenc_ir::{BinaryOp, Expr, Op, UnaryOp};

use crate::util::{assert_close, eval, eval_all, f, i, join, noise};

fn product(a: &HostTensor, b: &HostTensor) -> HostTensor {
    eval(&Op::MatMul { transpose_a: false, transpose_b: false }, &[a, b])
}

fn transposed(x: &HostTensor) -> HostTensor {
    let rank = x.shape().len();
    let mut perm: Vec<usize> = (0..rank).collect();
    perm.swap(rank - 1, rank - 2);
    eval(&Op::Transpose { perm }, &[x])
}

#[test]
fn matmul_by_hand() {
    let a = f(&[2, 3], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
    let b = f(&[3, 2], &[7.0, 8.0, 9.0, 10.0, 11.0, 12.0]);
    assert_eq!(product(&a, &b), f(&[2, 2], &[58.0, 64.0, 139.0, 154.0]));
    let ints = product(&i(&[1, 2], &[i64::MAX, 1]), &i(&[2, 1], &[2, 3]));
    assert_eq!(ints, i(&[1, 1], &[1]), "integers wrap");
    assert_eq!(product(&f(&[2, 0], &[]), &f(&[0, 3], &[])), f(&[2, 3], &[0.0; 6]));
}

#[test]
fn transposed_operands_and_broadcast_batches() {
    let (a, b) = (noise(1, &[2, 1, 3, 4]), noise(2, &[5, 4, 6]));
    let expected = product(&a, &b);
    assert_eq!(expected.shape(), [2, 5, 3, 6]);
    let (at, bt) = (transposed(&a), transposed(&b));
    for (left, right, transpose_a, transpose_b) in
        [(&at, &b, true, false), (&a, &bt, false, true), (&at, &bt, true, true)]
    {
        assert_close(&eval(&Op::MatMul { transpose_a, transpose_b }, &[left, right]), &expected, 1e-6);
    }
    // One element of one batch by hand.
    let (a, b) = (a.as_f32().unwrap(), b.as_f32().unwrap());
    let dot: f32 = (0..4).map(|k| a[12 + 4 + k] * b[3 * 24 + k * 6 + 2]).sum();
    let at = ((5 + 3) * 3 + 1) * 6 + 2;
    assert!((expected.as_f32().unwrap()[at] - dot).abs() < 1e-5);
}

fn attrs(weights: &[WeightLayout]) -> LinearAttrs {
    LinearAttrs { weights: weights.to_vec(), norm: None, glu: None, epilogue: None }
}

#[test]
fn linear_is_the_composition_of_its_parts() {
    let (x, norm) = (noise(1, &[1, 5, 7]), noise(2, &[7]));
    let (w0, w1) = (noise(3, &[7, 3]), noise(4, &[7, 4]));
    let h = eval(&Op::RmsNorm { eps: Real(1e-6), gate: None }, &[&x, &norm]);
    let y = join(2, &[&product(&h, &w0), &product(&h, &w1)]);
    let (residual, gain) = (noise(5, &[1, 5, 7]), noise(6, &[7]));
    let epilogue = Expr::Arg(0).binary(BinaryOp::Mul, Expr::Arg(2)).binary(BinaryOp::Add, Expr::Arg(1));
    let expected = eval(&Op::Elementwise(epilogue.clone()), &[&y, &residual, &gain]);

    let op = Op::Linear(Box::new(LinearAttrs {
        norm: Some(Real(1e-6)),
        epilogue: Some(epilogue),
        ..attrs(&[WeightLayout::KN, WeightLayout::NK])
    }));
    let fused = eval(&op, &[&x, &norm, &w0, &transposed(&w1), &residual, &gain]);
    assert_close(&fused, &expected, 1e-6);
}

#[test]
fn gated_pair_is_swiglu() {
    let (x, gate, up) = (noise(1, &[4, 6]), noise(2, &[6, 5]), noise(3, &[6, 5]));
    let silu = Expr::Arg(0).unary(UnaryOp::Silu).binary(BinaryOp::Mul, Expr::Arg(1));
    let expected = eval(&Op::Elementwise(silu), &[&product(&x, &gate), &product(&x, &up)]);
    let op = Op::Linear(Box::new(LinearAttrs {
        glu: Some(Activation::Silu),
        ..attrs(&[WeightLayout::KN, WeightLayout::KN])
    }));
    let fused = eval_all(&op, &[Some(&x), None, Some(&gate), Some(&up)]).remove(0);
    assert_close(&fused, &expected, 1e-6);
    // A single row of rank 1 works like any other.
    let plain = Op::Linear(Box::new(attrs(&[WeightLayout::KN])));
    let row =
        eval_all(&plain, &[Some(&f(&[2], &[1.0, 2.0])), None, Some(&f(&[2, 1], &[3.0, 4.0]))]).remove(0);
    assert_eq!(row, f(&[1], &[11.0]));
}
