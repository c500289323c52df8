// A linear layer of many rows for renderers on a CPU: x [{{ parts.rows }}, {{ parts.k }}] to [{{ parts.rows }}, {{ parts.n }}]{% if parts.glu %}, each from a gate row and an up row{% endif %}.
// weight: {{ parts.weight }}.
// A workgroup makes a tile of 64 rows by 64 rows of the weight; an invocation 8 by 4 of it by itself. What invocations share
// lies in a processor's cache in any case, and without barriers and unrolled loops such a driver compiles it in a tenth of
// the time.

{% include "linear_gemm_parts.wgsl" %}
@compute @workgroup_size(128, 1, 1)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(local_invocation_index) lid: u32) {
    let r = wid.x * 64u + lid % 16u * 4u;
    let m = wid.y * 64u + lid / 16u * 8u;
    if (r >= {{ parts.weight_rows }}u || m >= {{ parts.m_count }}) {
        return;
    }
    let rows = min(8u, {{ parts.m_count }} - m);
    var acc: array<vec4<f32>, 8>;
    for (var p = 0u; p < {{ parts.pairs }}u; p++) {
{%- for j in 0..4 %}
        let w{{ j }} = w8(r + {{ j }}u, p);
        let first{{ j }} = first4(w{{ j }});
        let second{{ j }} = second4(w{{ j }});
{%- endfor %}
        for (var i = 0u; i < rows; i++) {
            let x0 = x4(m + i, 2u * p);
            let x1 = x4(m + i, 2u * p + 1u);
            acc[i] += vec4<f32>(
{%- for j in 0..4 %}
                dot(x0, first{{ j }}) + dot(x1, second{{ j }}),
{%- endfor %}
            );
        }
    }
    for (var i = 0u; i < rows; i++) {
        store_row(acc[i], m + i, r);
    }
}
