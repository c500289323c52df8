//! Whole decoders: real exports of several exporters, compiled, replayed on both drivers, and held against logits that
//! Hugging Face transformers computed.

use std::collections::BTreeMap;
use std::path::Path;

use crate::common::verify::{compiled, default_sizes, report, sessions, verify_all};
use crate::common::{DIALECTS, STANDARD, copy_tree, golden, model, replace_file, tree};
use prost::Message;
use qwenc::model::entries::DecoderSizes;
use qwenc::onnx::proto::ModelProto;
use qwenc::pipeline::{CompileOptions, Silent, compile, compile_to};
use qwenc_golden::GoldenFile;
use qwenc_runtime::bundle::{Bundle, Folder};
use qwenc_runtime::format::Command;
use qwenc_runtime::gpu::probe::test_gpus;

#[test]
fn genai015_meets_the_goldens() {
    verify_all("genai015", default_sizes());
}

#[test]
fn genai_meets_the_goldens() {
    verify_all("genai", default_sizes());
}

#[test]
fn mobius_meets_the_goldens() {
    verify_all("mobius", default_sizes());
}

/// One `Scan` for every delta layer, the state of the convolution four wide, attention and rope spelled out.
#[test]
fn torch_meets_the_goldens() {
    verify_all("torch", default_sizes());
}

/// The operators of opset 24, and functions of the model whose bodies hold a `Scan`.
#[test]
fn mobius_in_standard_operators_meets_the_goldens() {
    verify_all("mobius_standard", default_sizes());
}

/// Prompts longer than a chunk are cut; states carry over, also at odd places, and the caches are nearly full.
#[test]
fn small_chunks_and_a_tight_context_give_the_same() {
    verify_all("genai015", DecoderSizes { max_context: 151, prefill_chunk: 37 });
    verify_all("mobius", DecoderSizes { max_context: 160, prefill_chunk: 9 });
}

#[test]
fn decoding_takes_few_dispatches_and_the_dialects_agree() {
    let mut seen = Vec::new();
    for dialect in DIALECTS.into_iter().chain(STANDARD) {
        let (compiled, _) = compiled(dialect, default_sizes());
        let schedule = &compiled.assembled.schedule;
        let families: Vec<Vec<String>> = schedule
            .entries
            .values()
            .map(|entry| {
                let labels = entry.commands.iter().filter_map(|command| match command {
                    Command::Dispatch(dispatch) => dispatch.label.split(' ').next().map(str::to_string),
                    _ => None,
                });
                labels.collect()
            })
            .collect();
        let layers = compiled.manifest.model.decoder.as_ref().unwrap().layers as usize;
        let decode = schedule.entries["decode"].commands.len();
        assert!(decode <= 9 * layers, "{dialect}: {decode} dispatches for {layers} layers");
        // Three of them choose tokens.
        assert!(schedule.pipelines.len() <= 33, "{dialect}: {} pipelines", schedule.pipelines.len());
        seen.push((families, compiled.manifest.memory.weight_bytes));
    }
    // Several exporters, one model: the same kernels in the same order over the same bytes.
    assert!(seen.windows(2).all(|pair| pair[0] == pair[1]), "{seen:#?}");
}

/// genai015's decoder with the operators that ai.onnx has since opset 27 (and 23) in place of ONNX Runtime's: no exporter
/// writes them yet. The bundle is the same to the byte, and with it everything that is tested of the other one.
#[test]
fn the_operators_of_opset_27_give_the_same_bundle() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("opset27");
    copy_tree(&model("genai015"), &folder);
    let path = folder.join("onnx/decoder_model_merged.onnx");
    let mut proto = ModelProto::decode(std::fs::read(&path).unwrap().as_slice()).unwrap();
    for opset in proto.opset_import.iter_mut().filter(|opset| opset.domain().is_empty()) {
        opset.version = Some(27);
    }
    let mut moved = 0;
    for node in &mut proto.graph.as_mut().unwrap().node {
        match node.op_type() {
            // `ndim` is ONNX Runtime's alone; the other attributes have the same names and meanings.
            "LinearAttention" | "CausalConvWithState" => {
                node.domain = None;
                node.attribute.retain(|attribute| attribute.name() != "ndim");
                moved += 1;
            }
            "SimplifiedLayerNormalization" => node.op_type = Some("RMSNormalization".to_owned()),
            _ => {}
        }
    }
    assert_eq!(moved, 6);
    std::fs::write(&path, proto.encode_to_vec()).unwrap();
    let (wanted, actual) = (dir.path().join("wanted"), dir.path().join("actual"));
    compile(&model("genai015"), &wanted, &CompileOptions::default(), &mut Silent).unwrap();
    compile(&folder, &actual, &CompileOptions::default(), &mut Silent).unwrap();
    assert_eq!(tree(&wanted), tree(&actual));
}

#[test]
fn a_bundle_depends_on_the_model_alone() {
    let dir = tempfile::tempdir().unwrap();
    let options = CompileOptions::default();
    for dialect in DIALECTS {
        let elsewhere = dir.path().join("another place").join(dialect);
        copy_tree(&model(dialect), &elsewhere);
        let (first, second) =
            (dir.path().join(format!("{dialect}-1")), dir.path().join(format!("{dialect}-2")));
        compile(&model(dialect), &first, &options, &mut Silent).unwrap();
        compile(&elsewhere, &second, &options, &mut Silent).unwrap();
        assert_eq!(tree(&first), tree(&second), "{dialect}");
        // A file that the old bundle does not list may be somebody's: then nothing is replaced.
        let strange = second.join("shaders/strange.wgsl");
        std::fs::write(&strange, "x").unwrap();
        let refused = compile(&model(dialect), &second, &options, &mut Silent).unwrap_err();
        assert!(refused.to_string().contains("strange.wgsl"), "{refused}");
        std::fs::remove_file(&strange).unwrap();
        // Again over the old one.
        compile(&model(dialect), &second, &options, &mut Silent).unwrap();
        assert_eq!(tree(&first), tree(&second), "{dialect}");
    }
}

/// The checks must be able to fail: one wrong number anywhere shows.
#[test]
fn one_changed_number_fails_verification() {
    let (_, files) = compiled("genai015", default_sizes());
    let golden = GoldenFile::read(&golden("text")).unwrap();
    // What is tested is the check, not the driver: one is enough.
    let one = &test_gpus().unwrap()[..1];
    let fails = |files: &BTreeMap<String, Vec<u8>>, what: &str| {
        for session in &mut sessions(files, one) {
            let report = report(session, &golden, 2e-4);
            assert!(!report.passed, "{what} went unseen:\n{report}");
        }
    };

    let shard = files.keys().find(|path| path.starts_with("weights/")).unwrap().clone();
    let mut changed = files.clone();
    replace_file(&mut changed, &shard, change_a_weight(&files[&shard]));
    fails(&changed, "a changed weight");

    // In the pipeline's own module and in every variant: which of them runs is the device's choice.
    let mut changed = files.clone();
    for (shader, text) in files.iter().filter(|(path, _)| path.starts_with("shaders/delta_step")) {
        let source = String::from_utf8(text.clone()).unwrap();
        let other = source.replace("1.0, x >= 0.0) / (1.0 + e)", "1.0, x >= 0.0) / (1.02 + e)");
        assert_ne!(source, other, "the constant is not where this test looks for it");
        replace_file(&mut changed, shader, other.into_bytes());
    }
    fails(&changed, "a changed shader constant");
}

/// Doubles the largest weight of a shard: one value that certainly matters.
fn change_a_weight(shard: &[u8]) -> Vec<u8> {
    let header = usize::try_from(u64::from_le_bytes(shard[..8].try_into().unwrap())).unwrap();
    let start = 8 + header;
    let float = |at: usize| f32::from_le_bytes(shard[at..at + 4].try_into().unwrap());
    let largest = (start..shard.len() - 3)
        .step_by(4)
        .max_by(|a, b| float(*a).abs().total_cmp(&float(*b).abs()))
        .unwrap();
    let mut out = shard.to_vec();
    out[largest..largest + 4].copy_from_slice(&(float(largest) * 2.0).to_le_bytes());
    out
}

#[test]
fn one_changed_golden_value_fails_verification() {
    let (_, files) = compiled("genai015", default_sizes());
    let mut bytes = std::fs::read(golden("text")).unwrap();
    let tensors = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let logits = tensors.tensor("logits").unwrap().data().as_ptr() as usize - bytes.as_ptr() as usize;
    let value = f32::from_le_bytes(bytes[logits..logits + 4].try_into().unwrap());
    bytes[logits..logits + 4].copy_from_slice(&(value + 0.01).to_le_bytes());
    let golden = GoldenFile::parse("changed", &bytes).unwrap();
    for session in &mut sessions(&files, &test_gpus().unwrap()[..1]) {
        let report = report(session, &golden, 2e-4);
        assert_eq!(report.failures, 1, "{report}");
        assert!(!report.passed);
    }
}

/// The command line's own exit codes, on one driver; `--json` is what programs read.
#[test]
fn verify_exits_with_its_verdict() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out");
    compile(&model("mobius"), &out, &CompileOptions::default(), &mut Silent).unwrap();
    let run = |max_abs: &str| {
        std::process::Command::new(env!("CARGO_BIN_EXE_qwenc"))
            .args(["verify", "--json", "--adapter", "llvmpipe", "--max-abs", max_abs, "--golden"])
            .arg(golden("split"))
            .arg(Path::new(&out))
            .output()
            .unwrap()
    };
    let good = run("2e-4");
    assert!(good.status.success(), "{}", String::from_utf8_lossy(&good.stderr));
    let report: serde_json::Value = serde_json::from_slice(&good.stdout).unwrap();
    assert_eq!(report["passed"], true);
    let bad = run("1e-9");
    assert_eq!(bad.status.code(), Some(1));
    let report: serde_json::Value = serde_json::from_slice(&bad.stdout).unwrap();
    assert_eq!(report["passed"], false);
}

/// A bundle that carries a golden run verifies without being told; one that does not says how.
#[test]
fn a_bundle_can_test_itself() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out");
    let verify = || {
        std::process::Command::new(env!("CARGO_BIN_EXE_qwenc"))
            .args(["verify", "--adapter", "llvmpipe"])
            .arg(&out)
            .output()
            .unwrap()
    };
    compile(&model("genai"), &out, &CompileOptions::default(), &mut Silent).unwrap();
    let without = verify();
    assert_eq!(without.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&without.stderr).contains("--golden"));

    let options = CompileOptions { golden: Some(golden("split")), ..CompileOptions::default() };
    compile(&model("genai"), &out, &options, &mut Silent).unwrap();
    let with = verify();
    assert!(with.status.success(), "{}", String::from_utf8_lossy(&with.stderr));
    assert_eq!(
        std::fs::read(out.join("model/chat_template.jinja")).unwrap(),
        std::fs::read(model("genai").join("chat_template.jinja")).unwrap()
    );
    // The tokenizer is not carried along but compiled.
    assert!(!out.join("model/tokenizer.json").exists());
    let bundle = Bundle::open(Folder::new(&out).unwrap()).unwrap();
    assert_eq!(bundle.tokenizer().unwrap().unwrap().token_to_id("<|im_end|>"), Some(502));
    let shown =
        std::process::Command::new(env!("CARGO_BIN_EXE_qwenc")).arg("inspect").arg(&out).output().unwrap();
    let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
    let line = "tokenizer: 512 tokens, 119 merges, 137 added tokens, words as Qwen3.5, NFC";
    assert!(shown.contains(line), "{shown}");
}

#[test]
fn a_tokenizer_that_is_not_supported_is_a_note() {
    let dir = tempfile::tempdir().unwrap();
    copy_tree(&model("genai"), dir.path());
    std::fs::write(dir.path().join("tokenizer.json"), r#"{"model":{"type":"Unigram","vocab":[]}}"#).unwrap();
    let mut files = BTreeMap::new();
    let compiled = compile_to(dir.path(), &mut files, &CompileOptions::default(), &mut Silent).unwrap();
    let note = compiled.notes.iter().find(|note| note.contains("no tokenizer")).unwrap();
    assert!(note.contains("`tokenizer.json`: `model.type` is Unigram"), "{note}");
    assert!(!files.contains_key("model/tokenizer.bin"));
}
