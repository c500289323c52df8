//! Memory: what lies where, and what happens beyond the ends.

use crate::{POISON, run, run_with};

#[test]
fn reads_clamp_and_writes_are_dropped() {
    let body = "@compute @workgroup_size(8) fn main(@builtin(local_invocation_index) lid: u32) {
        // Indices 0, 5, ..., 35 of ten words, and the whole range of u32 and i32.
        output[lid * 5u] = input[lid * 3u];
        output[0xffffffffu - lid] = 1u;
        output[bitcast<i32>(input[1]) - 1000i] = 2u;
    }";
    let input = [10, 11, 12, 13, 14, 15, 16];
    let mut want = [POISON; 10];
    want[0] = 10;
    want[5] = 13;
    assert_eq!(run(body, &input, 10, [1, 1, 1]), want);
    let body = "@compute @workgroup_size(1) fn main() {
        for (var i = 0u; i < 4u; i++) { output[i] = input[i * 0x40000001u]; }
    }";
    assert_eq!(run(body, &input, 4, [1, 1, 1]), [10, 16, 16, 16]);
}

#[test]
fn vectors_in_buffers_keep_their_neighbours() {
    let declarations = "
        @group(0) @binding(0) var<uniform> step: array<vec4<u32>, 4>;
        @group(0) @binding(1) var<storage, read> input: array<vec2<u32>>;
        @group(0) @binding(2) var<storage, read_write> output: array<vec3<u32>>;
    ";
    let body = "@compute @workgroup_size(1) fn main() {
        let pair = input[1];
        output[0] = vec3<u32>(pair, step[0].y);
        output[1].y = arrayLength(&output) * 100u + arrayLength(&input);
        output[2][input[0].x] = 5u;
        output[3] = vec3<u32>(1u);
    }";
    // 12 words are three elements of 16 bytes; the fourth is not there.
    let got = run_with(declarations, body, &[2, 0, 7, 8, 9], 12, [1, 1, 1]);
    let p = POISON;
    assert_eq!(got, [7, 8, 12, p, p, 302, p, p, p, p, 5, p]);
}

#[test]
fn a_binding_without_an_element_is_left_alone() {
    let declarations = "
        @group(0) @binding(0) var<uniform> step: array<vec4<u32>, 4>;
        @group(0) @binding(1) var<storage, read> input: array<vec4<u32>>;
        @group(0) @binding(2) var<storage, read_write> output: array<u32>;
    ";
    let body = "@compute @workgroup_size(1) fn main() { output[0] = input[0].x; }";
    assert_eq!(run_with(declarations, body, &[1, 2, 3], 1, [1, 1, 1]), [POISON]);
    assert_eq!(run_with(declarations, body, &[1, 2, 3, 4], 1, [1, 1, 1]), [1]);
    assert_eq!(run_with(declarations, body, &[1, 2, 3, 4], 1, [1, 0, 1]), [POISON]);
}

#[test]
fn the_step_and_the_grid() {
    let body = "@compute @workgroup_size(2, 3, 1) fn main(
        @builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) count: vec3<u32>,
        @builtin(local_invocation_id) local: vec3<u32>, @builtin(global_invocation_id) id: vec3<u32>,
    ) {
        let at = (id.z * count.y * 3u + id.y) * count.x * 2u + id.x;
        output[at] = step.s[0].z * 100000u + wid.x * 10000u + wid.y * 1000u + wid.z * 100u + local.x * 10u + local.y;
    }";
    let got = run(body, &[0], 4 * 6 * 2, [2, 2, 2]);
    for z in 0..2_usize {
        for y in 0..6_usize {
            for x in 0..4_usize {
                let want = 1_300_000 + x / 2 * 10_000 + y / 3 * 1000 + z * 100 + x % 2 * 10 + y % 3;
                assert_eq!(got[(z * 6 + y) * 4 + x] as usize, want, "{x} {y} {z}");
            }
        }
    }
}

#[test]
fn counting_in_one_word() {
    let declarations = "
        @group(0) @binding(0) var<uniform> step: array<vec4<u32>, 4>;
        @group(0) @binding(1) var<storage, read> input: array<u32>;
        @group(0) @binding(2) var<storage, read_write> output: array<atomic<u32>>;
    ";
    let body = "@compute @workgroup_size(16) fn main(@builtin(local_invocation_index) lid: u32) {
        if (lid == 0u) { atomicStore(&output[0], 1u); }
        workgroupBarrier();
        if (input[lid] > 2u) {
            let slot = atomicAdd(&output[0], 1u);
            atomicStore(&output[slot], lid);
        }
    }";
    let input: Vec<u32> = (0..16).map(|i| i % 5).collect();
    let got = run_with(declarations, body, &input, 8, [1, 1, 1]);
    // 3, 4, 8, 9, 13, 14 pass.
    assert_eq!(got, [7, 3, 4, 8, 9, 13, 14, POISON]);
}
