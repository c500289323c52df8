//! Kernels for browsers without WebGPU: every shader of the tiny models has a translation, in the bundle and in order.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use qwenc::pipeline::{CompileOptions, Silent, compile, compile_to};
use qwenc_runtime::format::{CPU_KERNELS_FILE, MANIFEST_FILE, Manifest, SCHEDULE_FILE, Schedule};

fn compiled(model: &str, cpu: bool) -> BTreeMap<String, Vec<u8>> {
    let input = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/tiny").join(model);
    let options = CompileOptions { cpu, ..CompileOptions::default() };
    let mut files = BTreeMap::new();
    compile_to(&input, &mut files, &options, &mut Silent).unwrap();
    files
}

/// An export's name as it is in the module: its length, the name, then the kind (a function).
fn exports(module: &[u8], name: &str) -> bool {
    let mut bytes = vec![u8::try_from(name.len()).unwrap()];
    bytes.extend(name.as_bytes());
    bytes.push(0);
    module.windows(bytes.len()).any(|window| window == bytes)
}

#[test]
fn every_dialect_translates() {
    for model in [
        "genai015",
        "genai015_int4",
        "genai_bf16",
        "community",
        "torch_q4",
        "mobius",
        "odd_genai",
        "odd_torch",
    ] {
        let files = compiled(model, true);
        let module = &files[CPU_KERNELS_FILE];
        assert_eq!(module[..8], *b"\0asm\x01\0\0\0", "{model}");
        let schedule = Schedule::from_json(&files[SCHEDULE_FILE]).unwrap();
        let count = schedule.pipelines.len();
        for index in 0..count {
            assert!(exports(module, &format!("k{index}")), "{model}: pipeline {index}");
        }
        assert!(!exports(module, &format!("k{count}")), "{model}");
        // Two thousand bytes a kernel on average would be small; ten thousand would be a waste of the visitor's time.
        assert!(module.len() < 10_000 * count, "{model}: {} bytes for {count} kernels", module.len());
        let manifest = Manifest::from_json(&files[MANIFEST_FILE]).unwrap();
        assert!(manifest.lists(CPU_KERNELS_FILE), "{model}");
    }
}

#[test]
fn the_bytes_are_the_same_again_and_can_be_left_out() {
    let (first, again) = (compiled("genai015", true), compiled("genai015", true));
    assert_eq!(first[CPU_KERNELS_FILE], again[CPU_KERNELS_FILE]);
    let without = compiled("genai015", false);
    assert!(!without.contains_key(CPU_KERNELS_FILE));
    assert_eq!(first.len(), without.len() + 1);
}

/// The whole of a bundle, on the package's own CPU device under node: prefill over several chunks of the delta rule, and
/// steps of decoding, against what Hugging Face computed.
#[test]
fn goldens_hold_on_the_cpu_device() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    for (model, golden) in [
        ("tiny/genai015", "tiny/long"),
        ("tiny/genai015", "tiny/split"),
        ("tiny/odd_genai", "tiny_odd/long"),
        ("nano", "nano/text"),
    ] {
        let bundle = tempfile::tempdir().unwrap();
        let folder = bundle.path().join("out");
        let options = CompileOptions { cpu: true, max_image_patches: 256, ..CompileOptions::default() };
        compile(&root.join("models").join(model), &folder, &options, &mut Silent).unwrap();
        let output = Command::new("node")
            .arg(root.join("runtime/web/test/golden-cpu.js"))
            .arg(&folder)
            .arg(root.join("golden").join(golden).with_extension("safetensors"))
            .output()
            .unwrap();
        let text =
            String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{model}, {golden}: {text}");
    }
}
