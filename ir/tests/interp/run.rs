use qwenc_ir::interp::{Inputs, Limits, OpError, RunError, inputs_by_name, run, run_all, run_within};
use qwenc_ir::{
    BinaryOp, Bindings, DType, Dim, Expr, Graph, Op, State, StateKind, Tensor, UnaryOp, ValueType,
};

use crate::util::{f, i};

/// `y = x * c + x`, and a window state that takes `x` transposed.
fn graph() -> Graph {
    let mut graph = Graph::new("g");
    let x = graph
        .add_input("x", ValueType::new(DType::F32, [Dim::constant(1), Dim::sym("tokens"), Dim::constant(2)]));
    let past = graph.add_input("past", ValueType::new(DType::F32, [1usize, 2, 3]));
    let c = graph.add_const("c", Tensor::from_f32(vec![2], &[2.0, 3.0]).unwrap());
    let mul = Op::Elementwise(Expr::Arg(0).binary(BinaryOp::Mul, Expr::Arg(1)));
    let scaled = graph.apply("scaled", mul, &[x, c]).unwrap();
    let add = Op::Elementwise(Expr::Arg(0).binary(BinaryOp::Add, Expr::Arg(1)));
    let y = graph.apply("y", add, &[scaled, x]).unwrap();
    let present = graph.apply("present", Op::Elementwise(Expr::Arg(0).unary(UnaryOp::Neg)), &[past]).unwrap();
    graph.add_output("result", y);
    graph.add_state(State { name: "s".into(), kind: StateKind::Window, past, present });
    graph
}

fn bindings(tokens: i64) -> Bindings {
    Bindings::from([("tokens".to_string(), tokens)])
}

#[test]
fn outputs_states_and_any_value() {
    let graph = graph();
    let past = f(&[1, 2, 3], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
    let inputs = inputs_by_name(&graph, [("x", f(&[1, 1, 2], &[1.0, 10.0])), ("past", past)]).unwrap();
    let values = run(&graph, &bindings(1), &inputs).unwrap();
    assert_eq!(values.output("result").unwrap(), &f(&[1, 1, 2], &[3.0, 40.0]));
    let present = values.get(graph.states()[0].present).unwrap();
    assert_eq!(present.as_f32().unwrap(), [-1.0, -2.0, -3.0, -4.0, -5.0, -6.0]);
    assert_eq!(values.iter().count(), 2, "only what was asked for is kept");
    let all = run_all(&graph, &bindings(1), &inputs).unwrap();
    assert_eq!(all.iter().count(), graph.values().count());
    let scaled = graph.values().find(|id| graph.value(*id).name == "scaled").unwrap();
    assert_eq!(all.get(scaled).unwrap().as_f32().unwrap(), [2.0, 30.0]);
}

#[test]
fn what_does_not_fit_is_named() {
    let graph = graph();
    let good = || [("x", f(&[1, 1, 2], &[0.0; 2])), ("past", f(&[1, 2, 3], &[0.0; 6]))];
    let inputs = |named: Vec<(&str, qwenc_ir::interp::HostTensor)>| inputs_by_name(&graph, named);
    assert_eq!(inputs(vec![("z", f(&[], &[0.0]))]), Err(RunError::UnknownInput("z".into())));
    let error = run(&graph, &bindings(1), &Inputs::new()).unwrap_err();
    assert_eq!(error, RunError::MissingInput("x".into()));
    let all = inputs(good().to_vec()).unwrap();
    assert!(matches!(run(&graph, &bindings(2), &all), Err(RunError::Mismatch { .. })));
    assert!(matches!(run(&graph, &Bindings::new(), &all), Err(RunError::Dim { .. })));
    let typed = inputs(vec![("x", i(&[1, 1, 2], &[0, 0])), good()[1].clone()]).unwrap();
    assert!(matches!(run(&graph, &bindings(1), &typed), Err(RunError::Mismatch { .. })));
    let error = run_within(&graph, &bindings(1), &all, Limits { max_elements: 1 }).unwrap_err();
    let RunError::Node { node, source: OpError::TooLarge { .. }, .. } = &error else {
        panic!("{error}");
    };
    assert_eq!(node, "scaled");
}
