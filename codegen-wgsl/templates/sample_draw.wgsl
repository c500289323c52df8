
// Of all invocations, and of 16 of them; one more in a row, so that neighbouring rows lie in different banks.
var<workgroup> each: array<vec4<f32>, 272>;
var<workgroup> of_16: array<vec4<f32>, 16>;

// Sums over all invocations, in a fixed order.
fn sum_all(lid: u32, x: vec4<f32>) -> vec4<f32> {
    each[lid + lid / 16u] = x;
    workgroupBarrier();
    if (lid < 16u) {
        var part = each[lid * 17u];
{%- for i in 1..16 %}
        part += each[lid * 17u + {{i}}u];
{%- endfor %}
        of_16[lid] = part;
    }
    workgroupBarrier();
    var sum = of_16[0];
{%- for i in 1..16 %}
    sum += of_16[{{i}}];
{%- endfor %}
    return sum;
}

// How much of the way to `needed` is in all scores from a threshold on, for three of them: adds `shift`'s two bits to `bound`.
fn raised(bound: u32, shift: u32, sums: vec4<f32>, needed: f32) -> u32 {
    let steps = select(select(select(0u, 1u, sums.x >= needed), 2u, sums.y >= needed), 3u, sums.z >= needed);
    return bound + (steps << shift);
}

// 32 random bits of a token: the hash pcg4d (Jarzynski and Olano 2020) of token, step and seed.
fn random(token: u32, step: u32, seed: vec2<u32>) -> u32 {
    var v = vec4<u32>(token, step, seed) * 1664525u + 1013904223u;
    v.x += v.y * v.w;
    v.y += v.z * v.x;
    v.z += v.x * v.y;
    v.w += v.y * v.z;
    v ^= v >> vec4<u32>(16u);
    return v.x + v.y * v.w;
}

// The logarithm of an exponential variate, -ln(1 - u) for a uniform u whose small values keep their precision.
fn log_exponential(bits: u32) -> f32 {
    var u = f32(2u * bits + 1u) * 1.16415321826934814453125e-10;
    if (bits >= 0x800000u) {
        u = f32(2u * (bits >> 9u) + 1u) * 5.9604644775390625e-8;
    }
    let z = u / (2.0 - u);
    let y = z * z;
    let series = 2.0 * z * (1.0 + y * (1.0 / 3.0 + y * (1.0 / 5.0 + y * (1.0 / 7.0 + y * (1.0 / 9.0)))));
    return log(select(-log(1.0 - u), series, u < 0.25));
}

// A token and what it is chosen by.
struct Choice {
    key: f32,
    token: u32,
}

// What the token with the largest key is chosen by.
fn key_of(greedy: bool, score: f32, down: f32, token: u32, step: u32, seed: vec2<u32>) -> f32 {
    return select(-down - log_exponential(random(token, step, seed)), score, greedy);
}

// The choice with the larger key, of equal ones that of the lower token.
fn better(a: Choice, b: Choice) -> Choice {
    let second = b.key > a.key || (b.key == a.key && b.token < a.token);
    return Choice(select(a.key, b.key, second), select(a.token, b.token, second));
}

var<workgroup> choices: array<Choice, 288>;

// The best choice of all invocations.
fn best_of_all(lid: u32, choice: Choice) -> Choice {
    choices[lid + lid / 16u] = choice;
    workgroupBarrier();
    if (lid < 16u) {
        var best = choices[lid * 17u];
{%- for i in 1..16 %}
        best = better(best, choices[lid * 17u + {{i}}u]);
{%- endfor %}
        choices[272u + lid] = best;
    }
    workgroupBarrier();
    var best = choices[272];
{%- for i in 1..16 %}
    best = better(best, choices[{{272 + i}}]);
{%- endfor %}
    return best;
}
