// Sampling, second of three. Without top-k and top-p: the best token of every 1024. Else the tokens that may be kept, up to
// {{common.capacity}}, in any order, and their number: those from a score on that is not above the threshold, as the largest scores
// of groups alone already reach k, or the mass.
// Geometry: one workgroup of 256 for 1024 tokens.
{{declarations}}
{{common}}{{draw}}
var<workgroup> largest_all: array<f32, WORKGROUP>;

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(local_invocation_index) lid: u32) {
    let p = sampling_parameters();
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

    if (p.filtered) {
        var mass = 0.0;
        for (var g = lid; g < GROUPS; g += WORKGROUP) {
            mass += {{groups.at2("g", "1u")}} * exp(-depth({{groups.at2("g", "0u")}}, largest, p.inverse_temperature));
        }
        // A little more than needed, for what rounding takes; never 0, which no mass at all would reach.
        let all = sum_all(lid, vec2<f32>(mass, 0.0)).x;
        let needed = select(max(all * p.top_p * 1.0001, 1.0e-30), f32(p.top_k), p.by_count);
        // The smallest bound above which groups' largest scores do not reach what is needed.
        var bound = 0u;
        for (var bit = 0x80000000u; bit > 0u; bit >>= 1u) {
            let tried = bound + bit - 1u;
            var above = vec2<f32>();
            for (var g = lid; g < GROUPS; g += WORKGROUP) {
                let x = {{groups.at2("g", "0u")}};
                if (ordered(x) > tried && x >= -LARGEST) {
                    above += vec2<f32>(exp(-depth(x, largest, p.inverse_temperature)), 1.0);
                }
            }
            let sums = sum_all(lid, above);
            if (select(sums.x, sums.y, p.by_count) >= needed) {
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
        var key = DROPPED;
        var token = NONE;
        for (var n = 0u; n < 4u; n++) {
            let i = first + n * 256u;
            if (i < VOCABULARY) {
                let x = {{scores.at1("i")}};
                let down = depth(x, largest, p.inverse_temperature);
                if (x >= -LARGEST && (p.greedy || exp(-down) >= p.min_p)) {
                    let fresh = key_of(p.greedy, x, down, i, p.step, p.seed);
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
