// Attention without a past: query [S, {{heads}}, {{key_width}}], key [{{key_heads}}, T, {{key_width}}], value [{{key_heads}}, T, {{value_width}}], output [S, {{heads}}, {{value_width}}].
// {% if segments.is_some() %}A query sees the keys of its segment; without keys it gives zeros.{% else %}Every query sees every key.{% endif %}
// Geometry: one workgroup of {{workgroup}} for {{rows}} queries (x) of a head (y), as 8 x 8 invocations: invocation (row, lane) has
// queries row, row + 8, ...; in scores keys 4 * lane to 4 * lane + 3 of a tile of {{tile}}, in values columns lane, lane + 8, ... of vec4.
{{declarations}}
const D = {{key_width}}u;
const DV = {{value_width}}u;
// Widths in vec4.
const QUADS = {{key_quads}}u;
const VALUE_QUADS = {{value_quads}}u;
const ROWS = {{rows}}u;
const TILE = {{tile}}u;
// Columns of keys, and rows of values, that are staged at a time.
const SLICE = {{slice}}u;
const SPAN = {{span}}u;
const WORKGROUP = {{workgroup}}u;
const LANES = vec4<u32>(0u, 1u, 2u, 3u);
const MASKED = -3.0e38;
// Scores above this are seen.
const SEEN = -1.0e38;
// Behind the queries in `stage`: slices of keys; later probabilities, and behind them values.
const KEYS = {{rows * key_quads}}u;
const VALUES = {{rows * key_quads + 8 * rows}}u;

// Columns of vec4, each with one element a row. Within 8 rows they are swapped about by the column, so that invocations
// that read rows of one column, or write columns of one row, meet different banks.
var<workgroup> stage: array<vec4<f32>, {{stage}}>;

fn query_quad(head: u32, i: u32, c: u32) -> vec4<f32> {
    return {{query.load("i", "head", "c", key_width)}};
}

fn key_quad(head: u32, j: u32, c: u32) -> vec4<f32> {
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
{%- if let Some(segments) = segments %}

// The keys that query i sees, from x to below y.
fn segment(i: u32) -> vec2<u32> {
    let last = i32({{keys}});
    return vec2<u32>(vec2<i32>(clamp({{segments.at2("i", "0u")}}, 0, last), clamp({{segments.at2("i", "1u")}}, 0, last)));
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

@compute @workgroup_size({{workgroup}})
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(local_invocation_index) lid: u32) {
    let head = wid.y;
    let key_head = head / {{group}}u;
    let first = wid.x * ROWS;
    let row = lid / 8u;
    let lane = lid % 8u;
    let queries = {{queries}};

    // The keys that the tile's queries see, and those of each of this invocation's.
    var begin = 0u;
    var end = {{keys}};
{%- if segments.is_some() %}
    begin = end;
    end = 0u;
    for (var r = 0u; r < ROWS; r++) {
        let seen = segment(min(first + r, queries - 1u));
        if (seen.x < seen.y) {
            begin = min(begin, seen.x);
            end = max(end, seen.y);
        }
    }
{%- for m in 0..each %}
    let seen{{m}} = segment(min(first + row + {{8 * m}}u, queries - 1u));
{%- endfor %}
{%- endif %}

    for (var e = lid; e < ROWS * QUADS; e += WORKGROUP) {
        let r = e / QUADS;
        let c = e % QUADS;
        var q = vec4<f32>();
        if (first + r < queries) {
            // Scores are exponents of two.
            q = query_quad(head, first + r, c) * {{scale}};
        }
        stage[c * ROWS + (r ^ (c & 7u))] = q;
    }

    // Largest score and sum of exponentials of the rows; the sum is of this invocation's keys.
    var largest = vec4<f32>(MASKED);
    var sums = vec4<f32>();
{%- for m in 0..each %}
{%- for n in 0..columns %}
    var a{{m}}_{{n}} = vec4<f32>();
{%- endfor %}
{%- endfor %}

    for (var tile = begin; tile < end; tile += TILE) {
        // Scores, one vec4 of keys a row.
{%- for m in 0..each %}
        var s{{m}} = vec4<f32>();
{%- endfor %}
        for (var base = 0u; base < QUADS; base += SLICE) {
            workgroupBarrier();
            for (var e = lid; e < TILE * SLICE; e += WORKGROUP) {
                let j = e / SLICE;
                let c = e % SLICE;
                var k = vec4<f32>();
                if (tile + j < end && base + c < QUADS) {
                    k = key_quad(key_head, tile + j, base + c);
                }
                stage[KEYS + c * TILE + (((j % 4u) * 8u + j / 4u) ^ (c & 7u))] = k;
            }
            workgroupBarrier();
            let width = min(SLICE, QUADS - base);
            for (var c = 0u; c < width; c++) {
                let k = KEYS + c * TILE + (lane ^ (c & 7u));
                let k0 = stage[k];
                let k1 = stage[k + 8u];
                let k2 = stage[k + 16u];
                let k3 = stage[k + 24u];
                let q = (base + c) * ROWS + (row ^ ((base + c) & 7u));
{%- for m in 0..each %}
                let q{{m}} = stage[q + {{8 * m}}u];
                s{{m}} += vec4<f32>(dot(q{{m}}, k0), dot(q{{m}}, k1), dot(q{{m}}, k2), dot(q{{m}}, k3));
{%- endfor %}
            }
        }
        let j = tile + 4u * lane + LANES;
{%- for m in 0..each %}
{%- if segments.is_some() %}
        s{{m}} = select(vec4<f32>(MASKED), s{{m}}, (j >= vec4<u32>(seen{{m}}.x)) & (j < vec4<u32>(seen{{m}}.y)));
{%- else %}
        s{{m}} = select(vec4<f32>(MASKED), s{{m}}, j < vec4<u32>(end));
{%- endif %}
{%- endfor %}

        // The new maxima; what has been summed so far is scaled to them.
        workgroupBarrier();
        stage[KEYS + lane * 8u + row] = vec4<f32>(
{%- for m in 0..4 %}
{%- if m < each %}
            max(max(s{{m}}.x, s{{m}}.y), max(s{{m}}.z, s{{m}}.w)),
{%- else %}
            MASKED,
{%- endif %}
{%- endfor %}
        );
        workgroupBarrier();
        var peak = largest;
        for (var other = 0u; other < 8u; other++) {
            peak = max(peak, stage[KEYS + other * 8u + row]);
        }
        let rescale = exp2(largest - peak);
        largest = peak;
        workgroupBarrier();
{%- for m in 0..each %}
        let p{{m}} = select(vec4<f32>(), exp2(s{{m}} - vec4<f32>(peak[{{m}}])), s{{m}} > vec4<f32>(SEEN));
        stage[KEYS + lane * ROWS + (row ^ lane) + {{8 * m}}u] = p{{m}};
{%- for n in 0..columns %}
        a{{m}}_{{n}} *= rescale[{{m}}];
{%- endfor %}
{%- endfor %}
        sums = sums * rescale + vec4<f32>(
{%- for m in 0..4 %}
{%- if m < each %}
            p{{m}}.x + p{{m}}.y + p{{m}}.z + p{{m}}.w,
{%- else %}
            0.0,
{%- endif %}
{%- endfor %}
        );

        // Values.
        for (var base = 0u; base < TILE; base += SPAN) {
            for (var e = lid; e < SPAN * VALUE_QUADS; e += WORKGROUP) {
                let j = tile + base + e / VALUE_QUADS;
                var v = vec4<f32>();
                if (j < end) {
                    v = value_quad(key_head, j, e % VALUE_QUADS);
                }
                stage[VALUES + e] = v;
            }
            workgroupBarrier();
            for (var four = 0u; four < SPAN; four += 4u) {
                let quad = (base + four) / 4u;
                let p = KEYS + quad * ROWS + (row ^ quad);
{%- for m in 0..each %}
                let w{{m}} = stage[p + {{8 * m}}u];
{%- endfor %}
                let at = VALUES + four * VALUE_QUADS;
{%- for n in 0..columns %}
                {
                    // Lanes behind the last column take it again; they store nothing.
                    let v = at + min(lane + {{8 * n}}u, VALUE_QUADS - 1u);
                    let v0 = stage[v];
                    let v1 = stage[v + VALUE_QUADS];
                    let v2 = stage[v + 2u * VALUE_QUADS];
                    let v3 = stage[v + 3u * VALUE_QUADS];
{%- for m in 0..each %}
                    a{{m}}_{{n}} += w{{m}}.x * v0 + w{{m}}.y * v1 + w{{m}}.z * v2 + w{{m}}.w * v3;
{%- endfor %}
                }
{%- endfor %}
            }
            workgroupBarrier();
        }
    }

    // Sums over all keys.
    workgroupBarrier();
    stage[KEYS + lane * 8u + row] = sums;
    workgroupBarrier();
    var total = vec4<f32>();
    for (var other = 0u; other < 8u; other++) {
        total += stage[KEYS + other * 8u + row];
    }
    let over = select(vec4<f32>(), 1.0 / max(total, vec4<f32>(1.0e-30)), total > vec4<f32>());
{%- for m in 0..each %}
{%- for n in 0..columns %}
    store(head, first + row + {{8 * m}}u, lane + {{8 * n}}u, a{{m}}_{{n}} * over[{{m}}]);
{%- endfor %}
{%- endfor %}
}
