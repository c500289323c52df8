//! ONNX Runtime's operators against ONNX Runtime: `onnx_cases/make.py` wrote the models with its results.

use std::path::PathBuf;

use crate::onnx_builder::{close, run_graph, stored_tensor};
use qwenc::onnx::{ImportOptions, Model, import};
use qwenc_ir::interp::HostTensor;

const CASES: [&str; 51] = [
    "activations",
    "attention_past",
    "causal_conv",
    "causal_conv_short",
    "fused_matmul",
    "gated_rms_sigmoid",
    "gated_rms_silu",
    "gather_bytes_4",
    "gather_bytes_4_zeros",
    "gather_bytes_8_zeros",
    "gather_int4",
    "gather_uint4_columns",
    "gqa",
    "gqa_bias",
    "gqa_packed",
    "gqa_rotary",
    "gqa_rotary_interleaved",
    "linear_attention",
    "linear_attention_delta",
    "linear_attention_gate",
    "mha",
    "mha_causal",
    "mrope_0",
    "mrope_1",
    "nbits_2_symmetric",
    "nbits_2_zeros",
    "nbits_4_bias",
    "nbits_4_float_zeros",
    "nbits_4_odd_k",
    "nbits_4_symmetric",
    "nbits_4_zeros",
    "nbits_8_symmetric",
    "nbits_8_zeros",
    "qdq_int4_blocks",
    "qdq_int8_columns",
    "qdq_int8_rows",
    "qdq_uint4_blocks",
    "qdq_uint8_tensor",
    "quantize_and_back",
    "rope_offset",
    "rope_partial",
    "rope_positions",
    "rope_standard",
    "scan_inside",
    "scan_multiplied_out",
    "scan_other",
    "scan_products",
    "scan_sums",
    "scan_transposed",
    "skip_layer",
    "skip_rms",
];

#[test]
fn every_case_gives_onnx_runtimes_numbers() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/onnx_cases");
    let files = std::fs::read_dir(&folder).unwrap();
    let models =
        files.filter(|file| file.as_ref().unwrap().path().extension().is_some_and(|e| e == "onnx")).count();
    assert_eq!(models, CASES.len(), "every model in the folder is listed");
    for name in CASES {
        let model = Model::open(folder.join(format!("{name}.onnx"))).unwrap();
        let graph = import(&model, &ImportOptions::default()).unwrap_or_else(|error| panic!("{error}")).graph;
        let tensors: Vec<(&str, HostTensor)> = model
            .proto()
            .metadata_props
            .iter()
            .map(|entry| (entry.key(), stored_tensor(entry.value())))
            .collect();
        let of = |prefix: &'static str| {
            tensors.iter().filter_map(move |(key, value)| Some((key.strip_prefix(prefix)?, value.clone())))
        };
        let inputs: Vec<(&str, HostTensor)> = of("in:").collect();
        let outputs = run_graph(&graph, &inputs, &[]);
        assert!(of("out:").count() > 0);
        for (output, want) in of("out:") {
            println!("{name}: {output}");
            close(&outputs[output], &want, 2e-5);
        }
    }
}
