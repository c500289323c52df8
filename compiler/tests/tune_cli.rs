//! `qwenc tune` as a user calls it: what it finds is kept, and bundles are right with every choice. That loading goes by a choice is
//! tested in the runtime.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on must fail")]

mod common;

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

const ADAPTER: [&str; 2] = ["--adapter", "llvmpipe"];

fn qwenc(cache: &Path, arguments: &[&str], path: &Path) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_qwenc"));
    command.env("XDG_CACHE_HOME", cache).args(arguments).arg(path).output().unwrap()
}

fn succeed(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn what_tuning_finds_is_kept_and_every_choice_is_right() {
    let dir = tempfile::tempdir().unwrap();
    let (out, cache) = (dir.path().join("out"), dir.path().join("cache"));
    let golden = common::golden("text");
    let compile = ["compile", "--no-cpu", "--golden", golden.to_str().unwrap(), "-o", out.to_str().unwrap()];
    succeed(&qwenc(&cache, &compile, &common::model("genai015")));

    let tune = [&["tune"], &ADAPTER[..]].concat();
    let said = succeed(&qwenc(&cache, &tune, &out));
    assert!(
        said.contains("baseline") && said.contains("narrow") && said.contains("a token's share"),
        "{said}"
    );

    let folder = cache.join("qwenc/tuning");
    let files: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|file| file.unwrap().path()).collect();
    let [file] = files.as_slice() else { panic!("{files:?}") };
    let mut kept: Value = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
    let choices = kept["choices"].as_object().unwrap().clone();
    assert!(!choices.is_empty() && choices.keys().all(|shader| said.contains(shader)), "{kept}");

    // Every choice gives the golden's logits, also one that a device would not take by itself.
    let verify = [&["verify"], &ADAPTER[..]].concat();
    succeed(&qwenc(&cache, &verify, &out));
    for variant in ["baseline", "narrow", "subgroups"] {
        for choice in kept["choices"].as_object_mut().unwrap().values_mut() {
            *choice = variant.into();
        }
        std::fs::write(file, kept.to_string()).unwrap();
        succeed(&qwenc(&cache, &verify, &out));
    }
    // A file that is no tuning, or one of another bundle, is as good as none.
    for text in ["nonsense", r#"{"adapter": "a", "choices": {"shaders/gone.wgsl": "narrow"}}"#] {
        std::fs::write(file, text).unwrap();
        succeed(&qwenc(&cache, &verify, &out));
    }
}

#[test]
fn a_bundle_without_variants_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (out, cache) = (dir.path().join("out"), dir.path().join("cache"));
    let graph = common::model("genai015").join("onnx/embed_tokens.onnx");
    succeed(&qwenc(&cache, &["compile", "--only", "-o", out.to_str().unwrap()], &graph));
    let output = qwenc(&cache, &[&["tune"], &ADAPTER[..]].concat(), &out);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("no kernels with variants"));
}
