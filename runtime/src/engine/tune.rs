//! Tuning: trying the variants of kernels on the device that will run them.
//!
//! A pipeline's dispatches of one decoded token are repeated, each waiting for the one before, and the clock is read around a
//! submission of many. That is how they run, and it needs no time stamps, which browsers keep coarse or leave out.

use super::replay::Ready;
use super::{Backend, Engine, EngineError, Recorder, index};
use crate::format::{BASELINE, Pipeline, PipelineId};
use crate::order::sorted;
use crate::tuning::Tuning;

/// Entry points that make a token: what people wait for.
const ENTRIES: [&str; 2] = ["decode", "head"];
/// Seconds that a submission should take: many times what submitting and waiting cost.
const SUBMISSION: f64 = 0.002;
/// Repetitions of a pipeline's dispatches in a submission.
const MOST_ROUNDS: u32 = 64;
/// Submissions of each variant; the fastest counts, since nothing makes a kernel faster than it is.
const REPETITIONS: usize = 3;
/// A variant replaces what a device takes by itself when it needs less than this part of the time.
const GAIN: f64 = 0.97;

/// What a variant took.
#[derive(Clone, Debug, PartialEq)]
pub struct Trial {
    /// The pipeline's own module.
    pub shader: String,
    /// The variant, or [`BASELINE`].
    pub variant: String,
    /// Dispatches of the pipeline for a token.
    pub dispatches: usize,
    /// Seconds of all of these.
    pub seconds: f64,
    /// Whether it is what the engine goes on with.
    pub chosen: bool,
}

/// A dispatch: its bind group, which suits every variant, since their bindings are the same, and its workgroups.
type Work = (usize, [u32; 3]);

/// A candidate for a pipeline's place.
struct Candidate<B: Backend> {
    name: String,
    pipeline: B::Pipeline,
    /// The shortest time yet.
    seconds: f64,
}

impl<B: Backend> Engine<B> {
    /// Paths of the modules that [`Engine::tune_async`] will ask for, those with the most dispatches of a token first.
    #[must_use]
    pub fn tunable(&self) -> Vec<String> {
        let candidates = self.tunable_pipelines();
        candidates.iter().flat_map(|(id, _)| self.modules(*id)).map(|(_, it)| it.shader).collect()
    }

    /// Measures the variants of every pipeline that decodes, until `budget` (seconds) is spent; from then on replays use the
    /// fastest. `module` gives the text of a module by its path, or nothing for one that is to be left out. States are reset:
    /// whoever has a conversation tunes before it.
    ///
    /// # Errors
    /// [`EngineError::Gpu`], naming the shader that failed.
    pub async fn tune_async(
        &mut self,
        module: &dyn Fn(&str) -> Option<String>,
        budget: f64,
    ) -> Result<(Tuning, Vec<Trial>), EngineError> {
        let end = self.backend.seconds() + budget;
        let (mut tuning, mut trials) = (Tuning::default(), Vec::new());
        self.submit_batch()?;
        for (id, all) in self.tunable_pipelines() {
            if self.backend.seconds() >= end {
                break;
            }
            let mut candidates = Vec::new();
            for (name, pipeline) in self.modules(id) {
                if let Some(wgsl) = module(&pipeline.shader) {
                    candidates.push(self.candidate(id, name, &pipeline, &wgsl).await?);
                }
            }
            for _ in 0..REPETITIONS {
                for candidate in &mut candidates {
                    let seconds = self.time(candidate, &all).await?;
                    candidate.seconds = candidate.seconds.min(seconds);
                }
            }
            self.take_fastest(id, candidates, all.len(), &mut tuning, &mut trials);
        }
        self.reset_states()?;
        Ok((tuning, trials))
    }

    /// Pipelines with variants, and the dispatches of a token that use them.
    fn tunable_pipelines(&self) -> Vec<(PipelineId, Vec<Work>)> {
        let mut found: Vec<(PipelineId, Vec<Work>)> = Vec::new();
        // A dispatch whose size depends on symbols is as for the first token.
        let symbols = &self.schedule.symbols;
        let least = |name: &str| symbols.iter().find(|it| it.name == name).map(|it| it.min.into());
        // Entry points that are not there, or have no first token, have nothing to tune.
        let commands = ENTRIES.iter().filter_map(|name| self.evaluate(name, &least).ok()).flatten();
        for command in commands {
            let Ready::Dispatch { pipeline, bind_group, workgroups } = command else { continue };
            let Ok(id) = u32::try_from(pipeline).map(PipelineId) else { continue };
            let work = (bind_group, workgroups);
            match found.iter_mut().find(|(known, _)| *known == id) {
                Some((_, all)) => all.push(work),
                None if self.modules(id).len() > 1 => found.push((id, vec![work])),
                None => {}
            }
        }
        sorted(&found, |(_, a), (_, b)| a.len() > b.len())
    }

    /// What can stand in a pipeline's place on this device, with what it takes by itself in front.
    fn modules(&self, id: PipelineId) -> Vec<(String, Pipeline)> {
        let Some(own) = self.schedule.pipelines.get(index(id.0)) else { return Vec::new() };
        let by_itself = Tuning::default().variant(own, &self.backend);
        let usable = own.variants.iter().filter(|variant| self.backend.takes(variant));
        let mut modules: Vec<_> = usable.map(|variant| (variant.name.clone(), own.with(variant))).collect();
        modules.insert(0, (BASELINE.to_owned(), Pipeline { variants: Vec::new(), ..own.clone() }));
        if let Some(at) = modules.iter().position(|(name, _)| by_itself.is_some_and(|it| it.name == *name)) {
            modules[..=at].rotate_right(1);
        }
        modules
    }

    async fn candidate(
        &self,
        id: PipelineId,
        name: String,
        pipeline: &Pipeline,
        wgsl: &str,
    ) -> Result<Candidate<B>, EngineError> {
        let fail = |e: B::Error| EngineError::gpu(format!("shader {}", pipeline.shader))(e.into());
        let pipeline = self.backend.create_pipeline(id, wgsl, pipeline).await.map_err(fail)?;
        Ok(Candidate { name, pipeline, seconds: f64::INFINITY })
    }

    /// Seconds of a pipeline's dispatches of a token.
    async fn time(&self, candidate: &Candidate<B>, all: &[Work]) -> Result<f64, EngineError> {
        let mut rounds = 1;
        loop {
            let seconds = self.time_rounds(candidate, all, rounds).await?;
            if rounds > 1 || seconds >= SUBMISSION {
                return Ok(seconds / f64::from(rounds));
            }
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the cast saturates")]
            let fill = (SUBMISSION / seconds.max(1e-9)) as u32;
            rounds = fill.clamp(2, MOST_ROUNDS);
        }
    }

    async fn time_rounds(
        &self,
        candidate: &Candidate<B>,
        all: &[Work],
        rounds: u32,
    ) -> Result<f64, EngineError> {
        let fail =
            |e: B::Error| EngineError::gpu(format!("tuning with variant {}", candidate.name))(e.into());
        let start = self.backend.seconds();
        let submitted = self.backend.submit("tuning", |recorder| {
            for _ in 0..rounds {
                for (group, workgroups) in all {
                    let Some(group) = self.bind_groups.get(*group) else { continue };
                    recorder.dispatch(&candidate.pipeline, group, *workgroups);
                }
            }
            // What is waited for.
            recorder.copy(&self.ring, 0, &self.staging, 0, 4);
        });
        submitted.map_err(fail)?;
        self.backend.read(&self.staging, 4).await.map_err(fail)?;
        Ok(self.backend.seconds() - start)
    }

    /// The first candidate is what the device takes by itself; another one has to be clearly faster.
    fn take_fastest(
        &mut self,
        id: PipelineId,
        candidates: Vec<Candidate<B>>,
        dispatches: usize,
        tuning: &mut Tuning,
        trials: &mut Vec<Trial>,
    ) {
        let Some(shader) = self.schedule.pipelines.get(index(id.0)).map(|it| it.shader.clone()) else {
            return;
        };
        let Some(by_itself) = candidates.first().map(|it| it.seconds) else { return };
        let faster = candidates.iter().enumerate().filter(|(_, it)| it.seconds < GAIN * by_itself);
        let best = faster.min_by(|(_, a), (_, b)| a.seconds.total_cmp(&b.seconds)).map_or(0, |(at, _)| at);
        for (at, Candidate { name, pipeline, seconds }) in candidates.into_iter().enumerate() {
            let chosen = at == best;
            if chosen {
                tuning.choose(&shader, &name);
                if let Some(slot) = self.pipelines.get_mut(index(id.0)) {
                    *slot = pipeline;
                }
            }
            trials.push(Trial { shader: shader.clone(), variant: name, dispatches, seconds, chosen });
        }
    }
}
