//! The exports of three exporters: what they import to, and that the imported graphs compute the golden logits.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::onnx_builder::{i64s, ops, run_graph, the_op};
use qwenc::onnx::{ImportOptions, Imported, Model, import};
use qwenc_golden::GoldenFile;
use qwenc_ir::interp::HostTensor;
use qwenc_ir::op::RopeSource;
use qwenc_ir::{DType, Dim, Graph, Op, Ranges, Scalar, ValueKind};

/// Exporters differ in the order of f32 operations only.
const TOLERANCE: f32 = 2e-3;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Sizes by every name that the exporters have for them.
fn options(model: &Model) -> ImportOptions {
    let (tokens, past) = (Dim::sym("tokens"), Dim::sym("past"));
    let total = past.clone() + tokens.clone();
    let mut options = ImportOptions {
        ranges: Ranges::from([("tokens".to_owned(), (1, 512)), ("past".to_owned(), (0, 4096))]),
        ..ImportOptions::default()
    };
    for (name, dim) in [
        ("batch_size", Dim::constant(1)),
        ("batch", Dim::constant(1)),
        ("sequence_length", tokens.clone()),
        ("sequence_len", tokens),
        ("past_sequence_length", past.clone()),
        ("past_sequence_len", past),
        ("total_sequence_length", total.clone()),
        ("past_seq_len + seq_len", total),
    ] {
        options.dims.insert(name.to_owned(), dim);
    }
    for port in model.inputs().unwrap() {
        match port.name.as_str() {
            "attention_mask" => {
                options.constants.insert(port.name, Scalar::Int(1));
            }
            "image_features" => {
                options.empty.insert(port.name);
            }
            _ => {}
        }
    }
    options
}

fn import_file(path: &str) -> Imported {
    let model = Model::open(root().join("models/tiny").join(path)).unwrap();
    import(&model, &options(&model)).unwrap()
}

/// Feeds the golden tokens call by call and compares every expected row.
fn check_golden(decoder: &Graph, embedding: Option<&Graph>) {
    for name in ["text", "split"] {
        let golden = GoldenFile::read(&root().join(format!("golden/tiny/{name}.safetensors"))).unwrap();
        let rows: BTreeMap<usize, &[f32]> = golden.rows().collect();
        let mut states = initial_states(decoder);
        let mut past = 0usize;
        let mut compared = 0;
        for count in golden.splits() {
            let ids: Vec<i64> = golden.ids()[past..past + count].iter().map(|id| i64::from(*id)).collect();
            let sizes = [("tokens", i64::try_from(*count).unwrap()), ("past", i64::try_from(past).unwrap())];
            let ids = i64s(&[1, *count], &ids);
            let mut inputs: Vec<(&str, HostTensor)> =
                states.iter().map(|(name, state)| (name.as_str(), state.clone())).collect();
            match embedding {
                Some(graph) => {
                    let mut embedded = run_graph(graph, &[("input_ids", ids)], &sizes);
                    inputs.push(("inputs_embeds", embedded.remove("inputs_embeds").unwrap()));
                }
                None => inputs.push(("input_ids", ids)),
            }
            let positions: Vec<i64> =
                (0..3).flat_map(|_| (past..past + count).map(|p| i64::try_from(p).unwrap())).collect();
            inputs.push(("position_ids", i64s(&[3, 1, *count], &positions)));
            let outputs = run_graph(decoder, &inputs, &sizes);
            let logits = outputs["logits"].as_f32().unwrap();
            for (row, got) in logits.chunks_exact(golden.vocabulary()).enumerate() {
                if let Some(want) = rows.get(&(past + row)) {
                    let worst = got.iter().zip(*want).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
                    assert!(worst <= TOLERANCE, "{name}: position {} differs by {worst}", past + row);
                    compared += 1;
                }
            }
            for (name, state) in &mut states {
                *state = outputs[&present_of(name)].clone();
            }
            past += count;
        }
        assert_eq!(compared, rows.len());
        assert!(compared > 20);
    }
}

/// Zeros of the declared shapes, with nothing in the caches.
fn initial_states(decoder: &Graph) -> BTreeMap<String, HostTensor> {
    let mut states = BTreeMap::new();
    for id in decoder.inputs() {
        let value = decoder.value(*id);
        if !value.name.starts_with("past") {
            continue;
        }
        let shape: Vec<usize> = value.ty.shape.iter().map(|dim| dim.as_usize().unwrap_or(0)).collect();
        states.insert(value.name.clone(), HostTensor::zeros(value.ty.dtype, shape).unwrap());
    }
    states
}

fn present_of(past: &str) -> String {
    past.replace("past_key_values.", "present.").replace("past.", "present.")
}

fn count(graph: &Graph, name: &str) -> usize {
    ops(graph).into_iter().filter(|op| *op == name).count()
}

/// What every decoder must come down to: no integer arithmetic on shapes, one operator for every layer's mixer.
fn check_structure(decoder: &Graph) {
    assert_eq!(count(decoder, "attention"), 1);
    assert_eq!(count(decoder, "gated_delta"), 3);
    assert_eq!(count(decoder, "causal_conv"), 3);
    assert_eq!(count(decoder, "rope"), 2);
    for absent in ["dims", "range", "fill", "reduce", "concat"] {
        let allowed = if absent == "reduce" { 6 } else { 0 };
        assert!(count(decoder, absent) <= allowed, "{absent} in the graph");
    }
    let computed_integers = decoder
        .nodes()
        .filter(|node| matches!(decoder.node(*node).op, Op::Elementwise(_)))
        .flat_map(|node| decoder.node_outputs(node))
        .filter(|value| decoder.value(*value).ty.dtype.is_int())
        .count();
    assert_eq!(computed_integers, 0);
    let logits = &decoder.outputs().iter().find(|(name, _)| name == "logits").unwrap().1;
    assert_eq!(decoder.value(*logits).ty.to_string(), "f32[1, tokens, 512]");
}

#[test]
fn genai_015_with_separate_embedding() {
    let decoder = import_file("genai015/onnx/decoder_model_merged.onnx");
    assert_eq!(decoder.opsets[""], 21);
    assert_eq!(decoder.producer, "onnxruntime-genai");
    assert_eq!(decoder.inferred["kv_cache_dim"], Dim::constant(32));
    check_structure(&decoder.graph);
    let embedding = import_file("genai015/onnx/embed_tokens.onnx");
    assert_eq!(ops(&embedding.graph), ["gather"]);
    check_golden(&decoder.graph, Some(&embedding.graph));
}

#[test]
fn genai_with_the_embedding_inside() {
    let decoder = import_file("genai/model.onnx").graph;
    check_structure(&decoder);
    let rope = decoder.nodes().find_map(|node| match &decoder.node(node).op {
        Op::Rope(attrs) => Some(attrs.clone()),
        _ => None,
    });
    assert_eq!(rope.unwrap().source, RopeSource::Table { axes: vec![0, 1, 2, 0] });
    check_golden(&decoder, None);
}

#[test]
fn mobius_with_image_merge() {
    let decoder = import_file("mobius/decoder/model.onnx");
    assert_eq!(decoder.ir_version, 11);
    check_structure(&decoder.graph);
    let embedding = import_file("mobius/embedding/model.onnx").graph;
    assert!(embedding.inputs().iter().all(|input| embedding.value(*input).name != "image_features"));
    check_golden(&decoder.graph, Some(&embedding));
}

#[test]
fn the_mask_of_ones_proves_the_lengths_of_attention() {
    let model = Model::open(root().join("models/tiny/genai/model.onnx")).unwrap();
    let mut without = options(&model);
    without.constants.clear();
    let error = import(&model, &without).unwrap_err().to_string();
    assert!(error.contains("seqlens_k") && error.contains("Bind the attention mask to ones"), "{error}");
    let mut wrong = options(&model);
    wrong.dims.insert("total_sequence_length".to_owned(), Dim::sym("other"));
    let error = import(&model, &wrong).unwrap_err().to_string();
    assert!(error.contains("must be") && error.contains("past"), "{error}");
}

#[test]
fn a_vision_tower_with_fixed_patches() {
    let model = Model::open(root().join("models/tiny/genai015/onnx/vision_encoder.onnx")).unwrap();
    let error = import(&model, &ImportOptions::default()).unwrap_err().to_string();
    assert!(error.contains("num_patches") && error.contains("divide"), "{error}");
    let options = ImportOptions {
        dims: BTreeMap::from([("num_patches".to_owned(), Dim::sym("merged") * Dim::constant(4))]),
        ..ImportOptions::default()
    };
    let graph = import(&model, &options).unwrap().graph;
    let (_, features) = &graph.outputs()[0];
    assert_eq!(graph.value(*features).ty.to_string(), "f32[merged, 64]");
    assert_eq!(count(&graph, "layer_norm"), 5);
    // The patch embedding is a matrix product.
    assert!(count(&graph, "matmul") >= 11);
}

#[test]
fn options_must_name_inputs() {
    let model = Model::open(root().join("models/tiny/genai/model.onnx")).unwrap();
    let mut misspelt = options(&model);
    misspelt.constants.insert("attention_masks".to_owned(), Scalar::Int(1));
    let error = import(&model, &misspelt).unwrap_err().to_string();
    assert!(error.contains("no input `attention_masks`") && error.contains("attention_mask"), "{error}");
}

#[test]
fn weights_share_the_mapped_file() {
    let decoder = import_file("mobius/decoder/model.onnx").graph;
    let mut bytes = 0;
    for id in decoder.values() {
        let value = decoder.value(id);
        if let ValueKind::Const(tensor) = &value.kind {
            assert_ne!(tensor.dtype(), DType::F64, "{}", value.name);
            bytes += tensor.bytes().len();
        }
    }
    // Every weight, once: two rope tables of 4096 positions among them.
    assert!((500_000..2_000_000).contains(&bytes), "{bytes}");
    assert!(matches!(the_op(&decoder, "attention"), Op::Attention(attrs) if attrs.causal && attrs.present));
}
