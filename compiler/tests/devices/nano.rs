//! nano, the model with trained weights: transformers' answers on both drivers, and what quantization leaves of its accuracy.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use crate::common::verify::{report_with, sessions};
use crate::common::{dump_shaders, root};
use qwenc::pipeline::{CompileOptions, Silent, compile_to};
use qwenc_golden::GoldenFile;
use qwenc_runtime::bundle::{Bundle, Memory};
use qwenc_runtime::gpu::probe::test_gpus;
use qwenc_runtime::image::Preprocessor;

/// Largest difference of a logit; they reach 30. The worst seen is 4e-5.
const LIMIT: f64 = 1e-3;

/// A question about a text, and a picture that is described: logits and tokens of the answers, with poisoned temporaries.
#[test]
fn nano_meets_its_goldens_on_both_drivers() {
    let folder = root().join("models/nano");
    let mut files = BTreeMap::new();
    compile_to(&folder, &mut files, &CompileOptions::default(), &mut Silent).unwrap();
    dump_shaders(&files);
    let bundle = Bundle::open(Memory { files: files.clone() }).unwrap();
    for session in &mut sessions(&files, &test_gpus().unwrap()) {
        for name in ["text", "picture"] {
            let golden = GoldenFile::read(&root().join(format!("golden/nano/{name}.safetensors"))).unwrap();
            let preprocessor = Preprocessor::of_bundle(&bundle).unwrap();
            let report = report_with(session, &golden, LIMIT, Some(preprocessor));
            assert!(report.passed, "{name}:\n{report}");
            assert_eq!(report.argmax_agreements, report.positions.len(), "{name}:\n{report}");
        }
    }
}

/// Runs `qwenc eval`, which must hold the floor of every family of tasks.
fn eval(bundle: &Path, limit: &str, predictions: &Path) {
    let output = Command::new(env!("CARGO_BIN_EXE_qwenc"))
        .arg("eval")
        .arg(bundle)
        .args(["--adapter", "llvmpipe", "--limit", limit, "--at-least", "75", "--cases"])
        .arg(root().join("models/nano/eval"))
        .arg("--predictions")
        .arg(predictions)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
}

/// Held-out cases of all 30 tasks, answered through tokenizer, template, image processor and kernels. With so few cases a
/// family may miss one; the card has the figures of many. Four bits may lose one more answer, not more.
#[test]
fn nano_answers_its_held_out_cases_also_with_four_bits() {
    let dir = tempfile::tempdir().unwrap();
    let mut predictions = Vec::new();
    for quant in ["f32", "q4"] {
        let bundle = dir.path().join(quant);
        let compiled = Command::new(env!("CARGO_BIN_EXE_qwenc"))
            .arg("compile")
            .arg(root().join("models/nano"))
            .args(["--quant", quant, "-o"])
            .arg(&bundle)
            .output()
            .unwrap();
        assert!(compiled.status.success(), "{}", String::from_utf8_lossy(&compiled.stderr));
        predictions.push(dir.path().join(format!("{quant}.jsonl")));
        eval(&bundle, "4", &predictions[predictions.len() - 1]);
    }
    let compared = Command::new(env!("CARGO_BIN_EXE_qwenc"))
        .args(["eval", "--compare"])
        .args(&predictions)
        .args(["--lose-at-most", "1"])
        .output()
        .unwrap();
    assert!(compared.status.success(), "{}", String::from_utf8_lossy(&compared.stdout));
}
