enable f16;
enable wgpu_cooperative_matrix;

// A linear layer of many rows for matrix cores: x [{{ parts.rows }}, {{ parts.k }}] to [{{ parts.rows }}, {{ parts.n }}]{% if parts.glu %}, each from a gate row and an up row{% endif %}.
// weight: {{ parts.weight }}.
// A workgroup makes a tile of {{ tile }} rows by {{ tile }} rows of the weight, {{ 32 * groups }} columns of both at a time through workgroup memory{% if tile > 64 %}; it
// stands for four, of which three do nothing{% endif %}.
{%- if groups > 1 %}
// {{ groups }} groups of four subgroups share these columns; in the end their sums are added.
{%- endif %}
// A subgroup has a quarter of the tile, in matrices of 16 by 16. What is multiplied is rounded to 16-bit floats, products are
// added in 32 bits.

{% include "linear_gemm_parts.wgsl" %}
{% include "half4.wgsl" %}

// [group][rows of 32 columns, in vectors of four]. Rows are 10 vectors apart, so that those that are read together begin at
// different banks.
var<workgroup> x_tile: array<array<vec4<f16>, {{ 10 * tile }}>, {{ groups }}>;
var<workgroup> w_tile: array<array<vec4<f16>, {{ 10 * tile }}>, {{ groups }}>;
// A matrix of sums of each subgroup.
var<workgroup> sums: array<vec4<f32>, {{ 256 * groups }}>;

@compute @workgroup_size({{ 128 * groups }}, 1, 1)
fn main(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(local_invocation_index) lid: u32,
    @builtin(subgroup_id) subgroup: u32,
) {
{%- if tile > 64 %}
    if ((wid.x | wid.y) % {{ tile / 64 }}u != 0u) {
        return;
    }
{%- endif %}
    let m_base = wid.y * 64u;
    let r_base = wid.x * 64u;
    // What this invocation loads of a slice: vector x_vector of every 16th row of x, and vectors 2 * pair and 2 * pair + 1 of
    // every 32nd row of the weight.
    let x_vector = lid % {{ 8 * groups }}u;
    let x_row = lid / {{ 8 * groups }}u;
    let x_place = x_row * 10u + x_vector % 8u;
    let pair = lid % {{ 4 * groups }}u;
    let w_row = lid / {{ 4 * groups }}u;
    let w_place = w_row * 10u + pair % 4u * 2u;
    // What its subgroup sums: a quarter of the tile.
    let group = subgroup / 4u;
    let down = subgroup / 2u % 2u * {{ tile / 2 }}u;
    let across = subgroup % 2u * {{ tile / 2 }}u;
{%- for i in 0..tile / 32 %}
{%- for j in 0..tile / 32 %}
    var acc{{ i }}{{ j }}: coop_mat16x16<f32, C>;
{%- endfor %}
{%- endfor %}
    // Slices are loaded one ahead, and unpacked when their turn comes, so that nothing waits for memory.
{%- for i in 0..tile / 16 %}
    var x_{{ i }} = x4(m_base + x_row + {{ 16 * i }}u, x_vector);
{%- endfor %}
{%- for i in 0..tile / 32 %}
    var w_{{ i }} = w8(r_base + w_row + {{ 32 * i }}u, pair);
{%- endfor %}
    for (var slice = 0u; slice < {{ slices }}u; slice++) {
        workgroupBarrier();
{%- for i in 0..tile / 16 %}
        x_tile[x_vector / 8u][x_place + {{ 160 * i }}u] = half4(x_{{ i }});
{%- endfor %}
{%- for i in 0..tile / 32 %}
        w_tile[pair / 4u][w_place + {{ 320 * i }}u] = half4(first4(w_{{ i }}));
        w_tile[pair / 4u][w_place + {{ 320 * i + 1 }}u] = half4(second4(w_{{ i }}));
{%- endfor %}
        workgroupBarrier();
{%- for i in 0..tile / 16 %}
        x_{{ i }} = x4(m_base + x_row + {{ 16 * i }}u, (slice + 1u) * {{ 8 * groups }}u + x_vector);
{%- endfor %}
{%- for i in 0..tile / 32 %}
        w_{{ i }} = w8(r_base + w_row + {{ 32 * i }}u, (slice + 1u) * {{ 4 * groups }}u + pair);
{%- endfor %}
{%- for half in 0..2 %}
{%- for i in 0..tile / 32 %}
        let a{{ half }}{{ i }} = coopLoadT<coop_mat16x16<f16, A>>(&x_tile[group][(down + {{ 16 * i }}u) * 10u + {{ 4 * half }}u], 10u);
        let b{{ half }}{{ i }} = coopLoad<coop_mat16x16<f16, B>>(&w_tile[group][(across + {{ 16 * i }}u) * 10u + {{ 4 * half }}u], 10u);
{%- endfor %}
{%- for i in 0..tile / 32 %}
{%- for j in 0..tile / 32 %}
        acc{{ i }}{{ j }} = coopMultiplyAdd(a{{ half }}{{ i }}, b{{ half }}{{ j }}, acc{{ i }}{{ j }});
{%- endfor %}
{%- endfor %}
{%- endfor %}
    }
    // One matrix of each subgroup at a time, as rows of four vectors.
    let m = m_base + lid / 128u * {{ tile / 2 }}u + lid % 64u / 4u;
    let r = r_base + lid / 64u % 2u * {{ tile / 2 }}u + lid % 4u * 4u;
{%- for i in 0..tile / 32 %}
{%- for j in 0..tile / 32 %}
    workgroupBarrier();
    coopStoreT(acc{{ i }}{{ j }}, &sums[subgroup * 64u], 4u);
    workgroupBarrier();
{%- if groups > 1 %}
    store_row(sums[lid] + sums[256u + lid], m + {{ 16 * i }}u, r + {{ 16 * j }}u);
{%- else %}
    store_row(sums[lid], m + {{ 16 * i }}u, r + {{ 16 * j }}u);
    store_row(sums[128u + lid], m + {{ 16 * i + tile / 2 }}u, r + {{ 16 * j }}u);
{%- endif %}
{%- endfor %}
{%- endfor %}
}
