// Sampling, second of three. Without top-k and top-p: the best token of every 1024. Else the tokens that may be kept, in any order, and
// their number: those from a score on that is not above the threshold, as the groups' largest scores and masses alone already
// prove that from it on there are k, or the mass.
// Geometry: one workgroup of 256 for 1024 tokens, four neighbours an invocation.
{{declarations}}
{{common}}{{draw}}
var<workgroup> largest_each: array<f32, 272>;
var<workgroup> largest_of_16: array<f32, 16>;
// With top-k up to this, the groups of an invocation count as one.
const RANKED = 128u;
// All scores of an invocation's groups but one.
const BESIDES = {{groups.len() * 256 - 1}}.0;
// Of every invocation the largest score, its weight, and the mass.
var<workgroup> rivals: array<vec4<f32>, WORKGROUP>;

fn largest_of_all(lid: u32, x: f32) -> f32 {
    largest_each[lid + lid / 16u] = x;
    workgroupBarrier();
    if (lid < 16u) {
        var part = largest_each[lid * 17u];
{%- for i in 1..16 %}
        part = max(part, largest_each[lid * 17u + {{i}}u]);
{%- endfor %}
        largest_of_16[lid] = part;
    }
    workgroupBarrier();
    var largest = largest_of_16[0];
{%- for i in 1..16 %}
    largest = max(largest, largest_of_16[{{i}}]);
{%- endfor %}
    return largest;
}

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(local_invocation_index) lid: u32) {
    let p = sampling_parameters();
    let first = wid.x * 256u + lid;
    let x4 = {{scores.at1("first")}};
    // Largest scores of groups, and their sums.
{%- for [top, sum] in groups %}
{%- let n = loop.index0 %}
    var top_{{n}} = DROPPED;
    var sum_{{n}} = 0.0;
    if (lid + {{n * 256}}u < GROUPS) {
        top_{{n}} = {{top}};
        sum_{{n}} = {{sum}};
    }
{%- endfor %}
    var most = top_0;
{%- for n in 1..groups.len() %}
    most = max(most, top_{{n}});
{%- endfor %}
    let largest = largest_of_all(lid, most);

    if (p.filtered) {
        // Masses of the groups that an invocation looks at, together.
        var mass = 0.0;
{%- for n in 0..groups.len() %}
        mass += sum_{{n}} * exp(-depth(top_{{n}}, largest, p.inverse_temperature));
{%- endfor %}
        let all = sum_all(lid, vec4<f32>(mass, 0.0, 0.0, 0.0)).x;
        var bound = -LARGEST;
        if (p.by_count && p.top_k > RANKED) {
            // The place of a bound from which on there are enough groups, as large as that is but for its last bits.
            var place = 0u;
            for (var shift = 30u; shift >= 8u; shift -= 2u) {
                let tried = vec3<u32>(place) + (vec3<u32>(1u, 2u, 3u) << vec3<u32>(shift));
                var enough = vec3<f32>();
{%- for n in 0..groups.len() %}
                if (top_{{n}} >= -LARGEST) {
                    enough += select(vec3<f32>(), vec3<f32>(1.0), vec3<u32>(ordered(top_{{n}})) >= tried);
                }
{%- endfor %}
                place = raised(place, shift, sum_all(lid, vec4<f32>(enough, 0.0)), f32(p.top_k));
            }
            bound = unordered(max(place, ordered(-LARGEST)));
        } else {
            // A little more than needed, for what rounding takes; never 0, which no mass at all would reach.
            let needed = select(max(all * p.top_p * 1.0001, 1.0e-30), f32(p.top_k), p.by_count);
            // Every invocation tries its largest score as bound. With top-k, others that reach it count for one. Else of an
            // invocation's scores at most all but one are below the bound, and weigh less.
            let weight = exp(-depth(most, largest, p.inverse_temperature));
            let below = BESIDES * weight;
            rivals[lid] = select(vec4<f32>(most, weight, mass, 0.0), vec4<f32>(most, 1.0, 0.0, 0.0), p.by_count);
            workgroupBarrier();
            var enough = 0.0;
            for (var other = 0u; other < WORKGROUP; other += 8u) {
{%- for i in 0..8 %}
                let rival_{{i}} = rivals[other + {{i}}u];
                enough += select(0.0, max(rival_{{i}}.y, rival_{{i}}.z - below), rival_{{i}}.x >= most);
{%- endfor %}
            }
            // Where none has enough, all scores may be kept.
            bound = max(bound, largest_of_all(lid, select(DROPPED, most, enough >= needed)));
        }
{%- for i in 0..4 %}
        if (x4.{{components[i]}} >= bound) {
            let slot = atomicAdd(&{{candidates.at1("0u")}}, 1u);
            if (slot < LISTED) {
                atomicStore(&{{candidates.at1("LIST + 2u * slot")}}, 4u * first + {{i}}u);
                atomicStore(&{{candidates.at1("LIST + 2u * slot + 1u")}}, bitcast<u32>(x4.{{components[i]}}));
            }
        }
{%- endfor %}
        if (wid.x == 0u && lid == 0u) {
            atomicStore(&{{candidates.at1("1u")}}, bitcast<u32>(largest));
            atomicStore(&{{candidates.at1("2u")}}, bitcast<u32>(all));
        }
    } else {
        var choice = Choice(DROPPED, NONE);
        for (var i = 0u; i < 4u; i++) {
            let x = x4[i];
            let down = depth(x, largest, p.inverse_temperature);
            if (x >= -LARGEST && (p.greedy || exp(-down) >= p.min_p)) {
                let token = 4u * first + i;
                choice = better(choice, Choice(key_of(p.greedy, x, down, token, p.step, p.seed), token));
            }
        }
        let best = best_of_all(lid, choice);
        if (lid == 0u) {
            {{best.at2("wid.x", "0u")}} = bitcast<u32>(best.key);
            {{best.at2("wid.x", "1u")}} = best.token;
        }
    }
}
