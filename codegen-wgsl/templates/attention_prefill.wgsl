// Attention over tiles with a streaming softmax: query [S, {{heads}}, {{key_width}}], key [{{key_heads}}, T, {{key_width}}], value [{{key_heads}}, T, {{value_width}}],
// output [S, {{heads}}, {{value_width}}]. A row that sees no key gives zeros.
// Geometry: one workgroup of {{workgroup}} for {{rows}} queries (x) of a head (y). In scores two halves of the workgroup share the
// columns of queries and keys, and an invocation multiplies 4 queries with 4 keys of a tile of {{tile}}; in values it has {{each}}
// queries and one vec4 column.
{{declarations}}
const D = {{key_width}}u;
const DV = {{value_width}}u;
// Widths in vec4.
const QUADS = {{key_quads}}u;
const VALUE_QUADS = {{value_quads}}u;
const ROWS = {{rows}}u;
const TILE = {{tile}}u;
const WORKGROUP = {{workgroup}}u;
// Invocations side by side in values.
const SIDE = {{lanes}}u;
const LANES = vec4<u32>(0u, 1u, 2u, 3u);
const MASKED = -3.0e38;
// Scores above this are seen.
const SEEN = -1.0e38;
// In `stage`: slices of queries, 8 columns of 32 rows, and behind them slices of keys, 8 columns of 64 rows. Then what
// the halves tell each other, later probabilities, 16 columns of 32 rows, and behind them largest scores, later sums.
const KEYS = 256u;
const PEAKS = 512u;

// Within 8 rows, rows are swapped about by the column, so that invocations that write columns of one row, or read rows of
// one column, meet different banks.
var<workgroup> stage: array<vec4<f32>, 768>;
// By row: the factor on what has been summed so far, in the end on the sum.
var<workgroup> factors: array<f32, {{rows}}>;

fn query_quad(head: u32, i: u32, c: u32) -> vec4<f32> {
    if (i >= {{queries}} || c >= QUADS) {
        return vec4<f32>();
    }
    return {{query.load("i", "head", "c", key_width)}};
}

fn key_quad(head: u32, j: u32, c: u32, end: u32) -> vec4<f32> {
    if (j >= end || c >= QUADS) {
        return vec4<f32>();
    }
    return {{key.load("head", "j", "c", key_width)}};
}

fn value_quad(head: u32, j: u32, c: u32) -> vec4<f32> {
    return {{value.load("head", "j", "c", value_width)}};
}
{%- if let Some((gate, activate)) = gate %}

{{activate}}

fn gate_quad(head: u32, i: u32, c: u32) -> vec4<f32> {
    let x = {{gate.load("i", "head", "c", value_width)}};
    return vec4<f32>(activate(x.x), activate(x.y), activate(x.z), activate(x.w));
}
{%- endif %}

fn store(head: u32, i: u32, c: u32, x: vec4<f32>) {
    if (i < {{queries}} && c < VALUE_QUADS) {
{%- if gate.is_some() %}
        let y = x * gate_quad(head, i, c);
{%- else %}
        let y = x;
{%- endif %}
        {{output.store("i", "head", "c", "y", value_width)}}
    }
}
{%- if let Some(mask) = mask %}

// The score of query i and key j behind the mask.
fn masked(dot: f32, head: u32, i: u32, j: u32) -> f32 {
    var score = dot;
    if (i < {{queries}} && j < {{keys}}) {
        {{mask.apply("head", "i", "j")}}
    }
    return score;
}
{%- endif %}

@compute @workgroup_size({{workgroup}})
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(local_invocation_index) lid: u32) {
    let head = wid.y;
    let key_head = head / {{group}}u;
    let first = wid.x * ROWS;
    let keys = {{keys}};
{%- if let Some(offset) = causal %}
    // Keys behind the last query's are not looked at.
    let end = min(keys, min(first + ROWS, {{queries}}) + {{offset}});
{%- else %}
    let end = keys;
{%- endif %}
    // In scores: queries row, row + 8, row + 16, row + 24 and keys 4 * lane to 4 * lane + 3, until the halves have told
    // each other; then queries mine and mine + 8.
    let half = lid / 128u;
    let row = lid / 16u % 8u;
    let lane = lid % 16u;
    let mine = row + 16u * half;
    // In values: queries from bottom on, and one column.
    let bottom = lid / SIDE * {{each}}u;
    let column = lid % SIDE;
    // Lanes behind the last column take it again; they store nothing.
    let value_column = min(column, VALUE_QUADS - 1u);
    // What this invocation loads: vector load_column of a query and of two keys, 32 apart.
    let load_column = lid % 8u;
    let load_row = lid / 8u;

    // Largest score and sum of exponentials of both rows; the sum is of this invocation's keys.
    var peak0 = MASKED;
    var peak1 = MASKED;
    var sum0 = 0.0;
    var sum1 = 0.0;
{%- for m in 0..each %}
    var o{{m}} = vec4<f32>();
{%- endfor %}

    // Slices are loaded one ahead.
    var q = query_quad(head, first + load_row, load_column);
    var k0 = key_quad(key_head, load_row, load_column, end);
    var k1 = key_quad(key_head, load_row + 32u, load_column, end);
    for (var tile = 0u; tile < end; tile += TILE) {
        var s0 = vec4<f32>();
        var s1 = vec4<f32>();
        var s2 = vec4<f32>();
        var s3 = vec4<f32>();
        for (var base = 0u; base < QUADS; base += 8u) {
            workgroupBarrier();
            stage[load_column * 32u + (load_row ^ load_column)] = q;
            // Key j is row j % 4 * 16 + j / 4.
            let place = KEYS + load_column * 64u + load_row % 4u * 16u + ((load_row / 4u) ^ load_column);
            stage[place] = k0;
            stage[place ^ 8u] = k1;
            workgroupBarrier();
            var next = tile;
            var ahead = base + 8u + load_column;
            if (base + 8u >= QUADS) {
                next = tile + TILE;
                ahead = load_column;
            }
            q = query_quad(head, first + load_row, ahead);
            k0 = key_quad(key_head, next + load_row, ahead, end);
            k1 = key_quad(key_head, next + load_row + 32u, ahead, end);
{%- for c in 0..4 %}
            {
                let c = half * 4u + {{c}}u;
                let q = c * 32u + (row ^ c);
                let k = KEYS + c * 64u + (lane ^ c);
{%- for n in 0..4 %}
                let q{{n}} = stage[q + {{8 * n}}u];
                let k{{n}} = stage[k + {{16 * n}}u];
{%- endfor %}
{%- for n in 0..4 %}
                s{{n}} += vec4<f32>(dot(q{{n}}, k0), dot(q{{n}}, k1), dot(q{{n}}, k2), dot(q{{n}}, k3));
{%- endfor %}
            }
{%- endfor %}
        }

        // Each half completes the scores of two of the rows.
        workgroupBarrier();
        let told = lid % 128u;
        stage[half * 256u + told] = select(s2, s0, half == 1u);
        stage[half * 256u + 128u + told] = select(s3, s1, half == 1u);
        workgroupBarrier();
        let other = 256u - half * 256u + told;
        s0 = (select(s0, s2, half == 1u) + stage[other]) * {{scale}};
        s1 = (select(s1, s3, half == 1u) + stage[other + 128u]) * {{scale}};
        let j = tile + 4u * lane + LANES;
        let i = first + mine;
{%- if let Some(offset) = causal %}
        s0 = select(vec4<f32>(MASKED), s0, (j < vec4<u32>(end)) & (j <= vec4<u32>(i + {{offset}})));
        s1 = select(vec4<f32>(MASKED), s1, (j < vec4<u32>(end)) & (j <= vec4<u32>(i + 8u + {{offset}})));
{%- else %}
        s0 = select(vec4<f32>(MASKED), s0, j < vec4<u32>(end));
        s1 = select(vec4<f32>(MASKED), s1, j < vec4<u32>(end));
{%- endif %}
{%- if mask.is_some() %}
{%- for n in 0..2 %}
        s{{n}} = vec4<f32>(
            masked(s{{n}}.x, head, i + {{8 * n}}u, j.x), masked(s{{n}}.y, head, i + {{8 * n}}u, j.y),
            masked(s{{n}}.z, head, i + {{8 * n}}u, j.z), masked(s{{n}}.w, head, i + {{8 * n}}u, j.w));
{%- endfor %}
{%- endif %}

        // The new maxima; what has been summed so far is scaled to them.
        stage[PEAKS + lane * 16u + half * 8u + row] = vec4<f32>(
            max(max(s0.x, s0.y), max(s0.z, s0.w)), max(max(s1.x, s1.y), max(s1.z, s1.w)), 0.0, 0.0);
        workgroupBarrier();
        var new0 = peak0;
        var new1 = peak1;
        for (var l = 0u; l < 16u; l++) {
            let peaks = stage[PEAKS + l * 16u + half * 8u + row];
            new0 = max(new0, peaks.x);
            new1 = max(new1, peaks.y);
        }
        let fade0 = exp(peak0 - new0);
        let fade1 = exp(peak1 - new1);
        peak0 = new0;
        peak1 = new1;
        if (lane == 0u) {
            factors[mine] = fade0;
            factors[mine + 8u] = fade1;
        }
        let p0 = select(vec4<f32>(), exp(s0 - vec4<f32>(peak0)), s0 > vec4<f32>(SEEN));
        let p1 = select(vec4<f32>(), exp(s1 - vec4<f32>(peak1)), s1 > vec4<f32>(SEEN));
        stage[lane * 32u + (mine ^ (lane & 7u))] = p0;
        stage[lane * 32u + ((mine + 8u) ^ (lane & 7u))] = p1;
        sum0 = sum0 * fade0 + (p0.x + p0.y + p0.z + p0.w);
        sum1 = sum1 * fade1 + (p1.x + p1.y + p1.z + p1.w);
        workgroupBarrier();

        // Values, eight keys at a time; probabilities behind the last key are 0.
{%- for m in 0..each %}
        o{{m}} *= factors[bottom + {{m}}u];
{%- endfor %}
        let fours = (min(end - tile, TILE) + 3u) / 4u;
        for (var four = 0u; four < fours; four += 2u) {
            let at = tile + 4u * four;
{%- for n in 0..8 %}
            let v{{n}} = value_quad(key_head, min(at + {{n}}u, end - 1u), value_column);
{%- endfor %}
{%- for m in 0..each %}
            let p{{m}} = stage[four * 32u + ((bottom + {{m}}u) ^ (four & 7u))];
            let r{{m}} = stage[four * 32u + 32u + ((bottom + {{m}}u) ^ ((four + 1u) & 7u))];
{%- endfor %}
{%- for m in 0..each %}
            o{{m}} += p{{m}}.x * v0 + p{{m}}.y * v1 + p{{m}}.z * v2 + p{{m}}.w * v3;
            o{{m}} += r{{m}}.x * v4 + r{{m}}.y * v5 + r{{m}}.z * v6 + r{{m}}.w * v7;
{%- endfor %}
        }
    }

    // Sums over all keys.
    workgroupBarrier();
    stage[PEAKS + lane * 16u + half * 8u + row] = vec4<f32>(sum0, sum1, 0.0, 0.0);
    workgroupBarrier();
    if (lane == 0u) {
        var sums = vec4<f32>();
        for (var l = 0u; l < 16u; l++) {
            sums += stage[PEAKS + l * 16u + half * 8u + row];
        }
        factors[mine] = select(0.0, 1.0 / max(sums.x, 1.0e-30), sums.x > 0.0);
        factors[mine + 8u] = select(0.0, 1.0 / max(sums.y, 1.0e-30), sums.y > 0.0);
    }
    workgroupBarrier();
{%- for m in 0..each %}
    store(head, first + bottom + {{m}}u, column, o{{m}} * factors[bottom + {{m}}u]);
{%- endfor %}
}
