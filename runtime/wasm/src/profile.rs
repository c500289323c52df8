//! The time of every dispatch of one decoded token.

use js_sys::Object;
use qwenc_runtime::engine::Engine;
use qwenc_runtime::format::{Command, Dispatch};
use qwenc_runtime::order::sorted;
use wasm_bindgen::JsValue;

use crate::device::Device;
use crate::error::{Code, Failure};
use crate::object::{array, object};

/// The entry point that is timed.
const ENTRY: &str = "decode";
/// Most steps of a profile.
const MAX_STEPS: u32 = 64;

/// Decodes token 0 over and over, and gives medians.
pub(crate) async fn profile(engine: &mut Engine<Device>, steps: u32) -> Result<Object, Failure> {
    let missing = || Failure::new(Code::MissingFeature, "the device has no timestamp-query");
    if !engine.backend().gpu().is_some_and(|gpu| gpu.has_feature("timestamp-query")) {
        return Err(missing());
    }
    let entry = engine.entry(ENTRY)?;
    let dispatch =
        |command: &Command| if let Command::Dispatch(it) = command { Some(it.clone()) } else { None };
    let dispatches: Vec<Dispatch> = entry.commands.iter().filter_map(dispatch).collect();
    let names = entry.symbols.clone();
    let steps = steps.clamp(1, MAX_STEPS);
    engine.backend().gpu().ok_or_else(missing)?.start_timer(dispatches.len())?;
    let taken = time(engine, &names, steps).await;
    if let Some(gpu) = engine.backend().gpu() {
        gpu.stop_timer();
    }
    let taken = taken?;
    let median = |values: Vec<f64>| {
        let values = sorted(&values, |a, b| a < b);
        values.get(values.len() / 2).copied().unwrap_or(0.0)
    };
    let total = median(taken.iter().map(|step| step.iter().take(dispatches.len()).sum()).collect());
    let kernels = dispatches.iter().enumerate().map(|(at, dispatch)| {
        let times = taken.iter().filter_map(|step| step.get(at)).copied().collect();
        let pipeline = usize::try_from(dispatch.pipeline.0).ok();
        let shader = pipeline.and_then(|at| engine.schedule().pipelines.get(at)).map(|it| it.shader.as_str());
        let value = |name: &str| Some(if name == "past" { i64::from(steps) } else { 1 });
        let workgroups = dispatch.workgroups.iter().map(|count| count.eval(&value).unwrap_or(0));
        #[expect(clippy::cast_precision_loss, reason = "at most 65535")]
        let workgroups = array(workgroups.map(|count| count as f64));
        object([
            ("label", dispatch.label.as_str().into()),
            ("shader", shader.unwrap_or_default().into()),
            ("workgroups", workgroups.into()),
            ("microseconds", median(times).into()),
        ])
    });
    Ok(object([
        ("entry", JsValue::from(ENTRY)),
        ("microseconds", total.into()),
        ("kernels", array(kernels).into()),
    ]))
}

/// Microseconds of every dispatch, for every step but the first, which warms up.
async fn time(engine: &mut Engine<Device>, names: &[String], steps: u32) -> Result<Vec<Vec<f64>>, Failure> {
    engine.reset_states()?;
    let mut taken = Vec::new();
    for past in 0..=steps {
        let value = |name: &str| if name == "past" { past } else { 1 };
        let symbols: Vec<(&str, u32)> = names.iter().map(|name| (name.as_str(), value(name))).collect();
        engine.replay_timed(ENTRY, &symbols)?;
        let timings = match engine.backend().gpu() {
            Some(gpu) => gpu.timings().await?,
            None => Vec::new(),
        };
        if past > 0 {
            taken.push(timings);
        }
    }
    Ok(taken)
}
