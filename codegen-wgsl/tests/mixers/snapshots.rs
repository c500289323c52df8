//! The WGSL of the attention, rope, convolution and delta-rule families for the sizes of Qwen3.5-0.8B: a change of a
//! template shows here as a change of text.

use crate::device::{c, cache, cut, dense, sym};
use qwenc_codegen_wgsl::attention_decode::{self, AttentionDecodeParams};
use qwenc_codegen_wgsl::attention_prefill::{self, AttentionPrefillParams};
use qwenc_codegen_wgsl::attention_prep::{self, AttentionPrepParams, HeadNorm, PrepPart, cache_rows};
use qwenc_codegen_wgsl::attention_segments::{self, AttentionSegmentsParams};
use qwenc_codegen_wgsl::conv::{self, ConvParams};
use qwenc_codegen_wgsl::delta::{DeltaParams, RawGates};
use qwenc_codegen_wgsl::rope::{self, Angles, RopeParams, Rotation};
use qwenc_codegen_wgsl::{Elem, Kernel, Symbols, View, delta_chunk, delta_step};
use qwenc_ir::{Activation, Dim};

const CONTEXT: usize = 4096;

fn symbols() -> Symbols {
    Symbols::new([
        ("tokens".to_string(), (1, 512)),
        ("past".to_string(), (0, 4095)),
        ("row".to_string(), (0, 511)),
    ])
}

/// Compares the source, with the geometry in front, with the snapshot of the family's name.
fn check(kernel: &Kernel) {
    let grid = kernel.workgroups.each_ref().map(ToString::to_string).join(", ");
    let text = format!(
        "// {}: reads {:?}, writes {:?}, workgroups [{grid}] of {:?}\n{}",
        kernel.family,
        kernel.reads.iter().map(|key| key.0).collect::<Vec<_>>(),
        kernel.writes.iter().map(|key| key.0).collect::<Vec<_>>(),
        kernel.workgroup_size,
        kernel.source
    );
    insta::assert_snapshot!(kernel.family, text);
}

fn rotation(tokens: &Dim) -> Rotation {
    Rotation {
        rotary_dim: 64,
        interleaved: false,
        angles: Angles::Table {
            table: dense(20, &[c(CONTEXT), c(64)]),
            positions: View { elem: Elem::I32, ..dense(21, &[c(3), tokens.clone()]) },
            axes: (0..32).map(|slot| if slot >= 30 { 0 } else { slot % 3 }).collect(),
        },
    }
}

#[test]
fn rope_kernel() {
    let s = sym("tokens");
    let input = cut(0, &s, 5120, 0, 8, 256);
    let output = dense(1, &[s.clone(), c(8), c(256)]);
    let params = RopeParams { input, rotation: rotation(&s), output };
    check(&rope::kernel(&symbols(), &params).unwrap());
}

#[test]
fn attention_prep_kernel() {
    let s = sym("tokens");
    let total = sym("past") + s.clone();
    let norm = |buffer| Some(HeadNorm { weight: dense(buffer, &[c(256)]), eps: 1e-6 });
    let cache_part = |buffer| cache_rows(&cache(buffer, 2, &total, CONTEXT, 256), &s).unwrap();
    let query = View { strides: vec![c(5120), c(512), c(1)], ..cut(0, &s, 5120, 0, 8, 256) };
    let params = AttentionPrepParams {
        parts: vec![
            PrepPart {
                input: query,
                norm: norm(1),
                rotate: true,
                output: dense(3, &[s.clone(), c(8), c(256)]),
            },
            PrepPart {
                input: cut(0, &s, 5120, 4096, 2, 256),
                norm: norm(2),
                rotate: true,
                output: cache_part(4),
            },
            PrepPart {
                input: cut(0, &s, 5120, 4608, 2, 256),
                norm: None,
                rotate: false,
                output: cache_part(5),
            },
        ],
        rotation: Some(rotation(&s)),
    };
    check(&attention_prep::kernel(&symbols(), &params).unwrap());
}

#[test]
fn attention_prefill_kernel() {
    let s = sym("tokens");
    let total = sym("past") + s.clone();
    let gate = View { strides: vec![c(5120), c(512), c(1)], ..cut(0, &s, 5120, 256, 8, 256) };
    let params = AttentionPrefillParams {
        query: dense(3, &[s.clone(), c(8), c(256)]),
        key: cache(4, 2, &total, CONTEXT, 256),
        value: cache(5, 2, &total, CONTEXT, 256),
        mask: None,
        causal: Some(sym("past")),
        scale: 0.0625,
        gate: Some((gate, Activation::Sigmoid)),
        output: dense(6, &[s.clone(), c(8), c(256)]),
    };
    check(&attention_prefill::kernel(&symbols(), &params).unwrap());
}

#[test]
fn attention_segments_kernel() {
    let s = sym("patches");
    let symbols = Symbols::new([("patches".to_string(), (4, 4096))]);
    let params = AttentionSegmentsParams {
        query: dense(0, &[s.clone(), c(12), c(64)]),
        key: dense(1, &[s.clone(), c(12), c(64)]).select_axes(&[1, 0, 2]),
        value: cut(2, &s, 2304, 1536, 12, 64).select_axes(&[1, 0, 2]),
        segments: Some(View { elem: Elem::I32, ..dense(3, &[s.clone(), c(2)]) }),
        scale: 0.125,
        gate: None,
        output: dense(4, &[s.clone(), c(12), c(64)]),
    };
    check(&attention_segments::kernel(&symbols, &params).unwrap());
}

#[test]
fn attention_decode_kernels() {
    let total = sym("past") + c(1);
    let key = cache(4, 2, &total, CONTEXT, 256);
    let scratch = dense(7, &attention_decode::scratch_shape(&symbols(), &key, 8, 256).unwrap());
    let gate = View { strides: vec![c(5120), c(512), c(1)], ..cut(0, &c(1), 5120, 256, 8, 256) };
    let params = AttentionDecodeParams {
        query: dense(3, &[c(1), c(8), c(256)]),
        value: cache(5, 2, &total, CONTEXT, 256),
        key,
        mask: None,
        scale: 0.0625,
        gate: Some((gate, Activation::Sigmoid)),
        scratch,
        output: dense(6, &[c(1), c(8), c(256)]),
    };
    check(&attention_decode::partial(&symbols(), &params).unwrap());
    check(&attention_decode::combine(&symbols(), &params).unwrap());
}

fn conv(tokens: Dim) -> ConvParams {
    let mut input = dense(0, &[tokens.clone(), c(8224)]);
    input.shape[1] = c(6144);
    ConvParams {
        input,
        weight: dense(1, &[c(6144), c(4)]),
        bias: None,
        past: Some(dense(2, &[c(6144), c(3)])),
        present: Some(dense(2, &[c(6144), c(3)])),
        activation: Activation::Silu,
        output: dense(3, &[tokens, c(6144)]),
    }
}

#[test]
fn conv_kernels() {
    let params = conv(sym("tokens"));
    check(&conv::prefill(&symbols(), &params).unwrap());
    check(&conv::update_state(&symbols(), &params).unwrap());
    check(&conv::step(&symbols(), &conv(c(1))).unwrap());
}

fn delta(tokens: &Dim) -> DeltaParams {
    let gate = |column| cut(1, tokens, 8224, column, 1, 16).select_axes(&[0, 2]);
    let state = dense(4, &[c(16), c(128), c(128)]);
    DeltaParams {
        query: cut(0, tokens, 6144, 0, 16, 128),
        key: cut(0, tokens, 6144, 2048, 16, 128),
        value: cut(0, tokens, 6144, 4096, 16, 128),
        decay: gate(8192),
        beta: gate(8208),
        raw: Some(RawGates { neg_exp_a: dense(2, &[c(16)]), dt_bias: dense(3, &[c(16)]) }),
        qk_norm: Some(1e-6),
        scale: 0.088_388_346,
        past: Some(state.clone()),
        present: Some(state),
        output: dense(5, &[tokens.clone(), c(16), c(128)]),
    }
}

#[test]
fn delta_kernels() {
    check(&delta_step::kernel(&symbols(), &delta(&c(1))).unwrap());
    let params = delta(&sym("tokens"));
    let scratch = dense(6, &delta_chunk::scratch_shape(&params).unwrap());
    check(&delta_chunk::prepare(&symbols(), &params, &scratch).unwrap());
    check(&delta_chunk::scan(&symbols(), &params, &scratch).unwrap());
}
