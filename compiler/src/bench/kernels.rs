//! The time of every dispatch of a replay, gathered by shader.

use std::collections::BTreeMap;

use qwenc_runtime::engine::{Engine, EngineError};
use qwenc_runtime::format::{Command, Dispatch};
use qwenc_runtime::gpu::{Gpu, MAX_TIMED};
use serde::{Deserialize, Serialize};

use super::counts::is_weight;
use super::run::BenchError;

/// Timed replays of which the median counts; one before them warms up.
const REPLAYS: usize = 7;

/// All dispatches of one shader.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct KernelTime {
    /// The shader's file.
    pub shader: String,
    /// What the first of them computes.
    pub label: String,
    /// Dispatches.
    pub dispatches: usize,
    /// Microseconds of all of them.
    pub microseconds: f64,
    /// Bytes of weights that they bind.
    pub weight_bytes: u64,
}

/// Replays an entry point with these symbols and times every dispatch; the slowest shaders first. States move on meanwhile
/// as they do, and what inputs hold is what counts.
///
/// # Errors
/// [`BenchError::Engine`]; [`BenchError::Gpu`] for a device without time stamps.
pub fn kernels(
    engine: &mut Engine<Gpu>,
    entry: &str,
    symbols: &[(&str, u32)],
) -> Result<Vec<KernelTime>, BenchError> {
    let dispatches = dispatches(engine, entry)?;
    engine.backend().start_timer(u32::try_from(dispatches.len()).unwrap_or(MAX_TIMED))?;
    let timed = replay(engine, entry, symbols);
    engine.backend().stop_timer();
    let replays = timed?;

    let mut shaders: BTreeMap<String, KernelTime> = BTreeMap::new();
    for (at, dispatch) in dispatches.iter().enumerate() {
        let mut times: Vec<f64> = replays.iter().filter_map(|replay| replay.get(at)).copied().collect();
        times.sort_by(f64::total_cmp);
        let median = times.get(times.len() / 2).copied().unwrap_or_default();
        let schedule = engine.schedule();
        let pipeline = usize::try_from(dispatch.pipeline.0).ok().and_then(|at| schedule.pipelines.get(at));
        let shader = pipeline.map(|pipeline| pipeline.shader.clone()).unwrap_or_default();
        let weights = dispatch.bindings.iter().filter(|range| is_weight(schedule, range));
        let kernel = shaders.entry(shader.clone()).or_insert_with(|| KernelTime {
            shader,
            label: dispatch.label.clone(),
            dispatches: 0,
            microseconds: 0.0,
            weight_bytes: 0,
        });
        kernel.dispatches += 1;
        kernel.microseconds += median;
        kernel.weight_bytes += weights.map(|range| range.bytes).sum::<u64>();
    }
    let mut kernels: Vec<_> = shaders.into_values().collect();
    kernels.sort_by(|a, b| b.microseconds.total_cmp(&a.microseconds));
    Ok(kernels)
}

fn dispatches(engine: &Engine<Gpu>, entry: &str) -> Result<Vec<Dispatch>, EngineError> {
    let dispatch = |command: &Command| match command {
        Command::Dispatch(dispatch) => Some(dispatch.clone()),
        Command::Copy(_) | Command::Clear(_) => None,
    };
    Ok(engine.entry(entry)?.commands.iter().filter_map(dispatch).collect())
}

fn replay(
    engine: &mut Engine<Gpu>,
    entry: &str,
    symbols: &[(&str, u32)],
) -> Result<Vec<Vec<f64>>, BenchError> {
    let mut replays = Vec::with_capacity(REPLAYS);
    for turn in 0..=REPLAYS {
        engine.replay_timed(entry, symbols)?;
        let timings = engine.backend().timings()?;
        if turn > 0 {
            replays.push(timings);
        }
    }
    Ok(replays)
}
