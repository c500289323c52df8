// One position of the gated delta rule for renderers on a CPU. Per value head, with state s [dk, dv], dk = {{source.key_width}}, dv = {{source.value_width}}:
//   s *= exp(decay);  d = beta * (v - s^T k);  s += k d^T;  o = scale * s^T q
// The state is read once for o, which is exp(decay) * s^T q + (k . q) d, and once to change it.
// Geometry: one workgroup a head (x) and {{source.columns}} columns of the state (y), of which an invocation has one by itself.
{{source.declarations}}
const DK = {{source.key_width}}u;
const DV = {{source.value_width}}u;

{{source.gates}}

{{source.norm}}

@compute @workgroup_size({{source.columns}})
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(local_invocation_index) lid: u32) {
    let head = wid.x;
    let key_head = head / {{source.group}}u;
    let column = wid.y * {{source.columns}}u + lid;
    if (column >= DV) {
        return;
    }
    // q . q, k . k and q . k; what the column holds of k and of q.
    var dots = vec3<f32>();
    var held = vec2<f32>();
    for (var row = 0u; row < DK; row++) {
        let q = {{source.query.at3("0u", "key_head", "row")}};
        let k = {{source.key.at3("0u", "key_head", "row")}};
        dots += vec3<f32>(q * q, k * k, q * k);
{%- if let Some(past) = source.past %}
        held += {{past.at3("head", "row", "column")}} * vec2<f32>(k, q);
{%- endif %}
    }
    let q_factor = norm_factor(dots.x) * {{source.scale}};
    let k_factor = norm_factor(dots.y);
    let gate = gates(0u, head);
    let forget = exp(gate.x);
    let delta = gate.y * ({{source.value.at3("0u", "head", "column")}} - forget * (held.x * k_factor));
    {{source.output.at3("0u", "head", "column")}} = forget * (held.y * q_factor) + dots.z * q_factor * k_factor * delta;
{%- if let Some(present) = source.present %}
    let step_size = k_factor * delta;
    for (var row = 0u; row < DK; row++) {
        let k = {{source.key.at3("0u", "key_head", "row")}};
{%- if let Some(past) = source.past %}
        {{present.at3("head", "row", "column")}} = forget * {{past.at3("head", "row", "column")}} + k * step_size;
{%- else %}
        {{present.at3("head", "row", "column")}} = k * step_size;
{%- endif %}
    }
{%- endif %}
}
