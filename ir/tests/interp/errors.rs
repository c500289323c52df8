use qwenc_ir::dim::EvalError;
use qwenc_ir::interp::{Limits, OpError, eval_op, eval_op_within};
use qwenc_ir::op::{Activation, Real};
use qwenc_ir::{Bindings, DType, Dim, Expr, Op, Scalar};

use crate::util::{b, eval_err, f, i, try_eval};

#[test]
fn misfits_are_typed_errors() {
    let (x, ints) = (f(&[2, 3], &[0.0; 6]), i(&[2], &[0, 1]));
    let matmul = Op::MatMul { transpose_a: false, transpose_b: false };
    for (op, inputs) in [
        (matmul.clone(), vec![&x, &x]),
        (matmul, vec![&x, &ints]),
        (Op::Concat { axis: 2 }, vec![&x]),
        (Op::Softmax { axis: 0, log: false }, vec![&ints]),
        (Op::Reshape { shape: vec![Dim::constant(-2), Dim::constant(-3)] }, vec![&x]),
        (Op::Expand { shape: vec![Dim::constant(3)] }, vec![&x]),
        (Op::CausalConv { activation: Activation::Silu }, vec![&x, &x]),
        (Op::RmsNorm { eps: Real(0.0), gate: None }, vec![&x, &b(&[3], &[true; 3])]),
        (Op::Elementwise(Expr::Arg(1)), vec![&x]),
    ] {
        assert!(matches!(eval_err(&op, &inputs), OpError::Infer(_)), "{op:?}");
    }
    let cumsum = Op::CumSum { axis: 0, exclusive: false, reverse: false };
    let error = eval_err(&cumsum, &[&b(&[1], &[true])]);
    assert!(matches!(error, OpError::Undefined { dtype: DType::Bool, .. }));
    assert!(try_eval(&Op::Concat { axis: 0 }, &[None]).is_err());
}

#[test]
fn unbound_symbols_and_large_results_are_refused() {
    let fill = |size: Dim| Op::Fill { dtype: DType::F32, value: Scalar::F32(0.0), shape: vec![size] };
    let unbound = eval_op(&fill(Dim::sym("tokens")), &[], &Bindings::new()).unwrap_err();
    assert_eq!(unbound, OpError::Dim(EvalError::Unbound("tokens".into())));
    let limits = Limits { max_elements: 10 };
    assert!(eval_op_within(&fill(Dim::constant(10)), &[], &Bindings::new(), limits).is_ok());
    let large = eval_op_within(&fill(Dim::constant(11)), &[], &Bindings::new(), limits).unwrap_err();
    assert!(matches!(large, OpError::TooLarge { limit: 10, .. }), "{large}");
    let default = eval_op(&fill(Dim::constant(1 << 40)), &[], &Bindings::new()).unwrap_err();
    assert!(matches!(default, OpError::TooLarge { .. }));
    let negative = eval_op(&fill(Dim::constant(-1)), &[], &Bindings::new()).unwrap_err();
    assert!(matches!(negative, OpError::Infer(_)));
}
