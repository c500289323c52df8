//! Functions of a model that never end, or multiply.

use qwenc::onnx::proto::{FunctionProto, GraphProto, NodeProto, TensorProto};

use crate::onnx_builder::{Attributes, BOOL, Builder, FLOAT, node, opset, tensor, value_info};
use crate::scene::refused;

fn function(name: &str, nodes: Vec<NodeProto>) -> FunctionProto {
    FunctionProto {
        name: Some(name.to_owned()),
        domain: Some("local".to_owned()),
        input: vec!["a".to_owned()],
        output: vec!["b".to_owned()],
        node: nodes,
        opset_import: vec![opset("", 21)],
        ..FunctionProto::default()
    }
}

fn xy() -> Builder {
    Builder::new().input("x", FLOAT, &["n", "4"]).output("y", FLOAT)
}

#[test]
fn functions_that_call_themselves() {
    let own = function("F", vec![node("local::F", &["a"], &["b"])]);
    refused(xy().function(own).op("local::F", &["x"], &["y"]).proto, &["function `F` calls itself"]);
    // In a ring of a hundred.
    let ring = (0..100).fold(xy(), |model, at| {
        let next = format!("local::F{}", (at + 1) % 100);
        model.function(function(&format!("F{at}"), vec![node(&next, &["a"], &["b"])]))
    });
    refused(ring.op("local::F0", &["x"], &["y"]).proto, &["calls itself"]);
}

#[test]
fn functions_that_multiply() {
    for copies in [2, 16] {
        let mut model = xy();
        let mut nodes = vec![node("Abs", &["a"], &["b"])];
        for level in 0..28 {
            model = model.function(function(&format!("F{level}"), nodes));
            let callee = format!("local::F{level}");
            nodes = (0..copies)
                .map(|at| {
                    let from = if at == 0 { "a".to_owned() } else { format!("m{at}") };
                    let to = if at + 1 == copies { "b".to_owned() } else { format!("m{}", at + 1) };
                    node(&callee, &[&from], &[&to])
                })
                .collect();
        }
        let top = model.function(function("Top", nodes)).op("local::Top", &["x"], &["y"]);
        refused(top.proto, &["nodes"]);
    }
}

/// Every level a little wider, so that the number of nodes stays small but what they are called does not.
#[test]
fn long_names_in_functions_that_multiply() {
    let body: Vec<NodeProto> = (0..512)
        .map(|at| {
            let from = if at == 0 { "a".to_owned() } else { format!("m{at}") };
            let to = if at == 511 { "b".to_owned() } else { format!("m{}", at + 1) };
            NodeProto { name: Some("é".repeat(2000)), ..node("Abs", &[&from], &[&to]) }
        })
        .collect();
    let calls = (0..511).fold(xy().function(function("F", body)), |model, at| {
        let from = if at == 0 { "x".to_owned() } else { format!("c{at}") };
        let to = if at == 510 { "y".to_owned() } else { format!("c{}", at + 1) };
        model.op("local::F", &[&from], &[&to])
    });
    let error = refused(calls.proto, &[]);
    assert!(error.contains("nodes") || error.contains("parts"), "{error}");
}

/// Calls within branches within calls: a thousand levels that neither bound alone would see.
#[test]
fn functions_and_branches_in_turn() {
    let body = |callee: &str| {
        let graph = |nodes| GraphProto {
            node: nodes,
            output: vec![value_info("r", FLOAT, None)],
            ..GraphProto::default()
        };
        let nodes = (0..30).fold(vec![node(callee, &["a"], &["r"])], |nodes: Vec<NodeProto>, _| {
            vec![node("If", &["c"], &["r"]).graph("then_branch", graph(nodes))]
        });
        let condition = TensorProto { int32_data: vec![1], ..tensor("c", BOOL, &[]) };
        let mut all = vec![node("Constant", &[], &["c"]).tensor("value", condition)];
        all.push(node("If", &["c"], &["b"]).graph("then_branch", graph(nodes)));
        all
    };
    let model = (0..30).fold(xy(), |model, at| {
        let callee = if at == 29 { "Abs".to_owned() } else { format!("local::F{}", at + 1) };
        model.function(function(&format!("F{at}"), body(&callee)))
    });
    refused(model.op("local::F0", &["x"], &["y"]).proto, &["nest deeper than 32"]);
}

#[test]
fn calls_that_do_not_fit() {
    let twice = FunctionProto {
        input: vec!["a".into(), "a".into()],
        ..function("F", vec![node("Abs", &["a"], &["b"])])
    };
    refused(xy().function(twice).op("local::F", &["x", "x"], &["y"]).proto, &["two inputs of one name"]);
    let plain = function("F", vec![node("Abs", &["a"], &["b"])]);
    refused(xy().function(plain).op("local::F", &["x", "x"], &["y"]).proto, &["more operands"]);
    let outer = function("F", vec![node("Abs", &["x"], &["b"])]);
    refused(xy().function(outer).op("local::F", &["x"], &["y"]).proto, &["`x` is neither"]);
}
