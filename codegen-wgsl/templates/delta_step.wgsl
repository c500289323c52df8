// One position of the gated delta rule. Per value head, with state s [dk, dv], dk = {{key_width}}, dv = {{value_width}}:
//   s *= exp(decay);  d = beta * (v - s^T k);  s += k d^T;  o = scale * s^T q
// The old state is read once: o is exp(decay) * s^T q + (k . q) d.
// Geometry: one workgroup of {{workgroup}} a head (x) and {{columns}} columns of the state (y); in it, {{workgroup / columns}}
// groups of invocations share the rows of a column.
{{declarations}}
const DK = {{key_width}}u;
const DV = {{value_width}}u;
const WORKGROUP = {{workgroup}}u;
const COLUMNS = {{columns}}u;
const GROUPS = {{workgroup / columns}}u;

var<workgroup> query: array<f32, DK>;
var<workgroup> key: array<f32, DK>;
var<workgroup> sums: array<vec3<f32>, WORKGROUP>;

{{gates}}

{{norm}}

@compute @workgroup_size({{workgroup}})
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(local_invocation_index) lid: u32) {
    let head = wid.x;
    let key_head = head / {{group}}u;

    // q . q, k . k and q . k.
    var dots = vec3<f32>(0.0);
    for (var d = lid; d < DK; d += WORKGROUP) {
        let q = {{query.at3("0u", "key_head", "d")}};
        let k = {{key.at3("0u", "key_head", "d")}};
        query[d] = q;
        key[d] = k;
        dots += vec3<f32>(q * q, k * k, q * k);
    }
    sums[lid] = dots;
    workgroupBarrier();
    for (var span = WORKGROUP / 2u; span > 0u; span /= 2u) {
        if (lid < span) {
            sums[lid] += sums[lid + span];
        }
        workgroupBarrier();
    }
    let q_factor = norm_factor(sums[0].x) * {{scale}};
    let k_factor = norm_factor(sums[0].y);
    let query_key = sums[0].z * q_factor * k_factor;
    workgroupBarrier();

    // s^T k and s^T q of this group's rows.
    let group = lid / COLUMNS;
    let column = wid.y * COLUMNS + lid % COLUMNS;
{%- for r in 0..rows %}
    var state{{r}} = 0.0;
{%- endfor %}
    var recalled = 0.0;
    var read = 0.0;
{%- if let Some(past) = past %}
    if (column < DV) {
{%- for r in 0..rows %}
        {
            let row = group + {{r}}u * GROUPS;
            if (row < DK) {
                state{{r}} = {{past.at3("head", "row", "column")}};
                recalled += state{{r}} * key[row];
                read += state{{r}} * query[row];
            }
        }
{%- endfor %}
    }
{%- endif %}
    sums[lid] = vec3<f32>(recalled * k_factor, read * q_factor, 0.0);
    workgroupBarrier();
    for (var span = GROUPS / 2u; span > 0u; span /= 2u) {
        if (group < span) {
            sums[lid] += sums[lid + span * COLUMNS];
        }
        workgroupBarrier();
    }
    if (column >= DV) {
        return;
    }
    let gate = gates(0u, head);
    let forget = exp(gate.x);
    let total = sums[lid % COLUMNS];
    let delta = gate.y * ({{value.at3("0u", "head", "column")}} - forget * total.x);
    if (group == 0u) {
        {{output.at3("0u", "head", "column")}} = forget * total.y + query_key * delta;
    }
{%- if let Some(present) = present %}
    let step_size = k_factor * delta;
{%- for r in 0..rows %}
    {
        let row = group + {{r}}u * GROUPS;
        if (row < DK) {
            {{present.at3("head", "row", "column")}} = forget * state{{r}} + key[row] * step_size;
        }
    }
{%- endfor %}
{%- endif %}
}
