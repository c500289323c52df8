//! Measuring what users wait for: the answer to begin, tokens to come, pictures to be seen.

use std::time::{Duration, Instant};

use qwenc_runtime::engine::EngineError;
use qwenc_runtime::gpu::{Gpu, GpuError};
use qwenc_runtime::sampling::SamplingParams;
use qwenc_runtime::session::{Picture, Session, SessionError};
use qwenc_runtime::vision::{Grid, VisionError};

use super::Measurement;

/// Pixels on a side of a patch.
pub const PATCH: u32 = 16;

/// What to measure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BenchPlan {
    /// Lengths of prompts, in tokens.
    pub prompts: Vec<u32>,
    /// Tokens of context at which decoding is measured.
    pub contexts: Vec<u32>,
    /// Tokens that are decoded in one run.
    pub tokens: u32,
    /// Tokens that are brought back at a time.
    pub batch: u32,
    /// Sides of square pictures, in pixels.
    pub pictures: Vec<u32>,
    /// Runs of each.
    pub runs: u32,
}

/// Why something could not be measured.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// The session.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// The engine.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The device.
    #[error(transparent)]
    Gpu(#[from] GpuError),
    /// A picture's size.
    #[error(transparent)]
    Vision(#[from] VisionError),
}

/// Measures all of a plan that fits the bundle, and tells `observer` what comes next.
///
/// # Errors
/// [`BenchError`].
pub fn run(
    session: &mut Session<Gpu>,
    plan: &BenchPlan,
    observer: &mut dyn FnMut(&str),
) -> Result<Vec<Measurement>, BenchError> {
    let most = session.facts().max_context;
    let mut results = Vec::new();
    for tokens in plan.prompts.iter().copied().filter(|tokens| (1..=most).contains(tokens)) {
        observer(&format!("prefill {tokens}"));
        results.extend(prefill(session, tokens, plan.runs)?);
    }
    let chosen =
        SamplingParams { temperature: 0.8, top_k: 20, top_p: 0.95, seed: 1, ..SamplingParams::greedy() };
    for context in &plan.contexts {
        let room = u64::from(*context) + u64::from(plan.tokens) * u64::from(plan.runs + 1) + 1;
        if room > u64::from(most) {
            continue;
        }
        observer(&format!("decode at {context}"));
        results.push(decode(session, plan, *context, &SamplingParams::greedy(), "greedy")?);
        results.push(decode(session, plan, *context, &chosen, "sampled")?);
        results.push(recording(session, plan, *context)?);
    }
    let Some(facts) = session.vision().cloned() else { return Ok(results) };
    for side in &plan.pictures {
        // Patches make blocks.
        let patches = side / PATCH / facts.merge_size.max(1) * facts.merge_size;
        if patches > 0 && u64::from(patches).pow(2) <= u64::from(facts.max_patches) {
            observer(&format!("picture {side} x {side}"));
            results.push(picture(session, Grid::new(1, patches, patches)?, *side, plan.runs)?);
        }
    }
    Ok(results)
}

/// Ids that are none of anybody's, spread over the vocabulary.
fn prompt(session: &Session<Gpu>, tokens: u32) -> Vec<i32> {
    let vocab_size = u64::from(session.facts().vocab_size).max(1);
    let id = |at: u64| i32::try_from((at * 2_654_435_761 + 17) % vocab_size).unwrap_or_default();
    (0..u64::from(tokens)).map(id).collect()
}

/// From the prompt to the first token, which has come back. The first run is not counted.
fn prefill(session: &mut Session<Gpu>, tokens: u32, runs: u32) -> Result<Vec<Measurement>, BenchError> {
    let ids = prompt(session, tokens);
    let greedy = SamplingParams::greedy();
    let mut times = Vec::new();
    for _ in 0..=runs {
        session.reset()?;
        session.start_sampling(&ids)?;
        session.engine().backend().wait("bench")?;
        let start = Instant::now();
        session.prefill(&ids, qwenc_runtime::session::Positions::Text)?;
        session.sample(&greedy)?;
        times.push(start.elapsed());
    }
    let times = times.get(1..).unwrap_or_default();
    Ok(vec![
        Measurement::rate(format!("prefill {tokens}"), tokens, times),
        Measurement::milliseconds(format!("first token after {tokens}"), times),
    ])
}

/// Tokens one after the other, brought back in batches. The first run is not counted.
fn decode(
    session: &mut Session<Gpu>,
    plan: &BenchPlan,
    context: u32,
    params: &SamplingParams,
    how: &str,
) -> Result<Measurement, BenchError> {
    let ids = prompt(session, context);
    session.reset()?;
    session.start_sampling(&ids)?;
    session.prefill(&ids, qwenc_runtime::session::Positions::Text)?;
    session.sample(params)?;
    let mut times = Vec::new();
    for _ in 0..=plan.runs {
        let start = Instant::now();
        let mut left = plan.tokens;
        while left > 0 {
            let count = left.min(plan.batch.max(1));
            session.decode_sampled(qwenc_runtime::session::Positions::Text)?;
            session.sample_batch(params, usize::try_from(count).unwrap_or(1))?;
            left -= count;
        }
        times.push(start.elapsed());
    }
    let name = format!("decode at {context}, {how}");
    Ok(Measurement::rate(name, plan.tokens, times.get(1..).unwrap_or_default()))
}

/// Tokens that are recorded together.
const RECORDED: u32 = 4;

/// What the host does for a token while the GPU is at work: longer than a token, and the GPU waits. Behind [`decode`].
fn recording(session: &mut Session<Gpu>, plan: &BenchPlan, context: u32) -> Result<Measurement, BenchError> {
    let greedy = SamplingParams::greedy();
    let mut times = Vec::new();
    for _ in 0..=plan.runs {
        let fits = u64::from(session.past()) + u64::from(RECORDED) < u64::from(session.facts().max_context);
        if !fits {
            break;
        }
        session.engine().backend().wait("bench")?;
        let start = Instant::now();
        session.engine().begin_batch();
        for _ in 0..RECORDED {
            session.decode_sampled(qwenc_runtime::session::Positions::Text)?;
            session.sample_on_gpu(&greedy)?;
        }
        session.engine().submit_batch()?;
        times.push(start.elapsed() / RECORDED);
    }
    session.engine().backend().wait("bench")?;
    let name = format!("host's part of a token at {context}");
    Ok(Measurement::milliseconds(name, times.get(1..).unwrap_or_default()))
}

/// From a picture's patches to its features, which stay on the device. The first run is not counted.
fn picture(session: &mut Session<Gpu>, grid: Grid, side: u32, runs: u32) -> Result<Measurement, BenchError> {
    let values = session.vision().map_or(0, |facts| facts.patch_values);
    let count = usize::try_from(grid.patches() * u64::from(values)).unwrap_or_default();
    let values: Vec<f32> = (0..count).map(|at| (at % 251) as f32 / 125.0 - 1.0).collect();
    let mut times: Vec<Duration> = Vec::new();
    for _ in 0..=runs {
        session.engine().backend().wait("bench")?;
        let start = Instant::now();
        session.encode(&[Picture { grid, values: &values }])?;
        session.engine().backend().wait("bench")?;
        times.push(start.elapsed());
    }
    let name = format!("picture {side} x {side}");
    Ok(Measurement::milliseconds(name, times.get(1..).unwrap_or_default()))
}
