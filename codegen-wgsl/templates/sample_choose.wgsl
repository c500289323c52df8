// Sampling, last of three: the token, which is counted and becomes the next input. Thresholds of top-k and top-p are found
// among the candidates, by their ranks; when those are more than {{common.capacity}}, among all scores, by halving the range of
// floats.
// Geometry: one workgroup of 256.
{{declarations}}
{{common}}{{draw}}
// Candidates, and their weights, from the largest score on.
var<workgroup> ranked: array<f32, CAPACITY>;
var<workgroup> tokens: array<u32, CAPACITY>;
var<workgroup> weights: array<f32, CAPACITY>;
var<workgroup> kept: u32;

// Mass and number of the scores that come after `tried` in order.
fn above(lid: u32, tried: u32, largest: f32, inverse_temperature: f32) -> vec2<f32> {
    var sums = vec2<f32>();
    for (var i = lid; i < VOCABULARY; i += WORKGROUP) {
        let x = {{scores.at1("i")}};
        if (ordered(x) > tried && x >= -LARGEST) {
            sums += vec2<f32>(exp(-depth(x, largest, inverse_temperature)), 1.0);
        }
    }
    return sum_all(lid, sums);
}

// The smallest bound above which there is less than is needed: mass, or number.
fn bound_of(lid: u32, needed: f32, by_count: bool, largest: f32, inverse_temperature: f32) -> u32 {
    var bound = 0u;
    for (var bit = 0x80000000u; bit > 0u; bit >>= 1u) {
        let sums = above(lid, bound + bit - 1u, largest, inverse_temperature);
        if (select(sums.x, sums.y, by_count) >= needed) {
            bound += bit;
        }
    }
    return bound;
}

@compute @workgroup_size(256)
fn main(@builtin(local_invocation_index) lid: u32) {
    let p = sampling_parameters();
    var key = DROPPED;
    var token = NONE;

    if (!p.filtered) {
        for (var c = lid; c < CHUNKS; c += WORKGROUP) {
            let fresh = bitcast<f32>({{best.at2("c", "0u")}});
            let other = {{best.at2("c", "1u")}};
            if (other != NONE && (token == NONE || fresh > key)) {
                key = fresh;
                token = other;
            }
        }
    } else {
        // The largest score, and the mass of all.
        var largest = DROPPED;
        for (var g = 0u; g < GROUPS; g++) {
            largest = max(largest, {{groups.at2("g", "0u")}});
        }
        var mass = 0.0;
        for (var g = lid; g < GROUPS; g += WORKGROUP) {
            mass += {{groups.at2("g", "1u")}} * exp(-depth({{groups.at2("g", "0u")}}, largest, p.inverse_temperature));
        }
        let all = sum_all(lid, vec2<f32>(mass, 0.0)).x;
        let count = {{candidates.at1("0u")}};
        if (count <= CAPACITY) {
            for (var n = lid; n < count; n += WORKGROUP) {
                let i = {{candidates.at1("n + 1u")}};
                ranked[n] = {{scores.at1("i")}};
                tokens[n] = i;
            }
            workgroupBarrier();
            var ranks = vec2<u32>();
            for (var e = 0u; e < {{common.capacity / 256}}u; e++) {
                let n = lid + e * WORKGROUP;
                if (n < count) {
                    let x = ranked[n];
                    let i = tokens[n];
                    var rank = 0u;
                    for (var other = 0u; other < count; other++) {
                        let y = ranked[other];
                        rank += select(0u, 1u, y > x || (y == x && tokens[other] < i));
                    }
                    ranks[e] = rank;
                }
            }
            workgroupBarrier();
            for (var e = 0u; e < {{common.capacity / 256}}u; e++) {
                let n = lid + e * WORKGROUP;
                if (n < count) {
                    let i = {{candidates.at1("n + 1u")}};
                    let x = {{scores.at1("i")}};
                    ranked[ranks[e]] = x;
                    tokens[ranks[e]] = i;
                    weights[ranks[e]] = exp(-depth(x, largest, p.inverse_temperature));
                }
            }
            workgroupBarrier();
            if (lid == 0u) {
                var end = count;
                var total = all;
                if (p.by_count) {
                    if (p.top_k < count) {
                        end = p.top_k;
                        while (end < count && ranked[end] == ranked[end - 1u]) {
                            end++;
                        }
                    }
                    total = 0.0;
                    for (var n = 0u; n < end; n++) {
                        total += weights[n];
                    }
                }
                if (p.top_p < 1.0) {
                    let needed = total * p.top_p;
                    var with_equal = 0.0;
                    for (var n = 0u; n < end; n++) {
                        if (n > 0u && ranked[n] != ranked[n - 1u] && with_equal >= needed) {
                            end = n;
                        }
                        with_equal += weights[n];
                    }
                }
                while (end > 1u && weights[end - 1u] < p.min_p) {
                    end--;
                }
                kept = end;
            }
            workgroupBarrier();
            for (var n = lid; n < kept; n += WORKGROUP) {
                let fresh = key_of(false, 0.0, depth(ranked[n], largest, p.inverse_temperature), tokens[n], p.step, p.seed);
                if (token == NONE || fresh > key || (fresh == key && tokens[n] < token)) {
                    key = fresh;
                    token = tokens[n];
                }
            }
        } else {
            var bound = 0u;
            var total = all;
            if (p.by_count) {
                bound = bound_of(lid, f32(p.top_k), true, largest, p.inverse_temperature);
                total = above(lid, max(bound, 1u) - 1u, largest, p.inverse_temperature).x;
            }
            if (p.top_p < 1.0) {
                let needed = max(total * p.top_p, 1.0e-30);
                bound = max(bound, bound_of(lid, needed, false, largest, p.inverse_temperature));
            }
            for (var i = lid; i < VOCABULARY; i += WORKGROUP) {
                let x = {{scores.at1("i")}};
                let down = depth(x, largest, p.inverse_temperature);
                if (ordered(x) >= bound && x >= -LARGEST && exp(-down) >= p.min_p) {
                    let fresh = key_of(false, 0.0, down, i, p.step, p.seed);
                    if (fresh > key) {
                        key = fresh;
                        token = i;
                    }
                }
            }
        }
    }
    token = best_of_all(lid, key, token);
    if (lid == 0u) {
        {{token.at1("0u")}} = token;
        {{input_ids.at1("0u")}} = i32(select(token, 0u, token == NONE));
        if (token != NONE) {
            {{counts.at1("token")}} += 1u;
        }
    }
}
