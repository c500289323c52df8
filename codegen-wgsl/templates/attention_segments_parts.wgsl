{{parts.declarations}}
const D = {{parts.key_width}}u;
const DV = {{parts.value_width}}u;
// Widths in vec4.
const QUADS = {{parts.key_quads}}u;
const VALUE_QUADS = {{parts.value_quads}}u;
const LANES = vec4<u32>(0u, 1u, 2u, 3u);
const MASKED = -3.0e38;

// Scores are exponents of two.
fn query_quad(head: u32, i: u32, c: u32) -> vec4<f32> {
    if (i >= {{parts.queries}} || c >= QUADS) {
        return vec4<f32>();
    }
    return {{parts.scale}} * {{parts.query.load("i", "head", "c", parts.key_width)}};
}

fn key_quad(head: u32, j: u32, c: u32, end: u32) -> vec4<f32> {
    if (j >= end || c >= QUADS) {
        return vec4<f32>();
    }
    return {{parts.key.load("head", "j", "c", parts.key_width)}};
}

fn value_quad(head: u32, j: u32, c: u32) -> vec4<f32> {
    return {{parts.value.load("head", "j", "c", parts.value_width)}};
}
{%- if let Some((gate, activate)) = parts.gate %}

{{activate}}

fn gate_quad(head: u32, i: u32, c: u32) -> vec4<f32> {
    let x = {{gate.load("i", "head", "c", parts.value_width)}};
    return vec4<f32>(activate(x.x), activate(x.y), activate(x.z), activate(x.w));
}
{%- endif %}
{%- if let Some(segments) = parts.segments %}

// The keys that query i sees, from x to below y.
fn segment(i: u32) -> vec2<u32> {
    let last = i32({{parts.keys}});
    return vec2<u32>(vec2<i32>(clamp({{segments.at2("i", "0u")}}, 0, last), clamp({{segments.at2("i", "1u")}}, 0, last)));
}
{%- endif %}

fn store(head: u32, i: u32, c: u32, x: vec4<f32>) {
    if (i < {{parts.queries}} && c < VALUE_QUADS) {
{%- if parts.gate.is_some() %}
        let y = x * gate_quad(head, i, c);
{%- else %}
        let y = x;
{%- endif %}
        {{parts.output.store("i", "head", "c", "y", parts.value_width)}}
    }
}
