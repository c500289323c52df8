//! Values: integers, vectors, conversions, composites.

use crate::{run, run_f32};

#[test]
fn integers_where_hardware_differs() {
    let body = "@compute @workgroup_size(1) fn main() {
        let a = input[0]; let b = input[1]; let zero = input[2];
        let s = bitcast<i32>(a); let t = bitcast<i32>(b); let lowest = bitcast<i32>(input[3]);
        output[0] = a / zero;
        output[1] = a % zero;
        output[2] = bitcast<u32>(s / bitcast<i32>(zero));
        output[3] = bitcast<u32>(lowest / t);
        output[4] = bitcast<u32>(lowest % t);
        output[5] = bitcast<u32>(s / 7i);
        output[6] = bitcast<u32>(s % 7i);
        output[7] = a / 7u;
        output[8] = bitcast<u32>(s >> 4u);
        output[9] = a >> 4u;
        output[10] = bitcast<u32>(min(s, 5i));
        output[11] = min(a, 5u);
        output[12] = bitcast<u32>(abs(s));
        output[13] = bitcast<u32>(-s);
        output[14] = ~a;
        output[15] = bitcast<u32>(clamp(s, -3i, 9i));
        output[16] = countOneBits(a);
    }";
    let a = (-100_i32).cast_unsigned();
    let signed = |value: i32| value.cast_unsigned();
    let want = [
        a,
        0,
        a,
        signed(i32::MIN),
        0,
        signed(-14),
        signed(-2),
        a / 7,
        signed(-7),
        a >> 4,
        a,
        5,
        100,
        100,
        99,
        signed(-3),
        a.count_ones(),
    ];
    assert_eq!(run(body, &[a, u32::MAX, 0, 0x8000_0000], want.len(), [1, 1, 1]), want);
}

#[test]
fn bit_fields() {
    let body = "@compute @workgroup_size(1) fn main() {
        let a = input[0];
        for (var offset = 0u; offset < 34u; offset++) {
            for (var count = 0u; count < 34u; count++) {
                let at = (offset * 34u + count) * 2u;
                output[at] = extractBits(a, offset, count);
                output[at + 1u] = bitcast<u32>(extractBits(bitcast<i32>(a), offset, count));
            }
        }
    }";
    let a = 0x9ABC_DEF1_u32;
    let got = run(body, &[a], 34 * 34 * 2, [1, 1, 1]);
    for offset in 0..34_u32 {
        for count in 0..34_u32 {
            let o = offset.min(32);
            let c = count.min(32 - o);
            let bits = (u64::from(a) >> o) & ((1 << c) - 1);
            let sign = c > 0 && bits >> (c - 1) & 1 == 1;
            let signed = if sign { bits | u64::MAX << c } else { bits };
            let at = (offset * 34 + count) as usize * 2;
            assert_eq!(got[at], bits as u32, "{offset} {count}");
            assert_eq!(got[at + 1], signed as u32, "{offset} {count}");
        }
    }
}

#[test]
fn conversions_saturate() {
    let body = "@compute @workgroup_size(1) fn main() {
        for (var i = 0u; i < 6u; i++) {
            let x = bitcast<f32>(input[i]);
            output[i] = bitcast<u32>(i32(x));
            output[i + 6u] = u32(x);
            let v = vec3<f32>(x, -x, x);
            output[i + 12u] = bitcast<u32>(vec3<i32>(v).y);
            output[i + 18u] = vec3<u32>(v).z;
        }
        output[24] = bitcast<u32>(f32(4294967295u));
        output[25] = bitcast<u32>(f32(-5i));
        output[26] = select(0u, 1u, bool(input[0])) + 2u * u32(bitcast<f32>(input[0]) > 1.0);
    }";
    let values = [1.9_f32, -1.9, 3e9, -3e9, 5e9, 0.0];
    let input: Vec<u32> = values.iter().map(|value| value.to_bits()).collect();
    let got = run(body, &input, 27, [1, 1, 1]);
    for (at, value) in values.iter().enumerate() {
        assert_eq!(got[at], (*value as i32).cast_unsigned());
        assert_eq!(got[at + 6], *value as u32);
        assert_eq!(got[at + 12], (-*value as i32).cast_unsigned());
        assert_eq!(got[at + 18], *value as u32);
    }
    assert_eq!(got[24..], [4_294_967_295.0_f32.to_bits(), (-5.0_f32).to_bits(), 3]);
}

#[test]
fn vectors_and_matrices() {
    let body = "@compute @workgroup_size(1) fn main(@builtin(local_invocation_index) lid: u32) {
        let x = bitcast<f32>(input[0]);
        let a = vec4<f32>(x, 2.0, 3.0, 4.0);
        let b = a.wzyx + vec4<f32>(vec2<f32>(0.5, x), a.zw);
        var c = vec3<f32>(b.xyz);
        c.y = 10.0;
        c[lid + input[1]] = 7.0;
        let m = transpose(mat4x4<f32>(a, b, a + b, a * b));
        var at = 0u;
        for (var i = 0u; i < 4u; i++) {
            for (var j = 0u; j < 4u; j++) {
                output[i * 4u + j] = bitcast<u32>(m[i][j]);
            }
        }
        output[16] = bitcast<u32>(c.x);
        output[17] = bitcast<u32>(c.y);
        output[18] = bitcast<u32>(c.z);
        output[19] = bitcast<u32>(dot(c, vec3<f32>(1.0, 2.0, 3.0)));
        let mask = vec3<f32>(1.0, 5.0, 9.0) > vec3<f32>(x * 4.0);
        output[20] = u32(any(mask)) + 2u * u32(all(mask)) + 4u * u32(mask.y);
        let chosen = select(vec3<f32>(1.0), vec3<f32>(2.0), mask);
        output[21] = bitcast<u32>(chosen.x + 10.0 * chosen.y + 100.0 * chosen.z);
        let shifted = vec4<u32>(input[2]) >> vec4<u32>(0u, 4u, 8u, 12u);
        output[22] = shifted.x + shifted.y + shifted.z + shifted.w;
        let d = vec2<u32>(17u, 23u) / vec2<u32>(input[3], 5u);
        output[23] = d.x * 100u + d.y;
        let r = vec2<i32>(-17i, 23i) % vec2<i32>(5i, bitcast<i32>(input[3]));
        output[24] = bitcast<u32>(r.x * 100i + r.y);
        output[25] = bitcast<u32>(length(vec2<f32>(3.0, x * 4.0)));
    }";
    let got = run(body, &[1.0_f32.to_bits(), 2, 0xABCD, 0], 26, [1, 1, 1]);
    let a = [1.0, 2.0, 3.0, 4.0_f32];
    let b = [4.5, 4.0, 5.0, 5.0_f32];
    let rows = |i: usize| [a[i], b[i], a[i] + b[i], a[i] * b[i]];
    let want: Vec<u32> = (0..4).flat_map(rows).map(f32::to_bits).collect();
    assert_eq!(got[..16], want);
    let floats: Vec<f32> = got[16..20].iter().map(|bits| f32::from_bits(*bits)).collect();
    assert_eq!(floats, [4.5, 10.0, 7.0, 4.5 + 20.0 + 21.0]);
    // 1 > 4, 5 > 4, 9 > 4.
    assert_eq!(got[20], 1 + 4);
    assert_eq!(f32::from_bits(got[21]), 1.0 + 20.0 + 200.0);
    assert_eq!(got[22], 0xABCD + 0xABC + 0xAB + 0xA);
    assert_eq!(got[23], 1700 + 4);
    assert_eq!(got[24].cast_signed(), -200);
    assert_eq!(f32::from_bits(got[25]), 5.0);
}

#[test]
fn composites_taken_apart() {
    let body = "
    struct Pair { a: f32, b: vec2<u32> }
    fn make(x: f32, n: u32) -> Pair {
        if (n > 3u) { return Pair(x, vec2<u32>(n, 1u)); }
        var pair: Pair;
        pair.a = x * 2.0;
        pair.b.y = n;
        return pair;
    }
    fn bump(p: ptr<function, u32>) { *p += 5u; }
    const TABLE = array<u32, 3>(7u, 8u, 9u);
    @compute @workgroup_size(1) fn main(@builtin(local_invocation_index) lid: u32) {
        for (var n = 3u; n < 5u; n++) {
            let pair = make(1.5, n);
            output[n * 3u - 9u] = bitcast<u32>(pair.a);
            output[n * 3u - 8u] = pair.b.x;
            output[n * 3u - 7u] = pair.b.y;
        }
        var list = array<u32, 5>(1u, 2u, 3u, 4u, 5u);
        list[input[0]] = 20u;
        list[input[1]] += 30u;
        var sum = 0u;
        for (var i = 0u; i < 5u; i++) { sum = sum * 100u + list[i]; }
        output[6] = sum;
        var table = TABLE;
        output[7] = table[input[0]];
        bump(&sum);
        output[8] = sum;
    }";
    let got = run(body, &[1, 4], 9, [1, 1, 1]);
    let sum = 1_u32.wrapping_mul(100_000_000).wrapping_add(20_030_435);
    assert_eq!(got, [3.0_f32.to_bits(), 0, 3, 1.5_f32.to_bits(), 4, 1, sum, 8, sum + 5]);
}

#[test]
fn halves_widen_exactly() {
    let body = "@compute @workgroup_size(64) fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(local_invocation_index) lid: u32) {
        let i = wid.x * 64u + lid;
        let pair = unpack2x16float(input[i]);
        output[2u * i] = bitcast<u32>(pair.x);
        output[2u * i + 1u] = bitcast<u32>(pair.y);
    }";
    let input: Vec<u32> = (0..32768_u32).map(|i| (2 * i) | (2 * i + 1) << 16).collect();
    let got = run(body, &input, 65536, [512, 1, 1]);
    for (bits, got) in (0..=u16::MAX).zip(got) {
        let want = half::f16::from_bits(bits).to_f32();
        let got = f32::from_bits(got);
        assert!(got.to_bits() == want.to_bits() || (got.is_nan() && want.is_nan()), "{bits:#x}: {got}");
    }
}

#[test]
fn floats_round_to_even() {
    let body = "@compute @workgroup_size(1) fn main() {
        for (var i = 0u; i < 5u; i++) {
            let x = bitcast<f32>(input[i]);
            output[i] = bitcast<u32>(round(x));
            output[i + 5u] = bitcast<u32>(x % 2.0);
            output[i + 10u] = bitcast<u32>(sign(x) + 10.0 * trunc(x));
        }
    }";
    let values = [2.5_f32, -3.5, 0.5, 7.75, -0.25];
    let got = run_f32(body, &values, 15);
    for (at, x) in values.iter().enumerate() {
        assert_eq!(got[at], x.round_ties_even());
        assert_eq!(got[at + 5], x % 2.0);
        assert_eq!(got[at + 10], x.signum() + 10.0 * x.trunc());
    }
}
