use bytes::Bytes;
use qwenc_ir::op::{
    Activation, AttentionAttrs, GatedDeltaAttrs, LinearAttrs, Real, ReduceKind, RopeAttrs, RopeSource,
    WeightLayout,
};
use qwenc_ir::text::{ConstPool, difference, graph_eq, parse, print, print_brief};
use qwenc_ir::{
    Activation as Act, BinaryOp, DType, Dim, Expr, Graph, Op, Scalar, Tensor, UnaryOp, ValueType,
};

fn read(text: &str) -> Graph {
    parse(text, &ConstPool::new()).unwrap_or_else(|error| panic!("{error} in\n{text}"))
}

#[track_caller]
fn assert_round_trip(graph: &Graph) {
    let text = print(graph);
    let back = parse(&text, &ConstPool::of(graph)).unwrap_or_else(|error| panic!("{error} in\n{text}"));
    assert_eq!(difference(graph, &back), None, "{text}");
}

const SMALL: &str = r#"graph "small" {
  input %x: f32[1, tokens, 4] "inputs_embeds"
  input %past: f32[1, 4, 3]
  const %norm: f32[4] = dense(1, 2.5, -3, 1e-7)
  const %conv: f32[4, 4] = dense(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15)
  %h = rms_norm(%x, %norm) {eps = 1e-6} : f32[1, tokens, 4] "layer0/norm"
  %y, %window("new window") = causal_conv(%h, %conv, _, %past) {activation = silu} : f32[1, tokens, 4], f32[1, 4, 3]
  %r = reshape(%y) {shape = [tokens*2, 2]} : f32[tokens*2, 2]
  %e = elementwise(%r) {expr = add(mul(a0, sigmoid(a0)), 1.0)} : f32[tokens*2, 2]
  output "result" = %e
  state window "conv.0" past=%past present=%window
}
"#;

#[test]
fn a_small_graph_reads_and_prints() {
    let graph = read(SMALL);
    assert_eq!(graph.value(graph.inputs()[0]).name, "inputs_embeds");
    let names: Vec<&str> =
        graph.topo_order().unwrap().into_iter().map(|id| graph.node(id).name.as_str()).collect();
    assert_eq!(names, ["layer0/norm", "y", "r", "e"]);
    let state = &graph.states()[0];
    assert_eq!(graph.value(state.present).name, "new window");
    assert_eq!(qwenc_ir::verify(&graph), Ok(()));
    assert_round_trip(&graph);
    // Ids follow the names, which are those of the values; all else is as written.
    let expected = SMALL
        .replace("%x", "%inputs_embeds")
        .replace("[1, tokens, 4] \"inputs_embeds\"", "[1, tokens, 4]")
        .replace("%h", "%layer0.norm")
        .replace("%window", "%new.window");
    assert_eq!(print(&graph), expected);
}

#[test]
fn attributes_come_in_any_order_and_types_are_optional() {
    let a = read(
        r#"graph "g" { // a comment
            input %x: i64[tokens + past*2, 6]
            %s = slice(%x) {len = tokens, step = 2, start = floor_div(past, 2) - 1, axis = 0}
            output "s" = %s
        }"#,
    );
    let start = Dim::sym("past").floor_div(&Dim::constant(2)) - Dim::constant(1);
    let node = a.topo_order().unwrap()[0];
    assert_eq!(a.node(node).op, Op::Slice { axis: 0, start, len: Dim::sym("tokens"), step: 2 });
    assert_round_trip(&a);
}

/// One node of every operator, with every attribute away from its default.
#[test]
fn every_operator_and_attribute_survives() {
    let mut graph = Graph::new("every \"op\"\n\u{7}");
    let t = Dim::sym("tokens");
    let float = |shape: &[Dim]| ValueType { dtype: DType::F32, shape: shape.to_vec() };
    let c = |value: i64| Dim::constant(value);
    let x = graph.add_input("x", float(&[c(1), t.clone(), c(8)]));
    let heads = graph.add_input("heads", float(&[c(1), t.clone(), c(4), c(6)]));
    let kv = graph.add_input("kv", float(&[c(1), t.clone(), c(2), c(6)]));
    let past = graph.add_input("past kv", float(&[c(1), c(2), Dim::sym("past + 1"), c(6)]));
    let positions = graph.add_input("p", ValueType::new(DType::I64, [c(3), c(1), t.clone()]));
    let table = graph.add_input("table", float(&[c(32), c(2)]));
    let angles = graph.add_input("angles", float(&[c(1), t.clone(), c(2)]));
    let gates = graph.add_input("gates", float(&[c(1), t.clone(), c(4)]));
    let row = |graph: &mut Graph, n: usize| {
        graph.add_const("row", Tensor::from_f32(vec![n], &vec![0.5; n]).unwrap())
    };
    let (eight, six, four) = (row(&mut graph, 8), row(&mut graph, 6), row(&mut graph, 4));
    let square = graph.add_const("square", Tensor::from_f32(vec![8, 8], &[0.25; 64]).unwrap());

    let codes = Tensor::new(DType::U4, vec![2, 4], Bytes::from_static(&[0x10, 0x32, 0x54, 0xF6])).unwrap();
    let codes = graph.add_const("codes", codes);
    let code_scales = Tensor::from_f32(vec![1, 2], &[0.5, 2.0]).unwrap();
    let code_scales = graph.add_const("scales", code_scales);

    let rope = |source| RopeAttrs { rotary_dim: 4, interleaved: true, source };
    let axes = RopeSource::Table { axes: vec![2, 0] };
    let shape = vec![t.clone() * c(2), c(4)];
    let plain: Vec<(Op, Vec<qwenc_ir::ValueId>)> = vec![
        (Op::MatMul { transpose_a: false, transpose_b: true }, vec![x, square]),
        (Op::Reduce { kind: ReduceKind::LogSumExp, axes: vec![0, 2], keep_dims: true }, vec![x]),
        (Op::Dequantize { axis: 1, block: 3, zero: -2 }, vec![codes, code_scales]),
        (Op::Dequantize { axis: 1, block: 3, zero: 0 }, vec![codes, code_scales, code_scales]),
        (Op::ArgReduce { min: true, axis: 2, keep_dims: true, last: true }, vec![x]),
        (Op::CumSum { axis: 1, exclusive: true, reverse: true }, vec![x]),
        (Op::Softmax { axis: 2, log: true }, vec![x]),
        (Op::LayerNorm { eps: Real(1e-5) }, vec![x, eight, eight]),
        (Op::Gather { axis: 0 }, vec![table, positions]),
        (Op::Reshape { shape: shape.clone() }, vec![x]),
        (Op::Transpose { perm: vec![2, 0, 1] }, vec![x]),
        (Op::Slice { axis: 2, start: c(7), len: c(4), step: -2 }, vec![x]),
        (Op::Concat { axis: 1 }, vec![x, x, x]),
        (Op::Expand { shape: vec![c(3), t.clone(), c(8)] }, vec![x]),
        (
            Op::Pad {
                before: vec![c(0), t.clone(), c(1)],
                after: vec![c(2); 3],
                value: Scalar::F32(f32::NEG_INFINITY),
            },
            vec![x],
        ),
        (Op::Range { start: t.clone(), step: -3, len: t.clone() }, vec![]),
        (Op::Fill { dtype: DType::Bool, value: Scalar::Bool(true), shape: vec![] }, vec![]),
        (Op::Fill { dtype: DType::I64, value: Scalar::Int(i64::MIN), shape }, vec![]),
        (Op::Dims { values: vec![t.min_with(&c(3)), t.modulo(&c(5)).max_with(&c(-2))] }, vec![]),
        (Op::RmsNorm { eps: Real(f32::MIN_POSITIVE), gate: Some(Act::Identity) }, vec![x, eight, x]),
        (Op::L2Norm { eps: Real(0.0) }, vec![x]),
        (Op::Rope(rope(RopeSource::Direct)), vec![heads, angles, angles]),
        (Op::Rope(rope(axes.clone())), vec![heads, positions, table, table]),
        (Op::CausalConv { activation: Activation::Silu }, vec![x, square]),
    ];
    for (index, (op, inputs)) in plain.into_iter().enumerate() {
        let value = graph.apply(format!("/layers.{index}/Node:{index}"), op, &inputs).unwrap();
        graph.add_output(format!("out {index}"), value);
    }
    let attention = Op::Attention(Box::new(AttentionAttrs {
        scale: Real(0.1),
        causal: true,
        present: true,
        qk_norm: Some(Real(1e-6)),
        rope: Some(rope(axes)),
        gate: Some(Activation::Sigmoid),
    }));
    let (q, k, some) = (Some(heads), Some(kv), Some);
    let inputs = [
        q,
        k,
        k,
        some(past),
        some(past),
        None,
        some(six),
        some(six),
        some(positions),
        some(table),
        some(table),
        q,
    ];
    let attention = graph.add_node("attention", attention, &inputs).unwrap();
    let delta = GatedDeltaAttrs { scale: Real(2.0), qk_norm: Some(Real(0.5)), raw_gates: true };
    let inputs = [k, k, q, None, some(gates), some(gates), some(four), some(four)];
    let delta = graph.add_node("delta", Op::GatedDelta(delta), &inputs).unwrap();
    let linear = Op::Linear(Box::new(LinearAttrs {
        weights: vec![WeightLayout::KN, WeightLayout::NK],
        norm: Some(Real(1e-6)),
        glu: Some(Activation::Silu),
        epilogue: Some(Expr::Arg(0).binary(BinaryOp::Add, Expr::Arg(1))),
    }));
    let inputs = [some(x), some(eight), some(square), some(square), some(eight)];
    let linear = graph.add_node("linear", linear, &inputs).unwrap();
    for (index, value) in attention.into_iter().chain(delta).chain(linear).enumerate() {
        graph.add_output(format!("block {index}"), value);
    }
    graph.value_mut(graph.outputs()[3].1).name = "renamed".into();
    assert_eq!(qwenc_ir::verify(&graph), Ok(()));
    assert_round_trip(&graph);
}

#[test]
fn expressions_survive() {
    let mut graph = Graph::new("g");
    let x = graph.add_input("x", ValueType::new(DType::F32, [3usize]));
    let constants =
        [1.0, -0.0, 1e-30, f32::INFINITY, f32::NEG_INFINITY, f32::NAN, f32::from_bits(0xFFC0_0001)];
    for value in constants {
        let expr = Expr::Arg(0).binary(BinaryOp::Add, Expr::f32(value));
        graph.apply("add", Op::Elementwise(expr), &[x]).unwrap();
    }
    let condition = Expr::Arg(0).unary(UnaryOp::IsNan).binary(BinaryOp::Or, Expr::Const(Scalar::Bool(false)));
    let shifted = Expr::Arg(0).cast(DType::I32).binary(BinaryOp::Shl, Expr::Const(Scalar::Int(-1)));
    let expr = condition.select(shifted, Expr::Const(Scalar::Int(7)));
    let y = graph.apply("choice", Op::Elementwise(expr), &[x]).unwrap();
    graph.add_output("y", y);
    // A chain as long as expressions may be.
    let chain = (0..255).fold(Expr::Arg(0), |expr, _| expr.unary(UnaryOp::Neg));
    let z = graph.apply("chain", Op::Elementwise(chain), &[x]).unwrap();
    graph.add_output("z", z);
    assert_round_trip(&graph);
}

#[test]
fn constants_are_exact_inline_or_in_the_pool() {
    let mut graph = Graph::new("g");
    let f32s = [f32::MIN_POSITIVE, f32::MAX, 0.1, -0.0, f32::NAN, f32::INFINITY, 1.0 / 3.0];
    graph.add_const("f32", Tensor::from_f32(vec![7], &f32s).unwrap());
    let nan = f32::from_bits(0x7FC0_1234);
    graph.add_const("odd nan", Tensor::from_f32(vec![1], &[nan]).unwrap());
    graph.add_const(
        "f64",
        Tensor::new(DType::F64, vec![1], Bytes::copy_from_slice(&0.1f64.to_le_bytes())).unwrap(),
    );
    graph.add_const("i64", Tensor::from_i64(vec![2], &[i64::MIN, i64::MAX]).unwrap());
    graph.add_const("u64", Tensor::new(DType::U64, vec![1], Bytes::from_static(&[0xFF; 8])).unwrap());
    graph.add_const("bool", Tensor::from_bool(vec![2, 1], &[true, false]).unwrap());
    graph.add_const("odd bool", Tensor::new(DType::Bool, vec![1], Bytes::from_static(&[2])).unwrap());
    graph.add_const("i4", Tensor::new(DType::I4, vec![3], Bytes::from_static(&[0x8F, 0x07])).unwrap());
    graph.add_const("bf16", Tensor::new(DType::Bf16, vec![1], Bytes::from_static(&[0x80, 0x3F])).unwrap());
    graph.add_const("scalar", Tensor::from_f32(vec![], &[4.0]).unwrap());
    graph.add_const("empty", Tensor::from_f32(vec![0, 3], &[]).unwrap());
    graph.add_const("large", Tensor::from_f32(vec![17], &[1.5; 17]).unwrap());
    assert_round_trip(&graph);
    let text = print(&graph);
    assert_eq!(text.matches("extern").count(), 3, "{text}");
    let brief = print_brief(&graph);
    assert_eq!(brief.matches("extern \"...\"").count(), 3);
    assert!(parse(&brief, &ConstPool::of(&graph)).is_err(), "what was not read does not read back");
    assert!(text.contains("dense(-1, -8, 7)") && text.contains("dense(18446744073709551615)"), "{text}");
}

#[test]
fn seeded_constants_are_the_same_everywhere() {
    let text = |what: &str| format!("graph \"g\" {{ const %c: {what} }}");
    let tensor = |what: &str| {
        let graph = read(&text(what));
        let id = graph.values().next().unwrap();
        graph.constant(id).unwrap().clone()
    };
    let a = tensor("f32[2, 3] = seeded(7)");
    assert_eq!(a, tensor("f32[2, 3] = seeded(7)"));
    assert_ne!(a, tensor("f32[2, 3] = seeded(8)"));
    // Pinned, so that texts of today mean the same tomorrow.
    assert_eq!(a.to_f32().unwrap()[..2], [-0.220_340_5, -0.966_423_4]);
    assert!(a.to_f32().unwrap().iter().all(|x| (-1.0..1.0).contains(x)));
    let ints = tensor("i32[100] = seeded(1, -2, 3)").to_i64().unwrap();
    assert!((-2..=3).all(|value| ints.contains(&value)) && ints.iter().all(|value| (-2..=3).contains(value)));
}

#[test]
fn structural_equality_sees_every_part() {
    let graph = read(SMALL);
    for (from, to) in [
        ("\"small\"", "\"other\""),
        ("\"inputs_embeds\"", "\"x\""),
        ("dense(1,", "dense(2,"),
        ("eps = 1e-6", "eps = 1e-5"),
        ("\"layer0/norm\"", "\"norm\""),
        ("sigmoid", "tanh"),
        ("\"result\" = %e", "\"result\" = %r"),
        ("\"result\"", "\"other\""),
        ("\"conv.0\"", "\"conv.1\""),
        ("(\"new window\")", ""),
        ("causal_conv(%h", "causal_conv(%x"),
    ] {
        let changed = SMALL.replace(from, to);
        assert_ne!(changed, SMALL);
        assert!(!graph_eq(&graph, &read(&changed)), "{from} -> {to}");
    }
    // Sharing counts: two equal nodes are not one node used twice.
    let body = |middle: &str| format!("graph \"g\" {{ input %x: f32[2] {middle} output \"o\" = %o }}");
    let neg = |id: &str| format!("%{id} = elementwise(%x) {{expr = neg(a0)}} \"n\"");
    let add = |a: &str, b: &str| format!("%o = elementwise(%{a}, %{b}) {{expr = add(a0, a1)}}");
    let apart = read(&body(&format!("{} {} {}", neg("a"), neg("b"), add("a", "b"))));
    let shared = read(&body(&format!("{} {} {}", neg("a"), neg("b"), add("a", "a"))));
    assert!(!graph_eq(&apart, &shared));
    assert!(!graph_eq(&shared, &apart));
    assert!(graph_eq(&apart, &read(&body(&format!("{} {} {}", neg("b"), neg("a"), add("a", "b"))))));
}
