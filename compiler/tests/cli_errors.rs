//! What goes wrong with models, as a user meets it: every fault gives exit code 1, a message that says what and where,
//! and leaves nothing in the output's place.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on must fail")]

mod common;

use std::path::{Path, PathBuf};
use std::process::Command;

use prost::Message;
use qwenc::onnx::proto::ModelProto;
use qwenc::pipeline::{CompileOptions, Silent, compile};

/// A working copy of a tiny export, to be damaged.
struct Damaged {
    dir: tempfile::TempDir,
}

impl Damaged {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        common::copy_tree(&common::model("genai"), &dir.path().join("model"));
        Self { dir }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join("model").join(name)
    }

    /// Changes the decoded model.
    fn edit(self, change: impl FnOnce(&mut ModelProto)) -> Self {
        let path = self.file("model.onnx");
        let mut model = ModelProto::decode(std::fs::read(&path).unwrap().as_slice()).unwrap();
        change(&mut model);
        std::fs::write(&path, model.encode_to_vec()).unwrap();
        self
    }

    /// Compiles and expects every text in the message.
    fn fails_with(self, input: &str, expected: &[&str]) {
        fails_with(self.dir.path(), &self.dir.path().join(input), expected);
    }
}

fn fails_with(dir: &Path, input: &Path, expected: &[&str]) {
    let output = dir.join("out");
    let run = Command::new(env!("CARGO_BIN_EXE_qwenc"))
        .arg("compile")
        .arg(input)
        .arg("-o")
        .arg(&output)
        .env("NO_COLOR", "1")
        .output()
        .unwrap();
    let raw = String::from_utf8_lossy(&run.stderr).into_owned();
    // Lines are wrapped, also inside of paths: compare without any white space.
    let squeeze = |text: &str| text.replace('│', "").split_whitespace().collect::<String>();
    let message = squeeze(&raw);
    assert_eq!(run.status.code(), Some(1), "{raw}");
    for text in expected {
        assert!(message.contains(&squeeze(text)), "expected `{text}` in:\n{raw}");
    }
    let left: Vec<String> = std::fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .filter(|name| name != "model" && !name.ends_with(".onnx"))
        .collect();
    assert!(left.is_empty(), "left behind: {left:?}");
}

fn single_file(content: &[u8], expected: &[&str]) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("thing.onnx");
    std::fs::write(&path, content).unwrap();
    fails_with(dir.path(), &path, expected);
}

#[test]
fn a_missing_file() {
    let dir = tempfile::tempdir().unwrap();
    fails_with(dir.path(), &dir.path().join("model/none"), &["none", "does not exist"]);
}

#[test]
fn an_empty_file() {
    single_file(b"", &["thing.onnx", "empty"]);
}

#[test]
fn a_jpeg_with_another_name() {
    single_file(
        b"\xFF\xD8\xFF\xE0\x00\x10JFIF\x00\x01\x01\x00\x00\x01\x00\x01\x00\x00",
        &["thing.onnx", "JPEG"],
    );
}

#[test]
fn external_data_that_is_missing() {
    let model = Damaged::new();
    std::fs::remove_file(model.file("model.onnx.data")).unwrap();
    model.fails_with("model", &["model.onnx.data", "weight"]);
}

#[test]
fn external_data_that_is_truncated() {
    let model = Damaged::new();
    let path = model.file("model.onnx.data");
    let bytes = std::fs::read(&path).unwrap();
    std::fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
    model.fails_with("model", &["model.onnx.data", "weight", "bytes"]);
}

#[test]
fn an_unknown_operator() {
    let model = Damaged::new().edit(|model| {
        let nodes = &mut model.graph.as_mut().unwrap().node;
        let node = nodes.iter_mut().find(|node| node.op_type() == "Sigmoid").unwrap();
        node.op_type = Some("Sigmoidal".into());
    });
    model.fails_with("model", &["Sigmoidal", "layers.0/mlp/act_fn/Sigmoid", "opset 22"]);
}

#[test]
fn a_wrong_element_type() {
    let model = Damaged::new().edit(|model| {
        let tensors = &mut model.graph.as_mut().unwrap().initializer;
        let tensor = tensors
            .iter_mut()
            .find(|tensor| tensor.name() == "model.layers.0.input_layernorm.weight")
            .unwrap();
        // 64 floats are 64 int32 of the same size: the norm must refuse them.
        tensor.data_type = Some(6);
    });
    model.fails_with("model", &["layers.0/input_layernorm", "i32"]);
}

#[test]
fn a_cyclic_graph() {
    let model = Damaged::new().edit(|model| {
        let nodes = &mut model.graph.as_mut().unwrap().node;
        let last = nodes.iter().rev().find(|node| node.op_type() == "MatMul").unwrap().input[0].clone();
        let first = nodes.iter_mut().find(|node| node.op_type() == "SimplifiedLayerNormalization").unwrap();
        first.input[0] = last;
    });
    model.fails_with("model", &["cycle"]);
}

#[test]
fn dims_that_overflow() {
    let model = Damaged::new().edit(|model| {
        let tensor = &mut model.graph.as_mut().unwrap().initializer[0];
        tensor.dims = vec![1 << 40, 1 << 40];
    });
    model.fails_with("model", &["overflow"]);
}

#[test]
fn a_folder_without_a_model() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("model");
    std::fs::create_dir(&folder).unwrap();
    fails_with(dir.path(), &folder, &["no model"]);
}

#[test]
fn variants_that_are_not_clear() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("model");
    common::copy_tree(&common::model("community"), &folder);
    std::fs::remove_file(folder.join("onnx/decoder_model_merged.onnx")).unwrap();
    fails_with(dir.path(), &folder, &["choose one of fp16, q8, q4, q4f16 with --variant"]);
    let run = |variant: &str| {
        let output = Command::new(env!("CARGO_BIN_EXE_qwenc"))
            .args(["inspect", "--variant", variant])
            .arg(&folder)
            .env("NO_COLOR", "1")
            .output()
            .unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stderr).replace('│', ""))
    };
    let (code, message) = run("bnb4");
    assert_eq!(code, Some(1));
    let message = message.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(message.contains("variant `bnb4`, only in fp16, q8, q4, q4f16"), "{message}");
    let (code, message) = run("audio=q4");
    assert_eq!(code, Some(2), "{message}");
    assert!(message.contains("expected decoder, embed or vision"), "{message}");
}

#[test]
fn an_output_folder_that_is_something_else() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("precious.txt"), "x").unwrap();
    let run = Command::new(env!("CARGO_BIN_EXE_qwenc"))
        .arg("compile")
        .arg(common::model("genai"))
        .arg("-o")
        .arg(dir.path())
        .output()
        .unwrap();
    assert_eq!(run.status.code(), Some(1));
    assert!(dir.path().join("precious.txt").exists());
}

#[test]
fn wrong_usage_is_told_apart_from_failure() {
    let run = Command::new(env!("CARGO_BIN_EXE_qwenc")).arg("compile").output().unwrap();
    assert_eq!(run.status.code(), Some(2));
}

#[test]
fn a_state_that_no_output_replaces() {
    let model = Damaged::new().edit(|model| {
        let outputs = &mut model.graph.as_mut().unwrap().output;
        let before = outputs.len();
        outputs.retain(|output| output.name() != "present.1.recurrent");
        assert_eq!(outputs.len(), before - 1);
    });
    model.fails_with("model", &["past.1.recurrent", "is a state"]);
}

/// A vision encoder that is damaged, and one that no importer knows: the message has the path once, and what to do.
#[test]
fn a_broken_vision_encoder() {
    let dir = tempfile::tempdir().unwrap();
    common::copy_tree(&common::model("genai015"), dir.path());
    let path = dir.path().join("onnx/vision_encoder.onnx");
    let whole = std::fs::read(&path).unwrap();
    let mut unknown = ModelProto::decode(whole.as_slice()).unwrap();
    unknown.graph.as_mut().unwrap().node[9].op_type = Some("Riddle".to_owned());
    for (content, part) in
        [(whole[..3000].to_vec(), "not an ONNX model"), (unknown.encode_to_vec(), "Riddle")]
    {
        std::fs::write(&path, content).unwrap();
        let options = CompileOptions::default();
        let error = compile(dir.path(), &dir.path().join("out"), &options, &mut Silent).unwrap_err();
        let message = error.to_string();
        assert_eq!(message.matches("vision_encoder.onnx").count(), 1, "{message}");
        assert!(message.contains(part), "{message}");
        let help = miette::Diagnostic::help(&error).unwrap().to_string();
        assert!(help.contains("--max-image-patches 0"), "{help}");
    }
}
