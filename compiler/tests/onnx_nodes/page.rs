//! `docs/operators.md`: the outcome of the node tests as a page.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use qwenc::onnx::{Model, registry};

use super::Tried;
use super::archive::folder;
use super::common::root;
use super::device::Outcome;
use super::unsupported;

/// What the page says about one operator.
#[derive(Default)]
struct Row {
    /// Versions of operator sets in the tests.
    opsets: BTreeSet<i64>,
    passed: usize,
    total: usize,
    /// Cases of ONNX Runtime's numbers.
    runtime: usize,
    /// Why cases are not supported, each with their number.
    notes: BTreeMap<String, usize>,
}

/// Operator and domain; the standard domain is "".
type Key = (String, String);

const HEAD: &str = "\
# Operators

Which ONNX operators compile, in which versions, and what of them does not. This page is written by the tests, from what
happened in them:

```sh
QWENC_BLESS=1 cargo test -p qwenc --test onnx_nodes
```

*Node tests* are ONNX's own backend tests (the package `onnx`, `backend/test`), converted once by
[`golden/onnx_nodes/convert.py`](../golden/onnx_nodes/convert.py). Each is compiled as `qwenc compile` does and replayed on two
Vulkan drivers; its results are held against ONNX's with a relative tolerance of 1e-4 for f32, 1e-3 for f16 and f64, 1/64 for
bf16, and an absolute one of 1e-7, as in ONNX's own runner but narrower for f32; integers and booleans are compared exactly.
Tests of a function that ONNX also gives expanded into other operators count twice. *Runtime cases* are small models with
results from ONNX Runtime.

What holds for all operators:

- Operator sets 13 to 28, file versions 7 to 14. Other domains: `com.microsoft`, and functions that the model carries itself.
- Operands that say sizes, axes, indices of slices or switches must be constant or follow from the shapes of inputs. In the tests they are
  constants of the model, as they are in what exporters write.
- Devices hold f32, i32 and u32. f16, bf16 and f64 are computed in f32, results in them are f32 too; i64 and u64 are held
  in 32 bits, and a constant that does not fit is refused. i8, i16, u8 and u16 wrap at their own width. i4 and u4 are
  formats of weights, not types to compute in. 8-bit floats, 2-bit integers, text, sequences and optionals are not
  supported.
- `If` is resolved while compiling; its condition must be known then.
";

/// Holds the page against the outcome of all cases; writes it when QWENC_BLESS is set.
pub fn check(all: &[&Tried]) {
    let path = root().join("docs/operators.md");
    let page = page(all);
    if std::env::var_os("QWENC_BLESS").is_some() {
        std::fs::write(&path, page).unwrap();
        return;
    }
    let stored = std::fs::read_to_string(&path).unwrap();
    let stale = stored.lines().zip(page.lines()).find(|(have, want)| have != want);
    assert!(
        stored == page,
        "docs/operators.md is stale (first at {stale:?}): QWENC_BLESS=1 cargo test -p qwenc --test onnx_nodes"
    );
}

fn page(all: &[&Tried]) -> String {
    let mut rows = imported();
    let listed = unsupported::read();
    for tried in all {
        let row = rows.entry((tried.case.op.clone(), tried.case.domain.clone())).or_default();
        row.opsets.insert(tried.case.opset);
        row.total += 1;
        if tried.outcome == Outcome::Passed {
            row.passed += 1;
        } else if let Some(line) = unsupported::line(&listed, &tried.case.name) {
            *row.notes.entry(line.why.clone()).or_default() += 1;
        }
    }
    runtime_cases(&mut rows);
    let tested = rows.values().filter(|row| row.passed > 0).count();
    let (passed, total) =
        rows.values().fold((0, 0), |(passed, total), row| (passed + row.passed, total + row.total));
    let mut text = HEAD.to_owned();
    let operators = rows.len();
    writeln!(
        text,
        "\n{operators} operators have an importer; {tested} pass node tests, {passed} of {total} cases.\n"
    )
    .unwrap();
    text += "| operator | domain | operator sets tested | node tests | runtime cases | not supported |\n";
    text += "|---|---|---|---|---|---|\n";
    for ((op, domain), row) in &rows {
        let opsets: Vec<String> = row.opsets.iter().map(i64::to_string).collect();
        let notes: Vec<String> = row.notes.iter().map(|(why, count)| format!("{why} ({count})")).collect();
        let node_tests =
            if row.total == 0 { String::new() } else { format!("{} of {}", row.passed, row.total) };
        let runtime = if row.runtime == 0 { String::new() } else { row.runtime.to_string() };
        let domain = if domain.is_empty() { "ai.onnx" } else { domain };
        writeln!(
            text,
            "| {op} | {domain} | {} | {node_tests} | {runtime} | {} |",
            opsets.join(", "),
            notes.join("; ")
        )
        .unwrap();
    }
    text += &left_out();
    text
}

/// A row for every operator with an importer.
fn imported() -> BTreeMap<Key, Row> {
    let mut rows: BTreeMap<Key, Row> = BTreeMap::new();
    for entry in registry() {
        rows.insert((entry.name.to_owned(), entry.domain.to_owned()), Row::default());
    }
    // The walker's own: they have subgraphs.
    for name in ["If", "Scan"] {
        rows.insert((name.to_owned(), String::new()), Row::default());
    }
    rows
}

/// Counts the models of `onnx_cases` by the operators in them; `onnx/runtime_cases.rs` runs them.
fn runtime_cases(rows: &mut BTreeMap<Key, Row>) {
    for entry in std::fs::read_dir(root().join("compiler/tests/onnx_cases")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "onnx") {
            continue;
        }
        let model = Model::open(&path).unwrap();
        let used: BTreeSet<Key> = model
            .graph()
            .node
            .iter()
            .map(|node| (node.op_type().to_owned(), node.domain().to_owned()))
            .collect();
        for key in used {
            if let Some(row) = rows.get_mut(&key) {
                row.runtime += 1;
            }
        }
    }
}

/// What `convert.py` left out, and why.
fn left_out() -> String {
    let text = std::fs::read_to_string(folder().join("skipped.txt")).unwrap();
    let mut sections = text.split("\n\n").skip(1);
    let mut out = String::from(
        "\n## Operators without an importer\n\nA model with one of them is refused, with the node's name. A test holds that for each of them.\n\n\
         | operator | domain | node tests | why |\n|---|---|---|---|\n",
    );
    let rows = |section: Option<&str>| -> Vec<Vec<String>> {
        let lines = section.unwrap().lines().filter(|line| !line.starts_with('#'));
        lines.map(|line| line.split('|').map(|part| part.trim().to_owned()).collect()).collect()
    };
    for row in rows(sections.next()) {
        writeln!(out, "| {} |", row.join(" | ")).unwrap();
    }
    out += "\n## Node tests that are left out\n\n| case | operator | why |\n|---|---|---|\n";
    for row in rows(sections.next()) {
        writeln!(out, "| `{}` | {} | {} |", row[0], row[1], row[2]).unwrap();
    }
    out
}
