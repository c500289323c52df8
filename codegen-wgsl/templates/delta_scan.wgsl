// The walk of the chunked gated delta rule over its chunks, dk = {{key_width}}, dv = {{value_width}}. With w, u, P, G from the scratch that
// delta_prepare has written, and the state s [dk, dv]:
//   v' = u - w s;  o = exp(G) q s + P v';  s = exp(G_last) s + (k exp(G_last - G))^T v'
// Geometry: one workgroup of {{workgroup}} a value head (x) and {{columns}} columns of the state (y); {{workgroup / columns}} groups of
// invocations share the rows of a column.
{{declarations}}
const DK = {{key_width}}u;
const DV = {{value_width}}u;
const WORKGROUP = {{workgroup}}u;
const COLUMNS = {{columns}}u;
const GROUPS = {{workgroup / columns}}u;
const SOLVED = {{layout.solved}}u;
const FACTORS = {{layout.factors}}u;
// Elements of rows of w, q and P staged at a time.
const SLICE = 16u;
// Positions of k staged at a time.
const SPAN = {{span}}u;

// The columns of the state, row-major.
var<workgroup> state: array<f32, {{key_width * columns}}>;
// A slice of w, then v' [64, COLUMNS].
var<workgroup> left: array<f32, {{stage}}>;
// A slice of q, of P, or of k.
var<workgroup> right: array<f32, {{stage}}>;

@compute @workgroup_size({{workgroup}})
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(local_invocation_index) lid: u32) {
    let head = wid.x;
    let key_head = head / {{group}}u;
    let group = lid / COLUMNS;
    let lane = lid % COLUMNS;
    let column = wid.y * COLUMNS + lane;

    for (var e = lid; e < DK * COLUMNS; e += WORKGROUP) {
        var value = 0.0;
{%- if let Some(past) = past %}
        let r = e / COLUMNS;
        let c = wid.y * COLUMNS + e % COLUMNS;
        if (c < DV) {
            value = {{past.at3("head", "r", "c")}};
        }
{%- endif %}
        state[e] = value;
    }

    let tokens = {{tokens}};
    for (var chunk = 0u; chunk * 64u < tokens; chunk++) {
        let first = chunk * 64u;
        let rows = min(tokens - first, 64u);

        // w s and q s.
{%- for m in 0..chunk_rows %}
        let i{{m}} = group + {{m}}u * GROUPS;
        var ws{{m}} = 0.0;
        var qs{{m}} = 0.0;
{%- endfor %}
        for (var base = 0u; base < DK; base += SLICE) {
            workgroupBarrier();
            for (var e = lid; e < 64u * SLICE; e += WORKGROUP) {
                let i = e / SLICE;
                let d = base + e % SLICE;
                var w = 0.0;
                var q = 0.0;
                if (d < DK) {
                    let at = SOLVED + i * (DK + DV) + d;
                    w = {{scratch.at3("chunk", "head", "at")}};
                    if (i < rows) {
                        let s = first + i;
                        q = {{query.at3("s", "key_head", "d")}};
                    }
                }
                left[e] = w;
                right[e] = q;
            }
            workgroupBarrier();
            let end = min(SLICE, DK - base);
            for (var d = 0u; d < end; d++) {
                let s = state[(base + d) * COLUMNS + lane];
{%- for m in 0..chunk_rows %}
                ws{{m}} += left[i{{m}} * SLICE + d] * s;
                qs{{m}} += right[i{{m}} * SLICE + d] * s;
{%- endfor %}
            }
        }
        workgroupBarrier();

        // v', and the first part of o.
{%- for m in 0..chunk_rows %}
        var o{{m}} = 0.0;
        {
            var u = 0.0;
            if (column < DV) {
                let at = SOLVED + i{{m}} * (DK + DV) + DK + column;
                u = {{scratch.at3("chunk", "head", "at")}};
            }
            left[i{{m}} * COLUMNS + lane] = u - ws{{m}};
            let at = FACTORS + i{{m}};
            o{{m}} = qs{{m}} * {{scratch.at3("chunk", "head", "at")}};
        }
{%- endfor %}

        // o += P v'.
        for (var base = 0u; base < 64u; base += SLICE) {
            workgroupBarrier();
            for (var e = lid; e < 64u * SLICE; e += WORKGROUP) {
                let at = e / SLICE * 64u + base + e % SLICE;
                right[e] = {{scratch.at3("chunk", "head", "at")}};
            }
            workgroupBarrier();
            for (var j = 0u; j < SLICE; j++) {
                let v = left[(base + j) * COLUMNS + lane];
{%- for m in 0..chunk_rows %}
                o{{m}} += right[i{{m}} * SLICE + j] * v;
{%- endfor %}
            }
        }
{%- for m in 0..chunk_rows %}
        if (i{{m}} < rows && column < DV) {
            let s = first + i{{m}};
            {{output.at3("s", "head", "column")}} = o{{m}};
        }
{%- endfor %}

        // The state.
        let forget_at = FACTORS + 128u;
        let forget = {{scratch.at3("chunk", "head", "forget_at")}};
{%- for m in 0..state_rows %}
        let r{{m}} = group + {{m}}u * GROUPS;
        var s{{m}} = 0.0;
{%- endfor %}
        for (var base = 0u; base < 64u; base += SPAN) {
            workgroupBarrier();
            for (var e = lid; e < SPAN * DK; e += WORKGROUP) {
                let i = base + e / DK;
                let d = e % DK;
                var k = 0.0;
                if (i < rows) {
                    let s = first + i;
                    let at = FACTORS + 64u + i;
                    k = {{key.at3("s", "key_head", "d")}} * {{scratch.at3("chunk", "head", "at")}};
                }
                right[e] = k;
            }
            workgroupBarrier();
            for (var i = 0u; i < SPAN; i++) {
                let v = left[(base + i) * COLUMNS + lane];
{%- for m in 0..state_rows %}
                s{{m}} += right[min(i * DK + r{{m}}, {{stage - 1}}u)] * v;
{%- endfor %}
            }
        }
{%- for m in 0..state_rows %}
        if (r{{m}} < DK) {
            let at = r{{m}} * COLUMNS + lane;
            state[at] = forget * state[at] + s{{m}};
        }
{%- endfor %}
    }
    workgroupBarrier();
{%- if let Some(present) = present %}
    for (var e = lid; e < DK * COLUMNS; e += WORKGROUP) {
        let r = e / COLUMNS;
        let c = wid.y * COLUMNS + e % COLUMNS;
        if (c < DV) {
            {{present.at3("head", "r", "c")}} = state[e];
        }
    }
{%- endif %}
}
