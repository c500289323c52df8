//! Operators, one family after another: what they import to, and what the imported graph computes.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod onnx_builder;

use onnx_builder::{
    Attributes, BOOL, Builder, FLOAT, INT32, INT64, close, f32s, i64s, node, noise, ops, run_graph, tensor,
    the_op, value_info,
};
use qwenc::onnx::proto::{GraphProto, TensorProto};
use qwenc::onnx::{ImportOptions, registry};
use qwenc_ir::interp::HostTensor;
use qwenc_ir::{BinaryOp, DType, Dim, Expr, Op, Scalar};

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
    near(&unary("Softplus", &[0.0]), &[0.693_147_2]);
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
    assert!(model.output("y", FLOAT).refused().contains("does not provably divide"));
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

// ---- gather, products, reductions ----------------------------------------------------------------------------------

#[test]
fn known_indices_become_slices() {
    let model =
        Builder::new().input("x", FLOAT, &["3", "2"]).scalar("i", -1).op("Gather", &["x", "i"], &["y"]);
    let graph = model.output("y", FLOAT).import();
    assert_eq!(ops(&graph), ["slice", "reshape"]);
    let y = run_graph(&graph, &[("x", f32s(&[3, 2], &[0.0, 1.0, 2.0, 3.0, 4.0, 5.0]))], &[]);
    close(&y["y"], &f32s(&[2], &[4.0, 5.0]), 0.0);
    let model = Builder::new().input("i", INT64, &["2"]).floats("t", &[2, 2], &[1.0, 2.0, 3.0, 4.0]);
    let model = model.op("Gather", &["t", "i"], &["y"]).output("y", FLOAT);
    close(&model.run(&[("i", i64s(&[2], &[1, 0]))], &[]), &f32s(&[2, 2], &[3.0, 4.0, 1.0, 2.0]), 0.0);
    let wrong = Builder::new().ints("v", &[1, 2]).scalar("i", 2).op("Gather", &["v", "i"], &["y"]);
    assert!(wrong.output("y", INT64).refused().contains("index 2 is out of range"));
}

#[test]
fn matrix_products() {
    let model = Builder::new()
        .input("a", FLOAT, &["2"])
        .input("b", FLOAT, &["2", "3"])
        .op("MatMul", &["a", "b"], &["y"])
        .output("y", FLOAT);
    let b = f32s(&[2, 3], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
    let y = model.run(&[("a", f32s(&[2], &[1.0, 10.0])), ("b", b.clone())], &[]);
    close(&y, &f32s(&[3], &[41.0, 52.0, 63.0]), 1e-5);
    let model = Builder::new()
        .input("a", FLOAT, &["2", "1"])
        .input("b", FLOAT, &["2", "3"])
        .floats("c", &[3], &[1.0, 1.0, 1.0])
        .node(node("Gemm", &["a", "b", "c"], &["y"]).int("transA", 1).float("alpha", 2.0).float("beta", 3.0))
        .output("y", FLOAT);
    let y = model.run(&[("a", f32s(&[2, 1], &[1.0, 10.0])), ("b", b)], &[]);
    close(&y, &f32s(&[1, 3], &[85.0, 107.0, 129.0]), 1e-4);
}

/// A patch embedding against its definition.
#[test]
fn convolutions_with_disjoint_windows() {
    let model = Builder::new()
        .input("x", FLOAT, &["1", "2", "4", "2"])
        .input("w", FLOAT, &["3", "2", "2", "2"])
        .input("b", FLOAT, &["3"])
        .node(node("Conv", &["x", "w", "b"], &["y"]).ints("strides", &[2, 2]).ints("kernel_shape", &[2, 2]))
        .output("y", FLOAT);
    let (x, w, b) = (noise(&[1, 2, 4, 2], 1), noise(&[3, 2, 2, 2], 2), noise(&[3], 3));
    let mut want = Vec::new();
    for out in 0..3 {
        for row in 0..2 {
            let mut sum = b.as_f32().unwrap()[out];
            for c in 0..2 {
                for i in 0..2 {
                    for j in 0..2 {
                        let pixel = x.as_f32().unwrap()[c * 8 + (row * 2 + i) * 2 + j];
                        sum += pixel * w.as_f32().unwrap()[out * 8 + c * 4 + i * 2 + j];
                    }
                }
            }
            want.push(sum);
        }
    }
    close(&model.run(&[("x", x), ("w", w), ("b", b)], &[]), &f32s(&[1, 3, 2, 1], &want), 1e-5);
    let overlapping = Builder::new()
        .input("x", FLOAT, &["1", "2", "4", "4"])
        .floats("w", &[1, 2, 2, 2], &[0.0; 8])
        .op("Conv", &["x", "w"], &["y"])
        .output("y", FLOAT);
    assert!(overlapping.refused().contains("overlapping"));
}

#[test]
fn reductions_by_opset() {
    let x = || f32s(&[2, 3], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
    let base = |opset| Builder::with_opset(opset).input("x", FLOAT, &["2", "3"]).output("y", FLOAT);
    let attribute = base(17).node(node("ReduceMean", &["x"], &["y"]).ints("axes", &[1]).int("keepdims", 0));
    close(&attribute.run(&[("x", x())], &[]), &f32s(&[2], &[2.0, 5.0]), 1e-6);
    let operand = base(18).ints("a", &[-2]).op("ReduceMax", &["x", "a"], &["y"]);
    close(&operand.run(&[("x", x())], &[]), &f32s(&[1, 3], &[4.0, 5.0, 6.0]), 0.0);
    let all = base(21).node(node("ReduceSum", &["x"], &["y"]).int("keepdims", 0));
    close(&all.run(&[("x", x())], &[]), &f32s(&[], &[21.0]), 1e-5);
    let none = base(21).node(node("ReduceSum", &["x"], &["y"]).int("noop_with_empty_axes", 1));
    close(&none.run(&[("x", x())], &[]), &x(), 0.0);
    let square = base(21).ints("a", &[1]).op("ReduceSumSquare", &["x", "a"], &["y"]);
    close(&square.run(&[("x", x())], &[]), &f32s(&[2, 1], &[14.0, 77.0]), 1e-4);
    let twice = base(21).ints("a", &[1, -1]).op("ReduceSum", &["x", "a"], &["y"]);
    assert!(twice.refused().contains("one axis twice"));
    let best = Builder::new()
        .input("x", FLOAT, &["2", "3"])
        .node(node("ArgMax", &["x"], &["y"]).int("axis", -1).int("keepdims", 0))
        .output("y", INT64);
    assert_eq!(best.run(&[("x", x())], &[]).as_int().unwrap(), [2, 2]);
    let running = base(21).scalar("a", 1).node(node("CumSum", &["x", "a"], &["y"]).int("exclusive", 1));
    close(&running.run(&[("x", x())], &[]), &f32s(&[2, 3], &[0.0, 1.0, 3.0, 0.0, 4.0, 9.0]), 1e-5);
    let softmax = base(21).op("Softmax", &["x"], &["y"]);
    let row = [0.090_030_57, 0.244_728_48, 0.665_240_94];
    close(&softmax.run(&[("x", x())], &[]), &f32s(&[2, 3], &[row, row].concat()), 1e-6);
}

/// Sums over a mask of ones are counts, of the size of the mask.
#[test]
fn a_bound_mask_is_counted_while_importing() {
    let model = Builder::new()
        .input("mask", INT64, &["1", "total"])
        .ints("one", &[1])
        .node(node("ReduceSum", &["mask", "one"], &["sum"]).int("keepdims", 0))
        .op("Sub", &["sum", "one"], &["last"])
        .node(node("Cast", &["last"], &["y"]).int("to", 6))
        .output("y", INT32);
    let mut options = ImportOptions::default();
    options.constants.insert("mask".to_owned(), Scalar::Int(1));
    options.dims.insert("total".to_owned(), Dim::sym("past") + Dim::sym("tokens"));
    let graph = model.import_with(&options).unwrap().graph;
    assert!(graph.inputs().is_empty());
    let y = run_graph(&graph, &[], &[("past", 5), ("tokens", 3)]);
    assert_eq!(y["y"].as_int().unwrap(), [7]);
}

// ---- normalisation -------------------------------------------------------------------------------------------------

#[test]
fn norms_over_several_axes() {
    let x = noise(&[2, 2, 3], 5);
    let model = |op: &str, axis| {
        Builder::with_opset(23)
            .input("x", FLOAT, &["2", "2", "3"])
            .floats("w", &[3], &[1.0, 2.0, 3.0])
            .node(node(op, &["x", "w"], &["y"]).int("axis", axis).float("epsilon", 1e-6))
            .output("y", FLOAT)
    };
    let y = model("RMSNormalization", 1).run(&[("x", x.clone())], &[]);
    let values = x.as_f32().unwrap();
    let mean: f32 = values[..6].iter().map(|v| v * v).sum::<f32>() / 6.0;
    assert!((y.as_f32().unwrap()[5] - values[5] / (mean + 1e-6).sqrt() * 3.0).abs() < 1e-5);
    let y = model("LayerNormalization", -1).run(&[("x", x.clone())], &[]);
    let mean = values[..3].iter().sum::<f32>() / 3.0;
    let variance = values[..3].iter().map(|v| (v - mean) * (v - mean)).sum::<f32>() / 3.0;
    assert!((y.as_f32().unwrap()[1] - (values[1] - mean) / (variance + 1e-6).sqrt() * 2.0).abs() < 1e-4);
    let standard = model("SimplifiedLayerNormalization", -1).import();
    assert_eq!(ops(&standard), ["rms_norm"]);
}

#[test]
fn norms_with_a_skip_connection_give_the_sum_too() {
    let model = Builder::new()
        .input("a", FLOAT, &["1", "n", "4"])
        .input("b", FLOAT, &["1", "n", "4"])
        .floats("w", &[4], &[1.0, 1.0, 1.0, 1.0])
        .op("com.microsoft::SkipSimplifiedLayerNormalization", &["a", "b", "w"], &["z", "", "", "sum"])
        .op("Add", &["z", "sum"], &["y"])
        .output("y", FLOAT);
    let graph = model.import();
    assert_eq!(ops(&graph), ["elementwise", "rms_norm", "elementwise"]);
    let layer = Builder::new()
        .input("a", FLOAT, &["n", "4"])
        .input("b", FLOAT, &["n", "4"])
        .floats("w", &[4], &[1.0; 4])
        .op("com.microsoft::SkipLayerNormalization", &["a", "b", "w", "w"], &["y"])
        .output("y", FLOAT);
    assert_eq!(ops(&layer.import()), ["elementwise", "layer_norm"]);
}

#[test]
fn gated_and_lp_norms() {
    let model = Builder::new()
        .input("x", FLOAT, &["1", "n", "8"])
        .input("z", FLOAT, &["1", "n", "8"])
        .floats("w", &[4], &[1.0; 4])
        .op("com.microsoft::GatedRMSNorm", &["x", "w", "z"], &["y"])
        .output("y", FLOAT);
    let graph = model.import();
    assert_eq!(ops(&graph), ["reshape", "reshape", "rms_norm", "reshape"]);
    let base = || Builder::with_opset(22).input("x", FLOAT, &["2", "2"]).output("y", FLOAT);
    let x = || f32s(&[2, 2], &[3.0, 4.0, 0.0, 0.0]);
    let last = base().op("LpNormalization", &["x"], &["y"]);
    close(&last.run(&[("x", x())], &[]), &f32s(&[2, 2], &[0.6, 0.8, 0.0, 0.0]), 1e-6);
    let first = base().node(node("LpNormalization", &["x"], &["y"]).int("axis", 0).int("p", 1));
    close(&first.run(&[("x", x())], &[]), &f32s(&[2, 2], &[1.0, 1.0, 0.0, 0.0]), 1e-6);
}

#[test]
fn norms_of_images() {
    let image = || Builder::new().input("x", FLOAT, &["1", "4", "2", "1"]).output("y", FLOAT);
    let x = || f32s(&[1, 4, 2, 1], &[1.0, 3.0, 2.0, 6.0, 0.0, 4.0, -1.0, 1.0]);
    let ones = |b: Builder| b.floats("w", &[4], &[1.0; 4]).floats("b", &[4], &[0.0, 0.0, 0.0, 5.0]);
    let instance =
        ones(image()).node(node("InstanceNormalization", &["x", "w", "b"], &["y"]).float("epsilon", 0.0));
    let want = f32s(&[1, 4, 2, 1], &[-1.0, 1.0, -1.0, 1.0, -1.0, 1.0, 4.0, 6.0]);
    close(&instance.run(&[("x", x())], &[]), &want, 1e-5);
    let group = ones(image()).node(
        node("GroupNormalization", &["x", "w", "b"], &["y"]).int("num_groups", 4).float("epsilon", 0.0),
    );
    close(&group.run(&[("x", x())], &[]), &want, 1e-5);
    let batch = ones(image())
        .floats("m", &[4], &[1.0; 4])
        .floats("v", &[4], &[4.0; 4])
        .node(node("BatchNormalization", &["x", "w", "b", "m", "v"], &["y"]).float("epsilon", 0.0));
    let want = f32s(&[1, 4, 2, 1], &[0.0, 1.0, 0.5, 2.5, -0.5, 1.5, 4.0, 5.0]);
    close(&batch.run(&[("x", x())], &[]), &want, 1e-5);
    let pool = image().op("GlobalAveragePool", &["x"], &["y"]);
    close(&pool.run(&[("x", x())], &[]), &f32s(&[1, 4, 1, 1], &[2.0, 4.0, 2.0, 0.0]), 1e-6);
}

#[test]
fn filters_for_every_channel() {
    let base =
        || Builder::new().input("x", FLOAT, &["1", "2", "3"]).floats("w", &[2, 1, 2], &[1.0, 10.0, 0.0, 1.0]);
    let x = || f32s(&[1, 2, 3], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
    let valid = base().node(node("Conv", &["x", "w"], &["y"]).int("group", 2)).output("y", FLOAT);
    close(&valid.run(&[("x", x())], &[]), &f32s(&[1, 2, 2], &[21.0, 32.0, 5.0, 6.0]), 0.0);
    let same = base().node(node("Conv", &["x", "w"], &["y"]).int("group", 2).ints("pads", &[1, 1]));
    let want = f32s(&[1, 2, 4], &[10.0, 21.0, 32.0, 3.0, 4.0, 5.0, 6.0, 0.0]);
    close(&same.output("y", FLOAT).run(&[("x", x())], &[]), &want, 0.0);
}

#[test]
fn one_hot_and_identity() {
    let model = Builder::new()
        .input("i", INT64, &["3"])
        .floats("d", &[], &[3.0])
        .floats("v", &[2], &[0.0, 9.0])
        .op("OneHot", &["i", "d", "v"], &["y"])
        .output("y", FLOAT);
    let y = model.run(&[("i", i64s(&[3], &[1, -1, 7]))], &[]);
    close(&y, &f32s(&[3, 3], &[0.0, 9.0, 0.0, 0.0, 0.0, 9.0, 0.0, 0.0, 0.0]), 0.0);
    let model = Builder::new()
        .input("x", FLOAT, &["2", "3"])
        .node(node("EyeLike", &["x"], &["y"]).int("k", 1))
        .output("y", FLOAT);
    let y = model.run(&[("x", f32s(&[2, 3], &[7.0; 6]))], &[]);
    close(&y, &f32s(&[2, 3], &[0.0, 1.0, 0.0, 0.0, 0.0, 1.0]), 0.0);
}

// ---- attention -----------------------------------------------------------------------------------------------------

/// The community's decoders compute a bias from the mask, which is zero everywhere without padding.
#[test]
fn a_bias_from_a_mask_of_ones_is_left_out() {
    use qwenc::onnx::proto::tensor_proto::DataType;
    for (dtype, code, lowest) in [(FLOAT, 1, f32::MIN), (DataType::Float16, 10, -65504.0)] {
        let scalar = |name: &str, value: f32| match code {
            1 => TensorProto { float_data: vec![value], ..tensor(name, dtype, &[]) },
            _ => TensorProto {
                int32_data: vec![if value == 1.0 { 0x3C00 } else { 0xFBFF }],
                ..tensor(name, dtype, &[])
            },
        };
        let mut builder = Builder::new()
            .input("q", dtype, &["1", "s", "8"])
            .input("k", dtype, &["1", "s", "8"])
            .input("pk", dtype, &["1", "1", "p", "width"])
            .input("mask", INT64, &["1", "total"])
            .initializer(scalar("one", 1.0))
            .initializer(scalar("lowest", lowest))
            .ints("i1", &[1])
            .ints("i12", &[1, 2])
            .node(node("Cast", &["mask"], &["m"]).int("to", code))
            .op("Sub", &["one", "m"], &["inverse"])
            .op("Mul", &["inverse", "lowest"], &["b"])
            .op("Unsqueeze", &["b", "i12"], &["bias"])
            .op("Shape", &["mask"], &["ms"])
            .op("Shape", &["q"], &["qs"])
            .scalar("at", 1)
            .op("Gather", &["ms", "at"], &["t"])
            .op("Gather", &["qs", "at"], &["s1"])
            .ints("target_head", &[1, 1])
            .ints("axis", &[0])
            .op("Unsqueeze", &["t", "axis"], &["t1"])
            .op("Unsqueeze", &["s1", "axis"], &["s2"])
            .node(node("Concat", &["target_head", "s2", "t1"], &["target"]).int("axis", 0))
            .op("Expand", &["bias", "target"], &["full"])
            .op("Sub", &["t1", "i1"], &["last"])
            .node(node("Cast", &["last"], &["seqlens"]).int("to", 6))
            .node(node("Cast", &["t"], &["total"]).int("to", 6));
        let gqa = ["q", "k", "k", "pk", "pk", "seqlens", "total", "", "", "", "full"];
        builder = builder.node(
            node("com.microsoft::GroupQueryAttention", &gqa, &["y", "present"])
                .int("num_heads", 1)
                .int("kv_num_heads", 1),
        );
        let mut options = ImportOptions::default();
        options.constants.insert("mask".to_owned(), Scalar::Int(1));
        options.dims.insert("total".to_owned(), Dim::sym("p") + Dim::sym("s"));
        let imported = builder.output("y", dtype).output("present", dtype).import_with(&options).unwrap();
        let graph = &imported.graph;
        // The width of the cache follows from that of the keys.
        assert_eq!(imported.inferred["width"], Dim::constant(8));
        assert_eq!(ops(graph), ["reshape", "reshape", "reshape", "attention", "reshape"]);
        let node = graph.nodes().find(|node| graph.node(*node).op.name() == "attention").unwrap();
        assert_eq!(graph.node_input(node, qwenc_ir::op::attention::MASK), None);
    }
}

// ---- functions and branches ----------------------------------------------------------------------------------------

#[test]
fn functions_are_inlined_with_their_attributes() {
    use onnx_builder::opset;
    use qwenc::onnx::proto::attribute_proto::AttributeType;
    let function = qwenc::onnx::proto::FunctionProto {
        name: Some("Leaky".to_owned()),
        domain: Some("local".to_owned()),
        input: vec!["a".to_owned()],
        output: vec!["b".to_owned()],
        attribute: vec!["slope".to_owned()],
        node: vec![
            node("LeakyRelu", &["a"], &["m"]).reference("alpha", "slope", AttributeType::Float),
            node("Neg", &["m"], &["b"]),
        ],
        opset_import: vec![opset("", 21)],
        ..qwenc::onnx::proto::FunctionProto::default()
    };
    let model = Builder::new()
        .input("x", FLOAT, &["2"])
        .function(function)
        .node(node("local::Leaky", &["x"], &["h"]).float("slope", 0.5))
        .op("local::Leaky", &["h"], &["y"])
        .output("y", FLOAT);
    let y = model.run(&[("x", f32s(&[2], &[-4.0, 1.0]))], &[]);
    close(&y, &f32s(&[2], &[-2.0, 0.01]), 1e-6);
}

#[test]
fn known_branches_are_taken() {
    let branch = |op: &str| GraphProto {
        node: vec![node(op, &["x"], &["r"])],
        output: vec![value_info("r", FLOAT, None)],
        ..GraphProto::default()
    };
    for (batch, want) in [("1", "Neg"), ("2", "Abs")] {
        let model = Builder::new()
            .input("x", FLOAT, &[batch, "n"])
            .op("Shape", &["x"], &["s"])
            .scalar("zero", 0)
            .op("Gather", &["s", "zero"], &["b"])
            .scalar("one", 1)
            .op("Greater", &["b", "one"], &["c"])
            .node(
                node("If", &["c"], &["y"])
                    .graph("then_branch", branch("Abs"))
                    .graph("else_branch", branch("Neg")),
            )
            .output("y", FLOAT);
        let graph = model.import();
        assert_eq!(ops(&graph), ["elementwise"]);
        let node = graph.nodes().next().unwrap();
        assert!(graph.node(node).name.starts_with(want), "{}", graph.node(node).name);
    }
}

#[test]
fn initializers_that_are_inputs_too_are_constants() {
    let model = Builder::new()
        .input("x", FLOAT, &["2"])
        .input("w", FLOAT, &["2"])
        .floats("w", &[2], &[1.0, 2.0])
        .op("Add", &["x", "w"], &["y"])
        .output("y", FLOAT);
    let graph = model.import();
    assert_eq!(graph.inputs().len(), 1);
    let value = run_graph(&graph, &[("x", f32s(&[2], &[1.0, 1.0]))], &[]);
    close(&value["y"], &f32s(&[2], &[2.0, 3.0]), 0.0);
}

#[test]
fn halves_stay_halves() {
    use qwenc::onnx::proto::tensor_proto::DataType;
    let half = DataType::Float16;
    let model = Builder::new()
        .input("x", half, &["2"])
        .initializer(TensorProto { int32_data: vec![0x3C00], ..tensor("w", half, &[1]) })
        .op("Add", &["x", "w"], &["y"])
        .output("y", half);
    let graph = model.import();
    assert_eq!(graph.value(graph.outputs()[0].1).ty.dtype, DType::F16);
    let x = HostTensor::zeros(DType::F16, vec![2]).unwrap();
    let y = run_graph(&graph, &[("x", x)], &[]).remove("y").unwrap();
    assert_eq!(y.to_tensor(DType::F32).unwrap().to_f32().unwrap(), [1.0, 1.0]);
}
