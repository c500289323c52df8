//! Operators that compute on whole tensors, functions and branches: what they import to, and what the graph computes.

use crate::onnx_builder::{
    Attributes, Builder, FLOAT, INT32, INT64, close, f32s, i64s, node, noise, ops, run_graph, tensor,
    value_info,
};
use qwenc::onnx::ImportOptions;
use qwenc::onnx::proto::{GraphProto, TensorProto};
use qwenc_ir::interp::HostTensor;
use qwenc_ir::{DType, Dim, Scalar};

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
        .floats("w", &[1, 2, 2, 2], &[1.0; 8])
        .op("Conv", &["x", "w"], &["y"])
        .output("y", FLOAT);
    let ramp: Vec<f32> = (0u8..32).map(f32::from).collect();
    let window = |at: usize| [0, 1, 4, 5, 16, 17, 20, 21].iter().map(|step| ramp[at + step]).sum::<f32>();
    let want: Vec<f32> = [0, 1, 2, 4, 5, 6, 8, 9, 10].map(window).to_vec();
    close(&overlapping.run(&[("x", f32s(&[1, 2, 4, 4], &ramp))], &[]), &f32s(&[1, 1, 3, 3], &want), 1e-4);
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
    use crate::onnx_builder::opset;
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
