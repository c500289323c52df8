// A linear layer of one row: {{ k }} inputs, {{ n }} outputs{% if glu %}, each from a gate row and an up row{% endif %}.
// weight: {{ weight }}, read {{ read }} along a row.
{%- if norm %}
// x is RMS-normalised on the way: its scale is one factor of every dot product, so that the sum of its squares is
// gathered in the same sweep.
{%- endif %}
// A group of {{ g.lanes }} lanes makes {{ g.rows }} output(s); {{ g.groups }} group(s) a workgroup.

{{ declarations }}
{{ functions -}}
{{ weight_functions -}}
var<workgroup> partial: array<f32, {{ slots * g.size() }}>;
{%- if g.stage %}
// x{% if norm %} times the norm's weight{% endif %}: vector v of unit u at v * {{ units }} + u.
var<workgroup> staged: array<vec4<f32>, {{ unit_vectors * units }}>;
{%- endif %}

// Elements 4q to 4q+3 of x.
fn x4(q: u32) -> vec4<f32> {
{{ x_body -}}
}
{% if let Some(body) = norm_body %}
// Elements 4q to 4q+3 of the norm's weight.
fn norm4(q: u32) -> vec4<f32> {
{{ body -}}
}
{% endif %}
{{ store }}
@compute @workgroup_size({{ g.size() }}, 1, 1)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(local_invocation_index) lid: u32) {
    let lane = lid % {{ g.lanes }}u;
    let group = lid / {{ g.lanes }}u;
    let first = {{ first }};
    // Where the rows of the weight start. Outputs past the end repeat the last row, to stay inside.
{%- for start in starts %}
{{ start }}
    var acc{{ loop.index0 }} = vec4<f32>();
{%- endfor %}
{%- if norm %}
    var squares = vec4<f32>();
{%- endif %}
{%- if g.stage %}
    for (var q = lid; q < {{ unit_vectors * units }}u; q += {{ g.size() }}u) {
        let x = x4(q);
{%- if norm %}
        squares = fma(x, x, squares);
        staged[q % {{ unit_vectors }}u * {{ units }}u + q / {{ unit_vectors }}u] = x * norm4(q);
{%- else %}
        staged[q % {{ unit_vectors }}u * {{ units }}u + q / {{ unit_vectors }}u] = x;
{%- endif %}
    }
    workgroupBarrier();
{%- endif %}
{%- if full > 0 %}
    for (var i = 0u; i < {{ full }}u; i++) {
{%- for turn in turns %}
{{ turn }}
{%- endfor %}
    }
{%- endif %}
{%- if full * g.unroll * g.lanes < units %}
    for (var {{ index }} = {{ full * g.unroll * g.lanes }}u + lane; {{ index }} < {{ units }}u; {{ index }} += {{ g.lanes }}u) {
{{ last_turn }}
    }
{%- endif %}

    // Sum over the lanes of each group.
{%- for acc in 0..accs %}
    partial[{{ acc * g.size() }}u + lid] = (acc{{ acc }}.x + acc{{ acc }}.y) + (acc{{ acc }}.z + acc{{ acc }}.w);
{%- endfor %}
{%- if norm %}
    partial[{{ accs * g.size() }}u + lid] = (squares.x + squares.y) + (squares.z + squares.w);
{%- endif %}
{%- for half in halves %}
    workgroupBarrier();
    if (lane < {{ half }}u) {
{%- for slot in 0..slots %}
        partial[{{ slot * g.size() }}u + lid] += partial[{{ slot * g.size() + half }}u + lid];
{%- endfor %}
    }
{%- endfor %}
    workgroupBarrier();

    // One lane finishes each output.
    let n = first + lane;
    if (lane < {{ g.rows }}u && n < {{ n }}u) {
        let at = lane * {{ per_output * g.size() }}u + group * {{ g.lanes }}u;
{%- if norm %}
{%- if g.stage %}
        // Every group has gathered a part of the squares.
        var mean_square = 0.0;
        for (var i = 0u; i < {{ g.groups }}u; i++) {
            mean_square += partial[{{ accs * g.size() }}u + i * {{ g.lanes }}u] / {{ k }}.0;
        }
{%- else %}
        let mean_square = partial[{{ accs * g.size() }}u + group * {{ g.lanes }}u] / {{ k }}.0;
{%- endif %}
        let scale = inverseSqrt(mean_square + {{ eps }});
        let y = {{ scaled }};
{%- else %}
        let y = {{ plain }};
{%- endif %}
        store(y, 0u, n);
    }
}
