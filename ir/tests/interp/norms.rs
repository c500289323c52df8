use qwenc_ir::interp::HostTensor;
use qwenc_ir::op::{Activation, Real};
use qwenc_ir::{BinaryOp, Expr, Op, UnaryOp};

use crate::util::{assert_close, eval, eval_all, f, noise};

#[test]
fn rms_norm_by_hand() {
    // mean(x^2) = (9 + 16 + 0 + 0)/4 = 6.25, root 2.5.
    let x = f(&[1, 4], &[3.0, 4.0, 0.0, 0.0]);
    let weight = f(&[4], &[1.0, 2.0, 3.0, 4.0]);
    let y = eval(&Op::RmsNorm { eps: Real(0.0), gate: None }, &[&x, &weight]);
    assert_close(&y, &f(&[1, 4], &[1.2, 3.2, 0.0, 0.0]), 1e-6);
    let zero = f(&[1, 4], &[0.0; 4]);
    let y = eval(&Op::RmsNorm { eps: Real(1e-6), gate: None }, &[&zero, &weight]);
    assert_eq!(y, zero);
}

#[test]
fn the_gate_multiplies_its_activation() {
    let (x, weight, gate) = (noise(1, &[2, 3, 5]), noise(2, &[5]), noise(3, &[2, 3, 5]));
    let plain = eval(&Op::RmsNorm { eps: Real(1e-5), gate: None }, &[&x, &weight]);
    for (activation, unary) in [
        (Activation::Silu, Some(UnaryOp::Silu)),
        (Activation::Sigmoid, Some(UnaryOp::Sigmoid)),
        (Activation::Identity, None),
    ] {
        let gated = eval(&Op::RmsNorm { eps: Real(1e-5), gate: Some(activation) }, &[&x, &weight, &gate]);
        let factor = unary.map_or(Expr::Arg(1), |op| Expr::Arg(1).unary(op));
        let expected = eval(&Op::Elementwise(Expr::Arg(0).binary(BinaryOp::Mul, factor)), &[&plain, &gate]);
        assert_close(&gated, &expected, 1e-6);
    }
}

#[test]
fn l2_norm_by_hand() {
    let x = f(&[2, 2], &[3.0, 4.0, 0.0, 0.0]);
    let y = eval(&Op::L2Norm { eps: Real(0.0) }, &[&x]);
    assert_close(&y, &f(&[2, 2], &[0.6, 0.8, 0.0, 0.0]), 1e-7);
    let y = eval(&Op::L2Norm { eps: Real(11.0) }, &[&x]);
    assert_close(&y, &f(&[2, 2], &[0.5, 4.0 / 6.0, 0.0, 0.0]), 1e-7);
}

#[test]
fn layer_norm_by_hand() {
    // mean 2, variance 1 -> eps 3 makes the root 2.
    let x = f(&[1, 2], &[1.0, 3.0]);
    let op = Op::LayerNorm { eps: Real(3.0) };
    assert_close(&eval(&op, &[&x]), &f(&[1, 2], &[-0.5, 0.5]), 1e-7);
    let (scale, bias) = (f(&[2], &[2.0, 4.0]), f(&[2], &[10.0, 20.0]));
    assert_close(&eval(&op, &[&x, &scale, &bias]), &f(&[1, 2], &[9.0, 22.0]), 1e-6);
    let only_bias: [Option<&HostTensor>; 3] = [Some(&x), None, Some(&bias)];
    assert_close(&eval_all(&op, &only_bias)[0], &f(&[1, 2], &[9.5, 20.5]), 1e-6);
}
