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
{%- if subgroups %}
// Sums of the subgroups, of which there are at most as many as for subgroups of 4.
var<workgroup> dot_shares: array<vec3<f32>, WORKGROUP / 4u>;
// Sums of a column of the invocations that a subgroup has of it.
var<workgroup> column_shares: array<vec2<f32>, WORKGROUP>;
{%- else %}
var<workgroup> sums: array<vec3<f32>, WORKGROUP>;
{%- endif %}

{{gates}}

{{norm}}

@compute @workgroup_size({{workgroup}})
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(local_invocation_index) lid: u32{% if subgroups %}, @builtin(subgroup_size) subgroup_size: u32{% endif %}) {
    let head = wid.x;
    let key_head = head / {{group}}u;
    let group = lid / COLUMNS;
    let column = wid.y * COLUMNS + lid % COLUMNS;
{%- for r in 0..rows %}
    var state{{r}} = 0.0;
{%- endfor %}
{%- if let Some(past) = past %}
    // The rows of this group are on their way while q and k are put in place.
    if (column < DV) {
{%- for r in 0..rows %}
        {
            let row = group + {{r}}u * GROUPS;
            if (row < DK) {
                state{{r}} = {{past.at3("head", "row", "column")}};
            }
        }
{%- endfor %}
    }
{%- endif %}

    // q . q, k . k and q . k.
    var dots = vec3<f32>(0.0);
    for (var d = lid; d < DK; d += WORKGROUP) {
        let q = {{query.at3("0u", "key_head", "d")}};
        let k = {{key.at3("0u", "key_head", "d")}};
        query[d] = q;
        key[d] = k;
        dots += vec3<f32>(q * q, k * k, q * k);
    }
{%- if subgroups %}
    dots = vec3<f32>(subgroupAdd(dots.x), subgroupAdd(dots.y), subgroupAdd(dots.z));
    if (lid % subgroup_size == 0u) {
        dot_shares[lid / subgroup_size] = dots;
    }
    workgroupBarrier();
    var all = dot_shares[0];
    for (var i = 1u; i < WORKGROUP / subgroup_size; i++) {
        all += dot_shares[i];
    }
{%- else %}
    sums[lid] = dots;
    workgroupBarrier();
    for (var span = WORKGROUP / 2u; span > 0u; span /= 2u) {
        if (lid < span) {
            sums[lid] += sums[lid + span];
        }
        workgroupBarrier();
    }
    let all = sums[0];
{%- endif %}
    let q_factor = norm_factor(all.x) * {{scale}};
    let k_factor = norm_factor(all.y);
    let query_key = all.z * q_factor * k_factor;
{%- if !subgroups %}
    workgroupBarrier();
{%- endif %}

    // s^T k and s^T q of this group's rows, then of all.
    var recalled = 0.0;
    var read = 0.0;
{%- if past.is_some() %}
    if (column < DV) {
{%- for r in 0..rows %}
        {
            let row = group + {{r}}u * GROUPS;
            if (row < DK) {
                recalled += state{{r}} * key[row];
                read += state{{r}} * query[row];
            }
        }
{%- endfor %}
    }
{%- endif %}
{%- if subgroups %}
{%- for apart in apart %}
    recalled += select(0.0, subgroupShuffleXor(recalled, {{apart}}u), {{apart}}u < subgroup_size);
    read += select(0.0, subgroupShuffleXor(read, {{apart}}u), {{apart}}u < subgroup_size);
{%- endfor %}
    let width = max(subgroup_size, COLUMNS);
    if (lid % width < COLUMNS) {
        column_shares[lid / width * COLUMNS + lid % COLUMNS] = vec2<f32>(recalled * k_factor, read * q_factor);
    }
    workgroupBarrier();
    if (column >= DV) {
        return;
    }
    var total = column_shares[lid % COLUMNS];
    for (var i = 1u; i < WORKGROUP / width; i++) {
        total += column_shares[i * COLUMNS + lid % COLUMNS];
    }
{%- else %}
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
    let total = sums[lid % COLUMNS];
{%- endif %}
    let gate = gates(0u, head);
    let forget = exp(gate.x);
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
