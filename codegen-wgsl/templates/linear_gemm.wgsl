// A linear layer of many rows: x [{{ parts.rows }}, {{ parts.k }}] to [{{ parts.rows }}, {{ parts.n }}]{% if parts.glu %}, each from a gate row and an up row{% endif %}.
// weight: {{ parts.weight }}.
// A workgroup makes a tile of 64 rows by 64 rows of the weight, 32 columns of both at a time through workgroup memory.
// Four groups of 64 invocations share these columns, 8 each; an invocation sums 8 by 8 of the tile over its columns, and
// in the end the sums of the groups are added.

{% include "linear_gemm_parts.wgsl" %}
// [x or weight][group][column of the group][place]: four rows at one column. Rows 4i to 4i+3 are at place i ^ v, where v
// is the vector of four columns: invocations that write one vector each, or read one row each, meet different banks.
// Behind the last slice: sums of the groups.
var<workgroup> tile: array<array<array<array<vec4<f32>, 16>, 8>, 4>, 2>;

@compute @workgroup_size(256, 1, 1)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(local_invocation_index) lid: u32) {
    let m_base = wid.y * 64u;
    let r_base = wid.x * 64u;
    // What this invocation loads of a slice: vector x_vector of two rows of x, 32 apart, and vectors 2 * pair and
    // 2 * pair + 1 of one row of the weight.
    let x_vector = lid % 8u;
    let x_row = lid / 8u;
    let pair = lid % 4u;
    let w_row = lid / 4u;
    // What it sums: rows 4 * down + 0..4 and 32 behind them, and likewise 4 * across of the weight.
    let group = lid / 64u;
    let across = lid % 8u;
    let down = lid / 8u % 8u;
{%- for i in 0..8 %}
    var acc{{ i }}_0 = vec4<f32>();
    var acc{{ i }}_1 = vec4<f32>();
{%- endfor %}
    // Slices are loaded one ahead, and unpacked when their turn comes, so that nothing waits for memory.
    var x0 = x4(m_base + x_row, x_vector);
    var x1 = x4(m_base + x_row + 32u, x_vector);
    var w = w8(r_base + w_row, pair);
    for (var slice = 0u; slice < {{ slices }}u; slice++) {
        workgroupBarrier();
        let x_place = (x_row / 4u) ^ x_vector;
        let w_place = (w_row / 4u) ^ (2u * pair);
        let w0 = first4(w);
        let w1 = second4(w);
{%- for e in 0..4 %}
        tile[0][x_vector / 2u][x_vector % 2u * 4u + {{ e }}u][x_place][x_row % 4u] = x0[{{ e }}];
        tile[0][x_vector / 2u][x_vector % 2u * 4u + {{ e }}u][x_place ^ 8u][x_row % 4u] = x1[{{ e }}];
        tile[1][pair][{{ e }}][w_place][w_row % 4u] = w0[{{ e }}];
        tile[1][pair][{{ e + 4 }}][w_place ^ 1u][w_row % 4u] = w1[{{ e }}];
{%- endfor %}
        workgroupBarrier();
        x0 = x4(m_base + x_row, slice * 8u + 8u + x_vector);
        x1 = x4(m_base + x_row + 32u, slice * 8u + 8u + x_vector);
        w = w8(r_base + w_row, slice * 4u + 4u + pair);
{%- for v in 0..2 %}
        let down{{ v }} = down ^ (2u * group + {{ v }}u);
        let across{{ v }} = across ^ (2u * group + {{ v }}u);
{%- endfor %}
{%- for k in 0..8 %}
        let x{{ k }}_0 = tile[0][group][{{ k }}][down{{ k / 4 }}];
        let x{{ k }}_1 = tile[0][group][{{ k }}][down{{ k / 4 }} ^ 8u];
        let w{{ k }}_0 = tile[1][group][{{ k }}][across{{ k / 4 }}];
        let w{{ k }}_1 = tile[1][group][{{ k }}][across{{ k / 4 }} ^ 8u];
{%- for i in 0..8 %}
{%- for c in 0..2 %}
        acc{{ i }}_{{ c }} = fma(vec4<f32>(x{{ k }}_{{ i / 4 }}[{{ i % 4 }}]), w{{ k }}_{{ c }}, acc{{ i }}_{{ c }});
{%- endfor %}
{%- endfor %}
{%- endfor %}
    }
    // Two rows of every invocation at a time. Of the tile as 16 runs of 64, run 4 * group + j holds what a group has for
    // row j / 2 and columns j % 2; each invocation adds up one place of them.
    let run = lid / 64u;
    let place = lid % 64u;
    let m = m_base + 4u * down;
    let r = r_base + 4u * across + 32u * (run % 2u);
{%- for i in [0, 2, 4, 6] %}
    workgroupBarrier();
{%- for j in 0..4 %}
    tile[group / 2u][group % 2u * 2u + {{ j / 2 }}u][{{ j % 2 * 4 }}u + place / 16u][place % 16u] = acc{{ i + j / 2 }}_{{ j % 2 }};
{%- endfor %}
    workgroupBarrier();
    store_row(
        tile[0][run / 2u][run % 2u * 4u + place / 16u][place % 16u]
            + tile[0][2u + run / 2u][run % 2u * 4u + place / 16u][place % 16u]
            + tile[1][run / 2u][run % 2u * 4u + place / 16u][place % 16u]
            + tile[1][2u + run / 2u][run % 2u * 4u + place / 16u][place % 16u],
        m + {{ i / 4 * 32 + i % 4 }}u + run / 2u, r);
{%- endfor %}
}
