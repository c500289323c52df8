//! What bundles cost, by counting: dispatches, pipelines and bytes do not change unnoticed.
//!
//! Times differ from machine to machine and from minute to minute; these numbers do not. `QWENC_BLESS=1` takes the new ones.
//! How large the WebAssembly module may be is a count of the same kind, which `cargo xtask web` keeps (`CEILING`).

use std::collections::BTreeMap;
use std::path::Path;

use qwenc::bench::{Counts, EntryCounts, count};
use qwenc::pipeline::{CompileOptions, Silent, compile_to};
use qwenc::quantize::{StoreAs, WeightRecipe};
use serde::Serialize;

/// Models, how their weights are stored, and the most dispatches that a layer of the delta rule may take for a token.
///
/// Nano talks and sees, in floats and in four bits; the other two are spelled by other exporters. The last one comes with
/// weights in four bits, in formats that differ within a layer: its convolution does not go along with a projection.
const BUNDLES: [(&str, StoreAs, usize); 4] = [
    ("nano", StoreAs::Q4, 5),
    ("nano", StoreAs::Keep, 5),
    ("tiny/mobius", StoreAs::Keep, 5),
    ("tiny/genai_int4", StoreAs::Keep, 7),
];

#[derive(Serialize)]
struct Costs {
    /// A token that is decoded and chosen on the device.
    token: EntryCounts,
    #[serde(flatten)]
    counts: Counts,
}

#[test]
fn what_bundles_cost_is_what_they_did() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = BTreeMap::new();
    for (model, store, delta) in BUNDLES {
        let (costs, layers) = costs(&here.join("../models").join(model), store);
        // A layer of attention takes at most seven.
        let decode = &costs.counts.entries["decode"];
        assert!(
            decode.dispatches <= layers / 4 * (3 * delta + 7) + 3,
            "{model}: {decode:?} for {layers} layers"
        );
        assert!(costs.counts.entries["sample"].dispatches <= 4, "{model}");
        found.insert(format!("{model}, {store}"), costs);
    }
    let found = serde_json::to_string_pretty(&found).unwrap() + "\n";
    let file = here.join("tests/onnx/counts.json");
    if std::env::var_os("QWENC_BLESS").is_some() {
        std::fs::write(&file, &found).unwrap();
    }
    let known = std::fs::read_to_string(&file).unwrap();
    let changed = changes(&known, &found);
    assert!(changed.is_empty(), "counts have changed; if that is meant: QWENC_BLESS=1\n{changed}");
}

/// What a bundle of a model costs, and how many layers it has.
fn costs(model: &Path, store: StoreAs) -> (Costs, usize) {
    let options = CompileOptions {
        weights: WeightRecipe { default: store, ..WeightRecipe::default() },
        ..CompileOptions::default()
    };
    let compiled = compile_to(model, &mut BTreeMap::new(), &options, &mut Silent).unwrap();
    let counts = count(&compiled.manifest, &compiled.assembled.schedule);
    let layers = compiled.manifest.model.decoder.as_ref().unwrap().layers;
    (Costs { token: counts.token(), counts }, usize::try_from(layers).unwrap())
}

/// The lines that are not as they were, each with the numbers of the bundle and the entry point around it.
fn changes(known: &str, found: &str) -> String {
    let [known, found] = [known, found].map(|text| serde_json::from_str::<serde_json::Value>(text).unwrap());
    let mut lines = Vec::new();
    compare("", &known, &found, &mut lines);
    lines.join("\n")
}

fn compare(path: &str, known: &serde_json::Value, found: &serde_json::Value, lines: &mut Vec<String>) {
    if let (Some(known), Some(found)) = (known.as_object(), found.as_object()) {
        let names: std::collections::BTreeSet<_> = known.keys().chain(found.keys()).collect();
        let nothing = serde_json::Value::Null;
        for name in names {
            let [known, found] = [known, found].map(|map| map.get(name).unwrap_or(&nothing));
            compare(&format!("{path}/{name}"), known, found, lines);
        }
    } else if known != found {
        lines.push(format!("{path}: {known} -> {found}"));
    }
}

#[test]
fn a_change_is_told_by_its_place() {
    let known = r#"{"nano": {"pipelines": 4, "entries": {"decode": {"dispatches": 7}}}}"#;
    let found = r#"{"nano": {"pipelines": 4, "entries": {"decode": {"dispatches": 8}, "head": 1}}}"#;
    let told = "/nano/entries/decode/dispatches: 7 -> 8\n/nano/entries/head: null -> 1";
    assert_eq!(changes(known, found), told);
    assert_eq!(changes(known, known), "");
}
