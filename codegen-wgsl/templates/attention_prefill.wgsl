// Attention over tiles with a streaming softmax: query [S, {{heads}}, {{key_width}}], key [{{key_heads}}, T, {{key_width}}], value [{{key_heads}}, T, {{value_width}}],
// output [S, {{heads}}, {{value_width}}]. A row that sees no key gives zeros.
// Geometry: one workgroup of {{workgroup}} for {{tile}} queries (x) of a head (y), as 16 x 16 invocations: invocation (row, lane) has
// queries row and row + 16, in scores keys lane and lane + 16, in values columns lane, lane + 16, ...
{{declarations}}
const D = {{key_width}}u;
const DV = {{value_width}}u;
const TILE = {{tile}}u;
const SLICE = {{slice}}u;
const PITCH = {{pitch}}u;
// Keys whose values are staged at a time.
const SPAN = {{span}}u;
const WORKGROUP = {{workgroup}}u;
const MASKED = -3.0e38;
// Scores above this are seen.
const SEEN = -1.0e38;

// Slices of query rows and, behind TILE * PITCH, of key rows; later rows of values.
var<workgroup> stage: array<f32, {{stage}}>;
var<workgroup> scores: array<f32, {{tile * pitch}}>;
{%- if let Some(gate) = gate %}

{{gate.activate}}
{%- endif %}

// The score of query i and key j behind scale and masks; MASKED where the query does not see the key.
fn masked(dot: f32, head: u32, i: u32, j: u32) -> f32 {
    if (i >= {{queries}} || j >= {{keys}}
{%- if let Some(offset) = causal %} || j > i + {{offset}}{% endif %}) {
        return MASKED;
    }
    var score = dot * {{scale}};
{%- if let Some(mask) = mask %}
    {{mask.apply("head", "i", "j")}}
{%- endif %}
    return score;
}

@compute @workgroup_size({{workgroup}})
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(local_invocation_index) lid: u32) {
    let head = wid.y;
    let key_head = head / {{group}}u;
    let first = wid.x * TILE;
    let row = lid / 16u;
    let lane = lid % 16u;
    let queries = {{queries}};
    let keys = {{keys}};
{%- if let Some(offset) = causal %}
    // Keys behind the last query's are not looked at.
    let end = min(keys, min(first + TILE, queries) + {{offset}});
{%- else %}
    let end = keys;
{%- endif %}

    // Largest score, sum of exponentials and output of both rows.
    var max0 = MASKED;
    var max1 = MASKED;
    var sum0 = 0.0;
    var sum1 = 0.0;
{%- for n in 0..columns %}
    var a{{n}} = 0.0;
    var b{{n}} = 0.0;
{%- endfor %}

    for (var tile = 0u; tile < end; tile += TILE) {
        // Scores.
        var s00 = 0.0;
        var s01 = 0.0;
        var s10 = 0.0;
        var s11 = 0.0;
        for (var base = 0u; base < D; base += SLICE) {
            workgroupBarrier();
            for (var e = lid; e < TILE * SLICE; e += WORKGROUP) {
                let r = e / SLICE;
                let d = base + e % SLICE;
                let i = first + r;
                let j = tile + r;
                var q = 0.0;
                var k = 0.0;
                if (d < D) {
                    if (i < queries) {
                        q = {{query.at3("i", "head", "d")}};
                    }
                    if (j < end) {
                        k = {{key.at3("key_head", "j", "d")}};
                    }
                }
                let at = r * PITCH + e % SLICE;
                stage[at] = q;
                stage[TILE * PITCH + at] = k;
            }
            workgroupBarrier();
            let width = min(SLICE, D - base);
            for (var d = 0u; d < width; d++) {
                let q0 = stage[row * PITCH + d];
                let q1 = stage[(row + 16u) * PITCH + d];
                let k0 = stage[(TILE + lane) * PITCH + d];
                let k1 = stage[(TILE + lane + 16u) * PITCH + d];
                s00 += q0 * k0;
                s01 += q0 * k1;
                s10 += q1 * k0;
                s11 += q1 * k1;
            }
        }
        s00 = masked(s00, head, first + row, tile + lane);
        s01 = masked(s01, head, first + row, tile + lane + 16u);
        s10 = masked(s10, head, first + row + 16u, tile + lane);
        s11 = masked(s11, head, first + row + 16u, tile + lane + 16u);
        let at0 = row * PITCH;
        let at1 = (row + 16u) * PITCH;
        scores[at0 + lane] = s00;
        scores[at0 + lane + 16u] = s01;
        scores[at1 + lane] = s10;
        scores[at1 + lane + 16u] = s11;
        workgroupBarrier();

        // The new maxima; what has been summed so far is scaled to them.
        var new0 = max0;
        var new1 = max1;
        for (var j = 0u; j < TILE; j++) {
            new0 = max(new0, scores[at0 + j]);
            new1 = max(new1, scores[at1 + j]);
        }
        let scale0 = exp(max0 - new0);
        let scale1 = exp(max1 - new1);
        max0 = new0;
        max1 = new1;
        sum0 *= scale0;
        sum1 *= scale1;
{%- for n in 0..columns %}
        a{{n}} *= scale0;
        b{{n}} *= scale1;
{%- endfor %}
        workgroupBarrier();
        scores[at0 + lane] = select(0.0, exp(s00 - max0), s00 > SEEN);
        scores[at0 + lane + 16u] = select(0.0, exp(s01 - max0), s01 > SEEN);
        scores[at1 + lane] = select(0.0, exp(s10 - max1), s10 > SEEN);
        scores[at1 + lane + 16u] = select(0.0, exp(s11 - max1), s11 > SEEN);

        // Values.
        for (var base = 0u; base < TILE; base += SPAN) {
            workgroupBarrier();
            for (var e = lid; e < SPAN * DV; e += WORKGROUP) {
                let j = tile + base + e / DV;
                let d = e % DV;
                var v = 0.0;
                if (j < end) {
                    v = {{value.at3("key_head", "j", "d")}};
                }
                stage[e] = v;
            }
            workgroupBarrier();
            for (var j = 0u; j < SPAN; j++) {
                let p0 = scores[at0 + base + j];
                let p1 = scores[at1 + base + j];
                sum0 += p0;
                sum1 += p1;
                let at = j * DV + lane;
{%- for n in 0..columns %}
                let v{{n}} = stage[at + {{16 * n}}u];
                a{{n}} += p0 * v{{n}};
                b{{n}} += p1 * v{{n}};
{%- endfor %}
            }
        }
    }

    let over0 = select(0.0, 1.0 / max(sum0, 1.0e-30), sum0 > 0.0);
    let over1 = select(0.0, 1.0 / max(sum1, 1.0e-30), sum1 > 0.0);
    let i0 = first + row;
    let i1 = first + row + 16u;
{%- for n in 0..columns %}
    {
        let d = lane + {{16 * n}}u;
        if (d < DV) {
{%- if let Some(gate) = gate %}
            if (i0 < queries) {
                {{output.at3("i0", "head", "d")}} = a{{n}} * over0 * activate({{gate.view.at3("i0", "head", "d")}});
            }
            if (i1 < queries) {
                {{output.at3("i1", "head", "d")}} = b{{n}} * over1 * activate({{gate.view.at3("i1", "head", "d")}});
            }
{%- else %}
            if (i0 < queries) {
                {{output.at3("i0", "head", "d")}} = a{{n}} * over0;
            }
            if (i1 < queries) {
                {{output.at3("i1", "head", "d")}} = b{{n}} * over1;
            }
{%- endif %}
        }
    }
{%- endfor %}
}
