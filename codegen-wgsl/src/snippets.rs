//! WGSL functions that several families use.

use qwenc_ir::Activation;

/// `fn activate(x: f32) -> f32`. The exponent is bounded, so that nothing overflows to infinity, which WGSL does not
/// define.
pub(crate) const fn activate(activation: Activation) -> &'static str {
    match activation {
        Activation::Identity => "fn activate(x: f32) -> f32 {\n    return x;\n}",
        Activation::Silu => "fn activate(x: f32) -> f32 {\n    return x / (1.0 + exp(min(-x, 80.0)));\n}",
        Activation::Sigmoid => {
            "fn activate(x: f32) -> f32 {\n    return 1.0 / (1.0 + exp(min(-x, 80.0)));\n}"
        }
    }
}

/// `fn sigmoid(x: f32) -> f32`.
pub(crate) const SIGMOID: &str =
    "fn sigmoid(x: f32) -> f32 {\n    return 1.0 / (1.0 + exp(min(-x, 80.0)));\n}";

/// `fn softplus(x: f32) -> f32`: `ln(1 + e^x)`. With `e = exp(-|x|)` the logarithm is `2 atanh(e / (2 + e))`, whose
/// series stays accurate for small e, where `log` near 1 may be off by 2^-21.
pub(crate) const SOFTPLUS: &str = "\
fn softplus(x: f32) -> f32 {
    let e = exp(-abs(x));
    let z = e / (2.0 + e);
    let y = z * z;
    let series = 1.0 + y * (1.0 / 3.0 + y * (1.0 / 5.0 + y * (1.0 / 7.0 + y * (1.0 / 9.0
        + y * (1.0 / 11.0 + y * (1.0 / 13.0 + y * (1.0 / 15.0)))))));
    return max(x, 0.0) + 2.0 * z * series;
}";
