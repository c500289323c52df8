//! The causal convolution with its state, and the gates of linear attention.

use qwenc_ir::{Activation, BinaryOp, DType, Dim, Expr, Op, UnaryOp};

use super::call::Call;
use super::heads::demand;
use super::registry::{OpEntry, microsoft, standard};
use crate::onnx::values::{Builder, Result, V, fault};

pub(super) const OPS: &[OpEntry] = &[
    standard("CausalConvWithState", causal_conv),
    microsoft("CausalConvWithState", causal_conv),
    microsoft("LinearAttentionGate", gate),
];

fn causal_conv(b: &mut Builder, call: &Call<'_>) -> Result<Vec<Option<V>>> {
    call.only_int("ndim", 1)?;
    call.only_int("dilation", 1)?;
    call.only_int("state_window", 0)?;
    call.only_int("state_length", 0)?;
    call.only_int("state_update_capacity", 0)?;
    call.only_int("state_channels_last", -1)?;
    call.only_int("input_channel_offset", 0)?;
    call.only_int("input_channels", 0)?;
    let channels_last = call.flag("channels_last", false)?;
    let activation = match call.text("activation", "none")? {
        "none" => Activation::Identity,
        "silu" | "swish" => Activation::Silu,
        other => fault!("activation `{other}` is not supported"),
    };
    let mut x = call.input(0)?;
    if b.rank(x) != 3 {
        fault!("{} must have rank 3", b.ty(x));
    }
    if !channels_last {
        x = b.transpose(x, &[0, 2, 1])?;
    }
    let weight = call.input(1)?;
    let [channels, one, taps] = b.shape(weight) else {
        fault!("the kernel {} must have the layout [channels, 1, taps]", b.ty(weight));
    };
    if !one.is(1) {
        fault!("the kernel {} must have the layout [channels, 1, taps]", b.ty(weight));
    }
    let (channels, taps) = (channels.clone(), taps.clone());
    let weight = b.reshape(weight, &[channels, taps.clone()])?;
    // Exporters write zeros where there is no bias.
    let bias = call.optional(2).filter(|bias| !b.is_zero(*bias));
    let mut past = call.optional(3);
    if let Some(state) = past {
        let width_axis = if channels_last { 1 } else { 2 };
        let width = taps - Dim::constant(1);
        if let Some(have) = b.shape(state).get(width_axis) {
            demand(have, &width)?;
            if *have != width {
                fault!("the state {} must have {width} columns", b.ty(state));
            }
        }
        if channels_last {
            past = Some(b.transpose(state, &[0, 2, 1])?);
        }
    }
    let outputs = b.apply_all(Op::CausalConv { activation }, &[Some(x), Some(weight), bias, past])?;
    let [y, present] = outputs.as_slice() else {
        fault!("the convolution gave {} outputs", outputs.len());
    };
    let (mut y, mut present) = (*y, *present);
    if channels_last {
        present = b.transpose(present, &[0, 2, 1])?;
    } else {
        y = b.transpose(y, &[0, 2, 1])?;
    }
    Ok(vec![Some(y), Some(present)])
}

/// `decay = decay_scale * softplus(a + dt_bias)`, `beta = sigmoid(b)`, in f32 and then as wide as the operands.
fn gate(b: &mut Builder, call: &Call<'_>) -> Result<Vec<Option<V>>> {
    let (a, bias, scale) = (call.input(0)?, call.input(1)?, call.input(2)?);
    let dtype = b.dtype(a);
    let mut sum = Expr::Arg(0);
    if dtype != DType::F32 {
        sum = sum.cast(DType::F32);
    }
    let softplus = sum.binary(BinaryOp::Add, Expr::Arg(1)).unary(UnaryOp::Softplus);
    let mut decay = Expr::Arg(2).binary(BinaryOp::Mul, softplus);
    if dtype != DType::F32 {
        decay = decay.cast(dtype);
    }
    let decay = b.pointwise(&decay, &[a, bias, scale])?;
    let beta = match call.optional(3) {
        Some(input) => Some(b.pointwise(&Expr::Arg(0).unary(UnaryOp::Sigmoid), &[input])?),
        None => None,
    };
    Ok(vec![Some(decay), beta])
}
