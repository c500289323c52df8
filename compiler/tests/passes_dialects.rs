//! The same tiny decoder from several exporters becomes the same fused graph, and computes what it computed before.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::collections::BTreeMap;
use std::path::Path;

use qwenc::model::entries::DecoderSizes;
use qwenc::model::files::locate;
use qwenc::model::load::{GivenSizes, LoadOptions, load};
use qwenc::model::variant::Variants;
use qwenc::passes::{histogram, run_all};
use qwenc_ir::interp::{HostTensor, Values, inputs_by_name, run};
use qwenc_ir::{Bindings, DType, Graph, text};

const DIALECTS: [&str; 5] = ["genai", "genai015", "mobius", "mobius_standard", "torch"];
const SIZES: DecoderSizes = DecoderSizes { max_context: 64, prefill_chunk: 16 };
/// Ids of the test lie below; the tiny vocabulary ends with special tokens, the image token among them.
const ORDINARY_IDS: u64 = 500;

/// A decoder as imported (with its embedding), and after all passes.
fn compiled(dialect: &str) -> (Graph, Graph) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/tiny").join(dialect);
    let files = locate(&folder, &Variants::default(), false).unwrap();
    let options = LoadOptions { given: GivenSizes::default(), sizes: SIZES, stand_ins: None };
    let before = load(&files, &options).unwrap().graph;
    let mut after = before.clone();
    run_all(&mut after, &mut |_, _| {}).unwrap();
    (before, after)
}

/// The operators that compute, in order, with their attributes and result types, without names. How many weights stand
/// side by side is left out: some exporters join q, k and v themselves. So are views, and casts of what is stored in 16
/// bits, which are no work on a device.
fn outline(graph: &Graph) -> String {
    let mut lines = Vec::new();
    for line in text::print(graph).lines() {
        let Some((_, node)) = line.strip_prefix("  %").and_then(|line| line.split_once(" = ")) else {
            continue;
        };
        let (Some((op, _)), Some((_, rest))) = (node.split_once('('), node.split_once(") ")) else {
            panic!("unexpected line: {line}");
        };
        if ["reshape", "slice", "transpose"].contains(&op) || rest.starts_with("{expr = cast(f32, a0)}") {
            continue;
        }
        let rest = rest.split(" \"").next().unwrap_or_default();
        // A lookup in a stored table; its cast is left out above.
        let rest = rest.replace(": bf16[", ": f32[");
        let rest = rest.replace("kn, ", "").replace("weights = [kn], ", "").replace("weights = [kn]", "");
        lines.push(format!("{op} {rest}"));
    }
    lines.join("\n") + "\n"
}

/// torch.onnx keeps what the other exporters change: the epsilon in the norms of q and k, and a fourth column in the
/// state of the convolution.
fn of_torch(outline: &str) -> String {
    let norms = outline.matches("qk_norm = 0.0").count();
    assert_eq!((norms, outline.matches("f32[1, 192, 3]").count()), (3, 3));
    outline.replace("qk_norm = 0.0", "qk_norm = 1e-6").replace("f32[1, 192, 3]", "f32[1, 192, 4]")
}

#[test]
fn all_dialects_reach_the_same_form() {
    let expected = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/passes/decoder.outline.txt");
    for dialect in DIALECTS.into_iter().chain(["genai_f16", "genai_bf16", "community"]) {
        let (_, after) = compiled(dialect);
        let actual = outline(&after);
        if std::env::var_os("QWENC_BLESS").is_some() && dialect != "torch" {
            std::fs::write(&expected, &actual).unwrap();
        }
        let wanted = std::fs::read_to_string(&expected).unwrap_or_default();
        let wanted = if dialect == "torch" { of_torch(&wanted) } else { wanted };
        assert_eq!(actual, wanted, "{dialect} differs; full graph:\n{}", text::print(&after));
        let counts = histogram(&after);
        // Three delta layers and one attention layer of four projections each, and the head.
        assert_eq!(counts.get("linear"), Some(&17), "{dialect}: {counts:?}");
        assert_eq!(after.states().len(), 8, "{dialect}");
        assert_eq!(after.outputs().len(), 1, "{dialect}: {:?}", after.outputs());
    }
}

#[test]
fn passes_keep_what_the_model_computes() {
    for dialect in DIALECTS {
        let (before, after) = compiled(dialect);
        // A first call, and a single token behind a state.
        for (tokens, past) in [(5, 0), (1, 3)] {
            let bindings = Bindings::from([("tokens".into(), tokens), ("past".into(), past)]);
            let inputs = inputs(&before, &bindings);
            let (old, new) = (results(&before, &bindings, &inputs), results(&after, &bindings, &inputs));
            assert_close(&old["logits"], &new["logits"], &format!("{dialect}: logits"));
            // States were outputs called `present...`; every one of them has a state of the same content.
            let presents: Vec<&String> = old.keys().filter(|name| *name != "logits").collect();
            assert_eq!(presents.len(), 8, "{dialect}: {presents:?}");
            for name in presents {
                let key = name.trim_start_matches("present").trim_start_matches(['.', '_']);
                assert_close(&old[name], &new[key], &format!("{dialect}: {name}"));
            }
        }
    }
}

/// Deterministic inputs: small floats, ids of ordinary tokens, positions in order on every axis.
fn inputs(graph: &Graph, bindings: &Bindings) -> BTreeMap<String, HostTensor> {
    let mut state = 1u64;
    let mut next = move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        state >> 40
    };
    let mut tensors = BTreeMap::new();
    for input in graph.inputs() {
        let value = graph.value(*input);
        let shape: Vec<usize> =
            value.ty.shape.iter().map(|dim| usize::try_from(dim.eval(bindings).unwrap()).unwrap()).collect();
        let count: usize = shape.iter().product();
        let tensor = match (value.name.as_str(), value.ty.dtype) {
            ("position_ids", _) => {
                let (tokens, past) = (bindings["tokens"], bindings["past"]);
                // The axes differ, so that a wrong choice of axis shows.
                let rows = (0..3).flat_map(|axis| (0..tokens).map(move |at| past + at + 2 * axis));
                HostTensor::i64(shape, rows.collect::<Vec<_>>())
            }
            (_, DType::I64) => {
                let ids = (0..count).map(|_| i64::try_from(next() % ORDINARY_IDS).unwrap());
                HostTensor::i64(shape, ids.collect::<Vec<_>>())
            }
            (_, DType::F32) => {
                let values = (0..count).map(|_| next() as f32 / 8_388_608.0 - 1.0);
                HostTensor::f32(shape, values.collect::<Vec<_>>())
            }
            (name, dtype) => panic!("no test input `{name}` of type {dtype}"),
        };
        tensors.insert(value.name.clone(), tensor.unwrap());
    }
    tensors
}

/// Outputs and states by name.
fn results(
    graph: &Graph,
    bindings: &Bindings,
    inputs: &BTreeMap<String, HostTensor>,
) -> BTreeMap<String, HostTensor> {
    let named = inputs.iter().map(|(name, tensor)| (name.clone(), tensor.clone()));
    let values: Values = run(graph, bindings, &inputs_by_name(graph, named).unwrap()).unwrap();
    let outputs = graph.outputs().iter().map(|(name, value)| (name.clone(), *value));
    let states = graph.states().iter().map(|state| (state.name.clone(), state.present));
    outputs.chain(states).map(|(name, value)| (name, values.get(value).unwrap().clone())).collect()
}

fn assert_close(wanted: &HostTensor, actual: &HostTensor, place: &str) {
    assert_eq!(wanted.shape(), actual.shape(), "{place}");
    assert!(wanted.as_f32().unwrap().iter().any(|value| *value != 0.0), "{place}: only zeros");
    let difference = wanted.max_abs_diff(actual).unwrap_or(f32::INFINITY);
    assert!(difference <= 1e-4, "{place}: differs by {difference}");
}
