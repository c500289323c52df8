//! Barriers: regions, what invocations remember, control flow of the workgroup.

use crate::{refusal, run};

#[test]
fn every_workgroup_starts_with_zeros() {
    let body = "
    var<workgroup> a: array<u32, 40>;
    var<workgroup> b: vec4<f32>;
    @compute @workgroup_size(40) fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(local_invocation_index) lid: u32) {
        output[wid.x * 40u + lid] = a[lid] + bitcast<u32>(b.z);
        workgroupBarrier();
        a[lid] = 7u + lid;
        b = vec4<f32>(1.0);
    }";
    assert_eq!(run(body, &[0], 120, [3, 1, 1]), [0; 120]);
}

#[test]
fn invocations_remember_across_barriers() {
    // A value of every type, read from memory in between so that it cannot be computed again.
    let body = "
    var<workgroup> shared_words: array<u32, 32>;
    @compute @workgroup_size(32) fn main(@builtin(local_invocation_index) lid: u32) {
        let word = input[lid];
        let pair = vec2<f32>(f32(word), 0.5);
        let flag = word > 40u;
        var kept = vec4<u32>(word, word + 1u, 2u, 3u);
        shared_words[31u - lid] = word;
        workgroupBarrier();
        let other = shared_words[lid];
        kept.z = other;
        workgroupBarrier();
        shared_words[lid] = 0u;
        workgroupBarrier();
        output[lid] = u32(pair.x + pair.y) * 1000u + select(0u, 100u, flag) + kept.z + shared_words[0] + kept.y - word;
    }";
    let input: Vec<u32> = (0..32).map(|i| i * 3).collect();
    let want: Vec<u32> =
        (0..32).map(|i| i * 3 * 1000 + if i * 3 > 40 { 100 } else { 0 } + (31 - i) * 3 + 1).collect();
    assert_eq!(run(body, &input, 32, [1, 1, 1]), want);
}

#[test]
fn loops_with_barriers() {
    // A scan whose distance doubles, with a loop variable of the workgroup, and a sum over its rounds.
    let body = "
    var<workgroup> line: array<u32, 48>;
    fn shift(lid: u32, by: u32) -> u32 {
        workgroupBarrier();
        var value = 0u;
        if (lid >= by) { value = line[lid - by]; }
        workgroupBarrier();
        return value;
    }
    @compute @workgroup_size(48) fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(local_invocation_index) lid: u32) {
        line[lid] = input[wid.x * 48u + lid];
        var rounds = 0u;
        for (var by = 1u; by < 48u; by *= 2u) {
            let value = shift(lid, by);
            line[lid] += value;
            rounds += 1u;
            if (step.s[0].x == by) { continue; }
            if (step.s[0].y == by) { break; }
        }
        workgroupBarrier();
        output[wid.x * 48u + lid] = line[lid] * 10u + rounds;
    }";
    let input: Vec<u32> = (0..96).map(|i| (i * 7 + 3) % 11).collect();
    let got = run(body, &input, 96, [2, 1, 1]);
    for (at, got) in got.iter().enumerate() {
        let first = at / 48 * 48;
        assert_eq!(*got, input[first..=at].iter().sum::<u32>() * 10 + 6, "{at}");
    }
}

#[test]
fn reductions_of_parts_of_a_workgroup() {
    // Steps of a reduction are for the first invocations of every group only.
    let body = "
    var<workgroup> sums: array<f32, 96>;
    @compute @workgroup_size(96) fn main(@builtin(local_invocation_index) lid: u32) {
        let lane = lid % 32u;
        let group = lid / 32u;
        sums[lid] = f32(input[lid]);
        workgroupBarrier();
        if (lane < 16u) { sums[lid] += sums[lid + 16u]; }
        workgroupBarrier();
        if (lane < 8u) { sums[lid] += sums[lid + 8u]; }
        workgroupBarrier();
        if (lane < 4u) { sums[lid] += sums[lid + 4u]; }
        workgroupBarrier();
        if (lane < 2u) { sums[lid] += sums[lid + 2u]; }
        workgroupBarrier();
        if (lane < 1u) { sums[lid] += sums[lid + 1u]; }
        workgroupBarrier();
        let n = group + lane;
        if (lane < 1u && n < 2u) { output[n] = u32(sums[lid]); }
        if (lid == 95u) { output[2] = u32(sums[64]); }
    }";
    let input: Vec<u32> = (0..96).map(|i| i * i % 17).collect();
    let want: Vec<u32> = input.chunks(32).map(|group| group.iter().sum()).collect();
    assert_eq!(run(body, &input, 3, [1, 1, 1]), want);
}

#[test]
fn early_returns() {
    // The whole workgroup leaves before a barrier, then single invocations after it, and a helper leaves its own loops.
    let body = "
    var<workgroup> line: array<u32, 16>;
    fn first_above(limit: u32) -> u32 {
        for (var i = 0u; i < 16u; i++) {
            if (line[i] > limit) { return i; }
        }
        return 99u;
    }
    @compute @workgroup_size(16) fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(local_invocation_index) lid: u32) {
        if (wid.x >= step.s[0].x - 9u) { return; }
        line[lid] = input[lid] + wid.x;
        workgroupBarrier();
        if (lid % 3u == 1u) { return; }
        let found = first_above(lid * 4u);
        if (found == 99u) {
            output[wid.x * 16u + lid] = 1000u;
            return;
        }
        output[wid.x * 16u + lid] = found;
    }";
    let input: Vec<u32> = (0..16).map(|i| i * 3).collect();
    let got = run(body, &input, 64, [4, 1, 1]);
    for (at, got) in (0..64_u32).zip(got) {
        let (group, lid) = (at / 16, at % 16);
        let found = (0..16).find(|i| i * 3 + group > lid * 4);
        let want = if group >= 2 || lid % 3 == 1 { crate::POISON } else { found.unwrap_or(1000) };
        assert_eq!(got, want, "{at}");
    }
}

#[test]
fn a_condition_from_workgroup_memory_is_decided_by_the_first() {
    let body = "
    var<workgroup> line: array<u32, 8>;
    @compute @workgroup_size(8) fn main(@builtin(local_invocation_index) lid: u32) {
        line[lid] = input[lid];
        workgroupBarrier();
        var left = 0u;
        loop {
            let go_on = line[0] > left;
            workgroupBarrier();
            if (!go_on) { break; }
            line[(lid + 1u) % 8u] += 1u;
            left += 2u;
            workgroupBarrier();
        }
        output[lid] = line[lid] * 100u + left;
    }";
    // The first word grows by one a round, the bound by two.
    assert_eq!(run(body, &[3, 0, 1, 2, 3, 4, 5, 6], 8, [1, 1, 1])[0], 606);
}

#[test]
fn loops_of_single_invocations() {
    let body = "
    @compute @workgroup_size(20) fn main(@builtin(local_invocation_index) lid: u32) {
        var sum = 0u;
        for (var i = 0u; i < 30u; i++) {
            if (i % 3u == lid % 3u) { continue; }
            if (i > lid) { break; }
            var j = i;
            loop {
                sum += 1u;
                continuing {
                    j += 4u;
                    break if j >= lid;
                }
            }
        }
        while (sum > 50u) { sum -= 7u; }
        output[lid] = sum;
    }";
    let got = run(body, &[0], 20, [1, 1, 1]);
    for (lid, got) in (0..20_u32).zip(got) {
        let rounds = |i: u32| 1 + (lid.saturating_sub(i + 1)) / 4;
        let mut sum: u32 = (0..=lid).filter(|i| i % 3 != lid % 3).map(rounds).sum();
        while sum > 50 {
            sum -= 7;
        }
        assert_eq!(got, sum, "{lid}");
    }
}

#[test]
fn functions_that_single_invocations_leave_behind_a_barrier() {
    let body = "
    var<workgroup> line: array<u32, 8>;
    fn look(lid: u32, uniform_flag: bool) -> u32 {
        if (uniform_flag) { return 77u; }
        line[lid] = lid * lid;
        workgroupBarrier();
        let other = line[7u - lid];
        if (other > 20u) { return 1000u + other; }
        for (var i = 0u; i < 8u; i++) {
            if (line[i] > other) { return i; }
        }
        return 500u;
    }
    @compute @workgroup_size(8) fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(local_invocation_index) lid: u32) {
        let found = look(lid, wid.x == 1u);
        workgroupBarrier();
        line[lid] = found;
        workgroupBarrier();
        output[wid.x * 8u + lid] = line[(lid + 1u) % 8u];
    }";
    let got = run(body, &[0], 16, [2, 1, 1]);
    // Squares of 7, 6, 5 are above 20; the first one above n squared is that of n + 1.
    assert_eq!(got[..8], [1036, 1025, 5, 4, 3, 2, 1, 1049]);
    assert_eq!(got[8..], [77; 8]);
}

#[test]
fn a_return_that_tears_a_workgroup_is_refused() {
    let body = "
    var<workgroup> line: array<u32, 8>;
    fn look(lid: u32) -> u32 {
        if (step.s[0].x > 3u) {
            workgroupBarrier();
            if (lid > 3u) { return 1u; }
        }
        return 2u;
    }
    @compute @workgroup_size(8) fn main(@builtin(local_invocation_index) lid: u32) {
        output[lid] = look(lid);
    }";
    let message = refusal(body);
    assert!(message.contains("single invocations"), "{message}");
}

#[test]
fn ways_that_each_have_barriers_and_an_end() {
    // naga ends both ways of the last `if` with a return of their own.
    let body = "
    var<workgroup> line: array<u32, 8>;
    @compute @workgroup_size(8) fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(local_invocation_index) lid: u32) {
        if (wid.x < 2u) {
            line[lid] = input[lid] + wid.x;
            workgroupBarrier();
            if (lid == 5u) { return; }
            output[wid.x * 8u + lid] = line[7u - lid];
        } else {
            line[7u - lid] = input[lid];
            workgroupBarrier();
            if (lid == 2u) { return; }
            output[wid.x * 8u + lid] = 10u * line[lid];
        }
    }";
    let got = run(body, &[0, 1, 2, 3, 4, 5, 6, 7], 24, [3, 1, 1]);
    let p = crate::POISON;
    assert_eq!(got[..8], [7, 6, 5, 4, 3, p, 1, 0]);
    assert_eq!(got[8..16], [8, 7, 6, 5, 4, p, 2, 1]);
    assert_eq!(got[16..], [70, 60, p, 40, 30, 20, 10, 0]);
}
