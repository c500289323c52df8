// Sampling, last of three: the token, which is counted and becomes the next input. Thresholds of top-k and top-p are found
// among the candidates, by their ranks; when those are more than {{common.capacity}}, by dividing the range of floats: among the candidates, or among
// all scores when there was no room for the candidates.
// Geometry: one workgroup of 256.
{{declarations}}
{{common}}{{draw}}
// Candidates: place of the score in order, and token. Padded, so that they can be read four at a time.
var<workgroup> pairs: array<vec2<u32>, CAPACITY>;
// By rank: weight, and number of larger scores.
var<workgroup> ranked: array<vec2<f32>, CAPACITY>;

// Among what thresholds are searched for.
struct Search {
    // In the list of candidates, or of all scores the vectors.
    listed: bool,
    count: u32,
    largest: f32,
    inverse_temperature: f32,
}

// What scores of a vector from thresholds on add up to: number or mass.
fn enough(x: vec4<f32>, tried: vec3<u32>, by_count: bool, s: Search) -> vec3<f32> {
    let down = min(min(s.largest - x, vec4<f32>(1.0e30)) * s.inverse_temperature, vec4<f32>(200.0));
    let weights = select(vec4<f32>(), select(exp(-down), vec4<f32>(1.0), by_count), x >= vec4<f32>(-LARGEST));
    let order = vec4<u32>(ordered(x.x), ordered(x.y), ordered(x.z), ordered(x.w));
    return vec3<f32>(
        dot(weights, vec4<f32>(order >= vec4<u32>(tried.x))),
        dot(weights, vec4<f32>(order >= vec4<u32>(tried.y))),
        dot(weights, vec4<f32>(order >= vec4<u32>(tried.z))),
    );
}

// A word of the list of candidates.
fn listed_word(at: u32) -> u32 {
    return {{candidates.at1("LIST + at")}};
}

// The score of a candidate; one that is never chosen beyond the last.
fn listed_score(n: u32, count: u32) -> f32 {
    return select(DROPPED, bitcast<f32>(listed_word(2u * min(n, LISTED - 1u) + 1u)), n < count);
}

// Mass or number of the scores from thresholds on.
fn from_thresholds(lid: u32, tried: vec3<u32>, by_count: bool, s: Search) -> vec3<f32> {
    var sums = vec3<f32>();
    if (s.listed) {
        for (var n = lid; n < s.count; n += 4u * WORKGROUP) {
            let x = vec4<f32>(
                listed_score(n, s.count),
                listed_score(n + WORKGROUP, s.count),
                listed_score(n + 2u * WORKGROUP, s.count),
                listed_score(n + 3u * WORKGROUP, s.count),
            );
            sums += enough(x, tried, by_count, s);
        }
    } else {
        for (var n = lid; n < CHUNKS * WORKGROUP; n += {{scan.len()}}u * WORKGROUP) {
{%- for x in scan %}
            let x_{{loop.index0}} = {{x}};
{%- endfor %}
{%- for i in 0..scan.len() %}
            if (n + {{i}}u * WORKGROUP < CHUNKS * WORKGROUP) {
                sums += enough(x_{{i}}, tried, by_count, s);
            }
{%- endfor %}
        }
    }
    return sum_all(lid, vec4<f32>(sums, 0.0)).xyz;
}

@compute @workgroup_size(256)
fn main(@builtin(local_invocation_index) lid: u32) {
    let p = sampling_parameters();
    let count = {{candidates.at1("0u")}};
    let largest = bitcast<f32>({{candidates.at1("1u")}});
    let all = bitcast<f32>({{candidates.at1("2u")}});
    var choice = Choice(DROPPED, NONE);

    if (!p.filtered) {
        for (var c = lid; c < CHUNKS; c += WORKGROUP) {
            choice = better(choice, Choice(bitcast<f32>({{best.at2("c", "0u")}}), {{best.at2("c", "1u")}}));
        }
    } else if (count <= CAPACITY) {
{%- for e in 0..common.capacity / 256 %}
        let token_{{e}} = listed_word(2u * lid + {{e * 512}}u);
        let bits_{{e}} = listed_word(2u * lid + {{e * 512 + 1}}u);
{%- endfor %}
{%- for e in 0..common.capacity / 256 %}
        let holds_{{e}} = lid + {{e * 256}}u < count;
        let score_{{e}} = select(DROPPED, bitcast<f32>(bits_{{e}}), holds_{{e}});
        let order_{{e}} = ordered(score_{{e}});
        let weight_{{e}} = exp(-depth(score_{{e}}, largest, p.inverse_temperature));
        var larger_{{e}} = 0u;
        pairs[lid + {{e * 256}}u] = vec2<u32>(order_{{e}}, select(NONE, token_{{e}}, holds_{{e}}));
{%- endfor %}
        workgroupBarrier();
{%- for e in 0..common.capacity / 256 %}
        if (holds_{{e}}) {
            var rank = 0u;
            for (var other = 0u; other < count; other += 4u) {
{%- for i in 0..4 %}
                let pair_{{i}} = pairs[other + {{i}}u];
                larger_{{e}} += select(0u, 1u, pair_{{i}}.x > order_{{e}});
                rank += select(0u, 1u, pair_{{i}}.x == order_{{e}} && pair_{{i}}.y < token_{{e}});
{%- endfor %}
            }
            ranked[larger_{{e}} + rank] = vec2<f32>(weight_{{e}}, f32(larger_{{e}}));
        } else {
            ranked[lid + {{e * 256}}u] = vec2<f32>();
        }
{%- endfor %}
        workgroupBarrier();
        let top_k = select(NONE, p.top_k, p.by_count);
{%- for e in 0..common.capacity / 256 %}
        if (holds_{{e}}) {
            // Masses of what top-k keeps, and of larger scores, in the order of ranks.
            var kept = 0.0;
            var mass = 0.0;
            if (p.top_p < 1.0) {
                for (var rank = 0u; rank < count; rank += 4u) {
{%- for i in 0..4 %}
                    let entry_{{i}} = ranked[rank + {{i}}u];
                    kept += select(0.0, entry_{{i}}.x, u32(entry_{{i}}.y) < top_k);
                    mass += select(0.0, entry_{{i}}.x, rank + {{i}}u < larger_{{e}});
{%- endfor %}
                }
            }
            let needed = select(all, kept, p.by_count) * p.top_p;
            let among = larger_{{e}} == 0u || p.top_p >= 1.0 || mass < needed;
            if (larger_{{e}} < top_k && among && weight_{{e}} >= p.min_p) {
                let down = depth(score_{{e}}, largest, p.inverse_temperature);
                choice = better(choice, Choice(key_of(false, 0.0, down, token_{{e}}, p.step, p.seed), token_{{e}}));
            }
        }
{%- endfor %}
    } else {
        let s = Search(count <= LISTED, count, largest, p.inverse_temperature);
        // The largest bounds from which on there is what is needed, two bits a turn: first the number, then the mass of what
        // that leaves, then a part of it.
        var counted = 0u;
        var bound = 0u;
        var total = all;
        for (var turn = 0u; turn < 33u; turn++) {
            if ((turn <= 16u && !p.by_count) || (turn > 16u && p.top_p >= 1.0)) {
                continue;
            }
            let shift = 30u - 2u * (turn % 17u % 16u);
            let begin = select(bound, counted, turn <= 16u);
            let tried = vec3<u32>(begin) + select(vec3<u32>(1u, 2u, 3u) << vec3<u32>(shift), vec3<u32>(), turn == 16u);
            let sums = vec4<f32>(from_thresholds(lid, tried, turn < 16u, s), 0.0);
            if (turn < 16u) {
                counted = raised(counted, shift, sums, f32(p.top_k));
            } else if (turn == 16u) {
                total = sums.x;
            } else {
                bound = raised(bound, shift, sums, max(total * p.top_p, 1.0e-30));
            }
        }
        bound = max(bound, counted);
        let end = select(VOCABULARY, count, s.listed);
        for (var n = lid; n < end; n += WORKGROUP) {
            var token = n;
            var x = 0.0;
            if (s.listed) {
                token = listed_word(2u * n);
                x = listed_score(n, count);
            } else {
                x = {{scores.at1("n / 4u")}}[n % 4u];
            }
            let down = depth(x, largest, p.inverse_temperature);
            if (ordered(x) >= bound && x >= -LARGEST && exp(-down) >= p.min_p) {
                choice = better(choice, Choice(key_of(false, 0.0, down, token, p.step, p.seed), token));
            }
        }
    }
    let token = best_of_all(lid, choice).token;
    if (lid == 0u) {
        {{token.at1("0u")}} = token;
        {{input_ids.at1("0u")}} = i32(select(token, 0u, token == NONE));
        if (token != NONE) {
            {{counts.at1("token")}} += 1u;
        }
    }
}
