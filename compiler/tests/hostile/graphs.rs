//! Graphs that are no graphs: cycles, names that mean two things or nothing, control flow without end.

use qwenc::onnx::proto::{GraphProto, NodeProto};

use crate::onnx_builder::{Attributes, BOOL, Builder, FLOAT, INT64, node, tensor, value_info};
use crate::scene::{Scene, refused};

fn xy() -> Builder {
    Builder::new().input("x", FLOAT, &["n", "4"]).output("y", FLOAT)
}

fn truth(name: &str) -> qwenc::onnx::proto::TensorProto {
    qwenc::onnx::proto::TensorProto { int32_data: vec![1], ..tensor(name, BOOL, &[]) }
}

#[test]
fn cycles() {
    refused(xy().op("Add", &["x", "y"], &["y"]).proto, &["cycle", "node `Add_y`"]);
    let long = (0..1000)
        .fold(xy(), |model, at| model.op("Abs", &[&format!("v{}", (at + 1) % 1000)], &[&format!("v{at}")]));
    refused(long.op("Abs", &["v0"], &["y"]).proto, &["cycle through node `Abs_v"]);
    // Through a branch that reads what its own node computes.
    let branch = GraphProto {
        node: vec![node("Abs", &["y"], &["r"])],
        output: vec![value_info("r", FLOAT, None)],
        ..GraphProto::default()
    };
    let model = xy()
        .initializer(truth("c"))
        .node(node("If", &["c"], &["y"]).graph("then_branch", branch.clone()).graph("else_branch", branch));
    refused(model.proto, &["cycle", "If_y"]);
}

/// The format wants nodes in order; exporters and editors of graphs do not always keep to it. Any order without a cycle
/// is sorted, so that a long backwards chain is no recursion either.
#[test]
fn unsorted_graphs_are_sorted() {
    let backwards = (0..5000).rev().fold(xy(), |model, at| {
        let input = if at == 0 { "x".to_owned() } else { format!("v{}", at - 1) };
        let output = if at == 4999 { "y".to_owned() } else { format!("v{at}") };
        model.op("Abs", &[&input], &[&output])
    });
    assert_eq!(crate::onnx_builder::ops(&backwards.import()).len(), 5000);
}

#[test]
fn names_that_are_taken_or_mean_nothing() {
    let cases: [(Builder, &str); 10] = [
        (xy().op("Abs", &["x"], &["y"]).op("Neg", &["x"], &["y"]), "two values are named `y`"),
        (
            xy().floats("x", &[1], &[1.0]).input("x", FLOAT, &["2"]).op("Abs", &["x"], &["y"]),
            "two values are named `x`",
        ),
        (xy().floats("y", &[1], &[1.0]).op("Abs", &["x"], &["y"]), "two values are named `y`"),
        (xy().op("Abs", &["x"], &["x"]).op("Abs", &["x"], &["y"]), "cycle"),
        (xy().input("x", FLOAT, &["3"]).op("Abs", &["x"], &["y"]), "two values are named `x`"),
        (xy().op("Abs", &["nowhere"], &["y"]), "`nowhere` is neither"),
        (xy().op("Abs", &[""], &["y"]), "operand 0 is missing"),
        (xy().op("Abs", &[], &["y"]), "operand 0 is missing"),
        (xy().op("Abs", &["x"], &[""]), "`y` is computed nowhere"),
        (xy(), "`y` is computed nowhere"),
    ];
    for (model, part) in cases {
        refused(model.proto, &[part]);
    }
}

#[test]
fn loops_and_scans_are_refused_by_name() {
    let body = || GraphProto {
        node: vec![node("Abs", &["x"], &["r"])],
        output: vec![value_info("r", FLOAT, None)],
        ..GraphProto::default()
    };
    let model = xy()
        .scalar("trips", i64::MAX)
        .initializer(truth("c"))
        .node(node("Loop", &["trips", "c", "x"], &["y"]).graph("body", body()));
    refused(model.proto, &["Loop"]);
    let mut scan = node("Scan", &["x"], &["y"]).graph("body", body());
    scan = scan.int("num_scan_inputs", i64::MAX);
    refused(xy().node(scan).proto, &["Scan"]);
}

/// Branches within branches: 20 levels are a model, 33 are not; the reader itself ends at 100 messages.
#[test]
fn nested_branches_are_bounded() {
    let nested = |levels: usize| {
        let leaf = vec![node("Abs", &["x"], &["r"])];
        let nodes = (0..levels).fold(leaf, |nodes: Vec<NodeProto>, _| {
            let graph = GraphProto {
                node: nodes,
                output: vec![value_info("r", FLOAT, None)],
                ..GraphProto::default()
            };
            vec![node("If", &["c"], &["r"]).graph("then_branch", graph.clone())]
        });
        let graph =
            GraphProto { node: nodes, output: vec![value_info("r", FLOAT, None)], ..GraphProto::default() };
        let model = xy().initializer(truth("c"));
        model.node(node("If", &["c"], &["y"]).graph("then_branch", graph))
    };
    nested(20).import();
    refused(nested(33).proto, &["nest"]);
    refused(nested(400).proto, &["nest"]);
}

/// An output may be an input as it is, under its own name: two buffers and a copy.
#[test]
fn an_input_that_is_an_output() {
    let model = Builder::new().input("x", FLOAT, &["n", "4"]).output("x", FLOAT).op("Abs", &["x"], &["y"]);
    let graph = model.output("y", FLOAT).import();
    let mut files = std::collections::BTreeMap::new();
    let symbols = qwenc_codegen_wgsl::Symbols::new([("n".to_owned(), (1, 9))]);
    let compiled = qwenc::pipeline::compile_graph(&graph, symbols, &mut files).unwrap();
    let entry = &compiled.assembled.schedule.entries["main"];
    assert_ne!(entry.inputs["x"].buffer, entry.outputs["x"].buffer);
}

#[test]
fn thousands_of_inputs_and_outputs() {
    let many = (0..5000).fold(xy(), |model, at| model.input(&format!("i{at}"), FLOAT, &["1"]));
    refused(many.op("Abs", &["x"], &["y"]).proto, &["5001 inputs", "4096"]);
    let many = (0..5000).fold(xy(), |model, at| model.output(&format!("o{at}"), FLOAT));
    refused(many.op("Abs", &["x"], &["y"]).proto, &["5001 outputs", "4096"]);
}

/// Sizes whose names all become the same symbol are numbered without trying each other's numbers.
#[test]
fn sizes_that_are_named_alike() {
    let names: Vec<String> = (0..4000).map(|at| "é".repeat(1 + at % 60) + &" ".repeat(at / 60)).collect();
    let many = names
        .iter()
        .enumerate()
        .fold(xy(), |model, (at, name)| model.input(&format!("i{at}"), FLOAT, &[name]));
    let graph = many.op("Abs", &["x"], &["y"]).import();
    let shapes: std::collections::BTreeSet<String> =
        graph.inputs().iter().map(|input| graph.value(*input).ty.to_string()).collect();
    assert_eq!(shapes.len(), 1 + names.iter().collect::<std::collections::BTreeSet<_>>().len());
}

#[test]
fn faults_reach_the_user_through_the_compiler() {
    let scene = Scene::new();
    scene.model(&xy().op("Add", &["x", "y"], &["y"]).proto);
    scene.refuses(&["model.onnx", "cycle through node `Add_y`"]);
    scene.model(&xy().input("k", INT64, &["1"]).op("Reshape", &["x", "k"], &["y"]).proto);
    scene.refuses(&["model.onnx", "Reshape_y", "computed from data"]);
}
