// Sampling, first of three: scores (logits after penalties) of {{common.vocabulary}} tokens, and of every group of 256 the largest
// and the sum of its weights relative to that.
// Geometry: one workgroup of 256 for 1024 tokens.
{{declarations}}
{{common}}
var<workgroup> four: array<vec4<f32>, WORKGROUP>;

fn score(i: u32) -> f32 {
    if (i >= VOCABULARY) {
        return DROPPED;
    }
    let x = {{logits.at1("i")}};
    // Exponent of all ones and a mantissa: NaN. WGSL lets comparisons assume that there is none.
    let bits = bitcast<u32>(x) & 0x7fffffffu;
    if (bits > 0x7f800000u || (bits >= ordered(LARGEST) - 0x80000000u && bitcast<u32>(x) >= 0x80000000u)) {
        return DROPPED;
    }
    var y = LARGEST;
    if (bits < 0x7f800000u) {
        y = min(x, LARGEST);
    }
    let count = {{counts.at1("i")}};
    if (count != 0u) {
        let factor = select(INVERSE_REPETITION, REPETITION, y < 0.0);
        y *= bitcast<f32>({{common.sampling.at1("factor")}});
    }
    if ((count & 0x7fffffffu) != 0u) {
        y -= bitcast<f32>({{common.sampling.at1("PRESENCE")}});
    }
    y = clamp(y, -LARGEST, LARGEST);
    // Zero has one sign.
    return select(y, 0.0, y == 0.0);
}

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(local_invocation_index) lid: u32) {
    let first = wid.x * 1024u + lid;
    let inverse_temperature = sampling_parameters().inverse_temperature;
    let x = vec4<f32>(score(first), score(first + 256u), score(first + 512u), score(first + 768u));
    for (var n = 0u; n < 4u; n++) {
        let i = first + n * 256u;
        if (i < VOCABULARY) {
            {{scores.at1("i")}} = x[n];
        }
    }
    four[lid] = x;
    workgroupBarrier();
    for (var span = 128u; span > 0u; span /= 2u) {
        if (lid < span) {
            four[lid] = max(four[lid], four[lid + span]);
        }
        workgroupBarrier();
    }
    let largest = four[0];
    workgroupBarrier();
    let down = min(min(largest - x, vec4<f32>(1.0e30)) * inverse_temperature, vec4<f32>(200.0));
    four[lid] = select(vec4<f32>(), exp(-down), x >= vec4<f32>(-LARGEST));
    workgroupBarrier();
    for (var span = 128u; span > 0u; span /= 2u) {
        if (lid < span) {
            four[lid] += four[lid + span];
        }
        workgroupBarrier();
    }
    if (lid < 4u) {
        let group = wid.x * 4u + lid;
        {{groups.at2("group", "0u")}} = largest[lid];
        {{groups.at2("group", "1u")}} = four[0][lid];
    }
    if (wid.x == 0u && lid == 0u) {
        {{candidates.at1("0u")}} = 0u;
    }
}
