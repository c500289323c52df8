// Attention of one query over one split of the context: query [1, {{sizes.heads}}, {{sizes.key_width}}], key [{{sizes.key_heads}}, T, {{sizes.key_width}}], value [{{sizes.key_heads}}, T, {{sizes.value_width}}].
// Writes to the scratch [heads, splits, {{sizes.value_width + 2}}] the unnormalised output, the largest score and the sum of exponentials.
// Splits that hold no key write nothing; attention_combine does not read them.
// Geometry: one workgroup of {{workgroup}} a split (x) and {{shared}} query heads (y) of a key head. For scores, {{key_lanes}} invocations share a key
// of a tile of {{tile}}; for values, {{lanes}} are the columns and {{workgroup / lanes}} groups share the keys.
{{declarations}}
const D = {{sizes.key_width}}u;
const DV = {{sizes.value_width}}u;
const SHARED = {{shared}}u;
const TILE = {{tile}}u;
const KEY_LANES = {{key_lanes}}u;
const LANES = {{lanes}}u;
const GROUPS = {{workgroup / lanes}}u;
const WORKGROUP = {{workgroup}}u;
const MASKED = -3.0e38;
// Scores above this are seen.
const SEEN = -1.0e38;

var<workgroup> query: array<f32, {{shared * sizes.key_width}}>;
// Sums of the lanes of a key, later of the groups of a column.
var<workgroup> parts: array<f32, {{shared * workgroup}}>;
// Scores of the tile, their weights, and by how much earlier sums shrink.
var<workgroup> scores: array<f32, {{shared * tile}}>;
var<workgroup> weights: array<f32, {{shared * tile}}>;
var<workgroup> shrink: array<f32, SHARED>;

@compute @workgroup_size({{workgroup}})
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(local_invocation_index) lid: u32) {
    let split = wid.x;
    let key_head = wid.y / {{parts}}u;
    let first_head = wid.y * SHARED;
    let keys = {{keys}};
    let keys_per_split = {{keys_per_split}};
    let start = split * keys_per_split;
    if (start >= keys) {
        return;
    }
    let end = min(start + keys_per_split, keys);

    for (var e = lid; e < SHARED * D; e += WORKGROUP) {
        let head = first_head + e / D;
        let d = e % D;
        query[e] = {{query.at3("0u", "head", "d")}} * {{scale}};
    }
    // Invocations that keep scores: score_head and score_key.
    let score_head = lid / TILE;
    let score_key = lid % TILE;
    var largest = MASKED;
    // Sums over the keys of this group, one a head.
    let group = lid / LANES;
    let column = lid % LANES;
{%- for h in 0..shared %}
    var sum{{h}} = 0.0;
    var out_{{h}} = 0.0;
{%- endfor %}

    for (var tile = start; tile < end; tile += TILE) {
        workgroupBarrier();
        let key = tile + lid / KEY_LANES;
{%- for h in 0..shared %}
        var dot{{h}} = 0.0;
{%- endfor %}
        if (key < end) {
            for (var d = lid % KEY_LANES; d < D; d += KEY_LANES) {
                let k = {{key.at3("key_head", "key", "d")}};
{%- for h in 0..shared %}
                dot{{h}} += query[{{h}}u * D + d] * k;
{%- endfor %}
            }
        }
{%- for h in 0..shared %}
        parts[{{h}}u * WORKGROUP + lid] = dot{{h}};
{%- endfor %}
        workgroupBarrier();
        if (score_head < SHARED) {
            var score = MASKED;
            let j = tile + score_key;
            if (j < end) {
                score = 0.0;
                let at = score_head * WORKGROUP + score_key * KEY_LANES;
                for (var lane = 0u; lane < KEY_LANES; lane++) {
                    score += parts[at + lane];
                }
{%- if let Some(mask) = mask %}
                let head = first_head + score_head;
                {{mask.apply("head", "0u", "j")}}
{%- endif %}
            }
            scores[lid] = score;
        }
        workgroupBarrier();
        if (score_head < SHARED) {
            var new_largest = largest;
            for (var j = 0u; j < TILE; j++) {
                new_largest = max(new_largest, scores[score_head * TILE + j]);
            }
            let score = scores[lid];
            weights[lid] = select(0.0, exp(score - new_largest), score > SEEN);
            if (score_key == 0u) {
                shrink[score_head] = exp(largest - new_largest);
            }
            largest = new_largest;
        }
        workgroupBarrier();
{%- for h in 0..shared %}
        sum{{h}} *= shrink[{{h}}];
        out_{{h}} *= shrink[{{h}}];
{%- endfor %}
        let tile_end = min(end - tile, TILE);
        for (var j = group; j < tile_end; j += GROUPS) {
            var v = 0.0;
            if (column < DV) {
                let key = tile + j;
                v = {{value.at3("key_head", "key", "column")}};
            }
{%- for h in 0..shared %}
            sum{{h}} += weights[{{h}}u * TILE + j];
            out_{{h}} += weights[{{h}}u * TILE + j] * v;
{%- endfor %}
        }
    }

    // The groups' sums together.
    workgroupBarrier();
{%- for h in 0..shared %}
    parts[{{h}}u * WORKGROUP + lid] = out_{{h}};
    if (column == 0u) {
        scores[{{h}}u * TILE + group] = sum{{h}};
    }
{%- endfor %}
    workgroupBarrier();
    for (var e = lid; e < SHARED * DV; e += WORKGROUP) {
        let head = first_head + e / DV;
        let d = e % DV;
        let at = e / DV * WORKGROUP + d;
        var total = 0.0;
        for (var g = 0u; g < GROUPS; g++) {
            total += parts[at + g * LANES];
        }
        {{scratch.at3("head", "split", "d")}} = total;
    }
    if (score_head < SHARED && score_key == 0u) {
        let head = first_head + score_head;
        var total = 0.0;
        for (var g = 0u; g < GROUPS; g++) {
            total += scores[score_head * TILE + g];
        }
        {{scratch.at3("head", "split", "DV")}} = largest;
        {{scratch.at3("head", "split", "DV + 1u")}} = total;
    }
}
