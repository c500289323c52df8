// A linear layer of many rows: x [{{ rows }}, {{ k }}] to [{{ rows }}, {{ n }}]{% if glu %}, each from a gate row and an up row{% endif %}.
// weight: {{ weight }}.
// A workgroup makes a tile of 64 rows by 64 rows of the weight, 32 columns of both at a time through workgroup memory;
// an invocation makes 4 by 4 of it.

{{ declarations }}
{{ functions -}}
// Element [k][i] of a tile holds rows 4i to 4i+3 at column k.
var<workgroup> x_tile: array<vec4<f32>, 512>;
var<workgroup> w_tile: array<vec4<f32>, 512>;

// Elements 4q to 4q+3 of row m of x; zeros outside.
fn x4(m: u32, q: u32) -> vec4<f32> {
    if (m >= {{ m_count }} || q >= {{ k4 }}u) {
        return vec4<f32>();
    }
{{ x_split }}{{ x_body -}}
}

{{ weight_functions -}}
// Elements 4q to 4q+3 of row r of the weight; zeros outside.
fn w4(r: u32, q: u32) -> vec4<f32> {
    if (r >= {{ weight_rows }}u || q >= {{ k4 }}u) {
        return vec4<f32>();
    }
{{ weight_body -}}
}

{{ store }}
// Stores what one invocation has of row m; `r` is the row of the weight behind the first element.
fn store_row(acc: vec4<f32>, m: u32, r: u32) {
    if (m >= {{ m_count }}) {
        return;
    }
    let n = {% if glu %}r / 2u{% else %}r{% endif %};
{%- for (index, value) in values.iter().enumerate() %}
    if (n + {{ index }}u < {{ n }}u) {
        store({{ value }}, m, n + {{ index }}u);
    }
{%- endfor %}
}

@compute @workgroup_size(256, 1, 1)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(local_invocation_index) lid: u32) {
    let m_base = wid.y * 64u;
    let r_base = wid.x * 64u;
    // Half of the invocations load x, the others the weight: 4 rows by one vector each.
    let load_x = lid < 128u;
    let rows = lid % 16u;
    let vector = (lid / 16u) % 8u;
    let across = lid % 16u;
    let down = lid / 16u;
    var acc0 = vec4<f32>();
    var acc1 = vec4<f32>();
    var acc2 = vec4<f32>();
    var acc3 = vec4<f32>();
    for (var q = 0u; q < {{ k4 }}u; q += 8u) {
        var part = mat4x4<f32>();
        if (load_x) {
            let m = m_base + 4u * rows;
            part = mat4x4<f32>(
                x4(m, q + vector), x4(m + 1u, q + vector), x4(m + 2u, q + vector), x4(m + 3u, q + vector));
        } else {
            let r = r_base + 4u * rows;
            part = mat4x4<f32>(
                w4(r, q + vector), w4(r + 1u, q + vector), w4(r + 2u, q + vector), w4(r + 3u, q + vector));
        }
        let columns = transpose(part);
        workgroupBarrier();
        let at = vector * 64u + rows;
        if (load_x) {
            x_tile[at] = columns[0];
            x_tile[at + 16u] = columns[1];
            x_tile[at + 32u] = columns[2];
            x_tile[at + 48u] = columns[3];
        } else {
            w_tile[at] = columns[0];
            w_tile[at + 16u] = columns[1];
            w_tile[at + 32u] = columns[2];
            w_tile[at + 48u] = columns[3];
        }
        workgroupBarrier();
        for (var k = 0u; k < 32u; k++) {
            let x = x_tile[k * 16u + down];
            let w = w_tile[k * 16u + across];
            acc0 = fma(vec4<f32>(x.x), w, acc0);
            acc1 = fma(vec4<f32>(x.y), w, acc1);
            acc2 = fma(vec4<f32>(x.z), w, acc2);
            acc3 = fma(vec4<f32>(x.w), w, acc3);
        }
    }
    let m = m_base + 4u * down;
    let r = r_base + 4u * across;
    store_row(acc0, m, r);
    store_row(acc1, m + 1u, r);
    store_row(acc2, m + 2u, r);
    store_row(acc3, m + 3u, r);
}
