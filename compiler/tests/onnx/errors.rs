//! Files and graphs that must be refused, with errors that name the file, the node or the tensor, and the remedy.

use std::path::Path;

use crate::onnx_builder::{Attributes, BOOL, Builder, FLOAT, INT64, node, opset, tensor, value_info};
use prost::Message;
use qwenc::onnx::proto::tensor_proto::{DataLocation, DataType};
use qwenc::onnx::proto::{
    FunctionProto, GraphProto, NodeProto, StringStringEntryProto, TensorProto, TypeProto,
};
use qwenc::onnx::{ImportOptions, Model, ReadError, import};

fn write(folder: &Path, name: &str, content: &[u8]) -> std::path::PathBuf {
    let path = folder.join(name);
    std::fs::write(&path, content).unwrap();
    path
}

/// Keys and values of a reference to another file.
type Entries<'a> = &'a [(&'a str, &'a str)];

/// `y = x + w` with the weight in another file.
fn with_external(entries: Entries<'_>) -> Vec<u8> {
    let entry = |(key, value): &(&str, &str)| StringStringEntryProto {
        key: Some((*key).to_owned()),
        value: Some((*value).to_owned()),
    };
    let weight = TensorProto {
        data_location: Some(DataLocation::External.into()),
        external_data: entries.iter().map(entry).collect(),
        ..tensor("w", FLOAT, &[2])
    };
    let model = Builder::new().input("x", FLOAT, &["2"]).initializer(weight).op("Add", &["x", "w"], &["y"]);
    model.output("y", FLOAT).proto.encode_to_vec()
}

fn import_error(path: &Path) -> String {
    import(&Model::open(path).unwrap(), &ImportOptions::default()).unwrap_err().to_string()
}

// ---- files ---------------------------------------------------------------------------------------------------------

#[test]
fn files_that_are_no_models() {
    let folder = tempfile::tempdir().unwrap();
    assert!(matches!(Model::open(folder.path().join("gone.onnx")), Err(ReadError::Missing(_))));
    assert!(matches!(Model::open(folder.path()), Err(ReadError::Directory(_))));
    assert!(matches!(Model::open(write(folder.path(), "e.onnx", b"")), Err(ReadError::Empty(_))));
    let cases: [(&[u8], &str); 6] = [
        (b"\xFF\xD8\xFF\xE0\x00\x10JFIF", "JPEG"),
        (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
        (b"<!DOCTYPE html>", "web page"),
        (b"GGUF\x03\x00\x00\x00", "GGUF"),
        (&[0xFF; 100], "not an ONNX model"),
        (&[0x08], "not an ONNX model"),
    ];
    for (content, message) in cases {
        let path = write(folder.path(), "other.onnx", content);
        let error = Model::open(&path).unwrap_err();
        assert!(matches!(error, ReadError::NotOnnx { .. }), "{error}");
        let error = error.to_string();
        assert!(error.contains(message) && error.contains("other.onnx"), "{error}");
    }
}

#[test]
fn truncated_files_and_deep_nesting_end_in_errors() {
    let folder = tempfile::tempdir().unwrap();
    let whole = Builder::new()
        .input("x", FLOAT, &["2"])
        .floats("w", &[2], &[1.0, 2.0])
        .op("Add", &["x", "w"], &["y"])
        .output("y", FLOAT)
        .proto
        .encode_to_vec();
    // Whatever the cut leaves must be handled; most cuts are no protocol buffer any more.
    let mut refused = 0;
    for length in 1..whole.len() {
        let path = write(folder.path(), "cut.onnx", &whole[..length]);
        match Model::open(&path) {
            Ok(model) => drop(import(&model, &ImportOptions::default())),
            Err(_) => refused += 1,
        }
    }
    assert!(refused > whole.len() / 2);
    // A graph in an attribute of a node in a graph, 1000 times.
    let mut nested = vec![];
    for _ in 0..1000 {
        let mut attribute = vec![0x32];
        prost::encoding::encode_varint(nested.len() as u64, &mut attribute);
        attribute.extend(&nested);
        let mut outer = vec![0x2A];
        prost::encoding::encode_varint(attribute.len() as u64, &mut outer);
        outer.extend(&attribute);
        nested = vec![0x0A];
        prost::encoding::encode_varint(outer.len() as u64, &mut nested);
        nested.extend(&outer);
    }
    let mut model = vec![0x08, 0x0A, 0x3A];
    prost::encoding::encode_varint(nested.len() as u64, &mut model);
    model.extend(&nested);
    let error = Model::open(write(folder.path(), "deep.onnx", &model)).unwrap_err().to_string();
    assert!(error.contains("deeper than 100"), "{error}");
}

#[test]
fn versions_out_of_range() {
    let mut old = Builder::with_opset(12).proto;
    let error = Model::from_proto("m.onnx", old.clone()).unwrap_err();
    assert!(matches!(error, ReadError::Opset { version: 12, .. }), "{error}");
    old.opset_import = vec![opset("", 99)];
    assert!(Model::from_proto("m.onnx", old.clone()).unwrap_err().to_string().contains("13..=28"));
    old.opset_import = vec![opset("", 21), opset("ai.onnx", 22)];
    assert!(Model::from_proto("m.onnx", old.clone()).unwrap_err().to_string().contains("versions 21 and 22"));
    old.ir_version = Some(3);
    assert!(matches!(Model::from_proto("m.onnx", old).unwrap_err(), ReadError::IrVersion { version: 3, .. }));
    let mut empty = Builder::new().proto;
    empty.graph = None;
    assert!(Model::from_proto("m.onnx", empty).unwrap_err().to_string().contains("no graph"));
}

// ---- external data -------------------------------------------------------------------------------------------------

#[test]
fn external_data() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "w.bin", &[0; 11]);
    let open = |entries: &[(&str, &str)]| write(folder.path(), "m.onnx", &with_external(entries));
    let path = open(&[("location", "w.bin"), ("offset", "3"), ("length", "8")]);
    assert!(import(&Model::open(&path).unwrap(), &ImportOptions::default()).is_ok());
    let cases: [(Entries<'_>, &[&str]); 6] = [
        (&[("location", "gone.bin")], &["`w`", "gone.bin", "does not exist"]),
        (&[("location", "w.bin"), ("offset", "4")], &["`w`", "w.bin", "needs 8 bytes at offset 4", "has 11"]),
        (&[("location", "../w.bin")], &["`w`", "inside the model's folder"]),
        (&[("location", "w.bin"), ("offset", "-3")], &["`w`", "-3"]),
        (&[("location", "w.bin"), ("length", "4")], &["`w`", "4 bytes", "take 8"]),
        (&[("location", "w.bin"), ("offset", "18446744073709551615")], &["truncated"]),
    ];
    for (entries, messages) in cases {
        let error = import_error(&open(entries));
        assert!(error.contains("m.onnx"), "{error}");
        for message in messages {
            assert!(error.contains(message), "{error}");
        }
    }
}

#[test]
fn external_data_in_attributes_is_held_to_the_same_rules() {
    let folder = tempfile::tempdir().unwrap();
    let entry =
        StringStringEntryProto { key: Some("location".to_owned()), value: Some("/etc/passwd".to_owned()) };
    let value = TensorProto {
        data_location: Some(DataLocation::External.into()),
        external_data: vec![entry],
        ..tensor("c", DataType::Uint8, &[4])
    };
    let model = Builder::new().node(node("Constant", &[], &["y"]).tensor("value", value.clone()));
    let path = write(folder.path(), "m.onnx", &model.output("y", DataType::Uint8).proto.encode_to_vec());
    let error = import_error(&path);
    assert!(error.contains("Constant_y") && error.contains("inside the model's folder"), "{error}");
    let shape = Builder::new()
        .ints("s", &[1])
        .node(node("ConstantOfShape", &["s"], &["y"]).tensor("value", value))
        .output("y", DataType::Uint8);
    assert!(shape.refused().contains("not in a file"));
}

// ---- graphs --------------------------------------------------------------------------------------------------------

fn xy() -> Builder {
    Builder::new().input("x", FLOAT, &["n", "4"]).output("y", FLOAT)
}

#[test]
fn unknown_operators_name_domain_and_opset() {
    let error = xy().op("NonMaxSuppression", &["x"], &["y"]).refused();
    for part in ["NonMaxSuppression_y", "NonMaxSuppression of domain `ai.onnx` (opset 21)", "test.onnx"] {
        assert!(error.contains(part), "{error}");
    }
    let error = xy().op("my.domain::Thing", &["x"], &["y"]).refused();
    assert!(error.contains("domain `my.domain` (opset 0)"), "{error}");
}

#[test]
fn wrong_types_name_the_node() {
    let error = xy().ints("k", &[1]).op("Add", &["x", "k"], &["y"]).refused();
    assert!(error.contains("Add_y") && error.contains("f32 and i64"), "{error}");
    let error = xy().op("Not", &["x"], &["y"]).refused();
    assert!(error.contains("Not_y"), "{error}");
    let error =
        Builder::new().input("x", FLOAT, &["2"]).op("Identity", &["x"], &["y"]).output("y", INT64).refused();
    assert!(error.contains("declared as i64") && error.contains("f32[2]"), "{error}");
    let strings =
        Builder::new().input("x", DataType::String, &["2"]).model().inputs().unwrap_err().to_string();
    assert!(strings.contains("STRING"), "{strings}");
}

#[test]
fn cycles_and_duplicates_and_dangling_names() {
    let cyclic = xy().op("Add", &["x", "b"], &["a"]).op("Abs", &["a"], &["b"]).op("Abs", &["b"], &["y"]);
    let error = cyclic.refused();
    assert!(
        error.contains("cycle through node `Add_a`") || error.contains("cycle through node `Abs_b`"),
        "{error}"
    );
    let error = xy().op("Abs", &["x"], &["y"]).op("Neg", &["x"], &["y"]).refused();
    assert!(error.contains("two values are named `y`"), "{error}");
    let error = xy().op("Abs", &["x"], &["x"]).op("Abs", &["x"], &["y"]).refused();
    assert!(error.contains("cycle") || error.contains("two values"), "{error}");
    let error = xy().floats("w", &[1], &[1.0]).floats("w", &[1], &[1.0]).op("Abs", &["x"], &["y"]).refused();
    assert!(error.contains("two values are named `w`"), "{error}");
    let error = xy().op("Abs", &["nowhere"], &["y"]).refused();
    assert!(error.contains("`nowhere` is neither an input"), "{error}");
    assert!(xy().refused().contains("output `y` is computed nowhere"));
}

#[test]
fn unsorted_files_are_accepted() {
    let graph = xy().op("Abs", &["a"], &["y"]).op("Neg", &["x"], &["a"]).import();
    assert_eq!(crate::onnx_builder::ops(&graph).len(), 2);
}

#[test]
fn sizes_that_overflow() {
    let big = tensor("w", FLOAT, &[i64::MAX, i64::MAX]);
    let error = xy().initializer(big).op("Add", &["x", "w"], &["y"]).refused();
    assert!(error.contains("`w`") && error.contains("overflows"), "{error}");
    let error = xy().initializer(tensor("w", FLOAT, &[-4])).op("Add", &["x", "w"], &["y"]).refused();
    assert!(error.contains("negative"), "{error}");
    let huge = Builder::new()
        .ints("s", &[1 << 40, 1 << 40])
        .op("ConstantOfShape", &["s"], &["y"])
        .output("y", FLOAT);
    assert!(huge.refused().contains("overflow"));
    let tile = xy().ints("r", &[1 << 50, 1 << 50]).op("Tile", &["x", "r"], &["y"]);
    assert!(tile.refused().contains("overflow"));
    let ranks = xy().ints("a", &[0, 1, 2, 3, 4, 5, 6]).op("Unsqueeze", &["x", "a"], &["y"]);
    assert!(ranks.refused().contains('8'));
}

#[test]
fn operands_that_are_computed_from_data() {
    let model = Builder::new()
        .input("x", FLOAT, &["4"])
        .input("shape", INT64, &["2"])
        .op("Reshape", &["x", "shape"], &["y"])
        .output("y", FLOAT);
    let error = model.refused();
    assert!(error.contains("Reshape_y") && error.contains("operand 1 (`shape`)"), "{error}");
    let model = Builder::new()
        .input("x", FLOAT, &["4"])
        .input("k", INT64, &["1"])
        .ints("end", &[9])
        .op("Slice", &["x", "k", "end"], &["y"])
        .output("y", FLOAT);
    assert!(model.refused().contains("computed from data"));
}

#[test]
fn what_nobody_looked_at_is_refused() {
    let error = xy().node(node("Relu", &["x"], &["y"]).int("inplace", 1)).refused();
    assert!(error.contains("attribute `inplace`"), "{error}");
    let error = xy().op("Relu", &["x", "x"], &["y"]).refused();
    assert!(error.contains("operand 1 (`x`)"), "{error}");
    let error = xy().node(node("Softmax", &["x"], &["y"]).float("axis", 1.0)).refused();
    assert!(error.contains("attribute `axis` is FLOAT, expected INT"), "{error}");
    let error = xy().node(node("Softmax", &["x"], &["y"]).int("axis", 5)).refused();
    assert!(error.contains("axis 5"), "{error}");
    let pooled = Builder::new()
        .input("x", FLOAT, &["1", "1", "4"])
        .node(node("MaxPool", &["x"], &["a", "places"]).ints("kernel_shape", &[2]))
        .op("Cast", &["places"], &["y"])
        .output("y", FLOAT);
    let error = pooled.refused();
    assert!(error.contains("`places` is an output that is not supported"), "{error}");
}

#[test]
fn values_that_are_no_dense_tensors() {
    let mut sparse = xy().op("Abs", &["x"], &["y"]);
    sparse.graph().sparse_initializer.push(qwenc::onnx::proto::SparseTensorProto::default());
    assert!(sparse.refused().contains("sparse"));
    let mut sequence = xy().op("Abs", &["x"], &["y"]);
    sequence.graph().input[0].r#type = Some(TypeProto::default());
    assert!(sequence.refused().contains("no tensor"));
    let mut text = xy().op("Abs", &["x"], &["y"]);
    text.graph().input.push(value_info("s", DataType::String, Some(&["1"])));
    assert!(text.refused().contains("STRING"));
}

// ---- functions and branches ----------------------------------------------------------------------------------------

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

#[test]
fn functions_that_call_themselves() {
    let own = function("F", vec![node("local::F", &["a"], &["b"])]);
    let error = xy().function(own).op("local::F", &["x"], &["y"]).refused();
    assert!(error.contains("function `F` calls itself"), "{error}");
    let first = function("F", vec![node("local::G", &["a"], &["b"])]);
    let second = function("G", vec![node("local::F", &["a"], &["b"])]);
    let error = xy().function(first).function(second).op("local::F", &["x"], &["y"]).refused();
    assert!(error.contains("calls itself"), "{error}");
}

/// Functions that double each other's work end at the bound on nodes, not at the end of memory.
#[test]
fn exponential_functions_are_bounded() {
    let mut model = xy();
    let mut nodes = vec![node("Abs", &["a"], &["b"])];
    for level in 0..24 {
        model = model.function(function(&format!("F{level}"), nodes));
        let callee = format!("local::F{level}");
        nodes = vec![node(&callee, &["a"], &["m"]), node(&callee, &["m"], &["b"])];
    }
    let error = model.function(function("Top", nodes)).op("local::Top", &["x"], &["y"]).refused();
    assert!(error.contains("nodes"), "{error}");
}

#[test]
fn branches_on_data() {
    let branch = |op: &str| GraphProto {
        node: vec![node(op, &["x"], &["r"])],
        output: vec![value_info("r", FLOAT, None)],
        ..GraphProto::default()
    };
    let model = xy().input("c", BOOL, &[]).node(
        node("If", &["c"], &["y"]).graph("then_branch", branch("Abs")).graph("else_branch", branch("Neg")),
    );
    let error = model.refused();
    assert!(error.contains("If_y") && error.contains("condition is computed from data"), "{error}");
}

// ---- damage --------------------------------------------------------------------------------------------------------

/// Real files with bytes changed at random: whatever comes out, nothing panics.
#[test]
fn damaged_models_end_in_errors() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/tiny");
    let folder = tempfile::tempdir().unwrap();
    let mut state = 1u32;
    let mut random = |bound: usize| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        usize::try_from(state >> 8).unwrap() % bound
    };
    let (mut read, mut refused) = (0, 0);
    for name in ["genai/model.onnx", "mobius/decoder/model.onnx", "genai015/onnx/vision_encoder.onnx"] {
        let whole = std::fs::read(root.join(name)).unwrap();
        for _ in 0..100 {
            let mut damaged = whole.clone();
            for _ in 0..=random(8) {
                let at = random(damaged.len());
                damaged[at] = u8::try_from(random(256)).unwrap();
            }
            let path = write(folder.path(), "damaged.onnx", &damaged);
            match Model::open(&path) {
                Ok(model) => {
                    read += 1;
                    // Without the weights beside it no damaged file imports.
                    assert!(import(&model, &ImportOptions::default()).is_err());
                }
                Err(_) => refused += 1,
            }
        }
    }
    assert!(read > 20 && refused > 20, "{read} {refused}");
}
