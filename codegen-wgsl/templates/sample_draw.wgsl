
var<workgroup> partials: array<vec2<f32>, 272>;
var<workgroup> best_keys: array<f32, WORKGROUP>;
var<workgroup> best_tokens: array<u32, WORKGROUP>;

// Sums over all invocations, in a fixed order.
fn sum_all(lid: u32, x: vec2<f32>) -> vec2<f32> {
    workgroupBarrier();
    partials[lid] = x;
    workgroupBarrier();
    if (lid < 16u) {
        var part = vec2<f32>();
        for (var i = 0u; i < 16u; i++) {
            part += partials[lid * 16u + i];
        }
        partials[256u + lid] = part;
    }
    workgroupBarrier();
    var sum = vec2<f32>();
    for (var i = 0u; i < 16u; i++) {
        sum += partials[256u + i];
    }
    return sum;
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

// What the token with the largest key is chosen by.
fn key_of(greedy: bool, score: f32, down: f32, token: u32, step: u32, seed: vec2<u32>) -> f32 {
    return select(-down - log_exponential(random(token, step, seed)), score, greedy);
}

// The largest key of all invocations, of equal ones the lowest token.
fn best_of_all(lid: u32, key: f32, token: u32) -> u32 {
    workgroupBarrier();
    best_keys[lid] = key;
    best_tokens[lid] = token;
    workgroupBarrier();
    for (var span = 128u; span > 0u; span /= 2u) {
        if (lid < span) {
            let other = best_tokens[lid + span];
            let higher = best_keys[lid + span] > best_keys[lid];
            if (higher || (best_keys[lid + span] == best_keys[lid] && other < best_tokens[lid])) {
                best_keys[lid] = best_keys[lid + span];
                best_tokens[lid] = other;
            }
        }
        workgroupBarrier();
    }
    return best_tokens[0];
}
