// {{ what }}
// One invocation an element, {{ grid.size }} a workgroup.

{{ declarations }}
{{ functions -}}
@compute @workgroup_size({{ grid.size }}, 1, 1)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(local_invocation_index) lid: u32) {
    let i = {{ grid.index }};
    if (i >= {{ grid.count }}) {
        return;
    }
{{ split -}}
{% if let Some(pad) = pad %}{{ pad }}{% else %}    {{ target }} = {{ value }};
{% endif %}}
