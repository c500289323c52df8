//! Bundles carry the page and the browser's runtime, when this qwenc was built with them.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on must fail")]

mod common;

use std::path::Path;
use std::process::Command;

use qwenc::bundle::web;
use qwenc_runtime::bundle::{Bundle, Folder};

/// Compiles and gives what was said.
fn compile(model: &Path, output: &Path, arguments: &[&str]) -> String {
    let run = Command::new(env!("CARGO_BIN_EXE_qwenc"))
        .arg("compile")
        .arg(model)
        .arg("-o")
        .arg(output)
        .args(["--max-image-patches", "0"])
        .args(arguments)
        .output()
        .unwrap();
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    String::from_utf8(run.stdout).unwrap()
}

#[test]
fn a_bundle_that_talks_has_a_page() {
    let dir = tempfile::tempdir().unwrap();
    let model = dir.path().join("model");
    common::copy_tree(&common::model("genai015"), &model);
    std::fs::create_dir(model.join("examples")).unwrap();
    std::fs::write(model.join("examples/cat.png"), "picture").unwrap();
    std::fs::write(model.join("examples.json"), r#"[{"text": "What is it?", "image": "examples/cat.png"}]"#)
        .unwrap();
    let out = dir.path().join("out");

    let plain = compile(&model, &out, &["--no-web"]);
    assert!(!plain.contains("serve") && !plain.contains("page"), "{plain}");
    let files = common::tree(&out);
    assert!(!files.keys().any(|path| path.starts_with("web/") || path == "index.html"));

    // In the place of a bundle without a page, and then of one with it: its own files are nothing foreign.
    let said = compile(&model, &out, &[]);
    let first = common::tree(&out);
    compile(&model, &out, &[]);
    assert!(common::tree(&out) == first, "the same input gives the same bytes");
    Bundle::open(Folder::new(&out).unwrap()).unwrap();
    if web::files().is_empty() {
        assert!(said.contains(web::NO_PAGE), "{said}");
        assert_eq!(first, files);
        return;
    }
    assert!(said.contains("qwenc serve"), "{said}");
    for (path, bytes) in web::files() {
        assert_eq!(first[*path], *bytes, "{path}");
    }
    assert_eq!(first["web/examples/cat.png"], b"picture");
    for path in [
        "index.html",
        "sw.js",
        "web/page/app.js",
        "web/src/worker.js",
        "web/dist/qwenc_bg.wasm",
        "web/examples.json",
    ] {
        assert!(first.contains_key(path), "{path}");
    }
}
