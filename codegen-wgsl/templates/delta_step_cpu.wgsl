// One position of the gated delta rule for one thread. Per value head, with state s [dk, dv], dk = {{source.key_width}}, dv = {{source.value_width}}:
//   s *= exp(decay);  d = beta * (v - s^T k);  s += k d^T;  o = scale * s^T q
// The first workgroup of a head goes through its state twice, row by row: for what it holds of k and q, and to change it.
{{source.declarations}}
const DK = {{source.key_width}}u;
const DV = {{source.value_width}}u;

var<workgroup> query: array<f32, DK>;
var<workgroup> key: array<f32, DK>;
// By column: s^T k, which the steps then replace, and s^T q.
var<workgroup> recalled: array<f32, DV>;
var<workgroup> answered: array<f32, DV>;

{{source.gates}}

{{source.norm}}

@compute @workgroup_size(1)
fn main(@builtin(workgroup_id) wid: vec3<u32>) {
    if (wid.y > 0u) {
        return;
    }
    let head = wid.x;
    let key_head = head / {{source.group}}u;

    // q . q, k . k and q . k.
    var dots = vec3<f32>(0.0);
    for (var d = 0u; d < DK; d++) {
        let q = {{source.query.at3("0u", "key_head", "d")}};
        let k = {{source.key.at3("0u", "key_head", "d")}};
        query[d] = q;
        key[d] = k;
        dots += vec3<f32>(q * q, k * k, q * k);
    }
    let q_factor = norm_factor(dots.x) * {{source.scale}};
    let k_factor = norm_factor(dots.y);
    let query_key = dots.z * q_factor * k_factor;

    for (var column = 0u; column < DV; column++) {
        recalled[column] = 0.0;
        answered[column] = 0.0;
    }
{%- if let Some(past) = source.past %}
    for (var row = 0u; row < DK; row++) {
        let k = key[row] * k_factor;
        let q = query[row] * q_factor;
        for (var column = 0u; column < DV; column++) {
            let state = {{past.at3("head", "row", "column")}};
            recalled[column] += state * k;
            answered[column] += state * q;
        }
    }
{%- endif %}
    let gate = gates(0u, head);
    let forget = exp(gate.x);
    for (var column = 0u; column < DV; column++) {
        let delta = gate.y * ({{source.value.at3("0u", "head", "column")}} - forget * recalled[column]);
        {{source.output.at3("0u", "head", "column")}} = forget * answered[column] + query_key * delta;
        recalled[column] = k_factor * delta;
    }
{%- if let Some(present) = source.present %}
    for (var row = 0u; row < DK; row++) {
        let k = key[row];
        for (var column = 0u; column < DV; column++) {
{%- if let Some(past) = source.past %}
            let state = {{past.at3("head", "row", "column")}};
            {{present.at3("head", "row", "column")}} = forget * state + k * recalled[column];
{%- else %}
            {{present.at3("head", "row", "column")}} = k * recalled[column];
{%- endif %}
        }
    }
{%- endif %}
}
