//! `qwenc run` and `qwenc inspect` as a user calls them.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on must fail")]

mod common;

use std::path::Path;
use std::process::{Command, Output};

use safetensors::tensor::{Dtype, SafeTensors, TensorView};

fn qwenc(arguments: &[&str], paths: &[&Path]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_qwenc")).args(arguments).args(paths).output().unwrap()
}

fn succeed(output: Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// The token embedding as a graph of its own: rows of the table, for as many tokens as the input has.
#[test]
fn one_graph_runs_on_tensors_from_a_file() {
    let dir = tempfile::tempdir().unwrap();
    let (out, input, output) = (dir.path().join("out"), dir.path().join("in.st"), dir.path().join("out.st"));
    let graph = common::model("genai015").join("onnx/embed_tokens.onnx");
    succeed(qwenc(&["compile", "--only", "--max", "sequence_length=33", "-o"], &[&out, &graph]));

    let ids: Vec<i64> = vec![7, 0, 511, 300, 7];
    let bytes: Vec<u8> = ids.iter().flat_map(|id| id.to_le_bytes()).collect();
    let view = TensorView::new(Dtype::I64, vec![1, 5], &bytes).unwrap();
    std::fs::write(&input, safetensors::serialize([("input_ids", view)], None).unwrap()).unwrap();
    for adapter in ["llvmpipe", "SwiftShader"] {
        succeed(qwenc(
            &["run", "--adapter", adapter, "--input"],
            &[&input, Path::new("--output"), &output, &out],
        ));
        let content = std::fs::read(&output).unwrap();
        let tensors = SafeTensors::deserialize(&content).unwrap();
        let embeds = tensors.tensor("inputs_embeds").unwrap();
        assert_eq!((embeds.dtype(), embeds.shape()), (Dtype::F32, [1, 5, 64].as_slice()));
        let table = std::fs::read(common::model("genai015").join("onnx/embed_tokens.onnx_data")).unwrap();
        let row = |id: i64| {
            let start = usize::try_from(id).unwrap() * 256;
            &table[start..start + 256]
        };
        let expected: Vec<u8> = ids.iter().flat_map(|id| row(*id)).copied().collect();
        assert_eq!(embeds.data(), expected, "{adapter}");
    }
}

#[test]
fn a_tensor_that_does_not_fit_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (out, input, output) = (dir.path().join("out"), dir.path().join("in.st"), dir.path().join("out.st"));
    let graph = common::model("genai015").join("onnx/embed_tokens.onnx");
    succeed(qwenc(&["compile", "--only", "--max", "sequence_length=3", "-o"], &[&out, &graph]));
    let bytes = [0u8; 40];
    for (name, dtype, shape, expected) in [
        ("input_ids", Dtype::I64, vec![1, 5], "sequence_length"),
        ("input_ids", Dtype::F64, vec![1, 5], "F64"),
        ("input_ids", Dtype::I64, vec![5], "rank"),
        ("ids", Dtype::I64, vec![1, 5], "input_ids"),
    ] {
        let view = TensorView::new(dtype, shape, &bytes).unwrap();
        std::fs::write(&input, safetensors::serialize([(name, view)], None).unwrap()).unwrap();
        let run = qwenc(
            &["run", "--adapter", "llvmpipe", "--input"],
            &[&input, Path::new("--output"), &output, &out],
        );
        assert_eq!(run.status.code(), Some(1));
        let message = String::from_utf8_lossy(&run.stderr).into_owned();
        assert!(message.contains(expected), "expected `{expected}` in {message}");
        assert!(!output.exists());
    }
}

/// Parts in different variants; inspect says which files they are.
#[test]
fn inspect_says_which_files_it_took() {
    let folder = common::model("community");
    let arguments = ["inspect", "--json", "--variant", "decoder=fp32,embed=fp16"];
    let json: serde_json::Value = serde_json::from_str(&succeed(qwenc(&arguments, &[&folder]))).unwrap();
    let file = |part: &str| Path::new(json["files"][part].as_str().unwrap()).file_name().unwrap().to_owned();
    assert_eq!(file("decoder"), "decoder_model_merged.onnx");
    assert_eq!(file("embedding"), "embed_tokens_fp16.onnx");
    let text = succeed(qwenc(&["inspect"], &[&common::model("mobius")]));
    assert!(text.contains("decoder/model.onnx") && text.contains("embedding/model.onnx"), "{text}");
}

#[test]
fn inspect_shows_passes_kernels_and_memory() {
    let text = succeed(qwenc(&["inspect"], &[&common::model("mobius")]));
    for expected in [
        "operators as imported",
        "fuse_delta",
        "decode",
        "dispatches per token",
        "pipelines",
        "weights",
        "arena",
        "states",
    ] {
        assert!(text.contains(expected), "no `{expected}` in:\n{text}");
    }
    let value: serde_json::Value =
        serde_json::from_str(&succeed(qwenc(&["inspect", "--json"], &[&common::model("mobius")]))).unwrap();
    assert_eq!(value["bundle"]["entries"]["head"]["dispatches"], 1);
    let why = succeed(qwenc(&["inspect", "--why", "fuse_linear"], &[&common::model("mobius")]));
    assert!(why.contains("fired"), "{why}");
    let unknown = qwenc(&["inspect", "--why", "no_such_pass"], &[&common::model("mobius")]);
    assert_eq!(unknown.status.code(), Some(1));
}

#[test]
fn emit_writes_every_form_beside_the_bundle() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out");
    succeed(qwenc(&["compile", "--emit", "ir,wgsl,schedule,report", "-o"], &[&out, &common::model("genai")]));
    let emitted = common::tree(&dir.path().join("out.emit"));
    assert!(emitted.keys().any(|name| name.starts_with("ir/00-import")));
    assert!(emitted.keys().any(|name| name.starts_with("wgsl/decode/")));
    assert!(emitted["schedule.txt"].starts_with(b"entry decode"));
    let report: serde_json::Value = serde_json::from_slice(&emitted["report.json"]).unwrap();
    assert!(report["passes"].as_array().unwrap().len() > 10);
    // The text form of the last step reads back.
    let last = emitted.iter().rfind(|(name, _)| name.starts_with("ir/")).unwrap();
    assert!(String::from_utf8_lossy(last.1).contains("gated_delta"));
}

/// The reader of the output may leave early, as `head` does.
#[test]
fn a_closed_pipe_is_no_fault() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_qwenc"))
        .arg("inspect")
        .arg(common::model("mobius"))
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let finished = child.wait_with_output().unwrap();
    assert!(finished.status.success(), "{}", String::from_utf8_lossy(&finished.stderr));
}

/// A plan needs no weights, shows what the bundle would need, and says of itself that it cannot run.
#[test]
fn a_plan_is_made_from_the_graph_alone() {
    let dir = tempfile::tempdir().unwrap();
    let (model, out) = (dir.path().join("model"), dir.path().join("out"));
    common::copy_tree(&common::model("genai015"), &model);
    for data in ["decoder_model_merged.onnx_data", "embed_tokens.onnx_data"] {
        std::fs::remove_file(model.join("onnx").join(data)).unwrap();
    }
    let shown = succeed(qwenc(&["compile", "--weights", "none", "--quant", "q4", "-o"], &[&out, &model]));
    assert!(shown.contains("a plan") && shown.contains("needs bindings of"), "{shown}");
    let shown = succeed(qwenc(&["inspect"], &[&out]));
    assert!(shown.contains("a plan"), "{shown}");

    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../golden/tiny/text.safetensors");
    let run = qwenc(&["verify", "--adapter", "llvmpipe", "--golden"], &[&golden, &out]);
    let message = String::from_utf8_lossy(&run.stderr).into_owned();
    assert_eq!(run.status.code(), Some(1));
    assert!(message.contains("a plan without weights"), "{message}");
}

/// The slowest kernels of a bundle, on a driver that has time stamps.
#[test]
fn inspect_names_the_slowest_kernels() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out");
    let sizes = ["compile", "--no-web", "--no-cpu", "--max-context", "64", "--prefill-chunk", "16", "-o"];
    succeed(qwenc(&sizes, &[&out, &common::model("genai015")]));

    let arguments = ["inspect", "--slowest", "3", "--adapter", "llvmpipe"];
    let text = succeed(qwenc(&arguments, &[&out]));
    let (facts, times) = text.split_once("\nslowest kernels on llvmpipe").unwrap();
    assert!(facts.contains("entry points"), "{text}");
    assert!(times.contains("\ndecode: ") && times.contains("\nprefill: "), "{text}");
    assert!(times.contains("MB of weights at") && times.contains("the others"), "{text}");

    let json = succeed(qwenc(&[&arguments[..], &["--json"]].concat(), &[&out]));
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    let slowest = &json["slowest"]["entries"];
    for entry in ["decode", "prefill", "sample", "vision"] {
        let rows = slowest[entry].as_array().unwrap();
        let dispatches: u64 = rows.iter().map(|row| row["dispatches"].as_u64().unwrap()).sum();
        assert_eq!(Some(dispatches), json["entries"][entry]["dispatches"].as_u64(), "{entry}");
        let times: Vec<f64> = rows.iter().map(|row| row["microseconds"].as_f64().unwrap()).collect();
        assert!(times.iter().all(|time| *time > 0.0), "{entry}: {times:?}");
        // The last row is what the others take together.
        assert!(times[..times.len().min(3)].is_sorted_by(|a, b| a >= b), "{entry}: {times:?}");
    }
    assert!(slowest["decode"][0]["weight_bytes"].is_u64());
}

/// Kernels that cannot be timed: what is no bundle, an adapter that is not there, no adapter at all.
#[test]
fn inspect_says_why_it_cannot_time_kernels() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out");
    let graph = common::model("genai015").join("onnx/embed_tokens.onnx");
    succeed(qwenc(&["compile", "--only", "-o"], &[&out, &graph]));
    let refused = |arguments: &[&str], path: &Path, drivers: Option<&str>, code: i32, expected: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_qwenc"));
        command.arg("inspect").args(arguments).arg(path).env("NO_COLOR", "1");
        if let Some(drivers) = drivers {
            command.env("VK_DRIVER_FILES", drivers).env("VK_ICD_FILENAMES", drivers);
        }
        let run = command.output().unwrap();
        let message = String::from_utf8_lossy(&run.stderr).replace('│', "");
        let message = message.split_whitespace().collect::<Vec<_>>().join(" ");
        assert_eq!(run.status.code(), Some(code), "{message}");
        assert!(message.contains(expected), "expected `{expected}` in {message}");
    };
    refused(&["--slowest=3"], &common::model("genai015"), None, 1, "compile it first");
    refused(&["--slowest=3", "--adapter", "Voodoo"], &out, None, 1, "choose one of them");
    refused(&["--slowest=3"], &out, Some("/nowhere.json"), 1, "install a GPU driver");
    refused(&["--adapter", "llvmpipe"], &out, None, 2, "--slowest");
    // A graph that is no decoder has one entry point.
    let text = succeed(qwenc(&["inspect", "--slowest=1", "--adapter", "llvmpipe"], &[&out]));
    assert!(text.contains("\nmain: ") && text.contains("rows"), "{text}");
}
