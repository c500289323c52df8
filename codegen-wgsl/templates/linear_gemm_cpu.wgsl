// A linear layer of many rows for one thread: x [{{ parts.rows }}, {{ parts.k }}] to [{{ parts.rows }}, {{ parts.n }}]{% if parts.glu %}, each from a gate row and an up row{% endif %}.
// weight: {{ parts.weight }}.
// The first workgroup of 64 rows makes all of their columns, by itself. Four rows of the weight are unpacked, then two rows of x
// at a time meet them: eight sums of vectors stay in registers, and nothing waits for anybody.

{% include "linear_gemm_parts.wgsl" %}
// Vector q of the four rows of the weight at 4q to 4q+3.
var<workgroup> unpacked: array<vec4<f32>, {{ parts.pairs * 8 }}>;

fn total(a: vec4<f32>) -> f32 {
    return (a.x + a.y) + (a.z + a.w);
}

@compute @workgroup_size(1, 1, 1)
fn main(@builtin(workgroup_id) wid: vec3<u32>) {
    if (wid.x > 0u) {
        return;
    }
    let end = min(wid.y * 64u + 64u, {{ parts.m_count }});
    for (var r = 0u; r < {{ parts.weight_rows }}u; r += 4u) {
        for (var p = 0u; p < {{ parts.pairs }}u; p++) {
{%- for j in 0..4 %}
            let w{{ j }} = w8(r + {{ j }}u, p);
            unpacked[8u * p + {{ j }}u] = first4(w{{ j }});
            unpacked[8u * p + {{ j + 4 }}u] = second4(w{{ j }});
{%- endfor %}
        }
        for (var m = wid.y * 64u; m < end; m += 2u) {
{%- for i in 0..2 %}
{%- for j in 0..4 %}
            var acc{{ i }}_{{ j }} = vec4<f32>();
{%- endfor %}
{%- endfor %}
            for (var q = 0u; q < {{ parts.k4 }}u; q++) {
                let x0 = x4(m, q);
                let x1 = x4(m + 1u, q);
{%- for j in 0..4 %}
                let w{{ j }} = unpacked[4u * q + {{ j }}u];
                acc0_{{ j }} = fma(x0, w{{ j }}, acc0_{{ j }});
                acc1_{{ j }} = fma(x1, w{{ j }}, acc1_{{ j }});
{%- endfor %}
            }
{%- for i in 0..2 %}
            store_row(vec4<f32>(total(acc{{ i }}_0), total(acc{{ i }}_1), total(acc{{ i }}_2), total(acc{{ i }}_3)), m + {{ i }}u, r);
{%- endfor %}
        }
    }
}
