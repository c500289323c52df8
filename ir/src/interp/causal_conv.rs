//! Causal depthwise convolution with its window state.

use super::eval::{Args, Result};
use super::host::Data;
use super::scalar::{activate, round};
use crate::op::Activation;

pub(super) fn causal_conv(activation: Activation, args: Args<'_>) -> Result<Vec<Data>> {
    let (x, weight) = (args.floats(0)?, args.floats(1)?);
    let (bias, past) = (args.optional_floats(2)?, args.optional_floats(3)?);
    // Infer has checked the ranks.
    let [batch, sequence, channels] = <[usize; 3]>::try_from(args.need(0)?.shape()).unwrap_or_default();
    let taps = args.need(1)?.shape().last().copied().unwrap_or(1);
    let window = args.get(3).and_then(|past| past.shape().last().copied()).unwrap_or(taps - 1);

    let mut y = vec![0.0; x.len()];
    let mut present = Vec::with_capacity(batch * channels * window);
    for b in 0..batch {
        for channel in 0..channels {
            // The state followed by this call, as one history of the channel.
            let mut history: Vec<f32> = match past {
                Some(past) => past[(b * channels + channel) * window..][..window].to_vec(),
                None => vec![0.0; window],
            };
            history.extend((0..sequence).map(|s| x[(b * sequence + s) * channels + channel]));
            let first = window - (taps - 1);
            for s in 0..sequence {
                let seen = &history[first + s..][..taps];
                let weights = &weight[channel * taps..][..taps];
                let sum: f64 = seen.iter().zip(weights).map(|(x, w)| f64::from(*x) * f64::from(*w)).sum();
                let sum = sum + bias.map_or(0.0, |bias| f64::from(bias[channel]));
                y[(b * sequence + s) * channels + channel] = round(activate(activation, sum));
            }
            present.extend_from_slice(&history[sequence..]);
        }
    }
    Ok(vec![Data::F32(y), Data::F32(present)])
}
