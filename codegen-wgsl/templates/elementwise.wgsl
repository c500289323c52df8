// A pointwise expression over {{ inputs }} input(s), to {{ shape }}.
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
{% for load in loads %}    let a{{ loop.index0 }} = {{ load }};
{% endfor -%}
{{ statements }}    {{ target }} = {{ value }};
}
