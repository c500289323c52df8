// Codes {{ shape }} to floats, with a scale for every {{ block }} element(s) along axis {{ axis }}.
// One invocation an element, {{ grid.size }} a workgroup.

{{ declarations }}
@compute @workgroup_size({{ grid.size }}, 1, 1)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(local_invocation_index) lid: u32) {
    let i = {{ grid.index }};
    if (i >= {{ grid.count }}) {
        return;
    }
{{ split -}}
{{ "    " }}let block = {{ along }} / {{ block }}u;
    let code = f32({{ code }});
{%- if let Some(zero) = zero %}
    {{ target }} = (code - {{ zero }}) * {{ scale }};
{%- else %}
    {{ target }} = code * {{ scale }};
{%- endif %}
}
