// Matrix product of {{ a_shape }} and {{ b_shape }}.
// A workgroup makes a tile of 32 by 32, 16 columns of a at a time through workgroup memory; an invocation makes
// rows `down`, `down + 16` by columns `across`, `across + 16`. The third dimension of workgroups is the batch.

{{ declarations }}
// Rows of 17, so that neither a row nor a column falls on one bank.
var<workgroup> a_tile: array<{{ elem }}, 544>;
var<workgroup> b_tile: array<{{ elem }}, 544>;

@compute @workgroup_size(256, 1, 1)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(local_invocation_index) lid: u32) {
    let batch = wid.z;
{{ split }}    let a_start = {{ a_start }};
    let b_start = {{ b_start }};
    let across = lid % 16u;
    let down = lid / 16u;
    var acc00 = {{ zero }};
    var acc01 = {{ zero }};
    var acc10 = {{ zero }};
    var acc11 = {{ zero }};
    for (var step_k = 0u; step_k < {{ k }}; step_k += 16u) {
        for (var part = 0u; part < 512u; part += 256u) {
            let at = part + lid;
            // Neighbours in the workgroup read neighbours in memory.
            let a_m = {% if a_rows %}at / 16u{% else %}at % 32u{% endif %};
            let a_k = {% if a_rows %}at % 16u{% else %}at / 32u{% endif %};
            var a = {{ zero }};
            if (wid.y * 32u + a_m < {{ m }} && step_k + a_k < {{ k }}) {
                let m = wid.y * 32u + a_m;
                let k = step_k + a_k;
                a = {{ a_var }}[a_start + {{ a_index }}];
            }
            a_tile[a_m * 17u + a_k] = a;
            let b_n = {% if b_rows %}at % 32u{% else %}at / 16u{% endif %};
            let b_k = {% if b_rows %}at / 32u{% else %}at % 16u{% endif %};
            var b = {{ zero }};
            if (wid.x * 32u + b_n < {{ n }} && step_k + b_k < {{ k }}) {
                let n = wid.x * 32u + b_n;
                let k = step_k + b_k;
                b = {{ b_var }}[b_start + {{ b_index }}];
            }
            b_tile[b_n * 17u + b_k] = b;
        }
        workgroupBarrier();
        for (var k = 0u; k < 16u; k++) {
            let a0 = a_tile[down * 17u + k];
            let a1 = a_tile[(down + 16u) * 17u + k];
            let b0 = b_tile[across * 17u + k];
            let b1 = b_tile[(across + 16u) * 17u + k];
            acc00 += a0 * b0;
            acc01 += a0 * b1;
            acc10 += a1 * b0;
            acc11 += a1 * b1;
        }
        workgroupBarrier();
    }
{%- for (acc, row, column) in results %}
    if (wid.y * 32u + down + {{ row }}u < {{ m }} && wid.x * 32u + across + {{ column }}u < {{ n }}) {
        let m = wid.y * 32u + down + {{ row }}u;
        let n = wid.x * 32u + across + {{ column }}u;
        {{ target }} = {{ acc }};
    }
{%- endfor %}
}
