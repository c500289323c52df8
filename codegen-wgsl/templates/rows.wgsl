// Rows of a table by ids {{ ids_shape }}; the table has {{ total }} rows, this weight those from {{ first }} to {{ last }}.
// weight: {{ weight }}.
// Negative ids count from the end. {% if fill %}Ids out of range give zeros.{% else %}Other rows are left alone.{% endif %}
// One invocation for 4 elements, {{ grid.size }} a workgroup.

{{ declarations }}
{{ weight_functions -}}
// Elements 4q to 4q+3 of row r of the weight.
fn w4(r: u32, q: u32) -> vec4<f32> {
{{ weight_body -}}
}

@compute @workgroup_size({{ grid.size }}, 1, 1)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(local_invocation_index) lid: u32) {
    let i = {{ grid.index }};
    if (i >= {{ grid.count }}) {
        return;
    }
    let q = i % {{ k4 }}u;
    let row = i / {{ k4 }}u;
{{ split -}}
{%- if signed %}
    // A negative id that stays negative is a large number as u32, and so out of range.
    let wanted = {{ id }};
    let id = bitcast<u32>(select(wanted, wanted + {{ total_signed }}, wanted < 0i));
{%- else %}
    let id = {{ id }};
{%- endif %}
    var value = vec4<f32>();
    if ({% if first > 0 %}id >= {{ first }}u && {% endif %}id <= {{ last }}u) {
        value = w4(id{% if first > 0 %} - {{ first }}u{% endif %}, q);
    }{% if fill %}{% if first > 0 || last + 1 < total %} else if (id < {{ total }}u) {
        return;
    }{% endif %}{% else %} else {
        return;
    }{% endif %}
{%- for target in targets %}
{%- if let Some(condition) = target.condition %}
    if ({{ condition }}) {
        {{ target.place }} = value.{{ target.part }};
    }
{%- else %}
    {{ target.place }} = value.{{ target.part }};
{%- endif %}
{%- endfor %}
}
