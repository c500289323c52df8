// Rotary position embedding. Input and output are heads [S, {{heads}}, {{width}}]; the first {{2 * half}} elements of a
// head are rotated in pairs, the others copied.
// Geometry: one invocation a pair or a copied element; {{workgroup}} a workgroup.
{{declarations}}
const HEADS = {{heads}}u;
const HALF = {{half}}u;
// Pairs and copied elements of a head.
const UNITS = {{width - half}}u;

{{angle}}

@compute @workgroup_size({{workgroup}})
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(local_invocation_index) lid: u32) {
    let unit = {{group}} * {{workgroup}}u + lid;
    let s = unit / (HEADS * UNITS);
    if (s >= {{tokens}}) {
        return;
    }
    let head = unit / UNITS % HEADS;
    let item = unit % UNITS;
    if (item < HALF) {
        let turn = angle(s, item);
        let a = {{input.at3("s", "head", first)}};
        let b = {{input.at3("s", "head", second)}};
        {{output.at3("s", "head", first)}} = a * turn.x - b * turn.y;
        {{output.at3("s", "head", second)}} = b * turn.x + a * turn.y;
    } else {
        let d = item + HALF;
        {{output.at3("s", "head", "d")}} = {{input.at3("s", "head", "d")}};
    }
}
