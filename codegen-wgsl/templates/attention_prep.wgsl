// Heads between projection and attention: output = rotate(norm(input)) for each of several tensors [S, H, D], whose
// outputs may be rows of caches.
// Geometry: one workgroup of {{workgroup}} a head and position; heads of all tensors along x, positions along y.
{{declarations}}
const WORKGROUP = {{workgroup}}u;
{%- if angle.is_some() %}
const HALF = {{half}}u;
{%- endif %}

// The head, and partial sums of its squares.
var<workgroup> row: array<f32, {{row}}>;
var<workgroup> sums: array<f32, WORKGROUP>;
{%- if let Some(angle) = angle %}

{{angle}}
{%- endif %}

@compute @workgroup_size({{workgroup}})
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(local_invocation_index) lid: u32) {
    let s = wid.y;
{%- for part in parts %}
    // Heads {{part.start}} to {{part.end - 1}}: width {{part.width}}.
    if (wid.x >= {{part.start}}u && wid.x < {{part.end}}u) {
        let head = wid.x - {{part.start}}u;
{%- if part.norm.is_none() && !part.rotate %}
        for (var d = lid; d < {{part.width}}u; d += WORKGROUP) {
            {{part.output.at3("s", "head", "d")}} = {{part.input.at3("s", "head", "d")}};
        }
{%- else %}
        var squares = 0.0;
        for (var d = lid; d < {{part.width}}u; d += WORKGROUP) {
            let x = {{part.input.at3("s", "head", "d")}};
            row[d] = x;
            squares += x * x;
        }
{%- if let Some((weight, eps)) = part.norm %}
        sums[lid] = squares;
        workgroupBarrier();
        for (var span = WORKGROUP / 2u; span > 0u; span /= 2u) {
            if (lid < span) {
                sums[lid] += sums[lid + span];
            }
            workgroupBarrier();
        }
        let factor = inverseSqrt(sums[0] / {{part.width}}.0 + {{eps}});
        for (var d = lid; d < {{part.width}}u; d += WORKGROUP) {
            row[d] *= factor * {{weight.at1("d")}};
        }
{%- endif %}
{%- if part.rotate %}
        workgroupBarrier();
        for (var i = lid; i < HALF; i += WORKGROUP) {
            let turn = angle(s, i);
            let a = row[{{first}}];
            let b = row[{{second}}];
            {{part.output.at3("s", "head", first)}} = a * turn.x - b * turn.y;
            {{part.output.at3("s", "head", second)}} = b * turn.x + a * turn.y;
        }
        for (var d = 2u * HALF + lid; d < {{part.width}}u; d += WORKGROUP) {
            {{part.output.at3("s", "head", "d")}} = row[d];
        }
{%- else %}
        for (var d = lid; d < {{part.width}}u; d += WORKGROUP) {
            {{part.output.at3("s", "head", "d")}} = row[d];
        }
{%- endif %}
{%- endif %}
    }
{%- endfor %}
}
