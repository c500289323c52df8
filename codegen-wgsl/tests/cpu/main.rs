//! WGSL to WebAssembly, construct by construct. No GPU is involved: what WGSL says is written down here. The kernels of all
//! families run the same way in the tests `basic` and `mixers`.

#![allow(clippy::unwrap_used, reason = "a test may panic")]
#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "casts as WGSL has them, and small numbers"
)]

#[path = "../device/wasm.rs"]
mod wasm;

mod functions;
mod memory;
mod regions;
mod values;

use qwenc_codegen_wgsl::cpu::{CpuError, Source, module};

/// What no test computes.
const POISON: u32 = 0x7FED_BEEF;

/// The declarations of every kernel here: one buffer of words to read, one to write.
const BUFFERS: &str = "
struct Step { s: array<vec4<u32>, 4> }
@group(0) @binding(0) var<uniform> step: Step;
@group(0) @binding(1) var<storage, read> input: array<u32>;
@group(0) @binding(2) var<storage, read_write> output: array<u32>;
";

/// Runs a kernel with [`BUFFERS`] in front, `words` of output poisoned.
fn run(body: &str, input: &[u32], words: usize, workgroups: [u32; 3]) -> Vec<u32> {
    run_with(BUFFERS, body, input, words, workgroups)
}

fn run_with(declarations: &str, body: &str, input: &[u32], words: usize, workgroups: [u32; 3]) -> Vec<u32> {
    let source = format!("{declarations}{body}");
    let bytes = |words: &[u32]| -> Vec<u8> { words.iter().flat_map(|word| word.to_le_bytes()).collect() };
    let output = bytes(&vec![POISON; words]);
    let results = wasm::run_kernel(&source, &[11, 12, 13, 14, 15], &[&bytes(input)], &[&output], workgroups)
        .unwrap_or_else(|error| panic!("{error}\n{source}"));
    results[0].chunks_exact(4).map(|word| u32::from_le_bytes(word.try_into().unwrap())).collect()
}

fn run_f32(body: &str, input: &[f32], words: usize) -> Vec<f32> {
    let input: Vec<u32> = input.iter().map(|value| value.to_bits()).collect();
    let output = run(body, &input, words, [1, 1, 1]);
    output.into_iter().map(f32::from_bits).collect()
}

/// The refusal of a kernel.
fn refusal(body: &str) -> String {
    let source = format!("{BUFFERS}{body}");
    let result = module(&[Source { name: "shaders/odd.wgsl", wgsl: &source, entry: "main" }]);
    match result.unwrap_err() {
        error @ CpuError::Unsupported { .. } => error.to_string(),
        CpuError::Invalid { message, .. } => panic!("{message}"),
    }
}

#[test]
fn what_is_not_translated_is_named() {
    let body = "@compute @workgroup_size(1) fn main() {
        switch (input[0]) { case 1u: { output[0] = 1u; } default: { output[0] = 2u; } }
    }";
    let message = refusal(body);
    assert!(message.contains("shaders/odd.wgsl") && message.contains("Switch"), "{message}");
    let body = "@compute @workgroup_size(1) fn main() { output[0] = reverseBits(input[0]); }";
    let message = refusal(body);
    assert!(message.contains("ReverseBits") && message.contains("--no-cpu"), "{message}");
    let source = format!("{BUFFERS}@compute @workgroup_size(1) fn main() {{}}");
    let error = module(&[Source { name: "shaders/odd.wgsl", wgsl: &source, entry: "start" }]).unwrap_err();
    assert!(error.to_string().contains("`start`"), "{error}");
}

#[test]
fn invalid_wgsl_is_refused() {
    let source = Source { name: "shaders/odd.wgsl", wgsl: "fn main( {", entry: "main" };
    assert!(matches!(module(&[source]), Err(CpuError::Invalid { .. })));
}

#[test]
fn the_same_kernels_give_the_same_bytes() {
    let source = |n: u32| {
        format!(
            "{BUFFERS}var<workgroup> sums: array<f32, 64>;
            @compute @workgroup_size(64) fn main(@builtin(local_invocation_index) lid: u32) {{
                let a = f32(input[lid]) * {n}.0;
                let b = exp(a);
                sums[lid] = a + b;
                workgroupBarrier();
                output[lid] = bitcast<u32>(sums[63u - lid] * b);
            }}"
        )
    };
    let (one, two) = (source(1), source(2));
    let kernels = [&one, &two, &one].map(|wgsl| Source { name: "a", wgsl, entry: "main" });
    let first = module(&kernels).unwrap();
    assert_eq!(first, module(&kernels).unwrap());
    // An equal kernel is another name for the first one.
    let less = module(&kernels[..2]).unwrap();
    assert!(first.len() < less.len() + 16, "{} and {} bytes", first.len(), less.len());
}
