// Joins the splits of attention_partial: scratch [heads, splits, {{sizes.value_width + 2}}] to output [1, {{sizes.heads}}, {{sizes.value_width}}]. A query that sees no key
// gives zeros.
// Geometry: one workgroup of {{workgroup}} a head; {{lanes}} invocations are the columns, {{workgroup / lanes}} groups share the splits.
{{declarations}}
const DV = {{sizes.value_width}}u;
const SPLITS = {{sizes.splits}}u;
const LANES = {{lanes}}u;
const GROUPS = {{workgroup / lanes}}u;
const MASKED = -3.0e38;

var<workgroup> largest: array<f32, SPLITS>;
var<workgroup> sums: array<f32, SPLITS>;
var<workgroup> parts: array<f32, {{workgroup}}>;
{%- if let Some(gate) = gate %}

{{gate.activate}}
{%- endif %}

@compute @workgroup_size({{workgroup}})
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(local_invocation_index) lid: u32) {
    let head = wid.x;
    let keys = {{keys}};
    let keys_per_split = {{keys_per_split}};
    // Splits that hold keys.
    let used = (keys + keys_per_split - 1u) / keys_per_split;
    if (lid < used) {
        largest[lid] = {{scratch.at3("head", "lid", "DV")}};
        sums[lid] = {{scratch.at3("head", "lid", "DV + 1u")}};
    }
    workgroupBarrier();
    var top = MASKED;
    for (var split = 0u; split < used; split++) {
        top = max(top, largest[split]);
    }
    let group = lid / LANES;
    let column = lid % LANES;
    var sum = 0.0;
    for (var split = 0u; split < used; split++) {
        sum += exp(largest[split] - top) * sums[split];
    }
    var total = 0.0;
    if (column < DV) {
        for (var split = group; split < used; split += GROUPS) {
            total += exp(largest[split] - top) * {{scratch.at3("head", "split", "column")}};
        }
    }
    parts[lid] = total;
    workgroupBarrier();
    if (lid < DV) {
        var result = 0.0;
        for (var g = 0u; g < GROUPS; g++) {
            result += parts[g * LANES + lid];
        }
        result = select(0.0, result / max(sum, 1.0e-30), sum > 0.0);
{%- if let Some(gate) = gate %}
        result *= activate({{gate.view.at3("0u", "head", "lid")}});
{%- endif %}
        {{output.at3("0u", "head", "lid")}} = result;
    }
}
