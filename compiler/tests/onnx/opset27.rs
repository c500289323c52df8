//! `LinearAttention` and `CausalConvWithState` of ai.onnx, opset 27, against ONNX's own node tests: `onnx27/make.py`
//! stored them. Each is imported, run in the interpreter, and replayed on both drivers.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use crate::onnx_builder::{close, ops, run_graph, stored_tensor};
use qwenc::onnx::{ImportOptions, Model, import};
use qwenc::passes::run_all;
use qwenc::pipeline::compile_graph;
use qwenc_codegen_wgsl::Symbols;
use qwenc_ir::Graph;
use qwenc_ir::interp::HostTensor;
use qwenc_runtime::bundle::{Bundle, Memory};
use qwenc_runtime::engine::{Engine, LoadOptions};
use qwenc_runtime::gpu::Gpu;
use qwenc_runtime::gpu::probe::test_gpus;

/// Cases, and the operators that they become. A decay for every key element, and rules without a delta, are computed
/// position by position: those have matrix products.
const CASES: [(&str, &str); 27] = [
    ("causal_conv_with_state_b1_c1_degenerate", "causal_conv"),
    ("causal_conv_with_state_basic", "causal_conv"),
    ("causal_conv_with_state_decode_step", "causal_conv"),
    ("causal_conv_with_state_fp16", "causal_conv"),
    ("causal_conv_with_state_kernel_size_one", "causal_conv"),
    ("causal_conv_with_state_short_input_no_past_state", "causal_conv"),
    ("causal_conv_with_state_silu", "causal_conv"),
    ("causal_conv_with_state_silu_fp16", "causal_conv"),
    ("causal_conv_with_state_silu_with_past_state", "causal_conv"),
    ("causal_conv_with_state_swish_alias", "causal_conv"),
    ("causal_conv_with_state_with_bias", "causal_conv"),
    ("causal_conv_with_state_with_bias_and_past_state", "causal_conv"),
    ("causal_conv_with_state_with_past_state", "causal_conv"),
    ("linear_attention_decode_step", "matmul"),
    ("linear_attention_delta", "gated_delta"),
    ("linear_attention_explicit_scale", "matmul"),
    ("linear_attention_fp16", "matmul"),
    ("linear_attention_gated", "matmul"),
    ("linear_attention_gated_delta", "matmul"),
    ("linear_attention_gated_delta_beta_scalar", "matmul"),
    ("linear_attention_gated_delta_gqa", "matmul"),
    ("linear_attention_gated_delta_mqa", "matmul"),
    ("linear_attention_gated_per_head_decay", "matmul"),
    ("linear_attention_linear", "matmul"),
    ("linear_attention_linear_t1_no_past", "matmul"),
    ("linear_attention_no_past_explicit_zeros", "matmul"),
    ("linear_attention_prefill_with_past", "matmul"),
];

/// SwiftShader takes a second to compile a matrix product. Of the cases that run the kernels of another one over other
/// numbers, it leaves out these; lavapipe runs them.
const LIKE_ANOTHER: [&str; 7] = [
    "linear_attention_explicit_scale",
    "linear_attention_fp16",
    "linear_attention_gated_delta",
    "linear_attention_gated_delta_beta_scalar",
    "linear_attention_gated_delta_mqa",
    "linear_attention_linear",
    "linear_attention_no_past_explicit_zeros",
];

/// Half precision in inputs and outputs; everything between is f32.
fn tolerance(name: &str) -> f32 {
    if name.contains("fp16") { 2e-3 } else { 2e-5 }
}

struct Case {
    graph: Graph,
    inputs: Vec<(String, HostTensor)>,
    outputs: Vec<(String, HostTensor)>,
}

fn read(name: &str) -> Case {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("tests/onnx27/{name}.onnx"));
    let model = Model::open(path).unwrap();
    assert_eq!(model.opsets()[""], 27, "{name}");
    let graph = import(&model, &ImportOptions::default()).unwrap_or_else(|error| panic!("{error}")).graph;
    let of = |prefix: &str| -> Vec<(String, HostTensor)> {
        let entries = model.proto().metadata_props.iter();
        let named = entries.filter_map(|entry| Some((entry.key().strip_prefix(prefix)?, entry.value())));
        named.map(|(key, value)| (key.to_owned(), stored_tensor(value))).collect()
    };
    Case { graph, inputs: of("in:"), outputs: of("out:") }
}

#[test]
fn every_case_is_listed() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/onnx27");
    let files = std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().path());
    let found: BTreeSet<String> = files
        .filter(|path| path.extension().is_some_and(|extension| extension == "onnx"))
        .map(|path| path.file_stem().unwrap().to_string_lossy().into_owned())
        .collect();
    assert_eq!(found, CASES.iter().map(|(name, _)| (*name).to_owned()).collect());
}

#[test]
fn the_interpreter_gives_onnxs_numbers() {
    for (name, operator) in CASES {
        let case = read(name);
        assert!(ops(&case.graph).contains(&operator), "{name}: {:?}", ops(&case.graph));
        let inputs: Vec<(&str, HostTensor)> =
            case.inputs.iter().map(|(name, tensor)| (name.as_str(), tensor.clone())).collect();
        let outputs = run_graph(&case.graph, &inputs, &[]);
        assert_eq!(case.outputs.len(), 2, "{name}");
        for (output, want) in &case.outputs {
            println!("{name}: {output}");
            close(&outputs[output], want, tolerance(name));
        }
    }
}

#[test]
fn devices_give_onnxs_numbers() {
    for (name, _) in CASES {
        let mut case = read(name);
        // Under its own name the past would become a state, which starts with zeros.
        let past = case.graph.inputs().iter().copied().find(|v| case.graph.value(*v).name == "past_state");
        if let Some(past) = past {
            case.graph.value_mut(past).name = "initial".to_owned();
        }
        run_all(&mut case.graph, &mut |_, _| {}).unwrap();
        let mut files = BTreeMap::new();
        compile_graph(&case.graph, Symbols::default(), &mut files)
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        let bundle = Bundle::open(Memory { files }).unwrap();
        for gpu in test_gpus().unwrap() {
            if LIKE_ANOTHER.contains(&name) && gpu.adapter().name.contains("SwiftShader") {
                continue;
            }
            replay(name, &case, &bundle, gpu);
        }
    }
}

fn replay(name: &str, case: &Case, bundle: &Bundle, gpu: Gpu) {
    let load = LoadOptions { poison: true, ..LoadOptions::default() };
    let mut engine = Engine::load_with(bundle, gpu, &load, &mut |_| ()).unwrap();
    let adapter = engine.backend().adapter().name.clone();
    for (input, tensor) in &case.inputs {
        let input = if input == "past_state" { "initial" } else { input };
        let data: Vec<u8> = tensor.as_f32().unwrap().iter().flat_map(|v| v.to_le_bytes()).collect();
        if !data.is_empty() {
            engine.write_input("main", input, &data).unwrap();
        }
    }
    engine.replay("main", &[]).unwrap();
    for (output, want) in case.outputs.iter().filter(|(_, want)| !want.is_empty()) {
        let bytes = engine.read_output("main", output).unwrap();
        let got: Vec<f32> = bytes.as_chunks::<4>().0.iter().map(|word| f32::from_le_bytes(*word)).collect();
        let want_values = want.as_f32().unwrap();
        assert_eq!(got.len(), want_values.len(), "{name} on {adapter}: {output}");
        let limit = tolerance(name);
        for (have, want) in got.iter().zip(want_values) {
            assert!((have - want).abs() <= limit, "{name} on {adapter}: {output}: {have} for {want}");
        }
    }
}
