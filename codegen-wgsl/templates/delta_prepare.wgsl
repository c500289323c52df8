// The chunk-local part of the chunked gated delta rule, dk = {{key_width}}, dv = {{value_width}}. For every chunk of 64 positions and every
// value head it writes to the scratch [chunks, heads, {{layout.elements}}]:
//   at 0      P [64, 64]: tril(q k^T exp(G_i - G_j))
//   at {{layout.solved}}   [w | u] [64, {{key_width + value_width}}]: (I + A)^-1 [beta k exp(G) | beta v], A = tril(beta k k^T exp(G_i - G_j), -1)
//   at {{layout.factors}}  factors of raw q rows and of raw k rows (64 each), then exp(G_last)
// where G is the running sum of the log decay. Positions behind the last one count as k = q = v = 0, decay = 0.
// Geometry: one workgroup of {{workgroup}} a chunk (x) and value head (y).
{{declarations}}
const DK = {{key_width}}u;
const DV = {{value_width}}u;
const WORKGROUP = {{workgroup}}u;
// Elements of q and k rows staged at a time, and their padded pitch.
const SLICE = 8u;
const PITCH = 9u;
const SOLVED = {{layout.solved}}u;
const FACTORS = {{layout.factors}}u;

// Elements of the strictly lower triangle of a [64, 64] matrix.
const TRIANGLE = 2016u;

// First what remains at i of position j, exp(G_i - G_j); then A.
var<workgroup> triangle: array<f32, TRIANGLE>;
var<workgroup> stage_q: array<f32, 576>;
var<workgroup> stage_k: array<f32, 576>;
var<workgroup> decay: array<f32, 64>;
var<workgroup> beta: array<f32, 64>;
var<workgroup> q_factor: array<f32, 64>;
var<workgroup> k_factor: array<f32, 64>;
// What remains at i of the state before the chunk, exp(G_i).
var<workgroup> prefix: array<f32, 64>;

{{gates}}

{{norm}}

// The place of (i, j), j < i, in the triangle.
fn lower(i: u32, j: u32) -> u32 {
    return i * (i - 1u) / 2u + j;
}

@compute @workgroup_size({{workgroup}})
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(local_invocation_index) lid: u32) {
    let chunk = wid.x;
    let head = wid.y;
    let key_head = head / {{group}}u;
    let first = chunk * 64u;
    let rows = min({{tokens}} - first, 64u);

    if (lid < 64u) {
        var gate = vec2<f32>(0.0);
        if (lid < rows) {
            gate = gates(first + lid, head);
        }
        decay[lid] = gate.x;
        beta[lid] = gate.y;
    }
    // Squares of q and k: four invocations a row.
    var q_squares = 0.0;
    var k_squares = 0.0;
    if (lid / 4u < rows) {
        let s = first + lid / 4u;
        for (var d = lid % 4u; d < DK; d += 4u) {
            let q = {{query.at3("s", "key_head", "d")}};
            let k = {{key.at3("s", "key_head", "d")}};
            q_squares += q * q;
            k_squares += k * k;
        }
    }
    stage_q[lid] = q_squares;
    stage_k[lid] = k_squares;
    workgroupBarrier();

    // Sums of log decays: invocation j walks down column j, another one the running sum; then their exponentials.
    if (lid < 64u) {
        let at = lid * 4u;
        q_factor[lid] =
            norm_factor(stage_q[at] + stage_q[at + 1u] + stage_q[at + 2u] + stage_q[at + 3u]) * {{scale}};
        k_factor[lid] = norm_factor(stage_k[at] + stage_k[at + 1u] + stage_k[at + 2u] + stage_k[at + 3u]);
        var sum = 0.0;
        for (var i = lid + 1u; i < 64u; i++) {
            sum += decay[i];
            triangle[lower(i, lid)] = sum;
        }
    }
    if (lid == 64u) {
        var sum = 0.0;
        for (var i = 0u; i < 64u; i++) {
            sum += decay[i];
            prefix[i] = sum;
        }
    }
    workgroupBarrier();
    for (var e = lid; e < TRIANGLE; e += WORKGROUP) {
        triangle[e] = exp(triangle[e]);
    }
    if (lid < 64u) {
        prefix[lid] = exp(prefix[lid]);
    }
    workgroupBarrier();
    if (lid < 64u) {
        var to_end = 1.0;
        if (lid < 63u) {
            to_end = triangle[lower(63u, lid)];
        }
        let q_at = FACTORS + lid;
        let k_at = FACTORS + 64u + lid;
        {{scratch.at3("chunk", "head", "q_at")}} = q_factor[lid] * prefix[lid];
        {{scratch.at3("chunk", "head", "k_at")}} = k_factor[lid] * to_end;
    }
    if (lid == 64u) {
        let at = FACTORS + 128u;
        {{scratch.at3("chunk", "head", "at")}} = prefix[63];
    }

    // k k^T and q k^T: an invocation computes rows row + 16a and columns column + 16b, a and b in 0..4.
    let row = lid / 16u;
    let column = lid % 16u;
{%- for a in 0..4 %}
    var kk{{a}} = vec4<f32>(0.0);
    var qk{{a}} = vec4<f32>(0.0);
{%- endfor %}
    for (var base = 0u; base < DK; base += SLICE) {
        for (var e = lid; e < 64u * SLICE; e += WORKGROUP) {
            let i = e / SLICE;
            let d = base + e % SLICE;
            var q = 0.0;
            var k = 0.0;
            if (i < rows && d < DK) {
                let s = first + i;
                q = {{query.at3("s", "key_head", "d")}};
                k = {{key.at3("s", "key_head", "d")}};
            }
            stage_q[i * PITCH + e % SLICE] = q;
            stage_k[i * PITCH + e % SLICE] = k;
        }
        workgroupBarrier();
        for (var d = 0u; d < SLICE; d++) {
            let at = column * PITCH + d;
            let k = vec4<f32>(
                stage_k[at], stage_k[at + 16u * PITCH], stage_k[at + 32u * PITCH], stage_k[at + 48u * PITCH]
            );
{%- for a in 0..4 %}
            kk{{a}} += stage_k[(row + {{16 * a}}u) * PITCH + d] * k;
            qk{{a}} += stage_q[(row + {{16 * a}}u) * PITCH + d] * k;
{%- endfor %}
        }
        workgroupBarrier();
    }
{%- for a in 0..4 %}
{%- for b in 0..4 %}
    {
        let i = row + {{16 * a}}u;
        let j = column + {{16 * b}}u;
        var p = 0.0;
        if (j < i) {
            let fade = triangle[lower(i, j)];
            p = qk{{a}}[{{b}}] * (q_factor[i] * k_factor[j]) * fade;
            triangle[lower(i, j)] = beta[i] * (kk{{a}}[{{b}}] * (k_factor[i] * k_factor[j])) * fade;
        } else if (j == i) {
            p = qk{{a}}[{{b}}] * (q_factor[i] * k_factor[j]);
        }
        let at = i * 64u + j;
        {{scratch.at3("chunk", "head", "at")}} = p;
    }
{%- endfor %}
{%- endfor %}
    if (lid < 64u) {
        // The factor of k on the right side of w.
        stage_k[lid] = beta[lid] * k_factor[lid] * prefix[lid];
    }
    workgroupBarrier();

    // Forward substitution, one column of [w | u] an invocation, eight rows at a time. Rows that are solved are read
    // back from the scratch, where this invocation has put them.
    for (var c = lid; c < DK + DV; c += WORKGROUP) {
        for (var block = 0u; block < 64u; block += 8u) {
{%- for r in 0..8 %}
            let i{{r}} = block + {{r}}u;
            var x{{r}} = 0.0;
            if (i{{r}} < rows) {
                let s = first + i{{r}};
                if (c < DK) {
                    x{{r}} = stage_k[i{{r}}] * {{key.at3("s", "key_head", "c")}};
                } else {
                    let v = c - DK;
                    x{{r}} = beta[i{{r}}] * {{value.at3("s", "head", "v")}};
                }
            }
{%- endfor %}
            for (var j = 0u; j < block; j++) {
                let at = SOLVED + j * (DK + DV) + c;
                let solved = {{scratch.at3("chunk", "head", "at")}};
{%- for r in 0..8 %}
                x{{r}} -= triangle[lower(i{{r}}, j)] * solved;
{%- endfor %}
            }
{%- for r in 1..8 %}
{%- for j in 0..r %}
            x{{r}} -= triangle[lower(i{{r}}, i{{j}})] * x{{j}};
{%- endfor %}
{%- endfor %}
{%- for r in 0..8 %}
            {
                let at = SOLVED + i{{r}} * (DK + DV) + c;
                {{scratch.at3("chunk", "head", "at")}} = x{{r}};
            }
{%- endfor %}
        }
    }
}
