// Joins the splits of attention_partial: scratch [heads, splits, {{sizes.scratch_width()}}] to output [1, {{sizes.heads}}, {{sizes.value_width}}]. A query that sees no key
// gives zeros.
// Geometry: one workgroup of {{workgroup}} for {{4 * lanes}} columns (y) of a head (x); {{lanes}} invocations have four columns each, {{groups}} groups share
// the splits.
{{declarations}}
const DV = {{sizes.value_width}}u;
const DV4 = {{value_vectors}}u;
const LANES = {{lanes}}u;
const MASKED = -3.0e38;

// Largest scores of the splits, later their sums; of 16 splits.
var<workgroup> each: array<f32, {{workgroup}}>;
var<workgroup> of_16: array<f32, 16>;
// What a split counts.
var<workgroup> factors: array<f32, {{workgroup}}>;
var<workgroup> parts: array<vec4<f32>, {{workgroup}}>;
{%- if let Some(gate) = gate %}

{{gate.activate}}
{%- endif %}

@compute @workgroup_size({{workgroup}})
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(local_invocation_index) lid: u32) {
    let head = wid.x;
    let group = lid / LANES;
    let column = wid.y * LANES + lid % LANES;
    let keys = {{keys}};
    let keys_per_split = {{keys_per_split}};
    // Splits that hold keys.
    let used = (keys + keys_per_split - 1u) / keys_per_split;
    var rest = vec4<f32>(MASKED, 0.0, 0.0, 0.0);
    if (lid < used) {
        rest = {{scratch.at3("head", "lid", "DV4")}};
    }
{%- for [split, vector] in splits %}
    var v_{{loop.index0}} = vec4<f32>();
    if ({{split}} < used && column < DV4) {
        v_{{loop.index0}} = {{vector}};
    }
{%- endfor %}
{%- if let Some(gate) = gate %}
    var gates = vec4<f32>();
    if (lid < LANES && column < DV4) {
{%- for i in 0..4 %}
        gates.{{components[i]}} = {{gate.view.at3("0u", "head", clamped[i])}};
{%- endfor %}
    }
{%- endif %}
    each[lid] = rest.x;
    workgroupBarrier();
    if (lid < 16u) {
        var top = each[lid * 16u];
{%- for i in 1..16 %}
        top = max(top, each[lid * 16u + {{i}}u]);
{%- endfor %}
        of_16[lid] = top;
    }
    workgroupBarrier();
    var top = of_16[0];
{%- for i in 1..16 %}
    top = max(top, of_16[{{i}}]);
{%- endfor %}
    let factor = exp(rest.x - top);
    factors[lid] = factor;
    each[lid] = factor * rest.y;
    workgroupBarrier();
    var total = vec4<f32>();
{%- for [split, _] in splits %}
    total += factors[{{split}}] * v_{{loop.index0}};
{%- endfor %}
    parts[lid] = total;
    if (lid < 16u) {
        var sum = each[lid * 16u];
{%- for i in 1..16 %}
        sum += each[lid * 16u + {{i}}u];
{%- endfor %}
        of_16[lid] = sum;
    }
    workgroupBarrier();
    if (lid < LANES) {
        var sum = of_16[0];
{%- for i in 1..16 %}
        sum += of_16[{{i}}];
{%- endfor %}
        var result = parts[lid];
{%- for g in 1..groups %}
        result += parts[lid + {{g * lanes}}u];
{%- endfor %}
        result = select(vec4<f32>(), result / max(sum, 1.0e-30), sum > 0.0);
{%- for i in 0..4 %}
        if (4u * column + {{i}}u < DV) {
            {{output.at3("0u", "head", elements[i])}} = result.{{components[i]}}{% if gate.is_some() %} * activate(gates.{{components[i]}}){% endif %};
        }
{%- endfor %}
    }
}
