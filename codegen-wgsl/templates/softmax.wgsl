// {{ what }} along axis {{ axis }} of {{ shape }}.
// {{ g.lanes }} lane(s) a line, {{ g.lines }} line(s) a workgroup.

{{ declarations }}
{{ functions -}}
{%- if g.lanes > 1 %}
var<workgroup> partial: array<f32, {{ g.size() }}>;
{% endif %}
@compute @workgroup_size({{ g.size() }}, 1, 1)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(local_invocation_index) lid: u32) {
    let lane = lid % {{ g.lanes }}u;
    let line = {{ g.unit }} * {{ g.lines }}u + lid / {{ g.lanes }}u;
    // Lines past the end take part in the barriers, but neither read nor write.
    let length = select(0u, {{ length }}, line < {{ g.count }});
{{ split }}    let x_start = {{ start }};
    let y_start = {{ target_start }};
    var largest = float_from_bits(0xff800000u);
    for (var r = lane; r < length; r += {{ g.lanes }}u) {
        largest = max(largest, {{ input }}[x_start + {{ index }}]);
    }
    largest = max_of_lanes(largest, lane, lid);
    var sum = 0.0;
    for (var r = lane; r < length; r += {{ g.lanes }}u) {
        sum += exp({{ input }}[x_start + {{ index }}] - largest);
    }
    sum = sum_of_lanes(sum, lane, lid);
{%- if log %}
    let shift = log(sum);
{%- endif %}
    for (var r = lane; r < length; r += {{ g.lanes }}u) {
        let x = {{ input }}[x_start + {{ index }}] - largest;
        {{ output }}[y_start + {{ target_index }}] = {% if log %}x - shift{% else %}exp(x) / sum{% endif %};
    }
}
{% for (name, combine) in across %}
// `value` of all lanes of a line.
fn {{ name }}_of_lanes(value: f32, lane: u32, lid: u32) -> f32 {
{%- if g.lanes == 1 %}
    return value;
{%- else %}
    workgroupBarrier();
    partial[lid] = value;
{%- for half in g.halves %}
    workgroupBarrier();
    if (lane < {{ half }}u) {
        let a = partial[lid];
        let b = partial[lid + {{ half }}u];
        partial[lid] = {{ combine }};
    }
{%- endfor %}
    workgroupBarrier();
    return partial[lid - lane];
{%- endif %}
}
{% endfor %}
