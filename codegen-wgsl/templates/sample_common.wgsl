// Words of the input `sampling`.
const GREEDY = 0u;
const INVERSE_TEMPERATURE = 1u;
const TOP_K = 2u;
const TOP_P = 3u;
const MIN_P = 4u;
const REPETITION = 5u;
const INVERSE_REPETITION = 6u;
const PRESENCE = 7u;
const SEED = 8u;
const STEP = 10u;
const VOCABULARY = {{vocabulary}}u;
// Of 1024 tokens, and of 256.
const CHUNKS = {{chunks}}u;
const GROUPS = {{4 * chunks}}u;
// Candidates that are ranked in workgroup memory, and that there is room for. Before the list are their number, the largest
// score and the mass of all; each is a token and its score.
const CAPACITY = {{capacity}}u;
const LISTED = {{listed}}u;
const LIST = {{header}}u;
const WORKGROUP = 256u;
// Scores are within these bounds; those of tokens that can never be chosen are below.
const LARGEST = 1.0e38;
const DROPPED = -2.0e38;
const NONE = 0xffffffffu;

// Integers in the order of the floats, which are not NaN.
fn ordered(x: f32) -> u32 {
    let bits = bitcast<u32>(x);
    return bits ^ select(0x80000000u, 0xffffffffu, bits >= 0x80000000u);
}

// Their inverse.
fn unordered(x: u32) -> f32 {
    return bitcast<f32>(x ^ select(0xffffffffu, 0x80000000u, x >= 0x80000000u));
}

// Minus the logarithm of a score's weight, which is 1 for the largest score.
fn depth(x: f32, largest: f32, inverse_temperature: f32) -> f32 {
    return min(min(largest - x, 1.0e30) * inverse_temperature, 200.0);
}

// What to choose by; `docs/sampling.md` says what it means.
struct Sampling {
    greedy: bool,
    inverse_temperature: f32,
    top_k: u32,
    top_p: f32,
    min_p: f32,
    seed: vec2<u32>,
    step: u32,
    // Top-k leaves tokens out; it or top-p does.
    by_count: bool,
    filtered: bool,
}

fn sampling_parameters() -> Sampling {
    var p: Sampling;
    p.greedy = {{sampling.at1("GREEDY")}} != 0u;
    p.inverse_temperature = bitcast<f32>({{sampling.at1("INVERSE_TEMPERATURE")}});
    p.top_k = {{sampling.at1("TOP_K")}};
    p.top_p = bitcast<f32>({{sampling.at1("TOP_P")}});
    p.min_p = bitcast<f32>({{sampling.at1("MIN_P")}});
    p.seed = vec2<u32>({{sampling.at1("SEED")}}, {{sampling.at1("SEED + 1u")}});
    p.step = {{sampling.at1("STEP")}};
    p.by_count = p.top_k > 0u && p.top_k < VOCABULARY;
    p.filtered = p.by_count || p.top_p < 1.0;
    return p;
}
