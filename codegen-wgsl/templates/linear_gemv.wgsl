// A linear layer of one row: {{ k }} inputs, {{ n }} outputs{% if glu %}, each from a gate row and an up row{% endif %}.
// weight: {{ weight }}, read {{ read }} along a row.
{%- if norm %}
// x is RMS-normalised on the way: its scale is one factor of every dot product, so that the sum of its squares is
// gathered in the same sweep.
{%- endif %}
{%- if let Some(part) = part %}
// x is RMS-normalised on the way, in parts of {{ part.width }}{% if text.gate.is_some() %}, and gated{% endif %}.
{%- endif %}
{%- if channels > 0 %}
// The first {{ channels }} outputs go through a causal convolution.
{%- endif %}
// A group of {{ g.lanes }} lanes makes {{ g.rows }} output(s); {{ g.groups }} group(s) a workgroup.

{{ text.declarations }}
{{ text.functions -}}
{{ text.weight_functions -}}
{% if subgroups %}
// A value for each subgroup of a group, of which there are at most as many as for subgroups of 4.
var<workgroup> partial: array<f32, {{ slots * g.size() / 4 }}>;

// The sum over the lanes that a subgroup has of a group.
fn lanes_sum(value: f32, subgroup_size: u32) -> f32 {
    var sum = value;
{%- for half in halves %}
    sum += select(0.0, subgroupShuffleXor(sum, {{ half }}u), {{ half }}u < subgroup_size);
{%- endfor %}
    return sum;
}

// The sum of `count` values.
fn shares_sum(at: u32, count: u32) -> f32 {
    var sum = 0.0;
    for (var i = 0u; i < count; i++) {
        sum += partial[at + i];
    }
    return sum;
}
{%- else %}
var<workgroup> partial: array<f32, {{ slots * g.size() }}>;
{%- endif %}
{%- if g.stage %}
// x{% if norm %} times the norm's weight{% endif %}: vector v of unit u at v * {{ units }} + u.
var<workgroup> staged: array<vec4<f32>, {{ unit_vectors * units }}>;
{%- endif %}
{%- if let Some(part) = part %}
// The sum of squares of every vector of x.
var<workgroup> part_squares: array<f32, {{ part.vectors }}>;
{%- endif %}

// Elements 4q to 4q+3 of x.
fn x4(q: u32) -> vec4<f32> {
{{ text.x_body -}}
}
{% if let Some(body) = text.norm_body %}
// Elements 4q to 4q+3 of the norm's weight{% if part.is_some() %} for a part{% endif %}.
fn norm4(q: u32) -> vec4<f32> {
{{ body -}}
}
{% endif %}
{%- if let Some(part) = part %}
{%- if let Some((body, activated)) = text.gate %}
// Elements 4q to 4q+3 of the gate.
fn gate4(q: u32) -> vec4<f32> {
{{ body -}}
}

// The gate behind its activation.
fn gated(g: vec4<f32>) -> vec4<f32> {
    return vec4<f32>({{ activated }});
}
{% endif %}
{%- endif %}
{%- if let Some(convolve) = text.convolve %}
{{ convolve -}}
{%- endif %}
{{ text.store }}
@compute @workgroup_size({{ g.size() }}, 1, 1)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(local_invocation_index) lid: u32{% if subgroups %}, @builtin(subgroup_size) subgroup_size: u32{% endif %}) {
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
{%- if !text.extras.is_empty() %}
    let column = min(first + lane, {{ n - 1 }}u);
{%- for extra in text.extras %}
    let a{{ loop.index0 }} = {{ extra }};
{%- endfor %}
{%- endif %}
{%- if !ahead.is_empty() %}
    // The weights are on their way while x is put in place.
{%- for turn in ahead %}
{{ turn.loads }}
{%- endfor %}
{%- endif %}
{%- if let Some(part) = part %}
    // What every invocation takes of x waits in registers for the sums of squares.
{%- if !part.halves.is_empty() %}
    let part_share = min(subgroup_size, {{ part.part_vectors }}u);
{%- endif %}
{%- for i in 0..part.turns %}
    let v{{ i }} = min(lid + {{ i * g.size() }}u, {{ part.vectors - 1 }}u);
    let part_x{{ i }} = x4(v{{ i }});
    let part_scale{{ i }} = norm4(v{{ i }} % {{ part.part_vectors }}u){% if text.gate.is_some() %} * gated(gate4(v{{ i }})){% endif %};
{%- if part.halves.is_empty() %}
    if (lid + {{ i * g.size() }}u < {{ part.vectors }}u) {
        part_squares[v{{ i }}] = dot(part_x{{ i }}, part_x{{ i }});
    }
{%- else %}
    // The sum over the lanes that a subgroup has of a part.
    var squares{{ i }} = dot(part_x{{ i }}, part_x{{ i }});
{%- for half in part.halves %}
    squares{{ i }} += select(0.0, subgroupShuffleXor(squares{{ i }}, {{ half }}u), {{ half }}u < subgroup_size);
{%- endfor %}
    if (lid + {{ i * g.size() }}u < {{ part.vectors }}u && lid % part_share == 0u) {
        part_squares[v{{ i }} / part_share] = squares{{ i }};
    }
{%- endif %}
{%- endfor %}
{%- if part.vectors < unit_vectors * units %}
    for (var q = {{ part.vectors }}u + lid; q < {{ unit_vectors * units }}u; q += {{ g.size() }}u) {
        staged[q % {{ unit_vectors }}u * {{ units }}u + q / {{ unit_vectors }}u] = vec4<f32>();
    }
{%- endif %}
    workgroupBarrier();
{%- for i in 0..part.turns %}
    if (lid + {{ i * g.size() }}u < {{ part.vectors }}u) {
{%- if part.halves.is_empty() %}
        let start = v{{ i }} / {{ part.part_vectors }}u * {{ part.part_vectors }}u;
        var sum = 0.0;
        for (var i = 0u; i < {{ part.part_vectors }}u; i++) {
            sum += part_squares[start + i];
        }
{%- else %}
        let shares = {{ part.part_vectors }}u / part_share;
        let start = v{{ i }} / {{ part.part_vectors }}u * shares;
        var sum = part_squares[start];
        for (var i = 1u; i < shares; i++) {
            sum += part_squares[start + i];
        }
{%- endif %}
        let scale = inverseSqrt(sum / {{ part.width }}.0 + {{ text.eps }});
        staged[v{{ i }} % {{ unit_vectors }}u * {{ units }}u + v{{ i }} / {{ unit_vectors }}u] = part_x{{ i }} * scale * part_scale{{ i }};
    }
{%- endfor %}
    workgroupBarrier();
{%- else if g.stage %}
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
{%- for turn in ahead %}
{%- if let Some(guard) = turn.guard %}
    if ({{ guard }}) {
{{ turn.turn }}
    }
{%- else %}
    {
{{ turn.turn }}
    }
{%- endif %}
{%- endfor %}
{%- if full > 0 && ahead.is_empty() %}
    for (var i = 0u; i < {{ full }}u; i++) {
{%- for turn in turns %}
{{ turn }}
{%- endfor %}
    }
{%- endif %}
{%- if ahead.is_empty() && full * g.unroll * g.lanes < units %}
    for (var {{ index }} = {{ full * g.unroll * g.lanes }}u + lane; {{ index }} < {{ units }}u; {{ index }} += {{ g.lanes }}u) {
{{ last_turn }}
    }
{%- endif %}

{%- if subgroups %}
    // Sums of the lanes that a subgroup has of a group, then those of the group's subgroups.
    let share = min(subgroup_size, {{ g.lanes }}u);
{%- for acc in 0..accs %}
    let sum{{ acc }} = lanes_sum((acc{{ acc }}.x + acc{{ acc }}.y) + (acc{{ acc }}.z + acc{{ acc }}.w), subgroup_size);
{%- endfor %}
{%- if norm %}
    let sum{{ accs }} = lanes_sum((squares.x + squares.y) + (squares.z + squares.w), subgroup_size);
{%- endif %}
    if (lane % share == 0u) {
{%- for slot in 0..slots %}
        partial[{{ slot * g.size() / 4 }}u + lid / share] = sum{{ slot }};
{%- endfor %}
    }
{%- else %}
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
{%- endif %}
    workgroupBarrier();

    // One lane finishes each output.
    let n = first + lane;
    if (lane < {{ g.rows }}u && n < {{ n }}u) {
{%- if subgroups %}
        let shares = {{ g.lanes }}u / share;
        let y0 = shares_sum(lane * {{ per_output * g.size() / 4 }}u + group * shares, shares);
{%- if glu %}
        let y1 = shares_sum(lane * {{ per_output * g.size() / 4 }}u + {{ g.size() / 4 }}u + group * shares, shares);
{%- endif %}
{%- else %}
        let at = lane * {{ per_output * g.size() }}u + group * {{ g.lanes }}u;
        let y0 = partial[at];
{%- if glu %}
        let y1 = partial[at + {{ g.size() }}u];
{%- endif %}
{%- endif %}
{%- if norm %}
{%- if subgroups && g.stage %}
        // Every group has gathered a part of the squares.
        let sum = shares_sum({{ accs * g.size() / 4 }}u, {{ g.size() }}u / share);
{%- else if subgroups %}
        let sum = shares_sum({{ accs * g.size() / 4 }}u + group * shares, shares);
{%- else if g.stage %}
        // Every group has gathered a part of the squares.
        var sum = 0.0;
        for (var i = 0u; i < {{ g.groups }}u; i++) {
            sum += partial[{{ accs * g.size() }}u + i * {{ g.lanes }}u];
        }
{%- else %}
        let sum = partial[{{ accs * g.size() }}u + group * {{ g.lanes }}u];
{%- endif %}
        let scale = inverseSqrt(sum / {{ k }}.0 + {{ text.eps }});
        let y = {{ text.scaled }};
{%- else %}
        let y = {{ text.plain }};
{%- endif %}
{%- if channels > 0 %}
        var z = y;
        if (n < {{ channels }}u) {
            z = convolve(y, n);
        }
        store(z, n);
{%- else %}
        store(y, {% for _ in text.extras %}a{{ loop.index0 }}, {% endfor %}n);
{%- endif %}
    }
}
