// The state of a causal convolution after S positions: present [C, W] is the last W columns of the past [C, W] followed
// by the input [S, C], with C = {{channels}} and W = {{state}}.
// Geometry: one invocation a channel; {{workgroup}} a workgroup. In place, column j is read from j + S, which is not
// yet overwritten because columns are written in ascending order.
{{declarations}}
const CHANNELS = {{channels}}u;
const STATE = {{state}}u;

@compute @workgroup_size({{workgroup}})
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(local_invocation_index) lid: u32) {
    let c = wid.x * {{workgroup}}u + lid;
    if (c >= CHANNELS) {
        return;
    }
    for (var j = 0u; j < STATE; j++) {
        let t = j + {{tokens}};
        var value = 0.0;
        if (t < STATE) {
{%- if let Some(past) = past %}
            value = {{past.at2("c", "t")}};
{%- endif %}
        } else {
            let s = t - STATE;
            value = {{input.at2("s", "c")}};
        }
        {{present.at2("c", "j")}} = value;
    }
}
