// The walk of the chunked gated delta rule over its chunks, dk = {{key_width}}, dv = {{value_width}}. With w, u, P, G from the scratch that
// delta_prepare has written, and the state s [dk, dv]:
//   v' = u - w s;  o = exp(G) q s + P v';  s = exp(G_last) s + (k exp(G_last - G))^T v'
// Geometry: one workgroup of {{workgroup}} a value head (x) and {{columns}} columns of the state (y), in two halves: one computes w s, v'
// and the state, the other q s and o. An invocation has four rows of a chunk and {{columns / 8}} of the columns; rows of w, q, P
// and k are read where they are, once a workgroup, so that all wait for each other only twice a chunk.
{{declarations}}
const DK = {{key_width}}u;
const DV = {{value_width}}u;
// Rows of the state in fours.
const QUADS = {{key_quads}}u;
const SOLVED = {{layout.solved}}u;
const FACTORS = {{layout.factors}}u;
const HALF = {{workgroup / 2}}u;
const LANES = vec4<u32>(0u, 1u, 2u, 3u);

// The columns of the state, [row / 4][row % 4][lane]; rows from DK on are 0.
var<workgroup> state: array<array<array<{{cell}}, 8>, 4>, {{key_quads}}>;
// v', and v' exp(G_last - G).
var<workgroup> fresh: array<array<array<{{cell}}, 8>, 4>, 16>;
var<workgroup> faded: array<array<{{cell}}, 8>, 64>;

// Element `at` of the scratch.
fn scratch(chunk: u32, head: u32, at: u32) -> f32 {
{%- if packed %}
    let e = at / 4u;
    return {{scratch.at3("chunk", "head", "e")}}[at % 4u];
{%- else %}
    return {{scratch.at3("chunk", "head", "at")}};
{%- endif %}
}

// Elements `at` to `at + 3` of the scratch; `at` is a multiple of 4.
fn scratch4(chunk: u32, head: u32, at: u32) -> vec4<f32> {
{%- if packed %}
    let e = at / 4u;
    return {{scratch.at3("chunk", "head", "e")}};
{%- else %}
    return vec4<f32>(
        scratch(chunk, head, at), scratch(chunk, head, at + 1u), scratch(chunk, head, at + 2u), scratch(chunk, head, at + 3u));
{%- endif %}
}

// Columns 4c to 4c+3 of row i of w; zeros outside.
fn w_quad(chunk: u32, head: u32, i: u32, c: u32) -> vec4<f32> {
    let at = SOLVED + i * (DK + DV) + 4u * c;
{%- if packed %}
    return scratch4(chunk, head, at);
{%- else %}
    return select(
        vec4<f32>(),
        vec4<f32>(
            scratch(chunk, head, at), scratch(chunk, head, at + 1u), scratch(chunk, head, at + 2u), scratch(chunk, head, at + 3u)),
        4u * c + LANES < vec4<u32>(DK));
{%- endif %}
}

// The same of q and k, raw, at position s. Behind the last position there is something finite: no o is stored there, and
// v' is 0.
fn q_quad(key_head: u32, position: u32, c: u32) -> vec4<f32> {
    let s = min(position, {{tokens}} - 1u);
    return {{query.load("s", "key_head", "c", key_width)}};
}

fn k_quad(key_head: u32, position: u32, c: u32) -> vec4<f32> {
    let s = min(position, {{tokens}} - 1u);
    return {{key.load("s", "key_head", "c", key_width)}};
}

// Columns of u that an invocation has, from `column` on, in row i; zeros outside.
fn u_cell(chunk: u32, head: u32, i: u32, column: u32) -> {{cell}} {
    let at = SOLVED + i * (DK + DV) + DK + min(column, DV - 1u);
{%- if columns == 16 %}
    let next = SOLVED + i * (DK + DV) + DK + min(column + 1u, DV - 1u);
    return vec2<f32>(scratch(chunk, head, at), scratch(chunk, head, next));
{%- else %}
    return scratch(chunk, head, at);
{%- endif %}
}

@compute @workgroup_size({{workgroup}})
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(local_invocation_index) lid: u32) {
    let head = wid.x;
    let key_head = head / {{group}}u;
    let half = lid / HALF;
    let part = lid % HALF;
    let lane = lid % 8u;
    // Rows row, row + 16, row + 32, row + 48 of a chunk.
    let row = part / 8u;
    let column = wid.y * {{columns}}u + lane * {{columns / 8}}u;

    for (var e = lid / 8u; e < 4u * QUADS; e += {{workgroup / 8}}u) {
        var value = {{cell}}();
{%- if let Some(past) = past %}
        if (e < DK && column < DV) {
{%- if columns == 16 %}
            value.x = {{past.at3("head", "e", "column")}};
            if (column + 1u < DV) {
                let next = column + 1u;
                value.y = {{past.at3("head", "e", "next")}};
            }
{%- else %}
            value = {{past.at3("head", "e", "column")}};
{%- endif %}
        }
{%- endif %}
        state[e / 4u][e % 4u][lane] = value;
    }
    workgroupBarrier();

    let tokens = {{tokens}};
    for (var chunk = 0u; chunk * 64u < tokens; chunk++) {
        let first = chunk * 64u;
        let forget = scratch(chunk, head, FACTORS + 128u);
{%- for m in 0..4 %}
        var sum{{m}} = {{cell}}();
        var u{{m}} = {{cell}}();
        if (half == 0u) {
            u{{m}} = u_cell(chunk, head, row + {{16 * m}}u, column);
        }
        let factor{{m}} = scratch(chunk, head, FACTORS + 64u - 64u * half + row + {{16 * m}}u);
{%- endfor %}

        // w s, and q s of the raw q.
        for (var c = 0u; c < QUADS; c += {{turn}}u) {
{%- for n in 0..turn %}
{%- for m in 0..4 %}
            var a{{n}}_{{m}} = vec4<f32>();
{%- endfor %}
{%- endfor %}
            if (half == 0u) {
{%- for n in 0..turn %}
{%- for m in 0..4 %}
                a{{n}}_{{m}} = w_quad(chunk, head, row + {{16 * m}}u, c + {{n}}u);
{%- endfor %}
{%- endfor %}
            } else {
{%- for n in 0..turn %}
{%- for m in 0..4 %}
                a{{n}}_{{m}} = q_quad(key_head, first + row + {{16 * m}}u, c + {{n}}u);
{%- endfor %}
{%- endfor %}
            }
{%- for n in 0..turn %}
            {
{%- for e in 0..4 %}
                let s{{e}} = state[c + {{n}}u][{{e}}][lane];
{%- endfor %}
{%- for m in 0..4 %}
                sum{{m}} += a{{n}}_{{m}}.x * s0 + a{{n}}_{{m}}.y * s1 + a{{n}}_{{m}}.z * s2 + a{{n}}_{{m}}.w * s3;
{%- endfor %}
            }
{%- endfor %}
        }
        if (half == 0u) {
{%- for m in 0..4 %}
            let v{{m}} = u{{m}} - sum{{m}};
            fresh[row / 4u + {{4 * m}}u][row % 4u][lane] = v{{m}};
            faded[row + {{16 * m}}u][lane] = v{{m}} * factor{{m}};
{%- endfor %}
        }
        workgroupBarrier();

        if (half == 1u) {
            // o.
{%- for m in 0..4 %}
            sum{{m}} *= factor{{m}};
{%- endfor %}
            for (var c = 0u; c < 16u; c += 4u) {
{%- for n in 0..4 %}
{%- for m in 0..4 %}
                let p{{n}}_{{m}} = scratch4(chunk, head, (row + {{16 * m}}u) * 64u + 4u * c + {{4 * n}}u);
{%- endfor %}
{%- endfor %}
{%- for n in 0..4 %}
                {
{%- for e in 0..4 %}
                    let v{{e}} = fresh[c + {{n}}u][{{e}}][lane];
{%- endfor %}
{%- for m in 0..4 %}
                    sum{{m}} += p{{n}}_{{m}}.x * v0 + p{{n}}_{{m}}.y * v1 + p{{n}}_{{m}}.z * v2 + p{{n}}_{{m}}.w * v3;
{%- endfor %}
                }
{%- endfor %}
            }
{%- for m in 0..4 %}
            {
                let s = first + row + {{16 * m}}u;
                if (s < tokens && column < DV) {
{%- if columns == 16 %}
                    {{output.at3("s", "head", "column")}} = sum{{m}}.x;
                    if (column + 1u < DV) {
                        let next = column + 1u;
                        {{output.at3("s", "head", "next")}} = sum{{m}}.y;
                    }
{%- else %}
                    {{output.at3("s", "head", "column")}} = sum{{m}};
{%- endif %}
                }
            }
{%- endfor %}
        } else {
            // The state: four rows of it and two lanes at a time.
            for (var task = part; task < 4u * QUADS; task += HALF) {
                let quad = task % QUADS;
                let first_lane = task / QUADS;
                let second_lane = first_lane + 4u;
{%- for e in 0..4 %}
                var x{{e}} = forget * state[quad][{{e}}][first_lane];
                var y{{e}} = forget * state[quad][{{e}}][second_lane];
{%- endfor %}
                for (var i = 0u; i < 64u; i += 16u) {
{%- for n in 0..16 %}
                    let k{{n}} = k_quad(key_head, first + i + {{n}}u, quad);
{%- endfor %}
{%- for n in 0..16 %}
                    {
                        let v = faded[i + {{n}}u][first_lane];
                        let z = faded[i + {{n}}u][second_lane];
{%- for e in 0..4 %}
                        x{{e}} += k{{n}}[{{e}}] * v;
                        y{{e}} += k{{n}}[{{e}}] * z;
{%- endfor %}
                    }
{%- endfor %}
                }
{%- for e in 0..4 %}
                state[quad][{{e}}][first_lane] = x{{e}};
                state[quad][{{e}}][second_lane] = y{{e}};
{%- endfor %}
            }
        }
        workgroupBarrier();
    }
{%- if let Some(present) = present %}
    for (var e = lid / 8u; e < DK; e += {{workgroup / 8}}u) {
        if (column < DV) {
            let value = state[e / 4u][e % 4u][lane];
{%- if columns == 16 %}
            {{present.at3("head", "e", "column")}} = value.x;
            if (column + 1u < DV) {
                let next = column + 1u;
                {{present.at3("head", "e", "next")}} = value.y;
            }
{%- else %}
            {{present.at3("head", "e", "column")}} = value;
{%- endif %}
        }
    }
{%- endif %}
}
