//! Small files that ask for enormous results: what is computed while compiling is bounded. How much memory that takes is
//! measured in `tests/memory.rs`, over the same models.

use crate::onnx_builder::{Attributes, Builder, FLOAT, INT64, node};
use crate::scene::{Scene, refused};

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

/// Pictures of any size from a few numbers: a factor, a size, a coefficient, and many matrices that are each allowed.
#[test]
fn resizing_without_end() {
    let picture = || y().input("x", FLOAT, &["1", "1", "2048", "2"]);
    let resize = |inputs: &[&str], mode: &'static str| node("Resize", inputs, &["y"]).text("mode", mode);
    for mode in ["nearest", "linear", "cubic"] {
        for factor in [3e38, 1e20, 1e7, 1e-30, 0.0, -2.5, f32::NAN, f32::INFINITY] {
            let model = picture().floats("s", &[4], &[1.0, 1.0, factor, 1.0]);
            refused(model.node(resize(&["x", "", "s"], mode)).proto, &["Resize_y"]);
        }
        for size in [1 << 62, 1 << 40, 1 << 20, 0, -7] {
            let model = picture().ints("s", &[1, 1, size, 2]);
            refused(model.node(resize(&["x", "", "", "s"], mode)).proto, &["Resize_y"]);
        }
    }
    // One factor for all axes, which fits the one that it was computed from.
    let kept = picture().ints("s", &[4096, 2]).node(
        resize(&["x", "", "", "s"], "linear")
            .ints("axes", &[2, 3])
            .text("keep_aspect_ratio_policy", "not_larger"),
    );
    refused(kept.proto, &["Resize_y", "elements"]);
    // Sixteen megabytes for each of a hundred nodes.
    let model =
        picture().floats("up", &[4], &[1.0, 1.0, 0.999, 1.0]).floats("down", &[4], &[1.0, 1.0, 1.0005, 1.0]);
    let model = (0..100).fold(model.op("Identity", &["x"], &["v0"]), |model, at| {
        let factor = if at % 2 == 0 { "up" } else { "down" };
        let resize = node("Resize", &[&format!("v{at}"), "", factor], &[&format!("v{}", at + 1)]);
        model.node(resize.text("mode", "linear"))
    });
    refused(model.output("v100", FLOAT).proto, &["tables"]);
}

/// Rows as long as one number says.
#[test]
fn one_hot_rows_without_end() {
    for depth in [i64::MAX, i64::MIN, 1 << 62, -3] {
        let model =
            y().input("x", INT64, &["4096", "4096"]).scalar("d", depth).floats("v", &[2], &[0.0, 1.0]);
        refused(model.op("OneHot", &["x", "d", "v"], &["y"]).proto, &["OneHot_y"]);
    }
    // A number of elements that there can be: the kernel that would fill them says no.
    let model = y().input("x", INT64, &["2"]).scalar("d", 1 << 50).floats("v", &[2], &[0.0, 1.0]);
    let scene = Scene::new();
    scene.model(&model.op("OneHot", &["x", "d", "v"], &["y"]).proto);
    scene.refuses(&["OneHot_y", "workgroups"]);
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
