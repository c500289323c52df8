use qwenc_ir::op::{AttentionAttrs, LinearAttrs, Real, WeightLayout};
use qwenc_ir::text::{ConstPool, parse};
use qwenc_ir::verify::Problem;
use qwenc_ir::{
    BinaryOp, DType, Dim, Expr, Graph, Op, Scalar, State, StateKind, Tensor, UnaryOp, ValueId, ValueKind,
    ValueType, VerifyError, verify,
};

fn graph() -> Graph {
    let text = r#"graph "g" {
        input %x: f32[1, tokens, 4]
        input %past: f32[1, 4, 3]
        const %w: f32[4, 4] = seeded(1)
        const %n: f32[4] = seeded(2)
        %y, %window = causal_conv(%x, %w, _, %past) {activation = silu} "conv"
        %z = rms_norm(%y, %n) {eps = 1e-6}
        output "z" = %z
        state window "s" past=%past present=%window
    }"#;
    parse(text, &ConstPool::new()).unwrap()
}

fn value(graph: &Graph, name: &str) -> ValueId {
    graph.values().find(|id| graph.value(*id).name == name).unwrap()
}

fn errors(graph: &Graph) -> Vec<VerifyError> {
    verify(graph).unwrap_err()
}

/// Breaks a sound graph and gives the first error.
fn broken(breaking: impl FnOnce(&mut Graph)) -> VerifyError {
    let mut graph = graph();
    assert_eq!(verify(&graph), Ok(()));
    breaking(&mut graph);
    errors(&graph).remove(0)
}

#[test]
fn cycles() {
    let mut graph = graph();
    let (y, z) = (value(&graph, "conv"), value(&graph, "z"));
    let (conv, _) = graph.producer(y).unwrap();
    graph.set_input(conv, 0, Some(z));
    let error = &errors(&graph)[0];
    assert_eq!(error.problem, Problem::Cycle);
    assert!(error.place.starts_with("node `"), "{error}");
}

#[test]
fn production() {
    let error = broken(|graph| {
        let x = value(graph, "x");
        graph.value_mut(x).kind = ValueKind::Computed;
    });
    assert_eq!(error.to_string(), "value `x`: computed by no node");
    let error = broken(|graph| {
        let z = value(graph, "z");
        graph.value_mut(z).kind = ValueKind::Input;
    });
    assert!(matches!(error.problem, Problem::Production(_)), "{error}");
}

#[test]
fn slots() {
    let set = |slot: usize, name: Option<&str>| {
        broken(|graph| {
            let (conv, _) = graph.producer(value(graph, "conv")).unwrap();
            let new = name.map(|name| value(graph, name));
            graph.set_input(conv, slot, new);
        })
    };
    assert_eq!(set(1, None).to_string(), "node `conv` (causal_conv): input 1 is missing");
    let error = set(4, Some("n"));
    assert_eq!(error.to_string(), "node `conv` (causal_conv): input 4 is not read by the operator");

    // A past key without a past value, and a norm weight without a norm.
    let mut graph = Graph::new("g");
    let q = graph.add_input("q", ValueType::new(DType::F32, [1usize, 3, 2, 4]));
    let past = graph.add_input("past", ValueType::new(DType::F32, [1usize, 2, 5, 4]));
    let n = graph.add_input("n", ValueType::new(DType::F32, [4usize]));
    let attrs = AttentionAttrs {
        scale: Real(1.0),
        causal: true,
        present: false,
        qk_norm: None,
        rope: None,
        gate: None,
    };
    let inputs = [Some(q), Some(q), Some(q), None, Some(past), None, Some(n)];
    graph.add_node("a", Op::Attention(Box::new(attrs)), &inputs).unwrap();
    let messages: Vec<String> = errors(&graph).iter().map(|error| error.problem.to_string()).collect();
    assert_eq!(
        messages,
        ["input 6 is not read by the operator", "a past key and a past value come together"]
    );

    // An extra input that the epilogue does not read.
    let mut graph = Graph::new("g");
    let x = graph.add_input("x", ValueType::new(DType::F32, [3usize, 4]));
    let w = graph.add_input("w", ValueType::new(DType::F32, [4usize, 4]));
    let attrs = LinearAttrs { weights: vec![WeightLayout::KN], norm: None, glu: None, epilogue: None };
    graph.add_node("l", Op::Linear(Box::new(attrs)), &[Some(x), None, Some(w), Some(w)]).unwrap();
    assert!(matches!(&errors(&graph)[..], [VerifyError { problem: Problem::Slot(_), .. }]));
}

#[test]
fn types() {
    let error = broken(|graph| {
        let z = value(graph, "z");
        graph.value_mut(z).ty.shape[2] = Dim::constant(5);
    });
    assert_eq!(
        error.to_string(),
        "node `z` (rms_norm): the outputs are declared as (f32[1, tokens, 5]), but are (f32[1, tokens, 4])"
    );
    let error = broken(|graph| {
        let (node, _) = graph.producer(value(graph, "z")).unwrap();
        graph.node_mut(node).op = Op::Reshape { shape: vec![Dim::constant(7)] };
        graph.set_input(node, 1, None);
    });
    assert!(error.to_string().contains("element counts differ"), "{error}");
    let error = broken(|graph| {
        let (node, _) = graph.producer(value(graph, "z")).unwrap();
        graph.node_mut(node).op = Op::Elementwise(Expr::Arg(2).binary(BinaryOp::Add, Expr::Arg(0)));
    });
    assert_eq!(error.to_string(), "node `z` (elementwise): input 2 is missing");
    let error = broken(|graph| {
        let n = value(graph, "n");
        let ids = graph.add_const("ids", Tensor::from_i64(vec![4], &[0; 4]).unwrap());
        graph.replace_uses(n, ids);
    });
    assert!(error.to_string().contains("must be a float tensor"), "{error}");
}

#[test]
fn dims() {
    let mut graph = Graph::new("g");
    graph.add_input("poison", ValueType { dtype: DType::F32, shape: vec![Dim::poison()] });
    graph.add_input("large", ValueType::new(DType::F32, [1usize << 40, 1 << 40]));
    graph.add_input("negative", ValueType { dtype: DType::F32, shape: vec![Dim::constant(-1)] });
    graph.add_input("deep", ValueType::new(DType::F32, [1usize; 9]));
    let messages: Vec<String> = errors(&graph).iter().map(ToString::to_string).collect();
    assert_eq!(
        messages,
        [
            "value `poison`: the dimensions overflow",
            "value `large`: the dimensions overflow",
            "value `negative`: a negative dimension",
            "value `deep`: rank 9 is above the supported 8",
        ]
    );
    let error = broken(|graph| {
        let (node, _) = graph.producer(value(graph, "z")).unwrap();
        graph.node_mut(node).op = Op::Slice { axis: 0, start: Dim::poison(), len: Dim::constant(1), step: 1 };
        graph.set_input(node, 1, None);
    });
    assert_eq!(error.to_string(), "node `z` (slice): a dim of the operator overflows");
}

#[test]
fn attributes() {
    for eps in [-1.0, f32::NAN, f32::INFINITY] {
        let error = broken(|graph| {
            let (node, _) = graph.producer(value(graph, "z")).unwrap();
            graph.node_mut(node).op = Op::RmsNorm { eps: Real(eps), gate: None };
        });
        assert!(matches!(error.problem, Problem::Attribute(_)), "{error}");
    }
    let attribute_error = |op: Op, inputs: &[usize]| {
        let mut graph = Graph::new("g");
        let x = graph.add_input("x", ValueType::new(DType::F32, [2usize]));
        let inputs = vec![Some(x); inputs.len()];
        graph.add_node("n", op, &inputs).unwrap();
        let errors = errors(&graph);
        assert!(matches!(&errors[..], [VerifyError { problem: Problem::Attribute(_), .. }]), "{errors:?}");
    };
    attribute_error(Op::Fill { dtype: DType::I64, value: Scalar::F32(1.0), shape: vec![] }, &[]);
    attribute_error(
        Op::Pad { before: vec![Dim::constant(0)], after: vec![Dim::constant(0)], value: Scalar::Int(0) },
        &[0],
    );
    // Long epilogues: inference does not count them.
    let epilogue = (0..256).fold(Expr::Arg(0), |expr, _| expr.unary(UnaryOp::Neg));
    let error = broken(|graph| {
        let (x, w) = (value(graph, "x"), value(graph, "w"));
        let attrs =
            LinearAttrs { weights: vec![WeightLayout::KN], norm: None, glu: None, epilogue: Some(epilogue) };
        graph.add_node("long", Op::Linear(Box::new(attrs)), &[Some(x), None, Some(w)]).unwrap();
    });
    assert_eq!(error.to_string(), "node `long` (linear): an expression of more than 256 nodes");
}

#[test]
fn constants() {
    let error = broken(|graph| {
        let n = value(graph, "n");
        graph.value_mut(n).ty.dtype = DType::F16;
    });
    assert_eq!(error.to_string(), "value `n`: declared as f16[4], but the tensor is f32[4]");
}

#[test]
fn inputs() {
    let error = broken(|graph| {
        let n = value(graph, "n");
        graph.value_mut(n).kind = ValueKind::Input;
    });
    assert_eq!(error.to_string(), "input `n`: not listed");
    let error = broken(|graph| {
        let x = value(graph, "x");
        let tensor = Tensor::from_f32(vec![1, 1, 4], &[0.0; 4]).unwrap();
        graph.value_mut(x).kind = ValueKind::Const(tensor);
        graph.value_mut(x).ty.shape[1] = Dim::constant(1);
    });
    // The first errors are the stale types behind it; the list is checked as well.
    assert!(matches!(error.problem, Problem::Type(_)), "{error}");
}

#[test]
fn outputs() {
    let twice = broken(|graph| graph.add_output("z", value(graph, "z")));
    assert_eq!(twice.to_string(), "output `z`: the name is empty or used twice");
    let missing = broken(|graph| {
        let gone = graph.add_const("gone", Tensor::from_f32(vec![], &[0.0]).unwrap());
        assert!(graph.remove_value(gone));
        graph.add_output("o", gone);
    });
    assert_eq!(missing.to_string(), "output `o`: the value does not exist");
}

#[test]
fn states() {
    let with = |kind, past: &'static str, present: &'static str| {
        let mut graph = graph();
        let state =
            State { name: "t".into(), kind, past: value(&graph, past), present: value(&graph, present) };
        graph.add_state(state);
        errors(&graph).iter().map(|error| error.problem.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(with(StateKind::Window, "n", "z"), ["the past is no input"]);
    assert_eq!(with(StateKind::Window, "x", "n"), ["the present is not computed"]);
    assert_eq!(
        with(StateKind::KvCache, "x", "z"),
        ["past f32[1, tokens, 4] and present f32[1, tokens, 4] do not fit a KvCache state"]
    );
    assert_eq!(
        with(StateKind::Window, "x", "conv#1"),
        [
            "its name, its past or its present is that of another state",
            "past f32[1, tokens, 4] and present f32[1, 4, 3] do not fit a Window state",
        ]
    );

    // Axis 2 of a cache may grow, no other.
    for (grown, fits) in [([1usize, 2, 9, 4], true), ([1, 3, 5, 4], false)] {
        let mut graph = Graph::new("g");
        let past = graph.add_input("past", ValueType::new(DType::F32, [1usize, 2, 5, 4]));
        let shape = grown.into_iter().map(Dim::from).collect();
        let present = Op::Fill { dtype: DType::F32, value: Scalar::F32(0.0), shape };
        let present = graph.apply("present", present, &[]).unwrap();
        graph.add_state(State { name: "kv".into(), kind: StateKind::KvCache, past, present });
        assert_eq!(verify(&graph).is_ok(), fits);
    }
}
