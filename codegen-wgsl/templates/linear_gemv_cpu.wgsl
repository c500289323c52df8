// A linear layer of one row for one thread: {{ k }} inputs, {{ n }} outputs{% if glu %}, each from a gate row and an up row{% endif %}.
// weight: {{ weight }}, read {{ read }} along a row.
{%- if norm %}
// x is RMS-normalised on the way: its scale is one factor of every dot product.
{%- endif %}
{%- if let Some(part) = part %}
// x is RMS-normalised on the way, in parts of {{ part.width }}{% if gate.is_some() %}, and gated{% endif %}.
{%- endif %}
{%- if channels > 0 %}
// The first {{ channels }} outputs go through a causal convolution.
{%- endif %}
// The first workgroup makes all outputs by itself, {{ step }} at a time.

{{ declarations }}
{{ functions -}}
{{ weight_functions -}}
{%- if stage %}
// x{% if norm %} times the norm's weight{% endif %}: vector v of unit u at v * {{ units }} + u.
var<workgroup> staged: array<vec4<f32>, {{ unit_vectors * units }}>;
{%- endif %}

// Elements 4q to 4q+3 of x.
fn x4(q: u32) -> vec4<f32> {
{{ x_body -}}
}
{% if let Some(body) = norm_body %}
// Elements 4q to 4q+3 of the norm's weight{% if part.is_some() %} for a part{% endif %}.
fn norm4(q: u32) -> vec4<f32> {
{{ body -}}
}
{% endif %}
{%- if let Some(part) = part %}
{%- if let Some((body, activated)) = gate %}
// Elements 4q to 4q+3 of the gate.
fn gate4(q: u32) -> vec4<f32> {
{{ body -}}
}

// The gate behind its activation.
fn gated(g: vec4<f32>) -> vec4<f32> {
    return vec4<f32>({{ activated }});
}
{% endif %}
{%- endif %}
{%- if let Some(convolve) = convolve %}
{{ convolve -}}
{%- endif %}
{{ store }}
fn total(a: vec4<f32>) -> f32 {
    return (a.x + a.y) + (a.z + a.w);
}

@compute @workgroup_size(1, 1, 1)
fn main(@builtin(workgroup_id) wid: vec3<u32>) {
    if (wid.x + wid.y + wid.z > 0u) {
        return;
    }
{%- if norm %}
    var squares = vec4<f32>();
{%- endif %}
{%- if let Some(part) = part %}
    for (var begin = 0u; begin < {{ part.vectors }}u; begin += {{ part.part_vectors }}u) {
        var sum = vec4<f32>();
        for (var v = 0u; v < {{ part.part_vectors }}u; v++) {
            let x = x4(begin + v);
            sum = fma(x, x, sum);
        }
        let scale = inverseSqrt(total(sum) / {{ part.width }}.0 + {{ eps }});
        for (var v = 0u; v < {{ part.part_vectors }}u; v++) {
            let q = begin + v;
            staged[q % {{ unit_vectors }}u * {{ units }}u + q / {{ unit_vectors }}u] =
                x4(q) * scale * norm4(v){% if gate.is_some() %} * gated(gate4(q)){% endif %};
        }
    }
{%- if part.vectors < unit_vectors * units %}
    for (var q = {{ part.vectors }}u; q < {{ unit_vectors * units }}u; q++) {
        staged[q % {{ unit_vectors }}u * {{ units }}u + q / {{ unit_vectors }}u] = vec4<f32>();
    }
{%- endif %}
{%- else if stage %}
    for (var q = 0u; q < {{ unit_vectors * units }}u; q++) {
        let x = x4(q);
{%- if norm %}
        squares = fma(x, x, squares);
        staged[q % {{ unit_vectors }}u * {{ units }}u + q / {{ unit_vectors }}u] = x * norm4(q);
{%- else %}
        staged[q % {{ unit_vectors }}u * {{ units }}u + q / {{ unit_vectors }}u] = x;
{%- endif %}
    }
{%- endif %}
    for (var first = 0u; first < {{ n }}u; first += {{ step }}u) {
{%- if norm && !stage %}
        squares = vec4<f32>();
{%- endif %}
{%- for start in starts %}
{{ start }}
        var acc{{ loop.index0 }} = vec4<f32>();
{%- endfor %}
        for (var {{ index }} = 0u; {{ index }} < {{ units }}u; {{ index }}++) {
{{ turn }}
        }
{%- if norm %}
        let scale = inverseSqrt(total(squares) / {{ k }}.0 + {{ eps }});
{%- endif %}
{%- for row in 0..step %}
        if (first + {{ row }}u < {{ n }}u) {
            let n = first + {{ row }}u;
{%- if !extras.is_empty() %}
            let column = n;
{%- endif %}
{%- for extra in extras %}
            let a{{ loop.index0 }} = {{ extra }};
{%- endfor %}
            let y0 = total(acc{{ row * per_output }});
{%- if glu %}
            let y1 = total(acc{{ row * per_output + 1 }});
{%- endif %}
            let y = {{ value }};
{%- if channels > 0 %}
            var z = y;
            if (n < {{ channels }}u) {
                z = convolve(y, n);
            }
            store(z, n);
{%- else %}
            store(y, {% for _ in extras %}a{{ loop.index0 }}, {% endfor %}n);
{%- endif %}
        }
{%- endfor %}
    }
}
