//! Functions of floats, held to the same function in f64.

use crate::run_f32;

/// How many values of f32 lie between two.
fn distance(a: f32, b: f32) -> u32 {
    let order = |x: f32| {
        let bits = x.to_bits().cast_signed();
        if bits < 0 { i32::MIN - bits } else { bits }
    };
    order(a).abs_diff(order(b))
}

/// The largest distance over values, in units of the last place.
fn worst(call: &str, values: &[f32], exact: impl Fn(f64) -> f64) -> u32 {
    let count = values.len();
    let body = format!(
        "@compute @workgroup_size(1) fn main() {{
            for (var i = 0u; i < {count}u; i++) {{
                let x = bitcast<f32>(input[i]);
                output[i] = bitcast<u32>({call});
            }}
        }}"
    );
    let mut worst = 0;
    for (x, got) in values.iter().zip(run_f32(&body, values, count)) {
        let want = exact(f64::from(*x)) as f32;
        if want.is_nan() {
            assert!(got.is_nan(), "{call} of {x} is {got}");
        } else {
            worst = worst.max(distance(got, want));
        }
    }
    worst
}

/// From `low` to `high`, and what lies beyond everything.
fn range(low: f32, high: f32) -> Vec<f32> {
    let steps = 3001_u16;
    let mut values: Vec<f32> =
        (0..steps).map(|i| low + (high - low) * (f32::from(i) / f32::from(steps - 1))).collect();
    values.extend([0.0, -0.0, 1.0, -1.0, f32::MIN_POSITIVE, 1e-42, -1e-42, f32::MAX, f32::MIN]);
    values.extend([f32::INFINITY, f32::NEG_INFINITY, f32::NAN]);
    values
}

#[test]
fn within_one_place() {
    assert!(worst("exp(x)", &range(-110.0, 95.0), f64::exp) <= 1);
    assert!(worst("exp(x)", &range(-1.0, 1.0), f64::exp) <= 1);
    assert!(worst("exp2(x)", &range(-160.0, 130.0), f64::exp2) <= 1);
    assert!(worst("log(x)", &range(0.0, 3.0), f64::ln) <= 1);
    assert!(worst("log(x)", &range(0.0, 1e30), f64::ln) <= 1);
    assert!(worst("log2(x)", &range(0.9, 1.1), f64::log2) <= 1);
    assert!(worst("tanh(x)", &range(-12.0, 12.0), f64::tanh) <= 1);
    assert!(worst("tanh(x)", &range(-0.01, 0.01), f64::tanh) <= 1);
    assert!(worst("sqrt(x)", &range(0.0, 100.0), f64::sqrt) <= 1);
    assert!(worst("pow(abs(x), 2.5)", &range(0.0, 40.0), |x| x.abs().powf(2.5)) <= 1);
    // Two roundings.
    assert!(worst("inverseSqrt(x)", &range(0.0, 100.0), |x| x.sqrt().recip()) <= 2);
}

#[test]
fn angles() {
    // The arguments are f32, so that the exact value is that of the argument; only reduction can lose digits.
    let all = range(-300.0, 300.0);
    let values: Vec<f32> = all.into_iter().filter(|x| x.abs() < 1e6 || !x.is_finite()).collect();
    assert!(worst("sin(x)", &values, f64::sin) <= 1);
    assert!(worst("cos(x)", &values, f64::cos) <= 1);
    let large: Vec<f32> = (0..2000_u16).map(|i| f32::from(i) * 4099.7).collect();
    assert!(worst("sin(x)", &large, f64::sin) <= 2);
    assert!(worst("cos(x)", &large, f64::cos) <= 2);
}
