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

// Minus the logarithm of a score's weight, which is 1 for the largest score.
fn depth(x: f32, largest: f32, inverse_temperature: f32) -> f32 {
    return min(min(largest - x, 1.0e30) * inverse_temperature, 200.0);
}
