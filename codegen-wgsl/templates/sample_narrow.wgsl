// Sampling, second of three. Without top-k and top-p: the best token of every 1024. Else the tokens that may be kept, up to
// {{capacity}}, in any order, and their number: those from a score on that is not above the threshold, as the largest scores
// of groups alone already reach k, or the mass.
// Geometry: one workgroup of 256 for 1024 tokens.
{{declarations}}
{{common}}{{draw}}
const GROUPS = {{groups_count}}u;
const CAPACITY = {{capacity}}u;

var<workgroup> largest_all: array<f32, WORKGROUP>;

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(local_invocation_index) lid: u32) {
    let inverse_temperature = bitcast<f32>({{sampling.at1("INVERSE_TEMPERATURE")}});
    let top_k = {{sampling.at1("TOP_K")}};
    let top_p = bitcast<f32>({{sampling.at1("TOP_P")}});
    let by_count = top_k > 0u && top_k < VOCABULARY;
    let filtered = by_count || top_p < 1.0;

    var most = DROPPED;
    for (var g = lid; g < GROUPS; g += WORKGROUP) {
        most = max(most, {{groups.at2("g", "0u")}});
    }
    largest_all[lid] = most;
    workgroupBarrier();
    for (var span = 128u; span > 0u; span /= 2u) {
        if (lid < span) {
            largest_all[lid] = max(largest_all[lid], largest_all[lid + span]);
        }
        workgroupBarrier();
    }
    let largest = largest_all[0];
    let first = wid.x * 1024u + lid;

    if (filtered) {
        var mass = 0.0;
        for (var g = lid; g < GROUPS; g += WORKGROUP) {
            mass += {{groups.at2("g", "1u")}} * exp(-depth({{groups.at2("g", "0u")}}, largest, inverse_temperature));
        }
        // A little more than needed, for what rounding takes; never 0, which no mass at all would reach.
        let all = sum_all(lid, vec2<f32>(mass, 0.0)).x;
        let needed = select(max(all * top_p * 1.0001, 1.0e-30), f32(top_k), by_count);
        // The smallest bound above which groups' largest scores do not reach what is needed.
        var bound = 0u;
        for (var bit = 0x80000000u; bit > 0u; bit >>= 1u) {
            let tried = bound + bit - 1u;
            var above = vec2<f32>();
            for (var g = lid; g < GROUPS; g += WORKGROUP) {
                let x = {{groups.at2("g", "0u")}};
                if (ordered(x) > tried && x >= -LARGEST) {
                    above += vec2<f32>(exp(-depth(x, largest, inverse_temperature)), 1.0);
                }
            }
            let sums = sum_all(lid, above);
            if (select(sums.x, sums.y, by_count) >= needed) {
                bound += bit;
            }
        }
        for (var n = 0u; n < 4u; n++) {
            let i = first + n * 256u;
            if (i < VOCABULARY) {
                let x = {{scores.at1("i")}};
                if (ordered(x) >= bound && x >= -LARGEST) {
                    let slot = atomicAdd(&{{candidates.at1("0u")}}, 1u);
                    if (slot < CAPACITY) {
                        atomicStore(&{{candidates.at1("slot + 1u")}}, i);
                    }
                }
            }
        }
    } else {
        let greedy = {{sampling.at1("GREEDY")}} != 0u;
        let min_p = bitcast<f32>({{sampling.at1("MIN_P")}});
        let step_ = {{sampling.at1("STEP")}};
        let seed = vec2<u32>({{sampling.at1("SEED")}}, {{sampling.at1("SEED + 1u")}});
        var key = DROPPED;
        var token = NONE;
        for (var n = 0u; n < 4u; n++) {
            let i = first + n * 256u;
            if (i < VOCABULARY) {
                let x = {{scores.at1("i")}};
                let down = depth(x, largest, inverse_temperature);
                if (x >= -LARGEST && (greedy || exp(-down) >= min_p)) {
                    let fresh = key_of(greedy, x, down, i, step_, seed);
                    if (fresh > key) {
                        key = fresh;
                        token = i;
                    }
                }
            }
        }
        token = best_of_all(lid, key, token);
        if (lid == 0u) {
            {{best.at2("wid.x", "0u")}} = bitcast<u32>(best_keys[0]);
            {{best.at2("wid.x", "1u")}} = token;
        }
    }
}
