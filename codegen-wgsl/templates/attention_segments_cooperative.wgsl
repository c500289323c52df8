enable f16;
enable wgpu_cooperative_matrix;

// Attention without a past for matrix cores: query [S, {{parts.heads}}, {{parts.key_width}}], key [{{parts.key_heads}}, T, {{parts.key_width}}], value [{{parts.key_heads}}, T, {{parts.value_width}}], output [S, {{parts.heads}}, {{parts.value_width}}].
// {% if parts.segments.is_some() %}A query sees the keys of its segment; without keys it gives zeros.{% else %}Every query sees every key.{% endif %}
// Geometry: one workgroup of 128 for 32 queries (x) of a head (y). Matrices of sums cannot be scaled row by row when a larger
// score comes, so keys are gone through twice: for the largest score of every query, and for the values. A subgroup has
// 16 keys of a tile of 64, then 16 columns of values. Queries, keys, values and probabilities are rounded to 16-bit floats;
// products are added in 32 bits.
{% include "attention_segments_parts.wgsl" %}
{% include "half4.wgsl" %}

// 32 queries, then their probabilities for 64 keys, in vectors of four. Here and below rows begin at different banks.
var<workgroup> query_tile: array<vec4<f16>, {{ 32 * 18 }}>;
// 64 keys, or their values. What is behind a row's width makes scores with zeros, and outputs that are not stored.
var<workgroup> key_tile: array<vec4<f16>, {{ 64 * 18 }}>;
// Scores of 32 queries and 64 keys; in the end their outputs.
var<workgroup> scores: array<vec4<f32>, {{ 32 * 17 }}>;
// Of four invocations for each query.
var<workgroup> shares: array<f32, 128>;

fn value_or_0(head: u32, j: u32, c: u32, end: u32) -> vec4<f32> {
    if (j >= end || c >= VALUE_QUADS) {
        return vec4<f32>();
    }
    return value_quad(head, j, c);
}

@compute @workgroup_size(128)
fn main(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(local_invocation_index) lid: u32,
    @builtin(subgroup_id) subgroup: u32,
) {
    let head = wid.y;
    let key_head = head / {{parts.group}}u;
    let first = wid.x * 32u;
    // A query, and its scores lane, lane + 4, ... of vec4.
    let row = lid / 4u;
    let lane = lid % 4u;
    // What this invocation puts in place: column c of every eighth row.
    let c = lid % 16u;
    let place = lid / 16u * 18u + c;
    let queries = {{parts.queries}};

    // The keys that the tile's queries see, and those of this invocation's.
    var begin = 0u;
    var end = {{parts.keys}};
{%- if parts.segments.is_some() %}
    begin = end;
    end = 0u;
    for (var r = 0u; r < 32u; r++) {
        let range = segment(min(first + r, queries - 1u));
        if (range.x < range.y) {
            begin = min(begin, range.x);
            end = max(end, range.y);
        }
    }
    let seen = segment(min(first + row, queries - 1u));
{%- else %}
    let seen = vec2<u32>(begin, end);
{%- endif %}

{%- for i in 0..4 %}
    query_tile[place + {{ 8 * i * 18 }}u] = half4(query_quad(head, first + lid / 16u + {{ 8 * i }}u, c));
{%- endfor %}
    workgroupBarrier();
{%- for d in 0..depth %}
{%- for r in 0..2 %}
    let q{{ r }}_{{ d }} = coopLoadT<coop_mat16x16<f16, A>>(&query_tile[{{ 16 * r * 18 + 4 * d }}u], 18u);
{%- endfor %}
{%- endfor %}

    // Once for the largest scores. Keys are loaded one tile ahead.
    var largest = MASKED;
{%- for i in 0..8 %}
    var k{{ i }} = key_quad(key_head, begin + lid / 16u + {{ 8 * i }}u, c, end);
{%- endfor %}
    for (var tile = begin; tile < end; tile += 64u) {
        workgroupBarrier();
{%- for i in 0..8 %}
        key_tile[place + {{ 8 * i * 18 }}u] = half4(k{{ i }});
{%- endfor %}
        workgroupBarrier();
{%- for i in 0..8 %}
        k{{ i }} = key_quad(key_head, tile + 64u + lid / 16u + {{ 8 * i }}u, c, end);
{%- endfor %}
{% include "attention_segments_scores.wgsl" %}
        workgroupBarrier();
{%- for i in 0..4 %}
        {
            let j = tile + 4u * (lane + {{ 4 * i }}u) + LANES;
            let s = select(vec4<f32>(MASKED), scores[row * 17u + lane + {{ 4 * i }}u], (j >= vec4<u32>(seen.x)) & (j < vec4<u32>(seen.y)));
            largest = max(largest, max(max(s.x, s.y), max(s.z, s.w)));
        }
{%- endfor %}
    }
    shares[lid] = largest;
    workgroupBarrier();
    let peak = max(max(shares[row * 4u], shares[row * 4u + 1u]), max(shares[row * 4u + 2u], shares[row * 4u + 3u]));
    workgroupBarrier();

    // Once for the values, which are loaded while scores are made.
    var sum = 0.0;
{%- for r in 0..2 %}
    var o{{ r }}: coop_mat16x16<f32, C>;
{%- endfor %}
{%- for i in 0..8 %}
    k{{ i }} = key_quad(key_head, begin + lid / 16u + {{ 8 * i }}u, c, end);
{%- endfor %}
    for (var tile = begin; tile < end; tile += 64u) {
        workgroupBarrier();
{%- for i in 0..8 %}
        key_tile[place + {{ 8 * i * 18 }}u] = half4(k{{ i }});
{%- endfor %}
        workgroupBarrier();
{%- for i in 0..8 %}
        let v{{ i }} = value_or_0(key_head, tile + lid / 16u + {{ 8 * i }}u, c, end);
{%- endfor %}
{% include "attention_segments_scores.wgsl" %}
        workgroupBarrier();
{%- for i in 0..8 %}
        key_tile[place + {{ 8 * i * 18 }}u] = half4(v{{ i }});
{%- endfor %}
{%- for i in 0..8 %}
        k{{ i }} = key_quad(key_head, tile + 64u + lid / 16u + {{ 8 * i }}u, c, end);
{%- endfor %}
{%- for i in 0..4 %}
        {
            let j = tile + 4u * (lane + {{ 4 * i }}u) + LANES;
            let p = exp2(scores[row * 17u + lane + {{ 4 * i }}u] - vec4<f32>(peak));
            let h = vec4<f16>(select(vec4<f32>(), p, (j >= vec4<u32>(seen.x)) & (j < vec4<u32>(seen.y))));
            query_tile[row * 18u + lane + {{ 4 * i }}u] = h;
            // What is divided by is the sum of what is multiplied.
            let f = vec4<f32>(h);
            sum += (f.x + f.y) + (f.z + f.w);
        }
{%- endfor %}
        workgroupBarrier();
{%- for i in 0..4 %}
        let w{{ i }} = coopLoadT<coop_mat16x16<f16, B>>(&key_tile[{{ 16 * i * 18 }}u + subgroup * 4u], 18u);
{%- for r in 0..2 %}
        let p{{ r }}_{{ i }} = coopLoadT<coop_mat16x16<f16, A>>(&query_tile[{{ 16 * r * 18 + 4 * i }}u], 18u);
        o{{ r }} = coopMultiplyAdd(p{{ r }}_{{ i }}, w{{ i }}, o{{ r }});
{%- endfor %}
{%- endfor %}
    }
    shares[lid] = sum;
    workgroupBarrier();
{%- for r in 0..2 %}
    coopStoreT(o{{ r }}, &scores[{{ 16 * r * 17 }}u + subgroup * 4u], 17u);
{%- endfor %}
    workgroupBarrier();
    let total = (shares[row * 4u] + shares[row * 4u + 1u]) + (shares[row * 4u + 2u] + shares[row * 4u + 3u]);
    let over = select(0.0, 1.0 / max(total, 1.0e-30), total > 0.0);
{%- for i in 0..4 %}
    store(head, first + row, lane + {{ 4 * i }}u, scores[row * 17u + lane + {{ 4 * i }}u] * over);
{%- endfor %}
}
