// Attention of one query over one split of the context: query [1, {{sizes.heads}}, {{sizes.key_width}}], key [{{sizes.key_heads}}, T, {{sizes.key_width}}], value [{{sizes.key_heads}}, T, {{sizes.value_width}}].
// Writes to the scratch [heads, splits, {{sizes.scratch_width()}}] the unnormalised output; in the last four of a row are the largest
// score and the sum of exponentials.
// Geometry: one workgroup of {{workgroup}} a split (x) and {{shared}} query heads (y) of a key head. Keys come in tiles of {{tile}}: for scores,
// {{key_lanes}} invocations share a key, for values, {{value_lanes}} have the columns and {{groups}} groups share the keys. Vectors of scores and
// weights have one lane a query head.
{{declarations}}
// In vec4.
const QUERY = {{key_lanes * key_vectors}}u;
const DV4 = {{value_vectors}}u;
const SHARED = {{shared}}u;
const TILE = {{tile}}u;
const KEY_LANES = {{key_lanes}}u;
const LANES = {{value_lanes}}u;
const GROUPS = {{groups}}u;
const WORKGROUP = {{workgroup}}u;
const MASKED = -3.0e38;
// Scores above this are seen.
const SEEN = -1.0e38;
// One more than lanes, so that the sums of neighbouring keys lie in different banks.
const PITCH = {{key_lanes + 1}}u;

var<workgroup> query: array<vec4<f32>, {{query_vectors}}>;
// Sums of the lanes of a key, later of the groups of a column.
var<workgroup> parts: array<vec4<f32>, {{parts}}>;
// Of the tile's keys.
var<workgroup> scores: array<vec4<f32>, TILE>;
var<workgroup> weights: array<vec4<f32>, TILE>;
// By how much earlier sums shrink.
var<workgroup> shrink: vec4<f32>;

fn query4(head: u32, q: u32) -> vec4<f32> {
{{query}}}

fn key4(head: u32, key: u32, q: u32) -> vec4<f32> {
{{key}}}

fn value4(head: u32, key: u32, q: u32) -> vec4<f32> {
{{value}}}
{%- if let Some(mask) = mask %}

fn masked(dot: f32, head: u32, key: u32) -> f32 {
    var score = dot;
    {{mask.apply("head", "0u", "key")}}
    return score;
}
{%- endif %}

@compute @workgroup_size({{workgroup}})
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(local_invocation_index) lid: u32) {
    let split = wid.x;
    let key_head = wid.y / {{workgroups_a_key_head}}u;
    let first_head = wid.y * SHARED;
    let keys = {{keys}};
    let keys_per_split = {{keys_per_split}};
    let start = split * keys_per_split;
    if (start >= keys) {
        return;
    }
    let end = min(start + keys_per_split, keys);
    let last = end - 1u;

    for (var e = lid; e < SHARED * QUERY; e += WORKGROUP) {
        query[e] = query4(first_head + e / QUERY, e % QUERY) * {{scale}};
    }
    let lane = lid % KEY_LANES;
    let slot = lid / KEY_LANES;
    let group = lid / LANES;
    let column = lid % LANES;
    // Of the invocations that keep the scores of a key.
    var largest = vec4<f32>(MASKED);
    var sum = vec4<f32>();
    // Sums over the keys of this group, one a head.
{%- for h in 0..shared %}
    var out_{{h}} = vec4<f32>();
{%- endfor %}
    workgroupBarrier();

    for (var tile = start; tile < end; tile += TILE) {
        // Keys and values are asked for together; nothing waits for the values until the scores are there.
        let key = min(tile + slot, last);
{%- for i in 0..key_vectors %}
        let k_{{i}} = key4(key_head, key, lane + {{i * key_lanes}}u);
{%- endfor %}
{%- for n in 0..tile / groups %}
        let v_{{n}} = value4(key_head, min(tile + group + {{n * groups}}u, last), column);
{%- endfor %}
        var dots = vec4<f32>();
{%- for i in 0..key_vectors %}
{%- for h in 0..shared %}
        dots.{{components[h]}} += dot(query[{{h}}u * QUERY + lane + {{i * key_lanes}}u], k_{{i}});
{%- endfor %}
{%- endfor %}
        parts[slot * PITCH + lane] = dots;
        workgroupBarrier();
        var score = vec4<f32>(MASKED);
        if (lid < TILE) {
            if (tile + lid < end) {
                score = parts[lid * PITCH];
{%- for l in 1..key_lanes %}
                score += parts[lid * PITCH + {{l}}u];
{%- endfor %}
{%- if let Some(mask) = mask %}
{%- for h in 0..shared %}
                score.{{components[h]}} = masked(score.{{components[h]}}, first_head + {{h}}u, tile + lid);
{%- endfor %}
{%- endif %}
            }
            scores[lid] = score;
        }
        workgroupBarrier();
        if (lid < TILE) {
            var top = largest;
{%- for j in 0..tile %}
            top = max(top, scores[{{j}}]);
{%- endfor %}
            let weight = select(vec4<f32>(), exp(score - top), score > vec4<f32>(SEEN));
            let less = exp(largest - top);
            weights[lid] = weight;
            sum = sum * less + weight;
            largest = top;
            if (lid == 0u) {
                shrink = less;
            }
        }
        workgroupBarrier();
{%- for h in 0..shared %}
        out_{{h}} *= shrink.{{components[h]}};
{%- endfor %}
{%- for n in 0..tile / groups %}
        let w_{{n}} = weights[group + {{n * groups}}u];
{%- for h in 0..shared %}
        out_{{h}} += w_{{n}}.{{components[h]}} * v_{{n}};
{%- endfor %}
{%- endfor %}
    }

    // The groups' sums together, of two heads at a time.
    if (lid < TILE) {
        scores[lid] = sum;
    }
{%- for heads in rounds %}
{%- if !loop.first %}
    workgroupBarrier();
{%- endif %}
{%- for h in heads.clone() %}
    parts[lid{% if !loop.first %} + WORKGROUP{% endif %}] = out_{{h}};
{%- endfor %}
    workgroupBarrier();
    for (var e = lid; e < {{heads.len()}}u * LANES; e += WORKGROUP) {
        let at = e / LANES * WORKGROUP + e % LANES;
        var total = parts[at];
        for (var g = 1u; g < GROUPS; g++) {
            total += parts[at + g * LANES];
        }
        if (e % LANES < DV4) {
            let head = first_head + {{heads.start}}u + e / LANES;
            {{scratch.at3("head", "split", "e % LANES")}} = total;
        }
    }
{%- endfor %}
    if (lid == 0u) {
        var total = scores[0];
{%- for j in 1..tile %}
        total += scores[{{j}}];
{%- endfor %}
{%- for h in 0..shared %}
        let head_{{h}} = first_head + {{h}}u;
        {{scratch_rest[h]}} = vec4<f32>(largest.{{components[h]}}, total.{{components[h]}}, 0.0, 0.0);
{%- endfor %}
    }
}
