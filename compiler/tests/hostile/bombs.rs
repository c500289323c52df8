//! Small files that ask for enormous results: what is computed while compiling is bounded. How much memory that takes is
//! measured in `tests/memory.rs`, over the same models.

use crate::onnx_builder::{Attributes, Builder, FLOAT, INT64, node};
use crate::scene::refused;

fn y() -> Builder {
    Builder::new().output("y", FLOAT)
}

/// Results of exabytes are refused, with the node.
#[test]
fn sizes_beyond_reckoning() {
    let huge = [1i64 << 40, 1 << 40];
    let cases: [(Builder, &str); 6] = [
        (y().ints("s", &huge).op("ConstantOfShape", &["s"], &["y"]), "ConstantOfShape_y"),
        (y().floats("one", &[1], &[1.0]).ints("s", &huge).op("Expand", &["one", "s"], &["y"]), "Expand_y"),
        (y().floats("one", &[1, 1], &[1.0]).ints("s", &huge).op("Tile", &["one", "s"], &["y"]), "Tile_y"),
        (
            y().floats("one", &[1, 1], &[1.0]).ints("p", &[1 << 40, 1 << 40, 1 << 40, 1 << 40]).op(
                "Pad",
                &["one", "p"],
                &["y"],
            ),
            "Pad_y",
        ),
        (y().ints("s", &[-4]).op("ConstantOfShape", &["s"], &["y"]), "negative"),
        (y().ints("s", &[2; 9]).op("ConstantOfShape", &["s"], &["y"]), "8"),
    ];
    for (model, part) in cases {
        refused(model.proto, &[part]);
    }
    let range = Builder::new()
        .output("y", INT64)
        .scalar("a", i64::MIN)
        .scalar("b", i64::MAX)
        .scalar("c", 1)
        .op("Range", &["a", "b", "c"], &["y"]);
    refused(range.proto, &["Range_y"]);
}

/// A vector that is joined with itself sixty times.
#[test]
fn doubling_by_concatenation() {
    let model = (0..60).fold(Builder::new().ints("v0", &[1, 2]), |model, at| {
        let from = format!("v{at}");
        model.node(node("Concat", &[&from, &from], &[&format!("v{}", at + 1)]).int("axis", 0))
    });
    refused(model.output("v60", INT64).proto, &["overflow"]);
}

/// A dimension that is multiplied with itself, or nested in itself.
#[test]
fn doubling_of_symbols() {
    for op in ["Mul", "Add"] {
        let model = Builder::new().input("x", FLOAT, &["n", "m", "k"]).op("Shape", &["x"], &["v0"]);
        let model = (0..80).fold(model, |model, at| {
            let from = format!("v{at}");
            let other = if op == "Mul" { from.clone() } else { "v0".to_owned() };
            model.op(op, &[&from, &other], &[&format!("v{}", at + 1)])
        });
        let model = model.op("Expand", &["x", "v80"], &["y"]).output("y", FLOAT);
        refused(model.proto, &[]);
    }
    let model = Builder::new().input("x", FLOAT, &["n"]).op("Shape", &["x"], &["v0"]).ints("three", &[3]);
    let model = (0..80).fold(model, |model, at| {
        model.op("Div", &[&format!("v{at}"), "three"], &[&format!("d{at}")]).op(
            "Add",
            &[&format!("d{at}"), "three"],
            &[&format!("v{}", at + 1)],
        )
    });
    let model = model.op("ConstantOfShape", &["v80"], &["y"]).output("y", FLOAT);
    refused(model.proto, &[]);
}

/// Fifty thousand vectors of 4096 numbers, each of them a sum: a megabyte in the file.
#[test]
fn known_values_without_end() {
    let start: Vec<i64> = (0..4096).map(|at| at * at).collect();
    let model = (0..50_000).fold(Builder::new().ints("v0", &start), |model, at| {
        let from = format!("v{at}");
        model.op("Add", &[&from, "v0"], &[&format!("v{}", at + 1)])
    });
    refused(model.output("v50000", INT64).proto, &["parts"]);
}

/// One expression that uses the one before twice, forty times: 2^40 terms if anybody wrote it out.
#[test]
fn expressions_that_share() {
    let model = (0..40).fold(Builder::new().input("v0", FLOAT, &["n"]), |model, at| {
        let from = format!("v{at}");
        let doubled = format!("d{at}");
        model.op("Sin", &[&from], &[&doubled]).op("Mul", &[&doubled, &doubled], &[&format!("v{}", at + 1)])
    });
    let mut graph = model.output("v40", FLOAT).import();
    qwenc::passes::run_all(&mut graph, &mut |_, _| ()).unwrap();
    let symbols = qwenc_codegen_wgsl::Symbols::new([("n".to_owned(), (1, 100))]);
    let mut files = std::collections::BTreeMap::new();
    qwenc::pipeline::compile_graph(&graph, symbols, &mut files).unwrap();
    let total: usize = files.values().map(Vec::len).sum();
    assert!(total < 1 << 20, "{total} bytes");
}

/// The folding of constants stops when there are too many: the graph stays, the memory does not fill.
#[test]
fn folding_is_bounded() {
    let model = Builder::new().input("x", FLOAT, &["1"]).floats("c", &[1024, 1], &[0.5; 1024]);
    let row = vec![0.25f32; 1024];
    let model = model.floats("r", &[1, 1024], &row).op("Mul", &["c", "r"], &["v0"]);
    let model = (0..200).fold(model, |model, at| {
        model.op("Sin", &[&format!("v{at}")], &[&format!("s{at}")]).op(
            "Add",
            &[&format!("s{at}"), "c"],
            &[&format!("v{}", at + 1)],
        )
    });
    let mut graph = model.op("Add", &["x", "v200"], &["y"]).output("y", FLOAT).import();
    let before = graph.nodes().count();
    qwenc::passes::run_all(&mut graph, &mut |_, _| ()).unwrap();
    let constants = graph.values().filter_map(|value| graph.constant(value));
    let elements: usize = constants.map(qwenc_ir::Tensor::len).sum();
    assert!(elements <= 1 << 24, "{elements} elements are constant now");
    assert!(before > 400);
}
