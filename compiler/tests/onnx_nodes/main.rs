//! ONNX's own backend node tests, compiled and replayed on lavapipe and on SwiftShader.
//!
//! `golden/onnx_nodes/convert.py` packed the cases, by families of operators. Each is compiled as `qwenc compile` does,
//! with all passes, and its results are held against ONNX's. `golden/onnx_nodes/unsupported.txt` lists the cases that
//! are not supported, and why. It can only be true: a case in it that passes fails the test, and so does one that fails
//! and is not in it. `docs/operators.md` is the outcome as a page;
//! `QWENC_BLESS=1 cargo test -p qwenc --test onnx_nodes` writes it.
#![allow(clippy::unwrap_used, unreachable_pub, missing_docs, reason = "a test that cannot go on must fail")]

#[path = "../common/mod.rs"]
mod common;

mod archive;
mod device;
mod page;
mod unsupported;

use std::sync::OnceLock;

use archive::Case;
use device::Outcome;

/// A case and what became of it.
pub struct Tried {
    pub case: Case,
    pub outcome: Outcome,
}

/// The outcome of a family's cases, computed once a process.
fn tried(family: usize) -> &'static [Tried] {
    static TRIED: [OnceLock<Vec<Tried>>; FAMILIES.len()] = [const { OnceLock::new() }; FAMILIES.len()];
    TRIED[family].get_or_init(|| {
        let cases = archive::read(FAMILIES[family]);
        assert!(!cases.is_empty(), "{} holds no case", FAMILIES[family]);
        cases.into_iter().map(|case| Tried { outcome: device::run(&case), case }).collect()
    })
}

/// Every case passes, or is listed and fails as the list says.
fn check(family: &str) {
    let family = FAMILIES.iter().position(|name| *name == family).unwrap();
    let listed = unsupported::read();
    let problems: Vec<String> =
        tried(family).iter().filter_map(|tried| unsupported::judge(&listed, tried)).collect();
    assert!(problems.is_empty(), "{} cases:\n{}", problems.len(), problems.join("\n"));
}

macro_rules! families {
    ($($name:ident),* $(,)?) => {
        const FAMILIES: [&str; [$(stringify!($name)),*].len()] = [$(stringify!($name)),*];

        $(#[test] fn $name() { check(stringify!($name)); })*
    };
}

families!(
    activation,
    arithmetic,
    attention,
    cast,
    generate,
    image,
    indexing,
    layout,
    logic,
    norm,
    product,
    quantize,
    recurrent,
    reduction,
    trigonometry,
);

/// A file that no test reads would be a check that skips itself.
#[test]
fn every_archive_is_read() {
    for entry in std::fs::read_dir(archive::folder()).unwrap() {
        let path = entry.unwrap().path();
        let stem = path.file_stem().unwrap().to_string_lossy().into_owned();
        let known = FAMILIES.contains(&stem.as_str()) || stem == "refused";
        assert!(known || path.extension().is_none_or(|e| e != "safetensors"), "{stem} is read by no test");
    }
}

/// Operators without an importer are refused by name, at the node.
#[test]
fn operators_that_are_not_known_are_refused_at_their_node() {
    let cases = archive::read("refused");
    assert!(cases.len() > 30);
    for case in cases {
        let Outcome::Refused(message) = device::run(&case) else {
            panic!("{} has an importer: give it a family in convert.py", case.op);
        };
        assert!(unsupported::names_the_place(&message), "{}: {message}", case.op);
    }
}

#[test]
fn the_operators_page_is_current() {
    let all: Vec<&Tried> = (0..FAMILIES.len()).flat_map(tried).collect();
    page::check(&all);
}
