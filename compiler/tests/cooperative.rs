//! Modules for matrix cores: in a bundle when they were asked for, and no other device takes them. That they compute the right
//! thing can only be tested where there are such cores: kernel tests do it with `QWENC_TEST_ADAPTER`.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on must fail")]

mod common;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Output};

use qwenc::pipeline::{CompileOptions, Silent, compile_to};
use qwenc_runtime::bundle::SHADERS_FILE;
use qwenc_runtime::format::{Feature, MANIFEST_FILE, Pipeline, SCHEDULE_FILE, Schedule};

/// A tiny export with pictures.
const DIALECT: &str = "genai015";

fn compiled(cooperative_matrices: bool) -> BTreeMap<String, Vec<u8>> {
    let options = CompileOptions { cooperative_matrices, ..CompileOptions::default() };
    let mut files = BTreeMap::new();
    compile_to(&common::model(DIALECT), &mut files, &options, &mut Silent).unwrap();
    files
}

fn rounds(pipeline: &Pipeline) -> bool {
    pipeline.variants.iter().any(|variant| variant.needs == [Feature::CooperativeMatrix])
}

#[test]
fn modules_that_round_are_there_when_asked_for() {
    let (without, with) = (compiled(false), compiled(true));
    let schedule = |files: &BTreeMap<String, Vec<u8>>| Schedule::from_json(&files[SCHEDULE_FILE]).unwrap();
    assert!(!schedule(&without).uses(Feature::CooperativeMatrix));
    let asked = schedule(&with);
    assert!(asked.uses(Feature::CooperativeMatrix));
    for pipeline in &asked.pipelines {
        let many_rows = pipeline.shader.contains("/linear_gemm_");
        let segments = pipeline.shader.contains("/attention_segments_");
        assert_eq!(rounds(pipeline), many_rows || segments, "{}", pipeline.shader);
    }
    // Nothing else is another.
    let added: Vec<_> = with.keys().filter(|path| !without.contains_key(*path)).collect();
    assert!(added.len() > 1 && added.iter().all(|path| path.ends_with("_cooperative.wgsl")), "{added:?}");
    for (path, bytes) in &without {
        let lists = [MANIFEST_FILE, SCHEDULE_FILE, SHADERS_FILE].contains(&path.as_str());
        assert!(lists || with[path] == *bytes, "{path}");
    }
}

fn qwenc(arguments: &[&str], path: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_qwenc")).args(arguments).arg(path).output().unwrap()
}

#[test]
fn devices_without_matrix_cores_take_the_others() {
    let dir = tempfile::tempdir().unwrap();
    let (out, golden) = (dir.path().join("out"), common::golden("text"));
    let compile = [
        "compile",
        "--no-cpu",
        "--cooperative-matrices",
        "--golden",
        golden.to_str().unwrap(),
        "-o",
        out.to_str().unwrap(),
    ];
    for output in
        [qwenc(&compile, &common::model(DIALECT)), qwenc(&["verify", "--adapter", "llvmpipe"], &out)]
    {
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}
