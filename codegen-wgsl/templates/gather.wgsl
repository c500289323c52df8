// Takes from {{ data_shape }} along axis {{ axis }} by indices {{ index_shape }}.
// Negative indices count from the end; indices out of range give zeros.
// One invocation an element, {{ grid.size }} a workgroup.

{{ declarations }}
@compute @workgroup_size({{ grid.size }}, 1, 1)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(local_invocation_index) lid: u32) {
    let i = {{ grid.index }};
    if (i >= {{ grid.count }}) {
        return;
    }
{{ split -}}
{%- if signed %}
    // A negative index that stays negative is a large number as u32, and so out of range.
    let wanted = {{ index }};
    let taken = bitcast<u32>(select(wanted, wanted + bitcast<i32>({{ size }}), wanted < 0i));
{%- else %}
    let taken = {{ index }};
{%- endif %}
    var value = {{ zero }};
    if (taken < {{ size }}) {
        value = {{ value }};
    }
    {{ target }} = value;
}
