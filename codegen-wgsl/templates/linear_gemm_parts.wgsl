{{ parts.declarations }}
{{ parts.functions -}}
// Elements 4q to 4q+3 of a row of x; zeros beyond its end. Rows behind the last give that one's, which is not stored.
fn x4(row: u32, {% if let Some(_) = beyond %}vector{% else %}q{% endif %}: u32) -> vec4<f32> {
    let m = min(row, {{ parts.m_count }} - 1u);
{%- if let Some(end) = beyond %}
    let q = min(vector, {{ end - 1 }}u);
{%- endif %}
{{ parts.x_split }}{{ x_body -}}
}

{{ parts.weight_functions -}}
{{ parts.store }}
// Stores what is complete of row m; `r` is the row of the weight behind the first element.
fn store_row(acc: vec4<f32>, m: u32, r: u32) {
    if (m >= {{ parts.m_count }}) {
        return;
    }
    let n = {% if parts.glu %}r / 2u{% else %}r{% endif %};
{%- for (index, value) in parts.values.iter().enumerate() %}
    if (n + {{ index }}u < {{ parts.n }}u) {
        store({{ value }}, m, n + {{ index }}u);
    }
{%- endfor %}
}
