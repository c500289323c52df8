//! Names that want to be commands: of a terminal, of WGSL, of JSON, of a file system.

use std::collections::BTreeMap;

use prost::Message;
use qwenc::onnx::{ImportOptions, import};
use qwenc::pipeline::compile_graph;
use qwenc_codegen_wgsl::Symbols;

use crate::onnx_builder::{Builder, FLOAT, node, tensor};
use crate::scene::{Scene, refused};

const HOSTILE: [&str; 12] = [
    "\u{1b}]0;owned\u{7}\u{1b}[2J",
    "\u{9b}31m",
    "line\nbreak\r\n",
    "a\0b",
    "gpj.\u{202E}exe",
    "\u{2066}isolated\u{2069}\u{200F}\u{061C}",
    "*/ @compute fn evil() {} /*",
    "// } fn main() { loop {} }\n}",
    "\"},\"commands\":[{\"",
    "../../../../tmp/x",
    "CON",
    "{{ template }} <script>",
];

/// Nodes, values and constants may be called anything. What comes out has generated identifiers in shaders, plain file
/// names, JSON that parses, and nothing for terminals.
#[test]
fn names_do_not_reach_shaders_files_or_terminals() {
    for name in HOSTILE {
        let inner = format!("{name}1");
        let mut named = node("MatMul", &["x", &inner], &[name]);
        named.name = Some(name.to_owned());
        let weight =
            qwenc::onnx::proto::TensorProto { float_data: vec![0.5; 16], ..tensor(&inner, FLOAT, &[4, 4]) };
        let mut model = Builder::new().input("x", FLOAT, &["n", "4"]).initializer(weight).node(named);
        model = model.op("Abs", &[name], &["y"]).output("y", FLOAT);
        model.graph().name = Some(name.to_owned());
        let imported = import(&model.model(), &ImportOptions::default()).unwrap();
        let text = qwenc_ir::text::print(&imported.graph);
        assert!(qwenc_runtime::printable::is_printable(&text.replace('\n', "")), "{text:?}");
        let mut files: BTreeMap<String, Vec<u8>> = BTreeMap::new();
        compile_graph(&imported.graph, Symbols::new([("n".to_owned(), (1, 9))]), &mut files).unwrap();
        for (path, content) in &files {
            let plain = |c: char| c.is_ascii_alphanumeric() || "-_./".contains(c);
            assert!(path.chars().all(plain) && !path.contains(".."), "{path:?}");
            if path.ends_with(".wgsl") {
                let wgsl = String::from_utf8(content.clone()).unwrap();
                for part in ["evil", "loop {}", "owned", "script", "\u{202E}", "tmp/x"] {
                    assert!(!wgsl.contains(part), "{part} in {path}");
                }
            }
        }
        // The runtime's checks, which refuse control characters, have passed: `compile_graph` ends with them. JSON parses.
        let bundle = qwenc_runtime::bundle::Bundle::open(qwenc_runtime::bundle::Memory { files }).unwrap();
        assert_eq!(bundle.schedule().entries.len(), 1);
    }
}

/// Inputs and outputs keep their names, by which users speak of them; so these must be fit to be spoken.
#[test]
fn inputs_and_outputs_have_plain_names() {
    for name in HOSTILE.iter().filter(|name| !qwenc_runtime::printable::is_printable(name)) {
        let model = Builder::new().input(name, FLOAT, &["4"]).op("Abs", &[name], &["y"]).output("y", FLOAT);
        refused(model.proto, &["control characters", "rename it"]);
        let model = Builder::new().input("x", FLOAT, &["4"]).op("Abs", &["x"], &[name]).output(name, FLOAT);
        refused(model.proto, &["control characters", "rename it"]);
    }
    for name in ["", &"x".repeat(513)] {
        let model = Builder::new().input("x", FLOAT, &["4"]).op("Abs", &["x"], &["y"]).output(name, FLOAT);
        refused(model.proto, &["rename it"]);
    }
}

/// Graphs without a name, and files with one that no bundle could have. (Found by fuzzing.)
#[cfg(unix)]
#[test]
fn models_without_a_fit_name() {
    let model = || Builder::new().input("x", FLOAT, &["n", "4"]).op("Abs", &["x"], &["y"]).output("y", FLOAT);
    let mut nameless = model();
    nameless.graph().name = None;
    let graph = nameless.import();
    let mut files: BTreeMap<String, Vec<u8>> = BTreeMap::new();
    let symbols = Symbols::new([("n".to_owned(), (1, 9))]);
    assert_eq!(compile_graph(&graph, symbols, &mut files).unwrap().manifest.model.name, "graph");
    let scene = Scene::new();
    for name in ["\u{1b}[2J.onnx", "a\nb.onnx", "\u{202E}.onnx", &format!("{}.onnx", "é".repeat(120))] {
        scene.compiles(&scene.write(name, model().proto.encode_to_vec()));
    }
}

#[test]
fn sizes_may_be_called_anything() {
    for name in HOSTILE {
        let model =
            Builder::new().input("x", FLOAT, &[name, "4"]).op("Abs", &["x"], &["y"]).output("y", FLOAT);
        let graph = model.import();
        let shape = graph.value(graph.inputs()[0]).ty.to_string();
        let symbol = shape.trim_start_matches("f32[").split(',').next().unwrap().to_owned();
        assert!(symbol.chars().all(|c| c.is_ascii_alphanumeric() || c == '_'), "{symbol:?}");
    }
}

#[test]
fn megabytes_of_a_name() {
    let long = "n".repeat(4 << 20);
    let x = || Builder::new().input("x", FLOAT, &["4"]).output("y", FLOAT);
    refused(x().op("Abs", &["x"], &[&long]).op("Abs", &[&long], &["y"]).proto, &["name is too long"]);
    refused(x().op("Abs", &[&long], &["y"]).proto, &["name is too long"]);
    refused(x().op(&long, &["x"], &["y"]).proto, &["name is too long"]);
    refused(x().floats(&long, &[1], &[1.0]).op("Abs", &["x"], &["y"]).proto, &["too long"]);
    refused(x().op(&format!("{}::Thing", "d".repeat(4 << 20)), &["x"], &["y"]).proto, &["Thing"]);
}

/// Every message with a hostile name in it is fit for a terminal; `refuses` and `refused` check that.
#[test]
fn messages_show_names_by_their_numbers() {
    let scene = Scene::new();
    for name in HOSTILE {
        let x = || Builder::new().input("x", FLOAT, &["4"]).output("y", FLOAT);
        refused(x().op(name, &["x"], &["y"]).proto, &[]);
        refused(x().op(&format!("{name}::Op"), &["x"], &["y"]).proto, &[]);
        refused(x().op("Abs", &[name], &["y"]).proto, &[]);
        refused(x().node(node("Relu", &["x"], &["y"])).node(node("Relu", &["x"], &[name, name])).proto, &[]);
        refused(
            x().initializer(tensor(name, FLOAT, &[-1])).op("Add", &["x", name], &["y"]).proto,
            &["negative"],
        );
        let weight = qwenc::onnx::proto::TensorProto {
            name: Some(name.to_owned()),
            ..crate::scene::external(&[("location", name)])
        };
        let model =
            Builder::new().input("x", FLOAT, &["4"]).initializer(weight).op("Add", &["x", name], &["y"]);
        scene.model(&model.output("y", FLOAT).proto);
        scene.refuses(&["external data"]);
    }
}
