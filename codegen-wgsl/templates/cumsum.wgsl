// Running sums along axis {{ axis }} of {{ shape }}.
// One invocation a line, {{ g.size() }} a workgroup.

{{ declarations }}
@compute @workgroup_size({{ g.size() }}, 1, 1)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(local_invocation_index) lid: u32) {
    let line = {{ g.unit }} * {{ g.lines }}u + lid;
    if (line >= {{ g.count }}) {
        return;
    }
{{ split }}    let x_start = {{ start }};
    let y_start = {{ target_start }};
    let length = {{ length }};
    var sum = {{ zero }};
    for (var i = 0u; i < length; i++) {
        let r = {% if reverse %}length - 1u - i{% else %}i{% endif %};
        let x = {{ input }}[x_start + {{ index }}];
{%- if exclusive %}
        {{ output }}[y_start + {{ target_index }}] = sum;
        sum += x;
{%- else %}
        sum += x;
        {{ output }}[y_start + {{ target_index }}] = sum;
{%- endif %}
    }
}
