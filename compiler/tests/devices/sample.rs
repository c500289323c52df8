//! The entry point `sample` on both drivers, held to the reference on the CPU.
#![allow(
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    reason = "a test may panic, and its numbers are small"
)]

use std::collections::BTreeMap;

use crate::common::verify::{compiled, default_sizes, sessions};
use qwenc::pipeline::compile_sampler;
use qwenc_runtime::bundle::{Bundle, Memory};
use qwenc_runtime::engine::{Engine, LoadOptions};
use qwenc_runtime::gpu::Gpu;
use qwenc_runtime::gpu::probe::test_gpus;
use qwenc_runtime::sampling::{IN_PROMPT, NO_TOKEN, SamplingParams, reference};
use qwenc_runtime::session::{Positions, SAMPLE, SAMPLING, SessionError, TOKEN, TOKEN_COUNTS};

fn bytes(words: impl Iterator<Item = u32>) -> Vec<u8> {
    words.flat_map(u32::to_le_bytes).collect()
}

struct Sampler {
    engine: Engine<Gpu>,
}

impl Sampler {
    fn all(vocabulary: u32, gpus: usize) -> Vec<Self> {
        let mut files = BTreeMap::new();
        compile_sampler(vocabulary, &mut files).unwrap();
        let bundle = Bundle::open(Memory { files }).unwrap();
        let load = LoadOptions { poison: true, ..LoadOptions::default() };
        let gpus: Vec<Gpu> = test_gpus().unwrap().into_iter().take(gpus).collect();
        let engine = |gpu| Engine::load_with(&bundle, gpu, &load, &mut |_| ()).unwrap();
        gpus.into_iter().map(|gpu| Self { engine: engine(gpu) }).collect()
    }

    fn set(&self, logits: &[f32], counts: &[u32]) {
        self.engine.write_input(SAMPLE, "logits", &bytes(logits.iter().map(|x| x.to_bits()))).unwrap();
        self.engine.write_input(SAMPLE, TOKEN_COUNTS, &bytes(counts.iter().copied())).unwrap();
    }

    fn draw(&mut self, params: &SamplingParams, step: u32) -> u32 {
        params.check().unwrap();
        self.engine.write_input(SAMPLE, SAMPLING, &bytes(params.words(step).into_iter())).unwrap();
        self.engine.replay(SAMPLE, &[]).unwrap();
        let bytes = self.engine.read_output(SAMPLE, TOKEN).unwrap();
        u32::from_le_bytes(bytes.try_into().unwrap())
    }
}

/// Reproducible numbers in 0..1.
struct Random(u32);

impl Random {
    fn bits(&mut self) -> u32 {
        self.0 += 1;
        reference::random(77, 1, self.0)
    }

    fn unit(&mut self) -> f32 {
        (self.bits() >> 8) as f32 / 16_777_216.0
    }

    fn pick<T: Copy>(&mut self, values: &[T]) -> T {
        values[self.bits() as usize % values.len()]
    }

    /// Logits of one of several kinds: peaked, ties, all equal, mostly impossible.
    fn logits(&mut self, count: usize) -> Vec<f32> {
        let kind = self.bits() % 5;
        let mut one = || {
            let x = self.unit() + self.unit() + self.unit() - 1.5;
            match kind {
                0 => 8.0 * x,
                1 => 20.0 * x,
                2 => (6.0 * x).round(),
                3 => 2.5,
                _ if self.unit() < 0.9 => [f32::NEG_INFINITY, f32::NAN][self.bits() as usize % 2],
                _ => 3.0 * x,
            }
        };
        (0..count).map(|_| one()).collect()
    }

    fn params(&mut self) -> SamplingParams {
        SamplingParams {
            temperature: self.pick(&[0.0, 0.3, 0.7, 1.0, 1.7]),
            top_k: self.pick(&[0, 0, 1, 5, 20, 700, 100_000]),
            top_p: self.pick(&[1.0, 1.0, 0.95, 0.5, 0.0]),
            min_p: self.pick(&[0.0, 0.0, 0.05, 1.0]),
            repetition_penalty: self.pick(&[1.0, 1.3]),
            presence_penalty: self.pick(&[0.0, 1.5]),
            seed: u64::from(self.bits()) << 20,
        }
    }
}

/// Every combination of parameters and kind of logits draws what the reference draws.
fn agrees(vocabulary: u32, cases: u32) {
    let mut random = Random(vocabulary);
    let mut samplers = Sampler::all(vocabulary, 2);
    assert_eq!(samplers.len(), 2);
    let (mut unclear, mut different) = (0, std::collections::BTreeSet::new());
    for case in 0..cases {
        let logits = random.logits(vocabulary as usize);
        let counts: Vec<u32> =
            (0..vocabulary).map(|_| random.pick(&[0, 0, 0, 1, IN_PROMPT, IN_PROMPT | 3])).collect();
        let params = random.params();
        let wanted = reference::draw(&logits, &counts, &params, case);
        different.insert(wanted.map(|drawn| drawn.token));
        for sampler in &mut samplers {
            sampler.set(&logits, &counts);
            let token = sampler.draw(&params, case);
            match wanted {
                None => assert_eq!(token, NO_TOKEN),
                // Rounding may decide between keys that are equal but for it.
                Some(drawn) if drawn.margin < 1e-5 && params.temperature > 0.0 => {
                    unclear += u32::from(token != drawn.token)
                }
                Some(drawn) => assert_eq!(token, drawn.token, "case {case}: {params:?}, {drawn:?}"),
            }
        }
    }
    assert!(unclear <= 2 && different.len() > cases as usize / 4, "{unclear}, {}", different.len());
}

#[test]
fn draws_are_those_of_the_reference() {
    agrees(512, 350);
    // Two chunks, and filters that keep more than can be ranked.
    agrees(1777, 350);
}

#[test]
fn the_largest_logit_when_greedy() {
    for sampler in &mut Sampler::all(1031, 2) {
        let mut logits: Vec<f32> = (0..1031u32).map(|i| ((i * 37) % 101) as f32 - 50.0).collect();
        let draw = |sampler: &mut Sampler, logits: &[f32]| {
            sampler.set(logits, &[0; 1031]);
            sampler.draw(&SamplingParams::greedy(), 9)
        };
        let first = logits.iter().position(|x| *x == 50.0).unwrap();
        assert_eq!(draw(sampler, &logits), first as u32);
        logits[1030] = 51.0;
        logits[3] = f32::NAN;
        assert_eq!(draw(sampler, &logits), 1030);
        logits[5] = f32::INFINITY;
        assert_eq!(draw(sampler, &logits), 5);
        assert_eq!(draw(sampler, &[f32::NEG_INFINITY; 1031]), NO_TOKEN);
        assert_eq!(draw(sampler, &[f32::NAN; 1031]), NO_TOKEN);
        // What is drawn is counted: a penalty then hands over to the next one, and there are two of 10.
        let mut logits = [0.0; 1031];
        (logits[7], logits[700]) = (10.0, 10.0);
        sampler.set(&logits, &[0; 1031]);
        let params = SamplingParams { presence_penalty: 20.0, ..SamplingParams::greedy() };
        let drawn: Vec<u32> = (0..4).map(|step| sampler.draw(&params, step)).collect();
        assert_eq!(drawn, [7, 700, 0, 1]);
    }
}

/// Upper quantile of chi-square that is exceeded once in a million (Wilson and Hilferty).
fn limit(freedom: f64) -> f64 {
    let spread = 2.0 / (9.0 * freedom);
    freedom * (1.0 - spread + 4.753 * spread.sqrt()).powi(3)
}

#[test]
fn the_distribution_is_the_one_asked_for() {
    let logits: Vec<f32> = (0..37u32).map(|i| ((i * 11) % 37) as f32 * -0.12).collect();
    let counts: Vec<u32> = (0..37).map(|i| if i % 3 == 0 { IN_PROMPT | 1 } else { 0 }).collect();
    let base = SamplingParams { seed: 12, ..SamplingParams::default() };
    let draws = 400u32;
    for sampler in &mut Sampler::all(37, 2) {
        for (offset, params) in [
            base,
            SamplingParams { temperature: 0.6, top_k: 12, ..base },
            SamplingParams { top_p: 0.8, ..base },
            SamplingParams { min_p: 0.1, repetition_penalty: 1.5, presence_penalty: 0.4, ..base },
        ]
        .into_iter()
        .enumerate()
        {
            let expected = reference::probabilities(&logits, &counts, &params);
            let mut seen = [0u32; 37];
            for step in 0..draws {
                sampler.set(&logits, &counts);
                seen[sampler.draw(&params, step + 10_000 * offset as u32) as usize] += 1;
            }
            let (mut sum, mut cells) = (0.0, 0);
            for (seen, p) in seen.iter().zip(&expected) {
                if *p == 0.0 {
                    assert_eq!(*seen, 0, "{params:?}");
                } else {
                    let wanted = p * f64::from(draws);
                    sum += (f64::from(*seen) - wanted).powi(2) / wanted;
                    cells += 1;
                }
            }
            assert!(sum < limit(f64::from(cells - 1)), "{params:?}: {sum} over {cells} cells");
        }
    }
}

#[test]
fn the_whole_vocabulary() {
    let size = 248_320usize;
    let mut random = Random(5);
    let logits: Vec<f32> = (0..size).map(|_| 6.0 * (random.unit() + random.unit() + random.unit())).collect();
    let counts = vec![0u32; size];
    let base = SamplingParams { seed: 3, ..SamplingParams::default() };
    let sampler = &mut Sampler::all(size as u32, 1)[0];
    sampler.set(&logits, &counts);
    for (step, params) in [
        base,
        SamplingParams { temperature: 0.6, top_k: 20, top_p: 0.95, ..base },
        SamplingParams { temperature: 0.05, top_p: 0.9, ..base },
        SamplingParams { top_k: 1000, min_p: 0.01, ..base },
        SamplingParams::greedy(),
    ]
    .into_iter()
    .enumerate()
    {
        let wanted = reference::draw(&logits, &counts, &params, step as u32).unwrap();
        assert!(wanted.margin > 1e-5, "choose another seed: {wanted:?}");
        assert_eq!(sampler.draw(&params, step as u32), wanted.token, "{params:?}");
    }
}

/// Through a session: tokens that never leave the GPU are those that come back one by one.
#[test]
fn sessions_feed_what_they_sampled() {
    let (_, files) = compiled("genai015", default_sizes());
    let params = SamplingParams {
        temperature: 0.8,
        top_k: 40,
        presence_penalty: 0.3,
        seed: 8,
        ..SamplingParams::default()
    };
    let prompt = [1, 5, 9, 200, 17];
    let mut runs = Vec::new();
    for session in &mut sessions(&files, &test_gpus().unwrap()) {
        assert!(matches!(session.sample(&params), Err(SessionError::NotSampling)));
        session.start_sampling(&prompt).unwrap();
        assert!(matches!(session.sample(&params), Err(SessionError::NoSuchRow { .. })));
        session.prefill(&prompt, Positions::Text).unwrap();
        let mut counts = vec![0u32; session.facts().vocab_size as usize];
        prompt.iter().for_each(|id| counts[usize::try_from(*id).unwrap()] = IN_PROMPT);
        let mut tokens = Vec::new();
        for step in 0..6 {
            let row = session.last_chunk().len() as u32 - 1;
            let logits = session.logits(row).unwrap();
            let token = session.sample(&params).unwrap();
            assert_eq!(token, reference::draw(&logits, &counts, &params, step).unwrap().token);
            counts[token as usize] += 1;
            tokens.push(token);
            session.decode(i32::try_from(token).unwrap()).unwrap();
        }
        session.reset().unwrap();
        session.start_sampling(&prompt).unwrap();
        session.prefill(&prompt, Positions::Text).unwrap();
        for _ in 0..5 {
            session.sample_on_gpu(&params).unwrap();
            session.decode_sampled(Positions::Text).unwrap();
        }
        assert!(matches!(session.decode_sampled(Positions::Text), Err(SessionError::NotSampling)));
        assert_eq!(session.sample(&params).unwrap(), tokens[5]);
        let bad = SamplingParams { top_p: 7.0, ..params };
        assert!(matches!(session.sample(&bad), Err(SessionError::Sampling(_))));
        assert!(matches!(
            session.start_sampling(&[-1]),
            Err(SessionError::TokenOutOfRange { at: 0, id: -1, .. })
        ));
        runs.push(tokens);
    }
    assert_eq!(runs.len(), 2);
}
