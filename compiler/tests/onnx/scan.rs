//! Loops: which bodies are the gated delta rule, which are repeated, and what is refused. That the numbers are right is
//! held against ONNX Runtime in `runtime_cases.rs`, on the same models.

use std::path::PathBuf;

use crate::onnx_builder::{Attributes, Builder, FLOAT, INT64, f32s, node, noise, ops, tensor, value_info};
use qwenc::onnx::proto::{GraphProto, NodeProto, TensorProto};
use qwenc::onnx::{ImportOptions, Model, import};

/// Spellings of the rule, and whether the operator is what they become.
const CASES: [(&str, bool); 6] = [
    ("scan_inside", true),
    ("scan_multiplied_out", true),
    ("scan_other", false),
    ("scan_products", true),
    ("scan_sums", true),
    ("scan_transposed", true),
];

#[test]
fn every_spelling_of_the_rule_becomes_one_operator() {
    for (name, is_rule) in CASES {
        let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("tests/onnx_cases/{name}.onnx"));
        let graph = import(&Model::open(path).unwrap(), &ImportOptions::default()).unwrap().graph;
        let found = ops(&graph).iter().filter(|op| **op == "gated_delta").count();
        assert_eq!(found, usize::from(is_rule), "{name}: {:?}", ops(&graph));
        // Nothing of the body is left but what is moved in front of the loop.
        assert!(!is_rule || !ops(&graph).contains(&"matmul"), "{name}: {:?}", ops(&graph));
    }
}

fn axes(name: &str, values: &[i64]) -> TensorProto {
    let dims = [i64::try_from(values.len()).unwrap()];
    TensorProto { int64_data: values.to_vec(), ..tensor(name, INT64, &dims) }
}

/// The rule, as nodes by the value that they compute.
fn rule() -> Vec<NodeProto> {
    vec![
        node("Unsqueeze", &["g", "both"], &["g4"]),
        node("Exp", &["g4"], &["e4"]),
        node("Mul", &["S", "e4"], &["kept"]),
        node("Unsqueeze", &["k", "m2"], &["kr"]),
        node("Unsqueeze", &["k", "m1"], &["kc"]),
        node("Unsqueeze", &["v", "m2"], &["vr"]),
        node("Unsqueeze", &["q", "m2"], &["qr"]),
        node("Unsqueeze", &["b", "both"], &["b4"]),
        node("MatMul", &["kr", "kept"], &["read"]),
        node("Sub", &["vr", "read"], &["d"]),
        node("Mul", &["d", "b4"], &["bd"]),
        node("MatMul", &["kc", "bd"], &["outer"]),
        node("Add", &["kept", "outer"], &["T"]),
        node("MatMul", &["qr", "T"], &["or"]),
        node("Squeeze", &["or", "m2"], &["o"]),
    ]
}

/// The rule with other nodes for some values.
fn changed(others: Vec<NodeProto>) -> Vec<NodeProto> {
    let mut nodes = rule();
    for other in others {
        let same = |node: &NodeProto| node.output == other.output;
        match nodes.iter().position(same) {
            Some(at) => nodes[at] = other,
            None => nodes.insert(0, other),
        }
    }
    nodes
}

/// A loop over `steps` positions (a number, or a name for any).
fn looped(nodes: Vec<NodeProto>, steps: &str) -> Builder {
    let port = |name: &str, dims: &[&str]| value_info(name, FLOAT, Some(dims));
    let body = GraphProto {
        name: Some("body".to_owned()),
        node: nodes,
        input: vec![
            port("S", &["1", "2", "4", "3"]),
            port("q", &["1", "2", "4"]),
            port("k", &["1", "2", "4"]),
            port("v", &["1", "2", "3"]),
            port("g", &["1", "2"]),
            port("b", &["1", "2"]),
        ],
        output: vec![value_info("T", FLOAT, None), value_info("o", FLOAT, None)],
        initializer: vec![axes("m1", &[-1]), axes("m2", &[-2]), axes("both", &[-1, -2])],
        ..GraphProto::default()
    };
    let operands = ["initial", "qs", "ks", "vs", "gs", "bs"];
    Builder::new()
        .input("initial", FLOAT, &["1", "2", "4", "3"])
        .input("qs", FLOAT, &[steps, "1", "2", "4"])
        .input("ks", FLOAT, &[steps, "1", "2", "4"])
        .input("vs", FLOAT, &[steps, "1", "2", "3"])
        .input("gs", FLOAT, &[steps, "1", "2"])
        .input("bs", FLOAT, &[steps, "1", "2"])
        .node(node("Scan", &operands, &["state", "y"]).graph("body", body).int("num_scan_inputs", 5))
        .output("state", FLOAT)
        .output("y", FLOAT)
}

#[test]
fn the_rule_takes_any_number_of_positions() {
    let graph = looped(rule(), "tokens").import();
    assert_eq!(ops(&graph).iter().filter(|op| **op == "gated_delta").count(), 1);
}

/// What is close to the rule and something else is said to be so, with the reason.
#[test]
fn what_is_not_the_rule_is_refused_with_the_reason() {
    let mul = |a: &str, b: &str, y: &str| node("Mul", &[a, b], &[y]);
    let cases: Vec<(Vec<NodeProto>, &str)> = vec![
        // Reads with the query, writes with the key.
        (
            vec![node("MatMul", &["qr", "kept"], &["read"])],
            "the key that reads the state is not the key that writes it",
        ),
        // Reads the state before it decays.
        (
            vec![node("MatMul", &["kr", "S"], &["read"])],
            "the state is taken away with other factors than it is written with",
        ),
        (vec![node("Unsqueeze", &["k", "m1"], &["g4"])], "the decay differs within a head"),
        (vec![node("Sigmoid", &["g4"], &["e4"])], "the decay is not an exponential"),
        (vec![node("MatMul", &["qr", "S"], &["or"])], "the output reads the state before the update"),
        (vec![node("Add", &["vr", "read"], &["d"])], "other factors than the rule's 1, -1 and 1"),
        (vec![mul("vr", "b4", "bd")], "a sum of 2 products, not of three"),
        (
            vec![node("Tanh", &["S"], &["St"]), mul("St", "e4", "kept")],
            "a pointwise function that is no sum and no product",
        ),
        (vec![mul("d", "vr", "bd")], "what is taken away is no product of a key and what it reads"),
        (
            vec![node("Softmax", &["S"], &["Ss"]), mul("Ss", "e4", "kept")],
            "the state goes through the operator `softmax`",
        ),
    ];
    for (others, reason) in cases {
        let error = looped(changed(others), "tokens").refused();
        assert!(error.contains(reason), "expected `{reason}`: {error}");
        assert!(
            error.contains("Scan_state") && error.contains("LinearAttention"),
            "no node or remedy: {error}"
        );
    }
}

/// A short loop of another rule is repeated, and a long one is not.
#[test]
fn other_rules_are_repeated_a_few_times() {
    // The output reads the old state: with zeros as the state and one position it is zero.
    let other = || changed(vec![node("MatMul", &["qr", "S"], &["or"])]);
    let graph = looped(other(), "1").import();
    assert!(!ops(&graph).contains(&"gated_delta"));
    let given = |steps: usize| {
        [
            ("initial", f32s(&[1, 2, 4, 3], &[0.0; 24])),
            ("qs", noise(&[steps, 1, 2, 4], 1)),
            ("ks", noise(&[steps, 1, 2, 4], 2)),
            ("vs", noise(&[steps, 1, 2, 3], 3)),
            ("gs", noise(&[steps, 1, 2], 4)),
            ("bs", noise(&[steps, 1, 2], 5)),
        ]
    };
    let y = crate::onnx_builder::run_graph(&graph, &given(1), &[]).remove("y").unwrap();
    assert_eq!(y, f32s(&[1, 1, 2, 3], &[0.0; 6]));
    let two =
        crate::onnx_builder::run_graph(&looped(other(), "2").import(), &given(2), &[]).remove("y").unwrap();
    assert!(two.as_f32().unwrap()[6..].iter().all(|value| *value != 0.0));
    let error = looped(other(), "65").refused();
    assert!(error.contains("its 65 positions are not a constant of at most 64"), "{error}");
    let error = looped(other(), "0").refused();
    assert!(error.contains("its 0 positions"), "{error}");
}

#[test]
fn loops_that_do_not_fit_their_bodies_are_refused() {
    let mut extra = looped(rule(), "tokens");
    extra.graph().node[0].input.push("bs".to_owned());
    assert!(extra.refused().contains("its body does not have its operands and states"));
    let mut lengths = looped(rule(), "tokens");
    lengths.graph().input[5] = value_info("bs", FLOAT, Some(&["others", "1", "2"]));
    assert!(lengths.refused().contains("its operands have different numbers of positions"));
    let mut axes = looped(rule(), "tokens");
    let scan = axes.graph().node[0].clone();
    axes.graph().node[0] = scan.ints("scan_input_axes", &[0, 0]);
    assert!(axes.refused().contains("attribute `scan_input_axes` has 2 entries, expected 5"));
    let mut unknown = looped(rule(), "tokens");
    let scan = unknown.graph().node[0].clone();
    unknown.graph().node[0] = scan.int("something", 1);
    assert!(unknown.refused().contains("`something`"));
}
