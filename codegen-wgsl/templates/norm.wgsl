// {{ what }} over the last axis of {{ shape }}.
// {{ lanes }} lanes a row, {{ rows }} row(s) a workgroup.

{{ declarations }}
{{ functions -}}
var<workgroup> partial: array<f32, {{ lanes * rows }}>;

@compute @workgroup_size({{ lanes * rows }}, 1, 1)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(local_invocation_index) lid: u32) {
    let lane = lid % {{ lanes }}u;
    let row = {{ unit }} * {{ rows }}u + lid / {{ lanes }}u;
    // Rows past the end take part in the barriers, but neither read nor write.
    let count = select(0u, {{ width }}u, row < {{ row_count }});
{{ split -}}
{%- if center %}
    var total = 0.0;
    for (var c = lane; c < count; c += {{ lanes }}u) {
        total += {{ x }};
    }
    let mean = row_sum(total, lane, lid) / {{ width }}.0;
{%- endif %}
    var squares = 0.0;
    for (var c = lane; c < count; c += {{ lanes }}u) {
        let x = {{ x }}{% if center %} - mean{% endif %};
        squares = fma(x, x, squares);
    }
    let sum = row_sum(squares, lane, lid);
    {{ scale }}
    for (var c = lane; c < count; c += {{ lanes }}u) {
        {{ target }} = {{ value }};
    }
}

// The sum of `value` over the lanes of a row.
fn row_sum(value: f32, lane: u32, lid: u32) -> f32 {
    // What is left of an earlier sum has been read.
    workgroupBarrier();
    partial[lid] = value;
{%- for half in halves %}
    workgroupBarrier();
    if (lane < {{ half }}u) {
        partial[lid] += partial[lid + {{ half }}u];
    }
{%- endfor %}
    workgroupBarrier();
    return partial[lid - lane];
}
