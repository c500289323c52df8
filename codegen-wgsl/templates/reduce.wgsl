// Reduction {{ what }}.
// {{ g.lanes }} lane(s) a result, {{ g.lines }} result(s) a workgroup.

{{ declarations }}
{{ functions -}}
{%- if g.lanes > 1 %}
var<workgroup> partial: array<{{ elem }}, {{ g.size() }}>;
{% endif %}
// Element r of the line that starts at `start`.
fn element(start: u32, r: u32) -> {{ elem }} {
{{ along -}}
{{ "    " }}return {{ input }}[start + {{ index }}];
}

fn combine(a: {{ elem }}, b: {{ elem }}) -> {{ elem }} {
    return {{ combine }};
}
{%- if shifted %}

fn larger(a: {{ elem }}, b: {{ elem }}) -> {{ elem }} {
    return max_nan(a, b);
}
{%- endif %}

@compute @workgroup_size({{ g.size() }}, 1, 1)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(local_invocation_index) lid: u32) {
    let lane = lid % {{ g.lanes }}u;
    let line = {{ g.unit }} * {{ g.lines }}u + lid / {{ g.lanes }}u;
    // Lines past the end take part in the barriers, but neither read nor write.
    let live = line < {{ g.count }};
    let length = select(0u, {{ length }}, live);
{{ split }}    let start = {{ start }};
{%- if shifted %}
    // The largest element is taken out of the exponentials.
    var largest = float_from_bits(0xff800000u);
    for (var r = lane; r < length; r += {{ g.lanes }}u) {
        largest = larger(largest, element(start, r));
    }
    largest = larger_of_lanes(largest, lane, lid);
    let shift = select(largest, 0.0, (bitcast<u32>(largest) & 0x7fffffffu) >= 0x7f800000u);
{%- endif %}
    var value = {{ identity }};
    for (var r = lane; r < length; r += {{ g.lanes }}u) {
        let x = element(start, r);
        value = combine(value, {{ map }});
    }
    value = combine_of_lanes(value, lane, lid);
    if (live && lane == 0u) {
        {{ target }} = {{ finish }};
    }
}
{% for function in across %}
// `value` of all lanes of a line.
fn {{ function }}_of_lanes(value: {{ elem }}, lane: u32, lid: u32) -> {{ elem }} {
{%- if g.lanes == 1 %}
    return value;
{%- else %}
    workgroupBarrier();
    partial[lid] = value;
{%- for half in g.halves %}
    workgroupBarrier();
    if (lane < {{ half }}u) {
        partial[lid] = {{ function }}(partial[lid], partial[lid + {{ half }}u]);
    }
{%- endfor %}
    workgroupBarrier();
    return partial[lid - lane];
{%- endif %}
}
{% endfor %}
