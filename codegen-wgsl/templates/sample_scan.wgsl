// Sampling, first of three: scores (logits after penalties) of {{common.vocabulary}} tokens, padded to whole workgroups, and of every group of 256
// the largest and the sum of its weights relative to that.
// Geometry: one workgroup of 256 for 1024 tokens.
{{declarations}}
{{common}}
var<workgroup> each: array<vec4<f32>, 272>;
var<workgroup> of_16: array<vec4<f32>, 16>;

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
    {{scores.at1("first")}} = x.x;
    {{scores.at1("first + 256u")}} = x.y;
    {{scores.at1("first + 512u")}} = x.z;
    {{scores.at1("first + 768u")}} = x.w;
    each[lid + lid / 16u] = x;
    workgroupBarrier();
    if (lid < 16u) {
        var part = each[lid * 17u];
{%- for i in 1..16 %}
        part = max(part, each[lid * 17u + {{i}}u]);
{%- endfor %}
        of_16[lid] = part;
    }
    workgroupBarrier();
    var largest = of_16[0];
{%- for i in 1..16 %}
    largest = max(largest, of_16[{{i}}]);
{%- endfor %}
    let down = min(min(largest - x, vec4<f32>(1.0e30)) * inverse_temperature, vec4<f32>(200.0));
    each[lid + lid / 16u] = select(vec4<f32>(), exp(-down), x >= vec4<f32>(-LARGEST));
    workgroupBarrier();
    if (lid < 16u) {
        var part = each[lid * 17u];
{%- for i in 1..16 %}
        part += each[lid * 17u + {{i}}u];
{%- endfor %}
        of_16[lid] = part;
    }
    workgroupBarrier();
    if (lid < 4u) {
        var sum = of_16[0];
{%- for i in 1..16 %}
        sum += of_16[{{i}}];
{%- endfor %}
        let group = wid.x * 4u + lid;
        {{groups.at2("group", "0u")}} = largest[lid];
        {{groups.at2("group", "1u")}} = sum[lid];
    }
    if (wid.x == 0u && lid == 0u) {
        {{candidates.at1("0u")}} = 0u;
    }
}
