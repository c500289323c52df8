//! Pointwise operators and operators on shapes: what they import to, and what the imported graph computes.

use crate::onnx_builder::{
    Attributes, BOOL, Builder, FLOAT, INT64, close, f32s, i64s, node, noise, ops, run_graph, tensor, the_op,
};
use qwenc::onnx::proto::TensorProto;
use qwenc::onnx::registry;
use qwenc_ir::{BinaryOp, Expr, Op};

/// `y = op(x)` on floats.
fn unary(op: &str, x: &[f32]) -> Vec<f32> {
    applied(node(op, &["x"], &["y"]), x)
}

fn applied(node: qwenc::onnx::proto::NodeProto, x: &[f32]) -> Vec<f32> {
    let model = Builder::with_opset(24).input("x", FLOAT, &["n"]).node(node).output("y", FLOAT);
    let n = i64::try_from(x.len()).unwrap();
    model.run(&[("x", f32s(&[x.len()], x))], &[("n", n)]).as_f32().unwrap().to_vec()
}

#[track_caller]
fn near(got: &[f32], want: &[f32]) {
    assert_eq!(got.len(), want.len());
    for (a, b) in got.iter().zip(want) {
        assert!((a - b).abs() <= 1e-5 * b.abs().max(1.0), "{got:?} {want:?}");
    }
}

#[test]
fn the_registry_is_listed_in_order() {
    let names: Vec<(&str, &str)> = registry().map(|entry| (entry.domain, entry.name)).collect();
    assert!(names.is_sorted());
    assert!(names.len() > 120, "{}", names.len());
    assert!(names.contains(&("com.microsoft", "LinearAttention")) && names.contains(&("", "MatMul")));
}

// ---- pointwise -----------------------------------------------------------------------------------------------------

#[test]
fn functions_of_one_operand() {
    near(&unary("Neg", &[1.0, -2.0]), &[-1.0, 2.0]);
    near(&unary("Reciprocal", &[4.0]), &[0.25]);
    near(&unary("Round", &[0.5, 1.5, -2.5]), &[0.0, 2.0, -2.0]);
    near(&unary("Softplus", &[0.0]), &[std::f32::consts::LN_2]);
    near(&unary("Erf", &[0.5]), &[0.520_499_9]);
    near(&unary("Sigmoid", &[0.0, 2.0]), &[0.5, 0.880_797_1]);
}

#[test]
fn activations() {
    near(&unary("Relu", &[-1.0, 2.0]), &[0.0, 2.0]);
    near(&unary("Gelu", &[1.0]), &[0.841_344_7]);
    near(&applied(node("Gelu", &["x"], &["y"]).text("approximate", "tanh"), &[1.0]), &[0.841_192]);
    near(&unary("HardSigmoid", &[-9.0, 0.0, 9.0]), &[0.0, 0.5, 1.0]);
    near(&unary("HardSwish", &[3.0, 1.0]), &[3.0, 0.666_666_7]);
    near(&unary("LeakyRelu", &[-2.0, 2.0]), &[-0.02, 2.0]);
    near(&unary("Elu", &[-1.0, 2.0]), &[-0.632_120_6, 2.0]);
    near(&unary("Selu", &[-1.0, 2.0]), &[-1.111_330_7, 2.101_402]);
    near(&unary("Softsign", &[-3.0]), &[-0.75]);
    near(&unary("Mish", &[1.0]), &[0.865_098_4]);
    near(&unary("Swish", &[2.0]), &[1.761_594_2]);
    near(&applied(node("Swish", &["x"], &["y"]).float("alpha", 0.5), &[2.0]), &[1.462_117_2]);
    near(&unary("com.microsoft::QuickGelu", &[2.0]), &[1.935_658_6]);
    near(&unary("com.microsoft::FastGelu", &[1.0]), &[0.841_192]);
    near(&applied(node("ThresholdedRelu", &["x"], &["y"]), &[0.5, 2.0]), &[0.0, 2.0]);
    near(
        &applied(node("Shrink", &["x"], &["y"]).float("bias", 1.0).float("lambd", 1.5), &[-2.0, 1.0, 2.0]),
        &[-1.0, 0.0, 1.0],
    );
}

#[test]
fn scalars_are_written_into_the_expression() {
    let model = Builder::new().input("x", FLOAT, &["n", "4"]).floats("k", &[1], &[0.25]);
    let graph = model.op("Mul", &["x", "k"], &["y"]).output("y", FLOAT).import();
    let expected = Expr::Arg(0).binary(BinaryOp::Mul, Expr::f32(0.25));
    assert_eq!(*the_op(&graph, "elementwise"), Op::Elementwise(expected));
    // Not where the scalar gives the result its rank.
    let model = Builder::new().input("x", FLOAT, &["4"]).floats("k", &[1, 1], &[0.25]);
    let graph = model.op("Mul", &["x", "k"], &["y"]).output("y", FLOAT).import();
    assert_eq!(graph.value(graph.outputs()[0].1).ty.to_string(), "f32[1, 4]");
}

#[test]
fn broadcasting_comparison_and_choice() {
    let model = Builder::new()
        .input("a", FLOAT, &["2", "1"])
        .input("b", FLOAT, &["3"])
        .op("Greater", &["a", "b"], &["c"])
        .op("Where", &["c", "a", "b"], &["y"])
        .output("y", FLOAT);
    let y = model.run(&[("a", f32s(&[2, 1], &[1.0, 3.0])), ("b", f32s(&[3], &[0.0, 2.0, 4.0]))], &[]);
    close(&y, &f32s(&[2, 3], &[1.0, 2.0, 4.0, 3.0, 3.0, 4.0]), 0.0);
}

#[test]
fn powers_avoid_what_shaders_leave_undefined() {
    for (exponent, want) in [(2.0, 4.0), (3.0, -8.0), (1.0, -2.0), (-1.0, -0.5)] {
        let model = Builder::new().input("x", FLOAT, &["1"]).floats("e", &[], &[exponent]);
        let graph = model.op("Pow", &["x", "e"], &["y"]).output("y", FLOAT).import();
        let text = ops(&graph);
        assert!(text.iter().all(|op| *op == "elementwise"), "{text:?}");
        let got = run_graph(&graph, &[("x", f32s(&[1], &[-2.0]))], &[]).remove("y").unwrap();
        close(&got, &f32s(&[1], &[want]), 1e-6);
    }
}

#[test]
fn clip_mod_and_variadic() {
    let model = Builder::new()
        .input("x", FLOAT, &["3"])
        .floats("hi", &[], &[1.0])
        .op("Clip", &["x", "", "hi"], &["y"])
        .output("y", FLOAT);
    close(&model.run(&[("x", f32s(&[3], &[-5.0, 0.5, 5.0]))], &[]), &f32s(&[3], &[-5.0, 0.5, 1.0]), 0.0);
    let model = Builder::new().input("x", INT64, &["2"]).scalar("m", 3).op("Mod", &["x", "m"], &["y"]);
    let y = model.output("y", INT64).run(&[("x", i64s(&[2], &[-4, 4]))], &[]);
    assert_eq!(y.as_int().unwrap(), [2, 1]);
    let model =
        Builder::new().input("x", FLOAT, &["1"]).op("Mean", &["x", "x", "x"], &["y"]).output("y", FLOAT);
    close(&model.run(&[("x", f32s(&[1], &[7.0]))], &[]), &f32s(&[1], &[7.0]), 1e-6);
}

#[test]
fn casts() {
    let model = Builder::new()
        .input("x", FLOAT, &["3"])
        .node(node("Cast", &["x"], &["i"]).int("to", 6))
        .node(node("Cast", &["i"], &["y"]).int("to", 9))
        .output("y", BOOL);
    let y = model.run(&[("x", f32s(&[3], &[0.5, -1.5, 2.0]))], &[]);
    assert_eq!(y.as_bool().unwrap(), [false, true, true]);
}

// ---- shapes --------------------------------------------------------------------------------------------------------

/// The shape of `y`, which one operator on `x` `[n, 6, 4]` gives, and what is left in the graph.
fn shape_of(builder: impl FnOnce(Builder) -> Builder) -> (String, Vec<&'static str>) {
    let graph = builder(Builder::new().input("x", FLOAT, &["n", "6", "4"])).output("y", FLOAT).import();
    (graph.value(graph.outputs()[0].1).ty.to_string(), ops(&graph))
}

#[test]
fn reshape_resolves_zero_and_minus_one() {
    for (shape, expected) in [
        (vec![0, -1], "f32[n, 24]"),
        (vec![-1, 8], "f32[n*3, 8]"),
        (vec![0, 0, 2, 2], "f32[n, 6, 2, 2]"),
        (vec![-1], "f32[n*24]"),
    ] {
        let (ty, left) = shape_of(|b| b.ints("s", &shape).op("Reshape", &["x", "s"], &["y"]));
        assert_eq!((ty.as_str(), left), (expected, vec!["reshape"]));
    }
    let model =
        Builder::new().input("x", FLOAT, &["n", "4"]).ints("s", &[-1, 3]).op("Reshape", &["x", "s"], &["y"]);
    assert!(model.output("y", FLOAT).refused().contains("do not provably divide by 3"));
}

#[test]
fn shape_arithmetic_never_enters_the_graph() {
    // Reshape to [n, 24] by Shape, Gather, Mul, Unsqueeze and Concat, as exporters write it.
    let (ty, left) = shape_of(|b| {
        b.op("Shape", &["x"], &["s"])
            .scalar("i0", 0)
            .scalar("i1", 1)
            .scalar("i2", 2)
            .op("Gather", &["s", "i0"], &["n"])
            .op("Gather", &["s", "i1"], &["h"])
            .op("Gather", &["s", "i2"], &["w"])
            .op("Mul", &["h", "w"], &["hw"])
            .ints("axis", &[0])
            .op("Unsqueeze", &["n", "axis"], &["n1"])
            .op("Unsqueeze", &["hw", "axis"], &["hw1"])
            .node(node("Concat", &["n1", "hw1"], &["t"]).int("axis", 0))
            .op("Reshape", &["x", "t"], &["y"])
    });
    assert_eq!((ty.as_str(), left), ("f32[n, 24]", vec!["reshape"]));
}

#[test]
fn the_expand_pattern_of_torch() {
    // Where(shape == -1, ones, shape), then Expand.
    let model = Builder::new()
        .input("x", FLOAT, &["n", "1"])
        .ints("target", &[-1, 5])
        .ints("minus", &[-1])
        .op("Equal", &["target", "minus"], &["c"])
        .ints("ones", &[1, 1])
        .op("Where", &["c", "ones", "target"], &["s"])
        .op("Expand", &["x", "s"], &["y"])
        .output("y", FLOAT);
    let graph = model.import();
    assert_eq!(graph.value(graph.outputs()[0].1).ty.to_string(), "f32[n, 5]");
    assert_eq!(ops(&graph), ["expand"]);
}

#[test]
fn views() {
    let same = |b: Builder| {
        b.ints("a", &[0]).op("Unsqueeze", &["x", "a"], &["u"]).op("Squeeze", &["u", "a"], &["y"])
    };
    assert_eq!(shape_of(same).0, "f32[n, 6, 4]");
    let (ty, _) = shape_of(|b| b.node(node("Flatten", &["x"], &["y"]).int("axis", 2)));
    assert_eq!(ty, "f32[n*6, 4]");
    let (ty, left) = shape_of(|b| b.op("Transpose", &["x"], &["y"]));
    assert_eq!((ty.as_str(), left), ("f32[4, 6, n]", vec!["transpose"]));
    let (ty, _) = shape_of(|b| b.ints("r", &[2, 1, 3]).op("Tile", &["x", "r"], &["y"]));
    assert_eq!(ty, "f32[n*2, 6, 12]");
}

#[test]
fn slices_with_every_kind_of_end() {
    let (ty, left) = shape_of(|b| {
        b.ints("s", &[-3, 0]).ints("e", &[i64::MAX, -1]).ints("a", &[1, 2]).op(
            "Slice",
            &["x", "s", "e", "a"],
            &["y"],
        )
    });
    assert_eq!((ty.as_str(), left), ("f32[n, 3, 3]", vec!["slice", "slice"]));
    let whole = |b: Builder| b.ints("s", &[0]).ints("e", &[i64::MAX]).op("Slice", &["x", "s", "e"], &["y"]);
    assert_eq!(shape_of(whole), ("f32[n, 6, 4]".to_owned(), vec![]));
    let model = Builder::new()
        .input("x", FLOAT, &["5"])
        .ints("s", &[-1])
        .ints("e", &[i64::MIN])
        .ints("a", &[0])
        .ints("k", &[-2])
        .op("Slice", &["x", "s", "e", "a", "k"], &["y"])
        .output("y", FLOAT);
    let y = model.run(&[("x", f32s(&[5], &[0.0, 1.0, 2.0, 3.0, 4.0]))], &[]);
    close(&y, &f32s(&[3], &[4.0, 2.0, 0.0]), 0.0);
}

#[test]
fn splits_in_every_form() {
    let by_count = Builder::new()
        .input("x", FLOAT, &["7"])
        .node(node("Split", &["x"], &["p", "q"]).int("num_outputs", 2))
        .node(node("Concat", &["q", "p"], &["y"]).int("axis", 0))
        .output("y", FLOAT);
    let x = f32s(&[7], &[0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
    let swapped = f32s(&[7], &[4.0, 5.0, 6.0, 0.0, 1.0, 2.0, 3.0]);
    close(&by_count.run(&[("x", x.clone())], &[]), &swapped, 0.0);
    let by_sizes = Builder::new()
        .input("x", FLOAT, &["7"])
        .ints("s", &[4, 3])
        .op("Split", &["x", "s"], &["p", "q"])
        .node(node("Concat", &["q", "p"], &["y"]).int("axis", -1))
        .output("y", FLOAT);
    close(&by_sizes.run(&[("x", x)], &[]), &swapped, 0.0);
    let wrong =
        Builder::new().input("x", FLOAT, &["7"]).ints("s", &[4, 4]).op("Split", &["x", "s"], &["y", "q"]);
    assert!(wrong.output("y", FLOAT).refused().contains("sum to 8"));
}

#[test]
fn pads_and_image_blocks() {
    let model = Builder::new()
        .input("x", FLOAT, &["2"])
        .ints("p", &[1, -1])
        .floats("v", &[], &[9.0])
        .op("Pad", &["x", "p", "v"], &["y"])
        .output("y", FLOAT);
    close(&model.run(&[("x", f32s(&[2], &[1.0, 2.0]))], &[]), &f32s(&[2], &[9.0, 1.0]), 0.0);
    let model = Builder::new()
        .input("x", FLOAT, &["1", "4", "1", "2"])
        .node(node("DepthToSpace", &["x"], &["d"]).int("blocksize", 2))
        .node(node("SpaceToDepth", &["d"], &["y"]).int("blocksize", 2))
        .output("y", FLOAT);
    let x = noise(&[1, 4, 1, 2], 1);
    close(&model.run(&[("x", x.clone())], &[]), &x, 0.0);
}

#[test]
fn sizes_become_data_where_a_tensor_needs_them() {
    // x divided by its number of rows, which is a symbol.
    let model = Builder::new()
        .input("x", FLOAT, &["n", "2"])
        .node(node("Shape", &["x"], &["s"]).int("end", 1))
        .node(node("Cast", &["s"], &["f"]).int("to", 1))
        .op("Div", &["x", "f"], &["y"])
        .output("y", FLOAT);
    let y = model.run(&[("x", f32s(&[4, 2], &[4.0; 8]))], &[("n", 4)]);
    close(&y, &f32s(&[4, 2], &[1.0; 8]), 0.0);
    let model = Builder::new()
        .input("x", FLOAT, &["n", "2"])
        .op("Size", &["x"], &["count"])
        .scalar("zero", 0)
        .scalar("step", 2)
        .op("Range", &["zero", "count", "step"], &["y"])
        .output("y", INT64);
    let y = model.run(&[("x", f32s(&[3, 2], &[0.0; 6]))], &[("n", 3)]);
    assert_eq!(y.as_int().unwrap(), [0, 2, 4]);
}

#[test]
fn constants_in_every_form() {
    let value = TensorProto { float_data: vec![1.0, 2.0], ..tensor("", FLOAT, &[2]) };
    for (constant, want) in [
        (node("Constant", &[], &["c"]).tensor("value", value), vec![1.0, 2.0]),
        (node("Constant", &[], &["c"]).float("value_float", 0.5), vec![0.5, 0.5]),
    ] {
        let model = Builder::new().input("x", FLOAT, &["2"]).node(constant).op("Add", &["x", "c"], &["y"]);
        close(&model.output("y", FLOAT).run(&[("x", f32s(&[2], &[0.0; 2]))], &[]), &f32s(&[2], &want), 0.0);
    }
    let model = Builder::new()
        .input("x", INT64, &["2"])
        .node(node("Constant", &[], &["c"]).ints("value_ints", &[3, 4]))
        .node(node("Constant", &[], &["d"]).int("value_int", 10))
        .op("Add", &["x", "c"], &["s"])
        .op("Mul", &["s", "d"], &["y"])
        .output("y", INT64);
    assert_eq!(model.run(&[("x", i64s(&[2], &[1, 1]))], &[]).as_int().unwrap(), [40, 50]);
    let of_shape = Builder::new()
        .ints("s", &[2, 1])
        .node(
            node("ConstantOfShape", &["s"], &["y"])
                .tensor("value", TensorProto { int64_data: vec![7], ..tensor("", INT64, &[1]) }),
        )
        .output("y", INT64);
    assert_eq!(of_shape.run(&[], &[]).as_int().unwrap(), [7, 7]);
}

#[test]
fn triangles() {
    for (upper, want) in [(1, [1.0, 2.0, 0.0, 4.0]), (0, [1.0, 0.0, 3.0, 4.0])] {
        let model = Builder::new()
            .input("x", FLOAT, &["2", "2"])
            .node(node("Trilu", &["x"], &["y"]).int("upper", upper))
            .output("y", FLOAT);
        close(&model.run(&[("x", f32s(&[2, 2], &[1.0, 2.0, 3.0, 4.0]))], &[]), &f32s(&[2, 2], &want), 0.0);
    }
}
