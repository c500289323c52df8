// One position of a causal depthwise convolution and its state: output [1, C] from input [1, C], weight [C, K] and past
// [C, W]; present [C, W] is the past moved by one column, with C = {{channels}}, K = {{taps}}, W = {{state}}.
// Geometry: one invocation a channel; {{workgroup}} a workgroup.
{{declarations}}
const CHANNELS = {{channels}}u;

{{activate}}

@compute @workgroup_size({{workgroup}})
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(local_invocation_index) lid: u32) {
    let c = wid.x * {{workgroup}}u + lid;
    if (c >= CHANNELS) {
        return;
    }
{%- for j in 0..state %}
{%- match past %}
{%- when Some with (past) %}
{%- let at = format!("{j}u") %}
    let x{{j}} = {{past.at2("c", at.as_str())}};
{%- when None %}
    let x{{j}} = 0.0;
{%- endmatch %}
{%- endfor %}
    let x{{state}} = {{input.at2("0u", "c")}};
{%- match bias %}
{%- when Some with (bias) %}
    var sum = {{bias.at1("c")}};
{%- when None %}
    var sum = 0.0;
{%- endmatch %}
{%- for j in 0..taps %}
{%- let tap = format!("{j}u") %}
    sum += {{weight.at2("c", tap.as_str())}} * x{{state + 1 - taps + j}};
{%- endfor %}
    {{output.at2("0u", "c")}} = activate(sum);
{%- if let Some(present) = present %}
{%- for j in 0..state %}
{%- let at = format!("{j}u") %}
    {{present.at2("c", at.as_str())}} = x{{j + 1}};
{%- endfor %}
{%- endif %}
}
