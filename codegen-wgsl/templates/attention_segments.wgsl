// Attention without a past: query [S, {{parts.heads}}, {{parts.key_width}}], key [{{parts.key_heads}}, T, {{parts.key_width}}], value [{{parts.key_heads}}, T, {{parts.value_width}}], output [S, {{parts.heads}}, {{parts.value_width}}].
// {% if parts.segments.is_some() %}A query sees the keys of its segment; without keys it gives zeros.{% else %}Every query sees every key.{% endif %}
// Geometry: one workgroup of {{workgroup}} for {{rows}} queries (x) of a head (y), in rows of 16 invocations: invocation (row, lane) has
// queries row, row + {{rows / 4}}, ...; in scores keys 4 * lane to 4 * lane + 3 of a tile of {{tile}}, in values columns lane, lane + 16, ...
// of vec4.
{% include "attention_segments_parts.wgsl" %}
const ROWS = {{rows}}u;
const TILE = {{tile}}u;
// Scores above this are seen.
const SEEN = -1.0e38;
// Behind the queries in `stage`.
const KEYS = {{8 * rows}}u;

// Slices of queries and of keys, 8 columns of vec4 with one element a row; then largest scores, then probabilities, 16
// columns of keys, in the end sums. Within 8 rows they are swapped about by the column, so that invocations that read
// rows of one column, or write columns of one row, meet different banks.
var<workgroup> stage: array<vec4<f32>, {{stage}}>;

@compute @workgroup_size({{workgroup}})
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(local_invocation_index) lid: u32) {
    let head = wid.y;
    let key_head = head / {{parts.group}}u;
    let first = wid.x * ROWS;
    let row = lid / 16u;
    let lane = lid % 16u;
    // What this invocation loads: vector load_column of two queries and of some keys.
    let load_column = lid % 8u;
    let load_row = lid / 8u;
    let queries = {{parts.queries}};

    // The keys that the tile's queries see, and those of each of this invocation's.
    var begin = 0u;
    var end = {{parts.keys}};
{%- if parts.segments.is_some() %}
    begin = end;
    end = 0u;
    for (var r = 0u; r < ROWS; r++) {
        let seen = segment(min(first + r, queries - 1u));
        if (seen.x < seen.y) {
            begin = min(begin, seen.x);
            end = max(end, seen.y);
        }
    }
{%- for m in 0..4 %}
    let seen{{m}} = segment(min(first + row + {{m * rows / 4}}u, queries - 1u));
{%- endfor %}
{%- endif %}

    // Largest score and sum of exponentials of the rows; the sum is of this invocation's keys.
    var largest = vec4<f32>(MASKED);
    var sums = vec4<f32>();
{%- for m in 0..4 %}
{%- for n in 0..columns %}
    var a{{m}}_{{n}} = vec4<f32>();
{%- endfor %}
{%- endfor %}

    // Slices are loaded one ahead.
{%- for n in 0..2 %}
    var q{{n}} = query_quad(head, first + load_row + {{n * rows / 2}}u, load_column);
{%- endfor %}
{%- for n in 0..key_loads %}
    var k{{n}} = key_quad(key_head, begin + load_row + {{n * rows / 2}}u, load_column, end);
{%- endfor %}
    for (var tile = begin; tile < end; tile += TILE) {
        // Scores, one vec4 of keys a row.
{%- for m in 0..4 %}
        var s{{m}} = vec4<f32>();
{%- endfor %}
        for (var base = 0u; base < QUADS; base += 8u) {
            workgroupBarrier();
{%- for n in 0..2 %}
            stage[load_column * ROWS + ((load_row + {{n * rows / 2}}u) ^ load_column)] = q{{n}};
{%- endfor %}
            // Key j is row j % 4 * 16 + j / 4.
            let place = KEYS + load_column * TILE + load_row % 4u * 16u;
{%- for n in 0..key_loads %}
            stage[place + (((load_row + {{n * rows / 2}}u) / 4u) ^ load_column)] = k{{n}};
{%- endfor %}
            workgroupBarrier();
            var next = tile;
            var ahead = base + 8u + load_column;
            if (base + 8u >= QUADS) {
                next = tile + TILE;
                ahead = load_column;
            }
{%- for n in 0..2 %}
            q{{n}} = query_quad(head, first + load_row + {{n * rows / 2}}u, ahead);
{%- endfor %}
{%- for n in 0..key_loads %}
            k{{n}} = key_quad(key_head, next + load_row + {{n * rows / 2}}u, ahead, end);
{%- endfor %}
            for (var c = 0u; c < 8u; c += 2u) {
{%- for c in 0..2 %}
                {
                    let at = c + {{c}}u;
                    let q = at * ROWS + (row ^ at);
                    let k = KEYS + at * TILE + (lane ^ at);
{%- for n in 0..4 %}
                    let q{{n}} = stage[q + {{n * rows / 4}}u];
                    let k{{n}} = stage[k + {{16 * n}}u];
{%- endfor %}
{%- for m in 0..4 %}
                    s{{m}} += vec4<f32>(dot(q{{m}}, k0), dot(q{{m}}, k1), dot(q{{m}}, k2), dot(q{{m}}, k3));
{%- endfor %}
                }
{%- endfor %}
            }
        }
        let j = tile + 4u * lane + LANES;
{%- for m in 0..4 %}
{%- if parts.segments.is_some() %}
        s{{m}} = select(vec4<f32>(MASKED), s{{m}}, (j >= vec4<u32>(seen{{m}}.x)) & (j < vec4<u32>(seen{{m}}.y)));
{%- else %}
        s{{m}} = select(vec4<f32>(MASKED), s{{m}}, j < vec4<u32>(end));
{%- endif %}
{%- endfor %}

        // The new maxima; what has been summed so far is scaled to them.
        workgroupBarrier();
        stage[row * 16u + lane] = vec4<f32>(
{%- for m in 0..4 %}
            max(max(s{{m}}.x, s{{m}}.y), max(s{{m}}.z, s{{m}}.w)),
{%- endfor %}
        );
        workgroupBarrier();
        var peak = largest;
        for (var other = 0u; other < 16u; other++) {
            peak = max(peak, stage[row * 16u + other]);
        }
        let rescale = exp2(largest - peak);
        largest = peak;
        workgroupBarrier();
{%- for m in 0..4 %}
        let p{{m}} = select(vec4<f32>(), exp2(s{{m}} - vec4<f32>(peak[{{m}}])), s{{m}} > vec4<f32>(SEEN));
        stage[lane * ROWS + ((row + {{m * rows / 4}}u) ^ (lane & 7u))] = p{{m}};
{%- for n in 0..columns %}
        a{{m}}_{{n}} *= rescale[{{m}}];
{%- endfor %}
{%- endfor %}
        sums = sums * rescale + vec4<f32>(
{%- for m in 0..4 %}
            p{{m}}.x + p{{m}}.y + p{{m}}.z + p{{m}}.w,
{%- endfor %}
        );
        workgroupBarrier();

        // Values, twice four keys at a time; probabilities behind the last key are 0.
        let fours = (min(end - tile, TILE) + 3u) / 4u;
        for (var pair = 0u; pair < fours; pair += 2u) {
{%- for f in 0..2 %}
            {
                let four = pair + {{f}}u;
                let at = tile + 4u * four;
{%- for m in 0..4 %}
                let w{{m}} = stage[four * ROWS + ((row + {{m * rows / 4}}u) ^ (four & 7u))];
{%- endfor %}
{%- for n in 0..columns %}
                {
                    // Lanes behind the last column take it again; they store nothing.
                    let c = min(lane + {{16 * n}}u, VALUE_QUADS - 1u);
{%- for e in 0..4 %}
                    let v{{e}} = value_quad(key_head, min(at + {{e}}u, end - 1u), c);
{%- endfor %}
{%- for m in 0..4 %}
                    a{{m}}_{{n}} += w{{m}}.x * v0 + w{{m}}.y * v1 + w{{m}}.z * v2 + w{{m}}.w * v3;
{%- endfor %}
                }
{%- endfor %}
            }
{%- endfor %}
        }
    }

    // Sums over all keys.
    workgroupBarrier();
    stage[row * 16u + lane] = sums;
    workgroupBarrier();
    var total = vec4<f32>();
    for (var other = 0u; other < 16u; other++) {
        total += stage[row * 16u + other];
    }
    let over = select(vec4<f32>(), 1.0 / max(total, vec4<f32>(1.0e-30)), total > vec4<f32>());
{%- for m in 0..4 %}
{%- for n in 0..columns %}
    store(head, first + row + {{m * rows / 4}}u, lane + {{16 * n}}u, a{{m}}_{{n}} * over[{{m}}]);
{%- endfor %}
{%- endfor %}
}
