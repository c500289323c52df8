// Causal depthwise convolution: output [S, C] from input [S, C], weight [C, K] and the last K-1 columns of the past,
// with C = {{channels}} and K = {{taps}}. The state is left as it is.
// Geometry: one invocation a channel and {{run}} positions; {{workgroup}} channels a workgroup.
{{declarations}}
const CHANNELS = {{channels}}u;

{{activate}}

// Column t of the past's last {{taps - 1}} columns followed by the input.
fn column(t: u32, c: u32) -> f32 {
{%- if taps > 1 %}
    if (t < {{taps - 1}}u) {
{%- match past %}
{%- when Some with (past) %}
        return {{past.at2("c", past_column.as_str())}};
{%- when None %}
        return 0.0;
{%- endmatch %}
    }
    let s = t - {{taps - 1}}u;
{%- else %}
    let s = t;
{%- endif %}
    return {{input.at2("s", "c")}};
}

@compute @workgroup_size({{workgroup}})
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(local_invocation_index) lid: u32) {
    let c = wid.x * {{workgroup}}u + lid;
    if (c >= CHANNELS) {
        return;
    }
    let first = wid.y * {{run}}u;
    let end = min(first + {{run}}u, {{tokens}});
{%- for j in 0..taps %}
{%- let tap = format!("{j}u") %}
    let w{{j}} = {{weight.at2("c", tap.as_str())}};
{%- endfor %}
{%- match bias %}
{%- when Some with (bias) %}
    let bias = {{bias.at1("c")}};
{%- when None %}
    let bias = 0.0;
{%- endmatch %}
    // The window slides: x0 is the oldest of the K columns under the taps.
    var x0 = 0.0;
{%- for j in 1..taps %}
    var x{{j}} = column(first + {{j - 1}}u, c);
{%- endfor %}
    for (var s = first; s < end; s++) {
{%- for j in 1..taps %}
        x{{j - 1}} = x{{j}};
{%- endfor %}
        x{{taps - 1}} = column(s + {{taps - 1}}u, c);
        var sum = bias;
{%- for j in 0..taps %}
        sum += w{{j}} * x{{j}};
{%- endfor %}
        {{output.at2("s", "c")}} = activate(sum);
    }
}
