//! Window functions of signal processing, which are constants.

use qwenc_ir::{DType, Tensor};

use super::call::{Call, element_type};
use super::one;
use super::registry::{OpEntry, standard};
use crate::onnx::values::{Builder, Result, V, fault};

pub(super) const OPS: &[OpEntry] =
    &[standard("BlackmanWindow", window), standard("HammingWindow", window), standard("HannWindow", window)];

/// Longest window.
const MAX_SIZE: usize = 1 << 20;

fn window(b: &mut Builder, call: &Call<'_>) -> Result<Vec<Option<V>>> {
    let terms: [f64; 3] = match call.node.op_type() {
        "BlackmanWindow" => [0.42, -0.5, 0.08],
        "HammingWindow" => [25.0 / 46.0, -21.0 / 46.0, 0.0],
        _ => [0.5, -0.5, 0.0],
    };
    let Some(size) = call.one_dim(b, 0)?.as_usize().filter(|size| *size <= MAX_SIZE) else {
        fault!("the size of the window must be constant, and at most {MAX_SIZE}");
    };
    let dtype = call.optional_int("output_datatype")?.map(element_type).transpose()?.unwrap_or(DType::F32);
    let periodic = call.flag("periodic", true)?;
    #[expect(clippy::cast_precision_loss, reason = "sizes are small")]
    let period = if periodic { size } else { size.saturating_sub(1).max(1) } as f64;
    let mut values = Vec::with_capacity(size);
    for at in 0..size {
        #[expect(clippy::cast_precision_loss, reason = "sizes are small")]
        let angle = std::f64::consts::TAU * at as f64 / period;
        let value = terms[0] + terms[1] * angle.cos() + terms[2] * (2.0 * angle).cos();
        #[expect(clippy::cast_possible_truncation, reason = "windows are used as f32")]
        values.push(value as f32);
    }
    let name = call.node.output.first().map_or("", String::as_str);
    let constant = b.generated(name, Tensor::from_f32(vec![size], &values)?)?;
    one(b.cast(constant, dtype)?)
}
